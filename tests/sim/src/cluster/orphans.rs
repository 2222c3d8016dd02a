//! CLEAR ORPHAN DATABASES, and DROP PARTITION of an orphan: what leaves say they have, what of it may go, and orders until it is
//! gone. What `node` does in its `orphans`.

use std::collections::BTreeMap;

use resprout_cluster::control::{Control, Order};
use resprout_cluster::plan::{Orphan, clear_orphans, masters, orphans};
use resprout_cluster::reconcile::{CopyName, Doing};
use resprout_cluster::survey::{CopyReport, Survey};
use resprout_cluster::{Database, LeafId, NodeId, Partition};

use super::asked::{AskedMail, ROUND, Returned, surveyed};
use super::mail::Mail;
use super::node::Node;
use super::simulation::{Own, Simulation};
use crate::Violation;

/// Rounds after which whoever asked is told what is left.
const ROUNDS_MAX: u32 = 60;

/// Orphans that are being removed.
#[derive(Debug)]
pub(super) struct Clearing {
    number: u64,
    /// Only that one; all that are safe, if none is named.
    only: Option<(LeafId, CopyName)>,
    surveys: BTreeMap<NodeId, Survey>,
    rounds: u32,
}

impl Node {
    /// What is there, for people.
    pub(super) fn survey(&self) -> Survey {
        let applied = self.metadata().map_or(0, |metadata| metadata.applied());
        let report = |name: &CopyName| {
            let driven = self.driven((name.database, name.ordinal));
            let driven = driven.filter(|driven| driven.name == *name);
            let log = driven.map_or(&self.rows[name].log, |driven| &driven.process.log);
            let tail = log.tail();
            let terms = tail.history().entries().iter().map(|one| (one.term, one.start));
            let report = CopyReport {
                doing: driven.map_or(Doing::Pending, |one| one.process.stance().state.into()),
                term: tail.last_term().max(self.rows[name].promise.term),
                end: tail.whole(),
                terms: terms.collect(),
                ..CopyReport::default()
            };
            (*name, report)
        };
        Survey { applied, copies: self.rows.keys().map(report).collect() }
    }
}

impl Simulation {
    pub(super) fn clear_orphans(
        &mut self,
        id: u64,
        number: u64,
        only: Option<(LeafId, CopyName)>,
    ) -> Result<(), Violation> {
        let surveys = BTreeMap::new();
        let clearing = Clearing { number, only, surveys, rounds: 0 };
        let before = self.process(id).carried.clearing.replace(clearing);
        if let Some(before) = before {
            self.end_call(id, before.number, Returned::NotMaster)?;
        }
        self.ask_leaves(id, number)?;
        self.own(id, ROUND, Own::Orphans);
        Ok(())
    }

    fn ask_leaves(&mut self, id: u64, number: u64) -> Result<(), Violation> {
        let leaves = surveyed(self.process(id).machine.state());
        leaves.into_iter().try_for_each(|leaf| self.send_asked(id, leaf, AskedMail::Survey(number)))
    }

    pub(super) fn surveyed(&mut self, id: u64, from: u64, number: u64, survey: Survey) {
        let clearing = &mut self.process(id).carried.clearing;
        if let Some(clearing) = clearing.as_mut().filter(|clearing| clearing.number == number) {
            clearing.surveys.insert(NodeId(from), survey);
        }
    }

    /// One round: what was heard since the last one is looked at, and what may go is told to go.
    pub(super) fn look_at_orphans(&mut self, id: u64) -> Result<(), Violation> {
        let Some(mut clearing) = self.process(id).carried.clearing.take() else { return Ok(()) };
        let number = clearing.number;
        if !self.is_in_office(id) {
            return self.end_call(id, number, Returned::NotMaster);
        }
        let metadata = self.process(id).machine.state();
        let said = || clearing.surveys.iter().map(|(node, survey)| (*node, survey));
        let found = orphans(metadata, said());
        let databases = metadata.databases().values().map(|entry| entry.map.clone());
        let databases: Vec<Database> = databases.collect();
        let masters = masters(metadata, said());
        let verdicts = clear_orphans(&metadata.leaves(), &databases, &masters, &found);
        // Who drops one by name decides what is safe, but for the last copy.
        let is_served = |orphan: &Orphan| {
            let entry = metadata.database_of(orphan.number);
            let partition = entry.and_then(|entry| entry.map.partition(orphan.ordinal));
            partition.and_then(Partition::serving).is_some()
        };
        let is_wanted = |orphan: &Orphan, is_safe: bool| match clearing.only {
            Some(only) => (orphan.leaf, orphan.name()) == only && is_served(orphan),
            None => is_safe,
        };
        let going = verdicts.iter().filter(|one| is_wanted(one.orphan, one.keep.is_none()));
        let going: Vec<_> = going.map(|one| (one.orphan.leaf, one.orphan.name())).collect();
        let kept = verdicts.iter().filter_map(|one| Some((one.orphan, one.keep?)));
        let kept = kept.map(|(orphan, keep)| (orphan.leaf, orphan.name(), keep)).collect();
        let all_said = surveyed(metadata).len() == clearing.surveys.len();
        let (office, known) = (metadata.office().number, metadata.applied());
        clearing.rounds += 1;
        if going.is_empty() && (all_said || clearing.rounds > 10) || clearing.rounds > ROUNDS_MAX {
            return self.end_call(id, number, Returned::Cleared(kept));
        }
        for (leaf, copy) in going {
            self.coverage.note("an orphan is to go");
            let (ordinal, instance) = (copy.ordinal, copy.instance);
            let order = Order::Remove { ordinal, instance, known };
            let control = Control::Order { office, database: copy.database, order };
            self.send(id, leaf.0, Mail::Control(Box::new(control)))?;
        }
        clearing.surveys.clear();
        self.process(id).carried.clearing = Some(clearing);
        self.ask_leaves(id, number)?;
        self.own(id, ROUND, Own::Orphans);
        Ok(())
    }
}

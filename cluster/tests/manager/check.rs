//! What must hold at every moment. A violation panics, with what it is called.

use std::collections::{BTreeMap, BTreeSet};

use resprout_cluster::execution::Change;
use resprout_cluster::metadata::{Command, Decree, Happened, Metadata};
use resprout_cluster::reconcile::Doing;
use resprout_cluster::{Instance, NodeId, Ordinal, Term};
use resprout_replication::{CopyState, Mode};

use crate::leaf::Leaf;

#[derive(Default)]
pub(crate) struct Checker {
    /// Who was seen as master of a term.
    masters: BTreeMap<(Ordinal, Term), Instance>,
    /// What lies at a place of a term.
    history: BTreeMap<(Ordinal, Term, usize), u64>,
    /// What clients were told is safe.
    pub(crate) acknowledged: BTreeMap<Ordinal, BTreeSet<(Term, u64)>>,
    events: u64,
    /// The newest term that began without its master before being waited for: what that one goes on to acknowledge, until it
    /// hears of it, is gone by configuration.
    unwaited: BTreeMap<Ordinal, Term>,
    /// Elections that said that something may be gone.
    pub(crate) losses: u64,
    pub(crate) elections: u64,
    /// How long each partition has had no master although one could be.
    bereft: BTreeMap<Ordinal, u64>,
    /// Since when nothing was disturbed.
    pub(crate) quiet_since: u64,
    seen_online: BTreeMap<(Ordinal, Term), ()>,
}

/// Rounds within which a partition gets a master, if one could be: detection, fencing, reports, and an office.
const BEREFT_ROUNDS: u64 = 200;

impl Checker {
    /// A command was applied and not refused.
    pub(crate) fn decided(
        &mut self,
        office: u64,
        decree: &Decree,
        metadata: &Metadata,
        leaves: &BTreeMap<NodeId, Leaf>,
    ) {
        let is_free = matches!(decree.command, Command::Found { .. } | Command::TakeOffice { .. });
        assert!(is_free || decree.office == office, "out of office: {decree:?}");
        if let Command::Execute { change: Change::Promote { ordinal, .. }, .. } = &decree.command
            && !metadata.databases()["db"].map.sync
        {
            // Its lock may have lapsed: then what was written since is lost, where nobody waits for the heir.
            self.acknowledged.remove(ordinal);
            self.unwaited
                .insert(*ordinal, metadata.partition("db", *ordinal).expect("it exists").term);
        }
        if let Command::Elect { at, reported, .. } = &decree.command {
            // Rule 9: a position that was read before the fencing is worthless.
            let copies = leaves.values().flat_map(|leaf| &leaf.copies);
            for (name, copy) in copies.filter(|(name, _)| name.ordinal == at.ordinal) {
                let is_fenced = copy.promised >= at.term;
                let counts = reported.contains(&name.instance);
                assert!(is_fenced || !counts, "elected before {name:?} was fenced: {at:?}");
            }
        }
        if let Command::Orphan { at, instance } = &decree.command {
            // Rule 19: never below the redundancy level while the data are there.
            let map = &metadata.databases()[&at.database].map;
            let full = map.full_copies(map.partition(at.ordinal).expect("it exists"));
            assert!(
                full >= metadata.mode().copies(),
                "{full} copies left without {instance}: {at:?}"
            );
        }
        for event in metadata.events().iter().filter(|event| event.index > self.events) {
            if let Happened::Elected { may_have_lost, ordinal, term, .. } = &event.happened {
                self.elections += 1;
                if *may_have_lost {
                    self.losses += 1;
                    // It was said so: what the elected copy has is what there is.
                    self.acknowledged.remove(ordinal);
                    if !metadata.databases()["db"].map.sync {
                        self.unwaited.insert(*ordinal, *term);
                    }
                }
            }
        }
        self.events = metadata.applied();
    }

    pub(crate) fn look(
        &mut self,
        round: u64,
        metadata: &Metadata,
        leaves: &mut BTreeMap<NodeId, Leaf>,
    ) {
        for leaf in leaves.values_mut() {
            for (name, copy) in &mut leaf.copies {
                let safe = self.acknowledged.entry(name.ordinal).or_default();
                let acknowledged = copy.acknowledged.drain(..);
                if self.unwaited.get(&name.ordinal).is_none_or(|term| copy.promised >= *term) {
                    safe.extend(acknowledged);
                }
            }
        }
        for leaf in leaves.values().filter(|leaf| leaf.up) {
            for (name, copy) in &leaf.copies {
                let (Doing::Transitioning(term) | Doing::Online(term)) = copy.doing else {
                    continue;
                };
                let key = (name.ordinal, term);
                let first = *self.masters.entry(key).or_insert(name.instance);
                assert_eq!(first, name.instance, "two masters of {key:?}");
                for (place, (of, value)) in copy.log.iter().enumerate() {
                    let known = *self.history.entry((name.ordinal, *of, place)).or_insert(*value);
                    assert_eq!(known, *value, "two histories at {place} of {of:?} of {name:?}");
                }
                self.check_waits(metadata, (leaf, name.instance, copy), name.ordinal, term);
                let is_first = matches!(copy.doing, Doing::Online(_))
                    && self.seen_online.insert(key, ()).is_none();
                let is_over = self.unwaited.get(&name.ordinal).is_some_and(|newer| term < *newer);
                if is_first && !is_over {
                    let has: BTreeSet<(Term, u64)> = copy.log.iter().copied().collect();
                    let safe = self.acknowledged.entry(name.ordinal).or_default();
                    // One that slept through later masterships has nothing of those.
                    let lost = safe.difference(&has).filter(|(of, _)| *of <= term);
                    let lost: Vec<_> = lost.collect();
                    assert!(lost.is_empty(), "lost in {key:?}: {lost:?}");
                }
            }
        }
        self.check_bereft(round, metadata, leaves);
    }

    /// Rule 5: whoever may be promoted by the committed record is waited for.
    fn check_waits(
        &self,
        metadata: &Metadata,
        (leaf, own, copy): (&Leaf, Instance, &crate::leaf::ModelCopy),
        ordinal: Ordinal,
        term: Term,
    ) {
        let Some(partition) = metadata.partition("db", ordinal) else { return };
        let is_sync = metadata.databases()["db"].map.is_sync(partition);
        if partition.term != term || !matches!(copy.doing, Doing::Online(_)) || !is_sync {
            return;
        }
        let waits = copy.waits_for(own);
        for (instance, said) in &partition.record(Mode::Received).copies {
            let may = said.state == CopyState::Sync && *instance != own;
            assert!(
                !may || waits.contains(instance),
                "{instance} may be promoted, and {} does not wait for it",
                leaf.node
            );
        }
    }

    fn check_bereft(&mut self, round: u64, metadata: &Metadata, leaves: &BTreeMap<NodeId, Leaf>) {
        for entry in metadata.databases().values() {
            for partition in entry.map.all() {
                let is_online = leaves.values().filter(|leaf| leaf.is_ready(round)).any(|leaf| {
                    leaf.copies.iter().any(|(name, copy)| {
                        name.ordinal == partition.ordinal
                            && copy.doing == Doing::Online(partition.term)
                    })
                });
                let record = partition.record(Mode::Received);
                let could_be = partition.copies.iter().any(|(leaf, recorded)| {
                    let leaf = &leaves[&NodeId::from(*leaf)];
                    let said = record.copy(recorded.instance);
                    leaf.is_ready(round)
                        && leaf.copies.iter().any(|(name, copy)| {
                            name.instance == recorded.instance
                                && said.state == CopyState::Sync
                                && said.incarnation == copy.run
                        })
                });
                let since = self.bereft.entry(partition.ordinal).or_insert(round);
                if is_online || !could_be {
                    *since = round;
                }
                let waited = round - (*since).max(self.quiet_since);
                assert!(waited < BEREFT_ROUNDS, "no master for {waited} rounds: {partition:?}");
            }
        }
    }
}

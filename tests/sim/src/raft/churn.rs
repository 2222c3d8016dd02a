//! Changes of the members, as a careful operator asks for them: never so that fewer than a majority
//! of the voters would be healthy.

use resprout_consensus::{Change, Event as Step, Membership, NodeId, StoreId, Vote};

use super::image::Image;
use super::simulation::{Event, Simulation};
use crate::Violation;

impl Simulation {
    /// Whether a healthy majority stays in every membership that anybody may go by, if the node
    /// loses its directory.
    pub(super) fn survives_without(&self, lost: u64) -> bool {
        let written = self.nodes.values().map(|node| node.ledger.written.membership().1);
        let durable = self.nodes.values().map(|node| node.ledger.durable.membership().1);
        let committed = self.promises.committed.membership().cloned();
        let mut all = written.chain(durable).chain(committed);
        all.all(|membership| self.has_healthy_majority(&membership, lost))
    }

    fn has_healthy_majority(&self, membership: &Membership, lost: u64) -> bool {
        let is_healthy = |voter: &NodeId| {
            let store = membership.get(*voter).map_or(StoreId(0), |member| member.store);
            voter.0 != lost && self.nodes[&voter.0].is_healthy(store)
        };
        let voters = membership.voters().count();
        voters == 0 || membership.voters().filter(is_healthy).count() > voters / 2
    }

    /// Asks some leader for some change that makes sense. Whether one was begun.
    pub(super) fn churn(&mut self) -> Result<bool, Violation> {
        let Some(leader) = self.some_leader() else { return Ok(false) };
        let (_, membership) = self.nodes[&leader].ledger.written.membership();
        let id = 1 + self.rng.below(self.plan.nodes());
        let Some(change) = self.change_of(id, &membership) else { return Ok(false) };
        self.ask_for(leader, &membership, change)
    }

    /// The next member of a cluster that began with one.
    pub(super) fn grow(&mut self) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        let wait = self.tenths(2, 8);
        self.agenda.after(wait, Event::Grow);
        let Some(leader) = self.some_leader() else { return Ok(()) };
        let (_, membership) = self.nodes[&leader].ledger.written.membership();
        let joins = |id: &u64| match membership.get(NodeId(*id)).map(|member| member.vote) {
            None => *id <= self.plan.voters + self.plan.learners,
            Some(Vote::Learner) => *id <= self.plan.voters,
            Some(Vote::Voter) => false,
        };
        let Some(id) = (1..=self.plan.nodes()).find(joins) else { return Ok(()) };
        if let Some(change) = self.change_of(id, &membership) {
            self.ask_for(leader, &membership, change)?;
        }
        Ok(())
    }

    fn ask_for(
        &mut self,
        leader: u64,
        membership: &Membership,
        change: Change,
    ) -> Result<bool, Violation> {
        let Ok(after) = membership.changed(&change) else { return Ok(false) };
        if self.nodes[&leader].active().is_none() {
            // A leader that is no member any more, and was made ready to join anew.
            return Ok(false);
        }
        if !self.has_healthy_majority(&after, 0) {
            return Ok(false);
        }
        let name = match &change {
            Change::AddLearner { .. } => "change: add a learner",
            Change::Promote(_) => "change: promote",
            Change::Demote(node) if node.0 == leader => "change: demote the leader",
            Change::Demote(_) => "change: demote",
            Change::Remove(node) if node.0 == leader => "change: remove the leader",
            Change::Remove(_) => "change: remove",
        };
        self.coverage.note(name);
        self.trace.line(self.agenda.now(), leader, || format!("~ {name} {}", change.node()));
        self.step(leader, Step::Change(change))?;
        Ok(true)
    }

    /// What may be done with a node.
    fn change_of(&mut self, id: u64, membership: &Membership) -> Option<Change> {
        let node = NodeId(id);
        let Some(member) = membership.get(node) else {
            return self.joins_anew(id).then(|| {
                let (store, address) = (self.nodes[&id].store_id, String::new());
                Change::AddLearner { node, store, address }
            });
        };
        let healthy = self.nodes[&id].is_healthy(member.store);
        let wanted = membership.voters().count() < usize::try_from(self.plan.voters).unwrap_or(0);
        let draw = self.rng.below(4);
        match member.vote {
            _ if !healthy => Some(Change::Remove(node)),
            Vote::Learner if draw < 3 => Some(Change::Promote(node)),
            Vote::Learner => Some(Change::Remove(node)),
            Vote::Voter if wanted && draw > 0 => None,
            Vote::Voter if draw < 2 => Some(Change::Demote(node)),
            Vote::Voter => Some(Change::Remove(node)),
        }
    }

    /// Makes a node that is no member ready to join: often with an empty directory, and always if its
    /// old one is not to be trusted.
    fn joins_anew(&mut self, id: u64) -> bool {
        let node = &self.nodes[&id];
        let used = node.ledger.written != Image::default();
        if !used || !node.restored && self.rng.chance(1, 2) {
            return node.process.is_some();
        }
        if !self.survives_without(id) {
            return false;
        }
        self.crash(id);
        self.wipe_directory(id);
        self.agenda.after(std::time::Duration::ZERO, Event::Start(id));
        true
    }
}

//! A leadership: beginning and ending it, signs of life, and taking proposals.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::read::Reads;
use super::{Part, Raft};
use crate::progress::Progress;
use crate::{
    Content, Entry, EntryId, Index, Message, NodeId, Payload, Proposal, ProposeError, Round, quorum,
};

/// What a leader knows beside its log.
#[derive(Clone, Debug, Hash)]
pub(super) struct Leader {
    /// How far the others are; also one that was removed, until its removal is committed.
    pub(super) progress: BTreeMap<NodeId, Progress>,
    /// The first entry of this leadership.
    pub(super) term_start: Index,
    /// The newest question to all.
    pub(super) round: Round,
    /// When questions were asked, from the newest that a majority has answered on; round 0 stands
    /// for the election, which a majority has answered, but without a promise for the time after.
    pub(super) rounds: VecDeque<(Round, Duration)>,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Handover>,
    /// Leadership was offered to another in this term: there is no lease any more, because the
    /// voters do not protect this leader against that one.
    pub(super) lease_over: bool,
    pub(super) heartbeat_at: Duration,
}

/// Leadership on its way to another.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Handover {
    pub(super) to: NodeId,
    pub(super) until: Duration,
    /// It was told to stand.
    pub(super) told: bool,
}

impl Leader {
    pub(super) fn deadline(&self) -> Duration {
        let transfer = self.transfer.map_or(Duration::MAX, |transfer| transfer.until);
        self.heartbeat_at.min(transfer)
    }

    /// The newest question that a majority has answered, and when it was asked.
    pub(super) fn vouched(&self) -> (Round, Duration) {
        *self.rounds.front().expect("the election is never dropped before a newer one")
    }
}

impl Raft {
    pub(super) fn is_leader(&self) -> bool {
        matches!(self.part, Part::Leader(_))
    }

    pub(super) fn leadership(&self) -> Option<&Leader> {
        match &self.part {
            Part::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub(super) fn leadership_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.part {
            Part::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// A majority has voted for this member.
    pub(super) fn lead(&mut self) {
        let last = self.last_index();
        let own = self.identity.node;
        let others = self.log.membership().1.members.keys().filter(|node| **node != own);
        let progress = others.map(|node| (*node, Progress::new(last))).collect();
        let leader = Leader {
            progress,
            term_start: last.next(),
            round: Round(1),
            rounds: VecDeque::from([(Round(0), self.now), (Round(1), self.now)]),
            reads: Reads::default(),
            transfer: None,
            lease_over: false,
            heartbeat_at: self.now + self.config.timing.heartbeat(),
        };
        self.part = Part::Leader(Box::new(leader));
        self.leader = Some(own);
        self.heard = self.now;
        self.called = false;
        self.mark("elected");
        self.append(vec![Payload::TermStart]);
    }

    /// Ends a leadership, if this is one: who waits for it is told.
    pub(super) fn drop_leadership(&mut self) {
        if let Part::Leader(leader) = &mut self.part {
            let reads = std::mem::take(&mut leader.reads);
            self.out.reads_refused.extend(reads.into_own());
            self.part = Part::Follower;
            self.leader = None;
            self.reset_election_timer();
        }
    }

    pub(super) fn tick_leader(&mut self) {
        let timing = self.config.timing;
        let Some((_, vouched)) = self.leadership().map(Leader::vouched) else { return };
        let until = (vouched + timing.election()).max(self.patient_until);
        if !self.is_only_voter() && self.now >= until {
            // Nobody may be left to follow; and who is cut off must not go on deciding.
            self.mark("no majority: stepped down");
            self.step_down();
            return;
        }
        let now = self.now;
        let Some(leader) = self.leadership_mut() else { return };
        if leader.transfer.is_some_and(|transfer| transfer.until <= now) {
            leader.transfer = None;
            self.mark("transfer given up");
        }
        let Some(leader) = self.leadership_mut() else { return };
        if leader.heartbeat_at <= now {
            leader.heartbeat_at = now + timing.heartbeat();
            leader.progress.values_mut().for_each(Progress::doubt_pieces);
            self.ask(self.followers());
            self.repeat_transfer();
        }
    }

    /// Asks members whether they still follow.
    pub(super) fn ask(&mut self, members: Vec<NodeId>) {
        let now = self.now;
        let Some(leader) = self.leadership_mut() else { return };
        leader.round = Round(leader.round.0 + 1);
        leader.rounds.push_back((leader.round, now));
        for member in members {
            self.send_sign(member);
        }
        self.count_rounds();
    }

    /// Notes up to which question a majority has answered.
    pub(super) fn count_rounds(&mut self) {
        let own = self.identity.node;
        let Part::Leader(leader) = &mut self.part else { return };
        let newest = leader.round;
        let answered = |node: NodeId| {
            if node == own {
                return Some(newest);
            }
            let progress = leader.progress.get(&node)?;
            (!progress.forgot).then_some(progress.round)
        };
        let vouched = quorum::reached(self.log.membership().1, answered).unwrap_or_default();
        while leader.rounds.len() > 1 && leader.rounds[1].0 <= vouched {
            leader.rounds.pop_front();
        }
        self.serve_reads(vouched);
    }

    /// Adds to the log of this leadership and sends it.
    pub(super) fn append(&mut self, payloads: Vec<Payload>) -> EntryId {
        let mut entries = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let id = EntryId::new(self.ballot.term, self.last_index().next());
            let entry = Entry { id, payload };
            self.log.push(entry.clone());
            entries.push(entry);
        }
        self.write(Content::Entries(entries));
        self.send_all();
        if planted!(self, CountSelfBeforeFlush) {
            self.count_log();
        }
        self.log.last()
    }

    pub(super) fn propose(&mut self, proposals: Vec<Proposal>) {
        let (fit, large): (Vec<_>, Vec<_>) =
            proposals.into_iter().partition(|one| self.fits(one.command.len()));
        let max = self.config.limits.command_bytes_max;
        let too_large = |one: &Proposal| ProposeError::TooLarge { bytes: one.command.len(), max };
        self.out.refused.extend(large.iter().map(|one| (one.id, too_large(one))));
        if fit.is_empty() {
            return;
        }
        match self.proposals_refused() {
            None if self.is_leader() => {
                self.append(fit.into_iter().map(Payload::Command).collect());
            }
            None => {
                let leader = self.leader.expect("without a leader proposals are refused");
                self.pass_on(leader, fit);
            }
            Some(error) => self.out.refused.extend(fit.iter().map(|one| (one.id, error))),
        }
    }

    /// Passes proposals on to the leader, in messages of bounded size.
    fn pass_on(&mut self, leader: NodeId, proposals: Vec<Proposal>) {
        let bytes_max = self.config.limits.append_bytes_max;
        let (mut proposals, mut bytes) = (proposals.into_iter().peekable(), 0);
        let mut some = Vec::new();
        while let Some(proposal) = proposals.next() {
            bytes += proposal.command.len();
            some.push(proposal);
            let full = proposals.peek().is_none_or(|next| bytes + next.command.len() > bytes_max);
            if full {
                bytes = 0;
                self.send(leader, Message::Propose { proposals: std::mem::take(&mut some) });
            }
        }
    }

    /// Takes proposals that were made elsewhere. Whoever made them sees them applied, or asks again.
    pub(super) fn propose_for(&mut self, _from: NodeId, proposals: Vec<Proposal>) {
        let fit: Vec<Proposal> =
            proposals.into_iter().filter(|one| self.fits(one.command.len())).collect();
        if self.is_leader() && !fit.is_empty() && self.proposals_refused().is_none() {
            self.append(fit.into_iter().map(Payload::Command).collect());
        } else {
            self.mark("passed proposals dropped");
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        bytes <= self.config.limits.command_bytes_max
    }

    fn proposals_refused(&self) -> Option<ProposeError> {
        let Some(leader) = self.leadership() else {
            return self.leader.is_none().then_some(ProposeError::NoLeader);
        };
        if leader.transfer.is_some() {
            return Some(ProposeError::Transferring);
        }
        let bytes = self.log.uncommitted_bytes();
        let busy = bytes >= self.config.limits.uncommitted_bytes_max;
        busy.then_some(ProposeError::Busy { bytes })
    }
}

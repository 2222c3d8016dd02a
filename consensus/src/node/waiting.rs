//! Callers that wait, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::oneshot;

use super::failure::{ChangeFailure, Ended, ProposeFailure, ReadFailure};
use super::request::Read;
use crate::machine::{Applied, Outcome};
use crate::{EntryId, Index, NodeId, Proposal, ProposalId, ReadId, ReadProof};

/// Proposals that were made here and are not applied here yet.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    waiting: BTreeMap<ProposalId, WaitingProposal>,
    deadlines: BTreeSet<(Duration, ProposalId)>,
    /// Those that never reached a log.
    unsent: usize,
}

#[derive(Debug)]
struct WaitingProposal {
    proposal: Proposal,
    deadline: Duration,
    /// It may have reached a log.
    sent: bool,
    answers: Vec<oneshot::Sender<Result<Applied, ProposeFailure>>>,
}

impl Proposals {
    /// Waits for a proposal. False if that one is waited for already.
    pub(super) fn add(
        &mut self,
        proposal: &Proposal,
        deadline: Duration,
        answer: oneshot::Sender<Result<Applied, ProposeFailure>>,
    ) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&proposal.id) {
            waiting.answers.push(answer);
            return false;
        }
        let proposal = proposal.clone();
        self.deadlines.insert((deadline, proposal.id));
        let id = proposal.id;
        let answers = vec![answer];
        self.waiting.insert(id, WaitingProposal { proposal, deadline, sent: false, answers });
        self.unsent += 1;
        true
    }

    /// Those to propose again: all, or only those that never reached a log.
    pub(super) fn again(&self, all: bool) -> Vec<Proposal> {
        let lost = self.waiting.values().filter(|waiting| all || !waiting.sent);
        lost.map(|waiting| waiting.proposal.clone()).collect()
    }

    /// Notes that it may have reached a log.
    pub(super) fn sent(&mut self, id: ProposalId) {
        if let Some(waiting) = self.waiting.get_mut(&id)
            && !std::mem::replace(&mut waiting.sent, true)
        {
            self.unsent -= 1;
        }
    }

    /// Whether some never reached a log.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn applied(&mut self, outcome: Outcome) {
        let result = outcome.applied.map_err(|_| ProposeFailure::TooOld);
        self.answer(outcome.id, &result);
    }

    pub(super) fn fail(&mut self, id: ProposalId, failure: ProposeFailure) {
        self.answer(id, &Err(failure));
    }

    pub(super) fn fail_all(&mut self, ended: &Ended) {
        while let Some((id, _)) = self.waiting.first_key_value() {
            self.fail(*id, ProposeFailure::Ended(ended.clone()));
        }
    }

    /// Gives up on those whose time is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            let sent = self.waiting.get(&id).is_none_or(|waiting| waiting.sent);
            let failure = if sent { ProposeFailure::Unknown } else { ProposeFailure::NoLeader };
            self.fail(id, failure);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn answer(&mut self, id: ProposalId, result: &Result<Applied, ProposeFailure>) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        self.deadlines.remove(&(waiting.deadline, id));
        self.unsent -= usize::from(!waiting.sent);
        for answer in waiting.answers {
            // A caller that went away needs no answer.
            drop(answer.send(result.clone()));
        }
    }
}

/// Reads that wait for a proof, or for the state to catch up with it.
pub(super) struct Reads<S> {
    next: u64,
    waiting: BTreeMap<ReadId, WaitingRead<S>>,
    deadlines: BTreeSet<(Duration, ReadId)>,
    proven: BTreeSet<(Index, ReadId)>,
}

struct WaitingRead<S> {
    proof: ReadProof,
    deadline: Duration,
    index: Option<Index>,
    read: Read<S>,
}

impl<S> std::fmt::Debug for Reads<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reads({})", self.waiting.len())
    }
}

impl<S> Default for Reads<S> {
    fn default() -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            proven: BTreeSet::new(),
        }
    }
}

impl<S> Reads<S> {
    pub(super) fn add(&mut self, proof: ReadProof, deadline: Duration, read: Read<S>) -> ReadId {
        self.next += 1;
        let id = ReadId(self.next);
        self.deadlines.insert((deadline, id));
        self.waiting.insert(id, WaitingRead { proof, deadline, index: None, read });
        id
    }

    /// All without a proof, under new ids: an answer to an older question proves nothing (row M11).
    pub(super) fn again(&mut self) -> Vec<(ReadId, ReadProof)> {
        let unproven = self.waiting.iter().filter(|(_, read)| read.index.is_none());
        let old: Vec<ReadId> = unproven.map(|(id, _)| *id).collect();
        let renewed = old.into_iter().filter_map(|id| {
            let read = self.waiting.remove(&id)?;
            self.deadlines.remove(&(read.deadline, id));
            self.next += 1;
            let (id, proof) = (ReadId(self.next), read.proof);
            self.deadlines.insert((read.deadline, id));
            self.waiting.insert(id, read);
            Some((id, proof))
        });
        renewed.collect()
    }

    pub(super) fn has_unproven(&self) -> bool {
        self.proven.len() < self.waiting.len()
    }

    /// A proof has come: the state must hold `index`.
    pub(super) fn prove(&mut self, id: ReadId, index: Index) {
        if let Some(read) = self.waiting.get_mut(&id)
            && read.index.is_none()
        {
            read.index = Some(index);
            self.proven.insert((index, id));
        }
    }

    /// Serves all for which the state has caught up.
    pub(super) fn serve(&mut self, applied: Index, state: &S) {
        while let Some((_, id)) = self.proven.first().copied().filter(|(at, _)| *at <= applied) {
            if let Some(read) = self.take(id) {
                (read.read)(Ok(state));
            }
        }
    }

    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            if let Some(read) = self.take(id) {
                (read.read)(Err(ReadFailure::NotConfirmed));
            }
        }
    }

    pub(super) fn fail_all(&mut self, ended: &Ended) {
        while let Some((id, _)) = self.waiting.first_key_value() {
            if let Some(read) = self.take(*id) {
                (read.read)(Err(ReadFailure::Ended(ended.clone())));
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn take(&mut self, id: ReadId) -> Option<WaitingRead<S>> {
        let read = self.waiting.remove(&id)?;
        self.deadlines.remove(&(read.deadline, id));
        if let Some(index) = read.index {
            self.proven.remove(&(index, id));
        }
        Some(read)
    }
}

/// A change of the members that waits for its commit: there is one at a time.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: Option<WaitingChange>,
}

#[derive(Debug)]
struct WaitingChange {
    id: EntryId,
    deadline: Duration,
    answer: oneshot::Sender<Result<EntryId, ChangeFailure>>,
}

impl Changes {
    pub(super) fn add(
        &mut self,
        id: EntryId,
        deadline: Duration,
        answer: oneshot::Sender<Result<EntryId, ChangeFailure>>,
    ) {
        // One that still waits belongs to an earlier leadership, whose outcome nobody has told.
        self.finish(Err(ChangeFailure::Unknown));
        self.waiting = Some(WaitingChange { id, deadline, answer });
    }

    /// An entry is applied: the change, or what took its place.
    pub(super) fn applied(&mut self, entry: EntryId, leader: Option<NodeId>) {
        match &self.waiting {
            Some(waiting) if waiting.id == entry => self.finish(Ok(entry)),
            Some(waiting) if waiting.id.index <= entry.index => {
                self.finish(Err(ChangeFailure::Lost { leader }));
            }
            _ => {}
        }
    }

    pub(super) fn expire(&mut self, now: Duration) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.deadline <= now) {
            self.finish(Err(ChangeFailure::Unknown));
        }
    }

    pub(super) fn fail_all(&mut self, ended: &Ended) {
        self.finish(Err(ChangeFailure::Ended(ended.clone())));
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waiting.as_ref().map(|waiting| waiting.deadline)
    }

    fn finish(&mut self, result: Result<EntryId, ChangeFailure>) {
        if let Some(waiting) = self.waiting.take() {
            // A caller that went away needs no answer.
            drop(waiting.answer.send(result));
        }
    }
}

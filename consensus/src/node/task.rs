//! The loop that carries out what the core says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::failure::{ChangeFailure, Ended, ProposeFailure};
use super::request::Request;
use super::storage::{Durability, Storage};
use super::waiting::{Changes, Proposals, Reads};
use super::{Options, alarm::Alarms};
use crate::machine::{Applier, StateMachine};
use crate::transport::{Incoming, Transport};
use crate::{
    Change, EntryId, Event, Output, Proposal, ProposeError, Raft, ReadId, ReadProof, Role,
    Snapshot, State, Write,
};

/// Things taken together at most: what is ready after them has its turn next.
const BATCH_MAX: usize = 1024;

/// What connects the task with the world.
#[derive(Debug)]
pub(super) struct Edge<D, T> {
    pub(super) storage: D,
    pub(super) transport: T,
    pub(super) told: watch::Sender<State>,
    /// Index of the last entry that was applied, for who names proposals.
    pub(super) applied: Arc<AtomicU64>,
}

/// A node at work.
pub(super) struct Task<S, D: Storage, T> {
    options: Options,
    raft: Raft,
    applier: Applier<S>,
    edge: Edge<D, T>,
    state: State,
    /// When this turn began.
    now: Duration,
    writes: Vec<Write>,
    proposals: Proposals,
    reads: Reads<S>,
    changes: Changes,
    /// When to repeat what may be lost.
    retry_at: Option<Duration>,
    /// All that waits may be lost, whoever leads: it went to another leader, or came by a snapshot.
    retry_all: bool,
    applied_bytes: usize,
    snapshot: Option<Making<D>>,
    alarms: Alarms,
    ended: Option<Ended>,
    /// Asked to stop: when to wait no longer for another leader.
    stop_at: Option<Duration>,
}

/// A snapshot that is being made.
type Making<D> = oneshot::Receiver<Result<Arc<Snapshot>, <D as Storage>::Failure>>;

/// What woke the task.
enum Woken<S, F> {
    Request(Request<S>),
    Incoming(Incoming),
    Durable,
    Snapshot(Option<Result<Arc<Snapshot>, F>>),
    Time,
    /// Nobody is left to ask for anything.
    Abandoned,
}

/// What is taken together.
struct Batch {
    proposals: Vec<Proposal>,
    reads: Vec<(ReadId, ReadProof)>,
}

impl<S: StateMachine, D: Storage, T: Transport> Task<S, D, T> {
    pub(super) fn new(
        options: Options,
        (raft, applier): (Raft, Applier<S>),
        edge: Edge<D, T>,
    ) -> Self {
        Self {
            options,
            raft,
            applier,
            edge,
            state: State::default(),
            now: Duration::ZERO,
            writes: Vec::new(),
            proposals: Proposals::default(),
            reads: Reads::default(),
            changes: Changes::default(),
            retry_at: None,
            retry_all: false,
            applied_bytes: 0,
            snapshot: None,
            alarms: Alarms::default(),
            ended: None,
            stop_at: None,
        }
    }

    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request<S>>,
        mut incoming: mpsc::Receiver<Incoming>,
    ) {
        let mut durability = self.edge.storage.durability();
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        self.tick();
        while !self.is_over() {
            let now = self.options.clock.now();
            let wait = self.deadline().saturating_sub(now);
            sleep.as_mut().reset(tokio::time::Instant::now() + wait.min(Duration::from_secs(3600)));
            let woken = tokio::select! {
                changed = durability.changed() => match changed {
                    Ok(()) => Woken::Durable,
                    Err(_) => Woken::Abandoned,
                },
                Some(message) = incoming.recv() => Woken::Incoming(message),
                request = requests.recv() => request.map_or(Woken::Abandoned, Woken::Request),
                done = made::<D>(&mut self.snapshot) => Woken::Snapshot(done),
                () = &mut sleep => Woken::Time,
            };
            self.now = self.options.clock.now();
            let mut batch = Batch { proposals: Vec::new(), reads: Vec::new() };
            if matches!(woken, Woken::Abandoned) {
                break;
            }
            self.take(woken, &durability, &mut batch);
            for _ in 0..BATCH_MAX {
                if let Ok(request) = requests.try_recv() {
                    self.take(Woken::Request(request), &durability, &mut batch);
                } else if let Ok(message) = incoming.try_recv() {
                    self.take(Woken::Incoming(message), &durability, &mut batch);
                } else {
                    break;
                }
            }
            self.finish(batch);
        }
        self.close();
    }

    /// Whether a node that was asked to stop may.
    fn is_over(&self) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        let leads = self.state.role == Role::Leader && self.ended.is_none();
        !leads || self.options.clock.now() >= stop_at
    }

    fn deadline(&self) -> Duration {
        let raft = if self.ended.is_some() { Duration::MAX } else { self.raft.deadline() };
        let waiting = [
            self.proposals.deadline(),
            self.reads.deadline(),
            self.changes.deadline(),
            self.retry_at,
            self.stop_at,
        ];
        waiting.into_iter().flatten().fold(raft, Duration::min)
    }

    fn take(
        &mut self,
        woken: Woken<S, D::Failure>,
        durability: &watch::Receiver<Durability<D::Failure>>,
        batch: &mut Batch,
    ) {
        match woken {
            Woken::Request(request) => self.request(request, batch),
            Woken::Incoming(Incoming::Message(envelope)) => {
                self.step(Event::Receive(envelope));
            }
            Woken::Incoming(Incoming::Unreachable(node)) => {
                self.step(Event::Unreachable(node));
            }
            Woken::Durable => {
                let Durability { durable, failed } = durability.borrow().clone();
                self.step(Event::Persisted(durable));
                if let Some(failure) = failed {
                    self.end(Ended::Storage(Arc::new(failure)));
                }
            }
            Woken::Snapshot(Some(Ok(snapshot))) => {
                self.step(Event::Compact(snapshot));
            }
            Woken::Snapshot(Some(Err(failure))) => self.end(Ended::Storage(Arc::new(failure))),
            // The thread that made it was ended: the next one will do.
            Woken::Snapshot(None) => {}
            Woken::Time | Woken::Abandoned => {}
        }
    }

    fn request(&mut self, request: Request<S>, batch: &mut Batch) {
        if let Some(ended) = self.ended.clone() {
            self.refuse(request, ended);
            return;
        }
        let now = self.now;
        match request {
            Request::Propose { proposal, within, answer } => {
                if self.proposals.add(&proposal, now + within, answer) {
                    batch.proposals.push(proposal);
                }
            }
            Request::Read { proof, within, read } => {
                batch.reads.push((self.reads.add(proof, now + within, read), proof));
            }
            Request::Change { change, within, answer } => {
                self.change(change, now + within, answer);
            }
            Request::Transfer { to, answer } => {
                let output = self.step(Event::Transfer(to));
                let result = output.transferred.unwrap_or(Ok(()));
                // A caller that went away needs no answer.
                drop(answer.send(result.map_err(ChangeFailure::NotTransferred)));
            }
            Request::TakeOver { answer } => {
                let result = self.step(Event::TakeOver).taken_over.unwrap_or(Ok(()));
                // As above.
                drop(answer.send(result.map_err(ChangeFailure::NotTakenOver)));
            }
            // As above.
            Request::Status { answer } => drop(answer.send(self.raft.status())),
            Request::SetTiming(timing) => {
                self.options.config.timing = timing;
                self.raft.set_timing(timing);
            }
            Request::Stop => self.begin_stop(now),
        }
    }

    /// Answers after the end.
    fn refuse(&mut self, request: Request<S>, ended: Ended) {
        // Callers that went away need no answer.
        match request {
            Request::Propose { answer, .. } => {
                drop(answer.send(Err(ProposeFailure::Ended(ended))));
            }
            Request::Read { read, .. } => read(Err(super::ReadFailure::Ended(ended))),
            Request::Change { answer, .. } => {
                drop(answer.send(Err(ChangeFailure::Ended(ended))));
            }
            Request::Transfer { answer, .. } | Request::TakeOver { answer } => {
                drop(answer.send(Err(ChangeFailure::Ended(ended))));
            }
            Request::Status { answer } => drop(answer.send(self.raft.status())),
            Request::SetTiming(_) => {}
            Request::Stop => self.stop_at = Some(Duration::ZERO),
        }
    }

    fn change(
        &mut self,
        change: Change,
        deadline: Duration,
        answer: oneshot::Sender<Result<EntryId, ChangeFailure>>,
    ) {
        let output = self.step(Event::Change(change));
        match output.changed {
            Some(Ok(id)) => self.changes.add(id, deadline, answer),
            // A caller that went away needs no answer.
            Some(Err(error)) => drop(answer.send(Err(ChangeFailure::Refused(error)))),
            None => drop(answer.send(Err(ChangeFailure::Unknown))),
        }
    }

    /// Lets another voter lead before this one goes.
    fn begin_stop(&mut self, now: Duration) {
        self.stop_at = Some(now + self.options.handover);
        let status = self.raft.status();
        let voters = status.members.iter().filter(|one| one.vote == Some(crate::Vote::Voter));
        let best = voters.filter(|one| !one.forgot).max_by_key(|one| one.matched);
        match best.map(|one| one.node) {
            Some(best) => {
                self.step(Event::Transfer(best));
            }
            None => self.stop_at = Some(now),
        }
    }

    /// Ends a turn: everything gathered is stepped, written, and what is due is done.
    fn finish(&mut self, batch: Batch) {
        self.propose(batch.proposals);
        self.ask(&batch.reads);
        self.tick();
        let now = self.options.clock.now();
        self.proposals.expire(now);
        self.reads.expire(now);
        self.changes.expire(now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let all = std::mem::take(&mut self.retry_all) || self.state.role != Role::Leader;
            self.repeat(all);
        }
        self.flush();
        self.snapshot_if_due();
        self.plan_retry(now);
    }

    fn tick(&mut self) {
        if self.ended.is_none() && self.raft.deadline() <= self.options.clock.now() {
            self.step(Event::Tick);
        }
        self.flush();
    }

    fn propose(&mut self, proposals: Vec<Proposal>) {
        if proposals.is_empty() {
            return;
        }
        let ids: Vec<_> = proposals.iter().map(|proposal| proposal.id).collect();
        let refused = self.step(Event::Propose(proposals)).refused;
        for id in ids {
            match refused.iter().find(|(refused, _)| *refused == id).map(|(_, error)| *error) {
                None => self.proposals.sent(id),
                Some(ProposeError::TooLarge { bytes, max }) => {
                    self.proposals.fail(id, ProposeFailure::TooLarge { bytes, max });
                }
                // Tried again, until its time is over.
                Some(_) => {}
            }
        }
    }

    fn ask(&mut self, reads: &[(ReadId, ReadProof)]) {
        for proof in [ReadProof::Round, ReadProof::Lease] {
            let ids: Vec<ReadId> =
                reads.iter().filter(|(_, wanted)| *wanted == proof).map(|(id, _)| *id).collect();
            if !ids.is_empty() {
                self.step(Event::Read { ids, proof });
            }
        }
    }

    /// Proposes and asks again: all that waits, or only what never reached a log.
    fn repeat(&mut self, all: bool) {
        let proposals = self.proposals.again(all);
        self.propose(proposals);
        let reads = self.reads.again();
        self.ask(&reads);
    }

    /// What waits may be lost, so it is repeated: soon where nobody took it, else when an answer should
    /// have come. A leader's own entries are in its log and need no repetition.
    fn plan_retry(&mut self, now: Duration) {
        let timing = self.options.config.timing;
        let lost = self.proposals.has_unsent();
        let waits = !self.proposals.is_empty() || self.reads.has_unproven();
        let wait = if lost {
            timing.heartbeat()
        } else if waits {
            timing.election() / 2
        } else {
            self.retry_at = None;
            return;
        };
        let at = now + wait;
        self.retry_at = Some(self.retry_at.map_or(at, |planned| planned.min(at)));
    }

    /// Takes a step, and carries out what it says.
    fn step(&mut self, event: Event) -> Output {
        if self.ended.is_some() {
            return Output::default();
        }
        let mut output = self.raft.step(self.options.clock.now(), event);
        self.writes.append(&mut output.writes);
        for envelope in output.messages.drain(..) {
            self.edge.transport.send(envelope);
        }
        let changed = output.state.take();
        if let Some(snapshot) = output.restore.take() {
            self.restore(&snapshot);
        }
        self.apply(&output);
        for (id, index) in output.reads.drain(..) {
            self.reads.prove(id, index);
        }
        self.reads.serve(self.applier.applied().index, self.applier.state());
        for alarm in &output.alarms {
            self.alarms.raise(alarm, self.options.identity.node, self.options.clock.now());
        }
        if let Some(state) = changed {
            self.tell(state);
        }
        output
    }

    fn apply(&mut self, output: &Output) {
        for entry in &output.apply {
            self.applied_bytes += entry.bytes();
            let outcome = self.applier.apply(entry);
            self.changes.applied(entry.id, self.state.leader);
            if let Some(outcome) = outcome {
                self.proposals.applied(outcome);
            }
        }
        self.edge.applied.store(self.applier.applied().index.0, Ordering::Release);
    }

    fn restore(&mut self, snapshot: &Snapshot) {
        tracing::info!(
            node = %self.options.identity.node,
            entry = %snapshot.meta.last,
            bytes = snapshot.meta.bytes,
            "took the leader's state"
        );
        self.applied_bytes = 0;
        if let Err(error) = self.applier.restore(snapshot) {
            self.end(Ended::Restore(error));
        }
        // What waits may be in the snapshot: asked again, it is answered from there.
        self.retry_soon();
    }

    fn retry_soon(&mut self) {
        self.retry_all = true;
        self.retry_at = Some(Duration::ZERO);
    }

    /// Notes and tells a new state.
    fn tell(&mut self, state: State) {
        tracing::info!(
            node = %self.options.identity.node,
            term = state.term.0,
            role = ?state.role,
            leader = state.leader.map(|leader| leader.0),
            members = state.membership.1.members.len(),
            "consensus state"
        );
        if state.membership != self.state.membership {
            self.edge.transport.set_members(&state.membership.1);
        }
        if state.leader != self.state.leader && state.leader.is_some() {
            // Who waits may have asked the one before.
            self.retry_soon();
        }
        self.state = state.clone();
        self.edge.told.send_replace(state);
        if let Role::Ended(why) = self.state.role {
            self.end(Ended::Refused(why));
        }
    }

    /// Hands the writes gathered to the store.
    fn flush(&mut self) {
        if self.writes.is_empty() || self.ended.is_some() {
            return;
        }
        let writes = std::mem::take(&mut self.writes);
        if let Err(failure) = self.edge.storage.write(writes) {
            self.end(Ended::Storage(Arc::new(failure)));
        }
    }

    /// Makes a snapshot when enough was applied since the last, off this task.
    fn snapshot_if_due(&mut self) {
        let due = self.applied_bytes >= self.options.snapshot_log_bytes;
        if !due || self.snapshot.is_some() || self.ended.is_some() {
            return;
        }
        let applied = self.applier.applied();
        let (id, membership) = self.raft.snapshot_point(applied.index);
        assert_eq!(id, applied, "the state is of another log");
        self.applied_bytes = 0;
        let snapshot = Arc::new(Snapshot::new(id, membership, self.applier.snapshot()));
        let keep = self.edge.storage.keeper();
        let (done, receiver) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let kept = keep(&snapshot).map(|()| snapshot);
            // A node that has ended needs it no more.
            drop(done.send(kept));
        });
        self.snapshot = Some(receiver);
    }

    /// The node takes no part any more; who waits is told.
    fn end(&mut self, ended: Ended) {
        if self.ended.is_some() {
            return;
        }
        tracing::error!(node = %self.options.identity.node, reason = %ended, "takes no part any more");
        self.fail_all(&ended);
        self.ended = Some(ended);
    }

    fn fail_all(&mut self, ended: &Ended) {
        self.proposals.fail_all(ended);
        self.reads.fail_all(ended);
        self.changes.fail_all(ended);
    }

    fn close(mut self) {
        self.flush();
        self.fail_all(&Ended::Stopped);
        if self.ended.is_none()
            && let Err(failure) = self.edge.storage.close()
        {
            let node = self.options.identity.node;
            tracing::warn!(%node, %failure, "no clean end");
        }
    }
}

/// Waits for a snapshot that is being made; for ever if none is.
async fn made<D: Storage>(
    making: &mut Option<Making<D>>,
) -> Option<Result<Arc<Snapshot>, D::Failure>> {
    let Some(receiver) = making else { return std::future::pending().await };
    let result = receiver.await;
    *making = None;
    result.ok()
}

//! What callers use. Cheap to clone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use resprout_wal::world::Entropy;

use super::Options;
use super::failure::{ChangeFailure, Ended, ProposeFailure, ReadFailure};
use super::request::Request;
use crate::machine::Applied;
use crate::{
    Change, EntryId, Index, NodeId, Proposal, ProposalId, ReadProof, State, Status, StoreId, Timing,
};

/// A way to one node: proposing, reading, changing the members, watching. Works at any member; what
/// only the leader can do is passed on to it, except changes of the members.
pub struct Handle<S> {
    requests: mpsc::Sender<Request<S>>,
    state: watch::Receiver<State>,
    applied: Arc<AtomicU64>,
    names: Arc<Names>,
    node: NodeId,
    patience: Duration,
    /// Between two tries.
    pause: Duration,
}

/// Names proposals: a random number for the run of the node, and a count. So no two nodes or runs give
/// the same name, and the names of one run lie together wherever they are kept in order.
#[derive(Debug)]
struct Names {
    run: u64,
    count: AtomicU64,
}

impl Names {
    fn new(entropy: &dyn Entropy) -> Self {
        Self { run: entropy.next(), count: AtomicU64::new(0) }
    }

    fn next(&self) -> ProposalId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        ProposalId(u128::from(self.run) << 64 | u128::from(count))
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            state: self.state.clone(),
            applied: self.applied.clone(),
            names: self.names.clone(),
            node: self.node,
            patience: self.patience,
            pause: self.pause,
        }
    }
}

impl<S> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.node)
    }
}

impl<S> Handle<S> {
    pub(super) fn new(
        requests: mpsc::Sender<Request<S>>,
        state: watch::Receiver<State>,
        applied: Arc<AtomicU64>,
        options: &Options,
    ) -> Self {
        Self {
            requests,
            state,
            applied,
            names: Arc::new(Names::new(&*options.entropy)),
            node: options.identity.node,
            // Long enough for one failed election and one that succeeds.
            patience: options.config.timing.election() * 5,
            pause: options.config.timing.heartbeat() / 4,
        }
    }

    /// The same way with another limit for each request; five election timeouts unless set.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Whose it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Term, role, leader and members, now and whenever they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Names a command, to be proposed as often as need be and applied once.
    #[must_use]
    pub fn proposal(&self, command: impl Into<Bytes>) -> Proposal {
        let since = Index(self.applied.load(Ordering::Acquire));
        Proposal { id: self.names.next(), since, command: command.into() }
    }

    /// Proposes a command and waits until it is applied here.
    ///
    /// # Errors
    /// [`ProposeFailure`]. After [`ProposeFailure::Unknown`] only [`Handle::submit`] with a
    /// [`Handle::proposal`] kept from before can find out.
    pub async fn propose(&self, command: impl Into<Bytes>) -> Result<Applied, ProposeFailure> {
        self.submit(self.proposal(command)).await
    }

    /// Proposes a named command and waits until it is applied here. Repeating it, here or at another
    /// member, is harmless.
    ///
    /// # Errors
    /// [`ProposeFailure`].
    pub async fn submit(&self, proposal: Proposal) -> Result<Applied, ProposeFailure> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Propose { proposal, within: self.patience, answer };
        let stopped = || ProposeFailure::Ended(Ended::Stopped);
        self.requests.send(request).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(ProposeFailure::Unknown))
    }

    /// Reads a state with everything in it that was acknowledged, by whomever, before this call.
    /// The closure runs on the node's task and must be short.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadFailure> {
        self.read_by(ReadProof::Round, read).await
    }

    /// As [`Handle::read`], with the lease where there is one: no message, but it relies on clocks
    /// that run within a fifth of each other.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn read_by<R: Send + 'static>(
        &self,
        proof: ReadProof,
        read: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadFailure> {
        let (answer, answered) = oneshot::channel();
        let read = Box::new(move |state: Result<&S, ReadFailure>| {
            // A caller that went away needs no answer.
            drop(answer.send(state.map(read)));
        });
        let request = Request::Read { proof, within: self.patience, read };
        self.requests.send(request).await.map_err(|_| ReadFailure::Ended(Ended::Stopped))?;
        answered.await.unwrap_or_else(|_| Err(ReadFailure::Ended(Ended::Stopped)))
    }

    /// Gives the log to a node that has no part yet, and waits until that is committed. A new
    /// directory takes a new id: a member that was away meanwhile knows the old one by its store,
    /// and lets no other in over the network until somebody else tells it of the change.
    ///
    /// # Errors
    /// [`ChangeFailure`].
    pub async fn add_learner(
        &self,
        node: NodeId,
        store: StoreId,
        address: impl Into<String>,
    ) -> Result<EntryId, ChangeFailure> {
        self.change(Change::AddLearner { node, store, address: address.into() }).await
    }

    /// Lets a learner vote, once it has caught up.
    ///
    /// # Errors
    /// [`ChangeFailure`]; [`crate::ChangeError::Behind`] while it has not caught up.
    pub async fn promote(&self, node: NodeId) -> Result<EntryId, ChangeFailure> {
        self.change(Change::Promote(node)).await
    }

    /// Takes a voter its vote.
    ///
    /// # Errors
    /// [`ChangeFailure`].
    pub async fn demote(&self, node: NodeId) -> Result<EntryId, ChangeFailure> {
        self.change(Change::Demote(node)).await
    }

    /// Takes a member out. A leader that removes itself steps down when that is committed.
    ///
    /// # Errors
    /// [`ChangeFailure`].
    pub async fn remove(&self, node: NodeId) -> Result<EntryId, ChangeFailure> {
        self.change(Change::Remove(node)).await
    }

    /// Changes the members, and waits until that is committed. At the leader only. What hinders it for a
    /// moment (another change, a learner that has to catch up, an election) is waited for.
    ///
    /// # Errors
    /// [`ChangeFailure`].
    pub async fn change(&self, change: Change) -> Result<EntryId, ChangeFailure> {
        let end = Instant::now() + self.patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.change_once(change.clone(), left).await {
                Err(ChangeFailure::Refused(error)) if error.is_passing() && !left.is_zero() => {
                    tokio::time::sleep(self.pause.min(left)).await;
                }
                result => return result,
            }
        }
    }

    async fn change_once(
        &self,
        change: Change,
        within: Duration,
    ) -> Result<EntryId, ChangeFailure> {
        let (answer, answered) = oneshot::channel();
        let stopped = || ChangeFailure::Ended(Ended::Stopped);
        let request = Request::Change { change, within, answer };
        self.requests.send(request).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(ChangeFailure::Unknown))
    }

    /// Hands leadership to another voter, and waits until it leads.
    ///
    /// # Errors
    /// [`ChangeFailure::Unknown`] if it does not lead within the limit.
    pub async fn transfer_leadership(&self, to: NodeId) -> Result<(), ChangeFailure> {
        let (answer, answered) = oneshot::channel();
        let stopped = || ChangeFailure::Ended(Ended::Stopped);
        self.requests.send(Request::Transfer { to, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))?;
        self.until_led_by(to).await
    }

    async fn until_led_by(&self, leader: NodeId) -> Result<(), ChangeFailure> {
        let mut state = self.state.clone();
        let leads = state.wait_for(|state| state.leader == Some(leader));
        match tokio::time::timeout(self.patience, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ChangeFailure::Ended(Ended::Stopped)),
            Err(_) => Err(ChangeFailure::Unknown),
        }
    }

    /// Has this node lead without anybody's vote, and waits until it does: for when those that had votes are lost for
    /// good. What they committed and this node does not have is gone, and so are they: [`crate::Refusal::TakenOver`].
    ///
    /// # Errors
    /// [`ChangeFailure`].
    pub async fn take_over(&self) -> Result<(), ChangeFailure> {
        let (answer, answered) = oneshot::channel();
        let stopped = || ChangeFailure::Ended(Ended::Stopped);
        self.requests.send(Request::TakeOver { answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))?;
        self.until_led_by(self.node).await
    }

    /// What the node knows now; `None` if it was stopped.
    pub async fn status(&self) -> Option<Status> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Status { answer }).await.ok()?;
        answered.await.ok()
    }

    /// Other times from now on, as [`crate::Raft::set_timing`]. Limits of requests stay as they are.
    pub async fn set_timing(&self, timing: Timing) {
        // A node that was stopped has no use for them.
        drop(self.requests.send(Request::SetTiming(timing)).await);
    }

    /// Asks the node to end in order.
    pub(super) async fn stop(&self) {
        // A node that has ended already needs not be asked.
        drop(self.requests.send(Request::Stop).await);
    }
}

//! Calls to the master aggregator, from whichever node: said again until they are answered, carried out once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use resprout_cluster::NodeId;
use resprout_cluster::control::{Control, Operation, Returned, ShownStep};
use resprout_cluster::metadata::{Outcome, Refusal};
use resprout_cluster::plan::{Asked, One};
use resprout_sql::error::Code;
use tokio::sync::oneshot;

use crate::error::CallError;
use crate::post::Post;
use crate::state::Shared;

/// A call is said again so often; whoever carries it out knows it by its number.
const SAY_EVERY: Duration = Duration::from_millis(300);
/// Results that are kept, for callers that did not hear them.
const KEPT_MAX: usize = 1024;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The caller's side.
pub struct Calls {
    metadata: Shared,
    post: Post,
    /// From a random number on, so that no two runs give the same.
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Returned>>>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calls({} waiting)", locked(&self.waiting).len())
    }
}

impl Calls {
    pub(crate) fn new(metadata: Shared, post: Post, first: u64) -> Self {
        Self { metadata, post, next: first.into(), waiting: Mutex::default() }
    }

    /// Has something done, and waits until it is and is known here.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, operation: Operation, within: Duration) -> Result<Outcome, CallError> {
        let end = Instant::now() + within;
        // Another took office while it was under way: it may have been done, and is found so.
        let mut was_interrupted = false;
        loop {
            let holder = self.holder(end).await?;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(returned) = self.say(holder, number, &operation, end).await else {
                if Instant::now() >= end {
                    return Err(CallError::Unknown);
                }
                was_interrupted = true;
                continue;
            };
            match returned {
                Returned::Done { index, outcome } => {
                    self.known(index, end).await;
                    return match outcome {
                        Outcome::Refused { refusal: Refusal::NotInOffice { .. } } => {
                            was_interrupted = true;
                            continue;
                        }
                        Outcome::Refused { refusal: Refusal::DatabaseExists { .. } }
                            if was_interrupted =>
                        {
                            Ok(Outcome::Done)
                        }
                        Outcome::Refused { refusal: Refusal::Version { .. } } => {
                            Err(CallError::Changed)
                        }
                        Outcome::Refused { refusal } => {
                            Err(CallError::Refused(refusal.to_string()))
                        }
                        outcome => Ok(outcome),
                    };
                }
                Returned::Told { code, .. } if was_interrupted && is_done(&operation, code) => {
                    return Ok(Outcome::Done);
                }
                Returned::Told { code, text } => return Err(CallError::Told(code, text)),
                Returned::Failed { text } => return Err(CallError::Refused(text)),
                // No call of these operations is answered so.
                Returned::Steps { .. } | Returned::Surveyed { .. } => return Ok(Outcome::Done),
                // It knows better who is: what it knows comes here soon.
                Returned::NotMaster if Instant::now() < end => {
                    tokio::time::sleep(SAY_EVERY / 3).await;
                }
                Returned::NotMaster => return Err(CallError::NoMaster),
            }
        }
    }

    /// The steps of a plan, as the master aggregator knows them.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn steps(
        &self,
        operation: Operation,
        within: Duration,
    ) -> Result<Vec<ShownStep>, CallError> {
        let end = Instant::now() + within;
        loop {
            let holder = self.holder(end).await?;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            match self.say(holder, number, &operation, end).await {
                Some(Returned::Steps { steps }) => return Ok(steps),
                Some(Returned::Told { code, text }) => return Err(CallError::Told(code, text)),
                Some(Returned::Failed { text }) => return Err(CallError::Refused(text)),
                Some(Returned::Done { .. }) => return Err(CallError::Unknown),
                _ if Instant::now() >= end => return Err(CallError::NoMaster),
                _ => tokio::time::sleep(SAY_EVERY / 3).await,
            }
        }
    }

    async fn holder(&self, end: Instant) -> Result<NodeId, CallError> {
        let mut changes = self.metadata.watch();
        loop {
            if let Some(holder) = self.metadata.read().office().holder {
                return Ok(holder);
            }
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, changes.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(CallError::NoMaster),
            }
        }
    }

    /// Says it to that node until that answers; nothing if another is the master aggregator by then, or it is too
    /// late. What was begun there may be begun again elsewhere: each operation finds done what is done.
    async fn say(
        &self,
        to: NodeId,
        number: u64,
        operation: &Operation,
        end: Instant,
    ) -> Option<Returned> {
        let (sender, mut receiver) = oneshot::channel();
        locked(&self.waiting).insert(number, sender);
        let result = loop {
            self.post.send(to, Control::Call { number, operation: operation.clone() });
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(SAY_EVERY.min(left), &mut receiver).await {
                Ok(returned) => break returned.ok(),
                Err(_) => {
                    let is_holder = self.metadata.read().office().holder == Some(to);
                    if left.is_zero() || !is_holder {
                        break None;
                    }
                }
            }
        };
        locked(&self.waiting).remove(&number);
        result
    }

    async fn known(&self, index: u64, end: Instant) {
        let mut changes = self.metadata.watch();
        while *changes.borrow_and_update() < index {
            let left = end.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Begins to wait for an answer, by the number of its question.
    pub(crate) fn begin(&self) -> (u64, oneshot::Receiver<Returned>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        locked(&self.waiting).insert(number, sender);
        (number, receiver)
    }

    /// Waits for it no longer.
    pub(crate) fn forget(&self, number: u64) {
        locked(&self.waiting).remove(&number);
    }

    pub(crate) fn post(&self) -> &Post {
        &self.post
    }

    /// An answer has come.
    pub(crate) fn returned(&self, number: u64, result: Returned) {
        if let Some(waiting) = locked(&self.waiting).remove(&number) {
            // Who waited may have gone away.
            drop(waiting.send(result));
        }
    }
}

/// Whether an operation that was begun under another master aggregator is found done: it says that the table, the column
/// or the key is there already, or is not there any more; or that the copy has left the record. Its files, if its leaf still has them, are an
/// orphan.
fn is_done(operation: &Operation, code: u16) -> bool {
    let code = Code(code);
    let codes = [
        Code::TABLE_EXISTS,
        Code::BAD_TABLE,
        Code::NO_SUCH_TABLE,
        Code::DUP_FIELD_NAME,
        Code::DUP_KEY_NAME,
        Code::CANT_DROP_FIELD_OR_KEY,
    ];
    match operation {
        Operation::Define { .. } => codes.contains(&code),
        Operation::Plan { asked: Asked::One { one: One::Drop | One::Detach, .. }, .. } => {
            code == Code::WRONG_ARGUMENTS
        }
        _ => false,
    }
}

/// The side that carries out: what is under way, and what became of the last ones.
#[derive(Debug, Default)]
pub(crate) struct Served(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    results: HashMap<(NodeId, u64), Option<Returned>>,
    order: VecDeque<(NodeId, u64)>,
}

/// What is to be done with a call that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is new: carry it out.
    New,
    /// It is under way.
    UnderWay,
    /// It is done: say so again.
    Done(Returned),
}

impl Served {
    pub(crate) fn came(&self, from: NodeId, number: u64) -> Came {
        let mut kept = locked(&self.0);
        match kept.results.get(&(from, number)) {
            Some(None) => Came::UnderWay,
            Some(Some(result)) => Came::Done(result.clone()),
            None => {
                kept.results.insert((from, number), None);
                Came::New
            }
        }
    }

    pub(crate) fn done(&self, from: NodeId, number: u64, result: Returned) {
        let mut kept = locked(&self.0);
        let Some(known) = kept.results.get_mut(&(from, number)) else { return };
        *known = Some(result);
        // What is under way is never forgotten: it would be begun once more.
        kept.order.push_back((from, number));
        if kept.order.len() > KEPT_MAX
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.results.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a call that comes twice is carried out once, and answered twice; what is kept of answers is bounded, and however
    /// many come meanwhile, what is under way is known.
    #[test]
    fn a_call_is_carried_out_once() {
        let served = Served::default();
        assert_eq!(served.came(NodeId(1), 7), Came::New);
        assert_eq!(served.came(NodeId(1), 7), Came::UnderWay);
        assert_eq!(served.came(NodeId(2), 7), Came::New);
        served.done(NodeId(1), 7, Returned::NotMaster);
        assert_eq!(served.came(NodeId(1), 7), Came::Done(Returned::NotMaster));
        for number in 100..100 + 2 * KEPT_MAX as u64 {
            served.came(NodeId(3), number);
            served.done(NodeId(3), number, Returned::NotMaster);
        }
        assert_eq!(locked(&served.0).results.len(), KEPT_MAX + 1);
        assert_eq!(served.came(NodeId(2), 7), Came::UnderWay);
    }
}

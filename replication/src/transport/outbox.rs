//! The way out to one peer: from any thread into the socket.
//!
//! Who sends when nothing is under way writes into the socket itself, in its own thread: no other
//! has to be woken, which would cost more than the write. Whoever sends meanwhile only queues, and
//! the one that writes takes it along. What is much, or what the socket does not take at once, is
//! left to the connection's task.
//!
//! ```text
//!            send, little                       nothing left
//!   Idle ───────────────────► Sender ─────────────────────────► Idle
//!     │                          │ socket full, or more came
//!     │ send, much               ▼        nothing left
//!     └───────────────────────► Task ──────────────────────────► Idle
//! ```
//!
//! While nobody writes, nothing waits: `Idle` means that queue and rest are empty.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::batch::{Batch, Written};
use super::error::ConnectionError;
use super::schedule::{Encoded, Schedule};

/// Most bytes that a sender writes itself: more would keep its thread for too long.
const SENDER_BYTES_MAX: usize = 64 << 10;
/// So often a sender writes what came meanwhile: others must not make it work for them for long.
const SENDER_WRITES_MAX: usize = 2;
/// A sign of life: nothing but this. Zeros where a message's header has version, kind and length.
pub(super) const BEAT: &[u8] = b"RSPB\0\0\0\0\0\0\0\0\0\0\0\0";

/// The socket of one connection, for writing, and its end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) writer: OwnedWriteHalf,
    end: Mutex<Option<ConnectionError>>,
    ended: Notify,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Idle,
    Sender,
    Task,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The task has something to do.
    handed_over: Notify,
}

#[derive(Debug)]
struct State {
    link: Option<Arc<Link>>,
    role: Role,
    queue: Schedule,
    /// Of what was begun to be written; at least the rest of a message.
    rest: Batch,
    counts: Counts,
    queue_bytes_max: usize,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// That wait.
    pub(super) queued: usize,
    /// About their bytes.
    pub(super) queued_bytes: usize,
    /// Given to a connection.
    pub(super) sent: u64,
    /// Bytes written, signs of life included.
    pub(super) sent_bytes: u64,
    /// That did not fit, had no connection, or waited for one that was lost.
    pub(super) dropped: u64,
}

impl Link {
    pub(super) fn new(writer: OwnedWriteHalf) -> Arc<Self> {
        Arc::new(Self { writer, end: Mutex::default(), ended: Notify::new() })
    }

    /// Ends the connection; the first reason counts.
    pub(super) fn end(&self, why: ConnectionError) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.ended.notify_one();
    }

    /// Waits until somebody ends it.
    pub(super) async fn ended(&self) -> ConnectionError {
        self.ended.notified().await;
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        end.unwrap_or(ConnectionError::Closed)
    }
}

impl Outbox {
    pub(super) fn new(queue_bytes_max: usize) -> Self {
        let (queue, rest, counts) =
            (Schedule::new(queue_bytes_max), Batch::default(), Counts::default());
        let state = State { link: None, role: Role::Idle, queue, rest, counts, queue_bytes_max };
        Self { state: Mutex::new(state), handed_over: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A holder that panicked has lost a message at worst, which any message may be.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().link.is_some()
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state();
        let (queued, queued_bytes) = (state.queue.messages(), state.queue.bytes());
        Counts { queued, queued_bytes: queued_bytes + state.rest.bytes(), ..state.counts }
    }

    /// From now on messages go here. The connection before has ended.
    pub(super) fn connect(&self, link: Arc<Link>) {
        let mut state = self.state();
        state.forget();
        state.link = Some(link);
    }

    /// Drops what waits: when the peer is back, it is out of date.
    pub(super) fn disconnect(&self, link: &Arc<Link>) {
        let mut state = self.state();
        if state.is_on(link) {
            state.forget();
            state.link = None;
        }
    }

    /// Ends the connection, if there is one.
    pub(super) fn end(&self, why: ConnectionError) {
        let link = self.state().link.clone();
        if let Some(link) = link {
            link.end(why);
        }
    }

    /// Counts messages that were never taken.
    pub(super) fn drop_messages(&self, count: usize) {
        self.state().counts.dropped += count as u64;
    }

    /// Takes messages on their way. Never waits.
    pub(super) fn send(&self, messages: impl IntoIterator<Item = Encoded>) {
        let mut state = self.state();
        let Some(link) = state.link.clone() else {
            state.counts.dropped += messages.into_iter().count() as u64;
            return;
        };
        for message in messages {
            state.take(message);
        }
        self.go(state, &link);
    }

    /// A sign of life, if nothing else is under way.
    pub(super) fn beat(&self) {
        let mut state = self.state();
        let Some(link) = state.link.clone() else { return };
        if state.role == Role::Idle {
            state.rest.push([Bytes::from_static(BEAT)]);
            self.go(state, &link);
        }
    }

    /// Holds back what is sent, so that it goes together; whether it does.
    #[must_use]
    pub(super) fn cork(&self) -> bool {
        let mut state = self.state();
        let can = state.role == Role::Idle && state.link.is_some();
        if can {
            state.role = Role::Sender;
        }
        can
    }

    /// Lets go what was held back.
    pub(super) fn uncork(&self, link: &Arc<Link>) {
        let mut state = self.state();
        if state.is_on(link) {
            state.role = Role::Idle;
            self.go(state, link);
        }
    }

    /// Sees to it that what waits is written, if nobody does.
    fn go<'a>(&'a self, mut state: MutexGuard<'a, State>, link: &Arc<Link>) {
        if state.role != Role::Idle || state.is_empty() {
            return;
        }
        if state.rest.bytes() + state.queue.bytes() > SENDER_BYTES_MAX {
            state.role = Role::Task;
            drop(state);
            return self.handed_over.notify_one();
        }
        state.role = Role::Sender;
        for _ in 0..SENDER_WRITES_MAX {
            let mut batch = state.next();
            drop(state);
            let before = batch.bytes();
            let written = batch.write(|slices| link.writer.try_write_vectored(slices));
            state = self.state();
            if !state.is_on(link) {
                return;
            }
            state.counts.sent_bytes += (before - batch.bytes()) as u64;
            state.rest = batch;
            // After an error too: the task will meet it again, and ends the connection.
            if !matches!(written, Ok(Written::All)) {
                break;
            }
            if state.queue.is_empty() {
                state.role = Role::Idle;
                return;
            }
        }
        state.role = Role::Task;
        drop(state);
        self.handed_over.notify_one();
    }

    /// Writes what senders leave, until there is an error.
    pub(super) async fn run(&self, link: &Arc<Link>) -> ConnectionError {
        loop {
            let Some(mut batch) = self.next_of_task(link) else {
                self.handed_over.notified().await;
                continue;
            };
            let bytes = batch.bytes();
            loop {
                match batch.write(|slices| link.writer.try_write_vectored(slices)) {
                    Ok(Written::All) => break,
                    Ok(Written::Some) => {}
                    Err(error) => return error.into(),
                }
                if let Err(error) = link.writer.writable().await {
                    return error.into();
                }
            }
            self.put_back(link, batch, bytes);
        }
    }

    /// What the task writes next; nothing if it is not its turn, or there is nothing.
    fn next_of_task(&self, link: &Arc<Link>) -> Option<Batch> {
        let mut state = self.state();
        if state.role != Role::Task || !state.is_on(link) {
            return None;
        }
        if state.is_empty() {
            state.role = Role::Idle;
            return None;
        }
        Some(state.next())
    }

    /// Counts what was written, and keeps the batch's memory.
    fn put_back(&self, link: &Arc<Link>, batch: Batch, bytes: usize) {
        let mut state = self.state();
        if state.is_on(link) {
            state.counts.sent_bytes += bytes as u64;
            state.rest = batch;
        }
    }
}

impl State {
    fn is_on(&self, link: &Arc<Link>) -> bool {
        self.link.as_ref().is_some_and(|here| Arc::ptr_eq(here, link))
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.queue.is_empty()
    }

    fn take(&mut self, message: Encoded) {
        // The usual case needs no queue: nothing waits, and this goes at once.
        if self.role == Role::Idle
            && self.queue.is_empty()
            && self.rest.bytes() + message.bytes <= SENDER_BYTES_MAX
        {
            self.counts.sent += 1;
            self.rest.push(message.parts);
        } else if !self.queue.push(message) {
            self.counts.dropped += 1;
        }
    }

    fn next(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.rest);
        self.counts.sent += self.queue.fill(&mut batch);
        batch
    }

    fn forget(&mut self) {
        self.counts.dropped += self.queue.messages() as u64;
        self.queue = Schedule::new(self.queue_bytes_max);
        self.rest = Batch::default();
        self.role = Role::Idle;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Partition;

    /// Bytes of each message; enough of them are more than a socket takes.
    const BYTES: usize = 50_000;

    fn message(ordinal: u32, bytes: usize) -> Encoded {
        let partition = Partition { ordinal, ..Partition::default() };
        Encoded { partition, parts: vec![Bytes::from(vec![ordinal as u8; bytes])], bytes }
    }

    /// An outbox with a connection, and its other end.
    async fn connected() -> (Arc<Outbox>, Arc<Link>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let (_reader, writer) = near.into_split();
        let (outbox, link) = (Arc::new(Outbox::new(64 << 20)), Link::new(writer));
        outbox.connect(link.clone());
        (outbox, link, far)
    }

    /// Promise: what is sent while the socket is full, and while the task waits for it, arrives whole
    /// and in order.
    #[tokio::test]
    async fn a_full_socket_loses_and_mixes_nothing() {
        let (outbox, link, mut far) = connected().await;
        let (of_task, link_of_task) = (outbox.clone(), link.clone());
        let task = tokio::spawn(async move { of_task.run(&link_of_task).await });
        let mut expected = Vec::new();
        for round in 0..400_u32 {
            outbox.send([message(round % 3, BYTES)]);
            expected.push((round % 3, BYTES));
            if round % 40 == 0 {
                // The task takes what is there, and finds the socket full.
                tokio::task::yield_now().await;
                outbox.send([message(9, 100)]);
                expected.push((9, 100));
            }
        }
        assert_eq!(outbox.counts().dropped, 0);
        assert!(outbox.counts().queued > 100, "the socket has taken all of it");
        let mut left: std::collections::BTreeMap<u32, usize> = Default::default();
        expected.iter().for_each(|(ordinal, bytes)| *left.entry(*ordinal).or_default() += bytes);
        let total: usize = left.values().sum();
        let mut arrived = vec![0; total];
        let reading = far.read_exact(&mut arrived);
        let all = tokio::time::timeout(std::time::Duration::from_secs(20), reading).await;
        all.expect("all that was sent").unwrap();
        let mut rest = &arrived[..];
        while let Some(ordinal) = rest.first() {
            let bytes = if *ordinal == 9 { 100 } else { BYTES };
            assert!(rest[..bytes].iter().all(|byte| byte == ordinal), "messages are mixed");
            *left.get_mut(&u32::from(*ordinal)).unwrap() -= bytes;
            rest = &rest[bytes..];
        }
        assert!(left.values().all(|bytes| *bytes == 0), "{left:?}");
        // All is written; the task has yet to say so.
        while outbox.counts().sent_bytes < total as u64 {
            tokio::task::yield_now().await;
        }
        outbox.send([message(5, 10)]);
        let mut last = [0; 10];
        far.read_exact(&mut last).await.unwrap();
        assert_eq!(last, [5; 10]);
        task.abort();
    }

    /// Promise: of several messages that are sent together, a short one does not overtake a long one.
    #[tokio::test]
    async fn what_is_sent_together_keeps_its_order() {
        let (outbox, link, mut far) = connected().await;
        let messages = [(1, 10), (2, 2 * SENDER_BYTES_MAX), (2, 10), (2, 20)];
        outbox.send(messages.map(|(ordinal, bytes)| message(ordinal, bytes)));
        assert_eq!(outbox.counts().queued, 3, "left to the task");
        let mut arrived = vec![0; 2 * SENDER_BYTES_MAX + 40];
        tokio::select! {
            ended = outbox.run(&link) => panic!("{ended}"),
            read = far.read_exact(&mut arrived) => { read.unwrap(); }
        }
        assert_eq!(outbox.counts().sent, 4);
        assert!(arrived[..10] == [1; 10] && arrived[10..].iter().all(|byte| *byte == 2));
    }

    /// Promise: a connection that was replaced or lost takes nothing with it into the next one, and
    /// its end does not end the next one.
    #[tokio::test]
    async fn the_next_connection_begins_anew() {
        let (outbox, old, _far) = connected().await;
        for _ in 0..200 {
            outbox.send([message(1, BYTES)]);
        }
        assert!(outbox.counts().queued > 0);
        let (_other, link, mut far) = connected().await;
        outbox.connect(link);
        outbox.disconnect(&old);
        assert_eq!(outbox.counts().queued_bytes, 0);
        assert!(outbox.is_connected());
        outbox.send([message(7, 10)]);
        let mut arrived = [0; 10];
        far.read_exact(&mut arrived).await.unwrap();
        assert_eq!(arrived, [7; 10]);
    }
}

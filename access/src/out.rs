//! What leaves by a connection: whoever has something to say writes it himself, unless somebody writes already; then
//! that one takes it along. So an answer costs no task that has to be woken, and what many say at once goes together.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// With so many bytes that the socket does not take, who can wait does.
const WAITING_MAX: usize = 4 << 20;
/// Memory that is kept for what is said next.
const KEPT_MAX: usize = 64 << 10;

/// The writing half of a connection.
#[derive(Debug)]
pub(crate) struct Out {
    writer: OwnedWriteHalf,
    waiting: Mutex<Waiting>,
    /// The socket was full: [`Out::run`] goes on.
    full: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Somebody writes, and looks again when that is done.
    is_written: bool,
    has_ended: bool,
}

/// The connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl Out {
    pub(crate) fn new(writer: OwnedWriteHalf) -> Self {
        Self { writer, waiting: Mutex::default(), full: Notify::new(), room: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Each change leaves whole messages in order.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something with the next [`Out::flush`], whoever's that is.
    pub(crate) fn put(&self, message: &[u8]) -> Result<(), Lost> {
        let mut waiting = self.waiting();
        if waiting.has_ended {
            return Err(Lost);
        }
        waiting.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Sends what was put, as far as the socket takes it; the rest follows without the caller.
    pub(crate) fn flush(&self) {
        let mut written = Vec::new();
        loop {
            {
                let mut waiting = self.waiting();
                if waiting.is_written && written.is_empty() {
                    // Another does.
                    return;
                }
                if waiting.has_ended || waiting.bytes.is_empty() {
                    waiting.is_written = false;
                    if waiting.bytes.capacity() == 0 && written.capacity() <= KEPT_MAX {
                        written.clear();
                        waiting.bytes = written;
                    }
                    return;
                }
                waiting.is_written = true;
                written.clear();
                std::mem::swap(&mut written, &mut waiting.bytes);
            }
            let sent = match self.writer.try_write(&written) {
                Ok(sent) if sent == written.len() => continue,
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    // The side that reads notices too.
                    self.end();
                    return;
                }
            };
            // It stays written: by the task.
            let mut waiting = self.waiting();
            written.drain(..sent);
            written.extend_from_slice(&waiting.bytes);
            waiting.bytes = written;
            drop(waiting);
            self.full.notify_one();
            return;
        }
    }

    /// Says something now.
    pub(crate) fn say(&self, message: &[u8]) -> Result<(), Lost> {
        self.put(message)?;
        self.flush();
        Ok(())
    }

    /// Waits until the socket has taken most of what was said.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let waiting = self.waiting();
                if waiting.has_ended || waiting.bytes.len() < WAITING_MAX {
                    return;
                }
            }
            room.await;
        }
    }

    /// Nothing leaves any more.
    pub(crate) fn end(&self) {
        self.waiting().has_ended = true;
        self.room.notify_waiters();
    }

    /// Writes what the socket did not take at once; returns when the connection is lost.
    pub(crate) async fn run(&self) -> io::Error {
        loop {
            self.full.notified().await;
            if let Err(error) = self.drain().await {
                self.end();
                return error;
            }
        }
    }

    async fn drain(&self) -> io::Result<()> {
        loop {
            let bytes = {
                let mut waiting = self.waiting();
                if waiting.has_ended {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                if waiting.bytes.is_empty() {
                    waiting.is_written = false;
                    return Ok(());
                }
                std::mem::take(&mut waiting.bytes)
            };
            self.room.notify_waiters();
            let mut left = &bytes[..];
            while !left.is_empty() {
                self.writer.writable().await?;
                match self.writer.try_write(left) {
                    Ok(sent) => left = &left[sent..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Promise: what several say at once comes whole and in the order in which each said it, also when the other side
    /// reads slowly; who waits for room gets it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn all_that_is_said_comes_in_order() {
        const SAID: u32 = 20_000;
        const SPEAKERS: u32 = 4;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_unread, writer) = here.expect("connected").into_split();
        let out = Arc::new(Out::new(writer));
        let running = tokio::spawn({
            let out = out.clone();
            async move { out.run().await }
        });
        let speak = |speaker: u32| {
            let out = out.clone();
            async move {
                for number in 0..SAID {
                    let mut message = [0; 512];
                    message[..4].copy_from_slice(&speaker.to_le_bytes());
                    message[4..8].copy_from_slice(&number.to_le_bytes());
                    out.say(&message).expect("connected");
                    out.room().await;
                }
            }
        };
        let speaking: Vec<_> = (0..SPEAKERS).map(|speaker| tokio::spawn(speak(speaker))).collect();
        let (mut reader, _) = there.expect("accepted");
        let mut next = [0; SPEAKERS as usize];
        for _ in 0..SAID * SPEAKERS {
            let mut message = [0; 512];
            reader.read_exact(&mut message).await.expect("all of them");
            let at = |from: usize| u32::from_le_bytes(std::array::from_fn(|n| message[from + n]));
            let expected = &mut next[at(0) as usize];
            assert_eq!(at(4), *expected);
            *expected += 1;
        }
        for speaking in speaking {
            speaking.await.expect("no panic");
        }
        out.end();
        assert_eq!(out.say(b"more"), Err(Lost));
        running.abort();
    }
}

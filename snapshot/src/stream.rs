//! A file written from its beginning to its end by large transfers, several in flight.
//!
//! Bytes are copied into aligned buffers on huge pages (durable 1 MiB writes from those ran at
//! 4.1-4.4 GB/s, from 4 KiB pages at 3.2-3.7), which belong to the queue until their completion.
//! After the first error the stream is dead: what the device holds is unknown.

use std::io;

use resprout_wal::disk::{AlignedBuf, Completion, FileRef, Queue, Request};

use crate::PAGE;

/// See the module.
pub(crate) struct Stream {
    file: FileRef,
    queue: Box<dyn Queue>,
    open: AlignedBuf,
    /// Bytes of `open` that are filled; never all of them between calls.
    filled: usize,
    free: Vec<AlignedBuf>,
    /// Where `open` goes in the file.
    offset: u64,
    /// Bytes whose writes have completed.
    written: u64,
    completions: Vec<Completion>,
    dead: bool,
}

impl Stream {
    /// A stream to the beginning of `file`, with as many buffers as `queue` is deep, and one.
    pub(crate) fn new(file: FileRef, queue: Box<dyn Queue>, buffer: usize) -> io::Result<Self> {
        assert!(buffer > 0 && buffer.is_multiple_of(PAGE), "buffers are whole sectors");
        let free =
            (0..queue.depth()).map(|_| AlignedBuf::new(buffer)).collect::<io::Result<Vec<_>>>()?;
        assert!(!free.is_empty(), "a queue without depth");
        let open = AlignedBuf::new(buffer)?;
        let completions = Vec::with_capacity(free.len());
        Ok(Self {
            file,
            queue,
            open,
            filled: 0,
            free,
            offset: 0,
            written: 0,
            completions,
            dead: false,
        })
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.offset + self.filled as u64
    }

    /// Bytes that the device has taken.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether a write has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Appends `bytes`. Waits only while all buffers are in flight.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.open.len() - self.filled;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.open[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == self.open.len() {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Appends zeros up to the next sector.
    pub(crate) fn pad(&mut self) -> io::Result<()> {
        let used = (self.position() % PAGE as u64) as usize;
        if used == 0 {
            return Ok(());
        }
        self.append(&[0; PAGE][used..])
    }

    /// Sends what is open and waits for all writes, then makes them durable.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.pad()?;
        if self.filled > 0 {
            self.send()?;
        }
        while self.queue.in_flight() > 0 {
            self.reap(1)?;
        }
        assert_eq!(self.written, self.offset, "all that was sent has completed");
        let flushed = self.file.flush();
        self.note(flushed)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("an earlier write failed"));
        }
        while self.free.is_empty() {
            self.reap(1)?;
        }
        let next = self.free.pop().expect("the loop above waited for one");
        let full = std::mem::replace(&mut self.open, next);
        let (offset, len) = (self.offset, self.filled);
        self.offset += len as u64;
        self.filled = 0;
        assert!(len > 0 && len.is_multiple_of(PAGE));
        let buf = full.into_io_prefix(len);
        let file = self.file.clone();
        self.queue.push(len as u64, Request::Write { file, offset, buf, durable: false });
        self.reap(0)
    }

    /// Takes back what has completed, after waiting for `at_least` of them.
    fn reap(&mut self, at_least: usize) -> io::Result<()> {
        let waited = self.queue.wait(at_least, &mut self.completions);
        self.note(waited)?;
        let mut first_error = Ok(());
        for completion in std::mem::take(&mut self.completions) {
            let len = completion.token;
            let result = match completion.result {
                Ok(taken) if taken as u64 == len => {
                    self.written += len;
                    Ok(())
                }
                Ok(_) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) => Err(error),
            };
            first_error = first_error.and(result);
            if let Some(buf) = completion.buf.and_then(|buf| AlignedBuf::from_io(buf).ok()) {
                self.free.push(buf);
            }
        }
        self.note(first_error)
    }

    fn note(&mut self, result: io::Result<()>) -> io::Result<()> {
        self.dead |= result.is_err();
        result
    }
}

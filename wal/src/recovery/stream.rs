//! The frames of one slot as a stream of large reads, several of them ahead.
//!
//! Reads are whole sectors and so are frames, so a header never lies in two reads. A frame that
//! does is joined by copying; all others are slices of the read's memory, which goes back for
//! reuse when the last slice is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::read_patiently;
use crate::SECTOR;
use crate::disk::{AlignedBuf, Completion, FileRef, HUGE_PAGE, Queue, Request};
use crate::lock::lock;

/// How much is asked for before anything of a log was wanted. Twice as much from then on with each
/// read that was: most logs end soon behind a snapshot, and what lies behind their end would be
/// read for nothing while snapshots wait for the device.
const FIRST_BYTES: u64 = 64 << 10;
/// Reads in flight.
pub(super) const READS_AHEAD: u32 = 4;
/// Buffers kept for reuse: as many as one batch of replay refers to, since fresh memory is slow.
const SPARES_MAX: usize = 32;

type Spares = Arc<Mutex<Vec<AlignedBuf>>>;

/// A read could not be done, also not when tried again.
#[derive(Debug)]
pub(super) struct ReadFailed {
    pub(super) offset: u64,
    pub(super) error: io::Error,
}

/// A run of bytes of the file, in order.
pub(super) struct Stream {
    file: FileRef,
    queue: Box<dyn Queue>,
    spares: Spares,
    read_bytes: u64,
    /// How far to ask ahead.
    ahead: u64,
    /// Next byte to ask for, and where the run ends.
    ask: u64,
    end: u64,
    /// Offset of the next byte to hand out.
    at: u64,
    current: Bytes,
    arrived: BTreeMap<u64, Bytes>,
    completions: Vec<Completion>,
    lengths: VecDeque<(u64, u64)>,
}

/// A read's memory; goes back to the spares.
struct Lent {
    buf: Option<AlignedBuf>,
    spares: Spares,
    /// Shorter ones are not kept.
    whole: u64,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buf.as_deref().expect("the memory is there until drop")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spares = lock(&self.spares);
        let whole = self.buf.as_ref().is_some_and(|buf| buf.len() as u64 >= self.whole);
        if whole && spares.len() < SPARES_MAX {
            spares.extend(self.buf.take());
        }
    }
}

impl Stream {
    pub(super) fn new(file: FileRef, queue: Box<dyn Queue>, slot_bytes: u64) -> Self {
        Self {
            file,
            queue,
            spares: Spares::default(),
            read_bytes: (HUGE_PAGE as u64).min(slot_bytes),
            ahead: FIRST_BYTES,
            ask: 0,
            end: 0,
            at: 0,
            current: Bytes::new(),
            arrived: BTreeMap::new(),
            completions: Vec::new(),
            lengths: VecDeque::new(),
        }
    }

    /// Begins anew with `start..end` of the file. What is in flight is waited for and dropped.
    pub(super) fn begin(&mut self, start: u64, end: u64) -> Result<(), ReadFailed> {
        assert!(start <= end && start.is_multiple_of(SECTOR as u64), "a run from {start}");
        while self.queue.in_flight() > 0 {
            self.receive()?;
        }
        self.arrived.clear();
        self.lengths.clear();
        self.current = Bytes::new();
        (self.ask, self.at, self.end) = (start, start, end);
        self.ask_ahead()
    }

    /// The bytes from the present place to the end of a read; empty at the end of the run.
    pub(super) fn peek(&mut self) -> Result<&[u8], ReadFailed> {
        if self.current.is_empty() && self.at < self.end {
            self.advance()?;
        }
        Ok(&self.current)
    }

    /// Takes the next `len` bytes; fewer only at the end of the run.
    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, ReadFailed> {
        self.peek()?;
        if len <= self.current.len() {
            self.at += len as u64;
            return Ok(self.current.split_to(len));
        }
        let mut joined = Vec::with_capacity(len.min((self.end - self.at) as usize));
        while joined.len() < len {
            self.peek()?;
            if self.current.is_empty() {
                break;
            }
            let piece = self.current.split_to(self.current.len().min(len - joined.len()));
            self.at += piece.len() as u64;
            joined.extend_from_slice(&piece);
        }
        Ok(Bytes::from(joined))
    }

    fn advance(&mut self) -> Result<(), ReadFailed> {
        while !self.arrived.contains_key(&self.at) {
            assert!(self.queue.in_flight() > 0, "waiting for a read that nobody asked for");
            self.receive()?;
        }
        self.current = self.arrived.remove(&self.at).unwrap_or_default();
        assert!(!self.current.is_empty(), "a read without bytes");
        self.ahead = (2 * self.ahead).min(self.read_bytes * u64::from(READS_AHEAD));
        self.ask_ahead()
    }

    fn ask_ahead(&mut self) -> Result<(), ReadFailed> {
        while self.queue.in_flight() + self.arrived.len() < READS_AHEAD as usize
            && self.ask < self.end
            && self.ask - self.at < self.ahead
        {
            let len = self.read_bytes.min(self.ahead).min(self.end - self.ask);
            let buf = self.buffer(len).map_err(|error| ReadFailed { offset: self.ask, error })?;
            let (file, offset) = (self.file.clone(), self.ask);
            let buf = buf.into_io_prefix(len as usize);
            self.queue.push(offset, Request::Read { file, offset, buf });
            self.lengths.push_back((offset, len));
            self.ask += len;
        }
        Ok(())
    }

    fn buffer(&self, len: u64) -> io::Result<AlignedBuf> {
        match lock(&self.spares).pop() {
            Some(buf) => Ok(buf),
            // The first reads are small, and a buffer of a whole huge page would be cleared first.
            None => AlignedBuf::new(len as usize),
        }
    }

    /// Takes at least one completion.
    fn receive(&mut self) -> Result<(), ReadFailed> {
        let mut completions = std::mem::take(&mut self.completions);
        let waited = self.queue.wait(1, &mut completions);
        waited.map_err(|error| ReadFailed { offset: self.at, error })?;
        for completion in completions.drain(..) {
            self.arrive(completion)?;
        }
        self.completions = completions;
        Ok(())
    }

    fn arrive(&mut self, completion: Completion) -> Result<(), ReadFailed> {
        let offset = completion.token;
        let known = self.lengths.iter().position(|(asked, _)| *asked == offset);
        let (_, len) = known
            .and_then(|at| self.lengths.remove(at))
            .expect("a completion belongs to a read that was asked for");
        let buf = completion.buf.and_then(|buf| AlignedBuf::from_io(buf).ok());
        let mut buf = buf.expect("a read gives its own buffer back");
        match completion.result {
            Ok(read) => buf[read.min(len as usize)..len as usize].fill(0),
            Err(_) => {
                read_patiently(&*self.file, &mut buf[..len as usize], offset)
                    .map_err(|error| ReadFailed { offset, error })?;
            }
        }
        let lent = Lent { buf: Some(buf), spares: self.spares.clone(), whole: self.read_bytes };
        self.arrived.insert(offset, Bytes::from_owner(lent).slice(..len as usize));
        Ok(())
    }
}

//! Requests in flight on one ring.
//!
//! ```text
//!  push ─► slot + submission ─wait─► kernel ─► completion ─┬─ whole ─► Completion
//!              ▲                                           │
//!              └──── the rest of a short transfer ◄────────┘
//! ```
//!
//! The slot owns buffer and file until the kernel has ended the request, also when the queue is
//! dropped: `Drop` waits for all of them, and if it cannot (the ring belongs to another thread)
//! it leaks them rather than free memory that the kernel may write to.

use std::io;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::files::FileTable;
use super::ring::{self, Kind};
use super::wake::Wake;
use crate::disk::native::{ATTEMPTS_MAX, NativeFile};
use crate::disk::plain::native_of;
use crate::disk::{Completion, FileRef, IoBuf, Queue, Request, Waker};

/// Marks the completion of the read of the wake event; slots count from 0.
const WAKE: u64 = u64::MAX;

/// Most bytes of one submission: larger requests go on like short ones. The kernel's own limit is
/// just under 2 GiB.
const PART_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Read,
    Write { durable: bool },
    Flush,
}

/// One request that the kernel may have.
struct Slot {
    token: u64,
    kind: Kinds,
    file: FileRef,
    offset: u64,
    /// `None` for a flush.
    buf: Option<IoBuf>,
    /// Bytes transferred so far.
    done: usize,
    /// Completions in a row without progress.
    idle: u32,
}

pub(super) struct UringQueue {
    ring: IoUring,
    /// Whether the thread that uses the ring is known to it.
    enabled: bool,
    files: FileTable,
    wake: Wake,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Requests refused before the kernel saw them.
    refused: Vec<Completion>,
}

impl UringQueue {
    pub(super) fn new(depth: u32, kind: Kind) -> io::Result<Self> {
        let entries = depth.checked_add(1).and_then(u32::checked_next_power_of_two);
        let ring = ring::make(entries.ok_or(io::ErrorKind::InvalidInput)?, kind)?;
        let files = FileTable::new(&ring);
        let depth = depth as usize;
        Ok(Self {
            ring,
            enabled: false,
            files,
            wake: Wake::new()?,
            slots: std::iter::repeat_with(|| None).take(depth).collect(),
            free: (0..depth).rev().collect(),
            refused: Vec::new(),
        })
    }

    /// Puts an entry in the submission ring; the next `enter` gives it to the kernel.
    fn submit(&mut self, entry: &squeue::Entry) {
        // SAFETY: the memory an entry refers to belongs to a slot or to `wake`, and both keep it
        // until its completion was seen.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("the ring has an entry for each slot and one for the wake event");
    }

    /// Submits what is left to do of slot `index`.
    fn submit_slot(&mut self, index: usize) {
        let slot = self.slots[index].as_ref().expect("a submitted slot is taken");
        let numbered = self.files.slot(&self.ring.submitter(), &slot.file);
        let entry = match numbered.map(i32::try_from) {
            Some(Ok(number)) => slot.entry(number).flags(squeue::Flags::FIXED_FILE),
            _ => slot.entry(slot.file.descriptor().unwrap_or(-1)),
        };
        self.submit(&entry.user_data(index as u64));
    }

    /// Takes all completions there are; whether a wake was among them.
    fn reap(&mut self, out: &mut Vec<Completion>) -> bool {
        let mut woken = false;
        while let Some((user_data, result)) = self.next_completion() {
            if user_data == WAKE {
                woken |= self.wake.ended(result);
                continue;
            }
            let index = usize::try_from(user_data).expect("the kernel returns what it was given");
            let slot = self.slots[index].as_mut().expect("a slot is taken until its completion");
            match slot.ended(result) {
                None => self.submit_slot(index),
                Some(result) => {
                    if let Some(slot) = self.slots[index].take() {
                        self.free.push(index);
                        out.push(Completion { token: slot.token, buf: slot.buf, result });
                    }
                }
            }
        }
        woken
    }

    fn next_completion(&mut self) -> Option<(u64, i32)> {
        self.ring.completion().next().map(|end: cqueue::Entry| (end.user_data(), end.result()))
    }

    /// Gives the kernel what was submitted and waits for `want` completions (0: does not wait).
    fn enter(&mut self, want: usize) -> io::Result<()> {
        if !self.enabled {
            ring::enable(&self.ring)?;
            self.enabled = true;
        }
        match self.ring.submit_and_wait(want) {
            Ok(_) => Ok(()),
            // A signal, or a kernel that wants its completions taken first: the caller does that
            // and comes again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Waits until the kernel has let go of every slot and of the wake event.
    fn drain(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        while self.used() > 0 || self.wake.is_armed() {
            if self.wake.is_armed() {
                self.wake.cancel();
            }
            self.enter(1)?;
            self.reap(&mut ended);
            ended.clear();
        }
        Ok(())
    }
}

impl Slot {
    fn new(token: u64, request: Request) -> Self {
        let (kind, file, offset, buf) = match request {
            Request::Read { file, offset, buf } => (Kinds::Read, file, offset, Some(buf)),
            Request::Write { file, offset, buf, durable } => {
                (Kinds::Write { durable }, file, offset, Some(buf))
            }
            Request::Flush { file } => (Kinds::Flush, file, 0, None),
        };
        Self { token, kind, file, offset, buf, done: 0, idle: 0 }
    }

    fn native(&self) -> io::Result<&NativeFile> {
        native_of(&self.file)
    }

    fn check(&self) -> io::Result<()> {
        let file = self.native()?;
        self.buf.as_ref().map_or(Ok(()), |buf| file.check(buf.as_slice(), self.offset))
    }

    fn len(&self) -> usize {
        self.buf.as_ref().map_or(0, IoBuf::len)
    }

    /// From where the rest of the transfer goes on.
    fn resume_at(&self) -> usize {
        self.native().map_or(self.done, |file| file.resume_at(self.done))
    }

    /// The submission of what is left, to a file by descriptor or by number in the table.
    fn entry(&self, file: i32) -> squeue::Entry {
        let file = types::Fd(file);
        let from = self.resume_at();
        let memory = self.buf.as_ref().map(|buf| &buf.as_slice()[from..]).unwrap_or_default();
        let len = u32::try_from(memory.len().min(PART_MAX)).expect("`PART_MAX` fits");
        let offset = self.offset + from as u64;
        match self.kind {
            Kinds::Read => {
                opcode::Read::new(file, memory.as_ptr().cast_mut(), len).offset(offset).build()
            }
            Kinds::Write { durable } => {
                let flags = if durable { libc::RWF_DSYNC } else { 0 };
                let write = opcode::Write::new(file, memory.as_ptr(), len);
                write.offset(offset).rw_flags(flags).build()
            }
            Kinds::Flush => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
        }
    }

    /// Takes a result of the kernel; `None` if the request has to go on.
    fn ended(&mut self, result: i32) -> Option<io::Result<usize>> {
        let Ok(moved) = usize::try_from(result) else { return self.failed(-result) };
        if self.kind == Kinds::Flush {
            return Some(Ok(0));
        }
        let before = self.done;
        self.done = self.resume_at() + moved;
        let len = self.len();
        if self.done >= len {
            return Some(Ok(len));
        }
        match self.kind {
            // The end of the file, or inside the last sector of it.
            Kinds::Read if moved == 0 || self.resume_at() != self.done => Some(Ok(self.done)),
            Kinds::Write { .. } if moved == 0 => Some(Err(io::ErrorKind::WriteZero.into())),
            _ if self.done > before => {
                self.idle = 0;
                None
            }
            _ => self.failed(libc::EAGAIN),
        }
    }

    /// The request was not carried out this time, or failed.
    fn failed(&mut self, errno: i32) -> Option<io::Result<usize>> {
        // ECANCELED: the thread that submitted it ended before the kernel began.
        let again = matches!(errno, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
        self.idle += 1;
        if again && self.idle <= ATTEMPTS_MAX {
            return None;
        }
        Some(Err(io::Error::from_raw_os_error(errno)))
    }
}

impl Queue for UringQueue {
    fn push(&mut self, token: u64, request: Request) {
        assert!(self.in_flight() < self.depth(), "over {} requests in flight", self.depth());
        let slot = Slot::new(token, request);
        match slot.check() {
            Err(error) => {
                self.refused.push(Completion { token, buf: slot.buf, result: Err(error) });
            }
            // Nothing to transfer, and the kernel would say 0 as at the end of the file.
            Ok(()) if slot.kind != Kinds::Flush && slot.len() == 0 => {
                self.refused.push(Completion { token, buf: slot.buf, result: Ok(0) });
            }
            Ok(()) => {
                let index = self.free.pop().expect("fewer requests in flight than slots");
                self.slots[index] = Some(slot);
                self.submit_slot(index);
            }
        }
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        let enough = out.len() + at_least;
        out.append(&mut self.refused);
        let mut woken = self.reap(out);
        loop {
            let sleeps = out.len() < enough && !woken;
            if sleeps {
                self.files.release_closed(&self.ring.submitter())?;
                if !self.wake.is_armed() {
                    let entry = self.wake.arm(WAKE);
                    self.submit(&entry);
                }
            }
            self.enter(usize::from(sleeps))?;
            woken |= self.reap(out);
            if woken || out.len() >= enough {
                return Ok(());
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.used() + self.refused.len()
    }

    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn waker(&self) -> Waker {
        self.wake.waker()
    }
}

impl Drop for UringQueue {
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            let lost = self.used();
            tracing::error!(%error, lost, "cannot wait for requests in flight, leaking their memory");
            self.wake.leak();
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

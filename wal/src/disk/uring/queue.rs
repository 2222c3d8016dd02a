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
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::files::FileTable;
use super::ring;
use super::wake::Wake;
use crate::disk::plain::native_of;
use crate::disk::transfer::{ATTEMPTS_MAX, End, Transfer};
use crate::disk::{Completion, FileRef, IoBuf, Queue, Request, Waker};

/// Marks the completion of the read of the wake event; slots count from 0.
const WAKE: u64 = u64::MAX;

/// Most bytes of one submission: larger requests go on like short ones. The kernel's own limit is
/// just under 2 GiB.
const PART_MAX: usize = 1 << 30;

/// Pause before the kernel is asked again for memory that it did not have.
const STALL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write { durable: bool },
}

/// One request that the kernel may have.
struct Slot {
    token: u64,
    kind: Kind,
    file: FileRef,
    offset: u64,
    /// `None` for a flush.
    buf: Option<IoBuf>,
    progress: Transfer,
}

pub(super) struct UringQueue {
    ring: IoUring,
    /// Whether the thread that uses the ring is known to it.
    enabled: bool,
    files: FileTable,
    wake: Wake,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Requests that ended without the ring: refused ones, and flushes. The ring would hand a
    /// flush to a kernel thread, which on a busy processor runs a timer tick later (4 ms here);
    /// a call in this thread ends when the device says so.
    settled: Vec<Completion>,
    /// Entries in a row for which the kernel had no memory.
    stalls: u32,
}

impl UringQueue {
    pub(super) fn new(depth: u32, kind: ring::Kind) -> io::Result<Self> {
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
            settled: Vec::new(),
            stalls: 0,
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
        let submission = self.ring.submission();
        if want == 0 && submission.is_empty() && !submission.taskrun() {
            return Ok(());
        }
        drop(submission);
        let result = self.ring.submit_and_wait(want).map(drop);
        match result.as_ref().map_err(io::Error::raw_os_error) {
            // A signal, or a kernel that wants its completions taken first: the caller does that
            // and comes again.
            Err(Some(libc::EINTR | libc::EBUSY)) => Ok(()),
            // No memory for requests just now: give the machine time, but not forever.
            Err(Some(libc::EAGAIN)) if self.stalls < ATTEMPTS_MAX => {
                self.stalls += 1;
                std::thread::sleep(STALL);
                Ok(())
            }
            _ => {
                self.stalls = 0;
                result
            }
        }
    }

    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Waits until the kernel has let go of every slot and of the wake event.
    fn drain(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        loop {
            self.reap(&mut ended);
            ended.clear();
            if self.used() == 0 && !self.wake.is_armed() {
                return Ok(());
            }
            if self.wake.is_armed() {
                self.wake.cancel();
            }
            self.enter(1)?;
        }
    }
}

impl Slot {
    /// The slot of a request, or its completion if the kernel need not see it.
    fn new(token: u64, request: Request) -> Result<Self, Completion> {
        let (kind, file, offset, buf) = match request {
            Request::Read { file, offset, buf } => (Kind::Read, file, offset, Some(buf)),
            Request::Write { file, offset, buf, durable } => {
                (Kind::Write { durable }, file, offset, Some(buf))
            }
            Request::Flush { .. } => unreachable!("flushes do not take a slot"),
        };
        let memory = buf.as_ref().map(IoBuf::as_slice);
        let checked = native_of(&file).and_then(|native| {
            memory.map_or(Ok(()), |memory| native.check(memory, offset))?;
            Ok(native.transfer(memory.map_or(0, <[u8]>::len)))
        });
        match checked {
            // Nothing to transfer, and the kernel would say 0 as at the end of the file.
            Ok(_) if memory.is_some_and(<[u8]>::is_empty) => {
                Err(Completion { token, buf, result: Ok(0) })
            }
            Ok(progress) => Ok(Self { token, kind, file, offset, buf, progress }),
            Err(error) => Err(Completion { token, buf, result: Err(error) }),
        }
    }

    /// The submission of what is left, to a file by descriptor or by number in the table.
    fn entry(&self, file: i32) -> squeue::Entry {
        let file = types::Fd(file);
        let from = self.progress.resume_at();
        let memory = self.buf.as_ref().map(|buf| &buf.as_slice()[from..]).unwrap_or_default();
        let len = u32::try_from(memory.len().min(PART_MAX)).expect("`PART_MAX` fits");
        let offset = self.offset + from as u64;
        match self.kind {
            Kind::Read => {
                opcode::Read::new(file, memory.as_ptr().cast_mut(), len).offset(offset).build()
            }
            Kind::Write { durable } => {
                let flags = if durable { libc::RWF_DSYNC } else { 0 };
                let write = opcode::Write::new(file, memory.as_ptr(), len);
                write.offset(offset).rw_flags(flags).build()
            }
        }
    }

    /// Takes a result of the kernel.
    fn ended(&mut self, result: i32) -> End {
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        match self.kind {
            Kind::Read => self.progress.read(result),
            Kind::Write { .. } => self.progress.wrote(result),
        }
    }
}

impl Queue for UringQueue {
    fn push(&mut self, token: u64, request: Request) {
        assert!(self.in_flight() < self.depth(), "over {} requests in flight", self.depth());
        if let Request::Flush { file } = &request {
            let result = file.flush().map(|()| 0);
            self.settled.push(Completion { token, buf: None, result });
            return;
        }
        match Slot::new(token, request) {
            Err(completion) => self.settled.push(completion),
            Ok(slot) => {
                let index = self.free.pop().expect("fewer requests in flight than slots");
                self.slots[index] = Some(slot);
                self.submit_slot(index);
            }
        }
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        self.files.release_closed(&self.ring.submitter())?;
        let enough = out.len() + at_least;
        out.append(&mut self.settled);
        let mut woken = self.reap(out);
        loop {
            let sleeps = out.len() < enough && !woken;
            if sleeps && !self.wake.is_armed() {
                let entry = self.wake.arm(WAKE);
                self.submit(&entry);
            }
            self.enter(usize::from(sleeps))?;
            woken |= self.reap(out);
            if woken || out.len() >= enough {
                return Ok(());
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.used() + self.settled.len()
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
            tracing::warn!(%error, lost, "cannot wait for requests in flight, leaking their memory");
            self.wake.leak();
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

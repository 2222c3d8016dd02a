//! What a durable write costs on this device, and which way of making one is the cheapest.
//!
//! Devices differ by more than any choice in code: one has a battery and answers at once, one
//! flushes its cache for every `RWF_DSYNC`, one (a throttled virtual disk) charges per flush
//! whatever its size. So the log asks before it decides.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AlignedBuf, Cache, Disk, FileRef, Open, Queue, Request};
use crate::SECTOR;

/// Writes of one batch: what a busy log has in flight.
const BATCH: usize = 8;
/// Time after which no further round begins.
const BUDGET: Duration = Duration::from_millis(30);
/// Rounds, if the time allows.
const ROUNDS_MAX: usize = 64;
/// How much cheaper, in percent, a batch with a flush must be: it takes two steps where a durable
/// write takes one, which is what a single client feels.
const ADVANTAGE_PERCENT: u32 = 20;

/// How the log makes its writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableMode {
    /// Each write with `RWF_DSYNC`.
    EachWrite,
    /// Plain writes, then one flush for all of them.
    BatchFlush,
}

/// Medians measured on a device, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The way to go.
    pub mode: DurableMode,
    /// How to open the log's file for it.
    pub cache: Cache,
    /// One durable direct write of 4 KiB, alone.
    pub durable_write: Duration,
    /// Eight durable direct writes of 4 KiB, in flight together.
    pub durable_writes: Duration,
    /// Eight direct writes of 4 KiB and one flush.
    pub direct_flush: Duration,
    /// Eight buffered writes of 4 KiB and one flush.
    pub buffered_flush: Duration,
}

impl Probe {
    /// What is used where nothing can be measured.
    const DEFAULT: Self = Self {
        mode: DurableMode::EachWrite,
        cache: Cache::Direct,
        durable_write: Duration::ZERO,
        durable_writes: Duration::ZERO,
        direct_flush: Duration::ZERO,
        buffered_flush: Duration::ZERO,
    };

    /// Chooses by the numbers measured.
    #[must_use]
    fn decided(mut self) -> Self {
        let limit = self.durable_writes * (100 - ADVANTAGE_PERCENT) / 100;
        let best = self.direct_flush.min(self.buffered_flush);
        if best < limit {
            self.mode = DurableMode::BatchFlush;
            let direct = self.direct_flush <= self.buffered_flush;
            self.cache = if direct { Cache::Direct } else { Cache::Buffered };
        }
        self
    }
}

/// Measures in a temporary file in `dir`, for about 30 ms. A simulated disk is not measured, so
/// that the same seed gives the same choice.
///
/// # Errors
/// What the disk says; the temporary file is removed then, too, if that is possible.
pub fn probe_durable_write(disk: &dyn Disk, dir: &Path) -> io::Result<Probe> {
    if disk.backend() == "simulated" {
        return Ok(Probe::DEFAULT);
    }
    let path = dir.join(format!(".probe-{}", std::process::id()));
    let measured = measure_all(disk, &path);
    let removed = disk.remove(&path);
    let probe = measured?;
    removed?;
    Ok(probe)
}

fn measure_all(disk: &dyn Disk, path: &Path) -> io::Result<Probe> {
    let direct = disk.open(path, Open::Create, Cache::Direct)?;
    // Written, not only allocated: the first write to an unwritten extent commits the journal.
    direct.write_at(&AlignedBuf::new(BATCH * SECTOR)?, 0)?;
    direct.flush()?;
    let buffered = disk.open(path, Open::Write, Cache::Buffered)?;
    let mut queue = disk.queue(BATCH as u32 + 1)?;
    let queue = queue.as_mut();
    let mut times: [Vec<Duration>; 4] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS_MAX));
    let start = Instant::now();
    // All ways in each round, so that a device that changes its pace treats them alike.
    while times[0].is_empty() || (times[0].len() < ROUNDS_MAX && start.elapsed() < BUDGET) {
        times[0].push(timed(|| round(queue, &direct, 1, true))?);
        times[1].push(timed(|| round(queue, &direct, BATCH, true))?);
        times[2].push(timed(|| round(queue, &direct, BATCH, false))?);
        times[3].push(timed(|| round(queue, &buffered, BATCH, false))?);
    }
    let [durable_write, durable_writes, direct_flush, buffered_flush] = times.map(median);
    let probe =
        Probe { durable_write, durable_writes, direct_flush, buffered_flush, ..Probe::DEFAULT };
    Ok(probe.decided())
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let before = Instant::now();
    work()?;
    Ok(before.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Writes `count` sectors at once and waits for them; a flush after them unless they are durable.
fn round(queue: &mut dyn Queue, file: &FileRef, count: usize, durable: bool) -> io::Result<()> {
    for index in 0..count {
        let buf = AlignedBuf::new(SECTOR)?.into_io();
        let offset = (index * SECTOR) as u64;
        let file = Arc::clone(file);
        queue.push(index as u64, Request::Write { file, offset, buf, durable });
    }
    finish(queue)?;
    if !durable {
        queue.push(0, Request::Flush { file: Arc::clone(file) });
        finish(queue)?;
    }
    Ok(())
}

/// Waits for everything in flight.
fn finish(queue: &mut dyn Queue) -> io::Result<()> {
    let mut ended = Vec::new();
    while queue.in_flight() > 0 {
        queue.wait(queue.in_flight(), &mut ended)?;
    }
    ended.into_iter().try_for_each(|end| end.result.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(durable_writes: u64, direct_flush: u64, buffered_flush: u64) -> Probe {
        Probe {
            durable_writes: Duration::from_micros(durable_writes),
            direct_flush: Duration::from_micros(direct_flush),
            buffered_flush: Duration::from_micros(buffered_flush),
            ..Probe::DEFAULT
        }
        .decided()
    }

    /// Promise: the cheapest way wins, and a flush must be clearly cheaper.
    #[test]
    fn numbers_decide() {
        assert_eq!(measured(100, 90, 85).mode, DurableMode::EachWrite);
        let direct = measured(800, 150, 160);
        assert_eq!((direct.mode, direct.cache), (DurableMode::BatchFlush, Cache::Direct));
        let buffered = measured(800, 150, 100);
        assert_eq!((buffered.mode, buffered.cache), (DurableMode::BatchFlush, Cache::Buffered));
    }

    /// Promise: a simulated disk always gets the same answer and is not touched.
    #[test]
    fn a_simulated_disk_is_not_measured() {
        let disk = super::super::sim::SimDisk::new(1);
        let probe = probe_durable_write(&disk, Path::new("/nowhere")).unwrap();
        assert_eq!((probe, disk.operations()), (Probe::DEFAULT, 0));
    }
}

//! The device as the bound of what is measured: its best sequential read and its bare durable
//! write, both taken in the same run as the number beside them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use resprout_wal::SECTOR;
use resprout_wal::disk::{AlignedBuf, Cache, Completion, Disk, FileRef, IoBuf, Open, Request};
use resprout_wal::world::Rng;

/// A way to read a file from front to back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Requests in flight.
    pub depth: u32,
    /// Bytes of each; two megabytes are one huge page.
    pub bytes: usize,
}

/// What is tried; the best counts. On the machines measured the first two were never far apart.
pub const SHAPES: [Shape; 3] = [
    Shape { depth: 8, bytes: 1 << 20 },
    Shape { depth: 4, bytes: 2 << 20 },
    Shape { depth: 16, bytes: 1 << 20 },
];

/// Block in which the file is made.
const WRITE_BYTES: usize = 4 << 20;

/// A file to read sequentially, past the page cache.
#[derive(Debug)]
pub struct ReadProbe {
    disk: Arc<dyn Disk>,
    file: FileRef,
    path: PathBuf,
    bytes: u64,
    best: f64,
}

impl ReadProbe {
    /// Makes a file of at least `bytes` pseudo-random bytes in `dir`.
    ///
    /// # Errors
    /// The system's answer.
    pub fn new(disk: &Arc<dyn Disk>, dir: &Path, bytes: u64) -> io::Result<Self> {
        let path = dir.join("device-read.tmp");
        let block = WRITE_BYTES as u64;
        let bytes = bytes.max(1).div_ceil(block) * block;
        let file = disk.open(&path, Open::Create, Cache::Direct)?;
        let mut buffer = AlignedBuf::new(WRITE_BYTES)?;
        let mut rng = Rng::new(bytes);
        for word in buffer.chunks_mut(8) {
            word.copy_from_slice(&rng.next().to_le_bytes());
        }
        for offset in (0..bytes).step_by(WRITE_BYTES) {
            file.write_at(&buffer, offset)?;
        }
        file.flush()?;
        Ok(Self { disk: Arc::clone(disk), file, path, bytes, best: 0.0 })
    }

    /// Reads the whole file once in each shape; the best rate so far, in bytes per second.
    ///
    /// # Errors
    /// The system's answer.
    pub fn measure(&mut self) -> io::Result<f64> {
        for shape in SHAPES {
            let rate = self.read_all(shape)?;
            self.best = self.best.max(rate);
        }
        Ok(self.best)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn read_all(&self, shape: Shape) -> io::Result<f64> {
        let mut queue = self.disk.local_queue(shape.depth)?;
        let mut free: Vec<IoBuf> = Vec::new();
        for _ in 0..shape.depth {
            free.push(touched(shape.bytes)?.into_io());
        }
        let mut done: Vec<Completion> = Vec::new();
        let (mut offset, mut read) = (0, 0_u64);
        let began = Instant::now();
        while read < self.bytes {
            while let Some(buf) = free.pop_if(|_| offset < self.bytes) {
                let file = Arc::clone(&self.file);
                queue.push(offset, Request::Read { file, offset, buf });
                offset += shape.bytes as u64;
            }
            queue.wait(1, &mut done)?;
            for completion in done.drain(..) {
                read += completion.result? as u64;
                free.extend(completion.buf);
            }
        }
        Ok(self.bytes as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for ReadProbe {
    fn drop(&mut self) {
        // It lies in the bench's folder, which goes as well.
        let _ = self.disk.remove(&self.path);
    }
}

/// A buffer whose pages are there, so that no first touch is measured.
fn touched(bytes: usize) -> io::Result<AlignedBuf> {
    let mut buffer = AlignedBuf::new(bytes)?;
    buffer.fill(1);
    Ok(buffer)
}

/// Bare durable 4 KiB writes (`O_DIRECT | O_DSYNC`) into a zero-written file: what a commit of one
/// client cannot beat.
#[derive(Debug)]
pub struct WriteProbe {
    file: File,
    path: PathBuf,
    buffer: AlignedBuf,
    next: u64,
    /// All writes so far, nanoseconds.
    pub latencies: Histogram<u64>,
}

const PROBE_BYTES: u64 = 16 << 20;

impl WriteProbe {
    /// Makes the file in `dir`.
    ///
    /// # Errors
    /// The system's answer.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join("device-write.tmp");
        let zeros = AlignedBuf::new(1 << 20)?;
        let flags = libc::O_DIRECT;
        let file =
            OpenOptions::new().write(true).create_new(true).custom_flags(flags).open(&path)?;
        for offset in (0..PROBE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        let file =
            OpenOptions::new().write(true).custom_flags(flags | libc::O_DSYNC).open(&path)?;
        let buffer = touched(SECTOR)?;
        Ok(Self { file, path, buffer, next: 0, latencies: histogram() })
    }

    /// Writes for `slice`; the median of these writes alone.
    ///
    /// # Errors
    /// The system's answer.
    pub fn run(&mut self, slice: Duration) -> io::Result<Duration> {
        let mut these = histogram();
        let end = Instant::now() + slice;
        loop {
            let began = Instant::now();
            self.file.write_all_at(&self.buffer, self.next)?;
            record(&mut these, began.elapsed());
            self.next = (self.next + SECTOR as u64) % PROBE_BYTES;
            if Instant::now() >= end {
                break;
            }
        }
        self.latencies += &these;
        Ok(Duration::from_nanos(these.value_at_quantile(0.5)))
    }
}

impl Drop for WriteProbe {
    fn drop(&mut self) {
        // It lies in the bench's folder, which goes as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An empty histogram of nanoseconds, up to ten minutes, with three digits.
///
/// # Panics
/// Never: the bounds are constants that the constructor accepts.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("valid constants")
}

/// Notes one duration.
pub fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
}

/// A quantile in microseconds.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a latency for people")]
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_wal::disk::open_default;

    /// Promise: the bound is measured on this device, and the probes leave nothing behind.
    #[test]
    fn probes_measure_and_clean_up() {
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let mut read = ReadProbe::new(&open_default(), dir.path(), 5 << 20).expect("a file");
        assert!(read.measure().expect("readable") > 0.0);
        let mut write = WriteProbe::new(dir.path()).expect("a file");
        let p50 = write.run(Duration::from_millis(5)).expect("writable");
        assert!(p50 > Duration::ZERO && !write.latencies.is_empty());
        drop((read, write));
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}

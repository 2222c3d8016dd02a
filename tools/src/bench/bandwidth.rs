//! What bulk cannot beat: bytes per second that the device makes durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use resprout_wal::disk::{AlignedBuf, Cache, Completion, Disk, FileRef, IoBuf, Open, Request};

/// Requests in flight, and bytes of each. The best counts.
const SHAPES: [(u32, usize); 3] = [(4, 1 << 20), (8, 1 << 20), (4, 4 << 20)];
/// Block in which the file is made, and a multiple of all shapes.
const BLOCK_BYTES: usize = 4 << 20;

/// Large writes past the page cache into a file that was written before, one flush behind all of them.
#[derive(Debug)]
pub struct DurableProbe {
    disk: Arc<dyn Disk>,
    file: FileRef,
    path: PathBuf,
    bytes: u64,
}

impl DurableProbe {
    /// Makes a file of at least `bytes` in `dir`.
    ///
    /// # Errors
    /// The system's answer.
    pub fn new(disk: &Arc<dyn Disk>, dir: &Path, bytes: u64) -> io::Result<Self> {
        let path = dir.join("device-durable.tmp");
        let block = BLOCK_BYTES as u64;
        let bytes = bytes.max(1).div_ceil(block) * block;
        let file = disk.open(&path, Open::Create, Cache::Direct)?;
        let buffer = filled(BLOCK_BYTES)?;
        for offset in (0..bytes).step_by(BLOCK_BYTES) {
            file.write_at(&buffer, offset)?;
        }
        file.flush()?;
        Ok(Self { disk: Arc::clone(disk), file, path, bytes })
    }

    /// Writes the whole file once in each shape; the best rate, in bytes per second.
    ///
    /// # Errors
    /// The system's answer.
    pub fn measure(&mut self) -> io::Result<f64> {
        let mut best = 0.0_f64;
        for (depth, bytes) in SHAPES {
            best = best.max(self.write_all(depth, bytes)?);
        }
        Ok(best)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn write_all(&self, depth: u32, bytes: usize) -> io::Result<f64> {
        let mut queue = self.disk.local_queue(depth)?;
        let mut free: Vec<IoBuf> = Vec::new();
        for _ in 0..depth {
            free.push(filled(bytes)?.into_io());
        }
        let mut done: Vec<Completion> = Vec::new();
        let (mut offset, mut written) = (0, 0_u64);
        let began = Instant::now();
        while written < self.bytes {
            while let Some(buf) = free.pop_if(|_| offset < self.bytes) {
                let (file, durable) = (Arc::clone(&self.file), false);
                queue.push(offset, Request::Write { file, offset, buf, durable });
                offset += bytes as u64;
            }
            queue.wait(1, &mut done)?;
            for completion in done.drain(..) {
                written += completion.result? as u64;
                free.extend(completion.buf);
            }
        }
        self.file.flush()?;
        Ok(self.bytes as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for DurableProbe {
    fn drop(&mut self) {
        // It lies in the bench's folder, which goes as well.
        let _ = self.disk.remove(&self.path);
    }
}

/// Bytes that no device takes for a hole.
fn filled(bytes: usize) -> io::Result<AlignedBuf> {
    let mut buffer = AlignedBuf::new(bytes)?;
    buffer.fill(0xa5);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_wal::disk::open_default;

    /// Promise: the bound is measured on this device, and nothing is left behind.
    #[test]
    fn the_probe_measures_and_cleans_up() {
        let dir = tempfile::tempdir_in(".").expect("a directory on a real disk");
        let mut probe = DurableProbe::new(&open_default(), dir.path(), 5 << 20).expect("a file");
        assert!(probe.measure().expect("writable") > 0.0);
        drop(probe);
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}

//! What the device gives at that moment: a number about a log means nothing without it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Writes and flushes of a probe.
const TRIES: u64 = 400;

/// Times of a bare write of 4 KiB and its flush, over bytes that are there.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flush {
    /// Half of them took less, in microseconds.
    pub p50_us: f64,
    /// All but one in a hundred took less.
    pub p99_us: f64,
}

/// Measures the device below a folder.
///
/// # Errors
/// What the system says.
pub fn flush(folder: &Path) -> io::Result<Flush> {
    let file = File::create(folder.join("probe"))?;
    let block = vec![1; 4096];
    for at in 0..TRIES {
        file.write_all_at(&block, at * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for at in 0..TRIES {
        let begun = Instant::now();
        file.write_all_at(&block, at * 4096)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| micros(times[(times.len() as f64 * share) as usize]);
    Ok(Flush { p50_us: at(0.5), p99_us: at(0.99) })
}

/// A time as people read it here.
pub fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

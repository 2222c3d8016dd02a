//! Memory that the machine has, before anything is timed on it.

use std::io;

use resprout_wal::disk::AlignedBuf;

/// Touches memory for a run that needs `bytes`, and gives it back to the system.
///
/// Memory that a virtual machine's host must give first is slow to touch (here 1 GB/s), and the
/// host takes free memory back after seconds. So this comes right before each run: what is timed
/// is the database, on memory that the machine has.
///
/// Which free pages the kernel hands out next cannot be chosen. With one and a half times what a run
/// needs touched, runs still met untouched memory and took twice as long; with eight times, hardly ever.
///
/// # Errors
/// If the system gives none.
pub fn touch(bytes: u64) -> io::Result<()> {
    let wanted = bytes.saturating_mul(8).min(available_bytes() / 10 * 8);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    AlignedBuf::new(wanted.max(1))?.fill(1);
    Ok(())
}

/// What the system says can be had without harm; 0 if it does not.
fn available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

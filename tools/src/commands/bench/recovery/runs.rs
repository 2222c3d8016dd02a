//! The recoveries: timed, then verified row by row.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use resprout_engine::{Database, Engine, Options};
use resprout_wal::disk::Disk;

use super::RecoveryArgs;
use super::crash::Left;
use super::report::{self, Run};
use super::writer::{TAIL_VERSION, tail_keys};
use crate::access::cannot_open;
use crate::bench::cache;
use crate::bench::dataset::Dataset;
use crate::bench::device::ReadProbe;
use crate::bench::folder::BenchFolder;
use crate::bench::memory;
use crate::bench::statistics::per_second;
use crate::bench::testbed::{self, DATABASE, failed, for_each_partition, wrong};
use crate::bench::verify::{Found, every_row};
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use crate::output;

/// All runs and the device between them.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) runs: Vec<Run>,
    pub(super) device_bytes_per_s: f64,
}

/// Recovers `dir` as often as asked.
///
/// # Errors
/// If it cannot be recovered, or a row is not what it must be.
pub(super) fn measure(
    args: &RecoveryArgs,
    folder: &BenchFolder,
    dir: &Path,
    left: &Left,
) -> Result<Measured, Failure> {
    let data = Dataset::new(args.rows, args.row_bytes, args.seed, args.log_fraction);
    let bytes = left.snapshot_bytes + left.log_bytes;
    let disk: Arc<dyn Disk> = Arc::clone(&testbed::options(args.disk)?.world.disk);
    let mut device =
        ReadProbe::new(&disk, folder.path(), bytes).map_err(io_failed("make a file to read"))?;
    let mut measured = Measured { runs: Vec::new(), device_bytes_per_s: 0.0 };
    for number in 1..=args.runs {
        measured.device_bytes_per_s = device.measure().map_err(io_failed("read the device"))?;
        if args.warm {
            cache::fill(dir).map_err(io_failed("read the files"))?;
        } else {
            cache::empty(dir).map_err(io_failed("empty the page cache"))?;
        }
        memory::touch(bytes).map_err(io_failed("allocate memory"))?;
        let run = recover_once(args, dir, (&data, left))?;
        if !args.json {
            output::line(report::run_line(number, &run));
        }
        measured.runs.push(run);
    }
    measured.device_bytes_per_s = device.measure().map_err(io_failed("read the device"))?;
    Ok(measured)
}

fn recover_once(
    args: &RecoveryArgs,
    dir: &Path,
    (data, left): (&Dataset, &Left),
) -> Result<Run, Failure> {
    let options = testbed::options(args.disk)?;
    let (engine, total, snapshot) = timed(dir, options)?;
    let bytes = left.snapshot_bytes + left.log_bytes;
    let total_s = total.as_secs_f64();
    let database = engine.database(DATABASE).map_err(|error| failed(&error))?;
    let lost = engine.status().partitions.into_iter().find_map(|partition| partition.error);
    if let Some(error) = lost {
        return Err(wrong(error));
    }
    verify(&database, data, left)?;
    engine.close().map_err(|error| failed(&error))?;
    Ok(Run {
        total_s,
        snapshot_s: snapshot.as_secs_f64(),
        log_s: (total.saturating_sub(snapshot)).as_secs_f64(),
        rows_per_s: per_second(args.rows, total_s),
        bytes_per_s: per_second(bytes, total_s),
        verified: true,
    })
}

/// Opens the directory; the time until all partitions serve, and until the last page of the last
/// snapshot was loaded.
fn timed(dir: &Path, options: Options) -> Result<(Engine, Duration, Duration), Failure> {
    let began = Instant::now();
    let recovery = Engine::recover(dir, options).map_err(|error| cannot_open(dir, &error))?;
    let outcome = recovery.wait_with_report();
    let total = began.elapsed();
    let (engine, report) = outcome.map_err(|error| cannot_open(dir, &error))?;
    // The report begins once the directory is open; what came before counts as well.
    let before = total.saturating_sub(report.total);
    Ok((engine, total, before + report.snapshot))
}

/// Every row is there, in the version that it must have. The tail of a partition may be one
/// commit further than what was acknowledged: it was on its way when the process died.
fn verify(database: &Database, data: &Dataset, left: &Left) -> Result<(), Failure> {
    let tails = for_each_partition(database, |partition| {
        tail_keys(database, partition, data).map(|keys| (partition.ordinal(), keys))
    });
    let tails: std::collections::BTreeMap<u32, Vec<u64>> =
        tails.map_err(|error| failed(&error))?.into_iter().collect();
    let heads: Vec<AtomicU64> = left.acknowledged.iter().map(|_| AtomicU64::new(0)).collect();
    let count = every_row(database, data, true, |partition, found| {
        let ordinal = partition.ordinal();
        if tails.get(&ordinal).is_some_and(|keys| keys.contains(&found.key)) {
            let at = ordinal as usize;
            return tail_row(found, left.acknowledged[at], &heads[at]);
        }
        let through_log = data.is_held(found.key) || data.is_updated(found.key);
        let expected = u32::from(through_log);
        if found.version == expected {
            return Ok(());
        }
        Err(format!("row {}: version {} instead of {expected}", found.key, found.version))
    })?;
    if count == data.rows {
        Ok(())
    } else {
        Err(wrong(format!("{count} rows instead of {}", data.rows)))
    }
}

/// Whether a tail row may be in the version it was found in. `head` keeps the version of the
/// partition's first tail row, plus one; all others must agree.
fn tail_row(found: Found, acknowledged: Option<u32>, head: &AtomicU64) -> Result<(), String> {
    let first = acknowledged.unwrap_or(0);
    let next = acknowledged.map_or(TAIL_VERSION, |version| version + 1);
    if found.version != first && found.version != next {
        return Err(format!(
            "row {}: version {}, although {first} was acknowledged and at most {next} begun",
            found.key, found.version
        ));
    }
    let version = u64::from(found.version) + 1;
    match head.compare_exchange(0, version, Ordering::Relaxed, Ordering::Relaxed) {
        Err(other) if other != version => Err(format!(
            "row {}: version {} beside version {}: half a transaction",
            found.key,
            found.version,
            other - 1
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(versions: &[u32], acknowledged: Option<u32>) -> Result<(), String> {
        let head = AtomicU64::new(0);
        let rows = versions.iter().zip(0..);
        rows.map(|(version, key)| Found { key, version: *version })
            .try_for_each(|found| tail_row(found, acknowledged, &head))
    }

    /// Promise: the commit that was acknowledged last may be followed by one that was on its way,
    /// and by nothing else.
    #[test]
    fn the_tail_may_be_one_commit_further() {
        for (versions, acknowledged) in
            [([5, 5], Some(5)), ([6, 6], Some(5)), ([0, 0], None), ([2, 2], None)]
        {
            assert_eq!(judge(&versions, acknowledged), Ok(()), "{versions:?} {acknowledged:?}");
        }
    }

    /// P01: a lost acknowledged commit, half a transaction and a version out of nowhere are told.
    #[test]
    fn p01_a_lost_commit_and_half_a_transaction_are_told() {
        let lost = judge(&[4, 4], Some(5)).expect_err("5 was acknowledged");
        assert!(lost.contains("version 4") && lost.contains('5'), "{lost}");
        let half = judge(&[6, 5], Some(5)).expect_err("two versions");
        assert!(half.contains("half a transaction"), "{half}");
        assert!(judge(&[7, 7], Some(5)).is_err());
        assert!(judge(&[3, 3], None).is_err());
    }
}

//! `resprout bench recovery`: a process builds a data set and is killed while it writes; then its
//! directory is recovered, several times, and every row is checked.
//!
//! ```text
//!  writer process ─► SIGKILL ─┬─► read the device ─► empty the cache ─► recover ─► verify ─┐ × runs
//!                             └──────────────────────────────◄─────────────────────────────┘
//! ```
//!
//! The device's best sequential read is measured in the same run, between the recoveries, with
//! the same number of bytes; that is the bound that is printed beside the result.

mod crash;
mod report;
mod runs;
pub mod writer;

use std::path::PathBuf;

use clap::Args;

use crate::access::DiskChoice;
use crate::bench::folder::BenchFolder;
use crate::bench::testbed::check_sizes;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantity::{parse_bytes, parse_count};

/// Size and shape of the data set, and how it is recovered.
#[derive(Args, Clone, Debug)]
pub struct RecoveryArgs {
    /// Number of rows, for example 10M
    #[arg(long, value_parser = parse_count, default_value = "5M")]
    pub rows: u64,
    /// Bytes of a row beside its 8-byte key
    #[arg(long, value_parser = parse_size, default_value = "100")]
    pub row_bytes: usize,
    /// Partitions
    #[arg(long, default_value_t = 8)]
    pub partitions: u32,
    /// Share of the rows that is written after the snapshot: half inserts, half updates
    #[arg(long, default_value_t = 0.1)]
    pub log_fraction: f64,
    /// Secondary indexes of the table
    #[arg(long, default_value_t = 0)]
    pub secondary_indexes: u32,
    /// Empty the page cache before each run (the default)
    #[arg(long, overrides_with = "warm")]
    pub cold: bool,
    /// Read all files before each run
    #[arg(long)]
    pub warm: bool,
    /// How often to recover
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Where to keep the data; without it they are removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What all rows follow from
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Disk backend
    #[arg(long, value_enum, default_value_t)]
    pub disk: DiskChoice,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// A size that is a length in memory.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    usize::try_from(parse_bytes(text)?).map_err(|error| error.to_string())
}

/// Runs the bench.
///
/// # Errors
/// If it cannot run, or a row is not what it must be.
pub fn run(args: &RecoveryArgs) -> Result<(), Failure> {
    check_sizes(args.rows, args.row_bytes, args.partitions)?;
    if !(0.0..=1.0).contains(&args.log_fraction) {
        let why = format!("--log-fraction {} is not between 0 and 1", args.log_fraction);
        return Err(Failure::new("cannot run the bench", why, "see --help").exiting(Exit::Usage));
    }
    let folder = BenchFolder::new(args.data.as_deref(), "recovery")?;
    let dir = folder.join("node");
    if !args.json {
        output::line(report::heading(args));
    }
    let left = crash::build_and_kill(args, &dir)?;
    if !args.json {
        output::line(report::loaded(args, &left));
    }
    let measured = runs::measure(args, &folder, &dir, &left)?;
    let result = report::Result::new(args, &left, &measured);
    if args.json {
        output::json(&result);
    } else {
        output::line(&result);
    }
    Ok(())
}

//! The parent's side of the crash: starts the writer, listens to what it acknowledges, and kills
//! it in the middle of writing.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::RecoveryArgs;
use super::writer::TAIL_VERSION;
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use std::path::Path;

/// Acknowledgements that each partition gives before the kill: so every log ends in the middle
/// of commits.
const ACKS_BEFORE_KILL: u32 = 3;

/// What the killed process left behind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Left {
    pub(super) snapshot_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) load_s: f64,
    /// By partition: the last version that was acknowledged, if any was.
    pub(super) acknowledged: Vec<Option<u32>>,
}

/// Runs the writer on `dir` and kills it.
///
/// # Errors
/// If the writer cannot start or ends by itself.
pub(super) fn build_and_kill(args: &RecoveryArgs, dir: &Path) -> Result<Left, Failure> {
    let mut child = start(args, dir).map_err(io_failed("start the writing process"))?;
    let stdout = child.stdout.take().expect("it was asked to be piped");
    let left = listen(&mut child, BufReader::new(stdout).lines(), args.partitions);
    // Whatever happened, no process is left running.
    let _ = child.kill();
    let status = child.wait().map_err(io_failed("wait for the writing process"))?;
    left.map_err(|why| {
        let why = format!("{why}; the writing process ended with {status}");
        Failure::new("cannot build the data set", why, "see its messages above")
    })
}

fn start(args: &RecoveryArgs, dir: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "recovery-writer", "--data"]).arg(dir);
    let mut flag = |name: &str, value: String| {
        command.arg(name).arg(value);
    };
    flag("--rows", args.rows.to_string());
    flag("--row-bytes", args.row_bytes.to_string());
    flag("--partitions", args.partitions.to_string());
    flag("--log-fraction", args.log_fraction.to_string());
    flag("--secondary-indexes", args.secondary_indexes.to_string());
    flag("--seed", args.seed.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

fn listen(
    child: &mut Child,
    mut lines: Lines<BufReader<ChildStdout>>,
    partitions: u32,
) -> Result<Left, String> {
    let mut next = || lines.next().transpose().map_err(|error| error.to_string());
    let first = next()?.ok_or("it said nothing")?;
    let mut left = ready(&first).ok_or_else(|| format!("it said '{first}'"))?;
    left.acknowledged = vec![None; partitions as usize];
    let mut is_killed = false;
    // Also after the kill: what is in the pipe was acknowledged.
    while let Some(line) = next()? {
        let (partition, version) =
            acknowledgement(&line).ok_or_else(|| format!("it said '{line}'"))?;
        let slot = left.acknowledged.get_mut(partition).ok_or("an unknown partition")?;
        *slot = Some(version);
        let enough = |version: &Option<u32>| {
            version.is_some_and(|version| version >= TAIL_VERSION + ACKS_BEFORE_KILL - 1)
        };
        if !is_killed && left.acknowledged.iter().all(enough) {
            child.kill().map_err(|error| error.to_string())?;
            is_killed = true;
        }
    }
    if is_killed { Ok(left) } else { Err("it ended before it was killed".into()) }
}

fn ready(line: &str) -> Option<Left> {
    let mut words = line.strip_prefix("ready ")?.split(' ');
    Some(Left {
        snapshot_bytes: words.next()?.parse().ok()?,
        log_bytes: words.next()?.parse().ok()?,
        load_s: words.next()?.parse().ok()?,
        acknowledged: Vec::new(),
    })
}

/// A line that the kill cut short has no line end; its version may lack digits. Both numbers are
/// written with one call, and the pipe takes so few bytes whole, so there is none.
fn acknowledgement(line: &str) -> Option<(usize, u32)> {
    let (partition, version) = line.split_once(' ')?;
    Some((partition.parse().ok()?, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what the writer says is understood, and anything else is not taken for it.
    #[test]
    fn the_writer_is_understood() {
        let left = ready("ready 100 20 1.5").expect("well formed");
        assert_eq!((left.snapshot_bytes, left.log_bytes), (100, 20));
        assert_eq!(ready("error: something"), None);
        assert_eq!(acknowledgement("3 17"), Some((3, 17)));
        assert_eq!(acknowledgement("3"), None);
    }
}

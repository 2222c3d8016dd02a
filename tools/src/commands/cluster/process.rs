//! Processes of nodes: started so that they outlive whoever starts them, looked at by what the kernel says, ended.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::registry::Process;
use crate::failure::Failure;

/// Between two looks at a process that is to end.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How a process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order: it closes what it has.
    Stop,
    /// At once.
    Kill,
}

/// When a process was started, if it runs; one that has ended and was not waited for does not.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have any letters. What follows is state, and 18 fields later the time.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Process {
    /// Whether it runs.
    pub(super) fn runs(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Ends it, and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be signalled, or is not gone in time.
    pub(super) fn end(self, how: Ending, within: Duration) -> Result<(), Failure> {
        let what = || format!("cannot end process {}", self.pid);
        let end = Instant::now() + within;
        let mut is_told = false;
        while self.runs() {
            if !is_told {
                let signal = if how == Ending::Kill { "-KILL" } else { "-TERM" };
                let pid = self.pid.to_string();
                let sent = Command::new("kill").arg(signal).arg(pid).stderr(Stdio::null()).status();
                let sent =
                    sent.map_err(|error| Failure::new(what(), error, "install kill (procps)"))?;
                // It may have ended by itself meanwhile.
                if !sent.success() && self.runs() {
                    let why = "the system does not let this user signal it";
                    return Err(Failure::new(what(), why, "be who started it, or root"));
                }
                is_told = true;
            }
            if Instant::now() > end {
                let why = format!("it runs on after {within:?}");
                return Err(Failure::new(what(), why, "see its log; --kill ends it at once"));
            }
            std::thread::sleep(AGAIN_AFTER);
        }
        Ok(())
    }
}

/// The nodes' program: as it was said, or beside this one.
///
/// # Errors
/// If it is not there.
pub(super) fn program(said: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = match said {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .map(|own| own.with_file_name("resproutd"))
            .map_err(|error| Failure::new("cannot find resproutd", error, "give --resproutd"))?,
    };
    if path.is_file() {
        return Ok(path);
    }
    let why = format!("there is no file {}", path.display());
    Err(Failure::new("cannot find resproutd", why, "give --resproutd PATH"))
}

/// Starts a node that outlives this process.
///
/// # Errors
/// If the system does not start it.
pub(super) fn start(
    program: &Path,
    config: &Path,
    log: &Path,
    more: &[String],
) -> Result<Process, Failure> {
    let cannot = |error: std::io::Error| {
        let what = format!("cannot start {}", program.display());
        Failure::new(what, error, "check the path and its permissions")
    };
    let log = File::options().create(true).append(true).open(log).map_err(cannot)?;
    let mut command = Command::new(program);
    command.arg("member").arg("--config").arg(config).args(more);
    // Settings of this shell are not the node's: they are in its file.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RESPROUT_") {
            command.env_remove(name);
        }
    }
    // Neither the end of the terminal nor its signals are for the node.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let child = command.spawn().map_err(cannot)?;
    let pid = child.id();
    // If it has ended already, nothing has that time, and it does not run.
    Ok(Process { pid, started: started(pid).unwrap_or(0) })
}

/// The last lines of a log, for who reads why a node has ended.
pub(super) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a process is known by number and time of its start; one that has ended does not run, though nobody
    /// has waited for it.
    #[test]
    fn a_process_is_known_and_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = child.id();
        let process = Process { pid, started: started(pid).expect("it runs") };
        assert!(process.runs());
        assert!(
            !Process { started: process.started + 1, ..process }.runs(),
            "another of its number"
        );
        process.end(Ending::Kill, Duration::from_secs(60)).expect("ended");
        assert!(!process.runs());
        process.end(Ending::Stop, Duration::from_secs(60)).expect("nothing is left to do");
        child.wait().expect("gone");
    }
}

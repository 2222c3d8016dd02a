//! The kernel ends the process because its memory is up (row P14 of the reliability catalogue).
//! Needs a memory controller that may be written to.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use resprout_crash::{Promise, Subject, run, say, scratch, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_resprout-crash-subject");
/// Enough to open, not enough for what the writer wants.
const LIMIT_BYTES: &str = "50331648";

/// A group of processes with a limit, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self, String> {
        let first = Path::new("/sys/fs/cgroup/memory");
        let name = format!("resprout-crash-{}", std::process::id());
        let (root, limit) = match first.is_dir() {
            true => (first, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = Self(root.join(name));
        std::fs::create_dir(&group.0).map_err(|error| format!("{}: {error}", root.display()))?;
        std::fs::write(group.0.join(limit), LIMIT_BYTES)
            .map_err(|error| format!("no memory controller: {error}"))?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever looks after the groups of this machine sees one that stays behind.
        let _still_there = std::fs::remove_dir(&self.0);
    }
}

/// Row P14: an end by the kernel is a kill as any other, and coming back takes no more memory
/// than there was.
#[test]
fn p14_killed_for_memory() {
    let test = "p14_killed_for_memory";
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => return skip(test, &why),
    };
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data).threads();
    let arguments = ["--count", "100000", "--bytes", "200000", "--snapshot-every", "50"];
    let mut command = subject.command("write", &arguments);
    let procs = group.0.join("cgroup.procs");
    // SAFETY: one write of the child's own number to a file whose path was made before the fork.
    unsafe { command.pre_exec(move || std::fs::write(&procs, "0")) };
    let ran = run(&mut command);
    assert!(ran.code.is_none(), "it was killed: {:?}", ran.lines.last());
    let mut promise = Promise::default();
    promise.add(&ran);
    subject.check(&promise, test);
    say(&format!("{test}: {} acknowledged before", promise.acknowledged()));
    assert!(promise.acknowledged() > 0, "a run without work proves nothing");
}

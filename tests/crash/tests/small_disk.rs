//! A real device that is small, and one that becomes read-only: an ext4 image on a loop device
//! (rows D21, D24, D36 of the reliability catalogue). Needs root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use resprout_crash::{Promise, Ran, Subject, has_program, run, say, skip};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_resprout-crash-subject");
const IMAGE_BYTES: u64 = 24 << 20;
/// Catalogue row D21: writes go on by themselves within this time after space has returned.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);

/// A mounted image, unmounted at the end.
struct Mount {
    dir: TempDir,
}

impl Mount {
    /// Makes and mounts one, or says why not.
    fn new() -> Result<Self, String> {
        for program in ["mkfs.ext4", "mount", "umount", "losetup"] {
            let sbin = Path::new("/usr/sbin").join(program).is_file();
            if !sbin && !has_program(program) {
                return Err(format!("there is no {program}"));
            }
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = dir.path().join("image");
        let sized = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        sized.map_err(|error| error.to_string())?;
        let at = dir.path().join("at");
        std::fs::create_dir(&at).map_err(|error| error.to_string())?;
        quiet(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        quiet(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        Ok(Self { dir })
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    fn remount(&self, how: &str) -> Result<(), String> {
        quiet(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.at()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A mount that stays behind is told by `mount`; there is nobody here to tell.
        let _still_there = quiet(Command::new("umount").arg("-l").arg(self.at()));
    }
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

/// Takes all space but `left` bytes.
fn fill(mount: &Mount, left: u64) -> PathBuf {
    let path = mount.at().join("ballast");
    let block = vec![1; 64 << 10];
    let mut file = File::create(&path).expect("a file");
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    let len = file.metadata().expect("its length").len();
    file.set_len(len.saturating_sub(left)).expect("shorter");
    file.sync_all().expect("on the device");
    path
}

/// Row D21: a full device refuses transactions with a clear error, keeps what it has, and goes on
/// by itself when there is space again.
#[test]
fn d21_a_full_device_refuses_and_recovers() {
    let test = "d21_a_full_device_refuses_and_recovers";
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(why) => return skip(test, &why),
    };
    let data = mount.at().join("data");
    let subject = Subject::new(PROGRAM, &data).threads();
    let mut promise = Promise::default();
    promise.add(&run(&mut subject.command("write", &["--count", "3"])));
    let ballast = fill(&mount, 400 << 10);
    let from = promise.next().to_string();
    let arguments = ["--from", &from, "--count", "3000", "--bytes", "60000", "--patient-ms", "20"];
    let mut child = subject.command("write", &arguments);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("the subject runs");
    let lines = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut ran = Ran { code: None, lines: Vec::new(), stderr: String::new() };
    let mut freed: Option<Instant> = None;
    let mut resumed = None;
    for line in std::io::BufRead::lines(lines) {
        let line = line.expect("lines");
        match freed {
            None if line.starts_with("refused") => {
                assert!(line.contains("full"), "it says what is wrong: {line}");
                std::fs::remove_file(&ballast).expect("it can go");
                freed = Some(Instant::now());
            }
            Some(freed) if resumed.is_none() && line.starts_with("ack") => {
                resumed = Some(freed.elapsed());
                child.kill().expect("it still runs");
            }
            _ => {}
        }
        ran.lines.push(line);
    }
    child.wait().expect("it ends");
    promise.add(&ran);
    let tail = ran.lines.iter().rev().take(5).collect::<Vec<_>>();
    let resumed = resumed.unwrap_or_else(|| panic!("never refused, or never again: {tail:?}"));
    assert!(resumed < RESUMES_WITHIN, "resumes after {resumed:?}");
    assert!(ran.numbers("unknown").is_empty(), "a full device is a definite error");
    subject.check(&promise, test);
    say(&format!("{test}: {} acknowledged, resumed after {resumed:?}", promise.acknowledged()));
}

/// Row D24: no space for a snapshot: its file goes, log and older snapshot stay, writes go on.
#[test]
fn d24_no_space_for_a_snapshot() {
    let test = "d24_no_space_for_a_snapshot";
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(why) => return skip(test, &why),
    };
    let data = mount.at().join("data");
    let subject = Subject::new(PROGRAM, &data);
    let mut promise = Promise::default();
    let big = ["--count", "9", "--bytes", "400000", "--snapshot-every", "9"];
    let first = run(&mut subject.command("write", &big));
    assert!(first.code == Some(0) && first.says("snapshot"), "{first:?}");
    promise.add(&first);
    let ballast = fill(&mount, 1 << 20);
    let from = promise.next().to_string();
    let arguments = ["--from", &from, "--count", "2", "--snapshot-every", "1"];
    let second = run(&mut subject.command("write", &arguments));
    promise.add(&second);
    assert!(second.says("snapshot failed"), "{second:?}");
    let told = second.mentions("no space for snapshot") && second.mentions("it needs");
    assert!(told, "it names the reason and the bytes needed: {second:?}");
    assert_eq!(second.numbers("ack").len(), 2, "writes go on: {second:?}");
    let folder = std::fs::read_dir(data.join("partitions/d/0")).expect("the folder of snapshots");
    let names: Vec<_> = folder.map(|entry| entry.expect("a name").file_name()).collect();
    let half = names.iter().any(|name| name.to_string_lossy().ends_with(".tmp"));
    assert!(!half && names.len() == 1, "the old one and nothing half: {names:?}");
    subject.check(&promise, test);
    std::fs::remove_file(ballast).expect("it can go");
    let from = promise.next().to_string();
    let arguments = ["--from", &from, "--count", "1", "--snapshot-every", "1"];
    let third = run(&mut subject.command("write", &arguments));
    promise.add(&third);
    assert!(third.says("snapshot") && !third.says("snapshot failed"), "{third:?}");
    subject.check(&promise, "with space again");
}

/// Row D36: the device becomes read-only: opening says so with path and reason, and all is there
/// when it can be written again.
#[test]
fn d36_a_read_only_device() {
    let test = "d36_a_read_only_device";
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(why) => return skip(test, &why),
    };
    let data = mount.at().join("data");
    let subject = Subject::new(PROGRAM, &data);
    let mut promise = Promise::default();
    promise.add(&run(&mut subject.command("write", &["--count", "5", "--snapshot-every", "2"])));
    if let Err(why) = mount.remount("ro") {
        return skip(test, &why);
    }
    let inspected = run(&mut subject.inspect());
    let refused = run(&mut subject.command("write", &["--count", "1"]));
    mount.remount("rw").expect("it was so before");
    assert_eq!(inspected.code, Some(0), "inspection needs no writing: {inspected:?}");
    assert_eq!(refused.code, Some(10), "{refused:?}");
    assert!(refused.mentions("os error 30"), "it names the reason: {refused:?}");
    assert!(refused.mentions(&data.display().to_string()), "and the path: {refused:?}");
    subject.check(&promise, test);
}

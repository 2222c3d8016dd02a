//! Signals at any time (rows P01, P08 of the reliability catalogue).

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use resprout_crash::{Promise, Ran, Subject, rounds, run, say, scratch};
use resprout_wal::world::Rng;

const PROGRAM: &str = env!("CARGO_BIN_EXE_resprout-crash-subject");
/// Rounds in a usual run; before a release at least 200 (`RESPROUT_ROUNDS`).
const ROUNDS_USUAL: u64 = 40;
/// Longest life of a writer.
const LIFE_MAX_US: u64 = 60_000;
/// A directory is used for so many lives, so that recovery also meets old state.
const LIVES: u64 = 8;

/// Lets a writer live for a while after it is online.
fn life(subject: &Subject, from: i64, micros: u64) -> Ran {
    let from = from.to_string();
    let arguments =
        ["--from", &from, "--count", "1000000", "--snapshot-every", "40", "--bytes", "3000"];
    let mut child = subject.command("write", &arguments);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("the subject runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut text = String::new();
    out.read_line(&mut text).expect("it says that it is online");
    // The pipe is read by a thread: a writer that waits for its reader would be a weak test.
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("lines");
        rest
    });
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().expect("it can be killed");
    let status = child.wait().expect("it ends");
    text.push_str(&rest.join().expect("it reads"));
    // The last line may be cut in the middle of a number.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(str::to_owned).collect();
    Ran { code: status.code(), lines, stderr: String::new() }
}

fn killed_at_random(backend: &'static str, rounds: u64) {
    let mut rng = Rng::new(7);
    let mut acknowledged = 0;
    let mut round = 0;
    while round < rounds {
        let (_dir, data) = scratch();
        let subject = Subject::new(PROGRAM, &data).backend(backend).threads();
        let mut promise = Promise::default();
        for _ in 0..LIVES.min(rounds - round) {
            let ran = life(&subject, promise.next(), rng.below(LIFE_MAX_US));
            promise.add(&ran);
            subject.check(&promise, &format!("{backend}, round {round}"));
            round += 1;
        }
        acknowledged += promise.acknowledged();
    }
    say(&format!("p01 with {backend}: {rounds} kills, {acknowledged} transactions acknowledged"));
    assert!(acknowledged as u64 > rounds, "a run without work proves nothing");
}

/// Row P01: killed at random times, nothing acknowledged is lost, nothing is half there.
#[test]
fn p01_killed_at_random_times_with_io_uring() {
    killed_at_random("auto", rounds("RESPROUT_ROUNDS", ROUNDS_USUAL));
}

/// Row P01: the same through `pwritev2`.
#[test]
fn p01_killed_at_random_times_with_pwritev2() {
    killed_at_random("pwritev2", rounds("RESPROUT_ROUNDS", ROUNDS_USUAL));
}

/// Row P08: the node ends in order on SIGTERM, and inspection says so.
#[test]
fn p08_sigterm_ends_clean() {
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data).threads();
    let mut promise = Promise::default();
    promise.add(&life(&subject, 1, LIFE_MAX_US));
    let mut node = std::process::Command::new(PROGRAM);
    node.args(["node", "--log-format", "json", "--data"]).arg(&data);
    let mut node = node.stderr(Stdio::piped()).spawn().expect("the node runs");
    let lines = BufReader::new(node.stderr.take().expect("a pipe"));
    let mut terminated = false;
    for line in lines.lines() {
        if line.expect("lines").contains("recovery node done") {
            let pid = i32::try_from(node.id()).expect("a process id");
            // SAFETY: a signal to a child that has not been waited for.
            terminated = unsafe { libc::kill(pid, libc::SIGTERM) } == 0;
        }
    }
    assert!(terminated, "the node never came online");
    assert_eq!(node.wait().expect("it ends").code(), Some(0));
    let inspected = run(&mut subject.inspect());
    assert_eq!(inspected.code, Some(0), "a clean end: {inspected:?}");
    subject.check(&promise, "SIGTERM");
}

//! System calls that fail, are short or slow, on the real process (rows D18, D20, D21, D25, D27,
//! D37, D38 of the reliability catalogue).

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Instant;

use resprout_crash::{Promise, Ran, Subject, has_program, rounds, run, say, scratch, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_resprout-crash-subject");
const COUNT: [&str; 2] = ["--count", "8"];
/// Errors at so many different calls in a usual run.
const CALLS_USUAL: u64 = 8;
/// The first so many reads of a recovery fail, one by one and from one on.
const READS: u64 = 12;
/// A run with more calls than this has gone wrong.
const CALLS_MAX: u64 = 500;

/// A directory with some transactions, closed in order.
fn prepared(subject: &Subject) -> Promise {
    let mut promise = Promise::default();
    let ran = run(&mut subject.command("write", &["--count", "4", "--snapshot-every", "2"]));
    assert_eq!((ran.code, ran.numbers("ack").len()), (Some(0), 4), "{ran:?}");
    promise.add(&ran);
    promise
}

/// So many runs in a row without any trouble mean that the writer makes fewer calls.
const QUIET_MAX: u64 = 12;

/// Does `what` to the `n`-th call of a writer for growing `n`; hands each run to `judge`. Ends
/// when the writer makes fewer calls, which a run without any trouble shows.
fn at_each(test: &str, call: &str, what: &str, judge: impl Fn(&Ran, &str)) {
    if !has_program("strace") {
        return skip(test, "there is no strace");
    }
    let all = rounds("RESPROUT_ROUNDS", 0) > 0;
    let (mut n, mut tried, mut troubled, mut quiet) = (1, 0, 0, 0);
    while n < CALLS_MAX && quiet < QUIET_MAX && (all || tried < CALLS_USUAL) {
        let (_dir, data) = scratch();
        let subject = Subject::new(PROGRAM, &data);
        let mut promise = prepared(&subject);
        let from = promise.next().to_string();
        let inject = format!("{call}:{what}:when={n}");
        let arguments = ["--from", &from, COUNT[0], COUNT[1]];
        let ran = run(&mut subject.traced(&inject, "write", &arguments));
        let when = format!("{call} {n}: {what}");
        promise.add(&ran);
        judge(&ran, &when);
        subject.check(&promise, &when);
        tried += 1;
        let fine = ran.says("closed") && ran.numbers("ack").len() == 8;
        troubled += u64::from(!fine);
        quiet = if fine { quiet + 1 } else { 0 };
        n += if all || tried < CALLS_USUAL / 2 { 1 } else { 1 + n / 3 };
    }
    say(&format!("{test}: {tried} times {what} at {call}, {troubled} of them noticed"));
}

/// After an unknown outcome nothing is acknowledged any more: the log has ended.
fn no_ack_after_unknown(ran: &Ran, when: &str) {
    let unknown = ran.numbers("unknown");
    let Some(first) = unknown.first() else { return };
    let later: BTreeSet<_> = ran.numbers("ack").split_off(first);
    assert!(later.is_empty(), "{when}: acknowledged after a failure: {:?}", ran.lines);
    assert_eq!(unknown.len(), 1, "{when}: only the write under way is unknown: {:?}", ran.lines);
}

/// Row D18: a flush that fails is not tried again, the copy stops, the write is unknown.
#[test]
fn d18_a_failed_flush_stops_the_copy() {
    let test = "d18_a_failed_flush_stops_the_copy";
    at_each(test, "fdatasync", "error=EIO", no_ack_after_unknown);
    at_each(test, "pwritev2", "error=EIO", |ran, when| {
        no_ack_after_unknown(ran, when);
        // The error names the path and the reason (CE).
        if !ran.numbers("unknown").is_empty() {
            assert!(ran.mentions("os error 5"), "{when}: {:?}", ran.lines);
            assert!(ran.mentions("wal.arena"), "{when}: {:?}", ran.lines);
        }
    });
}

/// Row D20: a write that fails or is short leaves nothing behind that recovery stumbles over.
#[test]
fn d20_failed_and_short_writes() {
    let test = "d20_failed_and_short_writes";
    at_each(test, "pwrite64", "error=EIO", no_ack_after_unknown);
    at_each(test, "pwritev2", "retval=0", no_ack_after_unknown);
    at_each(test, "pwritev2", "retval=7", no_ack_after_unknown);
}

/// Row D21: a device that is full for one write.
#[test]
fn d21_no_space_for_one_write() {
    at_each("d21_no_space_for_one_write", "pwritev2", "error=ENOSPC", no_ack_after_unknown);
    at_each("d21_no_space_for_one_write", "pwrite64", "error=ENOSPC", no_ack_after_unknown);
}

/// Row D25: a read that fails once during recovery is tried again; one that always fails makes
/// the copy say so, and nothing is lost.
#[test]
fn d25_failed_reads_in_recovery() {
    let test = "d25_failed_reads_in_recovery";
    if !has_program("strace") {
        return skip(test, "there is no strace");
    }
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data);
    let promise = prepared(&subject);
    let (mut whole, mut refused) = (0, 0);
    for call in ["pread64", "preadv2", "preadv"] {
        for n in 1..=READS {
            for when in [format!("{n}"), format!("{n}+")] {
                let inject = format!("{call}:error=EIO:when={when}");
                let read = run(&mut subject.traced(&inject, "read", &[]));
                match read.code {
                    Some(0) => {
                        promise.check(&read, &inject);
                        whole += 1;
                    }
                    Some(10 | 11) => {
                        assert!(read.mentions("os error 5"), "{inject}: {read:?}");
                        refused += 1;
                    }
                    // The loader reads before the program does.
                    Some(127) => {}
                    _ => panic!("{inject}: {read:?}"),
                }
            }
        }
    }
    subject.check(&promise, "after failed reads");
    say(&format!("{test}: {whole} whole, {refused} refused with the reason"));
    assert!(refused > 0, "no read was hit");
}

/// Row D27: every flush and durable write takes 100 ms: slow, and nothing else.
#[test]
fn d27_slow_flushes_are_only_slow() {
    let test = "d27_slow_flushes_are_only_slow";
    if !has_program("strace") {
        return skip(test, "there is no strace");
    }
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data).threads();
    let mut promise = prepared(&subject);
    let from = promise.next().to_string();
    let begun = Instant::now();
    let inject = "fdatasync,fsync,pwritev2:delay_enter=100000";
    let ran = run(&mut subject.traced(inject, "write", &["--from", &from, "--count", "5"]));
    assert_eq!((ran.code, ran.numbers("ack").len()), (Some(0), 5), "{ran:?}");
    assert!(begun.elapsed().as_millis() >= 500, "the delay took effect");
    promise.add(&ran);
    subject.check(&promise, "slow flushes");
}

/// Row D37: out of descriptors: an error, no partial state, and whole again when there are some.
#[test]
fn d37_out_of_descriptors() {
    let (mut opened, mut refused) = (0, 0);
    for limit in 3..20 {
        let (_dir, data) = scratch();
        let subject = Subject::new(PROGRAM, &data);
        let mut promise = prepared(&subject);
        let from = promise.next().to_string();
        let mut command = subject.command("write", &["--from", &from, "--count", "3"]);
        // SAFETY: `setrlimit` may be called between fork and exec; it touches no memory of ours.
        unsafe { command.pre_exec(move || limit_descriptors(limit)) };
        let Ok(output) = command.output() else { continue };
        let ran = Ran::of(&output);
        promise.add(&ran);
        let when = format!("{limit} descriptors");
        match ran.code {
            Some(0) => opened += 1,
            // 127: the loader itself finds no descriptor.
            Some(10..=12 | 127) => refused += 1,
            _ => panic!("{when}: {ran:?}"),
        }
        subject.check(&promise, &when);
    }
    say(&format!("d37_out_of_descriptors: {opened} opened, {refused} refused"));
    assert!(refused > 0 && opened > 0, "limits on both sides of what is needed");
}

fn limit_descriptors(most: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the pointer is to a value that lives through the call.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Row D38: a second process is refused at once, and the first goes on unharmed.
#[test]
fn d38_a_second_process_is_refused() {
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data).threads();
    let mut first = subject.command("write", &["--count", "1000000", "--bytes", "500"]);
    let mut first = first.stdout(Stdio::piped()).spawn().expect("the subject runs");
    let second = loop {
        // Until the first has the lock the second may get it; then the first is refused.
        if data.join("wal.arena").exists() {
            break run(&mut subject.command("write", &["--from", "5000000", "--count", "1"]));
        }
        std::thread::yield_now();
    };
    first.kill().expect("it still runs");
    let first = Ran::of(&first.wait_with_output().expect("it ends"));
    assert_eq!(second.code, Some(10), "{second:?}");
    assert!(second.mentions("in use"), "{second:?}");
    let mut promise = Promise::default();
    promise.add(&first);
    assert!(first.code.is_none(), "the first ran until it was killed: {:?}", first.lines.last());
    subject.check(&promise, "a second process");
}

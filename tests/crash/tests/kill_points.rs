//! The process is killed at every system call that changes the disk, and so is its recovery
//! (rows P03, P04, D01, D17, D29 of the reliability catalogue).

use resprout_crash::{Promise, Ran, Subject, has_program, rounds, run, say, scratch, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_resprout-crash-subject");
/// Transactions, a snapshot after every so many, and rows that need several frames or slots.
const WORK: [&str; 6] = ["--count", "6", "--snapshot-every", "3", "--bytes", "30000"];
/// A run with more calls than this has gone wrong.
const CALLS_MAX: u64 = 2000;
/// Of the kills of a call that is made often, so many are tried in a usual run.
const KILLS_USUAL: u64 = 24;
/// Recoveries are killed at these calls, for every so-manieth kill of the writer.
const RECOVERY_KILLS: [u64; 3] = [1, 2, 5];
const RECOVERY_EVERY: u64 = 5;

/// Kills the writer at its `k`-th call of one kind, then checks; false when it makes fewer.
fn kill_at(backend: &'static str, call: &str, k: u64) -> bool {
    let (_dir, data) = scratch();
    let subject = Subject::new(PROGRAM, &data).backend(backend);
    let when = format!("{backend}, killed at {call} {k}");
    let inject = format!("{call}:signal=KILL:when={k}");
    let ran = run(&mut subject.traced(&inject, "write", &WORK));
    let mut promise = Promise::default();
    promise.add(&ran);
    if k.is_multiple_of(RECOVERY_EVERY) {
        for j in RECOVERY_KILLS {
            let inject = format!("{call}:signal=KILL:when={j}");
            let recovery: Ran = run(&mut subject.traced(&inject, "read", &[]));
            assert!(matches!(recovery.code, None | Some(0)), "{when}, {j}: {recovery:?}");
        }
    }
    subject.check(&promise, &when);
    // And it goes on: what is written now is there as well.
    let from = promise.next().to_string();
    let more = run(&mut subject.command("write", &["--from", &from, "--count", "2"]));
    assert_eq!(more.code, Some(0), "{when}: writing on: {more:?}");
    promise.add(&more);
    subject.check(&promise, &format!("{when}, and written on"));
    ran.code.is_none()
}

/// All kills of a call, or in a usual run a spread of them: the first ones one by one, since
/// making a directory is where each differs, then at growing distance.
fn kill_everywhere(test: &str, backend: &'static str, call: &str) {
    if !has_program("strace") {
        return skip(test, "there is no strace");
    }
    let all = rounds("RESPROUT_ROUNDS", 0) > 0;
    let (mut k, mut kills) = (1, 0);
    while k < CALLS_MAX && kill_at(backend, call, k) {
        kills += 1;
        let far = if kills < KILLS_USUAL / 2 { 1 } else { 1 + k / 5 };
        k += if all { 1 } else { far };
    }
    if kills == 0 {
        return skip(test, &format!("the writer makes no {call}"));
    }
    say(&format!("{test}: {kills} kills at {call} with {backend}"));
}

macro_rules! kills {
    ($($name:ident: $backend:literal, $call:literal;)*) => {
        $(
            /// Promises A1, A6 (row P03): killed before any such call, nothing acknowledged is
            /// lost, nothing is half there, and recovery, killed as well (P04), succeeds.
            #[test]
            fn $name() {
                kill_everywhere(stringify!($name), $backend, $call);
            }
        )*
    };
}

kills! {
    p03_killed_at_every_pwritev2: "pwritev2", "pwritev2";
    p03_killed_at_every_pwrite64: "pwritev2", "pwrite64";
    p03_killed_at_every_fdatasync: "pwritev2", "fdatasync";
    p03_killed_at_every_fsync: "pwritev2", "fsync";
    p03_killed_at_every_rename: "pwritev2", "rename";
    p03_killed_at_every_unlink: "pwritev2", "unlink";
    p03_killed_at_every_ftruncate: "pwritev2", "ftruncate";
    p03_killed_at_every_mkdir: "pwritev2", "mkdir";
    p03_killed_at_every_openat: "pwritev2", "openat";
    p03_killed_at_every_io_uring_enter: "io_uring", "io_uring_enter";
}

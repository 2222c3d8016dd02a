//! The disk refuses an operation of a history, each in turn. Rows D18, D20, D21, D24, D25, D36.

use resprout_engine::{Engine, Error, Partition, State};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};

use crate::contents::{Node, contents, node};
use crate::harness::{open, try_open};
use crate::workload::{Run, STEPS, Undisturbed, commit_one, run_until_error};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

const ERRORS: [Effect; 4] =
    [Effect::Error(EIO), Effect::Error(ENOSPC), Effect::Error(EROFS), Effect::Short(7)];

/// What a node looks like that met an error.
struct After {
    /// Partitions that took another commit, and what they hold since.
    live: Node,
    /// Partitions that did not.
    stopped: usize,
}

fn partitions(engine: &Engine) -> Vec<Partition> {
    engine.databases().iter().flat_map(|database| database.partitions().to_vec()).collect()
}

/// Asks each partition for one more commit.
fn ask(engine: &Engine) -> After {
    let mut after = After { live: Node::new(), stopped: 0 };
    for partition in partitions(engine) {
        let stopped = partition.status().error.is_some();
        match commit_one(&partition, 1000) {
            Ok(()) if !stopped => {
                after.live.insert(partition.name().to_owned(), contents(&partition));
            }
            outcome => {
                after.stopped += 1;
                assert!(stopped, "{} gives no reason: {outcome:?}", partition.name());
            }
        }
    }
    after
}

/// Whether the operation that failed is one that all logs share.
fn is_shared(disk: &SimDisk, k: usize) -> bool {
    disk.log().get(k).is_some_and(|op| op.kind == OpKind::Flush && op.path.ends_with("wal.arena"))
}

/// A node whose operation `k` was refused.
fn refused_at(history: &Undisturbed, k: usize, effect: Effect) {
    let disk = SimDisk::new(k as u64);
    disk.fail(Fault::at(k as u64, effect));
    let Ok(engine) = try_open(&disk, 0) else {
        // Refused as a whole, and nothing was there: it works once the disk does.
        drop(open(&disk.restart(), 1));
        return;
    };
    let mut run = Run::new(engine);
    let (done, error) = run_until_error(&mut run);
    // A node that closes takes no more commits, however that ends.
    let after = (done + 1 < STEPS.len()).then(|| ask(&run.engine));
    if let Some(after) = &after {
        let most = if is_shared(&disk, k) { 3 } else { 1 };
        assert!(after.stopped <= most, "{} partitions stopped by {error:?}", after.stopped);
    }
    drop(run);
    let engine = open(&disk.crash(k as u64), 1);
    let mut found = node(&engine);
    let unknown = matches!(error, Some(Error::OutcomeUnknown(_)));
    for (name, contents) in after.map(|after| after.live).unwrap_or_default() {
        let now = found.remove(&name);
        assert_eq!(now.as_ref(), Some(&contents), "{name} lost what it had acknowledged");
        let mut without = contents;
        for rows in without.values_mut() {
            rows.retain(|row| row[0] != resprout_engine::table::Value::Int(1000));
        }
        found.insert(name, without);
    }
    history.check(&found, done);
    if !unknown && done < STEPS.len() && STEPS[done].is_one_commit() {
        assert_eq!(found, history.after(done), "{:?} failed: {error:?}", STEPS[done]);
    }
}

/// D18, D20, D21, D24, D36: an operation of the disk that is refused has a definite outcome or is
/// said to be unknown, stops at most the copy it hit, and costs no acknowledged commit.
#[test]
fn d18_d20_d21_d24_d36_the_disk_refuses_every_operation_once() {
    let history = Undisturbed::run();
    for k in 0..history.disk.operations() {
        for effect in ERRORS {
            refused_at(&history, k, effect);
        }
    }
}

/// D25: a read that fails in recovery is tried again; one that keeps failing stops that copy with
/// a reason, and costs nothing once the medium reads again.
#[test]
fn d25_reads_fail_in_recovery() {
    let history = Undisturbed::run();
    let whole = history.after(STEPS.len());
    for times in [1, 100] {
        let mut failed = 0;
        for k in 0.. {
            let disk = history.disk.after_crash(k);
            for _ in 0..times {
                disk.fail(Fault::on(OpKind::Read, k, Effect::Error(EIO)));
            }
            let opened = try_open(&disk, 1);
            disk.heal();
            match &opened {
                Ok(engine) => failed += check_reads(engine, &whole),
                Err(error) => {
                    failed += 1;
                    assert!(error.to_string().contains("/data"), "{error} names no file");
                }
            }
            drop(opened);
            assert_eq!(node(&open(&disk.restart(), 2)), whole);
            if k > 200 {
                break;
            }
        }
        assert_eq!(failed > 0, times > 1, "{failed} failures with {times} bad reads");
    }
}

/// Counts partitions that are not online; those that are must be whole.
fn check_reads(engine: &Engine, whole: &Node) -> usize {
    let mut failed = 0;
    for partition in partitions(engine) {
        if partition.state() == State::Online {
            assert_eq!(contents(&partition), whole[partition.name()]);
        } else {
            failed += 1;
            let error = partition.status().error.expect("a reason");
            assert!(error.contains("/data"), "{error} names no file");
        }
    }
    failed
}

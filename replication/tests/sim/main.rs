//! Simulation: copies of one partition under an authority, from one seed.
//!
//! ```text
//! cargo test -p resprout-replication --test sim                             # the seeds of every change
//! RESPROUT_SEEDS=50000 cargo test -p resprout-replication --test sim copies_keep
//! RESPROUT_SEED=115 cargo test -p resprout-replication --test sim one_seed -- --nocapture
//! RESPROUT_SEED=115 RESPROUT_PLANTED=CutAtWatermark cargo test … one_seed -- --nocapture
//! RESPROUT_ALTERS=1 RESPROUT_SEED=115 cargo test … one_seed -- --nocapture   # of a database that is altered
//! RESPROUT_OUTCOMES_ONLY=1 …     # the same without the checks of rules: what somebody could suffer from
//! ```
//!
//! The cores are those of production; log, pages, network, authority and clock are models. A trace
//! has a line for each event: `milliseconds node sign text`, `<` arrived, `>` sent, `=` state, `*`
//! decided or acknowledged, `#` a mark of the core, `!` an alarm, `%` work on pages, `?` a client, `~` a
//! fault; node 0 is the authority.

mod authority;
mod drive;
mod faults;
mod node;
mod plan;
mod world;

use resprout_replication::testing::Planted;
use resprout_replication::{Envelope, Message};
use resprout_sim::seeds::{self, Failure};

use plan::Plan;

/// Seeds of every change. `RESPROUT_SEEDS` asks for more.
const SEEDS: u64 = 2000;

/// How often each fault and each moment must occur over these seeds.
const LEAST: u64 = 10;

/// What the seeds must contain.
const WANTED: [&str; 37] = [
    "acknowledged",
    "a copy restarted while it fetched",
    "a gap: something was lost or is late",
    "a group that is not complete is cut off",
    "a peer knows a newer term",
    "a replica asks to leave",
    "a replica is silent or too slow",
    "another metadata leader",
    "another run of a replica than was waited for",
    "authority unreachable",
    "behind what is kept",
    "clogged link",
    "crash",
    "crash of all",
    "cuts its tail",
    "fenced",
    "full device",
    "goes on fetching",
    "healed",
    "installed",
    "isolation",
    "it has everything: to be published",
    "no lease",
    "nothing in common, or not kept",
    "one way cut",
    "page was here",
    "pages stored",
    "pause",
    "planned promotion",
    "published asynchronous: no longer waited for",
    "read at a master",
    "read at a replica",
    "read from the arena",
    "sent again",
    "slow disk",
    "the position is not settled",
    "the publication lost against another change",
];

/// A message in one line.
pub(crate) fn line(envelope: &Envelope) -> String {
    let Envelope { from, to, term, stream, message } = envelope;
    let said = match message {
        Message::Frames { frames, committed } => {
            let ends = frames.first().zip(frames.last());
            let range = ends.map(|(a, b)| format!("{}..{}", a.header.lsn, b.header.end()));
            format!("Frames {} committed {committed}", range.unwrap_or_default())
        }
        other => format!("{other:?}"),
    };
    format!("{}.{} → {to} term {term} {stream} {said}", from.instance, from.incarnation)
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Promise: whatever network, disks, processes and authority do, copies are one history, nothing
/// acknowledged is lost, nothing seen vanishes, and without faults all is well again in time; and
/// the seeds really do all of it.
#[test]
fn copies_keep_their_promises() {
    let first = number("RESPROUT_FIRST_SEED").unwrap_or(0);
    let count = number("RESPROUT_SEEDS").unwrap_or(SEEDS);
    let run = |seed| world::run(Plan::new(seed), false).map(|summary| summary.coverage);
    let report = seeds::run(first..first + count, false, run);
    for Failure { seed, violation } in report.failures.iter().take(20) {
        println!("seed {seed}: {violation}");
    }
    println!("{}", report.coverage);
    assert!(report.failures.is_empty(), "{} seeds failed", report.failures.len());
    let rare = report.coverage.missing(&WANTED, LEAST);
    assert!(rare.is_empty(), "rarer than {LEAST} times in {} runs: {rare:?}", report.runs);
}

/// Seeds that once found a bug of the cores, and which. They stay of use as long as plans are drawn
/// in the same way.
const REGRESSIONS: [(u64, &str); 2] = [
    (115_558, "reads of a master that did not know that its replica was published"),
    (134_193, "the same"),
];

/// Promise: seeds that once found a bug of the cores find none.
#[test]
fn seeds_that_found_bugs_of_replication_pass() {
    for (seed, found) in REGRESSIONS {
        let result = seeds::guarded(|| world::run(Plan::new(seed), false));
        assert!(result.is_ok(), "seed {seed}, {found}: {}", result.map(|_| ()).unwrap_err());
    }
}

/// Promise (rules 6 to 8): the same of a database that begins to wait for its replicas and stops, while everything else
/// happens: what was acknowledged is lost only by an election that says so, and all is well again by the last record.
#[test]
fn replication_changes_and_promises_hold() {
    let count = number("RESPROUT_SEEDS").unwrap_or(SEEDS);
    let run = |seed| world::run(Plan::altering(seed), false).map(|summary| summary.coverage);
    let report = seeds::run(0..count, false, run);
    for Failure { seed, violation } in report.failures.iter().take(20) {
        println!("seed {seed}: {violation}");
    }
    println!("{}", report.coverage);
    assert!(report.failures.is_empty(), "{} seeds failed", report.failures.len());
    let wanted = [
        "another replication",
        "the database does not wait for replicas any more",
        "the publication lost against another change",
        "it has everything: to be published",
    ];
    let rare = report.coverage.missing(&wanted, LEAST);
    assert!(rare.is_empty(), "rarer than {LEAST} times in {} runs: {rare:?}", report.runs);
}

/// Promise: a seed is a run: twice the same one gives the same trace, another one another.
#[test]
fn one_seed_one_trace() {
    let digest = |seed| world::run(Plan::new(seed), false).map(|summary| summary.digest).unwrap();
    for seed in 0..20 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
        assert_ne!(digest(seed), digest(seed + 1), "seed {seed}");
    }
}

/// Replays `RESPROUT_SEED` with its trace; without it, the first one silently.
#[test]
fn one_seed_is_replayed() {
    let asked = number("RESPROUT_SEED");
    let seed = asked.unwrap_or(0);
    let alters = std::env::var_os("RESPROUT_ALTERS").is_some();
    let mut plan = if alters { Plan::altering(seed) } else { Plan::new(seed) };
    if let Ok(name) = std::env::var("RESPROUT_PLANTED") {
        let bug = Planted::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
        plan = plan.with(bug.expect("a planted bug"));
    }
    let result = world::run(plan, asked.is_some());
    assert!(result.is_ok(), "{}", result.map(|_| ()).unwrap_err());
}

/// Each planted bug and the number of seeds, from 0, within which it is found.
const FOUND_WITHIN: [(Planted, u64); 19] = [
    (Planted::CountOldStreams, 40),
    (Planted::CountAnyIncarnation, 40),
    (Planted::StopWaitingUnasked, 40),
    (Planted::PublishBeforeWaiting, 40),
    (Planted::LeaveBeforeLaterVersion, 900),
    (Planted::AckBeforeDurable, 10),
    (Planted::CommitBeforeOwnDisk, 40),
    (Planted::ZombieAcknowledges, 60),
    (Planted::FenceWhenStored, 20),
    (Planted::ReportBeforeDrained, 60),
    (Planted::CutAtWatermark, 900),
    (Planted::KeepDivergedTail, 120),
    (Planted::VisibleBeforeCommitted, 120),
    (Planted::OnlineBeforeTermStart, 30),
    (Planted::ForgetTailOnPromotion, 40),
    (Planted::ChooseAnyCopy, 20),
    (Planted::ShowPartialGroups, 10),
    (Planted::InstallWithoutPages, 120),
    (Planted::ModeOfAnyRecord, 200),
];

/// Promise: each planted bug of the cores is found within its number of seeds.
#[test]
fn planted_bugs_are_caught() {
    let mut missed = Vec::new();
    for (bug, within) in FOUND_WITHIN {
        // This one needs a database that is altered.
        let plan = if bug == Planted::ModeOfAnyRecord { Plan::altering } else { Plan::new };
        let run = |seed| world::run(plan(seed).with(bug), false).map(|done| done.coverage);
        let report = seeds::run(0..within, true, run);
        match report.failures.first() {
            Some(found) => println!("{bug:?}: seed {}, {}", found.seed, found.violation),
            None => missed.push((bug, within)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// Promise (R06): a core that publishes a copy before it waits for it is found out by its outcome.
#[test]
fn r06_publishing_before_waiting_is_found() {
    let bug = Planted::PublishBeforeWaiting;
    let run = |seed| world::run(Plan::new(seed).with(bug), false).map(|done| done.coverage);
    let report = seeds::run(0..40, true, run);
    assert!(!report.failures.is_empty());
}

/// Promise: no planted bug is forgotten here.
#[test]
fn every_planted_bug_is_listed() {
    let listed: Vec<Planted> = FOUND_WITHIN.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(listed, Planted::ALL);
}

//! Seeds with faults, then healing: promises hold all the time, and everything comes together at the end.

use resprout_cluster::metadata::{Command, Decree, Happened};
use resprout_cluster::testing::Planted;
use resprout_cluster::{Mode, Ordinal};

use crate::faults::Faults;
use crate::leaf::LeafBug;
use crate::world::{Setup, World};

/// Rounds with faults.
const ROUNDS: u64 = 1_500;

/// Rounds after healing within which all must be whole.
const HEAL_ROUNDS: u64 = 1_200;

/// Rounds between two looks of an operator, after healing.
const OPERATOR_ROUNDS: u64 = 200;

fn setup(seed: u64) -> Setup {
    let (mode, leaves) = match seed % 3 {
        0 => (Mode::Paired, 2),
        1 => (Mode::Paired, 4),
        _ => (Mode::LoadBalanced, 4),
    };
    let (durable, partitions) = (seed % 4 == 3, 4);
    Setup { seed, mode, leaves, partitions, durable, ..Setup::default() }
}

fn run(setup: Setup, bug: Option<LeafBug>) -> World {
    run_with(setup, bug, Faults::of(setup.seed / 4))
}

fn run_with(setup: Setup, bug: Option<LeafBug>, faults: Faults) -> World {
    let mut world = World::new(setup);
    for leaf in world.leaves.values_mut() {
        leaf.bug = bug;
    }
    world.until(400, "a cluster begins", World::is_whole);
    for _ in 0..ROUNDS {
        world.faulty_step(&faults);
    }
    world.heal();
    let healed = world.round;
    while !world.is_whole() {
        assert!(world.round - healed < HEAL_ROUNDS, "it heals: {}", world.show());
        if (world.round - healed) % OPERATOR_ROUNDS == OPERATOR_ROUNDS - 1 {
            world.look_after_orphans();
        }
        world.step();
    }
    world
}

/// How many seeds: more by hand, with `SEEDS=2000`.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    first.map_or(0..wanted.unwrap_or(usual), |seed| seed..seed + 1)
}

/// Promise (P01, P02, P05 to P07, P09 to P11, M10, N01 to N06, O11 to O13): whatever happens to leaves, links and the
/// master aggregator, there is one master in a term, what was acknowledged is there, nobody decides out of office, no
/// partition stays without a master that could have one, and in the end everything is as the metadata say.
#[test]
fn clusters_keep_their_promises() {
    let (mut elections, mut losses) = (0, 0);
    for seed in seeds(150) {
        println!("SEED={seed}");
        let world = run(setup(seed), None);
        elections += world.checker.elections;
        losses += world.checker.losses;
    }
    println!("{elections} elections, {losses} of them after all had crashed");
}

/// A database whose commits do not wait for disks, and ALTER DATABASE back and forth meanwhile.
fn run_altered(seed: u64, planted: Option<Planted>, bug: Option<LeafBug>) -> World {
    let faults = Faults { alter: 40 + 20 * (seed % 5), ..Faults::of(seed / 4) };
    run_with(Setup { planted, durable: false, ..setup(seed) }, bug, faults)
}

/// Promise: the same while ALTER DATABASE goes back and forth between the two replications, on record or void with the
/// office that decided it: what was acknowledged while commits waited, or is on record as waited for since, is there; a
/// master that stands alone after an election without waiting says so; and all copies end as the last one says.
#[test]
fn replication_changes_while_everything_fails() {
    let mut changes = 0;
    for seed in seeds(150) {
        println!("SEED={seed}");
        let world = run_altered(seed, None, None);
        let is_change = |decree: &&Decree| matches!(decree.command, Command::SetReplication { .. });
        changes += world.log.iter().filter(is_change).count();
    }
    println!("{changes} changes of replication");
}

/// Promise: the same for the partition of reference tables, which has a copy on every leaf, and whose acknowledged writes
/// no crash takes, whatever its database is made for: in the end all leaves have it again.
#[test]
fn reference_tables_keep_their_promises() {
    let (mut elections, mut losses) = (0, 0);
    for seed in seeds(80) {
        println!("SEED={seed}");
        let world = run(Setup { reference: true, ..setup(seed) }, None);
        let lost = world.metadata.events().iter().filter(|event| {
            matches!(
                &event.happened,
                Happened::Elected { ordinal: Ordinal(4), may_have_lost: true, .. }
            )
        });
        assert_eq!(lost.count(), 0, "{}", world.show());
        elections += world.checker.elections;
        losses += world.checker.losses;
    }
    println!("{elections} elections, {losses} of them after all had crashed");
}

/// Promise: one seed, one trace.
#[test]
fn a_seed_is_a_trace() {
    let of = |seed| {
        let world = run(setup(seed), None);
        (world.log.clone(), world.metadata.encode(), world.checker.acknowledged)
    };
    assert!(of(5) == of(5), "the same seed");
    assert!(of(5).0 != of(8).0, "another seed");
}

/// Seeds until a bug is found.
fn found(planted: Option<Planted>, bug: Option<LeafBug>) -> Option<(u64, String)> {
    // Bugs of ALTER DATABASE need that.
    let is_altered =
        planted == Some(Planted::KeepSynchronous) || bug == Some(LeafBug::AsyncBeforeRecorded);
    for seed in 0..300 {
        let attempt = || match is_altered {
            true => run_altered(seed, planted, bug),
            false => run(Setup { planted, ..setup(seed) }, bug),
        };
        let Err(cause) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)) else {
            continue;
        };
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        return Some((seed, text.lines().next().unwrap_or_default().to_owned()));
    }
    None
}

/// Promise (R06): every planted bug of the rules 1, 3, 8, 9, 14 and 15 is found.
#[test]
fn planted_bugs_of_the_core_are_found() {
    for planted in Planted::OF_RECORDS {
        let result = found(Some(planted), None);
        println!("{}: {result:?}", planted.text());
        assert!(result.is_some(), "{} was not found", planted.text());
    }
}

/// Promise (R06): every planted bug of the copies, of the rules 5, 6 and 11, is found here too.
#[test]
fn planted_bugs_of_copies_are_found() {
    use LeafBug::{
        AsyncBeforeRecorded, PublishBeforeWaiting, StopWaitingUnasked, ZombieAcknowledges,
    };
    let all = [PublishBeforeWaiting, StopWaitingUnasked, AsyncBeforeRecorded, ZombieAcknowledges];
    for bug in all {
        let result = found(None, Some(bug));
        println!("{bug:?}: {result:?}");
        assert!(result.is_some(), "{bug:?} was not found");
    }
}

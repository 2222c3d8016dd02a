//! An engine on a simulated disk, and seeds.

use std::sync::Arc;

use resprout_engine::{Engine, Error, Options};
use resprout_wal::World;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::{SimClock, SimEntropy};

/// Where the engine's files lie.
pub(crate) const DIR: &str = "/data";

/// Settings for one run of a process. `run` must differ between the runs on one disk, as a real
/// random source would.
pub(crate) fn options(disk: &SimDisk, run: u64) -> Options {
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(run)),
    };
    Options { snapshots_to_keep: 1, rewind_spacing: 1, ..Options::simulated(world) }
}

/// Which seeds to try: `0..usual`, or what the environment asks for: `5000`, or `93..94` to
/// repeat one.
pub(crate) fn seeds(usual: u64) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("RESPROUT_SEEDS") else { return 0..usual };
    let number = |text: &str| text.parse().expect("RESPROUT_SEEDS is a number or a range of them");
    match asked.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&asked),
    }
}

pub(crate) fn try_open(disk: &SimDisk, run: u64) -> Result<Engine, Error> {
    Engine::open(DIR, options(disk, run))
}

pub(crate) fn open(disk: &SimDisk, run: u64) -> Engine {
    try_open(disk, run).expect("the directory opens")
}

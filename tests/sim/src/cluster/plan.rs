//! What a seed decides before anything happens. Few seeds have all faults: with all at once little is ever reached.

use std::fmt;
use std::time::Duration;

use resprout_cluster::{Mode, detector, manager};
use resprout_consensus::{Config as RaftConfig, Timing as RaftTiming};
use resprout_replication::{Config, Limits, Mode as Commit, Timing};
use resprout_wal::world::Rng;

use super::asks::Asks;
use super::faults::Fault;
use super::planted::Planted;
use crate::network::Weather;

/// Aggregators that vote: nodes 1 to 3. Then comes one that only follows, if there is one, and then the leaves.
pub(super) const VOTERS: u64 = 3;

/// The options of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// It decides everything.
    pub seed: u64,
    /// A bug in the cores of every node.
    pub planted: Option<Planted>,
    /// Only what somebody could suffer from counts: not the rules that keep it away.
    pub outcomes_only: bool,
    /// An aggregator that does not vote.
    pub child: bool,
    /// How many leaves.
    pub leaves: u64,
    /// How copies are placed.
    pub mode: Mode,
    /// Of the one database.
    pub partitions: u32,
    /// Its commits wait for disks.
    pub durable: bool,
    /// Election timeout of consensus.
    pub election: Duration,
    /// Bounds of the copies.
    pub limits: Limits,
    /// Entries between two snapshots of the metadata.
    pub snapshot_every: u64,
    /// The network, in the storm.
    pub weather: Weather,
    /// The faults of the storm.
    pub faults: Vec<Fault>,
    /// About how long nothing new happens between two of them.
    pub calm: Duration,
    /// How long the storm takes.
    pub storm: Duration,
    /// After the storm a leaf stays away for a while, and whatever can be served without it must be.
    pub lull: bool,
    /// Masters go back when nothing has changed for so long.
    pub stable: Duration,
    /// Logs are given up as early as can be.
    pub trims: bool,
    /// What people ask for, if anybody does.
    pub asks: Option<Asks>,
}

/// The network without faults.
pub(super) const CALM: Weather = Weather {
    loss: 0,
    double: 0,
    delay: (Duration::from_micros(200), Duration::from_micros(900)),
    late: 0,
    late_by: Duration::ZERO,
};

const FRAME: u64 = 4096;

/// Pages of an image in 30 ms, where copies take their time.
const SLOW_PAGES: u32 = 2;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    /// What the seed decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x636c_7573);
        let rng = &mut rng;
        let (mode, leaves) = match rng.below(4) {
            0 => (Mode::Paired, 2),
            1 => (Mode::Paired, 4),
            2 => (Mode::LoadBalanced, 3),
            _ => (Mode::LoadBalanced, 4),
        };
        let faults = Fault::ALL.into_iter().filter(|_| rng.chance(2, 5)).collect();
        Self {
            seed,
            planted: None,
            outcomes_only: false,
            child: rng.chance(1, 3),
            leaves,
            mode,
            partitions: 1 + u32::try_from(rng.below(3)).expect("few"),
            durable: rng.chance(1, 3),
            election: ms(pick(rng, &[200, 400, 800])),
            limits: limits(rng),
            snapshot_every: pick(rng, &[8, 40, 1000]),
            weather: weather(rng),
            faults,
            calm: ms(pick(rng, &[150, 400, 1000])),
            storm: ms(pick(rng, &[2500, 4000, 6000])),
            lull: rng.chance(1, 2),
            trims: rng.chance(1, 3),
            stable: ms(pick(rng, &[700, 1_500, 3_600_000])),
            asks: Asks::draw(seed),
        }
    }

    /// The same without anybody who asks for anything.
    #[must_use]
    pub fn unasked(mut self) -> Self {
        self.asks = None;
        self
    }

    /// The same with a bug.
    #[must_use]
    pub fn with(mut self, bug: Planted) -> Self {
        self.planted = Some(bug);
        self
    }

    /// The last node.
    pub(super) fn nodes(&self) -> u64 {
        self.first_leaf() - 1 + self.leaves + self.spares()
    }

    /// Leaves that are not added yet: the last nodes.
    pub(super) fn spares(&self) -> u64 {
        self.asks.map_or(0, |asks| asks.spares)
    }

    /// The first of them, if there are any.
    pub(super) fn first_spare(&self) -> u64 {
        self.first_leaf() + self.leaves
    }

    /// The first of the leaves.
    pub(super) fn first_leaf(&self) -> u64 {
        VOTERS + 1 + u64::from(self.child)
    }

    /// When commits are acknowledged.
    pub(super) fn commit(&self) -> Commit {
        if self.durable { Commit::Durable } else { Commit::Received }
    }

    /// Settings of the copies.
    pub(super) fn copies(&self) -> Config {
        let timing = Timing {
            beat: ms(30),
            silent: ms(300),
            retry: ms(60),
            resend: ms(80),
            admit: ms(60),
            readmit: ms(50),
            readmit_max: ms(400),
            lease: ms(150),
            hold: ms(1000),
        };
        let planted = self.planted.and_then(Planted::of_copy);
        let mut limits = self.limits;
        if self.asks.is_some_and(|asks| asks.slow) {
            (limits.pages_max, limits.pages_per_beat) = (1, SLOW_PAGES);
        }
        Config { mode: self.commit(), timing, limits, planted }
    }

    /// Settings of the master aggregator.
    pub(super) fn manager(&self) -> manager::Config {
        let interval = ms(50);
        manager::Config {
            detector: detector::Config { interval, beats: 8, ..detector::Config::default() },
            attach_wait: ms(1000),
            gather: ms(150),
            retry: ms(150),
            stable: self.stable,
            planted: self.planted.and_then(Planted::of_record),
            ..manager::Config::default()
        }
    }

    /// Settings of consensus.
    pub(super) fn consensus(&self) -> RaftConfig {
        let timing = RaftTiming::new(self.election).expect("a possible time");
        let mut config = RaftConfig::new(timing);
        config.limits.entries_kept = self.snapshot_every / 2;
        config
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, leaves, partitions) = (self.mode, self.leaves, self.partitions);
        writeln!(f, "seed {}: {VOTERS} voters, child {}", self.seed, self.child)?;
        writeln!(f, "{leaves} leaves, {mode:?}, {partitions} partitions, {:?}", self.commit())?;
        writeln!(f, "election {:?}, snapshot every {}", self.election, self.snapshot_every)?;
        writeln!(f, "{:?}, trims {}", self.limits, self.trims)?;
        writeln!(f, "{:?}", self.weather)?;
        let (storm, calm, lull) = (self.storm, self.calm, self.lull);
        write!(f, "faults {:?}, calm {calm:?}, storm {storm:?}, lull {lull}", self.faults)?;
        self.asks.map_or(Ok(()), |asks| write!(f, "\n{asks}"))
    }
}

fn pick(rng: &mut Rng, of: &[u64]) -> u64 {
    of[usize::try_from(rng.below(of.len() as u64)).expect("less than a length")]
}

fn weather(rng: &mut Rng) -> Weather {
    Weather {
        loss: pick(rng, &[0, 0, 10, 50]),
        double: pick(rng, &[0, 0, 50]),
        late: pick(rng, &[0, 5, 50]),
        late_by: ms(300),
        delay: (Duration::from_micros(200), ms(pick(rng, &[1, 4, 15]))),
    }
}

/// Bounds: in half of the seeds perverse, but such that copies come in while somebody writes now and then.
fn limits(rng: &mut Rng) -> Limits {
    let usual =
        Limits { admit_lag_bytes: 16 * FRAME, admit_at_once_bytes: 5 * FRAME, ..Limits::default() };
    if rng.chance(1, 2) {
        return usual;
    }
    let admit_lag_bytes = FRAME * rng.below(6);
    Limits {
        batch_bytes_max: FRAME * (2 + rng.below(4)),
        recent_bytes_max: FRAME * rng.below(12),
        inflight_bytes_max: FRAME * (4 + rng.below(12)),
        window_bytes: FRAME * (4 + rng.below(12)),
        admit_lag_bytes,
        admit_at_once_bytes: admit_lag_bytes / 3,
        digests_max: 1 + u32::try_from(rng.below(6)).expect("few"),
        pages_max: 1 + u32::try_from(rng.below(3)).expect("few"),
        pages_per_beat: 4 + u32::try_from(rng.below(8)).expect("few"),
        image_pages_max: 1 << 20,
    }
}

//! What a seed decides before a run begins: sizes, bounds, times, and which faults there are. Few
//! runs have all faults: with all at once little is ever reached (swarm testing).

use std::fmt;
use std::time::Duration;

use resprout_consensus::Limits;
use resprout_consensus::testing::Planted;
use resprout_wal::world::Rng;

use super::faults::Fault;
use crate::network::Weather;

/// The options of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// It decides everything.
    pub seed: u64,
    /// A bug in the core of every node.
    pub planted: Option<Planted>,
    /// Only what a user could see counts: not the rules that make it so.
    pub outcomes_only: bool,
    /// What the nodes keep their promises in.
    pub store: StoreKind,
    /// Members at the beginning; with one voter the others join.
    pub voters: u64,
    /// Of them that do not vote.
    pub learners: u64,
    /// Whether the first node begins alone.
    pub grows: bool,
    /// Election timeout.
    pub election: Duration,
    /// Bounds of the core.
    pub limits: Limits,
    /// Network in the first phase.
    pub weather: Weather,
    /// How long a flush takes, from and to.
    pub flush: (Duration, Duration),
    /// How late entries are applied at most.
    pub apply_lag: Duration,
    /// Entries between two snapshots of a node.
    pub snapshot_every: u64,
    /// How much clocks may differ from the world's, in percent either way.
    pub skew: u64,
    /// How many clients there are.
    pub clients: u64,
    /// Longest pause of a client between two operations.
    pub think: Duration,
    /// Bytes at the end of every command.
    pub padding: usize,
    /// For how long proposals are gathered at most.
    pub gather: Duration,
    /// Proposals that state machines remember.
    pub window: usize,
    /// The faults of the first phase.
    pub faults: Vec<Fault>,
    /// About how long nothing new happens between two of them.
    pub calm: Duration,
    /// A moment of the core at which something happens to the node, and what.
    pub ambush: Option<(&'static str, Fault)>,
    /// How long the first phase takes.
    pub storm: Duration,
}

/// One seed of so many runs on the real store.
pub const DISK_EVERY: u64 = 4;

/// What nodes keep their promises in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The contract, in memory.
    Model,
    /// The real store, on a simulated disk.
    Disk,
}

/// Moments for an ambush: marks of the core, and [`super::node::SENT_TRANSFER`].
pub const AMBUSHES: [&str; 9] = [
    "elected",
    "voted",
    "committed",
    "snapshot begun",
    "snapshot installed",
    "stands by transfer",
    "entry of an old term not counted",
    "went back",
    super::node::SENT_TRANSFER,
];

impl Plan {
    /// What the seed decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5265_7370_726f_7574);
        let rng = &mut rng;
        let election = Duration::from_millis(pick(rng, &[200, 1000, 1000, 3000]));
        let voters = pick(rng, &[3, 3, 3, 5, 5, 7]);
        let mut plan = Self {
            seed,
            planted: None,
            outcomes_only: false,
            store: StoreKind::Model,
            voters,
            learners: pick(rng, &[0, 0, 1, 2]),
            grows: rng.chance(1, 5),
            election,
            limits: limits(rng),
            weather: weather(rng, election),
            flush: flush(rng, election),
            apply_lag: election * u32::try_from(pick(rng, &[0, 0, 1, 5])).unwrap_or(0) / 10,
            snapshot_every: pick(rng, &[1, 5, 20, 20, 1000]),
            skew: pick(rng, &[0, 5, 20, 20]),
            clients: pick(rng, &[1, 2, 4, 6]),
            think: election * u32::try_from(pick(rng, &[1, 3, 10])).unwrap_or(1) / 10,
            padding: usize::try_from(pick(rng, &[0, 20, 200])).unwrap_or(0),
            gather: Duration::ZERO,
            window: usize::MAX,
            faults: Vec::new(),
            calm: election * u32::try_from(pick(rng, &[3, 8, 20])).unwrap_or(1) / 10,
            ambush: ambush(rng),
            storm: election * u32::try_from(pick(rng, &[20, 40, 60])).unwrap_or(20),
        };
        plan.faults = faults(rng, plan.ambush);
        plan.gather = election * u32::try_from(pick(rng, &[0, 0, 1, 3])).unwrap_or(0) / 10;
        plan.window = usize::try_from(pick(rng, &[4, 10, 100, 100])).unwrap_or(100);
        if seed.is_multiple_of(DISK_EVERY) { plan.on(StoreKind::Disk) } else { plan }
    }

    /// The same plan with another store; a disk has faults of its own.
    #[must_use]
    pub fn on(mut self, store: StoreKind) -> Self {
        if store != self.store {
            let mut rng = Rng::new(self.seed ^ 0x6469_736b);
            self.faults.retain(|fault| !Fault::DISK.contains(fault));
            let drawn = Fault::DISK.into_iter().filter(|_| rng.chance(1, 2));
            self.faults.extend(drawn.filter(|_| store == StoreKind::Disk));
            self.store = store;
        }
        self
    }

    /// Most nodes that there can be.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.voters + self.learners + 1
    }
}

/// One of a few values.
pub fn pick(rng: &mut Rng, of: &[u64]) -> u64 {
    let at = rng.below(of.len() as u64);
    of[usize::try_from(at).expect("less than a length")]
}

/// Perverse bounds: each is tiny in half of the runs.
fn limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits {
        uncommitted_bytes_max: 1 << 20,
        entries_kept: pick(rng, &[0, 0, 2, 10, 1000]),
        ..Limits::default()
    };
    let mut tiny = |limit: &mut usize, to: &[u64]| {
        if rng.chance(1, 2) {
            *limit = usize::try_from(pick(rng, to)).expect("small");
        }
    };
    tiny(&mut limits.append_bytes_max, &[1, 1, 200, 1000]);
    tiny(&mut limits.inflight_appends_max, &[1, 1, 2, 4]);
    tiny(&mut limits.inflight_bytes_max, &[1, 300, 2000]);
    tiny(&mut limits.uncommitted_bytes_max, &[500, 2000]);
    tiny(&mut limits.reads_max, &[1, 4]);
    tiny(&mut limits.snapshot_piece_bytes, &[7, 30, 100]);
    tiny(&mut limits.snapshot_pieces_max, &[1, 2]);
    limits
}

fn weather(rng: &mut Rng, election: Duration) -> Weather {
    let slowest = election / u32::try_from(pick(rng, &[400, 100, 30, 10])).unwrap_or(100);
    Weather {
        loss: pick(rng, &[0, 0, 10, 100, 300]),
        double: pick(rng, &[0, 10, 100, 300]),
        delay: (slowest / 10, slowest),
        late: pick(rng, &[0, 10, 50]),
        late_by: election * u32::try_from(pick(rng, &[1, 3])).unwrap_or(1),
    }
}

fn flush(rng: &mut Rng, election: Duration) -> (Duration, Duration) {
    let slowest = election / u32::try_from(pick(rng, &[1000, 100, 20, 5])).unwrap_or(100);
    (slowest / 20, slowest)
}

fn faults(rng: &mut Rng, ambush: Option<(&'static str, Fault)>) -> Vec<Fault> {
    let density = pick(rng, &[1, 2, 3]);
    let mut faults: Vec<Fault> =
        Fault::ALL.into_iter().filter(|_| rng.chance(density, 4)).collect();
    if ambush.is_some_and(|(moment, _)| moment == super::node::SENT_TRANSFER) {
        // Without transfers nobody would be ambushed; with little else most of them succeed.
        faults.retain(|_| rng.chance(1, 3));
        faults.extend([Fault::Transfer; 3]);
    }
    faults
}

fn ambush(rng: &mut Rng) -> Option<(&'static str, Fault)> {
    let moment = usize::try_from(rng.below(AMBUSHES.len() as u64)).ok()?;
    let what = pick(rng, &[0, 1, 2, 3]);
    let faults = [Fault::Crash, Fault::Pause, Fault::Isolate, Fault::Deafen];
    let fault = faults[usize::try_from(what).ok()?];
    rng.chance(2, 3).then_some((AMBUSHES[moment], fault))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} voters, {} learners", self.seed, self.voters, self.learners)?;
        writeln!(f, "store {:?}, window {}", self.store, self.window)?;
        writeln!(f, "election {:?}, storm {:?}, skew {} %", self.election, self.storm, self.skew)?;
        writeln!(f, "{:?}", self.limits)?;
        writeln!(f, "{:?}, flush {:?}, apply lag {:?}", self.weather, self.flush, self.apply_lag)?;
        writeln!(f, "{} clients, snapshot every {}", self.clients, self.snapshot_every)?;
        write!(f, "faults {:?}, calm {:?}, ambush {:?}", self.faults, self.calm, self.ambush)
    }
}

//! What a seed decides before anything happens.

use std::time::Duration;

use resprout_replication::testing::Planted;
use resprout_replication::{Config, Limits, Mode, Timing};
use resprout_sim::network::Weather;
use resprout_wal::world::Rng;

/// A run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) copies: u64,
    pub(crate) config: Config,
    pub(crate) weather: Weather,
    /// Between two faults, on average.
    pub(crate) faults_every: Duration,
    /// Which faults there are: few seeds have all, else little is ever reached.
    pub(crate) faults: [bool; 8],
    pub(crate) storm: Duration,
    /// Logs are given up as early as can be.
    pub(crate) trims: bool,
    /// Milliseconds between two changes of the database's replication, if there are any.
    pub(crate) alters: Option<u64>,
    /// Whether the rules are checked where they act, or only what somebody could suffer from.
    pub(crate) rules: bool,
}

/// The network without faults.
pub(crate) const CALM: Weather = Weather {
    loss: 0,
    double: 0,
    delay: (Duration::from_micros(200), Duration::from_micros(900)),
    late: 0,
    late_by: Duration::ZERO,
};

const FRAME: u64 = 4096;

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 0x7265_706c);
        let ms = Duration::from_millis;
        let mode = match rng.below(20) {
            0..9 => Mode::Durable,
            9..18 => Mode::Received,
            _ => Mode::Local,
        };
        let copies = match rng.below(10) {
            0 => 1,
            1..5 => 2,
            _ => 3,
        };
        let mut some = || rng.chance(1, 2);
        let faults = std::array::from_fn(|_| some());
        let timing = Timing {
            beat: ms(20),
            silent: ms(200),
            retry: ms(50),
            resend: ms(60),
            admit: ms(60),
            readmit: ms(40),
            readmit_max: ms(300),
            lease: ms(100),
            hold: ms(800),
        };
        let weather = Weather {
            loss: [0, 0, 20, 150][rng.below(4) as usize],
            double: [0, 50, 300][rng.below(3) as usize],
            late: [0, 10, 100][rng.below(3) as usize],
            late_by: ms(400),
            delay: (Duration::from_micros(200), ms([1, 8, 40][rng.below(3) as usize])),
        };
        Self {
            seed,
            copies,
            config: Config { mode, timing, limits: limits(&mut rng), planted: None },
            weather,
            faults_every: ms(60 + rng.below(300)),
            faults,
            storm: ms(3000),
            trims: rng.chance(1, 3),
            alters: None,
            rules: std::env::var_os("RESPROUT_OUTCOMES_ONLY").is_none(),
        }
    }

    /// The same with a database that begins to wait for its replicas, and stops, again and again: without flushes.
    pub(crate) fn altering(seed: u64) -> Self {
        let mut plan = Self::new(seed);
        plan.config.mode = Mode::Received;
        plan.alters = Some(40 + seed % 7 * 60);
        plan
    }

    pub(crate) fn with(mut self, bug: Planted) -> Self {
        self.config.planted = Some(bug);
        self
    }
}

/// Bounds: in half of the seeds perverse.
fn limits(rng: &mut Rng) -> Limits {
    if rng.chance(1, 2) {
        return with_lag(16 * FRAME, Limits::default());
    }
    let limits = Limits {
        batch_bytes_max: FRAME * (1 + rng.below(4)),
        recent_bytes_max: FRAME * rng.below(12),
        inflight_bytes_max: FRAME * (1 + rng.below(12)),
        window_bytes: FRAME * (1 + rng.below(12)),
        admit_lag_bytes: FRAME * rng.below(6),
        digests_max: 1 + rng.below(6) as u32,
        pages_max: 1 + rng.below(3) as u32,
        pages_per_beat: 1 + rng.below(8) as u32,
        image_pages_max: 1 << 20,
        ..Limits::default()
    };
    with_lag(limits.admit_lag_bytes, limits)
}

/// With a lag at which a copy is waited for at once that is a good deal shorter than the other.
fn with_lag(admit_lag_bytes: u64, others: Limits) -> Limits {
    Limits { admit_at_once_bytes: admit_lag_bytes / 3, admit_lag_bytes, ..others }
}

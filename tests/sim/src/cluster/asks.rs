//! What people ask for in a run, and what happens to whoever carries it out. Drawn apart from everything else of a plan, so that
//! seeds without it are what they were.

use std::fmt;
use std::time::Duration;

use resprout_wal::world::Rng;

/// The operators of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asks {
    /// Leaves that run and are no nodes of the cluster yet.
    pub spares: u64,
    /// About how long nobody asks for anything.
    pub every: Duration,
    /// Plans are cancelled in the middle.
    pub cancels: bool,
    /// Whoever takes part in a step is killed at it and inside it.
    pub kills: bool,
    /// `ALTER DATABASE … REPLICATION`, where commits do not wait for disks.
    pub alters: bool,
    /// Transactions that hold partitions for long.
    pub holds: bool,
    /// Leaves are removed.
    pub removes: bool,
    /// Copies take their time.
    pub slow: bool,
}

impl Asks {
    /// What the seed decides: nobody asks for anything in half of the seeds.
    pub(super) fn draw(seed: u64) -> Option<Self> {
        let mut rng = Rng::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x6173_6b73);
        if rng.chance(1, 2) {
            return None;
        }
        let every = [150, 500, 1_200][usize::try_from(rng.below(3)).expect("few")];
        Some(Self {
            spares: rng.below(3),
            every: Duration::from_millis(every),
            cancels: rng.chance(1, 2),
            kills: rng.chance(2, 3),
            alters: rng.chance(1, 2),
            holds: rng.chance(1, 2),
            removes: rng.chance(1, 2),
            slow: rng.chance(2, 5),
        })
    }
}

impl fmt::Display for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            (self.cancels, "cancels"),
            (self.kills, "kills"),
            (self.alters, "alters"),
            (self.holds, "holds"),
            (self.removes, "removes"),
            (self.slow, "slow"),
        ];
        let said: Vec<_> = said.iter().filter(|(does, _)| *does).map(|(_, text)| *text).collect();
        write!(f, "{} spares, asked every {:?}, {}", self.spares, self.every, said.join(" "))
    }
}

//! Partitions that stand still on a leaf, so that another copy can be their master: which, for whom, and for how long. A core without
//! I/O.
//!
//! ```text
//!   Lock ──► closed to writers ──► stands still, and the copy has everything ──► Drained
//!               │                        └─► another master by the record: whoever waits asks there
//!               └─ Unlock, a later office, or nothing said for 5 s ──► open: whoever waits goes on
//! ```
//!
//! So a lock never outlives who asked for it by more than that. It may lapse while the promotion is being committed: a
//! database with synchronous replication loses nothing then, since the copy is one that is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::manager::Lock;
use crate::{NodeId, Ordinal};

/// A lock that was not said again for so long is over.
const LAPSES_AFTER: Duration = Duration::from_secs(5);
/// That it stands still is said again, in case it was lost on the way.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// A partition, by its database's number.
type Of = (u32, Ordinal);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Locks {
    held: BTreeMap<Of, Held>,
}

/// A lock that holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    from: NodeId,
    office: u64,
    lock: Lock,
    /// When it was said last.
    said: Duration,
    /// When it was answered last.
    told: Option<Duration>,
}

/// What is to be done about a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// Nothing: there is none any more.
    Gone,
    /// Nothing yet.
    Holds,
    /// The partition is opened to writers.
    Lapsed,
    /// Whoever asked is told that it stands still and that the copy has everything.
    Drained {
        /// Who asked.
        from: NodeId,
        /// In which office.
        office: u64,
        /// The lock's number.
        lock: u64,
    },
}

impl Locks {
    /// A lock is said, perhaps once more. Whether it is another one than before: the partition is closed to writers.
    pub fn lock(
        &mut self,
        now: Duration,
        (from, office): (NodeId, u64),
        database: u32,
        lock: Lock,
    ) -> bool {
        let of = (database, lock.ordinal);
        let known = self.held.get(&of).filter(|held| held.is(office, lock.number));
        let (is_known, told) = (known.is_some(), known.and_then(|held| held.told));
        self.held.insert(of, Held { from, office, lock, said: now, told });
        !is_known
    }

    /// Whether there was one: the partition is opened to writers.
    pub fn unlock(&mut self, of: Of) -> bool {
        self.held.remove(&of).is_some()
    }

    /// The partitions that stand still, with the offices that asked.
    pub fn held(&self) -> impl Iterator<Item = ((u32, Ordinal), (u64, Lock))> + '_ {
        self.held.iter().map(|(of, held)| (*of, (held.office, held.lock)))
    }

    /// The lock of a partition.
    #[must_use]
    pub fn of(&self, of: Of) -> Option<Lock> {
        self.held.get(&of).map(|held| held.lock)
    }

    /// A look at a lock, if it is still the one of that office and number. `office` is the present one; `serves` says whether
    /// the copy here is master, and `drained` whether nobody writes any more and the copy that shall be master has all.
    pub fn look(
        &mut self,
        now: Duration,
        (of, asked, number): (Of, u64, u64),
        office: u64,
        (serves, drained): (bool, bool),
    ) -> Standstill {
        let Some(held) = self.held.get_mut(&of).filter(|held| held.is(asked, number)) else {
            return Standstill::Gone;
        };
        if !serves {
            // Another master, or none: whoever waited was told.
            self.held.remove(&of);
            return Standstill::Gone;
        }
        if office > held.office || now.saturating_sub(held.said) > LAPSES_AFTER {
            self.held.remove(&of);
            return Standstill::Lapsed;
        }
        let is_due = held.told.is_none_or(|told| now.saturating_sub(told) > SAY_EVERY);
        if !drained || !is_due {
            return Standstill::Holds;
        }
        held.told = Some(now);
        Standstill::Drained { from: held.from, office: held.office, lock: number }
    }
}

impl Held {
    fn is(&self, office: u64, number: u64) -> bool {
        (self.office, self.lock.number) == (office, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LeafId;

    const OF: Of = (1, Ordinal(2));

    fn lock(number: u64) -> Lock {
        Lock { number, ordinal: Ordinal(2), to: LeafId(5), kill: false }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Promise: what stands still is told, and told again while nobody says otherwise; said again a lock is the same one.
    #[test]
    fn what_stands_still_is_told() {
        let (mut locks, from) = (Locks::default(), NodeId(1));
        assert!(locks.lock(ms(0), (from, 7), 1, lock(3)));
        assert_eq!(locks.look(ms(1), (OF, 7, 3), 7, (true, false)), Standstill::Holds);
        let told = Standstill::Drained { from, office: 7, lock: 3 };
        assert_eq!(locks.look(ms(2), (OF, 7, 3), 7, (true, true)), told);
        assert!(!locks.lock(ms(3), (from, 7), 1, lock(3)), "said again");
        assert_eq!(locks.look(ms(400), (OF, 7, 3), 7, (true, true)), Standstill::Holds);
        assert_eq!(locks.look(ms(600), (OF, 7, 3), 7, (true, true)), told);
        assert!(locks.lock(ms(601), (from, 7), 1, lock(4)), "another one");
        assert_eq!(locks.look(ms(602), (OF, 7, 3), 7, (true, true)), Standstill::Gone);
    }

    /// Promise: a lock ends with its office, with its mastership, or when nobody asks for it any more.
    #[test]
    fn a_lock_does_not_outlive_who_asked() {
        let began = |at| {
            let mut locks = Locks::default();
            locks.lock(at, (NodeId(1), 7), 1, lock(3));
            locks
        };
        let look = |mut locks: Locks, now, office, serves| {
            let first = locks.look(now, (OF, 7, 3), office, (serves, false));
            (first, locks.held().count())
        };
        assert_eq!(look(began(ms(0)), ms(9), 8, true), (Standstill::Lapsed, 0));
        assert_eq!(look(began(ms(0)), ms(9), 7, false), (Standstill::Gone, 0));
        assert_eq!(look(began(ms(0)), ms(5_001), 7, true), (Standstill::Lapsed, 0));
        assert_eq!(look(began(ms(0)), ms(5_000), 7, true), (Standstill::Holds, 1));
        assert!(began(ms(0)).unlock(OF) && !Locks::default().unlock(OF));
    }
}

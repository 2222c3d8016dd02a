//! Linearizable registers, where every value is written once at most (Gibbons and Korach, 1997).
//!
//! A write and the reads that saw it belong together. If one of them ended before another began, the register certainly had that
//! value in between: no other value may have been certain at the same time, and none may have come and gone within.
//!
//! ```text
//!   write 7 ──────┤                      first end ├──────────┤ last begin     7 is certain
//!            read 7      ├──────
//!            write 8        ├──┤                                               wrong: 8 came and went
//! ```
//!
//! A write whose outcome nobody knows ends never; if nobody saw it, it does not count.

use std::collections::BTreeMap;
use std::time::Duration;

/// What every register has in the beginning.
pub(crate) const FIRST: u64 = 0;

/// One operation on a register, from when it was asked for to when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) key: u64,
    pub(crate) is_write: bool,
    /// What was written or seen.
    pub(crate) value: u64,
    pub(crate) from: Duration,
    /// [`Duration::MAX`] for a write whose outcome is not known.
    pub(crate) to: Duration,
}

/// A value, and when it was certain, or when it can have come and gone.
#[derive(Clone, Copy, Debug)]
struct Zone {
    value: u64,
    is_certain: bool,
    from: Duration,
    to: Duration,
}

impl Zone {
    fn told(&self) -> String {
        let how = if self.is_certain { "certain" } else { "possible" };
        format!("{} ({how} from {:?} to {:?})", self.value, self.from, self.to)
    }
}

/// Whether there is an order of all operations that explains them.
///
/// # Errors
/// What cannot be explained.
pub(crate) fn check(ops: &[Op]) -> Result<(), String> {
    let mut values: BTreeMap<(u64, u64), Vec<Op>> = BTreeMap::new();
    for op in ops {
        let first =
            Op { value: FIRST, is_write: true, from: Duration::ZERO, to: Duration::ZERO, ..*op };
        values.entry((op.key, FIRST)).or_insert_with(|| vec![first]);
        values.entry((op.key, op.value)).or_default().push(*op);
    }
    let mut zones: BTreeMap<u64, Vec<Zone>> = BTreeMap::new();
    for ((key, value), ops) in values {
        zones.entry(key).or_default().extend(zone(key, value, &ops)?);
    }
    zones.iter().try_for_each(|(key, zones)| fit(*key, zones))
}

fn zone(key: u64, value: u64, ops: &[Op]) -> Result<Option<Zone>, String> {
    let wrong = |what: &str| Err(format!("register {key}: {value} {what}: {ops:?}"));
    let mut writes = ops.iter().filter(|op| op.is_write);
    let (Some(write), None) = (writes.next(), writes.next()) else {
        return wrong("was not written, or twice");
    };
    if ops.len() == 1 && write.to == Duration::MAX {
        return Ok(None);
    }
    if ops.iter().any(|op| op.to < write.from) {
        return wrong("was seen before it was written");
    }
    let first_end = ops.iter().map(|op| op.to).min().unwrap_or_default();
    let last_begin = ops.iter().map(|op| op.from).max().unwrap_or_default();
    let is_certain = first_end < last_begin;
    let (from, to) = (first_end.min(last_begin), first_end.max(last_begin));
    Ok(Some(Zone { value, is_certain, from, to }))
}

fn fit(key: u64, zones: &[Zone]) -> Result<(), String> {
    for (at, one) in zones.iter().enumerate().filter(|(_, one)| one.is_certain) {
        for (_, other) in zones.iter().enumerate().filter(|(other, _)| *other != at) {
            let wrong = if other.is_certain {
                one.from < other.to && other.from < one.to
            } else {
                one.from < other.from && other.to < one.to
            };
            if wrong {
                let (one, other) = (one.told(), other.told());
                return Err(format!("register {key}: {one} does not go with {other}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn op(is_write: bool, value: u64, from: u64, to: u64) -> Op {
        let to = if to == u64::MAX { Duration::MAX } else { Duration::from_millis(to) };
        Op { key: 1, is_write, value, from: Duration::from_millis(from), to }
    }

    /// Promise: what is stale, lost, invented or from the future is found; what overlaps may be seen or not.
    #[test]
    fn what_cannot_be_is_found() {
        let write = op(true, 7, 10, 20);
        let is_right = |ops: &[Op]| check(ops).is_ok();
        assert!(is_right(&[write, op(false, 7, 21, 22), op(false, FIRST, 5, 15)]));
        assert!(!is_right(&[write, op(false, 7, 11, 12), op(false, FIRST, 13, 19)]));
        assert!(!is_right(&[write, op(false, FIRST, 21, 22)]), "stale");
        assert!(!is_right(&[write, op(false, 7, 1, 2)]), "from the future");
        assert!(!is_right(&[write, op(false, 8, 21, 22)]), "invented");
        let unknown = op(true, 8, 30, u64::MAX);
        assert!(is_right(&[write, unknown, op(false, 7, 90, 91)]), "it may be nowhere");
        assert!(is_right(&[write, unknown, op(false, 8, 90, 91)]), "or come late");
        let back = [write, unknown, op(false, 8, 90, 91), op(false, 7, 92, 93)];
        assert!(!is_right(&back), "but not go again");
        let lost = [write, op(true, 9, 30, 40), op(false, 7, 41, 42)];
        assert!(!is_right(&lost), "acknowledged and lost");
    }

    /// Whether some order explains them: all are tried.
    fn is_explained(ops: &[Op], has: u64) -> bool {
        let first_end = ops.iter().map(|op| op.to).min();
        let Some(first_end) = first_end else { return true };
        let mut open = (0..ops.len()).filter(|at| ops[*at].from <= first_end);
        let goes_on = open.any(|at| {
            let mut rest = ops.to_vec();
            let next = rest.swap_remove(at);
            match next.is_write {
                true => is_explained(&rest, next.value),
                false => next.value == has && is_explained(&rest, has),
            }
        });
        goes_on || ops.iter().all(|op| op.is_write && op.to == Duration::MAX)
    }

    /// Promise: it finds what trying all orders finds, in some thousands of small histories.
    #[test]
    fn it_agrees_with_trying_all_orders() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut found = [0, 0];
        for _ in 0..20_000 {
            let mut ops = Vec::new();
            let writes = 1 + below(3);
            let count = writes + below(4);
            // No two moments are the same.
            let mut moments: Vec<u64> = (1..=2 * count).collect();
            for at in 0..count {
                let mut take = || {
                    moments.swap_remove(usize::try_from(below(moments.len() as u64)).unwrap_or(0))
                };
                let (one, other) = (take(), take());
                let (from, to) = (one.min(other), one.max(other));
                if at < writes {
                    let to = if below(4) == 0 { u64::MAX } else { to };
                    ops.push(op(true, at + 1, from, to));
                } else {
                    ops.push(op(false, below(writes + 1), from, to));
                }
            }
            let is_right = is_explained(&ops, FIRST);
            assert_eq!(check(&ops).is_ok(), is_right, "{ops:?}");
            found[usize::from(is_right)] += 1;
        }
        assert!(found.iter().all(|count| *count > 1_000), "{found:?}");
    }
}

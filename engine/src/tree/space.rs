//! Which units of a range are free: single ones on a stack, runs in a map.
//!
//! ```text
//!   0        singles and runs freed before        next          usable          capacity
//!   |██░░██████░░░░░░██████████████████████████████|··············|-----------------|
//! ```
//!
//! A single unit comes from the stack (most recently freed first: it is still in the cache), else
//! from the shortest free run, else from the untouched part. Runs are taken by best fit and melt with
//! free neighbours; single units join them only when a run cannot be found otherwise. The order
//! depends on the calls alone.

use std::collections::{BTreeMap, BTreeSet};

use super::TreeError;
use super::memory::{PageMemory, Range};

#[derive(Debug)]
pub(super) struct Space {
    range: Range,
    /// Units from here on were never used.
    next: u32,
    /// Units below this may be touched.
    usable: u32,
    singles: Vec<u32>,
    /// Free runs: start to length.
    runs: BTreeMap<u32, u32>,
    /// The same by length, for best fit.
    by_length: BTreeSet<(u32, u32)>,
    run_units: u64,
}

impl Space {
    /// A space whose first `taken` units are in use, and whose first `usable` may be touched.
    pub(super) fn new(range: Range, taken: u32, usable: u32) -> Self {
        assert!(taken <= usable, "units in use are usable");
        Self {
            range,
            next: taken,
            usable,
            singles: Vec::new(),
            runs: BTreeMap::new(),
            by_length: BTreeSet::new(),
            run_units: 0,
        }
    }

    /// Units below this have been in use at some time.
    pub(super) fn end(&self) -> u32 {
        self.next
    }

    /// Free units that were in use before.
    pub(super) fn free_units(&self) -> u64 {
        self.singles.len() as u64 + self.run_units
    }

    /// Bytes in use.
    pub(super) fn used_bytes(&self) -> u64 {
        (u64::from(self.next) - self.free_units()) * self.range.unit_bytes()
    }

    /// Bytes by which [`Space::ensure`] would have to extend what is usable.
    pub(super) fn shortfall(&self, units: u64) -> u64 {
        let at_hand = self.free_units() + u64::from(self.usable - self.next);
        units.saturating_sub(at_hand) * self.range.unit_bytes()
    }

    /// Makes sure that `units` single units can be taken.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    #[inline]
    pub(super) fn ensure(&mut self, memory: &PageMemory, units: u64) -> Result<(), TreeError> {
        let at_hand = self.free_units() + u64::from(self.usable - self.next);
        if at_hand >= units {
            return Ok(());
        }
        self.extend(memory, units - self.free_units())
    }

    /// Makes `units` more units usable after `next`.
    #[cold]
    fn extend(&mut self, memory: &PageMemory, units: u64) -> Result<(), TreeError> {
        let wanted = u64::from(self.next) + units;
        let most = u64::from(memory.capacity(self.range));
        if wanted > most {
            return Err(TreeError::OutOfMemory {
                needed_bytes: units * self.range.unit_bytes(),
                charged_bytes: memory.limit().charged_bytes(),
                limit_bytes: memory.limit().limit_bytes(),
            });
        }
        let wanted = u32::try_from(wanted).expect("at most the capacity, a u32");
        self.usable = memory.make_usable(self.range, self.usable, wanted)?;
        Ok(())
    }

    /// Takes one unit. `ensure` must have promised it.
    #[inline]
    pub(super) fn take(&mut self) -> u32 {
        if let Some(unit) = self.singles.pop() {
            return unit;
        }
        if let Some(&(length, start)) = self.by_length.first() {
            self.remove_run(start, length);
            if length > 1 {
                self.insert_run(start + 1, length - 1);
            }
            return start;
        }
        assert!(self.next < self.usable, "units are promised by ensure before they are taken");
        self.next += 1;
        self.next - 1
    }

    /// Takes a run of consecutive units.
    ///
    /// # Errors
    /// [`TreeError::OutOfMemory`]; nothing changed.
    pub(super) fn take_run(&mut self, memory: &PageMemory, units: u32) -> Result<u32, TreeError> {
        assert!(units > 0, "a run has a unit");
        if units == 1 {
            self.ensure(memory, 1)?;
            return Ok(self.take());
        }
        if let Some(start) = self.best_fit(units) {
            return Ok(start);
        }
        if self.usable - self.next < units
            && let Err(error) = self.extend(memory, u64::from(units))
        {
            self.melt_singles();
            return self.best_fit(units).ok_or(error);
        }
        let start = self.next;
        self.next += units;
        Ok(start)
    }

    fn best_fit(&mut self, units: u32) -> Option<u32> {
        let &(length, start) = self.by_length.range((units, 0)..).next()?;
        self.remove_run(start, length);
        if length > units {
            self.insert_run(start + units, length - units);
        }
        Some(start)
    }

    /// Gives units back.
    #[inline]
    pub(super) fn give(&mut self, start: u32, units: u32) {
        assert!(units > 0 && start + units <= self.next, "only units in use are given back");
        if units == 1 {
            self.singles.push(start);
        } else {
            self.melt(start, units);
        }
    }

    /// Moves all single units into runs, so that neighbours become longer runs.
    #[cold]
    fn melt_singles(&mut self) {
        let mut singles = std::mem::take(&mut self.singles);
        singles.sort_unstable();
        for unit in singles {
            self.melt(unit, 1);
        }
    }

    fn melt(&mut self, mut start: u32, mut units: u32) {
        let before = self.runs.range(..start).next_back().map(|(&from, &length)| (from, length));
        if let Some((from, length)) = before {
            assert!(from + length <= start, "a unit is given back once");
            if from + length == start {
                self.remove_run(from, length);
                start = from;
                units += length;
            }
        }
        if let Some(&length) = self.runs.get(&(start + units)) {
            self.remove_run(start + units, length);
            units += length;
        }
        self.insert_run(start, units);
    }

    fn insert_run(&mut self, start: u32, length: u32) {
        self.runs.insert(start, length);
        self.by_length.insert((length, start));
        self.run_units += u64::from(length);
    }

    fn remove_run(&mut self, start: u32, length: u32) {
        self.runs.remove(&start);
        self.by_length.remove(&(length, start));
        self.run_units -= u64::from(length);
    }

    /// All free units that were in use before, as spans, for the checker.
    pub(super) fn free_spans(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let singles = self.singles.iter().map(|&unit| (unit, 1));
        singles.chain(self.runs.iter().map(|(&start, &length)| (start, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::MemoryLimit;

    /// Guards: freed runs melt with their neighbours, and best fit takes the shortest that is enough.
    #[test]
    fn runs_melt_and_the_best_fit_is_taken() {
        let memory = PageMemory::new(MemoryLimit::new(8 << 20)).unwrap();
        let mut space = Space::new(Range::Leaf, 0, 0);
        let a = space.take_run(&memory, 10).unwrap();
        let b = space.take_run(&memory, 5).unwrap();
        let c = space.take_run(&memory, 3).unwrap();
        let d = space.take_run(&memory, 4).unwrap();
        space.give(a, 10);
        space.give(c, 3);
        assert_eq!(space.take_run(&memory, 3).unwrap(), c);
        space.give(c, 3);
        space.give(b, 5);
        assert_eq!(space.free_spans().collect::<Vec<_>>(), [(a, 18)]);
        assert_eq!(space.take_run(&memory, 18).unwrap(), a);
        assert_eq!(space.free_units(), 0);
        space.give(d, 4);
        assert_eq!(space.take(), d);
        assert_eq!(space.free_units(), 3);
    }

    /// Guards: at the limit, single free units that lie side by side still make a run.
    #[test]
    fn singles_become_a_run_when_memory_is_short() {
        let memory = PageMemory::new(MemoryLimit::new(2 << 20)).unwrap();
        let mut space = Space::new(Range::Leaf, 0, 0);
        let units = (2 << 20) / 4096;
        space.ensure(&memory, units).unwrap();
        let all: Vec<u32> = (0..units).map(|_| space.take()).collect();
        assert!(matches!(space.ensure(&memory, 1), Err(TreeError::OutOfMemory { .. })));
        for unit in &all[10..30] {
            space.give(*unit, 1);
        }
        assert_eq!(space.take_run(&memory, 20).unwrap(), 10);
        assert!(space.take_run(&memory, 2).is_err());
    }
}

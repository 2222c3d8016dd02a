//! Virtual time: what happens next, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Events in the order of their time; those of one moment in the order in which they were noted.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Duration,
    noted: u64,
    heap: BinaryHeap<Reverse<Item<E>>>,
}

#[derive(Debug)]
struct Item<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<E> Eq for Item<E> {}

impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Item<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, noted: 0, heap: BinaryHeap::new() }
    }
}

impl<E> Agenda<E> {
    /// The time of the world.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Notes an event; one in the past happens now.
    pub fn at(&mut self, at: Duration, event: E) {
        self.noted += 1;
        let (at, order) = (at.max(self.now), self.noted);
        self.heap.push(Reverse(Item { at, order, event }));
    }

    /// Notes an event for some time from now.
    pub fn after(&mut self, wait: Duration, event: E) {
        self.at(self.now.saturating_add(wait), event);
    }

    /// Lets time pass until the next event.
    pub fn pass(&mut self) -> Option<E> {
        let Reverse(item) = self.heap.pop()?;
        assert!(item.at >= self.now, "time goes back from {:?} to {:?}", self.now, item.at);
        self.now = item.at;
        Some(item.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: events come in the order of their time, then of their noting, and time never falls.
    #[test]
    fn events_come_in_order() {
        let ms = Duration::from_millis;
        let mut agenda = Agenda::default();
        agenda.at(ms(5), "late");
        agenda.at(ms(1), "first");
        agenda.at(ms(1), "second");
        assert_eq!((agenda.pass(), agenda.now()), (Some("first"), ms(1)));
        agenda.at(ms(0), "in the past");
        assert_eq!(agenda.pass(), Some("second"));
        assert_eq!((agenda.pass(), agenda.now()), (Some("in the past"), ms(1)));
        agenda.after(ms(9), "last");
        assert_eq!(
            (agenda.pass(), agenda.pass(), agenda.pass()),
            (Some("late"), Some("last"), None)
        );
        assert_eq!(agenda.now(), ms(10));
    }
}

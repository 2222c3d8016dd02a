//! A network that loses, delays, doubles and reorders, and whose directed links can be cut or
//! clogged. A cut link loses what is sent while it is cut; a clogged one keeps it, and gives all of it
//! in any order when it is released.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use resprout_wal::world::Rng;

/// How messages travel where nothing is cut.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Lost, of a thousand.
    pub loss: u64,
    /// Doubled, of a thousand.
    pub double: u64,
    /// The usual delay, from and to. Messages overtake each other within it.
    pub delay: (Duration, Duration),
    /// Very late, of a thousand.
    pub late: u64,
    /// How late at most.
    pub late_by: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Network<M> {
    rng: Rng,
    weather: Weather,
    cut: BTreeSet<(u64, u64)>,
    clogged: BTreeMap<(u64, u64), Vec<M>>,
}

/// Messages that a clogged link keeps; more are lost.
const CLOGGED_MAX: usize = 256;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Lost.
    Lost,
    /// Kept on a clogged link.
    Kept,
    /// On its way, perhaps twice.
    Sent(Duration, Option<Duration>),
}

impl<M> Network<M> {
    /// A network without cuts.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self { rng: Rng::new(seed), weather, cut: BTreeSet::new(), clogged: BTreeMap::new() }
    }

    /// Changes how messages travel.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Decides about a message; a clogged link takes it.
    pub fn send(&mut self, from: u64, to: u64, message: impl FnOnce() -> M) -> Fate {
        if self.cut.contains(&(from, to)) || self.rng.chance(self.weather.loss, 1000) {
            return Fate::Lost;
        }
        if let Some(kept) = self.clogged.get_mut(&(from, to)) {
            if kept.len() == CLOGGED_MAX {
                return Fate::Lost;
            }
            kept.push(message());
            return Fate::Kept;
        }
        let delay = self.delay();
        let again = self.rng.chance(self.weather.double, 1000).then(|| self.delay());
        Fate::Sent(delay, again)
    }

    /// How long one message takes.
    pub fn delay(&mut self) -> Duration {
        let (from, to) = self.weather.delay;
        let usual = between(&mut self.rng, from, to);
        if self.rng.chance(self.weather.late, 1000) {
            usual + between(&mut self.rng, Duration::ZERO, self.weather.late_by)
        } else {
            usual
        }
    }

    /// Cuts the way from one node to another.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Mends ways.
    pub fn mend(&mut self, ways: &[(u64, u64)]) {
        ways.iter().for_each(|way| {
            self.cut.remove(way);
        });
    }

    /// Mends all ways.
    pub fn mend_all(&mut self) {
        self.cut.clear();
    }

    /// Keeps from now on what one node sends to another.
    pub fn clog(&mut self, from: u64, to: u64) {
        self.clogged.entry((from, to)).or_default();
    }

    /// Releases a link: what it kept, in any order.
    pub fn release(&mut self, from: u64, to: u64) -> Vec<M> {
        let mut kept = self.clogged.remove(&(from, to)).unwrap_or_default();
        for last in (1..kept.len()).rev() {
            let other = self.rng.below(last as u64 + 1);
            kept.swap(last, usize::try_from(other).expect("less than a length"));
        }
        kept
    }

    /// The links that are clogged.
    #[must_use]
    pub fn clogged(&self) -> Vec<(u64, u64)> {
        self.clogged.keys().copied().collect()
    }
}

/// A time from `from` to `to`.
pub fn between(rng: &mut Rng, from: Duration, to: Duration) -> Duration {
    let span = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX - 1);
    from + Duration::from_nanos(rng.below(span + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Network<u32> {
        let delay = (Duration::from_millis(1), Duration::from_millis(2));
        let late_by = Duration::from_secs(1);
        Network::new(1, Weather { loss: 0, double: 0, delay, late: 0, late_by })
    }

    /// Promise: a cut is of one direction, and loses until it is mended.
    #[test]
    fn a_cut_has_a_direction() {
        let mut network = calm();
        network.cut(1, 2);
        assert_eq!(network.send(1, 2, || 7), Fate::Lost);
        assert!(matches!(network.send(2, 1, || 7), Fate::Sent(_, None)));
        network.mend(&[(1, 2)]);
        assert!(matches!(network.send(1, 2, || 7), Fate::Sent(_, None)));
    }

    /// Promise: a clogged link loses nothing that fits, and gives it when released.
    #[test]
    fn a_clogged_link_keeps_what_is_sent() {
        let mut network = calm();
        network.clog(1, 2);
        for message in 0..10 {
            assert_eq!(network.send(1, 2, || message), Fate::Kept);
        }
        let mut kept = network.release(1, 2);
        assert_ne!(kept, (0..10).collect::<Vec<_>>());
        kept.sort_unstable();
        assert_eq!(kept, (0..10).collect::<Vec<_>>());
        assert!(matches!(network.send(1, 2, || 7), Fate::Sent(_, None)));
    }

    /// Promise: loss, doubles and late messages come about as often as asked for.
    #[test]
    fn weather_is_as_asked_for() {
        let mut network = calm();
        let late_by = Duration::from_secs(1);
        let delay = (Duration::from_millis(1), Duration::from_millis(2));
        network.set_weather(Weather { loss: 250, double: 500, delay, late: 100, late_by });
        let fates: Vec<Fate> = (0..4000).map(|_| network.send(1, 2, || 7)).collect();
        let count = |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count();
        assert!((900..1100).contains(&count(|fate| *fate == Fate::Lost)));
        assert!((1350..1650).contains(&count(|fate| matches!(fate, Fate::Sent(_, Some(_))))));
        let late = Duration::from_millis(3);
        let is_late = |fate: &&Fate| matches!(fate, Fate::Sent(delay, _) if *delay > late);
        assert!((200..400).contains(&fates.iter().filter(is_late).count()));
    }
}

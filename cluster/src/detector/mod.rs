//! Who is lost: heartbeats counted, never time measured.
//!
//! ```text
//!   every interval ──► beats to all ── answered: counter 0
//!                                   ├─ not answered by the next: counter + 1
//!                                   └─ connection refused: counter + a third of the limit
//!   counter at its limit ──► Offline;  an answer after that ──► Back
//! ```
//!
//! Beats that were sent are counted, and at most one for each step: a process that was stopped for a minute has sent
//! none meanwhile, so it finds nobody lost when it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::NodeId;

/// When a node counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Between two heartbeats.
    pub interval: Duration,
    /// So many in a row without an answer.
    pub beats: u32,
    /// Or so many connections in a row that were refused.
    pub refusals: u32,
    /// `leaf_failure_detection`: whether leaves are ever found lost.
    pub leaves: bool,
    /// `aggregator_failure_detection`: the same of aggregators.
    pub aggregators: bool,
}

impl Default for Config {
    fn default() -> Self {
        let interval = Duration::from_millis(150);
        Self { interval, beats: 20, refusals: 3, leaves: true, aggregators: true }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The node does not answer.
    Offline(NodeId),
    /// It answers again.
    Back(NodeId),
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    is_leaf: bool,
    /// Beats without an answer, with what refused connections count for.
    missed: u32,
    /// A beat is on its way.
    asked: bool,
    is_lost: bool,
    /// When it answered last.
    heard: Option<Duration>,
}

/// Counts. Verdicts are given once, when they change.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    config: Config,
    nodes: BTreeMap<NodeId, Watched>,
    next: Duration,
}

impl Detector {
    /// One that knows nobody.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// Other settings from now on: what was counted stays.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Exactly these nodes are watched, with whether each is a leaf. Who is new has missed nothing.
    pub fn watch(&mut self, nodes: impl IntoIterator<Item = (NodeId, bool)>) {
        let mut before = std::mem::take(&mut self.nodes);
        for (node, is_leaf) in nodes {
            let new = Watched { is_leaf, missed: 0, asked: false, is_lost: false, heard: None };
            self.nodes.insert(node, before.remove(&node).unwrap_or(new));
        }
    }

    /// When the next beats are due.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.next
    }

    /// If beats are due: to whom, and who is found lost.
    pub fn beat(&mut self, now: Duration) -> (Vec<NodeId>, Vec<Verdict>) {
        if now < self.next {
            return (Vec::new(), Vec::new());
        }
        self.next = now + self.config.interval;
        let mut verdicts = Vec::new();
        for (node, watched) in &mut self.nodes {
            if watched.asked {
                watched.missed = watched.missed.saturating_add(1);
            }
            watched.asked = true;
            verdicts.extend(watched.judge(*node, &self.config));
        }
        (self.nodes.keys().copied().collect(), verdicts)
    }

    /// It answered.
    pub fn answered(&mut self, node: NodeId, now: Duration) -> Option<Verdict> {
        let watched = self.nodes.get_mut(&node)?;
        (watched.missed, watched.asked, watched.heard) = (0, false, Some(now));
        std::mem::take(&mut watched.is_lost).then_some(Verdict::Back(node))
    }

    /// Nobody listens where it should.
    pub fn refused(&mut self, node: NodeId) -> Option<Verdict> {
        let counts = self.config.beats.div_ceil(self.config.refusals.max(1));
        let watched = self.nodes.get_mut(&node)?;
        watched.missed = watched.missed.saturating_add(counts);
        watched.asked = false;
        watched.judge(node, &self.config)
    }

    /// Whether a node is lost.
    #[must_use]
    pub fn is_lost(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|watched| watched.is_lost)
    }

    /// When a node answered last.
    #[must_use]
    pub fn heard(&self, node: NodeId) -> Option<Duration> {
        self.nodes.get(&node).and_then(|watched| watched.heard)
    }
}

impl Watched {
    fn judge(&mut self, node: NodeId, config: &Config) -> Option<Verdict> {
        let wanted = if self.is_leaf { config.leaves } else { config.aggregators };
        if !wanted || self.is_lost || self.missed < config.beats {
            return None;
        }
        self.is_lost = true;
        Some(Verdict::Offline(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: NodeId = NodeId(2);

    fn detector() -> Detector {
        let mut detector = Detector::new(Config::default());
        detector.watch([(NodeId(1), false), (LEAF, true)]);
        detector
    }

    fn at(beats: u32) -> Duration {
        Config::default().interval * beats
    }

    /// Promise: a node that is silent for twenty beats is lost, said once; an answer brings it back.
    #[test]
    fn twenty_silent_beats_are_a_loss() {
        let mut detector = detector();
        let mut found = Vec::new();
        for beat in 0..30 {
            detector.answered(NodeId(1), at(beat));
            found.extend(detector.beat(at(beat)).1.into_iter().map(|verdict| (beat, verdict)));
        }
        assert_eq!(found, [(20, Verdict::Offline(LEAF))]);
        assert!(detector.is_lost(LEAF) && !detector.is_lost(NodeId(1)));
        assert_eq!(detector.answered(LEAF, at(30)), Some(Verdict::Back(LEAF)));
        assert_eq!(detector.answered(LEAF, at(30)), None);
        assert_eq!((detector.heard(LEAF), detector.is_lost(LEAF)), (Some(at(30)), false));
    }

    /// Promise: any answer resets the count.
    #[test]
    fn an_answer_resets_the_count() {
        let mut detector = detector();
        for beat in 0..100 {
            if beat % 19 == 0 {
                detector.answered(LEAF, at(beat));
            }
            let lost = detector.beat(at(beat)).1.contains(&Verdict::Offline(LEAF));
            assert!(!lost, "beat {beat}");
        }
    }

    /// Promise: three refused connections in a row are a loss.
    #[test]
    fn three_refused_connections_are_a_loss() {
        let mut detector = detector();
        assert_eq!([detector.refused(LEAF), detector.refused(LEAF)], [None, None]);
        detector.answered(LEAF, at(1));
        assert_eq!([detector.refused(LEAF), detector.refused(LEAF)], [None, None]);
        assert_eq!(detector.refused(LEAF), Some(Verdict::Offline(LEAF)));
        assert_eq!(detector.refused(LEAF), None);
    }

    /// Promise (P10, P18): whoever was stopped itself finds nobody lost because of that.
    #[test]
    fn p18_a_pause_of_ones_own_is_nobodys_loss() {
        let mut detector = detector();
        detector.beat(at(0));
        assert_eq!(detector.beat(at(0)).0, [], "not due");
        let (beats, verdicts) = detector.beat(at(10_000));
        assert_eq!((beats.len(), verdicts), (2, vec![]));
    }

    /// Promise: with detection off nobody is found lost; when it is on again, what is silent is.
    #[test]
    fn detection_can_be_off() {
        let mut detector = detector();
        detector.configure(Config { leaves: false, ..Config::default() });
        for beat in 0..40 {
            let aggregator = detector.beat(at(beat)).1;
            let expected = if beat == 20 { vec![Verdict::Offline(NodeId(1))] } else { vec![] };
            assert_eq!(aggregator, expected, "beat {beat}");
        }
        detector.configure(Config::default());
        assert_eq!(detector.beat(at(40)).1, [Verdict::Offline(LEAF)]);
    }

    /// Promise: who is watched again has missed nothing.
    #[test]
    fn who_is_new_has_missed_nothing() {
        let mut detector = detector();
        detector.refused(LEAF);
        detector.watch([(NodeId(1), false)]);
        assert_eq!(detector.refused(LEAF), None);
        detector.watch([(NodeId(1), false), (LEAF, true)]);
        assert_eq!([detector.refused(LEAF), detector.refused(LEAF)], [None, None]);
    }
}

//! What the bench says, to people and to programs.

use serde::Serialize;

use super::super::members::times::Times;
use super::FailoverArgs;
use super::rounds::{AggregatorRound, LeafRound};
use crate::output;

/// A leaf that was lost, in all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LeafFigure {
    /// To the next acknowledged write, of each partition and round.
    next: Times,
    /// The longest pause, of each partition and round.
    pause: Times,
    /// The same of the slowest partition of each round.
    all: Times,
    rounds: Vec<LeafRound>,
}

impl LeafFigure {
    pub(super) fn new(rounds: Vec<LeafRound>) -> Self {
        let slowest = |round: &LeafRound| round.next_ms.iter().copied().fold(0.0, f64::max);
        Self {
            next: Times::new(rounds.iter().flat_map(|round| round.next_ms.iter().copied())),
            pause: Times::new(rounds.iter().flat_map(|round| round.pause_ms.iter().copied())),
            all: Times::new(rounds.iter().map(slowest)),
            rounds,
        }
    }
}

/// A master aggregator that was killed, in all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AggregatorFigure {
    election_timeout_ms: u64,
    definition: Times,
    /// The longest pause of writes, of each partition and round.
    pause: Times,
    rounds: Vec<AggregatorRound>,
}

impl AggregatorFigure {
    pub(super) fn new(election_timeout_ms: u64, rounds: Vec<AggregatorRound>) -> Self {
        Self {
            election_timeout_ms,
            definition: Times::new(rounds.iter().map(|round| round.definition_ms)),
            pause: Times::new(rounds.iter().flat_map(|round| round.pause_ms.iter().copied())),
            rounds,
        }
    }
}

/// Bare durable writes where the nodes' data are, before and behind all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Device {
    pub(super) p50_us: f64,
    /// The device changed its speed meanwhile.
    pub(super) mixed: bool,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) killed_leaf: Option<LeafFigure>,
    pub(super) silent_leaf: Option<LeafFigure>,
    pub(super) killed_replica: Option<LeafFigure>,
    pub(super) killed_master_aggregator: Option<AggregatorFigure>,
    /// Rows that were acknowledged and found.
    pub(super) acknowledged: u64,
}

/// The JSON that other tools read. Fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    bench: &'static str,
    /// Of the machine.
    processors: usize,
    resproutd: String,
    rounds: u32,
    partitions: u32,
    redundancy: u32,
    voters: u32,
    leaves: u32,
    device: Device,
    #[serde(skip_serializing_if = "Option::is_none")]
    killed_leaf: Option<LeafFigure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_leaf: Option<LeafFigure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    killed_replica: Option<LeafFigure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    killed_master_aggregator: Option<AggregatorFigure>,
    acknowledged: u64,
    verified: bool,
}

impl Report {
    pub(super) fn new(
        args: &FailoverArgs,
        resproutd: String,
        device: Device,
        measured: Measured,
    ) -> Self {
        Self {
            schema_version: 1,
            bench: "failover",
            processors: crate::bench::testbed::processors(),
            resproutd,
            rounds: args.rounds,
            partitions: args.partitions,
            redundancy: args.redundancy,
            voters: args.voters,
            leaves: args.leaves,
            device,
            killed_leaf: measured.killed_leaf,
            silent_leaf: measured.silent_leaf,
            killed_replica: measured.killed_replica,
            killed_master_aggregator: measured.killed_master_aggregator,
            acknowledged: measured.acknowledged,
            verified: true,
        }
    }

    /// The table for people.
    pub(super) fn tell(&self) {
        output::line(format_args!(
            "nodes    {} aggregators, {} leaves, {} partitions, redundancy {}, {} rounds, {} processors",
            self.voters,
            self.leaves,
            self.partitions,
            self.redundancy,
            self.rounds,
            self.processors
        ));
        output::line(format_args!(
            "device   p50 {:.0} us for a bare durable 4 KiB write",
            self.device.p50_us
        ));
        if self.device.mixed {
            output::line("         the device changed its speed during the run: run it again");
        }
        output::line(format_args!(
            "\n{:<46}{:>8}{:>11}{:>11}{:>11}  to reach",
            "milliseconds", "samples", "p50", "p99", "longest"
        ));
        if let Some(figure) = &self.killed_leaf {
            let aim = "p50 < 700, p99 < 1500";
            line("killed leaf, to the next write of a partition", &figure.next, aim);
            line("  the slowest partition of a round", &figure.all, "-");
            beside(figure);
        }
        if let Some(figure) = &self.silent_leaf {
            line("silent leaf, to the next write of a partition", &figure.next, "< 5000");
            line("  the slowest partition of a round", &figure.all, "-");
            beside(figure);
        }
        if let Some(figure) = &self.killed_replica {
            line("killed replica, longest pause of a partition", &figure.pause, "< 2000");
            beside(figure);
        }
        if let Some(figure) = &self.killed_master_aggregator {
            line("killed master aggregator, to a definition", &figure.definition, "< 3000");
            let of = figure.rounds.iter().map(|round| round.definition_before_ms);
            line("  a definition with all aggregators there", &Times::new(of), "-");
            line("  longest pause of a partition meanwhile", &figure.pause, "none");
            let of = figure.rounds.iter().map(|round| round.pause_of_definition_ms);
            line("  the same of a definition with all there", &Times::new(of), "-");
            let of = figure.rounds.iter().map(|round| round.pause_before_ms);
            line("  the same without either", &Times::new(of), "-");
        }
        output::line(format_args!("\nverified {} acknowledged rows", self.acknowledged));
    }
}

fn line(name: &str, times: &Times, aim: &str) {
    output::line(format_args!(
        "{name:<46}{:>8}{:>11.1}{:>11.1}{:>11.1}  {aim}",
        times.samples, times.p50_ms, times.p99_ms, times.max_ms
    ));
}

fn beside(figure: &LeafFigure) {
    let all = [
        (
            "  longest pause of a round before",
            (|round| round.pause_before_ms) as fn(&LeafRound) -> f64,
        ),
        ("  the same in the 2 s behind the first write", |round| round.later_pause_ms),
        ("  the same while the leaf comes back", |round| round.return_pause_ms),
        ("  until all copies are in step again", |round| round.back_s * 1e3),
    ];
    for (name, of) in all {
        line(name, &Times::new(figure.rounds.iter().map(of)), "-");
    }
}

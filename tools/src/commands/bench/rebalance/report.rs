//! What the bench says, to people and to programs.

use serde::Serialize;

use super::RebalanceArgs;
use super::large::PlanTime;
use super::rounds::{Cancelled, Copying, Moved};
use crate::commands::bench::members::times::Times;
use crate::output;

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) plan: PlanTime,
    pub(super) provision: Copying,
    pub(super) cancel: Cancelled,
    pub(super) moved: Moved,
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
    rows: u64,
    row_bytes: u32,
    partitions: u32,
    readers: u32,
    voters: u32,
    /// One copy that nobody disturbs.
    provision: Copying,
    cancel: Cancelled,
    rebalance: Moved,
    /// Bandwidth of the plan's copies against that of one alone.
    copy_ratio: f64,
    /// What writers and readers did during the plan against before.
    write_ratio: f64,
    read_ratio: f64,
    plan: PlanTime,
    acknowledged: u64,
    verified: bool,
}

fn ratio(of: f64, against: f64) -> f64 {
    if against > 0.0 { of / against } else { 0.0 }
}

impl Report {
    pub(super) fn new(args: &RebalanceArgs, resproutd: String, measured: Measured) -> Self {
        let Measured { plan, provision, cancel, moved, acknowledged } = measured;
        Self {
            schema_version: 1,
            bench: "rebalance",
            processors: crate::bench::testbed::processors(),
            resproutd,
            rows: args.rows,
            row_bytes: args.row_bytes,
            partitions: args.partitions,
            readers: args.readers,
            voters: args.voters,
            copy_ratio: ratio(moved.copying.mib_per_s, provision.mib_per_s),
            write_ratio: ratio(moved.during.writes_per_s, moved.before.writes_per_s),
            read_ratio: ratio(moved.during.reads_per_s, moved.before.reads_per_s),
            provision,
            cancel,
            rebalance: moved,
            plan,
            acknowledged,
            verified: true,
        }
    }

    /// The table for people.
    pub(super) fn tell(&self) {
        let Self { rows, row_bytes, partitions, processors, .. } = self;
        output::line(format_args!(
            "data     {rows} rows of {row_bytes} bytes, {partitions} partitions, 2 leaves, then 4; {processors} processors"
        ));
        let copies = |name: &str, of: &Copying| {
            output::line(format_args!(
                "{name}{} copies, {:.1} MiB in {:.2} s: {:.1} MiB/s",
                of.copies,
                of.bytes as f64 / 1_048_576.0,
                of.seconds,
                of.mib_per_s
            ));
        };
        copies("alone    ", &self.provision);
        copies("plan     ", &self.rebalance.copying);
        let Moved { before, during, .. } = &self.rebalance;
        output::line(format_args!(
            "clients  before {:.0} writes/s, {:.0} reads/s; during {:.0} ({:.0}%), {:.0} ({:.0}%)",
            before.writes_per_s,
            before.reads_per_s,
            during.writes_per_s,
            self.write_ratio * 100.0,
            during.reads_per_s,
            self.read_ratio * 100.0
        ));
        output::line(format_args!(
            "\n{:<46}{:>8}{:>11}{:>11}{:>11}",
            "milliseconds", "samples", "p50", "p99", "longest"
        ));
        line("longest pause of a partition before", &self.rebalance.pause_before);
        line("  around its promotion", &self.rebalance.pause_of_promotion);
        line("  during the plan", &self.rebalance.pause_during);
        output::line(format_args!(
            "\nplan     {:.1} ms for 64 leaves, 1,024 partitions",
            self.plan.p50_ms
        ));
        let Cancelled { was_running, ended_ms, orphans } = self.cancel;
        if was_running {
            output::line(format_args!("cancel   over after {ended_ms:.1} ms, {orphans} orphans"));
        } else {
            output::line("cancel   the plan was over before it could be cancelled: use more data");
        }
        output::line(format_args!("verified {} acknowledged rows", self.acknowledged));
    }
}

fn line(name: &str, times: &Times) {
    output::line(format_args!(
        "{name:<46}{:>8}{:>11.1}{:>11.1}{:>11.1}",
        times.samples, times.p50_ms, times.p99_ms, times.max_ms
    ));
}

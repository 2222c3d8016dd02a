//! Results, for people and as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::load::Seen;
use crate::machine::Machine;
use crate::probe::{Flush, micros};

/// One run of one system, and the device before and after it.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Which.
    pub system: &'static str,
    /// Which run.
    pub run: usize,
    /// What its clients saw.
    pub seen: Seen,
    /// The device before.
    pub before: Flush,
    /// The device after.
    pub after: Flush,
}

/// How long it took until another leader had committed an entry.
#[derive(Clone, Debug, Serialize)]
pub struct FailOver {
    election_timeout_ms: u128,
    /// Sorted.
    times_ms: Vec<f64>,
    flush: Flush,
}

impl FailOver {
    /// Of these runs.
    pub fn new(election_timeout: Duration, times: Vec<Duration>, flush: Flush) -> Self {
        let mut times_ms: Vec<f64> = times.into_iter().map(|time| micros(time) / 1e3).collect();
        times_ms.sort_by(f64::total_cmp);
        Self { election_timeout_ms: election_timeout.as_millis(), times_ms, flush }
    }

    fn at(&self, share: f64) -> f64 {
        let last = self.times_ms.len() - 1;
        self.times_ms[(last as f64 * share).ceil() as usize]
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    machine: Machine,
    runs: Vec<Measured>,
    /// If that was measured.
    pub fail_over: Option<FailOver>,
}

impl Report {
    /// Without results.
    pub fn new() -> Self {
        Self { machine: Machine::this(), runs: Vec::new(), fail_over: None }
    }

    /// One more run, said at once: a bench that is cut short has still said something.
    pub fn add(&mut self, measured: Measured) {
        let Measured { system, run, seen, before, after } = &measured;
        println!(
            "run {run}  {system:14} {:5} clients  {:9.0}/s  p50 {:8.0} µs  p99 {:8.0} µs  \
             {:6.1} per flush   bare flush {:.0}, {:.0} µs",
            seen.clients,
            seen.per_second,
            seen.p50_us,
            seen.p99_us,
            seen.per_flush.unwrap_or(f64::NAN),
            before.p50_us,
            after.p50_us,
        );
        self.runs.push(measured);
    }

    /// Medians, as a table.
    pub fn print(&self) {
        let Machine { processor, processors, kernel, load } = &self.machine;
        println!("\n{processors} × {processor}, Linux {kernel}, load {load} at the beginning");
        let mut cases: Vec<_> =
            self.runs.iter().map(|one| (one.seen.clients, one.system)).collect();
        cases.sort_unstable();
        cases.dedup();
        if !cases.is_empty() {
            println!(
                "\n| clients | system | committed/s | p50 µs | p99 µs | per flush | bare flush µs |"
            );
            println!("|--:|---|--:|--:|--:|--:|--:|");
        }
        for (clients, system) in cases {
            let runs = self.runs.iter();
            let runs: Vec<_> =
                runs.filter(|one| one.seen.clients == clients && one.system == system).collect();
            let of = |value: &dyn Fn(&Measured) -> f64| median(runs.iter().map(|one| value(one)));
            println!(
                "| {clients} | {system} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} |",
                of(&|one| one.seen.per_second),
                of(&|one| one.seen.p50_us),
                of(&|one| one.seen.p99_us),
                of(&|one| one.seen.per_flush.unwrap_or(f64::NAN)),
                of(&|one| f64::midpoint(one.before.p50_us, one.after.p50_us)),
            );
        }
        if let Some(fail_over) = &self.fail_over {
            println!(
                "\nleader killed, election timeout {} ms, {} runs: p50 {:.0} ms, p90 {:.0} ms, \
                 p99 {:.0} ms, longest {:.0} ms; bare flush {:.0} µs",
                fail_over.election_timeout_ms,
                fail_over.times_ms.len(),
                fail_over.at(0.5),
                fail_over.at(0.9),
                fail_over.at(0.99),
                fail_over.at(1.0),
                fail_over.flush.p50_us,
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

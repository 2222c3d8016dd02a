//! Many seeds on all processors.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use crate::Violation;
use crate::coverage::Coverage;

/// A seed whose run broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// It.
    pub seed: u64,
    /// What was broken. An assertion of the code under test counts.
    pub violation: Violation,
}

/// What became of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many there were.
    pub runs: u64,
    /// What they did together.
    pub coverage: Coverage,
    /// Those that broke a promise, by their seed.
    pub failures: Vec<Failure>,
}

/// Runs all seeds, or until one fails. Every run has a thread to itself, and none sees another.
pub fn run(
    seeds: Range<u64>,
    stop_at_failure: bool,
    simulate: impl Fn(u64) -> Result<Coverage, Violation> + Sync,
) -> Report {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let result = guarded(|| simulate(seed));
                    let failed = result.is_err();
                    note(&report, seed, result);
                    if failed && stop_at_failure {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report
}

fn note(report: &Mutex<Report>, seed: u64, result: Result<Coverage, Violation>) {
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.runs += 1;
    match result {
        Ok(coverage) => report.coverage.merge(&coverage),
        Err(violation) => report.failures.push(Failure { seed, violation }),
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic; a panic is a broken promise, and is not printed: whoever asked decides.
///
/// # Errors
/// What `run` gives, or the text of its panic.
pub fn guarded<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                usual(info);
            }
        }));
    });
    GUARDED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(false);
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?");
        let place = PLACE.take().unwrap_or_default();
        Err(Violation::new("the code's own assertions hold", format!("{text} ({place})")))
    })
}

thread_local! {
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: every seed runs once, counts add up, and failures and panics are given by seed.
    #[test]
    fn every_seed_runs_once() {
        let report = run(10..30, false, |seed| {
            let mut coverage = Coverage::default();
            coverage.note("run");
            assert!(seed != 12, "seed twelve");
            if seed == 15 { Err(Violation::new("p", "s".into())) } else { Ok(coverage) }
        });
        assert_eq!((report.runs, report.coverage.count("run")), (20, 18));
        let failed: Vec<u64> = report.failures.iter().map(|failure| failure.seed).collect();
        assert_eq!(failed, [12, 15]);
        let seen = &report.failures[0].violation.seen;
        assert!(seen.starts_with("seed twelve (") && seen.contains("seeds.rs"), "{seen}");
    }

    /// Promise: a search ends at the first failure.
    #[test]
    fn a_search_ends_at_a_failure() {
        let report = run(0..1_000_000, true, |seed| {
            let violation = Violation::new("p", String::new());
            if seed < 5 { Ok(Coverage::default()) } else { Err(violation) }
        });
        assert!(report.runs < 1000 && !report.failures.is_empty());
    }
}

//! Who becomes master: of the copies that were fenced and have reported, one that the record allows
//! and that has the most (catalogue rules 8, 9 and 15). A pure function, for the authority.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{Config, CopyState, Instance, Mode, Record, Report};

/// Who becomes master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its report.
    pub report: Report,
    /// Acknowledged writes may be gone: to be recorded as an event.
    pub may_have_lost: bool,
}

/// Nobody can be promoted. The partition is offline (error 1777) until one of these comes back, or
/// an operator decides otherwise by name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no copy can be promoted: {missing} of the synchronous copies have not reported")]
pub struct NotYet {
    /// How many could still help.
    pub missing: usize,
}

/// Chooses among reports to a record without master. Reports that promise less than its term are of
/// no value: their positions may move (rule 9).
///
/// # Errors
/// [`NotYet`] if nobody is eligible.
pub fn choose(
    record: &Record,
    config: &Config,
    reports: &BTreeMap<Instance, Report>,
) -> Result<Choice, NotYet> {
    let mode = record.mode.unwrap_or(config.mode);
    let fenced = reports.values().filter(|report| report.promised >= record.term);
    let fenced: Vec<Report> = fenced.copied().collect();
    let greatest = |among: &mut dyn Iterator<Item = &Report>| {
        among.max_by_key(|report| (report.last_term, report.last, report.instance)).copied()
    };
    if planted!(*config, ChooseAnyCopy)
        && let Some(report) = greatest(&mut fenced.iter().filter(|report| report.healthy))
    {
        return Ok(Choice { report, may_have_lost: false });
    }
    let state_of = |report: &Report| record.copy(report.instance).state;
    let is_sync = |report: &&Report| state_of(report) == CopyState::Sync;
    // An acknowledgement after a flush outlives the run that gave it.
    let is_same = |report: &&Report| {
        let known = record.copy(report.instance).incarnation;
        mode == Mode::Durable || report.incarnation == known
    };
    let proper = fenced.iter().filter(is_sync).filter(is_same).filter(|report| report.healthy);
    if let Some(report) = greatest(&mut { proper }) {
        return Ok(Choice { report, may_have_lost: false });
    }
    // Every synchronous copy restarted: all of them together may have everything.
    let wanted = record.copies.values().filter(|copy| copy.state == CopyState::Sync).count();
    let back = fenced.iter().filter(is_sync).filter(|report| report.healthy);
    let missing = wanted - back.clone().count();
    if missing == 0
        && let Some(report) = greatest(&mut { back })
    {
        return Ok(Choice { report, may_have_lost: mode != Mode::Durable });
    }
    // Only a database that is so by configuration goes on without them.
    if mode == Mode::Local
        && let Some(report) = greatest(&mut fenced.iter().filter(|report| report.healthy))
    {
        return Ok(Choice { report, may_have_lost: true });
    }
    Err(NotYet { missing })
}

#[cfg(test)]
mod tests {
    use resprout_wal::{Lsn, Term};

    use super::*;
    use crate::{Cfg, CopyRecord, Incarnation};

    fn record(states: &[CopyState]) -> Record {
        let copies = (1..).zip(states).map(|(instance, state)| {
            (Instance(instance), CopyRecord { state: *state, incarnation: Incarnation(1) })
        });
        let copies = copies.collect();
        Record { term: Term(5), cfg: Cfg(9), copies, ..Record::default() }
    }

    fn report(instance: u64, incarnation: u64, last: (u64, u64)) -> Report {
        Report {
            promised: Term(5),
            last_term: Term(last.0),
            last: Lsn(last.1),
            instance: Instance(instance),
            incarnation: Incarnation(incarnation),
            healthy: true,
        }
    }

    fn chosen(mode: Mode, states: &[CopyState], reports: &[Report]) -> Option<(u64, bool)> {
        let reports = reports.iter().map(|report| (report.instance, *report)).collect();
        let config = Config { mode, ..Config::default() };
        let choice = choose(&record(states), &config, &reports).ok()?;
        Some((choice.report.instance.0, choice.may_have_lost))
    }

    use CopyState::{Async, Sync};

    /// Promise: the greatest (last term, last LSN) of those that are synchronous, and nobody else.
    #[test]
    fn the_best_synchronous_copy_is_chosen() {
        let reports = [report(1, 1, (3, 900)), report(2, 1, (4, 100)), report(3, 1, (4, 999))];
        assert_eq!(chosen(Mode::Received, &[Sync, Sync, Async], &reports), Some((2, false)));
        assert_eq!(chosen(Mode::Received, &[Async, Async, Sync], &reports[..2]), None);
        let old = Report { promised: Term(4), ..report(1, 1, (4, 1)) };
        assert_eq!(chosen(Mode::Received, &[Sync], &[old]), None, "not fenced");
        let ill = Report { healthy: false, ..report(1, 1, (4, 1)) };
        assert_eq!(chosen(Mode::Durable, &[Sync], &[ill]), None, "its log is damaged");
    }

    /// Promise (P05, P06): a synchronous copy that restarted is not promoted on the strength of its
    /// old state, unless its acknowledgements followed a flush, or all of them are in that case.
    #[test]
    fn p05_p06_a_restarted_copy_is_not_what_it_was() {
        let restarted = [report(2, 2, (4, 999))];
        assert_eq!(chosen(Mode::Received, &[Sync, Sync], &restarted), None);
        assert_eq!(chosen(Mode::Durable, &[Sync, Sync], &restarted), Some((2, false)));
        let both = [report(1, 2, (4, 900)), report(2, 2, (4, 999))];
        assert_eq!(chosen(Mode::Received, &[Sync, Sync], &both), Some((2, true)));
        let one = [report(1, 1, (4, 900)), report(2, 2, (4, 999))];
        assert_eq!(chosen(Mode::Received, &[Sync, Sync], &one), Some((1, false)));
    }

    /// Promise (R18, N03): a synchronous copy that says that its log is damaged is not promoted, and
    /// no asynchronous one in its place: somebody has to decide that.
    #[test]
    fn r18_n03_nobody_stands_in_for_the_only_synchronous_copy() {
        let ill = Report { healthy: false, ..report(1, 1, (4, 999)) };
        let other = report(2, 1, (4, 900));
        assert_eq!(chosen(Mode::Durable, &[Sync, Async], &[ill, other]), None);
        assert_eq!(chosen(Mode::Received, &[Sync, Async], &[other]), None);
        let text = NotYet { missing: 1 }.to_string();
        assert!(text.contains("1 of the synchronous copies"), "{text}");
    }

    /// Promise: the choice goes by the mode of the record, whatever the copies were configured for.
    #[test]
    fn the_mode_of_the_record_decides() {
        let report = report(2, 1, (4, 999));
        let reports = BTreeMap::from([(report.instance, report)]);
        let chosen = |said, configured| {
            let record = Record { mode: Some(said), ..record(&[Sync, Async]) };
            choose(&record, &Config { mode: configured, ..Config::default() }, &reports).is_ok()
        };
        assert!(chosen(Mode::Local, Mode::Received));
        assert!(!chosen(Mode::Received, Mode::Local));
    }

    /// Promise: a copy that is not synchronous is promoted only in a database made for it.
    #[test]
    fn an_asynchronous_copy_is_eligible_by_configuration_only() {
        let reports = [report(2, 1, (4, 999))];
        assert_eq!(chosen(Mode::Local, &[Sync, Async], &reports), Some((2, true)));
        assert_eq!(chosen(Mode::Received, &[Sync, Async], &reports), None);
    }
}

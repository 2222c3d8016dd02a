//! The calculation that decides what is cut, against the slow and obvious one; and what an orderly end is.

use resprout_replication::{End, Incarnation, Stamp, Stance, State, last_common};
use resprout_wal::world::Rng;
use resprout_wal::{History, Lsn, Term, TermStart};

const FRAME: u64 = 4096;

/// A log as the terms of its frames, each frame told from others by a number.
type Log = Vec<(Term, u64)>;

fn history(log: &Log) -> History {
    let mut entries: Vec<TermStart> = Vec::new();
    for (place, (term, _)) in log.iter().enumerate() {
        if entries.last().is_none_or(|last| last.term != *term) {
            entries.push(TermStart { term: *term, start: Lsn(place as u64 * FRAME) });
        }
    }
    History::from_entries(entries).expect("terms grow")
}

fn shared(one: &Log, other: &Log) -> usize {
    one.iter().zip(other).take_while(|(left, right)| left == right).count()
}

/// Copies of one partition after some masterships: masters write, others follow as far as they
/// come, cutting what differs.
fn copies(rng: &mut Rng) -> Vec<Log> {
    let mut logs: Vec<Log> = vec![Log::new(); 3];
    let mut number = 0;
    for term in 1..=1 + rng.below(6) {
        let master = rng.below(3) as usize;
        for _ in 0..=rng.below(4) {
            number += 1;
            logs[master].push((Term(term), number));
        }
        for other in (0..3).filter(|other| *other != master) {
            if rng.chance(1, 2) {
                let from = logs[master].clone();
                let common = shared(&from, &logs[other]);
                let upto = common + rng.below((from.len() - common) as u64 + 1) as usize;
                logs[other] = from[..upto].to_vec();
            }
        }
    }
    logs
}

/// Promise (R10): whatever masterships there were, two logs are cut exactly where their frames
/// differ, though only terms and starts are compared.
#[test]
fn r10_the_last_common_point_is_where_frames_differ() {
    let mut rng = Rng::new(10);
    let mut parted = 0;
    for round in 0..20_000 {
        let logs = copies(&mut rng);
        let (one, other) = (&logs[0], &logs[1]);
        let end = |log: &Log| Lsn(log.len() as u64 * FRAME);
        let (left, right) = (history(one), history(other));
        let found = last_common((&left, end(one)), (&right, end(other)));
        let expected = Lsn(shared(one, other) as u64 * FRAME);
        // Logs that share nothing share no term: pages are needed then.
        let found = found.unwrap_or(Lsn::ZERO);
        assert_eq!(found, expected, "round {round}: {one:?} {other:?}");
        parted += u64::from(expected < end(one).min(end(other)));
    }
    assert!(parted > 1000, "{parted} logs parted");
}

/// Promise (P07, rule 14): a run that only waited ends in order if the one before did, and takes nothing from what a crash
/// means: the term is over.
#[test]
fn p07_waiting_does_not_mend_a_crash() {
    let at = End { term: Term(3), lsn: Lsn(8192) };
    let stance = |state| Stance {
        incarnation: Incarnation(2),
        state,
        knows: Stamp::default(),
        promised: at.term,
        last_term: at.term,
        end: at.lsn,
        committed: Lsn::ZERO,
    };
    let ends = |state, ended| stance(state).ends_in_order(Incarnation(2), ended);
    assert!(!ends(State::Pending, None), "the run before crashed");
    assert!(ends(State::Pending, Some(at)));
    let other = End { lsn: Lsn(4096), ..at };
    assert!(!ends(State::Pending, Some(other)), "something has happened since");
    let replaced = Stance { incarnation: Incarnation(3), ..stance(State::Pending) };
    assert!(!replaced.ends_in_order(Incarnation(2), Some(at)), "an image was installed");
    for state in [State::Online(Term(3)), State::Replicating] {
        assert!(ends(state, None), "{state:?}");
    }
    for state in [State::Connecting, State::Transitioning(Term(4)), State::Fenced(Term(4))] {
        assert!(!ends(state, Some(at)), "{state:?}");
    }
}

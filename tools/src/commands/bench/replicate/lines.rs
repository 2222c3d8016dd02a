//! What the two processes tell each other over the replica's stdin and stdout: JSON, one a line.

use resprout_replication::{
    Cfg, CopyRecord, CopyState, Decided, Incarnation, Instance, Record, Report, Request, Stamp,
};
use resprout_wal::{Lsn, Term};
use serde::{Deserialize, Serialize};

/// A copy in a record: instance, state, incarnation.
type CopyLine = (u64, u8, u64);

/// A record of the authority.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct RecordLine {
    stamp: (u64, u64),
    term: u64,
    cfg: u64,
    master: Option<u64>,
    copies: Vec<CopyLine>,
}

/// To the replica.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum ToReplica {
    /// First of all: what connections are made with.
    Start { secret: String },
    /// Where the master is; without an address the connection ends. Answered.
    Meet { master: Option<String> },
    /// A decision of the authority.
    Record(RecordLine),
    /// Check all rows; each client's acknowledged rows are given.
    Verify { end: u64, acknowledged: Vec<u64> },
    /// Say when this copy has all before a position: received, readable, on its disk.
    Follow { end: u64 },
    /// Tell what this copy has when it shows all before a position.
    Sum { end: u64 },
    /// Commit so many rows from a key on, a transaction each, as soon as that can be.
    Write { key: u64, count: u64 },
}

/// From the replica.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum FromReplica {
    /// It runs, and listens; the second address answers round trips, the third swallows bulk.
    Ready { address: String, echo: String, sink: String, incarnation: u64 },
    /// The connection may be made, or has ended.
    Met,
    /// Its master asks the authority.
    Request { term: u64, cfg: u64, copy: CopyLine },
    /// How far a fenced copy is.
    Report { terms: (u64, u64), last: u64, instance: u64, incarnation: u64, healthy: bool },
    /// The rows are those that they should be: how many, the end of the log and its chain.
    Verified(Contents),
    /// It has what it was to follow to.
    Followed(Followed),
    /// What it has.
    Sums(Sums),
    /// The rows are acknowledged; where the log ends.
    Wrote { end: u64 },
    /// It cannot go on.
    Failed { what: String },
}

/// What a copy has, at the end of its log.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Contents {
    pub(super) rows: u64,
    pub(super) end: u64,
    pub(super) chain: u64,
}

/// How long a copy took, from the order on, and what came on the connection that there is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Followed {
    pub(super) received_s: f64,
    pub(super) shown_s: f64,
    pub(super) bytes: u64,
}

/// What a copy has, and a sum over keys and versions of its rows, each of which is whole.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Sums {
    pub(super) contents: Contents,
    pub(super) digest: u64,
}

fn to_number(state: CopyState) -> u8 {
    match state {
        CopyState::Offline => 0,
        CopyState::Async => 1,
        CopyState::Ready => 2,
        CopyState::Sync => 3,
    }
}

fn to_copy((instance, state, incarnation): CopyLine) -> (Instance, CopyRecord) {
    let state = match state {
        3 => CopyState::Sync,
        2 => CopyState::Ready,
        1 => CopyState::Async,
        _ => CopyState::Offline,
    };
    (Instance(instance), CopyRecord { state, incarnation: Incarnation(incarnation) })
}

fn from_copy(instance: Instance, copy: CopyRecord) -> CopyLine {
    (instance.0, to_number(copy.state), copy.incarnation.0)
}

impl From<&Decided> for RecordLine {
    fn from(decided: &Decided) -> Self {
        let Decided { stamp, record } = decided;
        Self {
            stamp: (stamp.term, stamp.index),
            term: record.term.0,
            cfg: record.cfg.0,
            master: record.master.map(|master| master.0),
            copies: record.copies.iter().map(|(at, copy)| from_copy(*at, *copy)).collect(),
        }
    }
}

impl From<RecordLine> for Decided {
    fn from(line: RecordLine) -> Self {
        let stamp = Stamp { term: line.stamp.0, index: line.stamp.1 };
        let record = Record {
            term: Term(line.term),
            cfg: Cfg(line.cfg),
            master: line.master.map(Instance),
            copies: line.copies.into_iter().map(to_copy).collect(),
            // Its copies are configured alike.
            mode: None,
        };
        Self { stamp, record }
    }
}

impl From<Request> for FromReplica {
    fn from(request: Request) -> Self {
        let copy = from_copy(request.instance, request.to);
        Self::Request { term: request.term.0, cfg: request.cfg.0, copy }
    }
}

impl From<Report> for FromReplica {
    fn from(report: Report) -> Self {
        Self::Report {
            terms: (report.promised.0, report.last_term.0),
            last: report.last.0,
            instance: report.instance.0,
            incarnation: report.incarnation.0,
            healthy: report.healthy,
        }
    }
}

/// The request of a line.
pub(super) fn request(term: u64, cfg: u64, copy: CopyLine) -> Request {
    let (instance, to) = to_copy(copy);
    Request { term: Term(term), cfg: Cfg(cfg), instance, to }
}

/// The report of a line.
pub(super) fn report(
    terms: (u64, u64),
    last: u64,
    (instance, incarnation): (u64, u64),
    healthy: bool,
) -> Report {
    Report {
        promised: Term(terms.0),
        last_term: Term(terms.1),
        last: Lsn(last),
        instance: Instance(instance),
        incarnation: Incarnation(incarnation),
        healthy,
    }
}

//! What nodes say to each other about the cluster, and its bytes. Beside it flow the messages of consensus and
//! of copies, which have their own.
//!
//! ```text
//!   master aggregator            leaf                        any node            master aggregator
//!     │ Beat ────────────────────►│                            │ Call (statement) ──────►│
//!     │◄──────────────── Answer ──│                            │◄──────────────── Return │
//!     │ AskReport, Order ────────►│
//!     │◄─ Reported, Requested,    │
//!     │   Drained                 │
//! ```
//!
//! All may be lost, and are said again by whoever still needs them. A call that is said twice is carried out twice:
//! each operation finds done what is done.

use std::time::Duration;

use resprout_replication::{Decided, ImageProgress, Mode as Replication, Record, Report, Request};

use crate::manager::{Answer, Lock, Message, Phase};
use crate::metadata::bytes::{CodecError, Cursor, Field, fields, variants};
use crate::metadata::codec::{decode, encode};
use crate::metadata::{Command, Outcome, Role};
use crate::plan::{Asked, Copied, One};
use crate::reconcile::{CopyName, Doing, HeldCopy};
use crate::survey::Survey;
use crate::{Address, Group, Instance, LeafId, NodeId, Ordinal};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A heartbeat.
    Beat,
    /// Its answer.
    Answered {
        /// How far the node is, and what it has.
        answer: Answer,
    },
    /// A fenced copy shall report.
    AskReport {
        /// Which.
        copy: CopyName,
        /// What it is fenced by.
        decided: Decided,
    },
    /// A copy's report.
    Reported {
        /// Which.
        copy: CopyName,
        /// How far it is.
        report: Report,
    },
    /// A master asks for a change of its record.
    Requested {
        /// Which copy asks.
        copy: CopyName,
        /// For what.
        request: Request,
    },
    /// Part of a plan.
    Order {
        /// The office that orders it: void if a later one is known.
        office: u64,
        /// Of which database.
        database: u32,
        /// What.
        order: Order,
    },
    /// A locked partition stands still, and the copy that shall be master has everything.
    Drained {
        /// The office that asked.
        office: u64,
        /// The lock's number.
        lock: u64,
    },
    /// Something is to be done by the master aggregator.
    Call {
        /// Names it among the calls of the caller's run.
        number: u64,
        /// What.
        operation: Operation,
    },
    /// What became of a call.
    Return {
        /// Which.
        number: u64,
        /// Done, or why not.
        result: Returned,
    },
}

/// What a leaf is to do for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// No writes to a partition from now on; everything to the copy that shall be master. Lapses if it is not said again.
    Lock {
        /// Which, and for whom.
        lock: Lock,
    },
    /// Writes go on.
    Unlock {
        /// The partition.
        ordinal: Ordinal,
    },
    /// The files of a copy that left the record are removed.
    Remove {
        /// Of which partition.
        ordinal: Ordinal,
        /// Which copy.
        instance: Instance,
        /// The metadata that whoever orders it has seen, as the newest command in them.
        known: u64,
    },
}

/// What only the master aggregator does; each is carried out as often as it is asked, with the same end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A command of the metadata, as it is.
    Propose {
        /// Which.
        command: Command,
    },
    /// CREATE DATABASE, until its partitions serve.
    CreateDatabase {
        /// Its name.
        name: String,
        /// How many partitions; as many as usual if not said.
        partitions: Option<u32>,
        /// Commits wait for replicas; as usual if not said.
        sync: Option<bool>,
        /// Commits wait for disks.
        durable: bool,
    },
    /// A change of a database's tables.
    Define {
        /// Of which database.
        database: String,
        /// What, as bytes for others.
        definition: Vec<u8>,
    },
    /// A plan is made and carried out, until it is over.
    Plan {
        /// What is asked for.
        asked: Asked,
        /// Transactions that hold up a promotion for too long are ended.
        kill: bool,
        /// All leaves must be online.
        ensure_online: bool,
    },
    /// The plan of a database ends as soon as it can.
    CancelPlan {
        /// Which database.
        database: String,
    },
    /// The steps that a plan would have, or those of the one that runs, or ran last.
    ShowPlan {
        /// Which database.
        database: String,
        /// The plan that would be made; else the one that runs.
        asked: Option<Asked>,
    },
    /// ADD LEAF.
    AddLeaf {
        /// Where it listens for clients.
        address: Address,
        /// INTO GROUP.
        group: Option<Group>,
    },
    /// ADD AGGREGATOR.
    AddAggregator {
        /// Where it listens for clients.
        address: Address,
        /// Its part in consensus.
        role: Role,
    },
    /// PROMOTE AGGREGATOR … TO MASTER, while aggregators elect nobody.
    PromoteAggregator {
        /// Which shall be it.
        address: Address,
    },
    /// REMOVE LEAF, REMOVE AGGREGATOR.
    RemoveNode {
        /// Which.
        address: Address,
        /// Although it still has copies.
        force: bool,
    },
    /// DETACH LEAF, once others serve what it has.
    DetachLeaf {
        /// Which.
        address: Address,
    },
    /// ATTACH LEAF.
    AttachLeaf {
        /// Which.
        address: Address,
        /// With copies that nobody knows.
        force: bool,
        /// Masters go back to it then.
        rebalance: bool,
    },
    /// SET GLOBAL of a variable of the cluster.
    SetVariable {
        /// Its name.
        name: String,
        /// What it is from now on; none for its default.
        value: Option<String>,
    },
    /// CLEAR ORPHAN DATABASES.
    ClearOrphans,
    /// Something is done with an orphan, or beside it.
    Orphan {
        /// Of which database.
        database: String,
        /// Of which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
        /// What.
        what: OrphanAct,
    },
    /// What the node knows of itself. Any node answers, not the master aggregator alone.
    Survey,
    /// Whether the node is there. Any node answers.
    Ping,
}

/// What is done with an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanAct {
    /// ATTACH PARTITION: it becomes a copy of its partition.
    Attach,
    /// DROP PARTITION: its files go, if its partition has a master.
    Drop,
    /// CREATE PARTITION: its partition begins anew, empty, beside it.
    Create {
        /// Although orphans of the partition are known.
        force: bool,
    },
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// It was carried out.
    Done {
        /// The metadata in which it is, at the earliest.
        index: u64,
        /// What the last command answered.
        outcome: Outcome,
    },
    /// It was not, or not whole.
    Failed {
        /// For people: what, and what to do.
        text: String,
    },
    /// What was to be shown.
    Steps {
        /// In the order of the plan.
        steps: Vec<ShownStep>,
    },
    /// It was not; what a client is told.
    Told {
        /// MySQL's number of the error.
        code: u16,
        /// Its text.
        text: String,
    },
    /// The node that was asked is not the master aggregator, and did nothing.
    NotMaster,
    /// What a node knows of itself.
    Surveyed {
        /// That.
        survey: Survey,
    },
}

/// A step of a plan, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownStep {
    /// What is done.
    pub action: String,
    /// With which partition.
    pub ordinal: u32,
    /// The leaf that it is about.
    pub target: Address,
    /// When it runs.
    pub phase: u64,
    /// How it stands, in a plan that was begun.
    pub status: Option<String>,
    /// How long it has run, in milliseconds; none before it began.
    pub running_ms: Option<u64>,
    /// What it will take, in milliseconds, if that is known.
    pub remaining_ms: Option<u64>,
    /// Of a copy, how much of it there is, if that is known.
    pub copied: Option<Copied>,
    /// What it waits for.
    pub waiting_for: Option<String>,
}

fields! {
    ShownStep { action, ordinal, target, phase, status, running_ms, remaining_ms, copied, waiting_for }
    Copied { bytes, total_bytes, rate }
    CopyName { database, ordinal, instance }
    HeldCopy { incarnation, doing, knows, promised, last_term, last, clean, unapplied_bytes, image }
    ImageProgress { lsn, bytes, done_bytes }
    Answer { incarnation, phase, held, fulfilled, looked }
    Lock { number, ordinal, to, kill }
    Decided { stamp, record }
    Record { term, cfg, master, copies, mode }
    Report { promised, last_term, last, instance, incarnation, healthy }
}

variants!(Replication { 1 => Received, 2 => Durable, 3 => Local });
variants!(Phase { 1 => Recovering, 2 => Ready, 3 => Failed });
variants!(Order {
    1 => Lock { lock },
    2 => Unlock { ordinal },
    3 => Remove { ordinal, instance, known },
});
variants!(Operation {
    1 => Propose { command },
    2 => CreateDatabase { name, partitions, sync, durable },
    3 => AddLeaf { address, group },
    4 => AddAggregator { address, role },
    5 => RemoveNode { address, force },
    6 => AttachLeaf { address, force, rebalance },
    7 => Define { database, definition },
    8 => Plan { asked, kill, ensure_online },
    9 => CancelPlan { database },
    10 => ShowPlan { database, asked },
    11 => SetVariable { name, value },
    12 => DetachLeaf { address },
    13 => Survey,
    14 => Ping,
    15 => ClearOrphans,
    16 => Orphan { database, ordinal, leaf, what },
    17 => PromoteAggregator { address },
});
variants!(OrphanAct { 1 => Attach, 2 => Drop, 3 => Create { force } });
variants!(Asked {
    1 => Rebalance { database, full, force },
    2 => Restore { database },
    3 => Free { database, leaves, detach },
    4 => One { database, ordinal, leaf, one },
    5 => HandOver { database, leaf },
});
variants!(One {
    1 => Copy, 2 => Promote, 3 => PromoteWithDrop, 4 => Drop, 5 => Attach { instance }, 6 => Detach, 7 => Create,
});
variants!(Returned {
    1 => Done { index, outcome },
    2 => Failed { text },
    3 => NotMaster,
    4 => Told { code, text },
    5 => Steps { steps },
    6 => Surveyed { survey },
});
variants!(Control {
    1 => Beat,
    2 => Answered { answer },
    3 => AskReport { copy, decided },
    4 => Reported { copy, report },
    5 => Requested { copy, request },
    6 => Order { office, database, order },
    7 => Drained { office, lock },
    8 => Call { number, operation },
    9 => Return { number, result },
});

impl Field for Doing {
    fn put(&self, out: &mut Vec<u8>) {
        let (tag, term) = match self {
            Self::Recovering => (1, None),
            Self::Pending => (2, None),
            Self::Fenced => (3, None),
            Self::Provisioning => (4, None),
            Self::Following => (5, None),
            Self::Transitioning(term) => (6, Some(term)),
            Self::Online(term) => (7, Some(term)),
            Self::Unrecoverable => (8, None),
        };
        out.push(tag);
        if let Some(term) = term {
            term.put(out);
        }
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(match u8::take(from)? {
            1 => Self::Recovering,
            2 => Self::Pending,
            3 => Self::Fenced,
            4 => Self::Provisioning,
            5 => Self::Following,
            6 => Self::Transitioning(Field::take(from)?),
            7 => Self::Online(Field::take(from)?),
            8 => Self::Unrecoverable,
            found => {
                return Err(CodecError::Value { what: "what a copy does", found: found.into() });
            }
        })
    }
}

/// As it travels.
impl From<Message> for Control {
    fn from(message: Message) -> Self {
        match message {
            Message::Beat => Self::Beat,
            Message::AskReport { copy, decided } => Self::AskReport { copy, decided },
            Message::Lock { office, database, lock } => {
                Self::Order { office, database, order: Order::Lock { lock } }
            }
            Message::Unlock { office, database, ordinal } => {
                Self::Order { office, database, order: Order::Unlock { ordinal } }
            }
            Message::Remove { office, copy, known } => {
                let CopyName { database, ordinal, instance } = copy;
                let order = Order::Remove { ordinal, instance, known };
                Self::Order { office, database, order }
            }
        }
    }
}

impl Control {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From bytes, whoever sent them: they take no more memory than a small multiple of their length.
    ///
    /// # Errors
    /// [`CodecError`] if they are not whole, of another version, or not what is written.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes)
    }
}

/// How long a call waits for its return before it is said again, perhaps to another node.
pub const CALL_AGAIN: Duration = Duration::from_secs(2);

/// Whom a call is for: the aggregator that has the office, as far as is known.
#[must_use]
pub fn callee(metadata: &crate::metadata::Metadata) -> Option<NodeId> {
    metadata.office().holder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::{CopyReport, FollowerReport, RecoveryReport};
    use crate::{Incarnation, LeafId, Stamp, Term};
    use resprout_wal::Lsn;

    fn step() -> ShownStep {
        ShownStep {
            action: "PROMOTE PARTITION".to_owned(),
            ordinal: 3,
            target: Address { host: "h".to_owned(), port: 3306 },
            phase: 5,
            status: Some("running".to_owned()),
            running_ms: Some(7),
            remaining_ms: None,
            copied: Some(Copied { bytes: 1, total_bytes: 2, rate: 3 }),
            waiting_for: Some("pages".to_owned()),
        }
    }

    fn samples() -> Vec<Control> {
        let copy = CopyName { database: 3, ordinal: Ordinal(7), instance: Instance(9) };
        let held = HeldCopy {
            incarnation: Incarnation(4),
            doing: Doing::Online(Term(5)),
            knows: Stamp { term: 1, index: 2 },
            promised: Term(5),
            last_term: Term(5),
            last: Lsn(4096),
            clean: true,
            unapplied_bytes: 3,
            image: Some(ImageProgress { lsn: Lsn(64), bytes: 9, done_bytes: 2 }),
        };
        let answer = Answer {
            incarnation: Incarnation(2),
            phase: Phase::Ready,
            held: [(copy, held)].into(),
            fulfilled: 77,
            looked: 78,
        };
        let report = CopyReport {
            stored: "d_7_9".to_owned(),
            doing: Doing::Following,
            recovery: RecoveryReport { left_ms: Some(5), ..RecoveryReport::default() },
            followers: vec![FollowerReport { is_connected: true, ..FollowerReport::default() }],
            ..CopyReport::default()
        };
        let survey = Survey { applied: 4, copies: [(copy, report)].into() };
        let address = Address { host: "h".to_owned(), port: 3306 };
        let operation = Operation::AddLeaf { address, group: Some(Group::Two) };
        let lock = Lock { number: 1, ordinal: Ordinal(7), to: LeafId(2), kill: true };
        let remove = Order::Remove { ordinal: Ordinal(7), instance: Instance(3), known: 44 };
        vec![
            Control::Beat,
            Control::Answered { answer },
            Control::Order { office: 5, database: 3, order: Order::Lock { lock } },
            Control::Order { office: 5, database: 3, order: remove },
            Control::Drained { office: 5, lock: 1 },
            Control::Call { number: 8, operation },
            Control::Call {
                number: 9,
                operation: Operation::Define { database: "d".to_owned(), definition: vec![1, 2] },
            },
            Control::Call {
                number: 10,
                operation: Operation::Plan {
                    asked: Asked::One {
                        database: "d".to_owned(),
                        ordinal: Ordinal(3),
                        leaf: LeafId(2),
                        one: One::Promote,
                    },
                    kill: true,
                    ensure_online: false,
                },
            },
            Control::Return { number: 8, result: Returned::NotMaster },
            Control::Return { number: 10, result: Returned::Steps { steps: vec![step()] } },
            Control::Return { number: 11, result: Returned::Surveyed { survey } },
            Control::Return {
                number: 9,
                result: Returned::Told { code: 1050, text: "it is there".to_owned() },
            },
        ]
    }

    /// Promise: what is sent is what is heard; what is cut, too long or changed is an error or another message,
    /// and never a panic.
    #[test]
    fn messages_go_there_and_back() {
        for sample in samples() {
            let bytes = sample.encode();
            assert_eq!(Control::decode(&bytes).as_ref(), Ok(&sample));
            for len in 0..bytes.len() {
                assert!(Control::decode(&bytes[..len]).is_err(), "{sample:?} cut at {len}");
            }
            for at in 0..bytes.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut other = bytes.clone();
                    other[at] ^= flip;
                    assert_ne!(Control::decode(&other).as_ref(), Ok(&sample), "byte {at}");
                }
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Control::decode(&longer), Err(CodecError::Trailing(1)));
        }
    }
}

//! Copies that leaves have and no record names: listed, removed, and made copies of their partitions again.
//!
//! ```text
//!   CLEAR ORPHAN DATABASES           master aggregator                          leaf
//!     │ Call(ClearOrphans) ─────────────►│ Call(Survey) ────────────────────────►│ what it has
//!     │                                  │ those that are safe: Order(Remove) ──►│ removed, if the metadata here
//!     │                                  │ …until the leaf does not have them    │ say so too
//!     │◄─────────────────────────── done ┘
//! ```
//!
//! What is safe is looked at anew in each round, by what leaves say then, so it can be said again at any time, on
//! another master aggregator too.

use std::collections::BTreeSet;
use std::time::Duration;

use resprout_cluster::control::{Control, Order, OrphanAct, Returned};
use resprout_cluster::metadata::{Command, Left, Metadata, Outcome};
use resprout_cluster::plan::{
    Asked, Keep, One, Origin, Orphan, OrphanRow, OutOfReach, Verdict, clear_orphans, left_behind,
    masters, orphan_rows, orphans, out_of_reach, safe_orphans,
};
use resprout_cluster::survey::Survey;
use resprout_cluster::{Database, LeafId, NodeId, Ordinal, Partition};
use resprout_engine::table::{DateTime, Value};
use resprout_sql::error::Code;
use resprout_sql::place::Shown;
use tokio::time::{Instant, sleep};

use crate::directory::Directory;
use crate::operations::{Operations, failed};
use crate::statements::{number, text};
use crate::survey::{Surveys, ask_all};

/// Between two rounds of removing.
const ROUND: Duration = Duration::from_millis(100);
/// What leaves have not removed by then they may still remove; whoever asked is told.
const REMOVING: Duration = Duration::from_secs(45);

fn answered(surveys: &Surveys) -> impl Iterator<Item = (NodeId, &Survey)> {
    surveys.iter().filter_map(|(node, said)| Some((*node, said.as_ref()?)))
}

/// All orphans that leaves say they have, each with why it stays, if it does; and copies that nobody can look at.
#[derive(Debug)]
pub(crate) struct Listed(Vec<(Orphan, Option<Keep>)>, Vec<OutOfReach>);

/// Why what is on a leaf that was removed is no business of CLEAR ORPHAN DATABASES.
const OUT_OF_REACH: &str = "its leaf was removed from the cluster by force: nobody can look at it";

impl Listed {
    pub(crate) fn of(metadata: &Metadata, surveys: &Surveys) -> Self {
        let found = orphans(metadata, answered(surveys));
        let databases = metadata.databases().values().map(|entry| entry.map.clone());
        let (leaves, databases) = (metadata.leaves(), databases.collect::<Vec<Database>>());
        let masters = masters(metadata, answered(surveys));
        let verdicts = clear_orphans(&leaves, &databases, &masters, &found);
        let verdicts = verdicts.into_iter().map(|one| (one.orphan.clone(), one.keep)).collect();
        Self(verdicts, out_of_reach(metadata, answered(surveys)))
    }

    /// What is said of the one of that name on that leaf, if it is one.
    pub(crate) fn details(
        &self,
        node: NodeId,
        name: resprout_cluster::reconcile::CopyName,
    ) -> Option<String> {
        let is_it =
            |(orphan, _): &&(Orphan, _)| orphan.leaf == LeafId::from(node) && orphan.name() == name;
        let (orphan, keep) = self.0.iter().find(is_it)?;
        let made = match &orphan.origin {
            Some(origin) => format!("made by {}, {}", origin.operation, time(origin.at_ms)),
            None => "made by: unknown".to_owned(),
        };
        let safe = match keep {
            None => "safe to drop: yes".to_owned(),
            Some(keep) => format!("safe to drop: no, {keep}"),
        };
        Some(format!("{made}; {} bytes; {safe}", orphan.bytes))
    }

    fn verdicts(&self) -> Vec<Verdict<'_>> {
        self.0.iter().map(|(orphan, keep)| Verdict { orphan, keep: *keep }).collect()
    }

    /// `MV_ORPHANS`.
    pub(crate) fn rows(&self, metadata: &Metadata) -> Vec<Vec<Value>> {
        let rows = self.0.iter().filter_map(|(orphan, keep)| row(metadata, orphan, *keep));
        rows.chain(self.1.iter().map(|one| row_out_of_reach(metadata, one))).collect()
    }

    /// The one on a leaf of a partition that has most.
    fn of_partition(&self, database: &str, ordinal: Ordinal, leaf: LeafId) -> Option<&Orphan> {
        let all = self.0.iter().map(|(orphan, _)| orphan).filter(|orphan| {
            (orphan.leaf, orphan.ordinal) == (leaf, ordinal) && orphan.database == database
        });
        all.max_by_key(|orphan| orphan.reach())
    }
}

/// A moment to the second, for people.
fn time(at_ms: u64) -> String {
    let micros = i64::try_from((at_ms / 1000).saturating_mul(1_000_000)).ok();
    let time = micros.and_then(DateTime::from_micros);
    time.map_or_else(|| "at an unknown time".to_owned(), |time| format!("{time} UTC"))
}

fn row(metadata: &Metadata, orphan: &Orphan, keep: Option<Keep>) -> Option<Vec<Value>> {
    let node = metadata.nodes().get(&orphan.leaf.into())?;
    let entry = metadata.database_of(orphan.number);
    let mut row = vec![
        number(orphan.leaf.0),
        text(&node.address.host),
        number(node.address.port),
        text(&orphan.database),
        number(orphan.ordinal.0),
        number(orphan.instance.0),
        number(orphan.bytes),
    ];
    row.extend(origin(orphan.origin.as_ref()));
    row.extend(master(metadata, entry.and_then(|entry| entry.map.partition(orphan.ordinal))));
    row.push(number(u64::from(keep.is_none())));
    row.push(keep.map_or(Value::Null, |keep| text(keep.to_string())));
    Some(row)
}

fn row_out_of_reach(metadata: &Metadata, one: &OutOfReach) -> Vec<Value> {
    let OutOfReach { database, left, address } = one;
    let mut row = vec![
        number(left.leaf.0),
        text(&address.host),
        number(address.port),
        text(database),
        number(left.ordinal.0),
        number(left.instance.0),
        Value::Null,
    ];
    row.extend(origin(Some(&Origin::from(left))));
    row.extend(master(metadata, metadata.partition(database, left.ordinal)));
    row.extend([number(0_u64), text(OUT_OF_REACH)]);
    row
}

/// What made an orphan, and when.
fn origin(origin: Option<&Origin>) -> [Value; 2] {
    let micros = origin.and_then(|origin| i64::try_from(origin.at_ms.saturating_mul(1000)).ok());
    [
        origin.map_or(Value::Null, |origin| text(&origin.operation)),
        micros.and_then(DateTime::from_micros).map_or(Value::Null, Value::DateTime),
    ]
}

/// Where the master of a partition listens that serves.
fn master(metadata: &Metadata, partition: Option<&Partition>) -> [Value; 2] {
    let master = partition.and_then(Partition::serving);
    let master = master.and_then(|leaf| metadata.nodes().get(&leaf.into()));
    [
        master.map_or(Value::Null, |node| text(&node.address.host)),
        master.map_or(Value::Null, |node| number(node.address.port)),
    ]
}

impl Directory {
    /// EXPLAIN CLEAR ORPHAN DATABASES.
    pub(crate) async fn explained_orphans(&self) -> Shown {
        let metadata = self.metadata.read().clone();
        let surveys = ask_all(&self.calls, &metadata).await;
        let listed = Listed::of(&metadata, &surveys);
        let rows = orphan_rows(&metadata.leaves(), safe_orphans(&listed.verdicts()));
        let row = |row: OrphanRow| vec![text(row.host), number(row.port), text(row.database)];
        Shown { rows: rows.into_iter().map(row).collect(), ..Shown::new(&OrphanRow::COLUMNS) }
    }
}

/// What a client is told.
fn told(code: Code, text: impl Into<String>) -> Returned {
    Returned::Told { code: code.0, text: text.into() }
}

impl Operations {
    async fn listed(&self) -> (Metadata, Surveys, Listed) {
        let metadata = self.metadata.read().clone();
        let surveys = ask_all(&self.calls, &metadata).await;
        let listed = Listed::of(&metadata, &surveys);
        (metadata, surveys, listed)
    }

    /// Has the leaves remove those orphans that are wanted, as long as they are, until they do not have them.
    async fn remove_orphans(
        &self,
        office: u64,
        is_wanted: impl Fn(&Orphan, Option<Keep>) -> bool,
    ) -> Result<Outcome, Returned> {
        let end = Instant::now() + REMOVING;
        loop {
            let (metadata, _, listed) = self.listed().await;
            let left = listed.0.iter().filter(|(orphan, keep)| is_wanted(orphan, *keep));
            let left: Vec<_> = left.map(|(orphan, _)| orphan).collect();
            if left.is_empty() {
                return Ok(Outcome::Done);
            }
            if metadata.office().holder != Some(self.node) {
                return Err(Returned::NotMaster);
            }
            if Instant::now() >= end {
                let leaves: BTreeSet<_> = left.iter().map(|orphan| orphan.leaf).collect();
                let leaves =
                    leaves.into_iter().filter_map(|leaf| metadata.nodes().get(&leaf.into()));
                let leaves: Vec<_> = leaves.map(|node| node.address.to_string()).collect();
                let (count, leaves) = (left.len(), leaves.join(", "));
                return Err(failed(format!(
                    "{count} orphans are not removed yet, on {leaves}; see the log there, and say it again"
                )));
            }
            for orphan in left {
                let (ordinal, instance) = (orphan.ordinal, orphan.instance);
                let order = Order::Remove { ordinal, instance, known: metadata.applied() };
                let control = Control::Order { office, database: orphan.number, order };
                self.calls.post().send(orphan.leaf.into(), control);
            }
            sleep(ROUND).await;
        }
    }

    /// CLEAR ORPHAN DATABASES.
    pub(crate) async fn clear_orphans(&self, office: u64) -> Result<Outcome, Returned> {
        self.remove_orphans(office, |_, keep| keep.is_none()).await
    }

    /// What is done with the orphan of a partition on a leaf.
    pub(crate) async fn act_on_orphan(
        &self,
        office: u64,
        (database, ordinal, leaf): (&str, Ordinal, LeafId),
        what: OrphanAct,
    ) -> Result<Outcome, Returned> {
        let (metadata, surveys, listed) = self.listed().await;
        let entry = metadata.databases().get(database);
        let entry =
            entry.ok_or_else(|| told(Code::BAD_DB, format!("Unknown database '{database}'")))?;
        if entry.map.partition(ordinal).is_none() {
            let why = format!("database '{database}' has no partition {ordinal}");
            return Err(told(Code::WRONG_ARGUMENTS, why));
        }
        if what == OrphanAct::Drop && !metadata.nodes().contains_key(&leaf.into()) {
            return self.forget(office, &listed, (database, ordinal, leaf)).await;
        }
        let address = metadata.nodes().get(&leaf.into()).map(|node| node.address.to_string());
        let address = address.unwrap_or_default();
        let one = |one| Asked::One { database: database.to_owned(), ordinal, leaf, one };
        if let OrphanAct::Create { force } = what {
            self.check_alone(&metadata, &listed, (database, ordinal), force)?;
            return self.carry_out_plan(&one(One::Create), (false, false)).await;
        }
        if surveys.get(&leaf.into()).is_none_or(Option::is_none) {
            let why = format!("Unable to connect to leaf {address}: it does not answer");
            return Err(told(Code::LEAF_CONNECT, why));
        }
        let orphan = listed.of_partition(database, ordinal, leaf).ok_or_else(|| {
            let why = format!("Leaf {address} has no orphan of partition {database}:{ordinal}");
            told(Code::WRONG_ARGUMENTS, why)
        })?;
        if let OrphanAct::Drop = what {
            if entry.map.partition(ordinal).and_then(Partition::serving).is_none() {
                let why = format!(
                    "Leaf {address} may have the last instance of partition {database}:{ordinal}: it has no master"
                );
                return Err(told(Code::PARTITION_SAFETY, why));
            }
            let name = orphan.name();
            return self
                .remove_orphans(office, |other, _| other.leaf == leaf && other.name() == name)
                .await;
        }
        // Metadata that are older than what a leaf knows decide nothing for it (rule 20).
        if orphan.term >= entry.map.next_term_of(ordinal) {
            let why = format!(
                "the copy of {database}:{ordinal} on {address} knows term {}, which the metadata never gave out: they are stale",
                orphan.term
            );
            return Err(failed(why));
        }
        let instance = orphan.instance;
        self.carry_out_plan(&one(One::Attach { instance }), (false, false)).await
    }

    /// What a leaf has that was removed is listed no more.
    async fn forget(
        &self,
        office: u64,
        listed: &Listed,
        (database, ordinal, leaf): (&str, Ordinal, LeafId),
    ) -> Result<Outcome, Returned> {
        let is_it = |one: &&OutOfReach| {
            one.database == database && (one.left.ordinal, one.left.leaf) == (ordinal, leaf)
        };
        let copies = listed.1.iter().filter(is_it).map(|one| one.left.instance).collect();
        self.command(office, Command::ForgetLeft { database: database.to_owned(), copies }).await
    }

    /// CREATE PARTITION is the end of what orphans have.
    fn check_alone(
        &self,
        metadata: &Metadata,
        listed: &Listed,
        (database, ordinal): (&str, Ordinal),
        force: bool,
    ) -> Result<(), Returned> {
        if force {
            return Ok(());
        }
        let mut listed = listed.0.iter().map(|(orphan, _)| orphan);
        let there = listed.find(|orphan| orphan.database == database && orphan.ordinal == ordinal);
        let behind = left_behind(metadata, database, ordinal);
        let leaf = there.map(|orphan| orphan.leaf).or(behind.first().map(|left: &Left| left.leaf));
        let Some(leaf) = leaf else { return Ok(()) };
        let node = metadata.nodes().get(&leaf.into()).map(|node| &node.address);
        let address = node.or_else(|| metadata.removed().get(&leaf.into()));
        let at = address.map_or_else(String::new, ToString::to_string);
        let why = format!(
            "Leaf {at} may have the last instance of partition {database}:{ordinal}: ATTACH PARTITION makes it a copy again; with FORCE its rows are given up"
        );
        Err(told(Code::PARTITION_SAFETY, why))
    }
}

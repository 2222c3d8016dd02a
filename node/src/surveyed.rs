//! Rows of what nodes said of their copies, beside what the metadata say of them. Columns of views stand in
//! `sql/src/execute/views/copies.rs`.

use std::collections::BTreeMap;

use resprout_cluster::metadata::{DatabaseEntry, Metadata, Node};
use resprout_cluster::reconcile::{CopyName, Doing};
use resprout_cluster::survey::{CopyReport, FollowerReport};
use resprout_cluster::{Copy, NodeId, Partition};
use resprout_engine::table::Value;
use resprout_sql::error::{Code, SqlError};
use resprout_sql::place::{ClusterView, Listed, Shown};
use resprout_wal::Lsn;

use crate::orphans::Listed as Orphans;
use crate::statements::{number, text};
use crate::survey::Surveys;

type Rows = Vec<Vec<Value>>;

/// Columns of SHOW CLUSTER STATUS, which are those of the view.
const CLUSTER_STATUS: [&str; 17] = [
    "NODE_ID",
    "HOST",
    "PORT",
    "DATABASE_NAME",
    "ROLE",
    "STATE",
    "POSITION",
    "MASTER_HOST",
    "MASTER_PORT",
    "METADATA_MASTER_NODE_ID",
    "METADATA_MASTER_HOST",
    "METADATA_MASTER_PORT",
    "METADATA_ROLE",
    "DETAILS",
    "COMMITTED_POSITION",
    "HARDENED_POSITION",
    "REPLAY_POSITION",
];

/// What the metadata are called where databases are listed.
const METADATA: &str = "cluster";

/// A copy on a leaf: recorded, there, or both.
struct Local<'a> {
    node: (NodeId, &'a Node),
    name: CopyName,
    entry: Option<&'a DatabaseEntry>,
    /// The record, if this copy is in it on this leaf.
    recorded: Option<(&'a Partition, &'a Copy)>,
    /// What the leaf says, if it has it.
    said: Option<&'a CopyReport>,
    /// Whether the leaf said anything.
    has_answered: bool,
}

/// All copies of all leaves, by leaf, database and partition.
fn locals<'a>(metadata: &'a Metadata, surveys: &'a Surveys) -> Vec<Local<'a>> {
    let mut all = Vec::new();
    for (id, node) in metadata.nodes().iter().filter(|(_, node)| node.is_leaf()) {
        let survey = surveys.get(id).and_then(Option::as_ref);
        let mut copies = BTreeMap::new();
        for (entry, partition, copy) in metadata.copies_on(*id) {
            let (database, ordinal, instance) = (entry.number, partition.ordinal, copy.instance);
            let name = CopyName { database, ordinal, instance };
            copies.insert(name, (Some(entry), Some((partition, copy)), None));
        }
        for (name, said) in survey.iter().flat_map(|survey| &survey.copies) {
            let unrecorded = (metadata.database_of(name.database), None, None);
            copies.entry(*name).or_insert(unrecorded).2 = Some(said);
        }
        all.extend(copies.into_iter().map(|(name, (entry, recorded, said))| Local {
            node: (*id, node),
            name,
            entry,
            recorded,
            said,
            has_answered: survey.is_some(),
        }));
    }
    all
}

impl Local<'_> {
    /// The database's name; of one that was dropped, as the leaf has it.
    fn database(&self) -> String {
        match (self.entry, self.said) {
            (Some(entry), _) => entry.map.name.clone(),
            (None, Some(said)) => said.database().to_owned(),
            (None, None) => String::new(),
        }
    }

    /// Whether it is a copy of reference tables.
    fn is_reference(&self) -> bool {
        self.entry.is_some_and(|entry| entry.map.is_reference(self.name.ordinal))
    }

    /// The partition's name, as people know it: that of reference tables has the database's.
    fn partition(&self) -> String {
        if self.is_reference() {
            return self.database();
        }
        format!("{}_{}", self.database(), self.name.ordinal)
    }

    fn is_recorded_master(&self) -> bool {
        self.recorded.is_some_and(|(partition, _)| partition.master == Some(self.node.0.into()))
    }

    fn recorded_role(&self) -> Option<&'static str> {
        self.recorded?;
        Some(match self.is_recorded_master() {
            _ if self.is_reference() => "Reference",
            true => "Master",
            false => "Replica",
        })
    }

    /// Whether it waits until its leaf is attached, or for nothing any more: what it was told before does not count.
    fn is_waiting(&self) -> bool {
        let is_away = self.recorded.is_none_or(|(_, copy)| copy.offline);
        let doing = self.said.map(|said| said.doing);
        is_away && matches!(doing, Some(Doing::Fenced | Doing::Pending))
    }

    /// What it is there. Until somebody tells it what to be, a copy is nobody's replica.
    fn role(&self) -> Option<&'static str> {
        let said = self.said?;
        let recorded = self.recorded_role();
        Some(match said.doing {
            _ if recorded.is_none() => "Orphan",
            _ if self.is_reference() => "Reference",
            _ if self.is_waiting() => "Master",
            Doing::Online(_) | Doing::Transitioning(_) | Doing::Pending | Doing::Recovering => {
                "Master"
            }
            Doing::Following | Doing::Provisioning | Doing::Fenced => "Replica",
            Doing::Unrecoverable => recorded.unwrap_or("Orphan"),
        })
    }

    fn state(&self) -> &'static str {
        match self.said.map(|said| said.doing) {
            None => "offline",
            Some(_) if self.is_waiting() => "pending",
            Some(Doing::Recovering) => "recovering",
            Some(Doing::Pending) => "pending",
            Some(Doing::Fenced | Doing::Transitioning(_)) => "transition",
            Some(Doing::Provisioning) => "provisioning",
            Some(Doing::Following) => "replicating",
            Some(Doing::Online(_)) => "online",
            Some(Doing::Unrecoverable) => "unrecoverable",
        }
    }

    fn details(&self) -> String {
        match self.said {
            None if !self.has_answered => "the node does not answer".to_owned(),
            None => "the node does not have it".to_owned(),
            Some(CopyReport { error: Some(error), .. }) => error.clone(),
            Some(CopyReport { doing: Doing::Recovering, recovery, .. }) => {
                let left =
                    recovery.left_ms.map_or("unknown".to_owned(), |left| format!("{left} ms"));
                let percent = percent(recovery.done, recovery.total);
                format!("{} {percent:.0}%, time left {left}", recovery.phase)
            }
            Some(_) => String::new(),
        }
    }

    /// A position of it, if it is there.
    fn position(&self, of: impl Fn(&CopyReport) -> Lsn) -> Value {
        self.said.map_or(Value::Null, |said| text(of(said).to_string()))
    }

    /// Where it is, as a link names it.
    fn uri(&self) -> Value {
        let address = &self.node.1.address;
        text(format!("{}:{}/{}", address.host, address.port, self.partition()))
    }
}

/// What can be read.
fn replayed(said: &CopyReport) -> Lsn {
    Lsn(said.end.0.saturating_sub(said.unapplied_bytes))
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn percent(done: u64, total: u64) -> f64 {
    if total == 0 { 100.0 } else { (done as f64 / total as f64).min(1.0) * 100.0 }
}

/// A copy that follows, with its master and what that says of it.
struct Link<'a> {
    master: &'a Local<'a>,
    replica: &'a Local<'a>,
    said: &'a FollowerReport,
}

/// Who follows whom, as masters that answer see it.
fn links<'a>(all: &'a [Local<'a>]) -> Vec<Link<'a>> {
    let named: BTreeMap<CopyName, &Local<'_>> = all.iter().map(|one| (one.name, one)).collect();
    let mut links = Vec::new();
    for master in all {
        for said in master.said.iter().flat_map(|said| &said.followers) {
            let name = CopyName { instance: said.instance, ..master.name };
            if let Some(replica) = named.get(&name) {
                links.push(Link { master, replica, said });
            }
        }
    }
    links
}

fn node_columns((id, node): (NodeId, &Node)) -> [Value; 3] {
    [number(id.0), text(&node.address.host), number(node.address.port)]
}

/// `MV_CLUSTER_STATUS`: a row for each copy of each leaf, and one for the metadata of each node.
fn cluster_status(metadata: &Metadata, surveys: &Surveys) -> Rows {
    let (all, orphans) = (locals(metadata, surveys), Orphans::of(metadata, surveys));
    let connected = links(&all).into_iter().filter(|link| link.said.is_connected);
    let masters: BTreeMap<CopyName, &Node> =
        connected.map(|link| (link.replica.name, link.master.node.1)).collect();
    let mut rows: Rows =
        metadata.nodes().iter().map(|one| metadata_row(metadata, surveys, one)).collect();
    for local in &all {
        let real = masters.get(&local.name);
        let follows = local.recorded.filter(|_| !local.is_recorded_master());
        let wanted = follows.and_then(|(partition, _)| partition.master);
        let wanted = wanted.and_then(|leaf| metadata.nodes().get_key_value(&leaf.into()));
        let mut row: Vec<Value> = node_columns(local.node).into();
        row.extend([
            text(local.partition()),
            local.role().map_or(Value::Null, text),
            text(local.state()),
            local.position(|said| said.end),
            real.map_or(Value::Null, |node| text(&node.address.host)),
            real.map_or(Value::Null, |node| number(node.address.port)),
        ]);
        row.extend(wanted.map_or([Value::Null, Value::Null, Value::Null], |(id, node)| {
            node_columns((*id, node))
        }));
        row.extend([
            local.recorded_role().map_or(Value::Null, text),
            text(details_of(local, &orphans)),
            local.position(|said| said.committed),
            local.position(|said| said.durable),
            local.position(replayed),
        ]);
        rows.push(row);
    }
    rows.sort_by_key(|row| match row[0] {
        Value::UInt(node) => node,
        _ => u64::MAX,
    });
    rows
}

/// What is said of a copy, and of an orphan where it comes from and whether it may go.
fn details_of(local: &Local<'_>, orphans: &Orphans) -> String {
    let details = local.details();
    match orphans.details(local.node.0, local.name) {
        Some(orphan) if details.is_empty() => orphan,
        Some(orphan) => format!("{orphan}; {details}"),
        None => details,
    }
}

/// The metadata are a log that every node follows; its positions are commands.
fn metadata_row(
    metadata: &Metadata,
    surveys: &Surveys,
    (id, node): (&NodeId, &Node),
) -> Vec<Value> {
    let applied =
        surveys.get(id).and_then(Option::as_ref).map(|survey| Lsn(survey.applied).to_string());
    let holder = metadata.office().holder;
    let is_master = holder == Some(*id);
    let (role, state) = match (&applied, is_master) {
        (None, true) => ("Master", "offline"),
        (None, false) => ("Replica", "offline"),
        (Some(_), true) => ("Master", "online"),
        (Some(_), false) => ("Replica", "replicating"),
    };
    let master = holder.filter(|_| !is_master);
    let master = master.and_then(|holder| metadata.nodes().get_key_value(&holder));
    let details = if applied.is_none() { "the node does not answer" } else { "" };
    let position = applied.map_or(Value::Null, text);
    let real = master.filter(|_| !position.is_null()).map(|(_, node)| &node.address);
    let mut row: Vec<Value> = node_columns((*id, node)).into();
    row.extend([
        text(METADATA),
        text(role),
        text(state),
        position.clone(),
        real.map_or(Value::Null, |address| text(&address.host)),
        real.map_or(Value::Null, |address| number(address.port)),
    ]);
    row.extend(
        master.map_or([Value::Null, Value::Null, Value::Null], |(id, node)| {
            node_columns((*id, node))
        }),
    );
    row.extend([text(role), text(details), position.clone(), position.clone(), position]);
    row
}

/// `DISTRIBUTED_PARTITIONS_ON_LEAVES`: what leaves have, whether or not it is recorded.
fn on_leaves(all: &[Local<'_>]) -> Rows {
    let spread = all.iter().filter(|local| !local.is_reference());
    let there = spread.filter_map(|local| Some((local, local.said?)));
    let row = |(local, said): (&Local<'_>, &CopyReport)| {
        let [node, host, port] = node_columns(local.node);
        let is_master = matches!(said.doing, Doing::Online(_) | Doing::Transitioning(_));
        vec![
            text(local.database()),
            number(local.name.ordinal.0),
            host,
            port,
            node,
            local.role().map_or(Value::Null, text),
            text(local.state()),
            text(said.end.to_string()),
            number(if is_master { said.term.0 } else { 0 }),
            number(local.name.instance.0),
            local.recorded_role().map_or(Value::Null, text),
        ]
    };
    there.map(row).collect()
}

/// `MV_REPLICATION_STATUS`: a row for each replica of a master that answers.
fn replication(all: &[Local<'_>]) -> Rows {
    let row = |link: &Link<'_>| {
        let lag = link.said.lag_bytes;
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let mib = lag as f64 / f64::from(1 << 20);
        vec![
            number(0_u64),
            number(u64::from(link.said.is_waited_for)),
            text(link.master.partition()),
            link.master.uri(),
            link.replica.uri(),
            text(link.master.state()),
            text(link.replica.state()),
            number(lag),
            Value::Double((mib * 1e3).round() / 1e3),
            // Not measured.
            Value::Null,
            if lag == 0 { Value::Double(0.0) } else { Value::Null },
        ]
    };
    links(all).iter().map(row).collect()
}

/// SHOW REPLICATION STATUS: the same links; of a synchronous database only those that commits wait for.
fn replication_status(all: &[Local<'_>]) -> Shown {
    let mut shown = Shown::new(&[
        "Role",
        "Database",
        "Master_URI",
        "Master_State",
        "Master_CommitLSN",
        "Master_HardenedLSN",
        "Master_ReplayLSN",
        "Master_TailLSN",
        "Master_Commits",
        "Connected",
        "Slave_URI",
        "Slave_State",
        "Slave_CommitLSN",
        "Slave_HardenedLSN",
        "Slave_ReplayLSN",
        "Slave_TailLSN",
        "Slave_Commits",
    ]);
    let side = |local: &Local<'_>| {
        [
            local.uri(),
            text(local.state()),
            local.position(|said| said.committed),
            local.position(|said| said.durable),
            local.position(replayed),
            local.position(|said| said.end),
            // Not counted.
            Value::Null,
        ]
    };
    for link in links(all) {
        let is_sync =
            link.master.is_reference() || link.master.entry.is_some_and(|entry| entry.map.sync);
        if is_sync && !link.said.is_waited_for {
            continue;
        }
        let mut row = vec![text("master"), text(link.master.partition())];
        row.extend(side(link.master));
        row.push(text(if link.said.is_connected { "yes" } else { "no" }));
        row.extend(side(link.replica));
        shown.rows.push(row);
    }
    shown
}

/// `MV_DISTRIBUTED_DATABASES_STATUS`: copies of each database by what they do.
fn databases_status(metadata: &Metadata, all: &[Local<'_>]) -> Rows {
    let row = |entry: &DatabaseEntry| {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let is_of = |local: &&Local<'_>| {
            let is_here = local.name.database == entry.number && local.recorded.is_some();
            is_here && !local.is_reference()
        };
        for local in all.iter().filter(is_of) {
            *counts.entry(local.state()).or_default() += 1;
        }
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        let is_other = |partition: &Partition| {
            let mut replicas =
                partition.copies.iter().filter(|(leaf, _)| partition.master != Some(**leaf));
            replicas.any(|(_, copy)| {
                let is_sync = copy.following == resprout_cluster::Following::Sync;
                is_sync != entry.map.sync
            })
        };
        let partitions = &entry.map.partitions;
        let is_whole = |partition: &Partition| {
            let there = partition.copies.values().filter(|copy| !copy.offline).count() as u64;
            there >= u64::from(entry.redundancy) && !is_other(partition)
        };
        let summary = if entry.map.all().any(|partition| partition.serving().is_none()) {
            "offline"
        } else if partitions.iter().all(is_whole) {
            "healthy"
        } else {
            "degraded"
        };
        vec![
            text(&entry.map.name),
            number(partitions.len() as u64),
            text(summary),
            number(count("online")),
            number(count("replicating")),
            // Pages that come from the master are a recovery too.
            number(count("recovering") + count("provisioning")),
            number(count("pending")),
            number(count("transition")),
            number(count("unrecoverable")),
            number(count("offline")),
            number(u64::from(partitions.iter().any(is_other))),
        ]
    };
    metadata.databases().values().map(row).collect()
}

/// `MV_RECOVERY_STATUS` of a cluster: how far each copy has come back, with the leaf that has it.
fn recovery(all: &[Local<'_>]) -> Rows {
    #[expect(clippy::cast_precision_loss, reason = "times for people")]
    let seconds = |ms: u64| Value::Double(ms as f64 / 1e3);
    let row = |local: &Local<'_>| {
        let mut row =
            vec![text(local.database()), number(local.name.ordinal.0), text(local.state())];
        let Some(said) = local.said else {
            row.extend(vec![Value::Null; 12]);
            row.push(text(local.details()));
            row.extend(node_columns(local.node));
            return row;
        };
        let known = &said.recovery;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = known.rate as f64;
        row.extend([
            text(&known.phase),
            Value::Double(percent(known.done, known.total)),
            number(known.done),
            number(known.total),
            Value::Double(rate),
            known.left_ms.map_or(Value::Null, seconds),
            seconds(known.stalled_ms),
            number(said.committed.0),
            number(said.durable.0),
            number(said.end.0),
            number(said.term.0),
            seconds(known.predicted_ms),
            said.error.as_ref().map_or(Value::Null, text),
        ]);
        row.extend(node_columns(local.node));
        row
    };
    all.iter().map(row).collect()
}

/// Whether a listing is of what nodes say.
pub(crate) fn is_surveyed(listed: &Listed) -> bool {
    matches!(
        listed,
        Listed::ClusterStatus
            | Listed::ReplicationStatus
            | Listed::View(
                ClusterView::ClusterStatus
                    | ClusterView::ReplicationStatus
                    | ClusterView::DatabasesStatus
                    | ClusterView::RecoveryStatus
                    | ClusterView::PartitionsOnLeaves
                    | ClusterView::Orphans
            )
    )
}

/// Such a listing. Of others it has no rows.
pub(crate) fn surveyed(metadata: &Metadata, surveys: &Surveys, listed: &Listed) -> Shown {
    let all = locals(metadata, surveys);
    let rows = match listed {
        Listed::ReplicationStatus => return replication_status(&all),
        Listed::ClusterStatus => {
            let rows = cluster_status(metadata, surveys);
            return Shown { rows, ..Shown::new(&CLUSTER_STATUS) };
        }
        Listed::View(ClusterView::ClusterStatus) => cluster_status(metadata, surveys),
        Listed::View(ClusterView::ReplicationStatus) => replication(&all),
        Listed::View(ClusterView::DatabasesStatus) => databases_status(metadata, &all),
        Listed::View(ClusterView::RecoveryStatus) => recovery(&all),
        Listed::View(ClusterView::PartitionsOnLeaves) => on_leaves(&all),
        Listed::View(ClusterView::Orphans) => Orphans::of(metadata, surveys).rows(metadata),
        _ => Rows::new(),
    };
    Shown { names: Vec::new(), rows }
}

/// SHOW DATABASE STATUS on an aggregator, which has a database as the metadata have it.
///
/// # Errors
/// 1049.
pub(crate) fn database_status(
    metadata: &Metadata,
    own: NodeId,
    database: &str,
) -> Result<Shown, SqlError> {
    let unknown = || SqlError::new(Code::BAD_DB, format!("Unknown database '{database}'"));
    let entry = metadata.databases().get(database).ok_or_else(unknown)?;
    let is_master = metadata.office().holder == Some(own);
    let position = Lsn(metadata.applied()).to_string();
    let newest = entry.map.partitions.iter().map(|partition| partition.term.0).max().unwrap_or(0);
    let lines = [
        ("Role", if is_master { "master" } else { "async replica" }.to_owned()),
        ("State", if is_master { "online" } else { "replicating" }.to_owned()),
        ("Partitions", entry.map.partitions.len().to_string()),
        ("Log type", if entry.durable { "sync durability" } else { "async durability" }.to_owned()),
        ("Replication", if entry.map.sync { "sync" } else { "async" }.to_owned()),
        ("Commit position", position.clone()),
        ("Hardened position", position.clone()),
        ("Replay position", position.clone()),
        ("Tail position", position),
        ("Term", newest.to_string()),
    ];
    let rows = lines.into_iter().map(|(key, value)| vec![text(key), text(value)]).collect();
    Ok(Shown { rows, ..Shown::new(&["Key", "Value"]) })
}

/// SHOW DATABASES EXTENDED on an aggregator: the metadata, and the databases as they are in these.
pub(crate) fn databases_extended(metadata: &Metadata, own: NodeId) -> Shown {
    let mut shown = Shown::new(&[
        "Database",
        "Commits",
        "Role",
        "State",
        "Position",
        "Details",
        "AsyncSlaves",
        "SyncSlaves",
        "ConsensusSlaves",
        "CommittedPosition",
        "HardenedPosition",
        "ReplayPosition",
        "Term",
        "Memory (MBs)",
    ]);
    let is_master = metadata.office().holder == Some(own);
    let (role, state) =
        if is_master { ("master", "online") } else { ("async replica", "replicating") };
    let position = text(Lsn(metadata.applied()).to_string());
    let mut push = |name: &str, (role, state): (&str, &str), slaves: [u64; 3], term: u64| {
        let mut row = vec![text(name), Value::Null, text(role), text(state)];
        row.extend([position.clone(), text("")]);
        row.extend(slaves.map(number));
        row.extend([position.clone(), position.clone(), position.clone(), number(term)]);
        row.push(number(0_u64));
        shown.rows.push(row);
    };
    let voters = metadata.nodes().keys().filter(|node| metadata.votes(**node)).count() as u64;
    let others = metadata.nodes().len() as u64 - voters;
    let of_metadata = if is_master { [others, 0, voters.saturating_sub(1)] } else { [0; 3] };
    push(METADATA, (role, state), of_metadata, metadata.office().number);
    push("information_schema", ("master", "online"), [0; 3], 0);
    for entry in metadata.databases().values() {
        let mut slaves = [0; 3];
        for partition in &entry.map.partitions {
            for (leaf, copy) in &partition.copies {
                if partition.master != Some(*leaf) && !copy.offline {
                    let is_sync = copy.following == resprout_cluster::Following::Sync;
                    slaves[usize::from(is_sync)] += 1;
                }
            }
        }
        push(&entry.map.name, (role, state), slaves, 0);
    }
    shown
}

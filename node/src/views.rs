//! Rows of the views of a cluster, from the metadata. Their columns stand in `sql/src/execute/views/cluster.rs`.

use resprout_cluster::metadata::{Event, Happened, Kind, Metadata};
use resprout_cluster::{Copy, Following, LeafId, Partition};
use resprout_engine::table::{DateTime, Value};

use crate::statements::{number, text};

type Rows = Vec<Vec<Value>>;

/// `DISTRIBUTED_DATABASES`.
pub(crate) fn databases(metadata: &Metadata) -> Rows {
    let cluster = format!("{:032x}", metadata.cluster());
    let row = |entry: &resprout_cluster::metadata::DatabaseEntry| {
        vec![
            number(entry.number),
            text(&entry.map.name),
            number(entry.map.partitions.len() as u64),
            number(entry.map.partitions.len() as u64),
            text(&cluster),
            Value::Null,
            number(u64::from(entry.map.sync)),
            number(u64::from(entry.durable)),
        ]
    };
    metadata.databases().values().map(row).collect()
}

/// `DISTRIBUTED_PARTITIONS`: a row for each copy, and one without a copy where there is none. With redundancy 1 a copy whose
/// leaf is gone counts as none.
pub(crate) fn partitions(metadata: &Metadata) -> Rows {
    let mut rows = Rows::new();
    for entry in metadata.databases().values() {
        for partition in &entry.map.partitions {
            let before = rows.len();
            for (leaf, copy) in &partition.copies {
                let Some(node) = metadata.nodes().get(&(*leaf).into()) else { continue };
                if copy.offline && entry.redundancy == 1 {
                    continue;
                }
                let is_master = partition.master == Some(*leaf);
                rows.push(vec![
                    text(&entry.map.name),
                    number(partition.ordinal.0),
                    text(&node.address.host),
                    number(node.address.port),
                    text(if is_master { "Master" } else { "Replica" }),
                    number(0_u64),
                    number(leaf.0),
                    number(u64::from(copy.offline)),
                    number(u64::from(entry.map.sync)),
                    text(state(entry.map.sync, partition, *leaf, copy)),
                    number(if is_master { partition.term.0 } else { 0 }),
                    number(copy.instance.0),
                ]);
            }
            if rows.len() == before {
                let mut row = vec![Value::Null; 12];
                row[0] = text(&entry.map.name);
                row[1] = number(partition.ordinal.0);
                row[5] = number(0_u64);
                rows.push(row);
            }
        }
    }
    rows
}

/// How a copy follows; of a master nothing, but `async` where nobody follows otherwise.
fn state(is_sync: bool, of: &Partition, leaf: LeafId, copy: &Copy) -> &'static str {
    match copy.following {
        _ if of.master == Some(leaf) && is_sync => "",
        _ if of.master == Some(leaf) => "async",
        Following::Async => "async",
        Following::Ready => "ready",
        Following::Sync => "sync",
    }
}

/// `MV_EVENTS`, oldest first.
pub(crate) fn events(metadata: &Metadata) -> Rows {
    metadata.events().iter().map(|event| row_of(metadata, event)).collect()
}

fn row_of(metadata: &Metadata, event: &Event) -> Vec<Value> {
    let is_leaf = event.node.and_then(|node| metadata.nodes().get(&node)).map(|node| node.kind);
    let is_leaf = is_leaf.is_none_or(|kind| matches!(kind, Kind::Leaf { .. }));
    let (severity, what, details) = described(&event.happened, is_leaf);
    let micros = i64::try_from(event.at_ms.saturating_mul(1000)).ok();
    let time = micros.and_then(DateTime::from_micros);
    vec![
        event.node.map_or(Value::Null, |node| number(node.0)),
        time.map_or(Value::Null, Value::DateTime),
        text(severity),
        text(what),
        text(details),
    ]
}

/// A text in JSON.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Severity, type and details in JSON.
fn described(happened: &Happened, is_leaf: bool) -> (&'static str, &'static str, String) {
    let of = |database: &str, ordinal: resprout_cluster::Ordinal, more: String| {
        format!("{{\"database\": {}, \"partition\": {}{more}}}", quoted(database), ordinal.0)
    };
    let none = || "{}".to_owned();
    match happened {
        Happened::NodeAdded if is_leaf => ("NOTICE", "LEAF_ADD", none()),
        Happened::NodeAdded => ("NOTICE", "AGGREGATOR_ADD", none()),
        Happened::NodeRemoved { copies_lost } => {
            let severity = if *copies_lost > 0 { "WARNING" } else { "NOTICE" };
            (severity, "NODE_REMOVE", format!("{{\"copies_lost\": {copies_lost}}}"))
        }
        Happened::NodeState { state } => match state.as_str() {
            "online" => ("NOTICE", "NODE_ONLINE", none()),
            "offline" => ("WARNING", "NODE_OFFLINE", none()),
            "attaching" => ("NOTICE", "NODE_ATTACHING", none()),
            "detached" => ("NOTICE", "NODE_DETACHED", none()),
            "recovering" => ("NOTICE", "NODE_STARTING", none()),
            other => ("ERROR", "NODE_STATE", format!("{{\"state\": {}}}", quoted(other))),
        },
        Happened::Office => ("NOTICE", "NOTIFY_AGGREGATOR_PROMOTED", none()),
        Happened::Fenced { database, ordinal, term } => {
            ("NOTICE", "PARTITION_FENCED", of(database, *ordinal, format!(", \"term\": {term}")))
        }
        Happened::Elected { database, ordinal, term, leaf, may_have_lost, forced, .. } => {
            let severity = if *may_have_lost || *forced { "WARNING" } else { "NOTICE" };
            let more = format!(
                ", \"term\": {term}, \"node\": {}, \"may_have_lost\": {may_have_lost}, \"forced\": {forced}",
                leaf.0
            );
            (severity, "PARTITION_PROMOTED", of(database, *ordinal, more))
        }
        Happened::NobodyEligible { database, ordinal } => {
            ("ERROR", "PARTITION_WITHOUT_MASTER", of(database, *ordinal, String::new()))
        }
        Happened::MetadataStale { database, ordinal, instance, term } => {
            let more = format!(", \"instance\": {}, \"term\": {term}", instance.0);
            ("ERROR", "METADATA_STALE", of(database, *ordinal, more))
        }
        Happened::Conflict { databases } => {
            let names: Vec<_> = databases.iter().map(|name| quoted(name)).collect();
            let details = format!("{{\"databases\": [{}]}}", names.join(", "));
            ("ERROR", "ATTACH_CONFLICT", details)
        }
        Happened::Replication { database, sync } => {
            let replication = if *sync { "sync" } else { "async" };
            let details = format!(
                "{{\"database\": {}, \"replication\": \"{replication}\"}}",
                quoted(database)
            );
            ("NOTICE", "DATABASE_REPLICATION_CHANGED", details)
        }
        Happened::Rebalanced => {
            ("NOTICE", "REBALANCE_FINISHED", "{\"automatic\": true}".to_owned())
        }
        Happened::Orphaned { database, ordinal, instance } => {
            let more = format!(", \"instance\": {}", instance.0);
            ("WARNING", "COPY_ORPHANED", of(database, *ordinal, more))
        }
        Happened::Attached { database, ordinal, instance } => {
            let more = format!(", \"instance\": {}", instance.0);
            ("NOTICE", "COPY_ATTACHED", of(database, *ordinal, more))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_cluster::Ordinal;

    /// Promise: names that need it are escaped in the details of events.
    #[test]
    fn details_are_json() {
        let database = "a\"b\\c\n".to_owned();
        let happened = Happened::NobodyEligible { database, ordinal: Ordinal(3) };
        let (severity, what, details) = described(&happened, true);
        assert_eq!((severity, what), ("ERROR", "PARTITION_WITHOUT_MASTER"));
        assert_eq!(details, r#"{"database": "a\"b\\c\u000a", "partition": 3}"#);
    }
}

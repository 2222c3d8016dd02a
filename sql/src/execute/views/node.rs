//! Views of the node: its recovery, its sessions, and what this server is.

use resprout_engine::table::Value;

use super::{View, empty, number, text};
use crate::accounts::Privileges;
use crate::execute::show::{self, without_passwords};
use crate::place::{ClusterView, Databases};

const WORD: &str = "varchar(64)";
const COUNT: &str = "bigint unsigned";

/// How far each partition has come back: of this node, or in a cluster of all leaves, which are named then.
pub(super) const MV_RECOVERY_STATUS: View = View {
    name: "MV_RECOVERY_STATUS",
    columns: &[
        ("DATABASE_NAME", WORD),
        ("ORDINAL", COUNT),
        ("STATE", WORD),
        ("PHASE", WORD),
        ("PERCENT", "double"),
        ("DONE_BYTES", COUNT),
        ("TOTAL_BYTES", COUNT),
        ("BYTES_PER_SECOND", "double"),
        ("SECONDS_LEFT", "double"),
        ("SECONDS_STALLED", "double"),
        ("COMMITTED_LSN", COUNT),
        ("DURABLE_LSN", COUNT),
        ("END_LSN", COUNT),
        ("TERM", COUNT),
        ("PREDICTED_RECOVERY_SECONDS", "double"),
        ("ERROR", "text"),
        ("NODE_ID", COUNT),
        ("HOST", "varchar(512)"),
        ("PORT", COUNT),
    ],
    rows: |views| {
        if let Databases::Far(_) = views.databases {
            let mut rows = views.databases.view(ClusterView::RecoveryStatus)?;
            rows.retain(|row| match &row[0] {
                Value::Text(name) => views.access.sees_database(name),
                _ => false,
            });
            return Ok(rows);
        }
        let partitions = views.engine.status().partitions;
        let seen = partitions.iter().filter(|one| views.access.sees_database(&one.database));
        let row = |one: &resprout_engine::PartitionStatus| {
            let progress = &one.progress;
            vec![
                text(&*one.database),
                number(one.ordinal.into()),
                text(one.state.to_string()),
                text(progress.phase.to_string()),
                Value::Double(progress.fraction() * 100.0),
                number(progress.done),
                number(progress.total),
                Value::Double(progress.rate),
                progress.eta.map_or(Value::Null, |eta| Value::Double(eta.as_secs_f64())),
                Value::Double(progress.stalled.as_secs_f64()),
                number(one.committed.0),
                number(one.durable.0),
                number(one.end.0),
                number(one.term.0),
                Value::Double(one.predicted_recovery.as_secs_f64()),
                one.error.as_deref().map_or(Value::Null, text),
                Value::Null,
                Value::Null,
                Value::Null,
            ]
        };
        Ok(seen.map(row).collect())
    },
};

pub(super) const PROCESSLIST: View = View {
    name: "PROCESSLIST",
    columns: &[
        ("ID", COUNT),
        ("USER", WORD),
        ("HOST", WORD),
        ("DB", WORD),
        ("COMMAND", "varchar(16)"),
        ("TIME", "int"),
        ("STATE", WORD),
        ("INFO", "longtext"),
    ],
    rows: |views| {
        let sees_all = views.access.has(Privileges::PROCESS);
        let all = views.connections.list().into_iter();
        let seen = all.filter(|info| sees_all || info.user == views.user);
        let row = |info: crate::server::ConnectionInfo| {
            let statement = info.statement.map(|bytes| text(without_passwords(&bytes)));
            vec![
                number(info.number.into()),
                text(info.user),
                text(info.host),
                info.database.map_or(Value::Null, text),
                text(info.command),
                Value::Int(i64::try_from(info.time.as_secs()).unwrap_or(i64::MAX)),
                text(if statement.is_some() { "executing" } else { "" }),
                statement.unwrap_or(Value::Null),
            ]
        };
        Ok(seen.map(row).collect())
    },
};

pub(super) const ENGINES: View = View {
    name: "ENGINES",
    columns: &[
        ("ENGINE", WORD),
        ("SUPPORT", "varchar(8)"),
        ("COMMENT", "varchar(160)"),
        ("TRANSACTIONS", "varchar(3)"),
        ("XA", "varchar(3)"),
        ("SAVEPOINTS", "varchar(3)"),
    ],
    rows: |_| Ok(show::engines().into_rows()),
};

pub(super) const PLUGINS: View = View {
    name: "PLUGINS",
    columns: &[
        ("PLUGIN_NAME", WORD),
        ("PLUGIN_STATUS", WORD),
        ("PLUGIN_TYPE", WORD),
        ("PLUGIN_LIBRARY", WORD),
        ("PLUGIN_LICENSE", WORD),
    ],
    rows: |_| Ok(show::plugins().into_rows()),
};

pub(super) const CHARACTER_SETS: View = View {
    name: "CHARACTER_SETS",
    columns: &[
        ("CHARACTER_SET_NAME", WORD),
        ("DEFAULT_COLLATE_NAME", WORD),
        ("DESCRIPTION", WORD),
        ("MAXLEN", COUNT),
    ],
    rows: |_| {
        // SHOW has description and collation the other way round.
        let mut rows = show::character_sets().into_rows();
        rows.iter_mut().for_each(|row| row.swap(1, 2));
        Ok(rows)
    },
};

pub(super) const COLLATIONS: View = View {
    name: "COLLATIONS",
    columns: &[
        ("COLLATION_NAME", WORD),
        ("CHARACTER_SET_NAME", WORD),
        ("ID", COUNT),
        ("IS_DEFAULT", "varchar(3)"),
        ("IS_COMPILED", "varchar(3)"),
        ("SORTLEN", COUNT),
    ],
    rows: |_| Ok(show::collations().into_rows()),
};

/// What this server never has.
macro_rules! empty_views {
    ($($view:ident: $($column:literal)*;)*) => { $(
        pub(super) const $view: View = View {
            name: stringify!($view),
            columns: &[$(($column, "longtext")),*],
            rows: empty,
        };
    )* };
}

empty_views! {
    EVENTS: "EVENT_CATALOG" "EVENT_SCHEMA" "EVENT_NAME" "DEFINER" "TIME_ZONE" "EVENT_BODY"
        "EVENT_DEFINITION" "EVENT_TYPE";
    PARAMETERS: "SPECIFIC_CATALOG" "SPECIFIC_SCHEMA" "SPECIFIC_NAME" "ORDINAL_POSITION"
        "PARAMETER_MODE" "PARAMETER_NAME" "DATA_TYPE";
    ROUTINES: "SPECIFIC_NAME" "ROUTINE_CATALOG" "ROUTINE_SCHEMA" "ROUTINE_NAME" "ROUTINE_TYPE"
        "DATA_TYPE";
    TRIGGERS: "TRIGGER_CATALOG" "TRIGGER_SCHEMA" "TRIGGER_NAME" "EVENT_MANIPULATION"
        "EVENT_OBJECT_CATALOG" "EVENT_OBJECT_SCHEMA" "EVENT_OBJECT_TABLE";
}

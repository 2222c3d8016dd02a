//! The variables that there are, by name.

use super::Effect::{Holds, HoldsGlobally, Nothing, ReadOnly, Stays};
use super::Form::{self, Number, Switch, Text, Words};
use super::Initial::{self, Configured};
use super::Reach::{Both, Cluster, Global, Session};
use super::{Effect, Reach, Variable};

const fn variable(
    name: &'static str,
    reach: Reach,
    form: Form,
    initial: Initial,
    (effect, about): (Effect, &'static str),
) -> Variable {
    Variable { name, reach, form, initial, effect, about }
}

const YEAR_S: u64 = 365 * 86_400;
const UTF8: Initial = Initial::Text("utf8mb4");
const COLLATION: Initial = Initial::Text("utf8mb4_general_ci");
const ON: Initial = Initial::Switch(true);
const OFF: Initial = Initial::Switch(false);
const EMPTY: Initial = Initial::Text("");
const CHARSET: (Effect, &str) =
    (Stays, "texts are UTF-8 on their way; `SET NAMES` knows utf8mb4, utf8mb3, utf8 and binary");
const COLLATIONS: (Effect, &str) = (Stays, "texts of results are utf8mb4");
const LOCK_WAIT: (Effect, &str) = (Holds, "seconds that a statement waits for a row's lock (1205)");

const fn number(number: u64) -> Initial {
    Initial::Number(number)
}

/// All of them, by name.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        "aggregator_failure_detection",
        Cluster,
        Switch,
        ON,
        (Holds, "whether aggregators that do not answer are found lost"),
    ),
    variable(
        "attach_rebalance_delay_seconds",
        Cluster,
        Number(0, YEAR_S),
        number(120),
        (Holds, "seconds without a change of leaves before masters move back"),
    ),
    variable(
        "auto_attach",
        Cluster,
        Switch,
        ON,
        (Holds, "leaves that come back are taken in without a command"),
    ),
    variable(
        "auto_increment_increment",
        Both,
        Number(1, 65_535),
        number(1),
        (Stays, "numbers go up by one"),
    ),
    variable(
        "auto_increment_offset",
        Both,
        Number(1, 65_535),
        number(1),
        (Stays, "numbers begin with one"),
    ),
    variable("autocommit", Both, Switch, ON, (Holds, "each statement is a transaction")),
    variable(
        "catch_up_mib_per_second",
        Cluster,
        Number(0, 1 << 20),
        number(0),
        (
            Holds,
            "MiB that a leaf sends in a second to copies that lack much, while clients use it; 0: 10 for each of its processors",
        ),
    ),
    variable("character_set_client", Both, Text, UTF8, CHARSET),
    variable("character_set_connection", Both, Text, UTF8, CHARSET),
    variable("character_set_database", Both, Text, UTF8, CHARSET),
    variable("character_set_results", Both, Text, UTF8, CHARSET),
    variable("character_set_server", Both, Text, UTF8, CHARSET),
    variable("collation_connection", Both, Text, COLLATION, COLLATIONS),
    variable("collation_database", Both, Text, COLLATION, COLLATIONS),
    variable("collation_server", Both, Text, COLLATION, COLLATIONS),
    variable(
        "consensus_election_timeout",
        Cluster,
        Number(100, 3_600_000),
        number(10_000),
        (Holds, "milliseconds without a sign of the master aggregator before another is elected"),
    ),
    variable(
        "consensus_enabled",
        Cluster,
        Switch,
        OFF,
        (
            Holds,
            "voting members elect the master aggregator (ON in a cluster, unless it was set); OFF: one is it until PROMOTE AGGREGATOR … TO MASTER",
        ),
    ),
    variable(
        "default_partitions_per_leaf",
        Cluster,
        Number(1, 1024),
        number(8),
        (Holds, "partitions for each leaf of a database that is made without PARTITIONS"),
    ),
    variable("foreign_key_checks", Both, Switch, ON, (Nothing, "there are no foreign keys")),
    variable(
        "heartbeat_connect_failure_limit",
        Cluster,
        Number(1, 1000),
        number(3),
        (Holds, "connections refused in a row after which a node is lost"),
    ),
    variable(
        "heartbeat_interval_ms",
        Cluster,
        Number(10, 10_000),
        number(150),
        (Holds, "milliseconds between two heartbeats of the master aggregator"),
    ),
    variable(
        "heartbeat_miss_limit",
        Cluster,
        Number(1, 100_000),
        number(20),
        (Holds, "heartbeats in a row without an answer after which a node is lost"),
    ),
    variable("init_connect", Global, Text, EMPTY, (Stays, "no statement is run for new sessions")),
    variable("innodb_lock_wait_timeout", Both, Number(1, YEAR_S), Configured, LOCK_WAIT),
    variable(
        "interactive_timeout",
        Both,
        Number(1, YEAR_S),
        Configured,
        (
            Holds,
            "seconds that an interactive session may be idle: it is the `wait_timeout` that such sessions begin with",
        ),
    ),
    variable(
        "last_insert_id",
        Session,
        Number(0, u64::MAX),
        number(0),
        (Holds, "what `LAST_INSERT_ID()` answers"),
    ),
    variable(
        "leaf_failover_fanout",
        Cluster,
        Words(&["paired", "load_balanced"]),
        Initial::Text("paired"),
        (Holds, "where second copies are: on a leaf's pair, or spread over the other group"),
    ),
    variable(
        "leaf_failure_detection",
        Cluster,
        Switch,
        ON,
        (Holds, "whether leaves that do not answer are found lost"),
    ),
    variable("license", Global, Text, EMPTY, (ReadOnly, "empty")),
    variable("lock_wait_timeout", Both, Number(1, YEAR_S), Configured, LOCK_WAIT),
    variable(
        "lower_case_table_names",
        Global,
        Number(0, 2),
        number(0),
        (ReadOnly, "names of tables are as they were written"),
    ),
    variable(
        "max_allowed_packet",
        Both,
        Number(1024, 1 << 30),
        Configured,
        (HoldsGlobally, "largest packet, in bytes, of connections that begin from now on"),
    ),
    variable(
        "max_connections",
        Global,
        Number(1, 100_000),
        Configured,
        (Holds, "most sessions at once (1040); one more is kept for an administrator"),
    ),
    variable(
        "max_execution_time",
        Both,
        Number(0, u32::MAX as u64),
        number(0),
        (Holds, "milliseconds that a SELECT may take, its planning included (3024); 0: no limit"),
    ),
    variable(
        "max_user_connections",
        Global,
        Number(0, 100_000),
        number(0),
        (
            Holds,
            "most sessions at once of each account that has no limit of its own (1203); 0: no limit",
        ),
    ),
    variable(
        "maximum_memory",
        Global,
        Number(8 << 20, 1 << 60),
        Configured,
        (Holds, "most bytes of page memory: at it, writes that need more are refused"),
    ),
    variable(
        "net_read_timeout",
        Both,
        Number(1, YEAR_S),
        Configured,
        (Holds, "seconds for the rest of a packet whose beginning came"),
    ),
    variable(
        "net_write_timeout",
        Both,
        Number(1, YEAR_S),
        Configured,
        (Holds, "seconds for a client to take what it is sent"),
    ),
    variable("performance_schema", Global, Switch, OFF, (ReadOnly, "there is none")),
    variable("query_cache_size", Global, Number(0, 0), number(0), (Stays, "results are not kept")),
    variable("query_cache_type", Both, Text, EMPTY, (Stays, "results are not kept")),
    variable(
        "recovery_time_target",
        Global,
        Number(0, YEAR_S),
        Configured,
        (
            Holds,
            "a snapshot is taken when a restart is predicted to take more seconds than this; 0: never for that reason",
        ),
    ),
    variable(
        "redundancy_level",
        Cluster,
        Number(1, 2),
        number(1),
        (Holds, "copies of each partition of databases that are made from now on"),
    ),
    variable(
        "require_secure_transport",
        Global,
        Switch,
        Configured,
        (
            Holds,
            "only encrypted connections may log in (3159), from this machine too; ON is refused where TLS is not offered (3160)",
        ),
    ),
    variable(
        "snapshot_trigger_size",
        Cluster,
        Number(4096, 1 << 60),
        Configured,
        (Holds, "bytes of log since the last snapshot that cause a new one"),
    ),
    variable(
        "snapshots_to_keep",
        Cluster,
        Number(1, 1000),
        Configured,
        (Holds, "snapshots kept of each partition"),
    ),
    variable("socket", Global, Text, EMPTY, (ReadOnly, "clients connect by TCP")),
    variable("sql_auto_is_null", Both, Switch, OFF, (Nothing, "`IS NULL` means just that")),
    variable(
        "sql_mode",
        Both,
        Text,
        Initial::Text("STRICT_TRANS_TABLES"),
        (Stays, "values that do not fit are refused when written"),
    ),
    variable("sql_notes", Both, Switch, ON, (Nothing, "notes are kept like warnings")),
    variable("sql_quote_show_create", Both, Switch, ON, (Nothing, "names are quoted")),
    variable(
        "sync_replication_timeout_ms",
        Cluster,
        Number(1_100, 3_600_000),
        number(5_000),
        (
            Holds,
            "milliseconds that a master waits for a replica that says nothing; for copies that begin from now on, or with their node's next start",
        ),
    ),
    variable(
        "system_time_zone",
        Global,
        Text,
        Initial::Text("UTC"),
        (ReadOnly, "the node's clock is read as UTC"),
    ),
    variable(
        "time_zone",
        Both,
        Text,
        Initial::Text("SYSTEM"),
        (Stays, "UTC; another one is refused"),
    ),
    variable(
        "transaction_isolation",
        Both,
        Text,
        Initial::Text("READ-COMMITTED"),
        (Stays, "each statement sees what is committed when it begins"),
    ),
    variable(
        "tx_isolation",
        Both,
        Text,
        Initial::Text("READ-COMMITTED"),
        (Stays, "the old name of `transaction_isolation`"),
    ),
    variable("unique_checks", Both, Switch, ON, (Nothing, "unique keys are always checked")),
    variable(
        "version",
        Global,
        Text,
        Initial::Text(crate::session::VERSION),
        (ReadOnly, "a version that clients take for MySQL 8"),
    ),
    variable("version_comment", Global, Text, Initial::Text("Resprout"), (ReadOnly, "who answers")),
    variable(
        "wait_timeout",
        Both,
        Number(1, YEAR_S),
        Configured,
        (Holds, "seconds that a session may be idle"),
    ),
    variable(
        "warning_count",
        Session,
        Number(0, u64::MAX),
        number(0),
        (ReadOnly, "warnings of the last statement"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(VARIABLES.is_sorted_by(|one, next| one.name < next.name));
    }

    /// What is documented is what there is.
    #[test]
    fn the_page_of_variables_is_complete() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/variables.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let marker = "| variable | scope | values | SET | meaning |\n|---|---|---|---|---|\n";
        let rows: String = VARIABLES.iter().map(row).collect();
        let head = page.split(marker).next().unwrap_or_default();
        let expected = format!("{head}{marker}{rows}");
        if std::env::var_os("RESPROUT_WRITE_FIXTURES").is_some() {
            std::fs::write(path, &expected).unwrap();
        } else {
            assert_eq!(page, expected, "run with RESPROUT_WRITE_FIXTURES=1");
        }
    }

    fn row(variable: &Variable) -> String {
        let scope = match variable.reach {
            Session => "session",
            Global => "global",
            Both => "both",
            Cluster => "cluster",
        };
        let form = match variable.form {
            Switch => "ON, OFF".to_owned(),
            Number(least, most) => format!("{least} to {most}"),
            Text => "text".to_owned(),
            Words(words) => words.join(", "),
        };
        let set = match variable.effect {
            Holds => "holds",
            HoldsGlobally => "holds (GLOBAL)",
            Nothing => "changes nothing",
            Stays => "leaves a warning",
            ReadOnly => "refused (1238)",
        };
        format!("| {} | {scope} | {form} | {set} | {} |\n", variable.name, variable.about)
    }
}

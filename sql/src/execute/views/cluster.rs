//! Views of the cluster: empty on a node that stands alone, and for accounts that may not look at it. Names and orders of
//! columns are the documented ones: tools read them.

use resprout_engine::table::Value;

use super::{View, Views};
use crate::accounts::Privileges;
use crate::error::SqlError;
use crate::place::ClusterView;

pub(super) const NAME: &str = "varchar(512)";
pub(super) const WORD: &str = "varchar(64)";
pub(super) const COUNT: &str = "bigint unsigned";

/// Who looks at the cluster sees it, as for SHOW.
pub(super) fn rows(views: &Views, view: ClusterView) -> Result<Vec<Vec<Value>>, SqlError> {
    let sees = Privileges::SHOW_METADATA | Privileges::CLUSTER | Privileges::SUPER;
    if !views.access.has(sees) {
        return Ok(Vec::new());
    }
    views.databases.view(view)
}

pub(super) const AGGREGATORS: View = View {
    name: "AGGREGATORS",
    columns: &[
        ("HOST", NAME),
        ("PORT", COUNT),
        ("STATE", WORD),
        ("OPENED_CONNECTIONS", COUNT),
        ("AVERAGE_ROUNDTRIP_LATENCY", "double"),
        ("MASTER_AGGREGATOR", COUNT),
        ("ROLE", WORD),
        ("NODE_ID", COUNT),
        ("RUNTIME_STATE", WORD),
    ],
    rows: |views| rows(views, ClusterView::Aggregators),
};

pub(super) const DISTRIBUTED_DATABASES: View = View {
    name: "DISTRIBUTED_DATABASES",
    columns: &[
        ("DATABASE_ID", COUNT),
        ("DATABASE_NAME", NAME),
        ("NUM_PARTITIONS", COUNT),
        ("NUM_SUB_PARTITIONS", COUNT),
        ("CLUSTER_ID", NAME),
        ("REMOTE_NAME", NAME),
        ("IS_SYNC", COUNT),
        ("IS_SYNC_DURABILITY", COUNT),
    ],
    rows: |views| rows(views, ClusterView::Databases),
};

pub(super) const DISTRIBUTED_PARTITIONS: View = View {
    name: "DISTRIBUTED_PARTITIONS",
    columns: &[
        ("DATABASE_NAME", NAME),
        ("ORDINAL", COUNT),
        ("HOST", NAME),
        ("PORT", COUNT),
        ("ROLE", WORD),
        ("LOCKED", COUNT),
        ("NODE_ID", COUNT),
        ("IS_OFFLINE", COUNT),
        ("SYNC_DESIRED", COUNT),
        ("STATE", WORD),
        ("TERM", COUNT),
        ("INSTANCE_ID", COUNT),
    ],
    rows: |views| rows(views, ClusterView::Partitions),
};

pub(super) const LEAVES: View = View {
    name: "LEAVES",
    columns: &[
        ("HOST", NAME),
        ("PORT", COUNT),
        ("AVAILABILITY_GROUP", COUNT),
        ("PAIR_HOST", NAME),
        ("PAIR_PORT", COUNT),
        ("STATE", WORD),
        ("OPENED_CONNECTIONS", COUNT),
        ("AVERAGE_ROUNDTRIP_LATENCY", "double"),
        ("NODE_ID", COUNT),
    ],
    rows: |views| rows(views, ClusterView::Leaves),
};

pub(super) const MV_EVENTS: View = View {
    name: "MV_EVENTS",
    columns: &[
        ("ORIGIN_NODE_ID", COUNT),
        ("EVENT_TIME", "datetime(3)"),
        ("SEVERITY", WORD),
        ("EVENT_TYPE", WORD),
        ("DETAILS", "text"),
    ],
    rows: |views| rows(views, ClusterView::Events),
};

/// Beside the documented columns: how much of a copy there is, and what a step waits for.
pub(super) const MV_REBALANCE_STATUS: View = View {
    name: "MV_REBALANCE_STATUS",
    columns: &[
        ("DATABASE_NAME", NAME),
        ("ACTION", WORD),
        ("ORDINAL", COUNT),
        ("TARGET_HOST", NAME),
        ("TARGET_PORT", COUNT),
        ("PHASE", COUNT),
        ("STATUS", WORD),
        ("RUNNING_TIME", COUNT),
        ("ESTIMATED_TIME_REMAINING_MS", COUNT),
        ("COPIED_BYTES", COUNT),
        ("TOTAL_BYTES", COUNT),
        ("BYTES_PER_SECOND", COUNT),
        ("WAITING_FOR", WORD),
    ],
    rows: |views| rows(views, ClusterView::RebalanceStatus),
};

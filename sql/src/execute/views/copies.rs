//! Views of copies as the leaves have them: these are asked whenever a view is read. Empty on a node that stands alone, and
//! for accounts that may not look at the cluster.

use super::View;
use super::cluster::{COUNT, NAME, WORD, rows};
use crate::place::ClusterView;

pub(super) const DISTRIBUTED_PARTITIONS_ON_LEAVES: View = View {
    name: "DISTRIBUTED_PARTITIONS_ON_LEAVES",
    columns: &[
        ("DATABASE_NAME", NAME),
        ("ORDINAL", COUNT),
        ("HOST", NAME),
        ("PORT", COUNT),
        ("NODE_ID", COUNT),
        ("ROLE", WORD),
        ("STATE", WORD),
        ("POSITION", WORD),
        ("TERM", COUNT),
        ("INSTANCE_ID", COUNT),
        ("METADATA_ROLE", WORD),
    ],
    rows: |views| rows(views, ClusterView::PartitionsOnLeaves),
};

pub(super) const MV_CLUSTER_STATUS: View = View {
    name: "MV_CLUSTER_STATUS",
    columns: &[
        ("NODE_ID", COUNT),
        ("HOST", NAME),
        ("PORT", COUNT),
        ("DATABASE_NAME", NAME),
        ("ROLE", NAME),
        ("STATE", "varchar(256)"),
        ("POSITION", "varchar(256)"),
        ("MASTER_HOST", "varchar(256)"),
        ("MASTER_PORT", COUNT),
        ("METADATA_MASTER_NODE_ID", COUNT),
        ("METADATA_MASTER_HOST", NAME),
        ("METADATA_MASTER_PORT", COUNT),
        ("METADATA_ROLE", NAME),
        ("DETAILS", NAME),
        ("COMMITTED_POSITION", "varchar(256)"),
        ("HARDENED_POSITION", "varchar(256)"),
        ("REPLAY_POSITION", "varchar(256)"),
    ],
    rows: |views| rows(views, ClusterView::ClusterStatus),
};

pub(super) const MV_DISTRIBUTED_DATABASES_STATUS: View = View {
    name: "MV_DISTRIBUTED_DATABASES_STATUS",
    columns: &[
        ("DATABASE_NAME", NAME),
        ("NUM_PARTITIONS", COUNT),
        ("SUMMARY", WORD),
        ("ONLINE", COUNT),
        ("REPLICATING", COUNT),
        ("RECOVERING", COUNT),
        ("PENDING", COUNT),
        ("TRANSITION", COUNT),
        ("UNRECOVERABLE", COUNT),
        ("OFFLINE", COUNT),
        ("SYNC_MISMATCH", COUNT),
    ],
    rows: |views| rows(views, ClusterView::DatabasesStatus),
};

pub(super) const MV_ORPHANS: View = View {
    name: "MV_ORPHANS",
    columns: &[
        ("NODE_ID", COUNT),
        ("HOST", NAME),
        ("PORT", COUNT),
        ("DATABASE_NAME", NAME),
        ("ORDINAL", COUNT),
        ("INSTANCE_ID", COUNT),
        ("BYTES", COUNT),
        ("MADE_BY", WORD),
        ("MADE_TIME", "datetime(3)"),
        ("MASTER_HOST", NAME),
        ("MASTER_PORT", COUNT),
        ("IS_SAFE_TO_DROP", COUNT),
        ("REASON", NAME),
    ],
    rows: |views| rows(views, ClusterView::Orphans),
};

pub(super) const MV_REPLICATION_STATUS: View = View {
    name: "MV_REPLICATION_STATUS",
    columns: &[
        ("IS_DR", COUNT),
        ("IS_SYNC", COUNT),
        ("DATABASE_NAME", NAME),
        ("PRIMARY_URI", NAME),
        ("SECONDARY_URI", NAME),
        ("PRIMARY_STATE", WORD),
        ("SECONDARY_STATE", WORD),
        ("LSN_LAG", COUNT),
        ("VOLUME_LAG_MB", "double"),
        ("REPLICATION_THROUGHPUT_MBPS", "double"),
        ("ESTIMATED_CATCHUP_TIME_S", "double"),
    ],
    rows: |views| rows(views, ClusterView::ReplicationStatus),
};

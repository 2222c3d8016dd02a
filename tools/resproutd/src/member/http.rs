//! Probes, metrics and status of a node of a cluster, from before it knows one until it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use resprout_cluster::Address;
use resprout_cluster::manager::Phase;
use resprout_node::status::{CopyShown, Observer, Status};
use resprout_node::{MEMBER_FILE, Node, NodeKind, Options};
use resprout_tools::failure::Failure;
use resprout_tools::node::http::{self, Describe};
use resprout_tools::node::member::{CopyView, DatabaseView, MasterView, MemberView, ReplicaView};
use resprout_tools::node::run::{named, of_engine};
use resprout_tools::node::view::NodeView;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long open requests may delay the end.
const GRACE: Duration = Duration::from_secs(2);

/// Where the node is in its life.
enum Stage {
    /// It has no number yet, or opens what it has.
    Waiting,
    Serving(Observer),
    Stopping,
}

/// What is shown of the node.
pub(super) struct Shown {
    stage: RwLock<Stage>,
    dir: PathBuf,
    maximum_memory: u64,
    stuck_after: Duration,
}

impl Shown {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            stage: RwLock::new(Stage::Waiting),
            dir: options.data().to_owned(),
            maximum_memory: options.engine.maximum_memory,
            stuck_after: options.engine.stuck_after,
        }
    }

    /// It has started.
    pub(super) fn serves(&self, node: &Node) {
        self.enter(Stage::Serving(node.observer()));
    }

    /// It begins to stop: what it has is not looked at any more.
    pub(super) fn stops(&self) {
        self.enter(Stage::Stopping);
    }

    fn enter(&self, stage: Stage) {
        *self.stage.write().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

impl Describe for Shown {
    fn view(&self) -> NodeView {
        let serving = {
            let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
            match &*stage {
                // Once it has a number it only opens what it has.
                Stage::Waiting if self.dir.join(MEMBER_FILE).is_file() => Err("RECOVERING"),
                Stage::Waiting => Err("WAITING"),
                Stage::Stopping => Err("STOPPING"),
                Stage::Serving(observer) => Ok(observer.clone()),
            }
        };
        let mut view = match serving {
            Ok(observer) => of_observer(&observer),
            Err(state) => named(state),
        };
        view.maximum_memory_bytes = self.maximum_memory;
        view.log_stuck_after_s = self.stuck_after.as_secs_f64();
        view
    }
}

fn of_observer(observer: &Observer) -> NodeView {
    let status = observer.status();
    let state = match status.phase {
        Phase::Recovering => "RECOVERING",
        Phase::Failed => "RECOVERY_FAILED",
        Phase::Ready => "ONLINE",
    };
    let engine = observer.engine();
    let mut view = engine.map_or_else(|| named(state), |engine| of_engine(state, engine));
    for partition in &mut view.partitions {
        if let Some((database, ordinal)) = of_cluster(&partition.database) {
            (partition.database, partition.ordinal) = (database, ordinal);
        }
    }
    if status.phase == Phase::Failed {
        view.error = Some("its copies cannot be recovered; its log says why".into());
    }
    view.member = Some(member(status));
    view
}

/// Database and partition of a copy, which in the engine is a database of its own: `database_ordinal_instance`.
fn of_cluster(stored: &str) -> Option<(String, u32)> {
    let (rest, _instance) = stored.rsplit_once('_')?;
    let (database, ordinal) = rest.rsplit_once('_')?;
    Some((database.to_owned(), ordinal.parse().ok()?))
}

/// `host:port`.
fn text(address: &Address) -> String {
    format!("{}:{}", address.host, address.port)
}

fn member(status: Status) -> MemberView {
    let databases = status.databases.into_iter();
    MemberView {
        cluster: format!("{:032x}", status.cluster),
        node: status.node.0,
        role: match status.kind {
            NodeKind::Leaf => "leaf".into(),
            NodeKind::Aggregator => "aggregator".into(),
        },
        address: text(&status.address),
        run: status.run,
        state: status.state.map(|state| state.text().to_owned()),
        is_voter: status.is_voter,
        availability_group: status.group,
        master_aggregator: status
            .master
            .map(|(node, address)| MasterView { node: node.0, address: text(&address) }),
        is_master_aggregator: status.is_master,
        consensus_term: status.term,
        has_leader: status.has_leader,
        voters: status.voters,
        metadata_applied: status.applied,
        metadata_fulfilled: status.fulfilled,
        copies: status.copies.into_iter().map(copy).collect(),
        databases: databases
            .map(|database| DatabaseView {
                database: database.name,
                partitions: database.partitions,
                without_master: database.without_master,
                under_replicated: database.under_replicated,
            })
            .collect(),
    }
}

fn copy(copy: CopyShown) -> CopyView {
    let replicas = copy.replicas.iter().map(|replica| ReplicaView {
        node: replica.node.map(|node| node.0),
        instance: replica.instance,
        position_lsn: replica.position,
        lag_bytes: replica.lag_bytes,
        lag_s: replica.behind_for.as_secs_f64(),
    });
    CopyView {
        replicas: replicas.collect(),
        database: copy.database,
        ordinal: copy.ordinal,
        instance: copy.instance,
        role: copy.role.to_owned(),
        replication: copy.following.to_owned(),
        state: copy.state.to_owned(),
        term: copy.term,
        end_lsn: copy.end,
        committed_lsn: copy.committed,
        unapplied_bytes: copy.unapplied_bytes,
    }
}

/// The port.
pub(super) struct Http {
    end: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Http {
    /// Serves from now on.
    ///
    /// # Errors
    /// If the port is taken.
    pub(super) async fn open(address: SocketAddr, shown: Arc<Shown>) -> Result<Self, Failure> {
        let listener = http::bind(address).await.map_err(|error| {
            let what = format!("cannot serve HTTP on {address}");
            Failure::new(what, error, "choose another address with --http")
        })?;
        // With port 0 the system chose; whoever started the node reads it here.
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(event = "http.listening", "http on {bound}");
        let (end, ended) = oneshot::channel();
        let ended = async { drop(ended.await) };
        Ok(Self { end, task: tokio::spawn(http::serve(listener, shown, ended)) })
    }

    /// Ends; a client that keeps its connection open does not keep the node alive.
    pub(super) async fn close(self) {
        let Self { end, task } = self;
        drop(end);
        let _ = tokio::time::timeout(GRACE, task).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: copies are shown by the names of their database and partition, whatever is in the name.
    #[test]
    fn copies_have_the_names_of_the_cluster() {
        assert_eq!(of_cluster("shop_3_11"), Some(("shop".into(), 3)));
        assert_eq!(of_cluster("my_shop_1_0_2"), Some(("my_shop_1".into(), 0)));
        assert_eq!(of_cluster("shop"), None);
    }
}

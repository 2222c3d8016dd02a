//! Whether the other aggregators answer, and how fast: for people. Nothing is decided by it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use resprout_cluster::NodeId;

use crate::calls::Calls;
use crate::state::Shared;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// How the other aggregators answered last; none of one that did not. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pings(Arc<Mutex<BTreeMap<NodeId, Option<Duration>>>>);

impl fmt::Debug for Pings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pings")
    }
}

impl Pings {
    fn answers(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Option<Duration>>> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a node took to answer last, or that it did not; none if it was not asked yet.
    pub(crate) fn last(&self, node: NodeId) -> Option<Option<Duration>> {
        self.answers().get(&node).copied()
    }

    /// Asks the other aggregators, all at once, until the node stops.
    pub(crate) async fn run(self, own: NodeId, metadata: Shared, calls: Arc<Calls>) {
        loop {
            let others: Vec<NodeId> = {
                let metadata = metadata.read();
                let nodes = metadata.nodes().iter();
                let others = nodes.filter(|(id, node)| **id != own && !node.is_leaf());
                others.map(|(id, _)| *id).collect()
            };
            self.answers().retain(|node, _| others.contains(node));
            let mut asked = tokio::task::JoinSet::new();
            for node in others {
                let calls = calls.clone();
                asked.spawn(async move { (node, calls.ping(node).await) });
            }
            while let Some(answered) = asked.join_next().await {
                if let Ok((node, took)) = answered {
                    self.answers().insert(node, took);
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

//! ATTACH LEAF: a leaf that waits is taken in, and masters go back to it.
//!
//! ```text
//!   manager takes its copies back, one by one ─► online ─► promotions, as a plan
//! ```

use std::time::{Duration, Instant};

use resprout_cluster::manager::Event;
use resprout_cluster::metadata::{NodeState, Outcome};
use resprout_cluster::plan::bring_back;
use resprout_cluster::{Address, NodeId, execution};
use resprout_sql::error::Code;

use crate::operations::{Ended, Operations, failed};

/// A leaf that does not come for so long is not there.
const COMING: Duration = Duration::from_secs(30);

impl Operations {
    /// Returns when the leaf is online; with `rebalance` also its masters are back.
    pub(crate) async fn attach(
        &self,
        address: &Address,
        (force, rebalance): (bool, bool),
    ) -> Result<Outcome, Ended> {
        let node = self.named(address)?;
        self.check_conflicts((node, address), force)?;
        self.events.send(Event::Attach(node, force)).map_err(|_| failed("the node stops"))?;
        self.until_online(node, address).await?;
        if rebalance {
            self.bring_masters_back(node).await?;
        }
        Ok(Outcome::Done)
    }

    fn check_conflicts(
        &self,
        (node, address): (NodeId, &Address),
        force: bool,
    ) -> Result<(), Ended> {
        let metadata = self.metadata.read().clone();
        let is_online =
            metadata.nodes().get(&node).is_some_and(|node| node.state == NodeState::Online);
        let conflicts = self.errands.manager().conflicts(&metadata, node);
        if force || is_online || conflicts.is_empty() {
            return Ok(());
        }
        let list = conflicts.join(", ");
        let text = format!(
            "Databases {list} on leaf {address} conflict with the cluster; use FORCE to ignore them"
        );
        Err(Ended::Told { code: Code::ATTACH_CONFLICT.0, text })
    }

    /// Its copies are taken back for as long as that takes, once it has come.
    async fn until_online(&self, node: NodeId, address: &Address) -> Result<(), Ended> {
        let mut changes = self.metadata.watch();
        let began = Instant::now();
        loop {
            let (state, holder) = {
                let metadata = self.metadata.read();
                let state = metadata.nodes().get(&node).map(|node| node.state);
                (state, metadata.office().holder)
            };
            if holder != Some(self.node) {
                return Err(Ended::NotMaster);
            }
            match state {
                Some(NodeState::Online) => return Ok(()),
                Some(NodeState::Attaching | NodeState::Recovering) => {}
                Some(state) if began.elapsed() >= COMING => {
                    let state = state.text();
                    let text = format!("Leaf {address} is in state {state}; expected online");
                    return Err(Ended::Told { code: Code::LEAF_STATE.0, text });
                }
                Some(_) => {}
                None => return Err(failed(format!("there is no node {address}"))),
            }
            let changed = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return Err(failed("the node stops"));
            }
        }
    }

    /// A database for which a plan is under way is left to it: masters go back later, when it is quiet.
    async fn bring_masters_back(&self, node: NodeId) -> Result<(), Ended> {
        let plans: Vec<_> = {
            let metadata = self.metadata.read();
            let leaves = metadata.leaves();
            let databases = metadata.databases().values();
            databases.map(|entry| bring_back(&leaves, &entry.map, Some(node.into()))).collect()
        };
        for plan in plans {
            let ran = self.run_plan(plan, execution::Config::default()).await;
            let is_busy =
                matches!(&ran, Err(Ended::Told { code, .. }) if *code == Code::REBALANCE_RUNNING.0);
            if !is_busy {
                ran?;
            }
        }
        Ok(())
    }
}

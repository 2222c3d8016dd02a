//! Who votes in consensus: what the metadata say of it, kept so by the master aggregator.
//!
//! ```text
//!   consensus_enabled   roles                          voters of consensus
//!   ON                  voting members                 they
//!   OFF                 kept, for when it is ON again  the master aggregator alone
//! ```
//!
//! Changes go one after the other. Whoever becomes master in the middle goes on: it compares anew, and finds done what is
//! done.

use std::time::Duration;

use resprout_cluster::control::Returned;
use resprout_cluster::metadata::Outcome;
use resprout_cluster::{Address, NodeId};
use resprout_consensus::{Change, ChangeError, node::ChangeFailure};
use resprout_sql::error::Code;

use crate::operations::{Ended, Operations};

/// What could not be done is tried again so often.
const AGAIN: Duration = Duration::from_secs(2);
/// How long one change may take: a node that is away cannot become a voter now.
const CHANGE: Duration = Duration::from_secs(1);
/// How long whoever shall be master may take to catch up, and to be it.
const PROMOTION: Duration = Duration::from_secs(10);

/// Keeps the voters as the metadata have them, whenever this node is the master aggregator.
pub(crate) async fn keep(operations: Operations) {
    let (mut state, mut applied) = (operations.consensus.watch(), operations.metadata.watch());
    let mut is_so = true;
    loop {
        let changed = tokio::select! {
            changed = state.changed() => changed,
            changed = applied.changed() => changed,
            () = tokio::time::sleep(AGAIN), if !is_so => Ok(()),
        };
        if changed.is_err() {
            return;
        }
        is_so = operations.align_voters().await;
    }
}

impl Operations {
    fn is_master(&self) -> bool {
        let leads = self.consensus.watch().borrow().leader == Some(self.node);
        leads && self.metadata.read().office().holder == Some(self.node)
    }

    /// The changes that are to be made: no vote is taken before the new ones are given.
    fn changes_of_voters(&self) -> Vec<Change> {
        let membership = self.consensus.watch().borrow().membership.1.clone();
        let metadata = self.metadata.read();
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for node in membership.members.keys().copied().filter(|node| *node != self.node) {
            match (metadata.nodes().contains_key(&node), membership.is_voter(node)) {
                // Its removal was cut off.
                (false, _) => taken.push(Change::Remove(node)),
                (true, false) if metadata.votes(node) => given.push(Change::Promote(node)),
                (true, true) if !metadata.votes(node) => taken.push(Change::Demote(node)),
                _ => {}
            }
        }
        given.extend(taken);
        given
    }

    /// Whether all is as it is to be, or is none of this node's business.
    async fn align_voters(&self) -> bool {
        if !self.is_master() || self.changes_of_voters().is_empty() {
            return true;
        }
        // What is under way may be a part of it.
        let _one_at_a_time = self.voting.lock().await;
        // Members count when they are in the log, nodes when they are applied: of what an earlier master did, all shall be.
        if self.consensus.within(CHANGE).read(|_| ()).await.is_err() {
            return false;
        }
        let mut is_so = true;
        for change in self.changes_of_voters() {
            if !self.is_master() {
                return true;
            }
            // A vote that is not cast counts against everything: whoever is away gets none.
            if let Change::Promote(node) = change
                && self.calls.ping(node).await.is_none()
            {
                is_so = false;
                continue;
            }
            match self.consensus.within(CHANGE).change(change.clone()).await {
                Ok(_) => tracing::info!(?change, "who votes has changed"),
                Err(failure) => {
                    tracing::debug!(?change, %failure, "who votes has not changed yet");
                    is_so = false;
                }
            }
        }
        is_so
    }

    /// PROMOTE AGGREGATOR … TO MASTER: it votes, then it leads, then it takes the vote of the one before.
    /// (PROMOTE AGGREGATOR: not while there are elections; the target is an aggregator that is online)
    pub(crate) async fn promote_aggregator(&self, address: &Address) -> Result<Outcome, Ended> {
        let told = |text: String| Returned::Told { code: Code::WRONG_ARGUMENTS.0, text };
        let node = self.named(address)?;
        if node == self.node {
            return Ok(Outcome::Done);
        }
        if self.metadata.read().elects() {
            return Err(told(
                "aggregators elect their master while consensus_enabled is ON".to_owned(),
            ));
        }
        let _one_at_a_time = self.voting.lock().await;
        if self.calls.ping(node).await.is_none() {
            return Err(told(format!("{address} is not online; SHOW AGGREGATORS shows who is")));
        }
        let is_away = |_: ChangeFailure| {
            told(format!("{address} is not online, or has not caught up; nothing has changed"))
        };
        let consensus = self.consensus.within(PROMOTION);
        match consensus.promote(node).await {
            Ok(_) | Err(ChangeFailure::Refused(ChangeError::AlreadyVoter { .. })) => {}
            Err(failure) => return Err(is_away(failure)),
        }
        if let Err(failure) = consensus.transfer_leadership(node).await {
            self.take_back_vote(node).await;
            return Err(is_away(failure));
        }
        self.until_office_of(node).await;
        Ok(Outcome::Done)
    }

    /// The node that was to be master is not: alone again, this one needs nobody.
    async fn take_back_vote(&self, node: NodeId) {
        if let Err(failure) = self.consensus.within(CHANGE).demote(node).await {
            tracing::warn!(%node, %failure, "it keeps its vote until it can be asked");
        }
    }

    /// Whoever asked is told when the next one can be asked.
    async fn until_office_of(&self, node: NodeId) {
        let mut applied = self.metadata.watch();
        let has_it = async {
            while self.metadata.read().office().holder != Some(node) {
                if applied.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PROMOTION, has_it).await.is_err() {
            tracing::warn!(%node, "it leads, and has not taken office yet");
        }
    }
}

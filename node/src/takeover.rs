//! AGGREGATOR SET AS MASTER: this aggregator takes over, because those that had the votes are lost for good.
//!
//! ```text
//!   leads anybody, as far as is known here? ──► refused
//!   ask all nodes for 1 s ──► who has the office answers, or a majority of voters ──► refused: nobody is lost
//!                         └─► another aggregator knows more of the metadata ────────► refused: it is to be that one
//!   consensus begins a generation with this node as the only voter ──► it takes office
//! ```
//!
//! What nobody can know: whether those that do not answer are lost or only cut off. If they go on, they have none of what happens
//! here, and take no part any more once they hear of it (`consensus`, `raft/takeover.rs`).

use std::time::Duration;

use resprout_cluster::NodeId;
use resprout_cluster::metadata::Metadata;
use resprout_sql::error::{Code, SqlError};

use crate::directory::Directory;
use crate::survey::{Surveys, ask};

/// How long leading and taking office may take: both need this node only.
const TAKING_OVER: Duration = Duration::from_secs(10);

fn refused(why: impl Into<String>) -> SqlError {
    SqlError::new(Code::WRONG_ARGUMENTS, why.into())
}

impl Directory {
    /// # Errors
    /// As the module says.
    pub(crate) async fn set_as_master(&self) -> Result<(), SqlError> {
        let metadata = self.metadata.read().clone();
        let state = self.consensus.watch().borrow().clone();
        if let Some(leader) = state.leader {
            let address = metadata.nodes().get(&leader).map(|found| found.address.to_string());
            let who = address.unwrap_or_else(|| leader.to_string());
            return Err(refused(format!(
                "{who} is the master aggregator as far as is known here, or was an election timeout ago"
            )));
        }
        // Also those that the last master found lost: they may be back, and nobody could note it.
        let surveys = ask(&self.calls, metadata.nodes().keys().copied()).await;
        let voters: Vec<NodeId> = state.membership.1.voters().collect();
        may_take_over(self.own, &metadata, &voters, &surveys).map_err(refused)?;
        let failed = |error: resprout_consensus::node::ChangeFailure| {
            SqlError::new(Code::UNKNOWN_ERROR, error.to_string())
        };
        self.consensus.within(TAKING_OVER).take_over().await.map_err(failed)?;
        tracing::warn!(node = %self.own, lost = ?voters, "took over as master aggregator, by order");
        let mut applied = self.metadata.watch();
        let has_office = async {
            while self.metadata.read().office().holder != Some(self.own) {
                if applied.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(TAKING_OVER, has_office).await.map_err(|_| {
            SqlError::new(
                Code::UNKNOWN_ERROR,
                "this aggregator leads, and has not taken office yet",
            )
        })
    }
}

/// Whether those that decided are lost, and this node is the one to go on.
fn may_take_over(
    own: NodeId,
    metadata: &Metadata,
    voters: &[NodeId],
    surveys: &Surveys,
) -> Result<(), String> {
    let applied_of = |node: &NodeId| surveys.get(node)?.as_ref().map(|survey| survey.applied);
    let address = |node: &NodeId| {
        metadata
            .nodes()
            .get(node)
            .map_or_else(|| node.to_string(), |found| found.address.to_string())
    };
    if let Some(master) = metadata.office().holder.filter(|holder| *holder != own)
        && applied_of(&master).is_some()
    {
        return Err(format!("{} has the office and answers", address(&master)));
    }
    let there = voters.iter().filter(|voter| **voter == own || applied_of(voter).is_some()).count();
    if there > voters.len() / 2 {
        return Err(format!(
            "{there} of {} voting members answer: they elect a master by themselves",
            voters.len()
        ));
    }
    let aggregators = metadata.nodes().iter().filter(|(_, found)| !found.is_leaf());
    let newest = aggregators.filter(|(node, _)| **node != own);
    let newest = newest.filter_map(|(node, _)| Some((applied_of(node)?, node))).max();
    match newest {
        Some((applied, node)) if applied > metadata.applied() => Err(format!(
            "{} knows more of the metadata ({applied} entries, {} here): run it there",
            address(node),
            metadata.applied()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use resprout_cluster::metadata::{Command, Decree, Role};
    use resprout_cluster::survey::Survey;
    use resprout_cluster::{Address, Incarnation};

    use super::*;

    const OWN: NodeId = NodeId(2);

    /// Three aggregators, of which the first has the office.
    fn metadata() -> Metadata {
        let mut metadata = Metadata::default();
        let address = |port| Address { host: "h".to_owned(), port };
        let add = |port| Command::AddAggregator {
            address: address(port),
            role: Role::Voter,
            incarnation: Incarnation(1),
        };
        let found = Command::Found { cluster: 1, address: address(1) };
        let office = Command::TakeOffice { node: NodeId(1), after: 0 };
        for (index, command) in (1..).zip([found, office, add(2), add(3)]) {
            let office = metadata.office().number;
            metadata.apply(index, &Decree { office, at_ms: 0, command });
        }
        metadata
    }

    /// Who answers, with how much of the metadata.
    fn surveys(answers: &[(u64, u64)]) -> Surveys {
        let survey = |applied| Some(Survey { applied, ..Survey::default() });
        answers.iter().map(|(node, applied)| (NodeId(*node), survey(*applied))).collect()
    }

    /// Promise (AGGREGATOR SET AS MASTER): an aggregator takes over only if neither the master nor most voters answer, and none that
    /// answers knows more; also by the one vote that there is without elections.
    #[test]
    fn only_what_is_lost_is_replaced() {
        let (metadata, all) = (metadata(), [1, 2, 3].map(NodeId));
        assert_eq!(metadata.applied(), 4);
        let refused = |voters: &[NodeId], answers: &[(u64, u64)]| {
            may_take_over(OWN, &metadata, voters, &surveys(answers)).err().unwrap_or_default()
        };
        assert!(refused(&all, &[(1, 4)]).contains("has the office and answers"));
        assert!(refused(&all, &[(3, 4)]).contains("2 of 3 voting members answer"));
        assert!(refused(&all[..1], &[(3, 5)]).contains("'h':3 knows more"));
        assert_eq!(refused(&all[..1], &[(3, 4)]), "");
        assert_eq!(refused(&all, &[]), "");
    }
}

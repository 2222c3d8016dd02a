//! What a majority of the voters has reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Membership, NodeId};

/// How many of `voters` are a majority.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The greatest value that a majority of the voters has reached: the one in the place of the
/// majority when they are sorted from the greatest down. `None` counts as nothing reached.
///
/// ```text
///  voters  a  b  c  d  e          sorted  9 7 5 5 –       majority of 5 is 3:  5
///  reached 5  9  –  7  5                      ▲
/// ```
#[must_use]
pub fn reached<T: Ord>(membership: &Membership, value: impl Fn(NodeId) -> Option<T>) -> Option<T> {
    let mut values: Vec<Option<T>> = membership.voters().map(value).collect();
    let place = majority(values.len()) - 1;
    if place >= values.len() {
        return None;
    }
    values.sort_unstable_by(|left, right| right.cmp(left));
    values.swap_remove(place)
}

/// Where an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A majority has said yes.
    Won,
    /// A majority has said no: waiting longer changes nothing.
    Lost,
    /// Neither.
    Open,
}

/// Answers of voters in one election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    answers: BTreeMap<NodeId, bool>,
}

impl Tally {
    /// Notes an answer. The first of a node counts: nobody may change its mind within a term.
    pub fn note(&mut self, node: NodeId, granted: bool) {
        self.answers.entry(node).or_insert(granted);
    }

    /// Where the election stands among these voters. Answers of others do not count.
    #[must_use]
    pub fn outcome(&self, membership: &Membership) -> Outcome {
        let voters: BTreeSet<NodeId> = membership.voters().collect();
        let counted = |which| {
            let said = self.answers.iter().filter(|(_, granted)| **granted == which);
            said.filter(|(node, _)| voters.contains(node)).count()
        };
        let needed = majority(voters.len());
        if counted(true) >= needed {
            Outcome::Won
        } else if voters.len() - counted(false) < needed {
            Outcome::Lost
        } else {
            Outcome::Open
        }
    }
}

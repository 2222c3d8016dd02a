//! Terms, votes and leaders.

use std::collections::BTreeMap;

use resprout_consensus::{Ballot, Envelope, Message, NodeId, StoreId, Term};

use crate::{Violation, hold};

/// What was seen of elections.
#[derive(Debug, Default)]
pub struct Elections {
    /// The node that led in a term, and in which run.
    leaders: BTreeMap<Term, (u64, u64)>,
    /// The votes that each store has given away.
    votes: BTreeMap<(StoreId, Term), NodeId>,
    /// The newest term in which each store has promised something.
    promised: BTreeMap<StoreId, Term>,
}

impl Elections {
    /// A node leads. Whether that is news.
    ///
    /// # Errors
    /// [`Violation`] if another did in this term.
    pub fn leads(&mut self, term: Term, node: u64, run: u64) -> Result<bool, Violation> {
        let known = self.leaders.insert(term, (node, run));
        let same = known.is_none_or(|known| known == (node, run));
        hold(same, "a term has one leader", || format!("term {term}: n{node} and {known:?}"))?;
        Ok(known.is_none())
    }

    /// The newest term with a leader, and the leader.
    #[must_use]
    pub fn newest_leader(&self) -> Option<(Term, u64)> {
        self.leaders.last_key_value().map(|(term, (node, _))| (*term, *node))
    }

    /// A message leaves a node.
    ///
    /// # Errors
    /// [`Violation`] if the store has voted otherwise in this term.
    pub fn sent(&mut self, envelope: &Envelope) -> Result<(), Violation> {
        let Envelope { from, from_store, to, term, message, .. } = envelope;
        if message.promises() {
            let promised = self.promised.entry(*from_store).or_default();
            *promised = (*promised).max(*term);
        }
        let vote = match message {
            Message::Vote { .. } => *from,
            Message::VoteAnswer { granted: true } => *to,
            _ => return Ok(()),
        };
        let voted = *self.votes.entry((*from_store, *term)).or_insert(vote);
        hold(voted == vote, "a store votes once in a term", || {
            format!("{from} in term {term}: {voted} and {vote}")
        })
    }

    /// A node starts with this ballot.
    ///
    /// # Errors
    /// [`Violation`] if the store has promised in a later term, or otherwise in this one.
    pub fn starts(&self, store: StoreId, ballot: Ballot) -> Result<(), Violation> {
        let promised = self.promised.get(&store).copied().unwrap_or_default();
        hold(ballot.term >= promised, "a term never falls", || {
            format!("store {store} starts in term {}, has promised in {promised}", ballot.term)
        })?;
        let vote = self.votes.get(&(store, ballot.term)).copied();
        hold(vote.is_none() || vote == ballot.vote, "a vote is never forgotten", || {
            format!("store {store} starts with {ballot:?}, has voted for {vote:?}")
        })
    }

    /// A store was put back to an older state: what it said before binds it no more.
    pub fn forget(&mut self, store: StoreId) {
        self.votes.retain(|(of, _), _| *of != store);
        self.promised.remove(&store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(store: u64, to: u64, term: u64) -> Envelope {
        let (from, to) = (NodeId(store), NodeId(to));
        let (from_store, to_store) = (StoreId(store), StoreId(0));
        let message = Message::VoteAnswer { granted: true };
        Envelope { from, from_store, to, to_store, term: Term(term), message }
    }

    /// Promise: this checker sees two leaders of a term, two votes in a term, and a term or a vote that
    /// a restart has lost.
    #[test]
    fn wrong_elections_are_seen() {
        let mut elections = Elections::default();
        assert_eq!(elections.leads(Term(1), 1, 1), Ok(true));
        assert_eq!(elections.leads(Term(1), 1, 1), Ok(false));
        assert!(elections.leads(Term(1), 2, 1).is_err());
        assert_eq!(elections.sent(&vote(7, 1, 4)), Ok(()));
        assert!(elections.sent(&vote(7, 2, 4)).is_err());
        let ballot = |term, vote| Ballot { term: Term(term), vote };
        assert_eq!(elections.starts(StoreId(7), ballot(4, Some(NodeId(1)))), Ok(()));
        assert_eq!(elections.starts(StoreId(7), ballot(5, None)), Ok(()));
        assert!(elections.starts(StoreId(7), ballot(4, None)).is_err());
        assert!(elections.starts(StoreId(7), ballot(3, None)).is_err());
        elections.forget(StoreId(7));
        assert_eq!(elections.starts(StoreId(7), ballot(3, None)), Ok(()));
    }
}

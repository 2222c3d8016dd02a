//! What a majority has, computed here the slow and obvious way and compared.
//!
//! The log and the progress of members are private: their models are in `src/log/model.rs` and
//! `src/progress/model.rs`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use resprout_consensus::quorum::{Outcome, Tally, majority, reached};
use resprout_consensus::{Member, Membership, NodeId, StoreId, Vote};

/// Members 0 to 8, each absent, a learner or a voter.
fn memberships() -> impl Strategy<Value = Membership> {
    let vote =
        prop_oneof![1 => Just(None), 1 => Just(Some(Vote::Learner)), 3 => Just(Some(Vote::Voter))];
    prop::collection::vec(vote, 0..9).prop_map(|votes| {
        let members = votes.into_iter().enumerate().filter_map(|(id, vote)| {
            let (id, vote) = (id as u64, vote?);
            Some((NodeId(id), Member { store: StoreId(id), address: String::new(), vote }))
        });
        Membership { members: members.collect() }
    })
}

/// What some nodes have reached, members or not; small numbers, so that many are equal.
fn marks() -> impl Strategy<Value = BTreeMap<NodeId, u8>> {
    let mark = (0..12_u64).prop_map(NodeId);
    prop::collection::btree_map(mark, 0..6_u8, 0..10)
}

/// Every set of voters that is more than half of them.
fn majorities(membership: &Membership) -> Vec<Vec<NodeId>> {
    let voters: Vec<NodeId> = membership.voters().collect();
    let sets = (0..1_u32 << voters.len()).map(|bits| -> Vec<NodeId> {
        let chosen = voters.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
        chosen.map(|(_, node)| *node).collect()
    });
    sets.filter(|set| 2 * set.len() > voters.len()).collect()
}

proptest! {
    #![proptest_config(Config {
        cases: 2000,
        rng_seed: RngSeed::Fixed(0x5EED_0003),
        failure_persistence: None,
        ..Config::default()
    })]

    /// Promise: any two majorities share a voter, and one voter fewer is none.
    #[test]
    fn majorities_share_a_voter(voters in 1..1000_usize) {
        prop_assert!(2 * majority(voters) > voters);
        prop_assert!(2 * (majority(voters) - 1) <= voters);
    }

    /// Promise: a commit mark is the greatest that all voters of some majority have reached; what
    /// learners and strangers have counts for nothing.
    #[test]
    fn reached_is_what_some_majority_has(membership in memberships(), marks in marks()) {
        let lowest = |set: Vec<NodeId>| set.iter().map(|node| marks.get(node).copied()).min();
        let obvious = majorities(&membership).into_iter().filter_map(lowest).max().flatten();
        let computed = reached(&membership, |node| marks.get(&node).copied());
        prop_assert_eq!(computed, obvious);
    }

    /// Promise: an election is won when all of some majority said yes at first, lost when no majority
    /// can say yes any more, and open until then.
    #[test]
    fn an_election_ends_when_its_end_is_certain(
        membership in memberships(),
        answers in prop::collection::vec((0..12_u64, any::<bool>()), 0..16),
    ) {
        let mut tally = Tally::default();
        let mut first = BTreeMap::new();
        for (node, granted) in answers {
            tally.note(NodeId(node), granted);
            first.entry(NodeId(node)).or_insert(granted);
        }
        let all = majorities(&membership);
        let yes = |node: &NodeId| first.get(node) == Some(&true);
        let maybe = |node: &NodeId| first.get(node) != Some(&false);
        let obvious = if all.iter().any(|set| set.iter().all(yes)) {
            Outcome::Won
        } else if !all.iter().any(|set| set.iter().all(maybe)) {
            Outcome::Lost
        } else {
            Outcome::Open
        };
        prop_assert_eq!(tally.outcome(&membership), obvious);
    }
}

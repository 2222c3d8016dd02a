//! Who may talk to this node: the rules of the handshake, without I/O.
//!
//! A node that is no member *here* is let in if everything else is right, within a bound. It must
//! be: the membership of this node may be older than that of whoever talks to it. A learner that
//! has just been made knows nobody, and a leader may have been added while this node was away; if
//! they were refused, this node could never learn of them. What a non-member may bring about is
//! the business of the core.

use std::collections::BTreeMap;

use super::options::Local;
use crate::wire::{Hello, Reject, VERSIONS, Welcome};
use crate::{Membership, NodeId, StoreId};

/// Most stores whose boots are remembered beside those of members.
const STRANGERS_MAX: usize = 1024;

/// What is known of others.
#[derive(Debug)]
pub(super) struct Roster {
    local: Local,
    members: BTreeMap<NodeId, StoreId>,
    /// The highest boot seen of each store, in this run (row M07).
    boots: BTreeMap<StoreId, u64>,
}

impl Roster {
    pub(super) fn new(local: Local) -> Self {
        Self { local, members: BTreeMap::new(), boots: BTreeMap::new() }
    }

    pub(super) fn set_members(&mut self, membership: &Membership) {
        let members = membership.members.iter();
        self.members = members.map(|(node, member)| (*node, member.store)).collect();
    }

    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// What to say to somebody.
    pub(super) fn hello(&self, to: NodeId) -> Hello {
        let Local { identity, boot, cluster } = self.local;
        Hello {
            versions: VERSIONS,
            node: identity.node,
            cluster,
            store: identity.store,
            boot,
            to,
            to_store: self.members.get(&to).copied().unwrap_or_default(),
        }
    }

    /// What to answer to somebody who wants to talk. Changes nothing.
    pub(super) fn judge(&self, hello: &Hello) -> Result<Welcome, Reject> {
        let Local { identity, boot, cluster } = self.local;
        let common = VERSIONS.common(hello.versions);
        let version =
            common.ok_or(Reject::Version { expected: VERSIONS, found: hello.versions })?;
        if hello.cluster != cluster {
            return Err(Reject::Cluster { expected: cluster, found: hello.cluster });
        }
        if hello.to != identity.node {
            return Err(Reject::Node { expected: hello.to, found: identity.node });
        }
        let wanted = hello.to_store;
        if wanted != StoreId(0) && wanted != identity.store {
            let (node, found) = (identity.node, identity.store);
            return Err(Reject::Store { node, expected: wanted, found });
        }
        self.judge_other(hello.node, hello.store, hello.boot)?;
        Ok(Welcome { version, node: identity.node, cluster, store: identity.store, boot })
    }

    /// Whether the one who answered is the one who was wanted. Changes nothing.
    pub(super) fn judge_answer(&self, to: NodeId, welcome: &Welcome) -> Result<(), Reject> {
        let offered = VERSIONS;
        if !(offered.first..=offered.last).contains(&welcome.version) {
            let found = crate::wire::Versions { first: welcome.version, last: welcome.version };
            return Err(Reject::Version { expected: offered, found });
        }
        let expected = self.local.cluster;
        if welcome.cluster != expected {
            return Err(Reject::Cluster { expected, found: welcome.cluster });
        }
        if welcome.node != to {
            return Err(Reject::Node { expected: to, found: welcome.node });
        }
        self.judge_other(welcome.node, welcome.store, welcome.boot)
    }

    /// Remembers a boot that was found right.
    pub(super) fn note(&mut self, node: NodeId, store: StoreId, boot: u64) {
        let has_room = self.boots.len() < STRANGERS_MAX + self.members.len();
        if self.boots.contains_key(&store) || has_room {
            self.boots.insert(store, boot);
        } else if self.is_member(node) {
            let is_stranger = |store: &StoreId| !self.members.values().any(|one| one == store);
            let stranger = self.boots.keys().copied().find(is_stranger);
            stranger.map(|stranger| self.boots.remove(&stranger));
            self.boots.insert(store, boot);
        }
    }

    fn judge_other(&self, node: NodeId, store: StoreId, boot: u64) -> Result<(), Reject> {
        if node == self.local.identity.node {
            return Err(Reject::SameNode { node });
        }
        if let Some(expected) = self.members.get(&node).copied()
            && expected != store
        {
            return Err(Reject::Store { node, expected, found: store });
        }
        match self.boots.get(&store).copied() {
            Some(seen) if seen > boot => Err(Reject::OldBoot { store, seen, found: boot }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Identity;
    use crate::wire::Versions;
    use crate::{Member, Vote};

    fn local(id: u64) -> Local {
        let identity = Identity { node: NodeId(id), store: StoreId(id + 100) };
        Local { identity, boot: 5, cluster: 77 }
    }

    fn roster(id: u64, members: &[u64]) -> Roster {
        let member = |id: &u64| {
            let address = String::new();
            (NodeId(*id), Member { store: StoreId(*id + 100), address, vote: Vote::Voter })
        };
        let mut roster = Roster::new(local(id));
        roster.set_members(&Membership { members: members.iter().map(member).collect() });
        roster
    }

    fn refused(change: impl FnOnce(&mut Hello)) -> String {
        let mut hello = roster(2, &[1, 2]).hello(NodeId(1));
        change(&mut hello);
        roster(1, &[1, 2]).judge(&hello).unwrap_err().to_string()
    }

    /// Promise: members let each other in, and so does one who knows nobody yet.
    #[test]
    fn who_is_right_is_let_in() {
        for known in [&[1, 2][..], &[]] {
            let listener = roster(1, known);
            for knows in [&[1, 2][..], &[]] {
                let dialer = roster(2, knows);
                let welcome = listener.judge(&dialer.hello(NodeId(1))).unwrap();
                assert_eq!(welcome.version, crate::wire::VERSION);
                dialer.judge_answer(NodeId(1), &welcome).unwrap();
            }
        }
    }

    /// Promise: each thing that is wrong in a greeting is said, with both values.
    #[test]
    fn what_is_wrong_is_said() {
        let older = Versions { first: 0, last: 0 };
        assert_eq!(
            refused(|hello| hello.versions = older),
            "protocol versions 0 to 0, here 1 to 1"
        );
        assert_eq!(
            refused(|hello| hello.cluster = 78),
            "cluster 0000000000000000000000000000004e, here 0000000000000000000000000000004d"
        );
        assert_eq!(
            refused(|hello| hello.to = NodeId(3)),
            "n1 is where n3 was expected: an address that is not up to date"
        );
        assert_eq!(
            refused(|hello| hello.node = NodeId(1)),
            "n1 talks to n1: two nodes have one id"
        );
    }

    /// Promise: a node whose directory was lost is not the member it was, whoever notices (row M06).
    #[test]
    fn m06_another_directory_is_another_member() {
        let said = "n2 has store 0000000000000007 instead of 0000000000000066: its directory was \
                    lost or is another one; remove it and add it as a new member";
        assert_eq!(refused(|hello| hello.store = StoreId(7)), said);
        let said = "n1 has store 0000000000000065 instead of 0000000000000008: its directory was \
                    lost or is another one; remove it and add it as a new member";
        assert_eq!(refused(|hello| hello.to_store = StoreId(8)), said);
        let dialer = roster(2, &[1, 2]);
        let mut welcome = roster(1, &[]).judge(&dialer.hello(NodeId(1))).unwrap();
        welcome.store = StoreId(9);
        assert!(matches!(dialer.judge_answer(NodeId(1), &welcome), Err(Reject::Store { .. })));
    }

    /// Promise: an older image of a directory that was seen is noticed by its boot, on both sides;
    /// the same run may come back as often as it likes (row M07).
    #[test]
    fn m07_an_older_directory_is_noticed() {
        let mut listener = roster(1, &[1, 2]);
        let mut hello = roster(2, &[1, 2]).hello(NodeId(1));
        listener.note(NodeId(2), hello.store, hello.boot);
        assert!(listener.judge(&hello).is_ok());
        hello.boot = 4;
        let said = "store 0000000000000066 says it has started 4 times and was seen at 5: its \
                    directory was put back to an older state";
        assert_eq!(listener.judge(&hello).unwrap_err().to_string(), said);
        let mut welcome = roster(2, &[]).judge(&listener.hello(NodeId(2))).unwrap();
        assert!(listener.judge_answer(NodeId(2), &welcome).is_ok());
        welcome.boot = 4;
        let answered = listener.judge_answer(NodeId(2), &welcome);
        assert!(matches!(answered, Err(Reject::OldBoot { .. })));
    }

    /// Promise: strangers cannot fill the memory, nor push members out of it.
    #[test]
    fn m07_what_is_remembered_is_bounded() {
        let mut listener = roster(1, &[1, 2]);
        for stranger in 1_000..4_000 {
            listener.note(NodeId(stranger), StoreId(stranger), 1);
        }
        listener.note(NodeId(2), StoreId(102), 5);
        assert_eq!(listener.boots.len(), STRANGERS_MAX + 2);
        assert_eq!(listener.boots.get(&StoreId(102)), Some(&5));
    }
}

//! Commands about the cluster and its nodes.

use super::records::fence;
use super::{
    DatabaseEntry, Happened, Kind, LeftBy, Metadata, News, Node, NodeState, Office, Outcome,
    Refusal, Role,
};
use crate::placement;
use crate::{Address, Copy, Group, Incarnation, LeafId, NodeId, Partition};

impl Metadata {
    pub(super) fn found(&mut self, cluster: u128, address: &Address) -> Result<Outcome, Refusal> {
        self.cluster = cluster;
        (self.next_node, self.next_database) = (1, 1);
        let node = self.add((address, Incarnation(0)), Kind::Aggregator { role: Role::Voter });
        Ok(Outcome::Added { node })
    }

    /// A number is given once in the life of a cluster.
    fn add(&mut self, (address, incarnation): (&Address, Incarnation), kind: Kind) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let (address, state) = (address.clone(), NodeState::Online);
        self.nodes.insert(id, Node { address, kind, state, incarnation });
        id
    }

    pub(super) fn take_office(
        &mut self,
        node: NodeId,
        after: u64,
        news: News,
    ) -> Result<Outcome, Refusal> {
        if after != self.office.number {
            return Err(Refusal::NotInOffice { office: self.office.number });
        }
        // That it leads proves that it votes: an operator may have appointed it.
        self.set_role(node, Role::Voter)?;
        self.office = Office { number: news.index, holder: Some(node) };
        self.tell(news, Some(node), Happened::Office);
        Ok(Outcome::Office { office: news.index })
    }

    fn node(&self, node: NodeId) -> Result<&Node, Refusal> {
        self.nodes.get(&node).ok_or(Refusal::NoNode { node })
    }

    pub(super) fn add_aggregator(
        &mut self,
        (address, run): (&Address, Incarnation),
        role: Role,
        news: News,
    ) -> Result<Outcome, Refusal> {
        self.check_address(address)?;
        let node = self.add((address, run), Kind::Aggregator { role });
        self.tell(news, Some(node), Happened::NodeAdded);
        Ok(Outcome::Added { node })
    }

    fn check_address(&self, address: &Address) -> Result<(), Refusal> {
        if self.nodes.values().any(|node| node.address == *address) {
            return Err(Refusal::NotJoined { text: format!("{address} is a node already") });
        }
        Ok(())
    }

    pub(super) fn add_leaf(
        &mut self,
        (address, run): (&Address, Incarnation),
        group: Option<Group>,
        news: News,
    ) -> Result<Outcome, Refusal> {
        self.check_address(address)?;
        let slot = placement::join(&self.leaves(), address, group, self.mode())
            .map_err(|error| Refusal::NotJoined { text: error.to_string() })?;
        let partner = slot.pair.map(NodeId::from);
        let node = self.add((address, run), Kind::Leaf { group: slot.group, pair: partner });
        self.set_pair(partner, Some(node));
        self.tell(news, Some(node), Happened::NodeAdded);
        Ok(Outcome::Added { node })
    }

    fn set_pair(&mut self, of: Option<NodeId>, to: Option<NodeId>) {
        let node = of.and_then(|of| self.nodes.get_mut(&of));
        if let Some(Node { kind: Kind::Leaf { pair, .. }, .. }) = node {
            *pair = to;
        }
    }

    pub(super) fn set_role(&mut self, node: NodeId, to: Role) -> Result<(), Refusal> {
        let Kind::Aggregator { role } = self.node(node)?.kind else {
            return Err(Refusal::WrongKind { node });
        };
        if role == Role::Voter && to != Role::Voter {
            self.check_last_voter(node)?;
        }
        if let Some(found) = self.nodes.get_mut(&node) {
            found.kind = Kind::Aggregator { role: to };
        }
        Ok(())
    }

    fn check_last_voter(&self, node: NodeId) -> Result<(), Refusal> {
        let voter = Kind::Aggregator { role: Role::Voter };
        let others = self.nodes.iter().filter(|(id, found)| **id != node && found.kind == voter);
        if others.count() == 0 { Err(Refusal::LastVoter { node }) } else { Ok(()) }
    }

    pub(super) fn remove_node(
        &mut self,
        node: NodeId,
        force: bool,
        news: News,
    ) -> Result<(), Refusal> {
        let kind = self.node(node)?.kind;
        if kind == (Kind::Aggregator { role: Role::Voter }) {
            self.check_last_voter(node)?;
        }
        let copies = self.copies_needed(node) as u64;
        if copies > 0 && !force {
            return Err(Refusal::HasCopies { node, copies });
        }
        self.give_up_copies(node.into(), news);
        if let Kind::Leaf { pair, .. } = kind {
            self.set_pair(pair, None);
        }
        if let Some(removed) = self.nodes.remove(&node) {
            self.removed.insert(node, removed.address);
        }
        self.forget_removed();
        self.tell(news, Some(node), Happened::NodeRemoved { copies_lost: copies });
        Ok(())
    }

    /// Copies on a leaf that it cannot go with. All other leaves have the rows of reference tables, too: a copy of these
    /// is missed only if it is their master's, or they have none.
    fn copies_needed(&self, node: NodeId) -> usize {
        let is_needed = |(entry, partition, _): &(&DatabaseEntry, &Partition, &Copy)| {
            let master = partition.serving();
            !entry.map.is_reference(partition.ordinal)
                || master.is_none_or(|master| master == LeafId::from(node))
        };
        self.copies_on(node).filter(is_needed).count()
    }

    /// What a removed leaf has leaves the record. A mastership there is fenced: somebody else begins the next.
    fn give_up_copies(&mut self, leaf: LeafId, news: News) {
        let stamp = self.stamp(news);
        for entry in self.databases.values_mut() {
            let there = entry.map.all().filter(|partition| partition.copies.contains_key(&leaf));
            let there: Vec<_> = there.map(|partition| partition.ordinal).collect();
            for ordinal in there {
                if entry.map.partition(ordinal).and_then(|one| one.master) == Some(leaf) {
                    fence(entry, ordinal, stamp);
                }
                let is_reference = entry.map.is_reference(ordinal);
                let Some(partition) = entry.map.partition_mut(ordinal) else { continue };
                let before = partition.copies.clone();
                partition.copies.remove(&leaf);
                partition.former = partition.former.filter(|former| *former != leaf);
                partition.decide(stamp);
                // Of reference tables all other leaves have what this one had.
                if !is_reference {
                    entry.note_left(ordinal, &before, (LeftBy::RemoveLeaf, news));
                }
            }
        }
    }

    pub(super) fn set_node_state(
        &mut self,
        (node, run): (NodeId, Incarnation),
        (from, to): (NodeState, NodeState),
        news: News,
    ) -> Result<(), Refusal> {
        let found = self.node(node)?;
        let (state, known) = (found.state, found.incarnation);
        if run < known {
            return Err(Refusal::OlderRun { node, incarnation: known });
        }
        if state != from || !state.leads_to(to) {
            return Err(Refusal::NodeState { node, state });
        }
        if let Some(found) = self.nodes.get_mut(&node) {
            (found.state, found.incarnation) = (to, run);
        }
        // From here to there and back nothing of it may be used until it is taken back, copy by copy. One that is lost while it
        // is taken back has some that were.
        let was_used = matches!(state, NodeState::Online | NodeState::Attaching);
        if was_used && to != NodeState::Online || run > known {
            self.mark_offline(node.into(), news);
        }
        self.tell(news, Some(node), Happened::NodeState { state: to.text().to_owned() });
        Ok(())
    }

    /// The leaf's copies cannot be used. What each has is another matter: who was waited for still is, until
    /// its master is told otherwise (rule 6).
    fn mark_offline(&mut self, leaf: LeafId, news: News) {
        let stamp = self.stamp(news);
        for entry in self.databases.values_mut() {
            for partition in entry.map.all_mut() {
                let copy = partition.copies.get_mut(&leaf).filter(|copy| !copy.offline);
                if let Some(copy) = copy {
                    copy.offline = true;
                    partition.decide(stamp);
                }
            }
        }
    }
}

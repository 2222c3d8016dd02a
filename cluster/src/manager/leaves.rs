//! The life of leaves: lost, back, recovering, attaching, online.

use std::time::Duration;

use super::{About, Answer, Manager, Phase};
use crate::metadata::{Command, Happened, Metadata, Node, NodeState};
use crate::reconcile::{CopyName, Doing};
use crate::{Incarnation, Mode, NodeId};

impl Manager {
    pub(super) fn look_at_leaves(&mut self, metadata: &Metadata) {
        for (id, node) in metadata.nodes().iter().filter(|(_, node)| node.is_leaf()) {
            let next = if self.detector.is_lost(*id) {
                let is_there = !matches!(node.state, NodeState::Offline | NodeState::Detached);
                is_there.then_some((NodeState::Offline, node.incarnation))
            } else {
                let answer = self.heard(*id, node).cloned();
                answer.and_then(|answer| self.next_state(metadata, (*id, node), &answer))
            };
            if let Some((to, incarnation)) = next {
                let (node, from) = (*id, node.state);
                let command = Command::SetNodeState { node, from, to, incarnation };
                self.propose(About::Node(node), command);
            }
        }
    }

    /// Where a leaf goes that answers.
    fn next_state(
        &mut self,
        metadata: &Metadata,
        (id, node): (NodeId, &Node),
        answer: &Answer,
    ) -> Option<(NodeState, Incarnation)> {
        let (state, run) = (node.state, answer.incarnation);
        let is_new_run = run > node.incarnation;
        let next = match (state, answer.phase) {
            (NodeState::Online, _) if !is_new_run => return None,
            // It was away and is back before anybody noticed (row P07): it is taken in as any other, with those that
            // are on their way too.
            (NodeState::Online, Phase::Ready) => NodeState::Recovering,
            (NodeState::Attaching, Phase::Ready) if !is_new_run => {
                let began = *self.attaching.entry(id).or_insert(self.now.at);
                if !self.if_attached(metadata, id) {
                    return None;
                }
                let took = self.now.at.saturating_sub(began).as_millis();
                self.show_attached(metadata, id, u64::try_from(took).unwrap_or(u64::MAX));
                NodeState::Online
            }
            (NodeState::Attaching, _) if is_new_run => NodeState::Recovering,
            (NodeState::Recovering | NodeState::RecoveryFailed, Phase::Recovering) => return None,
            (NodeState::Detached, Phase::Recovering | Phase::Failed) => return None,
            (_, Phase::Recovering) => NodeState::Recovering,
            (NodeState::Attaching | NodeState::RecoveryFailed, Phase::Failed) => return None,
            (NodeState::Online, Phase::Failed) => NodeState::Offline,
            (_, Phase::Failed) => NodeState::RecoveryFailed,
            (_, Phase::Ready) => return self.if_wanted(metadata, (id, node), run),
        };
        Some((next, run))
    }

    /// A leaf that has recovered: it is attached, with the others that are on their way.
    fn if_wanted(
        &mut self,
        metadata: &Metadata,
        (id, node): (NodeId, &Node),
        run: Incarnation,
    ) -> Option<(NodeState, Incarnation)> {
        let forced = self.forced.contains(&id);
        // Who was detached waits for ATTACH LEAF, by whatever it came about.
        if (!self.config.auto_attach || node.state == NodeState::Detached) && !forced {
            return (node.state != NodeState::Detached).then_some((NodeState::Detached, run));
        }
        let conflicts = self.conflicts(metadata, id);
        if !conflicts.is_empty() && !forced {
            if node.state == NodeState::Detached || self.pending.contains_key(&About::Node(id)) {
                return None;
            }
            let happened = Happened::Conflict { databases: conflicts };
            self.tell(Some(id), happened);
            return Some((NodeState::Detached, run));
        }
        let since = *self.waiting.entry(id).or_insert(self.now.at);
        let waited = self.now.at.saturating_sub(since);
        if waited < self.wait(metadata, id) && !forced {
            return None;
        }
        self.waiting.remove(&id);
        Some((NodeState::Attaching, run))
    }

    /// How long a leaf waits for others, so that all of them are taken in together: until those that recover
    /// have, or nobody is on the way any more.
    fn wait(&self, metadata: &Metadata, of: NodeId) -> Duration {
        if metadata.mode() == Mode::Single {
            return Duration::ZERO;
        }
        let is_coming = |(id, node): (&NodeId, &Node)| {
            if *id == of || !node.is_leaf() || self.detector.is_lost(*id) {
                return false;
            }
            match self.heard(*id, node) {
                // Neither heard of nor found lost since this office began.
                None => true,
                Some(answer) => answer.phase == Phase::Recovering,
            }
        };
        let any = metadata.nodes().iter().any(is_coming);
        if any { self.config.attach_wait } else { Duration::ZERO }
    }

    /// Copies of databases that were never made here: of other metadata, older or newer.
    #[must_use]
    pub fn conflicts(&self, metadata: &Metadata, node: NodeId) -> Vec<String> {
        let Some(seen) = self.seen.get(&node) else { return Vec::new() };
        let is_unknown = |copy: &&CopyName| {
            metadata.database_of(copy.database).is_none() && !metadata.was_dropped(copy.database)
        };
        let mut unknown: Vec<u32> =
            seen.held.keys().filter(is_unknown).map(|copy| copy.database).collect();
        unknown.dedup();
        unknown.into_iter().map(|number| format!("database {number}")).collect()
    }

    /// Whether everything that can be taken back is, and does what it shall.
    fn if_attached(&mut self, metadata: &Metadata, node: NodeId) -> bool {
        let mut done = true;
        for (entry, partition, copy) in metadata.copies_on(node) {
            let name = super::copy_name(entry, partition, copy.instance);
            let held = self.seen.get(&node).and_then(|seen| seen.held.get(&name));
            let is_master = partition.master == Some(node.into());
            done &= match (held, partition.serving()) {
                // Lost with its disk, and nobody to copy from.
                (None, None) => true,
                (None, Some(_)) => false,
                (Some(_), _) if copy.offline => false,
                (Some(held), _) if is_master => held.doing == Doing::Online(partition.term),
                (Some(_), None) => true,
                (Some(_), Some(_)) if entry.map.is_sync(partition) => {
                    entry.map.is_promotable(partition, copy)
                }
                (Some(held), Some(_)) => held.doing == Doing::Following,
            };
        }
        if done {
            self.forced.remove(&node);
        }
        done
    }

    /// ATTACH LEAF.
    pub(super) fn attach(&mut self, metadata: &Metadata, node: NodeId, force: bool) {
        let Some(found) = metadata.nodes().get(&node) else { return };
        if found.state == NodeState::Online {
            return;
        }
        if force || self.conflicts(metadata, node).is_empty() {
            self.forced.insert(node);
        }
    }
}

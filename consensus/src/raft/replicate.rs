//! Sending the log to the members, ahead of their answers within bounds, and taking the answers.

use super::{Part, Raft};
use crate::progress::Phase;
use crate::{Alarm, AppendResult, Index, Message, NodeId, Refusal, Round};

impl Raft {
    /// Sends to every member what it lacks and may get.
    pub(super) fn send_all(&mut self) {
        for member in self.followers() {
            self.send_entries(member);
        }
    }

    /// Sends to one member what it lacks and may get.
    pub(super) fn send_entries(&mut self, to: NodeId) {
        while self.send_one(to) {}
    }

    /// Tells the members of a new commit mark, with entries where there are any.
    pub(super) fn send_commit(&mut self) {
        for member in self.followers() {
            self.send_entries(member);
            self.tell_commit(member);
        }
    }

    /// Tells a member of a commit mark that no entries have told it of.
    fn tell_commit(&mut self, member: NodeId) {
        let committed = self.log.committed();
        let behind = self.leadership().and_then(|leader| leader.progress.get(&member));
        if behind.is_some_and(|progress| {
            matches!(progress.phase, Phase::Replicate(_)) && progress.commit_sent < committed
        }) {
            self.send_sign(member);
        }
    }

    pub(super) fn followers(&self) -> Vec<NodeId> {
        self.leadership()
            .map(|leader| leader.progress.keys().copied().collect())
            .unwrap_or_default()
    }

    /// Sends one append with entries. False if there are none, or they have to wait.
    fn send_one(&mut self, to: NodeId) -> bool {
        let last = self.log.last();
        let committed = self.log.committed();
        let Part::Leader(leader) = &mut self.part else { return false };
        let Some(progress) = leader.progress.get_mut(&to) else { return false };
        let limits = &self.config.limits;
        if progress.next > last.index || !progress.may_append(limits) {
            return false;
        }
        let Some(previous) = self.log.id_at(progress.next.previous()) else {
            return self.begin_snapshot(to);
        };
        if progress.next <= self.log.base().index {
            return self.begin_snapshot(to);
        }
        let entries = self.log.slice(progress.next, last.index, limits.append_bytes_max);
        let Some(newest) = entries.last().map(|entry| entry.id) else { return false };
        progress.sent(newest, entries.iter().map(crate::Entry::bytes).sum());
        progress.commit_sent = committed;
        let round = leader.round;
        self.send(to, Message::Append { previous, entries, commit: committed, round });
        true
    }

    /// Sends a sign of life, which also finds out what was lost on the way.
    pub(super) fn send_sign(&mut self, to: NodeId) {
        let committed = self.log.committed();
        let Part::Leader(leader) = &mut self.part else { return };
        let round = leader.round;
        let Some(progress) = leader.progress.get_mut(&to) else { return };
        if let Phase::Snapshot(_) = progress.phase {
            self.ask_for_received(to, round);
            return;
        }
        // What a member does not have from before the log's base it gets as a snapshot.
        let at = progress.next.previous();
        let Some(previous) = self.log.id_at(at).filter(|_| at >= self.log.base().index) else {
            self.begin_snapshot(to);
            return;
        };
        progress.commit_sent = committed;
        self.send(to, Message::Append { previous, entries: Vec::new(), commit: committed, round });
    }

    pub(super) fn take_append_answer(&mut self, from: NodeId, round: Round, result: AppendResult) {
        let own_last = self.last_index();
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        let newest = leader.round;
        let round = round.min(newest);
        progress.round = progress.round.max(round);
        match result {
            AppendResult::Matched(index) if index > own_last => {
                self.out.alarms.push(Alarm::Unsound { node: from });
                return;
            }
            AppendResult::Matched(index) => {
                if progress.matched(index, newest) {
                    self.count_log();
                }
            }
            AppendResult::Rejected { last, .. } if progress.has_lost(round, last) => {
                self.member_forgot(from, last);
            }
            AppendResult::Rejected { previous, hint, .. } => {
                // Before the log's base there is only the snapshot: no need to ask for the base.
                let back = self.log.last_of_term(hint.index, hint.term).index.min(hint.index);
                if progress.rejected(previous, back) {
                    self.mark("went back");
                }
            }
        }
        self.count_rounds();
        self.continue_transfer(from);
        self.send_entries(from);
        // What was committed while the place was looked for.
        self.tell_commit(from);
    }

    /// A member has less than it had acknowledged: what it says counts no more (row M07). It is
    /// told for as long as it answers.
    fn member_forgot(&mut self, node: NodeId, has: Index) {
        let Some(leader) = self.leadership_mut() else { return };
        let Some(progress) = leader.progress.get_mut(&node) else { return };
        let acknowledged = progress.matched;
        if !progress.forgot {
            progress.forget();
            self.mark("member forgot");
            self.out.alarms.push(Alarm::Forgot { node, acknowledged, has });
        }
        self.send(node, Message::Refuse { why: Refusal::Forgot { acknowledged, has } });
    }

    /// What was sent may be lost: look for the place again.
    pub(super) fn unreachable(&mut self, node: NodeId) {
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(progress) = leader.progress.get_mut(&node) else { return };
        if let Phase::Replicate(_) = progress.phase {
            progress.next = progress.matched.next();
            progress.phase = Phase::Probe { asked: false };
        }
    }
}

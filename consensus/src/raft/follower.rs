//! Taking what a leader sends (paper, figure 2, AppendEntries).

use super::Raft;
use crate::{AppendResult, Content, Entry, EntryId, Index, Message, NodeId, Round};

impl Raft {
    pub(super) fn take_append(
        &mut self,
        from: NodeId,
        (previous, entries): (EntryId, Vec<Entry>),
        commit: Index,
        round: Round,
    ) {
        if let Some(storing) = self.storing.as_ref().filter(|storing| storing.installed) {
            // The log is about to begin anew behind a snapshot.
            let last = storing.snapshot.meta.last;
            self.answer_while_storing(from, last, round);
            return;
        }
        if previous.index < self.log.committed() && self.was_taken_over() {
            self.compare(from, (previous, entries), commit, round);
            return;
        }
        if previous.index < self.log.committed() {
            // What is committed here is the same there; only what follows could be new.
            self.mark("append behind the commit mark");
            let committed = self.log.committed();
            let behind = entries.iter().position(|entry| entry.id.index > committed);
            let Some(behind) = behind else {
                self.answer_append(from, round, AppendResult::Matched(committed));
                return;
            };
            let entries = entries[behind..].to_vec();
            let previous = self.log.id_at(committed).expect("the last committed entry is known");
            self.take_matching(from, (previous.index, entries), commit, round);
            return;
        }
        if !self.log.has(previous) && !planted!(self, SkipPreviousCheck) {
            self.mark("append rejected");
            let hint = self.log.last_of_term(previous.index, previous.term);
            let (previous, last) = (previous.index, self.last_index());
            let result = AppendResult::Rejected { previous, hint, last };
            self.answer_append(from, round, result);
            return;
        }
        self.take_matching(from, (previous.index, entries), commit, round);
    }

    /// Takes entries behind one that both have.
    pub(super) fn take_matching(
        &mut self,
        from: NodeId,
        (previous, entries): (Index, Vec<Entry>),
        commit: Index,
        round: Round,
    ) {
        let matched = entries.last().map_or(previous, |last| last.id.index);
        let fresh = self.take_entries(entries);
        if !fresh.is_empty() {
            self.write(Content::Entries(fresh));
        }
        // Behind what matches, this log may differ from the leader's.
        let commit = if planted!(self, CommitBeyondMatch) {
            commit.min(self.last_index())
        } else {
            commit.min(matched)
        };
        self.log.commit(commit.min(self.last_index()));
        self.drop_received();
        self.answer_append(from, round, AppendResult::Matched(matched));
    }

    #[cfg(any(test, feature = "testing"))]
    fn take_entries(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        if planted!(self, KeepConflict) {
            self.log.take_keeping(entries)
        } else if planted!(self, ForgetMembershipOnCut) {
            self.log.take_forgetting(entries)
        } else {
            self.log.take(entries)
        }
    }

    #[cfg(not(any(test, feature = "testing")))]
    fn take_entries(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.log.take(entries)
    }

    pub(super) fn answer_append(&mut self, to: NodeId, round: Round, result: AppendResult) {
        self.send(to, Message::AppendAnswer { round, result });
    }
}

//! Taking copies back, one by one: what a leaf that returned has beside what the record says.
//!
//! | on the leaf | elsewhere | what becomes of it |
//! |---|---|---|
//! | the copy | nobody serves | it is taken back as it is; a master that stopped in order goes on in its term, another begins the next |
//! | the copy | its counterpart serves | it follows: from the log, rewound, or by pages, as its history says |
//! | the copy | somebody else serves, and too few copies have everything | it follows as well: a partition has as many copies as it can |
//! | the copy | somebody else serves, and enough copies have everything | it leaves the record: an orphan |
//! | the copy, with a newer term than the record | – | nothing is decided: the metadata are stale (row M15) |
//! | nothing (a new disk), or it cannot be recovered | somebody serves | another copy takes its place, or pages are fetched |
//! | nothing | nobody serves | the partition waits for somebody to decide |

use resprout_replication::{CopyRecord, CopyState, Request};

use super::{About, Manager, at, copy_name};
use crate::execution::Change;
use crate::metadata::{Command, DatabaseEntry, Happened, Metadata, NodeState};
use crate::plan::is_taken_back;
use crate::reconcile::{Doing, HeldCopy};
use crate::{Copy, Following, LeafId, NodeId, Partition};

impl Manager {
    /// Decides about the copies of a partition whose leaf is being attached, or online without them.
    pub(super) fn look_at_returned(
        &mut self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        partition: &Partition,
    ) {
        for (leaf, copy) in partition.copies.iter().filter(|(_, copy)| copy.offline) {
            let node = NodeId::from(*leaf);
            let Some(found) = metadata.nodes().get(&node) else { continue };
            let is_back = matches!(found.state, NodeState::Attaching | NodeState::Online);
            if !is_back || self.detector.is_lost(node) {
                continue;
            }
            let name = copy_name(entry, partition, copy.instance);
            let Some(answer) = self.heard_as_known(metadata, node) else { continue };
            // Whether its master serves must be known: if that crashed too, all are compared (rule 15).
            let master = partition.serving();
            let is_unsure = master.is_some_and(|master| {
                master != *leaf && self.heard_as_known(metadata, master.into()).is_none()
            });
            if is_unsure || answer.phase != super::Phase::Ready {
                continue;
            }
            let held = answer.held.get(&name).copied();
            let command = self.returned(metadata, (entry, partition), (*leaf, copy), held);
            if let Some(command) = command {
                self.propose(About::Record(entry.number, partition.ordinal), command);
            }
        }
    }

    fn returned(
        &self,
        metadata: &Metadata,
        (entry, partition): (&DatabaseEntry, &Partition),
        (leaf, copy): (LeafId, &Copy),
        held: Option<HeldCopy>,
    ) -> Option<Command> {
        let serving = partition.serving();
        let Some(held) = held else {
            // Its disk is another one (row I03). A new copy gives way to nothing: it has another number.
            let change = Change::AddCopy { ordinal: partition.ordinal, leaf };
            let database = entry.map.name.clone();
            return serving.map(|_| Command::Execute { database, change });
        };
        if held.doing == Doing::Recovering
            || held.doing == Doing::Unrecoverable && serving.is_none()
        {
            return None;
        }
        let (at, instance) = (at(entry, partition), copy.instance);
        let leaves = metadata.leaves();
        if !is_taken_back((&leaves, metadata.mode()), (&entry.map, partition), leaf) {
            return Some(Command::Orphan { at, instance });
        }
        if held.doing == Doing::Unrecoverable && copy.following != Following::Async {
            return None;
        }
        let clean = goes_on(&held, partition);
        let incarnation = held.incarnation.max(copy.incarnation);
        Some(Command::TakeBack { at, instance, incarnation, clean })
    }

    /// What an unrecoverable copy had acknowledged is gone: before pages take its place it is to be none that may be elected,
    /// also where acknowledgements outlive a crash. Its master is there, and has everything.
    pub(super) fn give_up_unrecoverable(
        &mut self,
        metadata: &Metadata,
        entry: &DatabaseEntry,
        partition: &Partition,
    ) {
        let Some(master) = partition.serving() else { return };
        let held = |leaf: LeafId, copy: &Copy| {
            let answer = self.heard_as_known(metadata, leaf.into())?;
            answer.held.get(&copy_name(entry, partition, copy.instance)).copied()
        };
        let is_lost = |(leaf, copy): &(&LeafId, &Copy)| {
            let doing = held(**leaf, copy).map(|held| held.doing);
            **leaf != master
                && copy.following != Following::Async
                && doing == Some(Doing::Unrecoverable)
        };
        let is_heard = self.heard_as_known(metadata, master.into()).is_some();
        let Some((_, copy)) = partition.copies.iter().find(is_lost).filter(|_| is_heard) else {
            return;
        };
        let to = CopyRecord { state: CopyState::Async, incarnation: copy.incarnation };
        let (term, cfg, instance) = (partition.term, partition.cfg, copy.instance);
        let (database, ordinal) = (entry.map.name.clone(), partition.ordinal);
        let request = Request { term, cfg, instance, to };
        let command = Command::Publish { database, ordinal, request };
        self.propose(About::Record(entry.number, ordinal), command);
    }

    /// A copy that knows a newer term than the record: the metadata were restored, or replaced by force. Nothing is
    /// decided for its partition (rule 20, row M15).
    pub(super) fn is_stale(&mut self, entry: &DatabaseEntry, partition: &Partition) -> bool {
        for (leaf, copy) in &partition.copies {
            let name = copy_name(entry, partition, copy.instance);
            let node = NodeId::from(*leaf);
            let Some(held) = self.seen.get(&node).and_then(|answer| answer.held.get(&name)) else {
                continue;
            };
            let newest = held.promised.max(held.last_term);
            if newest < entry.map.next_term_of(partition.ordinal) {
                continue;
            }
            let key = (entry.number, partition.ordinal, newest);
            if self.told.insert(key) {
                let happened = Happened::MetadataStale {
                    database: entry.map.name.clone(),
                    ordinal: partition.ordinal,
                    instance: copy.instance,
                    term: newest,
                };
                self.tell(Some(node), happened);
            }
            return true;
        }
        false
    }
}

/// Whether a copy's run before ended in order, in the term of the record: nothing happened to the partition in between.
pub(super) fn goes_on(held: &HeldCopy, partition: &Partition) -> bool {
    let is_current = partition.master.is_some() && held.last_term == partition.term;
    held.clean && is_current && held.doing != Doing::Unrecoverable
}

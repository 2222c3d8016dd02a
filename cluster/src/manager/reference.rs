//! Every leaf has the rows of reference tables: a leaf that is online and has no copy of them on record gets one.
//!
//! One that goes takes its copy out of the record with it (`RemoveNode`); one that is away keeps it there, and is taken back
//! like any other copy. So nobody counts copies here, and nothing is ever too many.

use super::{About, Manager, Phase};
use crate::execution::Change;
use crate::metadata::{Command, DatabaseEntry, DatabaseState, Metadata, NodeState};
use crate::{LeafId, NodeId};

impl Manager {
    /// Gives one leaf a copy of a database's reference tables; the next one with the next look.
    pub(super) fn look_at_reference(&mut self, metadata: &Metadata, entry: &DatabaseEntry) {
        let Some(reference) = &entry.map.reference else { return };
        let partition = &reference.partition;
        if entry.state != DatabaseState::Open || partition.serving().is_none() {
            return;
        }
        let lacks = |(id, node): &(&NodeId, &crate::metadata::Node)| {
            let is_ready = self
                .heard_as_known(metadata, **id)
                .is_some_and(|answer| answer.phase == Phase::Ready);
            node.is_leaf()
                && node.state == NodeState::Online
                && is_ready
                && !self.detector.is_lost(**id)
                && !partition.copies.contains_key(&LeafId::from(**id))
        };
        let Some((id, _)) = metadata.nodes().iter().find(lacks) else { return };
        let (ordinal, leaf) = (partition.ordinal, LeafId::from(*id));
        let change = Change::AddCopy { ordinal, leaf };
        let database = entry.map.name.clone();
        self.propose(About::Record(entry.number, ordinal), Command::Execute { database, change });
    }
}

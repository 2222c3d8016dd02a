//! Notes of copies that left the record are of use only while a leaf has such a copy.

use super::{About, Manager, Phase};
use crate::metadata::{Command, DatabaseEntry, Left, Metadata};
use crate::reconcile::CopyName;

impl Manager {
    /// Forgets what leaves say they do not have. What was on a leaf that was removed, one at the same address may say.
    pub(super) fn forget_left(&mut self, metadata: &Metadata, entry: &DatabaseEntry) {
        let is_gone = |left: &&Left| {
            let is_known = |node| {
                metadata.nodes().contains_key(&node) || metadata.removed().contains_key(&node)
            };
            if !is_known(left.leaf.into()) {
                return true;
            }
            let holder = metadata.holder_of(left.leaf);
            let Some(answer) = holder.and_then(|node| self.heard_as_known(metadata, node)) else {
                return false;
            };
            let (database, ordinal, instance) = (entry.number, left.ordinal, left.instance);
            let name = CopyName { database, ordinal, instance };
            // What it said before it knew of the change is of no value: it may have been about to make the copy.
            let knows = answer.phase == Phase::Ready && answer.fulfilled >= left.index;
            knows && !answer.held.contains_key(&name)
        };
        let gone: Vec<_> = entry.left.iter().filter(is_gone).map(|left| left.instance).collect();
        if !gone.is_empty() {
            self.propose(About::Left(entry.number), Command::forget(&entry.map.name, gone));
        }
    }
}

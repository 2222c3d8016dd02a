//! Log matching: two entries with one name are one entry, and so is what is before them.

use std::collections::BTreeMap;

use resprout_consensus::{Content, EntryId, Index, Write};

use crate::raft::image::{Image, entry_digest};
use crate::{Violation, hold};

/// Every entry that was ever written: the one before it, and what it says. If these are unique by
/// name, logs match by induction.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<EntryId, (EntryId, u64)>);

impl Names {
    /// A node writes; `before` is what it had written.
    ///
    /// # Errors
    /// [`Violation`] if an entry of that name says something else or follows another.
    pub fn written(&mut self, before: &Image, write: &Write) -> Result<(), Violation> {
        let Content::Entries(entries) = &write.content else { return Ok(()) };
        let Some(first) = entries.first() else { return Ok(()) };
        let mut previous = before.id_at(Index(first.id.index.0 - 1));
        for entry in entries {
            if let Some(previous) = previous {
                let what = (previous, entry_digest(entry));
                let known = *self.0.entry(entry.id).or_insert(what);
                hold(known == what, "an entry's name is its own, and logs match", || {
                    format!("{}: {known:?} and {what:?}", entry.id)
                })?;
            }
            previous = Some(entry.id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_consensus::{Entry, Membership, Payload, Term, WriteId};

    /// Promise: this checker sees two entries of one name, and one name behind two entries.
    #[test]
    fn shared_names_are_seen() {
        let id = |term, index| EntryId::new(Term(term), Index(index));
        let write = |ids: &[EntryId], payload: &Payload| {
            let entry = |id: &EntryId| Entry { id: *id, payload: payload.clone() };
            Write { id: WriteId(1), content: Content::Entries(ids.iter().map(entry).collect()) }
        };
        let (mut names, empty, start) = (Names::default(), Image::default(), Payload::TermStart);
        let mut other = Image::default();
        assert_eq!(names.written(&empty, &write(&[id(1, 1), id(2, 2)], &start)), Ok(()));
        let members = Payload::Membership(Membership::default());
        let said = write(&[id(1, 1)], &members);
        assert!(names.written(&empty, &said).is_err());
        other.take(&write(&[id(2, 1)], &start));
        assert!(names.written(&other, &write(&[id(2, 2)], &start)).is_err());
    }
}

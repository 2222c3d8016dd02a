//! Verified groups, handed out without copying where they lie in one read.

use bytes::Bytes;

use crate::frame::Entries;
use crate::{Lsn, Term};

/// One group: committed together, present together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Where its first frame begins.
    pub lsn: Lsn,
    /// Behind its last frame.
    pub end: Lsn,
    /// The mastership it was written in.
    pub term: Term,
    /// Known committed when it was written.
    pub committed: Lsn,
    /// Encoded entries; shares memory with the read it came from.
    pub payload: Bytes,
}

/// One entry of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where its group begins.
    pub lsn: Lsn,
    /// Where its group ends: the log contains the entry when it reaches to here.
    pub end: Lsn,
    /// The mastership it was written in.
    pub term: Term,
    /// What was appended.
    pub bytes: &'a [u8],
}

impl Group {
    /// Its entries in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let (lsn, end, term) = (self.lsn, self.end, self.term);
        Entries::new(&self.payload).map(move |bytes| Entry { lsn, end, term, bytes })
    }
}

/// Some verified groups in order of LSN. Keeps alive the memory that they share.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    groups: Vec<Group>,
}

impl Batch {
    pub(super) fn push(&mut self, group: Group) {
        let last = self.groups.last();
        assert!(last.is_none_or(|last| last.end <= group.lsn), "groups out of order");
        self.groups.push(group);
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The entries of all groups in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.groups.iter().flat_map(Group::entries)
    }

    /// Whether there are no groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

//! What is where: the copies of a database's partitions, as the metadata have them now.

use std::collections::BTreeMap;

use crate::{Cfg, Incarnation, Instance, LeafId, Ordinal, Stamp, Term};

/// How a replica follows its master, as the record has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Following {
    /// Not waited for: newly copied, or left behind.
    #[default]
    Async,
    /// Waited for, but not published: it may miss what was acknowledged before.
    Ready,
    /// Waited for: it has every acknowledged write.
    Sync,
}

/// One copy. The master is a copy too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// Which copy.
    pub instance: Instance,
    /// How it follows; of no meaning for the master.
    pub following: Following,
    /// Recorded as unusable: its leaf was lost. Neither a source nor kept by a placement.
    pub offline: bool,
    /// The run that this was said of (catalogue rule 15).
    pub incarnation: Incarnation,
}

/// The copies of one partition; never two on one leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the database.
    pub ordinal: Ordinal,
    /// Which leaf has the master; nobody while the partition is offline.
    pub master: Option<LeafId>,
    /// Of which mastership.
    pub term: Term,
    /// Version within the partition; grows with every change.
    pub cfg: Cfg,
    /// The decision that made it so: what was decided before has a smaller one (catalogue rule 3).
    pub stamp: Stamp,
    /// Where the master was before a failover moved it, to be promoted there again when it is stable.
    pub former: Option<LeafId>,
    /// An orphan that was attached to be elected: what was acknowledged without it may be gone then.
    pub attached: Option<Instance>,
    /// It began anew, or with an orphan: its tables may be others than those of its database.
    pub unaligned: bool,
    /// By leaf.
    pub copies: BTreeMap<LeafId, Copy>,
    /// What one copy takes, memory and disk alike. Measured; the metadata do not have it.
    pub bytes: u64,
}

impl Partition {
    /// The leaves with a copy that can be used.
    pub fn usable(&self) -> impl Iterator<Item = LeafId> + '_ {
        self.copies.iter().filter(|(_, copy)| !copy.offline).map(|(leaf, _)| *leaf)
    }

    /// The master, if its leaf is there. A lost master without heir stays in the record: it alone may go on.
    #[must_use]
    pub fn serving(&self) -> Option<LeafId> {
        self.master.filter(|master| self.is_usable_on(*master))
    }

    /// Whether that leaf has a copy that can be used.
    #[must_use]
    pub fn is_usable_on(&self, leaf: LeafId) -> bool {
        self.copies.get(&leaf).is_some_and(|copy| !copy.offline)
    }
}

/// The partition with the rows of all reference tables: one more, behind those that rows are spread over. Every leaf
/// has a copy, and commits wait for all of them and their disks, whatever the database is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// It, with the ordinal behind the last of the others.
    pub partition: Partition,
    /// The number of its next copy, from [`Reference::FIRST_INSTANCE`].
    pub next_instance: Instance,
    /// Its next mastership, from 2 like those of the others.
    pub next_term: Term,
}

impl Reference {
    /// Its copies are counted apart, so that those of the other partitions have the documented numbers, and no number comes
    /// twice in a database.
    pub const FIRST_INSTANCE: Instance = Instance(1 << 32);
}

/// A database: its partitions by ordinal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its name; case matters.
    pub name: String,
    /// Commits wait for replicas; then only those that were waited for are promoted when a leaf is lost.
    pub sync: bool,
    /// Those that rows are spread over, in the order of their ordinals.
    pub partitions: Vec<Partition>,
    /// That of reference tables; none in a database that was made before there was one.
    pub reference: Option<Reference>,
    /// The number of the next copy.
    pub next_instance: Instance,
    /// The next mastership.
    pub next_term: Term,
}

impl Database {
    /// All partitions, that of reference tables last.
    pub fn all(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().chain(self.reference.iter().map(|reference| &reference.partition))
    }

    /// The same, to change them.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        let reference = self.reference.iter_mut().map(|reference| &mut reference.partition);
        self.partitions.iter_mut().chain(reference)
    }

    /// The partition of a number, also that of reference tables.
    #[must_use]
    pub fn partition(&self, ordinal: Ordinal) -> Option<&Partition> {
        let at = self.partitions.binary_search_by_key(&ordinal, |partition| partition.ordinal);
        match at {
            Ok(at) => Some(&self.partitions[at]),
            Err(_) => self.reference_of(ordinal).map(|reference| &reference.partition),
        }
    }

    /// The same, to change it.
    pub(crate) fn partition_mut(&mut self, ordinal: Ordinal) -> Option<&mut Partition> {
        let at = self.partitions.binary_search_by_key(&ordinal, |partition| partition.ordinal);
        match at {
            Ok(at) => Some(&mut self.partitions[at]),
            Err(_) => self.reference_mut(ordinal).map(|reference| &mut reference.partition),
        }
    }

    fn reference_of(&self, ordinal: Ordinal) -> Option<&Reference> {
        self.reference.as_ref().filter(|reference| reference.partition.ordinal == ordinal)
    }

    fn reference_mut(&mut self, ordinal: Ordinal) -> Option<&mut Reference> {
        self.reference.as_mut().filter(|reference| reference.partition.ordinal == ordinal)
    }

    /// Whether that is the partition of reference tables.
    #[must_use]
    pub fn is_reference(&self, ordinal: Ordinal) -> bool {
        self.reference_of(ordinal).is_some()
    }

    /// Whether commits in a partition wait for replicas.
    #[must_use]
    pub fn is_sync(&self, of: &Partition) -> bool {
        self.sync || self.is_reference(of.ordinal)
    }

    /// The next mastership of a partition.
    #[must_use]
    pub fn next_term_of(&self, ordinal: Ordinal) -> Term {
        self.reference_of(ordinal).map_or(self.next_term, |reference| reference.next_term)
    }

    /// The same, taken.
    pub(crate) fn take_term(&mut self, ordinal: Ordinal) -> Term {
        let next = match self.reference_mut(ordinal) {
            Some(reference) => &mut reference.next_term,
            None => &mut self.next_term,
        };
        let term = *next;
        next.0 += 1;
        term
    }

    /// The number of a partition's next copy, taken.
    pub(crate) fn take_instance(&mut self, ordinal: Ordinal) -> Instance {
        let next = match self.reference_mut(ordinal) {
            Some(reference) => &mut reference.next_instance,
            None => &mut self.next_instance,
        };
        let instance = *next;
        next.0 += 1;
        instance
    }

    /// Copies of a partition that count: its master, and those that could be promoted.
    #[must_use]
    pub fn full_copies(&self, partition: &Partition) -> usize {
        let counts = |(leaf, copy): &(&LeafId, &Copy)| {
            !copy.offline
                && (partition.master == Some(**leaf) || self.is_promotable(partition, copy))
        };
        partition.copies.iter().filter(counts).count()
    }

    /// Whether a copy may become master without asking its old master: it follows at least as closely as
    /// the database, or the partition of reference tables, is made for.
    #[must_use]
    pub fn is_promotable(&self, of: &Partition, copy: &Copy) -> bool {
        !copy.offline && (!self.is_sync(of) || copy.following == Following::Sync)
    }
}

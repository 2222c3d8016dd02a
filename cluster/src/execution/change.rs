//! The changes of the record that a plan is made of: each one transaction of the metadata.
//!
//! [`apply`] is what every replica of the metadata does with a committed change. It refuses whatever the record does
//! not allow at that moment, so nothing depends on the executor being up to date, or being the only one: a
//! change that comes late, twice or from an earlier master aggregator does no harm.

use thiserror::Error;

use crate::{
    Cfg, Copy, Database, Following, Incarnation, Instance, LeafId, Ordinal, Partition, Term,
};

/// A change of one partition's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another copy, asynchronous and empty: its number is the database's next.
    AddCopy {
        /// Of which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
    },
    /// A copy that a leaf has, and the record does not, is taken into it: if there is a master, as replica that has
    /// to catch up; else as the one that is elected in a new term.
    Attach {
        /// Of which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
        /// Which copy.
        instance: Instance,
    },
    /// A partition without copies begins anew, empty, in a new term: without the tables of its database, too.
    Create {
        /// Which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
    },
    /// Roles are exchanged and a new term begins: the point of no return of a promotion.
    Promote {
        /// Of which partition.
        ordinal: Ordinal,
        /// The mastership that ends; it must be the record's.
        term: Term,
        /// The leaf whose copy becomes master.
        to: LeafId,
        /// The old master's copy leaves the record, if this many full copies are left then.
        drop_leaving: Option<usize>,
        /// It is to be master again when its leaf has come and gone.
        returns: bool,
    },
    /// A copy leaves the record, and its leaf keeps it, as an orphan. If it is a lost master's, the mastership ends.
    Detach {
        /// Of which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
        /// Which copy.
        instance: Instance,
    },
    /// A copy leaves the record. Its files are removed afterwards: until then they are an orphan.
    Remove {
        /// Of which partition.
        ordinal: Ordinal,
        /// Where.
        leaf: LeafId,
        /// Which copy: a later one in the same place stays.
        instance: Instance,
        /// Full copies that must be left.
        leaving: usize,
    },
}

impl Change {
    /// Which partition.
    #[must_use]
    pub fn ordinal(&self) -> Ordinal {
        match self {
            Self::AddCopy { ordinal, .. }
            | Self::Attach { ordinal, .. }
            | Self::Create { ordinal, .. }
            | Self::Promote { ordinal, .. }
            | Self::Detach { ordinal, .. }
            | Self::Remove { ordinal, .. } => *ordinal,
        }
    }
}

/// Why the record does not take a change. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no such partition.
    #[error("there is no such partition")]
    NoPartition,
    /// The partition has no master that could be copied from.
    #[error("the partition has no master")]
    NoMaster,
    /// The leaf has a copy already.
    #[error("the leaf has a copy already")]
    HasCopy,
    /// The leaf has no such copy.
    #[error("the leaf has no such copy")]
    NoCopy,
    /// Another mastership has begun.
    #[error("another mastership has begun")]
    OtherTerm,
    /// The copy may miss acknowledged writes.
    #[error("the copy may miss acknowledged writes")]
    Behind,
    /// A master is not dropped.
    #[error("the copy is the master")]
    IsMaster,
    /// Too few full copies would be left.
    #[error("fewer than {0} copies would be left")]
    TooFewCopies(usize),
    /// A copy that is away may have writes that were acknowledged and that this one misses.
    #[error("the copy on {0} is away and may have more: bring it back, or detach it first")]
    MayHaveMore(LeafId),
}

/// The run of a copy that is made: its life begins.
const FIRST_RUN: Incarnation = Incarnation(1);

/// Changes the record, or refuses and leaves it as it is.
///
/// # Errors
/// [`Refused`] if the record does not allow it now.
pub fn apply(database: &mut Database, change: &Change) -> Result<(), Refused> {
    match *change {
        Change::AddCopy { ordinal, leaf } => add(database, ordinal, leaf),
        Change::Attach { ordinal, leaf, instance } => attach(database, ordinal, leaf, instance),
        Change::Create { ordinal, leaf } => create(database, ordinal, leaf),
        Change::Promote { ordinal, term, to, drop_leaving, returns } => {
            promote(database, (ordinal, term), (to, returns), drop_leaving)
        }
        Change::Detach { ordinal, leaf, instance } => detach(database, (ordinal, leaf), instance),
        Change::Remove { ordinal, leaf, instance, leaving } => {
            remove(database, (ordinal, leaf), instance, leaving)
        }
    }?;
    if let Some(partition) = database.partition_mut(change.ordinal()) {
        partition.cfg = Cfg(partition.cfg.0 + 1);
    }
    Ok(())
}

fn add(database: &mut Database, ordinal: Ordinal, leaf: LeafId) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    if partition.serving().is_none() {
        return Err(Refused::NoMaster);
    }
    // An offline copy gives way: what its leaf has of it is an orphan from now on.
    if partition.is_usable_on(leaf) {
        return Err(Refused::HasCopy);
    }
    let instance = database.take_instance(ordinal);
    let copy =
        Copy { instance, following: Following::Async, offline: false, incarnation: FIRST_RUN };
    let partition = database.partition_mut(ordinal).expect("it was found");
    partition.copies.insert(leaf, copy);
    Ok(())
}

fn attach(
    database: &mut Database,
    ordinal: Ordinal,
    leaf: LeafId,
    instance: Instance,
) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    if partition.is_usable_on(leaf) {
        return Err(Refused::HasCopy);
    }
    let (is_served, sync) = (partition.serving().is_some(), database.is_sync(partition));
    if !is_served && let Some(other) = better(partition, sync) {
        return Err(Refused::MayHaveMore(other));
    }
    let term = (!is_served).then(|| database.take_term(ordinal));
    let partition = database.partition_mut(ordinal).expect("it was found");
    // Without a master it is the one that is elected: nobody in the record has more.
    let following = if is_served || !sync { Following::Async } else { Following::Sync };
    let copy = Copy { instance, following, offline: false, ..Copy::default() };
    partition.copies.insert(leaf, copy);
    if let Some(term) = term {
        (partition.former, partition.attached, partition.term) = (None, Some(instance), term);
        // Its tables may be those of another time.
        partition.unaligned = true;
    }
    Ok(())
}

/// A recorded copy that may have acknowledged writes which an orphan misses: the lost master's, or one that may
/// be elected.
fn better(partition: &Partition, sync: bool) -> Option<LeafId> {
    let mut copies = partition.copies.iter();
    let is_sync = |copy: &Copy| sync && copy.following == Following::Sync;
    let may_be_elected = copies.find(|(_, copy)| is_sync(copy)).map(|(leaf, _)| *leaf);
    partition.master.or(may_be_elected)
}

fn detach(
    database: &mut Database,
    (ordinal, leaf): (Ordinal, LeafId),
    instance: Instance,
) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    let copy = partition.copies.get(&leaf).filter(|copy| copy.instance == instance);
    let copy = copy.ok_or(Refused::NoCopy)?;
    let is_master = partition.master == Some(leaf);
    if !copy.offline {
        if is_master {
            return Err(Refused::IsMaster);
        }
        if partition.serving().is_none() {
            return Err(Refused::NoMaster);
        }
    }
    let term = is_master.then(|| database.take_term(ordinal));
    let partition = database.partition_mut(ordinal).expect("it was found");
    partition.copies.remove(&leaf);
    partition.former = partition.former.filter(|former| *former != leaf);
    partition.attached = partition.attached.filter(|attached| *attached != instance);
    if let Some(term) = term {
        // Whoever still reaches it there is told of the next term.
        (partition.master, partition.term) = (None, term);
    }
    Ok(())
}

fn create(database: &mut Database, ordinal: Ordinal, leaf: LeafId) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    if partition.usable().next().is_some() {
        return Err(Refused::HasCopy);
    }
    let (instance, term) = (database.take_instance(ordinal), database.take_term(ordinal));
    let partition = database.partition_mut(ordinal).expect("it was found");
    let copy =
        Copy { instance, following: Following::Async, offline: false, incarnation: FIRST_RUN };
    partition.copies = [(leaf, copy)].into();
    (partition.master, partition.term, partition.unaligned) = (Some(leaf), term, true);
    (partition.former, partition.attached) = (None, None);
    Ok(())
}

fn promote(
    database: &mut Database,
    (ordinal, term): (Ordinal, Term),
    (to, returns): (LeafId, bool),
    drop_leaving: Option<usize>,
) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    let before = partition.serving().ok_or(Refused::NoMaster)?;
    if partition.term != term || before == to {
        return Err(Refused::OtherTerm);
    }
    let copy = partition.copies.get(&to).ok_or(Refused::NoCopy)?;
    if !database.is_promotable(partition, copy) {
        return Err(Refused::Behind);
    }
    if let Some(leaving) = drop_leaving
        && database.full_copies(partition) < leaving + 1
    {
        return Err(Refused::TooFewCopies(leaving));
    }
    // Nobody wrote between the lock and this, so the old master has everything: it goes on in step.
    let following = if database.is_sync(partition) { Following::Sync } else { Following::Async };
    let next = database.take_term(ordinal);
    let partition = database.partition_mut(ordinal).expect("it was found");
    let former = returns.then(|| partition.former.unwrap_or(before));
    partition.former = former.filter(|former| *former != to);
    (partition.master, partition.term) = (Some(to), next);
    if drop_leaving.is_some() {
        partition.copies.remove(&before);
    } else if let Some(old) = partition.copies.get_mut(&before) {
        old.following = following;
    }
    Ok(())
}

fn remove(
    database: &mut Database,
    (ordinal, leaf): (Ordinal, LeafId),
    instance: Instance,
    leaving: usize,
) -> Result<(), Refused> {
    let partition = database.partition(ordinal).ok_or(Refused::NoPartition)?;
    let copy = partition.copies.get(&leaf).filter(|copy| copy.instance == instance);
    let copy = copy.ok_or(Refused::NoCopy)?;
    if partition.master == Some(leaf) {
        return Err(Refused::IsMaster);
    }
    // A copy that does not count is not missed.
    let counts = database.is_promotable(partition, copy);
    if counts && database.full_copies(partition) < leaving + 1 {
        return Err(Refused::TooFewCopies(leaving));
    }
    let partition = database.partition_mut(ordinal).expect("it was found");
    partition.copies.remove(&leaf);
    Ok(())
}

//! What may go wrong in a simulated disk, as data.

use std::path::{Path, PathBuf};

/// Kinds of operations that can be counted and made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// A read. Not in the log of operations and not matched by faults for any kind: it changes
    /// nothing, so a crash at it equals a crash at the next operation.
    Read,
    /// A write, durable or not.
    Write,
    /// A flush of one file.
    Flush,
    /// A new file.
    Create,
    /// A new directory.
    CreateDir,
    /// Another name.
    Rename,
    /// A name less.
    Remove,
    /// A flush of one directory.
    SyncDir,
}

/// One operation, as the disk was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub kind: OpKind,
    /// Where; for a rename the old name.
    pub path: PathBuf,
    /// Byte position, for reads and writes.
    pub offset: u64,
    /// Bytes, for reads and writes.
    pub len: u64,
}

impl Op {
    pub(super) fn named(kind: OpKind, path: &Path) -> Self {
        Self { kind, path: path.to_owned(), offset: 0, len: 0 }
    }
}

/// What happens to the operation that a fault hits. What makes no sense for its kind (a
/// misdirected rename) does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Power fails before it had any effect.
    CrashBefore,
    /// Power fails while it runs: a write may survive, vanish or tear, also if it was durable.
    CrashDuring,
    /// Power fails when it has had its full effect (a durable write or flush is on the medium),
    /// but the caller never learns.
    CrashAfter,
    /// It fails with this error number. A flush or write that fails with `EIO` leaves what it was
    /// for in doubt, and no later flush repairs that (catalogue rule 17).
    Error(i32),
    /// A write takes only so many bytes.
    Short(usize),
    /// A write or flush is reported as done and does nothing.
    Lost,
    /// A write lands so many bytes further on.
    Misdirected(i64),
    /// A write stores one bit of its data wrong: this one, counted modulo its length.
    Flipped(u64),
    /// Its completion comes so many waits later, unless a wait cannot end without it.
    Delay(u32),
    /// It takes effect, and its completion does not come before [`super::SimDisk::let_go`]. For
    /// requests of a queue.
    Hang,
}

/// One thing that will go wrong, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind it counts; `None`: all but reads.
    pub kind: Option<OpKind>,
    /// Counts only operations whose path contains this; empty: all.
    pub path_part: String,
    /// How many matching operations pass, from now on, before the one it hits.
    pub after: u64,
    /// What happens.
    pub effect: Effect,
}

impl Fault {
    /// Hits the operation number `after` (from 0) of any kind but reads.
    #[must_use]
    pub fn at(after: u64, effect: Effect) -> Self {
        Self { kind: None, path_part: String::new(), after, effect }
    }

    /// Hits the operation number `after` (from 0) of one kind.
    #[must_use]
    pub fn on(kind: OpKind, after: u64, effect: Effect) -> Self {
        Self { kind: Some(kind), path_part: String::new(), after, effect }
    }

    /// Counts only operations whose path contains `part`.
    #[must_use]
    pub fn in_path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }

    fn matches(&self, op: &Op) -> bool {
        let kind = self.kind.map_or(op.kind != OpKind::Read, |kind| kind == op.kind);
        kind && op.path.to_string_lossy().contains(&self.path_part)
    }
}

/// Lets `op` pass the armed faults: all that match count it, the first that is due is used up.
pub(super) fn due(armed: &mut Vec<Fault>, op: &Op) -> Option<Effect> {
    let mut hit = None;
    for (index, fault) in armed.iter_mut().enumerate().filter(|(_, fault)| fault.matches(op)) {
        if fault.after > 0 {
            fault.after -= 1;
        } else if hit.is_none() {
            hit = Some(index);
        }
    }
    hit.map(|index| armed.remove(index).effect)
}

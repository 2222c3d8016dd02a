//! Looking at an arena without a device: read-only, offline, changing nothing.
//!
//! The same walk and the same judgement as in recovery, so what this says of a log is what its
//! next start will say. One thing is more: recovery begins where a snapshot stands, a walk with
//! the first slot that is still there. That may lie in the middle of a group whose beginning was
//! released; what remains of it is shown as frames and counts as no group.

mod behind;

pub use behind::Behind;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::arena::{Geometry, MarkKind};
use crate::device::read_superblock;
use crate::disk::{Cache, Disk, Open};
use crate::frame::Header;
use crate::recovery::{Chain, Found, Passed, Place, Reading, Survey, Walk, survey};
use crate::{
    Damage, Evidence, Group, History, LogIdentity, Lsn, OpenError, Stop, Tail, Term, Unreadable,
};

/// An arena as it lies on the disk.
#[derive(Debug)]
pub struct Arena {
    place: Place,
    survey: Survey,
    cluster: u128,
    directory: u64,
}

/// One slot of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    /// Where in the arena.
    pub index: u32,
    /// Byte position of its head.
    pub offset: u64,
    /// Its first position.
    pub base: Lsn,
    /// Its term at `base`.
    pub term: Term,
    /// Everything below was durable, says its newest mark.
    pub durable: Option<Lsn>,
    /// How it was left.
    pub kind: MarkKind,
    /// It belongs to the log only until the next start: of an interrupted change of slots or cut.
    pub leftover: bool,
}

/// One log.
#[derive(Clone, Debug)]
pub struct LogInfo {
    /// Whose it is.
    pub identity: LogIdentity,
    /// The first position that is still there.
    pub first_lsn: Lsn,
    /// Its terms, as far as the head of its last slot knows them.
    pub history: History,
    /// Its slots in order, leftovers last.
    pub slots: Vec<SlotInfo>,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// What it says of itself.
    pub header: Header,
    /// The slot that it lies in.
    pub slot: u32,
    /// Byte position in the arena.
    pub offset: u64,
}

/// What the next start will say of a log.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It ends after a whole group, with nothing behind.
    Clean {
        /// Where.
        end: Lsn,
        /// It was closed in order.
        closed: bool,
        /// Its terms.
        history: History,
    },
    /// A crash left something unfinished, which the next start erases.
    Torn {
        /// Where the log is cut.
        at: Lsn,
        /// How far traces were found behind that.
        bytes: u64,
        /// The frame that is not whole; `None` for what a cut left.
        stop: Option<Stop>,
        /// Its terms.
        history: History,
    },
    /// It is damaged.
    Damaged(Damage),
}

/// Frames and groups of a log, in order, up to its end or the damage.
#[derive(Debug)]
pub struct LogWalk {
    walk: Result<Walk, Damage>,
}

impl Arena {
    /// Opens an arena for reading and reads all heads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::io("opening", path, error);
        let file = disk.open(path, Open::Read, Cache::Direct).map_err(failed)?;
        let superblock = read_superblock(&file, path)?;
        let (geometry, cluster) = (superblock.geometry, superblock.cluster);
        let survey = survey(&*disk, &file, geometry, cluster)
            .map_err(|error| OpenError::io("reading", path, error))?;
        let place = Place { disk, file, path: path.to_owned(), geometry };
        Ok(Self { place, survey, cluster, directory: superblock.directory })
    }

    /// The arena's path.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        &self.place.path
    }

    /// How it is cut.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.place.geometry
    }

    /// Whose logs lie here.
    #[must_use]
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The data directory it was made in.
    #[must_use]
    pub fn directory(&self) -> u64 {
        self.directory
    }

    /// Whole slots in the file, and how many of them are free.
    #[must_use]
    pub fn slots_and_free(&self) -> (u32, u32) {
        (self.survey.slots, self.survey.free.len() as u32)
    }

    /// Slots that are neither free nor of a log of this cluster.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.survey.unreadable
    }

    /// The logs, in order of identity.
    #[must_use]
    pub fn logs(&self) -> Vec<LogInfo> {
        let logs = self.survey.logs.iter();
        logs.map(|(identity, chain)| self.log_info(*identity, chain)).collect()
    }

    /// Walks through all that is there of a log. Of one that is not there, the walk is
    /// [`Damage::Absent`].
    ///
    /// `start` is the position of the newest snapshot, or zero if there is none: the log must be
    /// there from it on, and a group must begin there. `None` if it is not known. `evidence` is
    /// what else is known to have been durable.
    #[must_use]
    pub fn walk(&self, identity: LogIdentity, start: Option<Lsn>, evidence: Evidence) -> LogWalk {
        let Some(chain) = self.survey.logs.get(&identity).cloned() else {
            let (path, unreadable) = (self.place.path.clone(), self.survey.unreadable.len());
            return LogWalk { walk: Err(Damage::Absent { path, identity, unreadable }) };
        };
        let asked = (Reading::Whole(start), evidence);
        let walk = Walk::new(self.place.clone(), identity, chain, asked);
        LogWalk {
            walk: walk.map(|mut walk| {
                walk.watch();
                walk
            }),
        }
    }

    /// The good frames of a log behind `lsn`, wherever they lie: what a damaged log still holds.
    /// None of it counts; recovery never goes around damage.
    #[must_use]
    pub fn behind(&self, identity: LogIdentity, lsn: Lsn) -> Behind {
        let chain = self.survey.logs.get(&identity);
        let slots = chain.iter().flat_map(|chain| chain.slots.iter().chain(&chain.leftovers));
        Behind::look(&self.place, slots, lsn)
    }

    fn log_info(&self, identity: LogIdentity, chain: &Chain) -> LogInfo {
        let slots = chain.slots.iter().map(|slot| self.slot_info(slot, false));
        let leftovers = chain.leftovers.iter().map(|slot| self.slot_info(slot, true));
        let first_lsn = chain.slots[0].header.base;
        let history = chain.slots.last().map(|slot| slot.header.history.clone());
        let history = history.unwrap_or_default();
        LogInfo { identity, first_lsn, history, slots: slots.chain(leftovers).collect() }
    }

    fn slot_info(&self, slot: &Found, leftover: bool) -> SlotInfo {
        SlotInfo {
            index: slot.index,
            offset: self.place.geometry.slot_offset(slot.index),
            base: slot.header.base,
            term: slot.header.history.term(),
            durable: slot.mark.map(|mark| mark.durable),
            kind: slot.kind(),
            leftover,
        }
    }
}

impl LogWalk {
    /// Some more frames, and the groups that they end. `None` at the end or at damage; then
    /// [`LogWalk::verdict`] tells which.
    #[expect(clippy::should_implement_trait, reason = "the verdict comes after the last")]
    pub fn next(&mut self) -> Option<(Vec<FrameInfo>, Vec<Group>)> {
        let walk = self.walk.as_mut().ok()?;
        let batch = walk.next();
        let frames: Vec<FrameInfo> = walk.take_passed().iter().map(frame_info).collect();
        match batch {
            Ok(None) if frames.is_empty() => None,
            Ok(batch) => {
                let groups = batch.map(|batch| batch.groups().to_vec());
                Some((frames, groups.unwrap_or_default()))
            }
            Err(damage) => {
                self.walk = Err(damage);
                (!frames.is_empty()).then_some((frames, Vec::new()))
            }
        }
    }

    /// Chain where the walk was told that a snapshot stands, once that was passed.
    #[must_use]
    pub fn chain_at_start(&self) -> Option<u64> {
        self.walk.as_ref().ok().and_then(Walk::chain_at_from)
    }

    /// Walks on to the end and says what it is.
    #[must_use]
    pub fn verdict(mut self) -> Verdict {
        while self.next().is_some() {}
        let finished = match self.walk.and_then(Walk::finish) {
            Ok(finished) => finished,
            Err(damage) => return Verdict::Damaged(damage),
        };
        let history = finished.history;
        match finished.ended.tail {
            Tail::Clean => {
                Verdict::Clean { end: finished.ended.end, closed: finished.ended.clean, history }
            }
            Tail::Torn { at, bytes } => {
                Verdict::Torn { at, bytes, stop: finished.ended.stop, history }
            }
        }
    }
}

fn frame_info(passed: &Passed) -> FrameInfo {
    FrameInfo { header: passed.header, slot: passed.slot, offset: passed.offset }
}

//! The bytes of one simulated file: what a reader sees, what the medium holds, and the writes
//! between the two.
//!
//! ```text
//!   write ──► live (what reads see)
//!        └──► pending, in order ──flush or durable──► medium (what a crash leaves)
//!                      └──crash: each survives, vanishes or tears──► medium
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::SECTOR;
use crate::world::Rng;

/// Sparse bytes: an absent sector is zeros. Copies share their sectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    len: u64,
    sectors: BTreeMap<u64, Arc<[u8; SECTOR]>>,
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `offset`; how many bytes there were.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < there {
            let (sector, within, part) = span(offset + done as u64, there - done);
            let target = &mut buf[done..done + part];
            match self.sectors.get(&sector) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + part]),
                None => target.fill(0),
            }
            done += part;
        }
        there
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        let mut done = 0;
        while done < data.len() {
            let (sector, within, part) = span(offset + done as u64, data.len() - done);
            let source = &data[done..done + part];
            done += part;
            if part == SECTOR && source.iter().all(|byte| *byte == 0) {
                self.sectors.remove(&sector);
                continue;
            }
            let bytes = self.sectors.entry(sector).or_insert_with(|| Arc::new([0; SECTOR]));
            Arc::make_mut(bytes)[within..within + part].copy_from_slice(source);
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    /// Cuts or grows to `len`; what is grown reads as zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let first_whole = len.div_ceil(SECTOR as u64);
            self.sectors.split_off(&first_whole);
            let within = (len % SECTOR as u64) as usize;
            if let Some(bytes) = self.sectors.get_mut(&(len / SECTOR as u64)) {
                Arc::make_mut(bytes)[within..].fill(0);
            }
        }
        self.len = len;
    }
}

/// Sector, position in it and length of the first part of `len` bytes at `offset`.
fn span(offset: u64, len: usize) -> (u64, usize, usize) {
    let within = (offset % SECTOR as u64) as usize;
    (offset / SECTOR as u64, within, len.min(SECTOR - within))
}

/// A write that the medium does not yet hold. A later durable write may cut it into several
/// pieces with one id.
#[derive(Clone, Debug)]
struct Pending {
    id: u64,
    offset: u64,
    data: Vec<u8>,
    /// Whether the caller knows that it ended: only then does a flush cover it.
    completed: bool,
}

impl Pending {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }

    /// What is left of this write when a newer one takes `from..to`.
    fn without(self, from: u64, to: u64) -> Vec<Self> {
        if to <= self.offset || self.end() <= from {
            return vec![self];
        }
        let piece = |start: u64, end: u64| Self {
            id: self.id,
            offset: start,
            data: self.data[(start - self.offset) as usize..(end - self.offset) as usize].to_vec(),
            completed: self.completed,
        };
        let before = (self.offset < from).then(|| piece(self.offset, from));
        let after = (to < self.end()).then(|| piece(to, self.end()));
        before.into_iter().chain(after).collect()
    }
}

/// How a crash treats what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Everything reached the medium.
    AllKept,
    /// Nothing did.
    AllLost,
    /// Each write has its own fate.
    Mixed,
}

/// One file, with or without a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Bytes,
    pub(super) medium: Bytes,
    pending: Vec<Pending>,
    /// How many open handles keep it although its name may be gone.
    pub(super) handles: usize,
}

impl Inode {
    /// A file whose bytes are all on the medium.
    pub(super) fn durable(bytes: Bytes) -> Self {
        Self { live: bytes.clone(), medium: bytes, ..Self::default() }
    }

    /// Accepts a write; `id` is what [`Inode::completed`] and [`Inode::persist`] call it.
    pub(super) fn write(&mut self, id: u64, data: &[u8], offset: u64) {
        self.live.write(data, offset);
        self.pending.push(Pending { id, offset, data: data.to_vec(), completed: false });
    }

    /// Notes that the caller was told of the end of write `id`.
    pub(super) fn completed(&mut self, id: u64) {
        for write in self.pending.iter_mut().filter(|write| write.id == id) {
            write.completed = true;
        }
    }

    /// The process ends: what it wrote is in the cache of the kernel, which knows no requests.
    pub(super) fn released(&mut self) {
        self.handles = 0;
        for write in &mut self.pending {
            write.completed = true;
        }
    }

    /// The writes that a flush pushed now has to make durable.
    pub(super) fn completed_ids(&self) -> Vec<u64> {
        self.pending.iter().filter(|write| write.completed).map(|write| write.id).collect()
    }

    /// Puts the writes `ids` on the medium. What they overwrote of older writes goes, so that a
    /// crash cannot bring it back over them.
    pub(super) fn persist(&mut self, ids: &[u64]) {
        let mut kept: Vec<Pending> = Vec::new();
        for write in std::mem::take(&mut self.pending) {
            if !ids.contains(&write.id) {
                kept.push(write);
                continue;
            }
            let (from, to) = (write.offset, write.end());
            kept = kept.into_iter().flat_map(|older| older.without(from, to)).collect();
            self.medium.write(&write.data, write.offset);
        }
        self.pending = kept;
    }

    /// Forgets the writes `ids` as a kernel does after a failed flush: readers see them, the
    /// medium may or may not have them, and no later flush will write them.
    pub(super) fn abandon(&mut self, ids: &[u64], rng: &mut Rng, tear: usize) {
        let mut kept = Vec::new();
        for write in std::mem::take(&mut self.pending) {
            if ids.contains(&write.id) {
                settle(&mut self.medium, &write, rng, tear);
            } else {
                kept.push(write);
            }
        }
        self.pending = kept;
    }

    /// Power fails: pending writes meet their fate, and readers see what is left.
    pub(super) fn crash(&mut self, fate: Fate, rng: &mut Rng, tear: usize) {
        for write in std::mem::take(&mut self.pending) {
            match fate {
                Fate::AllKept => self.medium.write(&write.data, write.offset),
                Fate::AllLost => {}
                Fate::Mixed => settle(&mut self.medium, &write, rng, tear),
            }
        }
        self.live = self.medium.clone();
    }

    /// Changes both what is read and what is on the medium: damage done from outside.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Bytes)) {
        change(&mut self.live);
        change(&mut self.medium);
    }
}

/// One write survives (1 in 4), vanishes (1 in 4) or tears: each unit of `tear` bytes, on the
/// boundaries of the medium, comes or does not.
fn settle(medium: &mut Bytes, write: &Pending, rng: &mut Rng, tear: usize) {
    let choice = rng.below(4);
    let mut done = 0;
    while done < write.data.len() {
        let offset = write.offset + done as u64;
        let part = (tear - (offset % tear as u64) as usize).min(write.data.len() - done);
        let survives = match choice {
            0 => true,
            1 => false,
            _ => rng.chance(1, 2),
        };
        if survives {
            medium.write(&write.data[done..done + part], offset);
        }
        done += part;
    }
}

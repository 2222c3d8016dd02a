//! State of a simulated disk and the one place where its faults strike.
//!
//! An operation is first checked (a program error has no effect and is not counted), then logged,
//! then meets the faults that are due, then takes effect.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar};

use super::content::{Fate, Inode};
use super::fault::{self, Effect, Fault, Op, OpKind};
use super::names::{InodeId, Names};
use super::{Crashed, Place};
use crate::SECTOR;
use crate::world::Rng;

/// A write that was accepted.
pub(super) struct Started {
    /// Its number; `None` if it was lost or given up.
    pub(super) id: Option<u64>,
    /// What its completion will say.
    pub(super) result: io::Result<usize>,
    /// Waits until its completion.
    pub(super) delay: u32,
}

/// The delay of a request that hangs.
pub(super) const HANGS: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct World {
    seed: u64,
    rng: Rng,
    /// Number of the run of the process that may use the disk.
    pub(super) epoch: u64,
    /// Whether that run has already ended.
    pub(super) down: bool,
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) locks: BTreeMap<PathBuf, u64>,
    pub(super) faults: Vec<Fault>,
    pub(super) log: Vec<Op>,
    pub(super) capacity: Option<u64>,
    pub(super) tear: usize,
    /// A crash keeps nothing that was not durable, whatever the seed says.
    pub(super) forgetful: bool,
    /// Requests that were made to hang do.
    pub(super) hanging: bool,
    next_number: u64,
    /// Signalled when a queue may have something new to see.
    pub(super) changed: Arc<Condvar>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: Rng::new(seed),
            epoch: 0,
            down: false,
            names: Names::default(),
            inodes: BTreeMap::new(),
            locks: BTreeMap::new(),
            faults: Vec::new(),
            log: Vec::new(),
            capacity: None,
            tear: SECTOR,
            forgetful: false,
            hanging: false,
            next_number: 0,
            changed: Arc::default(),
        }
    }

    /// A number never given before: of inodes, writes, locks and queues alike.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A seed for one queue, so that threads with their own queues do not disturb each other.
    pub(super) fn queue_seed(&mut self) -> u64 {
        self.rng.next()
    }

    /// Whether run `epoch` of the process still goes on.
    pub(super) fn alive(&self, epoch: u64) -> io::Result<()> {
        if epoch == self.epoch && !self.down { Ok(()) } else { Err(Crashed.into()) }
    }

    /// Logs `op` and says what will go wrong with it.
    fn begin(&mut self, op: Op) -> io::Result<Option<Effect>> {
        let effect = fault::due(&mut self.faults, &op);
        if op.kind != OpKind::Read {
            self.log.push(op);
        }
        if effect == Some(Effect::CrashBefore) {
            return Err(self.power_loss_by_fault());
        }
        Ok(effect)
    }

    fn power_loss_by_fault(&mut self) -> io::Error {
        let seed = Rng::new(self.seed ^ self.log.len() as u64).next();
        self.power_loss(seed);
        Crashed.into()
    }

    /// Power fails: `seed` decides what the medium keeps of what was not durable.
    pub(super) fn power_loss(&mut self, seed: u64) {
        let mut rng = Rng::new(seed);
        let fate = match rng.below(8) {
            _ if self.forgetful => Fate::AllLost,
            0 => Fate::AllKept,
            1 => Fate::AllLost,
            _ => Fate::Mixed,
        };
        self.names.crash(fate, &mut rng);
        for inode in self.inodes.values_mut() {
            inode.crash(fate, &mut rng, self.tear);
        }
        self.end_process();
    }

    /// The process ends; what it wrote stays in the cache of the kernel.
    pub(super) fn end_process(&mut self) {
        self.inodes.values_mut().for_each(Inode::released);
        self.down = true;
        self.locks.clear();
        self.collect();
        self.changed.notify_all();
    }

    /// The next run of the process begins.
    pub(super) fn next_process(&mut self) -> u64 {
        if !self.down {
            self.end_process();
        }
        self.down = false;
        self.epoch += 1;
        self.epoch
    }

    /// Drops files that nothing can reach any more.
    fn collect(&mut self) {
        let referenced = self.names.referenced();
        self.inodes.retain(|id, inode| inode.handles > 0 || referenced.contains(id));
    }

    /// A change of names, or of what is durable about them.
    pub(super) fn change_names(&mut self, op: Op, apply: impl FnOnce(&mut Self)) -> io::Result<()> {
        let syncs = op.kind == OpKind::SyncDir;
        match self.begin(op)? {
            Some(Effect::Error(number)) => return Err(io::Error::from_raw_os_error(number)),
            Some(Effect::CrashDuring) if syncs => return Err(self.power_loss_by_fault()),
            Some(Effect::Lost) if syncs => return Ok(()),
            Some(Effect::CrashDuring | Effect::CrashAfter) => {
                apply(self);
                return Err(self.power_loss_by_fault());
            }
            _ => apply(self),
        }
        self.collect();
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        let id = self.number();
        self.change_names(Op::named(OpKind::Create, path), |world| {
            world.inodes.insert(id, Inode::default());
            world.names.add(path, id);
        })?;
        Ok(id)
    }

    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an open or named file is kept by `collect`")
    }

    fn hang(&mut self) -> u32 {
        self.hanging = true;
        HANGS
    }

    /// Counts a read of `len` bytes; how many waits it takes.
    pub(super) fn start_read(&mut self, place: &Place, offset: u64, len: u64) -> io::Result<u32> {
        let op = Op { kind: OpKind::Read, path: place.path.clone(), offset, len };
        match self.begin(op)? {
            Some(Effect::Error(number)) => Err(io::Error::from_raw_os_error(number)),
            Some(Effect::CrashDuring | Effect::CrashAfter) => Err(self.power_loss_by_fault()),
            Some(Effect::Hang) => Ok(self.hang()),
            Some(Effect::Delay(waits)) => Ok(waits),
            _ => Ok(0),
        }
    }

    /// Accepts a write. It may survive a crash from now on.
    pub(super) fn start_write(
        &mut self,
        place: &Place,
        data: &[u8],
        offset: u64,
        durable: bool,
    ) -> io::Result<Started> {
        let len = data.len() as u64;
        let op = Op { kind: OpKind::Write, path: place.path.clone(), offset, len };
        let effect = self.begin(op)?;
        self.reserve(place.inode, offset + len)?;
        let id = self.number();
        let mut started = Started { id: Some(id), result: Ok(data.len()), delay: 0 };
        match effect {
            Some(Effect::Error(number)) => {
                if number == libc::EIO {
                    self.inode(place.inode).write(id, data, offset);
                    self.abandon(place.inode, &[id]);
                }
                return Err(io::Error::from_raw_os_error(number));
            }
            Some(Effect::Lost) => started.id = None,
            Some(Effect::Short(taken)) => {
                let taken = taken.min(data.len());
                self.inode(place.inode).write(id, &data[..taken], offset);
                started.result = Err(io::ErrorKind::WriteZero.into());
            }
            Some(Effect::Misdirected(by)) => {
                self.inode(place.inode).write(id, data, offset.saturating_add_signed(by));
            }
            Some(Effect::Flipped(bit)) => {
                let mut data = data.to_vec();
                let bit = bit % (8 * len);
                data[(bit / 8) as usize] ^= 1 << (bit % 8);
                self.inode(place.inode).write(id, &data, offset);
            }
            Some(Effect::CrashDuring) => {
                self.inode(place.inode).write(id, data, offset);
                return Err(self.power_loss_by_fault());
            }
            Some(Effect::CrashAfter) => {
                self.inode(place.inode).write(id, data, offset);
                if durable {
                    self.inode(place.inode).persist(&[id]);
                }
                return Err(self.power_loss_by_fault());
            }
            Some(Effect::Hang) => {
                self.inode(place.inode).write(id, data, offset);
                started.delay = self.hang();
            }
            Some(Effect::Delay(waits)) => {
                self.inode(place.inode).write(id, data, offset);
                started.delay = waits;
            }
            Some(Effect::CrashBefore) | None => self.inode(place.inode).write(id, data, offset),
        }
        Ok(started)
    }

    /// Which writes a flush will make durable, and after how many waits.
    pub(super) fn start_flush(&mut self, place: &Place) -> io::Result<(Vec<u64>, u32)> {
        let effect = self.begin(Op::named(OpKind::Flush, &place.path))?;
        let ids = self.inode(place.inode).completed_ids();
        match effect {
            Some(Effect::Error(number)) => {
                self.abandon(place.inode, &ids);
                Err(io::Error::from_raw_os_error(number))
            }
            Some(Effect::Lost) => Ok((Vec::new(), 0)),
            Some(Effect::CrashDuring) => Err(self.power_loss_by_fault()),
            Some(Effect::CrashAfter) => {
                self.inode(place.inode).persist(&ids);
                Err(self.power_loss_by_fault())
            }
            Some(Effect::Hang) => Ok((ids, self.hang())),
            Some(Effect::Delay(waits)) => Ok((ids, waits)),
            _ => Ok((ids, 0)),
        }
    }

    fn abandon(&mut self, inode: InodeId, ids: &[u64]) {
        let (mut rng, tear) = (Rng::new(self.rng.next()), self.tear);
        self.inode(inode).abandon(ids, &mut rng, tear);
    }

    /// Refuses to grow a file over the capacity of the disk.
    fn reserve(&self, inode: InodeId, end: u64) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let used: u64 = self.inodes.values().map(|inode| inode.live.len()).sum();
        let len = self.inodes.get(&inode).map_or(0, |inode| inode.live.len());
        if end > len && used + (end - len) > capacity {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }
}

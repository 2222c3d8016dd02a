//! The real store, on a simulated disk.
//!
//! ```text
//!   write ─► store ─► frames under way ─► flush: turns of the device until they are durable
//!                          │
//!                 crash ───┘ each survives, vanishes or tears, as the disk's seed says
//! ```
//!
//! What the store tells is judged by the ledger, as with the model. An error that no fault explains
//! is a bug, and so is damage after any fault that there is here: the run ends with a panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_consensus::store::{Store as RealStore, StoreError, StoreOptions};
use resprout_consensus::{Content, Recovered, StoreId, Write, WriteId};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::inspect::{Arena, Verdict};
use resprout_wal::world::{Rng, SimClock, SimEntropy};
use resprout_wal::{ARENA_FILE, Device, DurableMode, Evidence, LogError, Options, World};

use super::image::Image;
use super::store::{DiskFault, Ended, Store};

const CLUSTER: u128 = 0x00c1_0573;
const DIR: &str = "/data";
const EIO: i32 = 5;

/// See the module.
#[derive(Debug)]
pub struct DiskStore {
    options: StoreOptions,
    /// What it is made with.
    first: Recovered,
    /// It was made, so it must be there.
    made: bool,
    disk: SimDisk,
    rng: Rng,
    durable: DurableMode,
    open: Option<Open>,
    /// The newest write that it was given in this run.
    written: WriteId,
    /// Slots of the arena when it was last open.
    slots: u32,
    fault: Option<DiskFault>,
    /// In this run it was told why it takes nothing any more.
    ended: bool,
    notes: Vec<&'static str>,
}

/// What a running node holds.
#[derive(Debug)]
struct Open {
    store: RealStore,
    device: Device,
}

/// In what an error came, for the count.
#[derive(Clone, Copy)]
enum During {
    Write { compacts: bool, installs: bool },
    Flush,
    Start,
}

impl DiskStore {
    /// A store that will hold this. The seed decides all that the disk is free to decide.
    #[must_use]
    pub fn new(store: StoreId, image: &Image, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.next());
        if rng.chance(1, 2) {
            disk.set_tear(512);
        }
        let durable =
            if rng.chance(1, 2) { DurableMode::EachWrite } else { DurableMode::BatchFlush };
        Self {
            options: StoreOptions { cluster: CLUSTER, store, dir: PathBuf::from(DIR).join("raft") },
            first: image.recovered(0),
            made: false,
            disk,
            rng,
            durable,
            open: None,
            written: WriteId(0),
            slots: 1,
            fault: None,
            ended: false,
            notes: Vec::new(),
        }
    }

    fn device(&mut self) -> Result<Device, Ended> {
        let mut options = Options::small(CLUSTER);
        options.durable = self.durable;
        if self.fault == Some(DiskFault::Full) {
            options.slots_max = self.slots + 1;
        }
        let world = World {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::new(SimClock::default()),
            entropy: Arc::new(SimEntropy::new(self.rng.next())),
        };
        Device::open(world, DIR.as_ref(), options)
            .map_err(|error| self.failed_open(During::Start, &error))
    }

    fn start(&mut self) -> Result<Recovered, Ended> {
        let device = self.device()?;
        let disk = Arc::new(self.disk.clone());
        let found = RealStore::find(&device);
        if self.disk.crashed() {
            return Err(self.power_failed(During::Start));
        }
        assert!(found.is_some() || !self.made, "a store that was made is not there");
        let opened = if found.is_some() {
            self.look_at_tail();
            RealStore::open(&device, disk, self.options.clone())
        } else {
            let made = RealStore::create(&device, disk, self.options.clone(), &self.first);
            let recovered = Recovered { boot: 1, ..self.first.clone() };
            made.map(|store| (store, recovered))
        };
        let (store, recovered) = opened.map_err(|error| self.failed(During::Start, &error))?;
        self.made = true;
        self.slots = device.slots_and_free().0;
        self.written = WriteId(0);
        self.open = Some(Open { store, device });
        Ok(recovered)
    }

    /// Carries out what the start has begun, so that a fault that struck it is told here and not
    /// after it was mended.
    fn settle(&mut self) -> Result<(), Ended> {
        if let Some(open) = &self.open {
            while open.device.turn() {}
        }
        match self.progress().1 {
            Some(error) => Err(self.failed(During::Start, &error)),
            None => Ok(()),
        }
    }

    /// Whether the start will cut off what a crash has torn.
    fn look_at_tail(&mut self) {
        let path = Path::new(DIR).join(ARENA_FILE);
        let Ok(arena) = Arena::open(Arc::new(self.disk.clone()), &path) else { return };
        let walk = arena.walk(self.options.identity(), None, Evidence::default());
        if let Verdict::Torn { .. } = walk.verdict() {
            self.notes.push("disk: torn frames cut off");
        }
    }

    fn power_failed(&mut self, during: During) -> Ended {
        assert!(self.fault.is_some(), "power fails only by a fault");
        self.notes.push(match during {
            During::Write { installs: true, .. } => "disk: power lost in an install",
            During::Write { compacts: true, .. } => "disk: power lost in a compaction",
            During::Write { .. } => "disk: power lost in a write",
            During::Flush => "disk: power lost in a flush",
            During::Start => "disk: power lost in a start",
        });
        Ended
    }

    fn failed_open(&mut self, during: During, error: &resprout_wal::OpenError) -> Ended {
        if self.disk.crashed() {
            return self.power_failed(during);
        }
        assert!(self.fault == Some(DiskFault::Error), "the arena does not open: {error}");
        self.notes.push("disk: error in a start");
        Ended
    }

    /// Power failed, a fault struck, or there is a bug.
    fn failed(&mut self, during: During, error: &StoreError) -> Ended {
        if self.disk.crashed() {
            return self.power_failed(during);
        }
        let (note, by) = match error {
            StoreError::Full(_) => ("disk: full", DiskFault::Full),
            StoreError::Log(LogError::Flush { .. }) => ("disk: flush failed", DiskFault::Error),
            StoreError::Log(LogError::Write { .. }) => ("disk: write failed", DiskFault::Error),
            StoreError::Log(_) => ("disk: log failed", DiskFault::Error),
            StoreError::Io { .. } => ("disk: snapshot not stored", DiskFault::Error),
            other => panic!("no fault explains {other}"),
        };
        if std::mem::replace(&mut self.ended, true) {
            return Ended;
        }
        // An arena whose growth fails is told as full.
        let explained = self.fault == Some(by) || by == DiskFault::Full && self.fault.is_some();
        assert!(explained, "{:?} does not explain {error}", self.fault);
        self.notes.push(note);
        if matches!(during, During::Start) {
            self.notes.push("disk: error in a start");
        }
        if by == DiskFault::Full {
            // The operator makes space before the node starts again.
            self.fault = None;
        }
        Ended
    }

    fn take(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else { unreachable!("writes come from running nodes") };
        for write in writes {
            if let Content::Snapshot { snapshot, .. } = &write.content
                && self.rng.chance(1, 2)
            {
                open.store.snapshot_writer().write(snapshot)?;
            }
        }
        open.store.write(writes.to_vec())
    }

    /// How far its writes have come, and why no further.
    fn progress(&self) -> (WriteId, Option<Arc<StoreError>>) {
        let Some(open) = &self.open else { unreachable!("only open stores are asked") };
        let progress = open.store.progress().borrow().clone();
        (progress.durable, progress.failed)
    }

    fn is_at_end(&self) -> bool {
        let (durable, failed) = self.progress();
        durable == self.written && failed.is_none()
    }
}

impl Store for DiskStore {
    fn write(&mut self, writes: &[Write]) -> Result<(), Ended> {
        let Some(last) = writes.last() else { return Ok(()) };
        let snapshots = |wanted| {
            let is = |write: &Write| matches!(write.content, Content::Snapshot { installed, .. } if installed == wanted);
            writes.iter().any(is)
        };
        let (compacts, installs) = (snapshots(false), snapshots(true));
        let taken = self.take(writes);
        taken.map_err(|error| self.failed(During::Write { compacts, installs }, &error))?;
        self.written = last.id;
        self.notes.extend(compacts.then_some("disk: compaction"));
        self.notes.extend(installs.then_some("disk: install"));
        // Some frames are under way before the simulation waits for them.
        let turns = if self.rng.chance(1, 2) { self.rng.below(3) } else { 0 };
        if let Some(open) = &self.open {
            for _ in 0..turns {
                let _idle = open.device.turn();
            }
        }
        Ok(())
    }

    fn flush(&mut self, upto: WriteId) -> (WriteId, Result<(), Ended>) {
        loop {
            let (durable, failed) = self.progress();
            if let Some(error) = failed {
                return (durable, Err(self.failed(During::Flush, &error)));
            }
            if durable >= upto {
                return (durable, Ok(()));
            }
            let turned = self.open.as_ref().is_some_and(|open| open.device.turn());
            let (durable, failed) = self.progress();
            let stands = !turned && durable < upto && failed.is_none();
            assert!(!stands, "{durable:?} is durable, {upto:?} never will be");
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        let killed = rng.chance(1, 4) && !self.disk.crashed();
        // A process that is killed loses what it has not handed to the system.
        self.disk = if killed { self.disk.restart() } else { self.disk.crash(rng.next()) };
        (self.open, self.ended) = (None, false);
    }

    fn recover(&mut self) -> Result<Recovered, Ended> {
        assert!(self.open.is_none(), "a start without an end");
        let started = self.start().and_then(|recovered| self.settle().map(|()| recovered));
        match &started {
            Ok(_) if self.fault != Some(DiskFault::Full) => drop(self.mend()),
            Ok(_) => {}
            Err(Ended) => {
                (self.open, self.ended) = (None, false);
                self.disk = self.disk.crash(self.rng.next());
            }
        }
        started
    }

    fn copy(&mut self) -> Option<Box<dyn Store>> {
        if self.open.is_none() || !self.is_at_end() {
            return None;
        }
        let (disk, rng) = (self.disk.after_crash(self.rng.next()), Rng::new(self.rng.next()));
        let (options, first) = (self.options.clone(), self.first.clone());
        Some(Box::new(Self {
            options,
            first,
            made: self.made,
            disk,
            rng,
            durable: self.durable,
            open: None,
            written: WriteId(0),
            slots: self.slots,
            fault: None,
            ended: false,
            notes: Vec::new(),
        }))
    }

    fn inflict(&mut self, fault: DiskFault) {
        if self.fault == Some(DiskFault::Full) {
            // Its arena was opened with that bound; another fault would hide the reason.
            return;
        }
        self.fault = Some(fault);
        let rng = &mut self.rng;
        let effect = match fault {
            DiskFault::Full => return,
            DiskFault::Error => Effect::Error(EIO),
            DiskFault::PowerLoss => {
                let effects = [Effect::CrashBefore, Effect::CrashDuring, Effect::CrashAfter];
                effects[rng.below(3) as usize]
            }
        };
        let after = rng.below(6);
        self.disk.fail(match rng.below(6) {
            0 => Fault::on(OpKind::Flush, after, effect),
            1 => Fault::on(OpKind::Write, after, effect).in_path("raft-"),
            2 => Fault::on(OpKind::Rename, 0, effect),
            3 => Fault::on(OpKind::SyncDir, after % 2, effect),
            _ => Fault::at(after, effect),
        });
    }

    fn is_at_fault(&self) -> bool {
        self.fault.is_some()
    }

    fn mend(&mut self) -> bool {
        self.disk.heal();
        let is_struck = self.open.is_some() && self.settle().is_err();
        let full = self.fault.take() == Some(DiskFault::Full);
        is_struck || full && self.open.is_some()
    }

    fn take_notes(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.notes)
    }
}

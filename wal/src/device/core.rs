//! What all logs of a device share, and the ways to drive it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Duration;

use super::options::{Counting, Options, World};
use super::signal::Signal;
use super::space::Space;
use super::timing::Timing;
use crate::arena::Geometry;
use crate::disk::FileRef;
use crate::driver::{Driver, Turn};
use crate::lock::lock;
use crate::log::{Event, Position, Shared};
use crate::recovery::{Chain, Place};
use crate::{DriverMode, LogError, LogIdentity};

/// A device's common part.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) options: Options,
    pub(crate) path: PathBuf,
    pub(crate) file: FileRef,
    pub(crate) geometry: Geometry,
    pub(crate) space: Space,
    pub(crate) signal: Signal,
    pub(crate) counting: Counting,
    pub(crate) timing: Arc<Timing>,
    /// Why the watchdog gave the device up, until whoever drives it comes back and ends all logs.
    pub(super) stuck: Mutex<Option<LogError>>,
    /// Taken through [`Core::driver`] only, which helps those it keeps from driving.
    pub(super) driver: Mutex<Driver>,
    /// Logs found at opening that do not run yet.
    pub(crate) found: Mutex<BTreeMap<LogIdentity, Chain>>,
    /// Logs that run.
    pub(crate) running: Mutex<BTreeMap<u32, Weak<Shared>>>,
    /// Numbers given to logs in the driver.
    pub(crate) numbers: AtomicU32,
}

/// The driver, locked. When it is let go, whoever added work meanwhile and could not drive is
/// helped: otherwise that work would wait for the next one who comes.
pub(crate) struct Driving<'a> {
    core: &'a Core,
    driver: Option<MutexGuard<'a, Driver>>,
    /// The holder sees to it itself.
    quiet: bool,
}

impl Deref for Driving<'_> {
    type Target = Driver;
    fn deref(&self) -> &Driver {
        self.driver.as_deref().expect("the lock is held until drop")
    }
}

impl DerefMut for Driving<'_> {
    fn deref_mut(&mut self) -> &mut Driver {
        self.driver.as_deref_mut().expect("the lock is held until drop")
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        drop(self.driver.take());
        if !self.quiet && self.core.signal.is_wanted() {
            self.core.ring();
        }
    }
}

impl Core {
    /// The file, for who only reads it.
    pub(crate) fn place(&self) -> Place {
        Place {
            disk: self.world.disk.clone(),
            file: self.file.clone(),
            path: self.path.clone(),
            geometry: self.geometry,
        }
    }

    fn driving<'a>(&'a self, driver: MutexGuard<'a, Driver>) -> Driving<'a> {
        Driving { core: self, driver: Some(driver), quiet: false }
    }

    /// The driver, when it is free.
    pub(crate) fn driver(&self) -> Driving<'_> {
        self.driving(lock(&self.driver))
    }

    /// The driver, if nobody else drives.
    pub(crate) fn try_driver(&self) -> Option<Driving<'_>> {
        match self.driver.try_lock() {
            Ok(driver) => Some(self.driving(driver)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a thread panicked while it drove the device"),
        }
    }

    /// Nobody drives and there is work: the thread, or the waiters, shall look.
    fn ring(&self) {
        match self.options.driver {
            DriverMode::Thread => self.signal.wake_driver(),
            DriverMode::Inline => {
                let running: Vec<Arc<Shared>> =
                    lock(&self.running).values().filter_map(Weak::upgrade).collect();
                for log in running {
                    log.wake_waiters();
                }
            }
        }
    }

    /// One turn of the device, and what follows from it. The caller turns again, or hands over.
    pub(crate) fn turn(&self, mut driver: Driving<'_>) -> Turn {
        driver.quiet = true;
        let turn = driver.turn(self);
        if let Some(error) = lock(&self.stuck).take() {
            driver.fail_all(self, &error);
        }
        let told = driver.take_told();
        drop(driver);
        deliver(&told);
        turn
    }

    /// Drives until `position` has an outcome, then leaves the rest to others.
    pub(crate) fn lead(&self, driver: Driving<'_>, log: &Arc<Shared>, position: Position) {
        let turn = self.turn(driver);
        match turn {
            Turn::Contended => log.wait_for_appender(),
            Turn::Idle => self.wait_for_delivery(log, position),
            Turn::Progress => {}
        }
        if lock(&log.progress).outcome(position).is_some() {
            self.signal.activity();
            self.hand_over();
        }
    }

    /// Nothing is left to drive and yet there is no outcome: another thread is telling it.
    fn wait_for_delivery(&self, log: &Shared, position: Position) {
        log.deliver();
        log.wait_while_delivering(position);
    }

    /// The leader leaves: the thread goes on, or the next one that waits.
    fn hand_over(&self) {
        let Some(mut driver) = self.try_driver() else { return };
        driver.quiet = true;
        let work = driver.has_work();
        drop(driver);
        if work || self.signal.is_wanted() {
            self.ring();
        }
    }

    /// Drives as far as a poll may: wholly if nobody else would.
    pub(crate) fn drive_for_poll(&self, log: &Arc<Shared>, position: Position) {
        let has_outcome = || lock(&log.progress).outcome(position).is_some();
        if has_outcome() {
            return;
        }
        match self.options.driver {
            DriverMode::Thread => self.signal.work(true),
            DriverMode::Inline => {
                while !has_outcome() {
                    let Some(driver) = self.try_driver() else { return };
                    if self.turn(driver) != Turn::Progress {
                        break;
                    }
                }
                self.hand_over();
            }
        }
    }

    /// One turn. Whether there was something to do.
    pub(super) fn turn_once(&self) -> bool {
        let turn = self.turn(self.driver());
        self.hand_over();
        turn == Turn::Progress
    }

    /// Turns until nothing is left to write.
    pub(crate) fn turn_until_idle(&self) {
        loop {
            let driver = self.driver();
            if self.turn(driver) != Turn::Progress {
                return self.hand_over();
            }
        }
    }

    /// The log thread: drives while there is work, then sleeps.
    pub(crate) fn run_driver(&self) {
        while !self.signal.is_stopped() {
            let driver = self.driver();
            if self.turn(driver) == Turn::Progress || self.signal.is_wanted() {
                continue;
            }
            // Said before looking: what becomes idle after the look then wakes this thread.
            self.signal.set_asleep(true);
            match self.mark_idle() {
                // Work that came while this thread held the driver could not be driven by who
                // brought it.
                _ if self.signal.is_wanted() => {}
                Some(due) => {
                    self.signal.set_asleep(false);
                    std::thread::park_timeout(due);
                }
                None => std::thread::park(),
            }
            self.signal.set_asleep(false);
        }
    }

    /// Starts the marks that are due; when the next one is.
    pub(crate) fn mark_idle(&self) -> Option<Duration> {
        let mut driver = self.driver();
        let due = driver.mark_idle(self);
        let told = driver.take_told();
        drop(driver);
        deliver(&told);
        due
    }

    /// The keeper thread: grows the arena ahead of need.
    pub(crate) fn run_keeper(&self) {
        while !self.signal.is_stopped() {
            self.space.grow_ahead(self);
            std::thread::park();
        }
    }

    /// Ends all logs, and lets them go, since each keeps this alive.
    pub(crate) fn close(&self) {
        self.fail_all(&LogError::Closed);
        self.driver().clear();
    }

    /// Tells all logs that they have ended, if the device has had a request for `limit`. Without
    /// the driver, which is with whoever waits for that request.
    pub(super) fn give_up_if_stuck(&self, limit: Duration) -> bool {
        let Some(waited) = self.timing.waiting().filter(|waited| *waited >= limit) else {
            return false;
        };
        if !self.signal.is_device_failed() {
            self.signal.fail_device();
            let error = LogError::Stuck { path: self.path.clone(), waited };
            tracing::error!(path = %self.path.display(), %error, "all logs of the device end");
            *lock(&self.stuck) = Some(error.clone());
            let running: Vec<Arc<Shared>> =
                lock(&self.running).values().filter_map(Weak::upgrade).collect();
            for log in &running {
                log.tell(Event::Failed(error.clone()));
            }
            deliver(&running);
        }
        true
    }

    /// Ends all logs.
    pub(crate) fn fail_all(&self, error: &LogError) {
        let mut driver = self.driver();
        driver.fail_all(self, error);
        let told = driver.take_told();
        drop(driver);
        deliver(&told);
    }
}

fn deliver(told: &[Arc<Shared>]) {
    for log in told {
        log.deliver();
    }
}

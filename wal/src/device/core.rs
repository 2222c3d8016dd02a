//! What all logs of a device share, and the ways to drive it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use super::options::{Counting, Options, World};
use super::signal::Signal;
use super::space::Space;
use crate::arena::Geometry;
use crate::disk::FileRef;
use crate::driver::{Driver, Turn};
use crate::log::{Position, Shared};
use crate::recovery::Chain;
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
    pub(crate) driver: Mutex<Driver>,
    /// Logs found at opening that do not run yet.
    pub(crate) found: Mutex<BTreeMap<LogIdentity, Chain>>,
    /// Numbers given to logs in the driver.
    pub(crate) numbers: AtomicU32,
}

impl Core {
    /// The driver, if nobody else drives.
    pub(crate) fn try_driver(&self) -> Option<MutexGuard<'_, Driver>> {
        match self.driver.try_lock() {
            Ok(driver) => Some(driver),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a thread panicked while it drove the device"),
        }
    }

    /// One turn of the device, and what follows from it.
    pub(crate) fn turn(&self, mut driver: MutexGuard<'_, Driver>) -> Turn {
        let turn = driver.turn(self);
        let told = driver.take_told();
        drop(driver);
        deliver(&told);
        turn
    }

    /// Drives until `position` has an outcome, then leaves the rest to others.
    pub(crate) fn lead(
        &self,
        driver: MutexGuard<'_, Driver>,
        log: &Arc<Shared>,
        position: Position,
    ) {
        let turn = self.turn(driver);
        match turn {
            Turn::Contended => log.wait_for_appender(),
            Turn::Idle => self.wait_for_delivery(log, position),
            Turn::Progress => {}
        }
        if crate::lock::lock(&log.progress).outcome(position).is_some() {
            self.hand_over(log);
        }
    }

    /// Nothing is left to drive and yet there is no outcome: another thread is telling it.
    fn wait_for_delivery(&self, log: &Shared, position: Position) {
        log.deliver();
        log.wait_while_delivering(position);
    }

    /// The leader leaves: the thread goes on, or the next one that waits.
    fn hand_over(&self, leaving: &Shared) {
        self.signal.activity();
        let Some(driver) = self.try_driver() else { return };
        let waiting = driver.logs_with_work();
        drop(driver);
        if waiting.is_empty() && !self.signal.is_wanted() {
            return;
        }
        match self.options.driver {
            DriverMode::Thread => self.signal.wake_driver(),
            DriverMode::Inline => {
                leaving.wake_waiters();
                for log in waiting {
                    log.wake_waiters();
                }
            }
        }
    }

    /// Drives as far as a poll may: wholly if nobody else would.
    pub(crate) fn drive_for_poll(&self, log: &Arc<Shared>, position: Position) {
        let has_outcome = || crate::lock::lock(&log.progress).outcome(position).is_some();
        if has_outcome() {
            return;
        }
        match self.options.driver {
            DriverMode::Thread => self.signal.work(true),
            DriverMode::Inline => {
                while !has_outcome() {
                    let Some(driver) = self.try_driver() else { return };
                    if self.turn(driver) != Turn::Progress {
                        return;
                    }
                }
            }
        }
    }

    /// Turns until nothing is left to write.
    pub(crate) fn turn_until_idle(&self) {
        loop {
            let driver = crate::lock::lock(&self.driver);
            if self.turn(driver) != Turn::Progress {
                return;
            }
        }
    }

    /// The log thread: drives while there is work, then sleeps.
    pub(crate) fn run_driver(&self) {
        while !self.signal.is_stopped() {
            let driver = crate::lock::lock(&self.driver);
            if self.turn(driver) == Turn::Progress || self.signal.is_wanted() {
                continue;
            }
            // Said before looking: what becomes idle after the look then wakes this thread.
            self.signal.set_asleep(true);
            match self.mark_idle() {
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
        let mut driver = crate::lock::lock(&self.driver);
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

    /// Ends all logs.
    pub(crate) fn fail_all(&self, error: &LogError) {
        let mut driver = crate::lock::lock(&self.driver);
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

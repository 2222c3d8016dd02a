//! Adding entries to the open group.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::group::OpenGroup;
use super::{Position, Reservation, Shared};
use crate::{LogError, Lsn, Term};

/// The open group of a log, locked. Whoever holds it is the log's only writer, which makes it
/// fit to be the writer lock of what the log describes: apply, append, release.
///
/// The driver never waits for it: it tries, and is signalled when the appender is dropped.
#[derive(Debug)]
pub struct Appender<'a> {
    log: &'a Shared,
    group: Option<MutexGuard<'a, OpenGroup>>,
    then: Then,
}

/// Whom the release of the lock tells that there is something to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The driver thread.
    Driver,
    /// Nobody but who drives already: the caller waits, and drives if nobody does.
    Waiter,
    /// Nobody: [`crate::Log::write_soon`] follows, or somebody else's write takes this one along.
    Nobody,
}

impl<'a> Appender<'a> {
    pub(super) fn new(log: &'a Shared, group: MutexGuard<'a, OpenGroup>) -> Self {
        Self { log, group: Some(group), then: Then::Driver }
    }

    fn group(&self) -> &OpenGroup {
        self.group.as_deref().expect("the lock is held until drop")
    }

    fn group_mut(&mut self) -> &mut OpenGroup {
        self.group.as_deref_mut().expect("the lock is held until drop")
    }

    /// Number of the open group. It grows when a group is sealed, never while entries of one
    /// append are split.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.group().generation
    }

    /// Where the open group begins: the end of everything sealed.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.group().start
    }

    /// The term that the open group is written in.
    #[must_use]
    pub fn term(&self) -> Term {
        self.group().term
    }

    /// Whether the open group has entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.group().is_empty()
    }

    /// Adds one entry to the open group.
    ///
    /// # Errors
    /// If the log has ended. Nothing was added then.
    ///
    /// # Panics
    /// If the reservation is of another log or for fewer bytes.
    pub fn append(&mut self, entry: &[u8], space: Reservation) -> Result<Position, LogError> {
        self.append_parts(&[entry], space)
    }

    /// Adds one entry made of several parts to the open group.
    ///
    /// # Errors
    /// As [`Appender::append`].
    ///
    /// # Panics
    /// As [`Appender::append`].
    pub fn append_parts(
        &mut self,
        parts: &[&[u8]],
        space: Reservation,
    ) -> Result<Position, LogError> {
        self.log.check_running()?;
        if self.group().closed {
            return Err(LogError::Closed);
        }
        let len = parts.iter().map(|part| part.len()).sum();
        let promised = space.consume(self.log, len);
        let log = self.log;
        let group = self.group_mut();
        group.push(parts, promised);
        let position = Position { generation: group.generation, start: group.start };
        if group.payload.len() >= log.core.options.seal_bytes {
            log.seal(group);
        } else if !log.is_shipped() {
            log.dirty.store(true, Ordering::SeqCst);
        }
        Ok(position)
    }

    /// Begins `term` with a frame of its own; what is open ends in the old term.
    ///
    /// # Errors
    /// As [`Appender::append`].
    ///
    /// # Panics
    /// If `term` is not newer (rule 2).
    pub fn begin_term(&mut self, term: Term, space: Reservation) -> Result<Position, LogError> {
        self.log.check_running()?;
        assert!(term > self.term(), "term {term} does not follow {}", self.term());
        self.seal();
        let promised = space.consume(self.log, 0);
        let log = self.log;
        let group = self.group_mut();
        if group.closed {
            return Err(LogError::Closed);
        }
        group.term = term;
        group.forced = true;
        group.promised += promised;
        let position = Position { generation: group.generation, start: group.start };
        log.seal(group);
        Ok(position)
    }

    /// Ends the open group if it has entries, so that the next append begins another.
    pub fn seal(&mut self) {
        let log = self.log;
        let group = self.group_mut();
        if !group.is_empty() {
            log.seal(group);
        }
    }

    /// Releases the lock without signalling the driver: for who waits on the position next and
    /// will drive the device itself if nobody else does.
    pub fn leave_to_waiter(mut self) {
        self.then = Then::Waiter;
    }

    /// Releases the lock without telling anybody: what was appended goes with the next write of the
    /// device, which [`crate::Log::write_soon`] has to ask for if nobody else does.
    pub fn leave_for_later(mut self) {
        self.then = Then::Nobody;
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        drop(self.group.take());
        let log = self.log;
        if self.then != Then::Nobody
            && log.dirty.load(Ordering::SeqCst)
            && log.in_flight.load(Ordering::SeqCst) == 0
        {
            log.core.signal.work(self.then == Then::Driver);
        }
    }
}

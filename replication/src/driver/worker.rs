//! What may wait is done here, one thing after the other, by the copy's own thread.

use std::sync::Arc;

use crossbeam::channel::Receiver;
use resprout_engine::{Call, ReadBack, StoredCopy};
use resprout_wal::{Lsn, Term};

use super::CopyDriver;
use super::images::Images;
use super::kept::Kept;
use crate::{Event, Lookup, PageWork, Promise, Read};

/// One thing to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Frames have come.
    Apply,
    Promise(Promise),
    Cut {
        to: Lsn,
        save: bool,
    },
    BeginTerm(Term, Call),
    /// Commits wait for other copies, or do not any more.
    Pace,
    Lookup(Lookup),
    Read(Read),
    Pages(PageWork),
    Stop,
}

/// The copy's thread.
pub(super) struct Worker {
    pub(super) copy: Arc<CopyDriver>,
    pub(super) kept: Kept,
    pub(super) images: Images,
}

impl Worker {
    /// Until it is told to stop; what is kept, for the orderly end.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) -> Kept {
        for job in jobs {
            match job {
                Job::Stop => break,
                job => {
                    if let Err(error) = self.carry_out(job) {
                        self.copy.fail(&*error);
                    }
                }
            }
        }
        self.kept
    }

    fn stored(&self) -> &StoredCopy {
        self.copy.stored()
    }

    fn carry_out(&mut self, job: Job) -> Result<(), Box<dyn std::error::Error>> {
        match job {
            Job::Apply => self.apply()?,
            Job::Promise(promise) => {
                // What was handed to the log before is told before: a position is reported behind
                // a promise, and nothing may come after it (row R13).
                self.stored().wait_told();
                self.kept.promise(promise)?;
                self.copy.step(Event::Promised(promise));
            }
            Job::Cut { to, save } => {
                self.stored().cut(to, save)?;
                self.copy.step(Event::Cut { to });
            }
            Job::BeginTerm(term, call) => {
                let paced = self.copy.mode().is_sync();
                let begun = if self.stored().last_term()? < term {
                    self.stored().begin_term(term, paced, call)?
                } else {
                    self.stored().resume_term(term, paced, call)?
                };
                if !begun {
                    tracing::info!(copy = ?self.stored(), %term, "fenced before the term began");
                }
            }
            Job::Pace => self.stored().set_paced(self.copy.mode().is_sync())?,
            Job::Lookup(Lookup(at)) => {
                let chain = self.stored().chain_at(at)?;
                self.copy.step(Event::Chain { at, chain });
            }
            Job::Read(read) => self.read(read),
            Job::Pages(work) => {
                let done = self.images.carry_out(self.copy.stored(), &mut self.kept, work)?;
                if let Some(event) = done {
                    self.copy.step(event);
                }
            }
            Job::Stop => {}
        }
        Ok(())
    }

    fn apply(&self) -> Result<(), resprout_engine::Error> {
        self.stored().apply()?;
        self.copy.applied();
        Ok(())
    }

    fn read(&self, read: Read) {
        let Read { from, until, bytes_max, .. } = read;
        let frames = match self.stored().read(from, until, bytes_max) {
            Ok(ReadBack::Frames(frames)) => Some(frames),
            Ok(ReadBack::Gone) => None,
            Err(error) => {
                // Nothing damaged is handed on; the other copy gets pages instead (row D26).
                tracing::error!(copy = ?self.stored(), %error, "the log cannot be read back");
                None
            }
        };
        self.copy.step(Event::Read { read, frames });
    }
}

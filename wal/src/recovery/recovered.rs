//! The recovery of one log of a device, and what may be opened when it has ended well.

use std::fmt;
use std::sync::Arc;

use super::walk::{Ended, Finished, Reading, Walk};
use super::{Anchor, Batch, Chain, Evidence, Tail};
use crate::device::Core;
use crate::{Damage, History, Log, LogError, LogIdentity, Lsn, Observer, Term};

/// A log being read and verified from the front. Reads ahead by itself.
pub struct Recovery {
    core: Arc<Core>,
    identity: LogIdentity,
    walk: Walk,
}

/// A log that was read to its end without damage. Only this can be opened for appending.
pub struct Recovered {
    core: Arc<Core>,
    pub(crate) slots: Chain,
    pub(crate) ended: Ended,
    /// Whose it is.
    pub identity: LogIdentity,
    /// Where it ends.
    pub end: Lsn,
    /// Its newest term.
    pub term: Term,
    /// Its terms.
    pub history: History,
    /// Chain at its end.
    pub chain: u64,
    /// How it ended.
    pub tail: Tail,
    /// It was closed in order: its term may go on (rule 14).
    pub clean: bool,
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recovery({} at {})", self.identity, self.position())
    }
}

impl fmt::Debug for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recovered({}, {:?})", self.identity, self.ended)
    }
}

impl Recovery {
    pub(crate) fn new(
        core: Arc<Core>,
        identity: LogIdentity,
        chain: Chain,
        asked: (Lsn, Evidence),
    ) -> Result<Self, Damage> {
        let (from, evidence) = asked;
        let walk = Walk::new(core.place(), identity, chain, (Reading::From(from), evidence))?;
        Ok(Self { core, identity, walk })
    }

    pub(crate) fn behind(
        core: Arc<Core>,
        identity: LogIdentity,
        chain: Chain,
        asked: (&Anchor, Evidence),
    ) -> Result<Self, Damage> {
        let walk = Walk::behind(core.place(), identity, chain, asked)?;
        Ok(Self { core, identity, walk })
    }

    /// The first position that is still there.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.walk.first_lsn()
    }

    /// How far it was read.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.walk.position()
    }

    /// How many bytes were read, and about how many there are in all: for progress.
    #[must_use]
    pub fn done_and_total(&self) -> (u64, u64) {
        self.walk.done_and_total()
    }

    /// Chain at the position asked for, once it was passed: what a snapshot of that position must
    /// carry, or it is of another history.
    #[must_use]
    pub fn chain_at_from(&self) -> Option<u64> {
        self.walk.chain_at_from()
    }

    /// The next verified groups at or behind the position asked for; `None` at the end.
    ///
    /// # Errors
    /// [`Damage`] if what is there is not what was durable. What came before was good.
    #[expect(clippy::should_implement_trait, reason = "an iterator could be read past damage")]
    pub fn next(&mut self) -> Result<Option<Batch>, Damage> {
        self.walk.next()
    }

    /// Reads to the end, whatever was not asked for included, and hands over what may be opened.
    ///
    /// # Errors
    /// As [`Recovery::next`].
    pub fn finish(self) -> Result<Recovered, Damage> {
        let Finished { chain, history, ended } = self.walk.finish()?;
        Ok(Recovered {
            identity: self.identity,
            end: ended.end,
            term: history.term(),
            chain: ended.sum,
            tail: ended.tail,
            clean: ended.clean,
            history,
            core: self.core,
            slots: chain,
            ended,
        })
    }
}

impl Recovered {
    /// Erases what is torn, notes that the log runs, and lets it take entries. Safe to be
    /// interrupted and begun again.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn open(self, observer: Arc<dyn Observer>) -> Result<Log, LogError> {
        let core = self.core.clone();
        core.adopt(self, observer)
    }
}

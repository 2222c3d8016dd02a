//! What a master knows, for those who ask.

use std::time::Duration;

use resprout_wal::{Lsn, Term};

use super::{Master, Standing};
use crate::{Cfg, Decided, Incarnation, Instance, Mode, State};

/// A master's positions and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub state: State,
    /// Its term.
    pub term: Term,
    /// The version of the record that it goes by.
    pub cfg: Cfg,
    /// Term of the last record.
    pub last_term: Term,
    /// End of the log.
    pub end: Lsn,
    /// On the medium here.
    pub durable: Lsn,
    /// Acknowledged.
    pub committed: Lsn,
    /// In the committed root.
    pub applied: Lsn,
    /// The other copies.
    pub members: Vec<MemberStatus>,
}

/// One other copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which.
    pub instance: Instance,
    /// How it stands.
    pub standing: Standing,
    /// The run that follows, if one does.
    pub incarnation: Option<Incarnation>,
    /// What counts of it.
    pub position: Lsn,
    /// Bytes of the log that it lacks.
    pub lag: u64,
    /// For how long it has lacked something that was there.
    pub behind_for: Duration,
}

impl Master {
    /// Which run it is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.identity.incarnation
    }

    /// The record that it goes by.
    #[must_use]
    pub fn decided(&self) -> &Decided {
        &self.decided
    }

    /// When it acknowledges.
    pub(crate) fn mode(&self) -> Mode {
        self.config.mode
    }

    /// For those who ask.
    #[must_use]
    pub fn status(&self) -> Status {
        let members = self.members.iter().map(|(instance, member)| MemberStatus {
            instance: *instance,
            standing: member.standing,
            incarnation: member.stream.as_ref().map(|stream| stream.id.run),
            position: member.position(&self.config),
            lag: self.tail.whole().since(member.position(&self.config)),
            behind_for: member
                .behind
                .map_or(Duration::ZERO, |(_, since)| self.now.saturating_sub(since)),
        });
        Status {
            state: self.told,
            term: self.term(),
            cfg: self.cfg(),
            last_term: self.tail.last_term(),
            end: self.tail.end(),
            durable: self.tail.durable(),
            committed: self.committed,
            applied: self.applied,
            members: members.collect(),
        }
    }
}

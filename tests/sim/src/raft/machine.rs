//! The state machine above the core: a few registers, behind the real window of proposals, which sees
//! to it that a repetition changes nothing.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use resprout_consensus::machine::{Applier, Outcome, RestoreError, StateMachine};
use resprout_consensus::{Entry, EntryId, Index, ProposalId, Snapshot};

use crate::trace::Digest;

/// The value of a register and the entry that wrote it; index 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Which entry.
    pub index: Index,
    /// What it wrote.
    pub value: u64,
}

/// What commands change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Registers {
    /// Of every command that was applied, in order: two machines with one digest did the same.
    digest: u64,
    versions: BTreeMap<u8, Version>,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    applier: Applier<Registers>,
}

/// A write to a register, as a command.
#[must_use]
pub fn command(key: u8, value: u64, padding: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(9 + padding);
    bytes.put_u8(key);
    bytes.put_u64_le(value);
    bytes.resize(9 + padding, 0x5a);
    bytes.into()
}

/// The name of a session's n-th proposal.
#[must_use]
pub fn proposal_id(session: u64, number: u64) -> ProposalId {
    ProposalId(u128::from(session) << 64 | u128::from(number))
}

impl StateMachine for Registers {
    fn apply(&mut self, index: Index, command: &[u8]) -> Bytes {
        let mut bytes = command;
        let (key, value) = (bytes.get_u8(), bytes.get_u64_le());
        let mut digest = Digest::default();
        [self.digest, index.0].into_iter().for_each(|number| digest.add(number));
        digest.add_bytes(command);
        self.digest = digest.value();
        self.versions.insert(key, Version { index, value });
        Bytes::copy_from_slice(&value.to_le_bytes())
    }

    fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.put_u64_le(self.digest);
        for (key, version) in &self.versions {
            bytes.put_u8(*key);
            bytes.put_u64_le(version.index.0);
            bytes.put_u64_le(version.value);
        }
        bytes.into()
    }

    fn restore(&mut self, mut state: &[u8]) -> Result<(), RestoreError> {
        if state.len() % 17 != 8 {
            return Err(RestoreError(format!("{} bytes", state.len())));
        }
        *self = Self { digest: state.get_u64_le(), ..Self::default() };
        while state.has_remaining() {
            let key = state.get_u8();
            let (index, value) = (Index(state.get_u64_le()), state.get_u64_le());
            self.versions.insert(key, Version { index, value });
        }
        Ok(())
    }
}

impl Machine {
    /// One that has applied nothing, and will remember so many proposals.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self { applier: Applier::with_window(Registers::default(), window) }
    }

    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> EntryId {
        self.applier.applied()
    }

    /// See the field.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.applier.state().digest
    }

    /// A register.
    #[must_use]
    pub fn register(&self, key: u8) -> Version {
        self.applier.state().versions.get(&key).copied().unwrap_or_default()
    }

    /// Applies an entry.
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        self.applier.apply(entry)
    }

    /// The state as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.applier.snapshot()
    }

    /// Replaces all by a state of [`Self::encode`].
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.applier.restore(snapshot).expect("a state that some machine gave");
    }
}

/// The same was applied, and the same is remembered.
impl PartialEq for Machine {
    fn eq(&self, other: &Self) -> bool {
        self.applied() == other.applied() && self.encode() == other.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resprout_consensus::{Payload, Proposal, Term};

    const WINDOW: usize = 100;

    fn write(index: u64, number: u64, value: u64) -> Entry {
        let id = EntryId::new(Term(1), Index(index));
        let proposal =
            Proposal { id: proposal_id(7, number), since: Index(0), command: command(3, value, 5) };
        Entry { id, payload: Payload::Command(proposal) }
    }

    /// Promise: a repeated proposal changes no register, and says where it was applied.
    #[test]
    fn a_repetition_changes_nothing() {
        let mut machine = Machine::new(WINDOW);
        let entries = [write(1, 1, 10), write(2, 2, 20), write(3, 2, 20), write(4, 1, 10)];
        let places = entries.map(|entry| machine.apply(&entry).unwrap().applied.unwrap().index.0);
        assert_eq!(places, [1, 2, 2, 1]);
        assert_eq!(machine.register(3), Version { index: Index(2), value: 20 });
    }

    /// Promise: a state survives being bytes, and differs from that of another past.
    #[test]
    fn a_state_survives_being_bytes() {
        let mut machine = Machine::new(WINDOW);
        machine.apply(&write(1, 1, 10));
        let snapshot = Snapshot::new(machine.applied(), Default::default(), machine.encode());
        let mut restored = Machine::new(WINDOW);
        restored.restore(&snapshot);
        assert_eq!(restored, machine);
        let mut other = Machine::new(WINDOW);
        other.apply(&write(1, 2, 10));
        assert_ne!(other, machine);
    }
}

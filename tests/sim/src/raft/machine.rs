//! The state machine above the core: a few registers, and for each session of a client the last
//! command that was applied, so that a repetition changes nothing.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use resprout_consensus::{Entry, EntryId, Index, Payload, Proposal, ProposalId, Term};

use super::image::entry_digest;
use crate::trace::Digest;

/// The value of a register and the entry that wrote it; index 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Which entry.
    pub index: Index,
    /// What it wrote.
    pub value: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    applied: EntryId,
    /// Of every entry applied so far, in order: two machines with one digest did the same.
    digest: u64,
    registers: BTreeMap<u8, Version>,
    sessions: BTreeMap<u64, (u64, Index)>,
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

/// Session and number in a name.
#[must_use]
pub fn session_of(id: ProposalId) -> (u64, u64) {
    ((id.0 >> 64) as u64, id.0 as u64)
}

/// Key and value in a command.
#[must_use]
pub fn parsed(proposal: &Proposal) -> (u8, u64) {
    let mut bytes = proposal.command.clone();
    (bytes.get_u8(), bytes.get_u64_le())
}

impl Machine {
    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> EntryId {
        self.applied
    }

    /// See the field.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// A register.
    #[must_use]
    pub fn register(&self, key: u8) -> Version {
        self.registers.get(&key).copied().unwrap_or_default()
    }

    /// Where a proposal was applied, if it is its session's last.
    #[must_use]
    pub fn applied_at(&self, id: ProposalId) -> Option<Index> {
        let (session, number) = session_of(id);
        let (last, index) = self.sessions.get(&session)?;
        (*last == number).then_some(*index)
    }

    /// Applies an entry. Whether it wrote: a repetition does not.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        self.applied = entry.id;
        let mut digest = Digest::default();
        digest.add(self.digest);
        digest.add(entry_digest(entry));
        self.digest = digest.value();
        let Payload::Command(proposal) = &entry.payload else { return false };
        let (session, number) = session_of(proposal.id);
        if self.sessions.get(&session).is_some_and(|(last, _)| *last >= number) {
            return false;
        }
        let (key, value) = parsed(proposal);
        let index = entry.id.index;
        self.sessions.insert(session, (number, index));
        self.registers.insert(key, Version { index, value });
        true
    }

    /// The state as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.put_u64_le(self.applied.term.0);
        bytes.put_u64_le(self.applied.index.0);
        bytes.put_u64_le(self.digest);
        bytes.put_u8(u8::try_from(self.registers.len()).expect("few registers"));
        for (key, version) in &self.registers {
            bytes.put_u8(*key);
            bytes.put_u64_le(version.index.0);
            bytes.put_u64_le(version.value);
        }
        for (session, (number, index)) in &self.sessions {
            [*session, *number, index.0].into_iter().for_each(|word| bytes.put_u64_le(word));
        }
        bytes.into()
    }

    /// The state from bytes that [`Self::encode`] made.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Self {
        let applied = EntryId::new(Term(bytes.get_u64_le()), Index(bytes.get_u64_le()));
        let digest = bytes.get_u64_le();
        let mut machine = Self { applied, digest, ..Self::default() };
        for _ in 0..bytes.get_u8() {
            let key = bytes.get_u8();
            let (index, value) = (Index(bytes.get_u64_le()), bytes.get_u64_le());
            machine.registers.insert(key, Version { index, value });
        }
        while bytes.has_remaining() {
            let session = bytes.get_u64_le();
            let (number, index) = (bytes.get_u64_le(), Index(bytes.get_u64_le()));
            machine.sessions.insert(session, (number, index));
        }
        machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(index: u64, number: u64, value: u64) -> Entry {
        let id = EntryId::new(Term(1), Index(index));
        let proposal =
            Proposal { id: proposal_id(7, number), since: Index(0), command: command(3, value, 5) };
        Entry { id, payload: Payload::Command(proposal) }
    }

    /// Promise: a repeated proposal changes no register, and says where it was applied.
    #[test]
    fn a_repetition_changes_nothing() {
        let mut machine = Machine::default();
        assert!(machine.apply(&write(1, 1, 10)));
        assert!(machine.apply(&write(2, 2, 20)));
        assert!(!machine.apply(&write(3, 2, 20)));
        assert!(!machine.apply(&write(4, 1, 10)));
        assert_eq!(machine.register(3), Version { index: Index(2), value: 20 });
        assert_eq!(machine.applied_at(proposal_id(7, 2)), Some(Index(2)));
    }

    /// Promise: a state survives being bytes.
    #[test]
    fn a_state_survives_being_bytes() {
        let mut machine = Machine::default();
        machine.apply(&write(1, 1, 10));
        assert_eq!(Machine::decode(machine.encode()), machine);
    }
}

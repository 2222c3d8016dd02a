//! Bytes of commands, outcomes and the whole state.

use proptest::prelude::*;
use resprout_cluster::metadata::{
    CodecError, Command, Decree, Metadata, NewHome, NodeState, Outcome, VERSION,
};
use resprout_cluster::{Incarnation, LeafId, NodeId};
use resprout_consensus::machine::{Applier, StateMachine};
use resprout_consensus::{Entry, EntryId, Index, Payload, Proposal, ProposalId};
use resprout_replication::CopyState;

use crate::world::World;

/// A world in which a bit of everything has happened.
fn eventful() -> World {
    let mut world = World::pair(true, false);
    world.done(world.publish(0, 3, CopyState::Sync));
    world.node_state(2, NodeState::Offline, 1);
    let at = world.at(0);
    world.done(Command::Intend { at });
    world.done(world.elect(0, 3, 1, &[3]));
    world.apply(world.elect(0, 3, 1, &[3]));
    let (name, value) = ("auto_attach".to_owned(), Some("off".to_owned()));
    world.done(Command::SetVariable { name, value });
    world.done(Command::SetAccounts { version: 0, bytes: Box::new([1, 2, 3]) });
    let home = |master| NewHome { master: LeafId(master), replica: None };
    world.done(Command::CreateDatabase {
        name: "with_references".to_owned(),
        homes: vec![home(3)],
        sync: false,
        durable: false,
        redundancy: 1,
        reference: true,
    });
    world
}

/// Promise: the same commands give the same state and the same bytes; bytes give the state back.
#[test]
fn the_same_commands_give_the_same_bytes() {
    let world = eventful();
    let mut other = Metadata::default();
    for (index, decree) in &world.log {
        let decoded = Decree::decode(&decree.encode()).unwrap();
        assert_eq!(decoded, *decree);
        let outcome = other.apply(*index, &decoded);
        assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
    }
    let bytes = world.state.encode();
    assert_eq!(other.encode(), bytes);
    let back = Metadata::decode(&bytes).unwrap();
    assert_eq!((&back, back.encode()), (&world.state, bytes));
}

/// Promise: consensus carries it: applied through its log, and after a snapshot, it is the same; a command
/// that is none is answered, on every node alike.
#[test]
fn consensus_carries_it() {
    let world = eventful();
    let mut applier = Applier::new(Metadata::default());
    let entry = |index, command: Vec<u8>| Entry {
        id: EntryId { term: resprout_consensus::Term(1), index: Index(index) },
        payload: Payload::Command(Proposal {
            id: ProposalId(index.into()),
            since: Index(0),
            command: command.into(),
        }),
    };
    for (index, decree) in &world.log {
        applier.apply(&entry(*index, decree.encode()));
    }
    assert_eq!(applier.state(), &world.state);
    let odd = applier.apply(&entry(world.index + 1, vec![9, 9, 9])).unwrap();
    let answer = Outcome::decode(&odd.applied.unwrap().answer).unwrap();
    assert!(matches!(answer, Outcome::Refused { .. }), "{answer:?}");
    let mut restored = Metadata::default();
    restored.restore(&applier.state().snapshot()).unwrap();
    assert_eq!(&restored, applier.state());
    assert!(restored.restore(&[1, 0, 7]).is_err());
}

/// Promise: cut anywhere, longer than they should be, or of another version, bytes are refused.
#[test]
fn bytes_that_are_not_whole_are_refused() {
    let bytes = eventful().state.encode();
    for cut in 0..bytes.len() {
        assert!(Metadata::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Metadata::decode(&longer), Err(CodecError::Trailing(1)));
    let other = [&[9, 0], &bytes[2..]].concat();
    let version = CodecError::Version { found: 9, expected: VERSION };
    assert_eq!(Metadata::decode(&other), Err(version));
}

/// What is written is of this version; what was read may be of an older one that differs in nothing else.
fn of_its_version(mut written: Vec<u8>, read: &[u8]) -> Vec<u8> {
    written[..2].copy_from_slice(&read[..2]);
    written
}

/// What versions before the sixth wrote of a state in which no leaf was removed.
fn without_removed(state: &Metadata) -> Vec<u8> {
    let mut bytes = state.encode();
    assert_eq!(bytes.split_off(bytes.len() - 4), [0; 4]);
    bytes
}

/// Promise: what the version before wrote is read: databases have no partition for reference tables, and commands that made
/// one make none when they are applied again.
#[test]
fn the_version_before_is_read() {
    let world = World::pair(true, false);
    // The database has a byte more now, which says that it has none; and no leaf that was removed is counted at the end.
    let mut now = without_removed(&world.state);
    now[..2].copy_from_slice(&4_u16.to_le_bytes());
    assert_ne!(Metadata::decode(&now).as_ref(), Ok(&world.state));
    let without = |at: usize| [&now[..at], &now[at + 1..]].concat();
    let mut places = (2..now.len()).filter(|at| now[*at] == 0).map(without);
    assert!(places.any(|old| Metadata::decode(&old).as_ref() == Ok(&world.state)));
    let empty = World::new(resprout_cluster::Mode::Paired, 2);
    for version in [4_u16, 5] {
        let mut old = without_removed(&empty.state);
        old[..2].copy_from_slice(&version.to_le_bytes());
        assert_eq!(Metadata::decode(&old).as_ref(), Ok(&empty.state));
    }
    let is_create =
        |(_, decree): &&(u64, Decree)| matches!(decree.command, Command::CreateDatabase { .. });
    let (_, create) = world.log.iter().find(is_create).expect("one");
    let now = create.encode();
    let mut old = now;
    old[..2].copy_from_slice(&4_u16.to_le_bytes());
    // Version, office, time; then the variant, whose last field was none then.
    old[2 + 8 + 8] = 9;
    old.pop();
    assert_eq!(Decree::decode(&old).as_ref(), Ok(create));
    let mut newer = old.clone();
    newer[..2].copy_from_slice(&VERSION.to_le_bytes());
    assert!(Decree::decode(&newer).is_err(), "no two encodings mean the same");
    let outcome = Outcome::Done.encode();
    let other = [&4_u16.to_le_bytes(), &outcome[2..]].concat();
    assert!(Outcome::decode(&other).is_err(), "nodes that talk are of one version");
}

proptest! {
    /// Promise (A10): any bytes give an error or a value that encodes to the same bytes, and never a panic.
    #[test]
    fn any_bytes_are_an_error_or_one_value(
        start in prop::collection::vec(any::<u8>(), 0..8),
        at in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let world = eventful();
        let mut all: Vec<Vec<u8>> = world.log.iter().map(|(_, decree)| decree.encode()).collect();
        all.push(world.state.encode());
        let mut bytes = all[at.index(all.len())].clone();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(decree) = Decree::decode(&bytes) {
            prop_assert_eq!(of_its_version(decree.encode(), &bytes), bytes.clone());
            let mut state = world.state.clone();
            state.apply(world.index + 1, &decree);
            prop_assert_eq!(Metadata::decode(&state.encode()).unwrap(), state);
        }
        if let Ok(state) = Metadata::decode(&bytes) {
            prop_assert_eq!(of_its_version(state.encode(), &bytes), bytes);
        }
        let random = [&[1, 0][..], &start].concat();
        if let Ok(decree) = Decree::decode(&random) {
            prop_assert_eq!(decree.encode(), random);
        }
    }
}

/// Promise: a count that lies reserves no memory: what is not there is noticed first.
#[test]
fn counts_that_lie_are_refused() {
    let node = NodeId(1);
    let command = Command::SetNodeState {
        node,
        from: NodeState::Online,
        to: NodeState::Offline,
        incarnation: Incarnation(1),
    };
    let honest = Decree { office: 2, at_ms: 0, command }.encode();
    assert!(Decree::decode(&honest).is_ok());
    let homes = Command::CreateDatabase {
        name: String::new(),
        homes: Vec::new(),
        sync: true,
        durable: false,
        redundancy: 1,
        reference: true,
    };
    let mut lying = Decree { office: 2, at_ms: 0, command: homes }.encode();
    // Version, office, time, variant, length of the name; then the number of homes.
    let place = 2 + 8 + 8 + 1 + 4;
    lying[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Decree::decode(&lying), Err(CodecError::Short { .. })));
}

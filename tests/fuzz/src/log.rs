//! Targets of the log: each head and header alone, and a whole arena through inspection and
//! recovery.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::frame::{Entries, HEADER_BYTES, Header};
use resprout_wal::inspect::{Arena, LogInfo, Verdict};
use resprout_wal::world::{SimClock, SimEntropy};
use resprout_wal::{
    ARENA_FILE, Damage, Device, Evidence, LogIdentity, Lsn, Mark, NoObserver, Options, Recovered,
    SECTOR, SlotHeader, Superblock, World,
};

use crate::bundle::Bundle;
use crate::{Outcome, number_and_rest, seeds};

pub(crate) const DIR: &str = "/data";
/// The cluster of all seeds.
pub(crate) const CLUSTER: u128 = 0x00c1_0573;
/// Room of a simulated device: a forged slot size must not cost the test gigabytes.
const DEVICE_BYTES: u64 = 8 << 20;
/// Largest slots in which a run appends.
const SLOT_BYTES_MAX: u64 = 1 << 20;
/// The entry that a run adds to each log.
const ADDED: &[u8] = b"after";

/// `nonce u64 │ frame`.
pub(crate) fn frame(input: &[u8]) -> Outcome {
    let Some((nonce, bytes)) = number_and_rest(input) else { return Outcome::Refused };
    let Ok(header) = Header::decode(bytes, nonce) else { return Outcome::Refused };
    assert_eq!(header.encode(nonce), bytes[..HEADER_BYTES], "a header has one form");
    assert!(header.padded_bytes().is_multiple_of(SECTOR as u64));
    let Ok(payload) = header.check_payload(bytes) else { return Outcome::Refused };
    assert_eq!(payload.len(), header.payload_len as usize);
    let listed: usize = Entries::new(payload).map(|entry| entry.len() + 4).sum();
    match Entries::check(payload) {
        Ok(count) => {
            assert_eq!(count, Entries::new(payload).count() as u64);
            assert_eq!(listed, payload.len(), "entries fill the payload");
        }
        Err(_) => assert!(listed < payload.len(), "what is left over is no entry"),
    }
    Outcome::Accepted
}

/// One sector.
pub(crate) fn slot_header(input: &[u8]) -> Outcome {
    let Some(sector) = input.first_chunk() else { return Outcome::Refused };
    let decoded = SlotHeader::decode(sector);
    if let Ok(header) = &decoded {
        let again = header.encode();
        assert_eq!(SlotHeader::decode(&again).as_ref(), Ok(header), "it comes back");
    }
    Outcome::of(&decoded)
}

/// `nonce u64 │ sector`.
pub(crate) fn mark(input: &[u8]) -> Outcome {
    let Some((nonce, bytes)) = number_and_rest(input) else { return Outcome::Refused };
    let Some(sector) = bytes.first_chunk() else { return Outcome::Refused };
    let decoded = Mark::decode(sector, nonce);
    if let Ok(mark) = decoded {
        assert_eq!(Mark::decode(&mark.encode(nonce), nonce), Ok(mark), "it comes back");
    }
    Outcome::of(&decoded)
}

/// One sector.
pub(crate) fn superblock(input: &[u8]) -> Outcome {
    let Some(sector) = input.first_chunk() else { return Outcome::Refused };
    let decoded = Superblock::decode(sector);
    if let Ok(superblock) = decoded {
        assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock), "it comes back");
    }
    Outcome::of(&decoded)
}

/// A bundle with one file, the arena: inspection and recovery agree, a recovered log takes an
/// entry and has it after a restart.
pub(crate) fn arena(input: &[u8]) -> Outcome {
    let disk = arena_disk(input);
    let said = inspect(&disk);
    let disk = disk.restart();
    let Ok(device) = open(&disk, 3) else { return Outcome::Refused };
    let mut held = Vec::new();
    for found in device.found() {
        let identity = found.identity;
        let verdict = said.iter().find(|(said_of, _)| *said_of == identity);
        let read = read(&device, identity, found.first_lsn);
        agree(verdict.map(|(_, verdict)| verdict), &read);
        let Ok(Read { mut entries, recovered }) = read else { continue };
        if device.geometry().slot_bytes() <= SLOT_BYTES_MAX && append(recovered) {
            entries.push(ADDED.to_vec());
        }
        held.push((identity, found.first_lsn, entries));
    }
    drop(device);
    let device = open(&disk.restart(), 4).unwrap_or_else(|error| panic!("opened before: {error}"));
    for (identity, first, entries) in &held {
        let read = read(&device, *identity, *first)
            .unwrap_or_else(|damage| panic!("good before: {damage}"));
        assert!(read.entries == *entries, "what was there and what was added, of {identity}");
    }
    if held.is_empty() { Outcome::Refused } else { Outcome::Accepted }
}

/// Inspection and recovery say the same of a log.
fn agree(said: Option<&Verdict>, read: &Result<Read, Damage>) {
    match (said, read) {
        (Some(Verdict::Damaged(_)), Err(_)) => {}
        (Some(Verdict::Clean { end, closed, .. }), Ok(read)) => {
            assert_eq!((*end, *closed), (read.recovered.end, read.recovered.clean));
        }
        (Some(Verdict::Torn { at, .. }), Ok(read)) => assert_eq!(*at, read.recovered.end),
        (said, Ok(read)) => panic!("inspection says {said:?}, recovery {}", read.recovered.end),
        (said, Err(damage)) => panic!("inspection says {said:?}, recovery {damage}"),
    }
}

/// Every log that recovery accepts is a prefix of what the seed held, and has everything that
/// was known durable.
pub(crate) fn arena_honest(input: &[u8]) {
    let disk = arena_disk(input);
    let Ok(device) = open(&disk, 3) else { return };
    for found in device.found() {
        let Ok(read) = read(&device, found.identity, found.first_lsn) else { continue };
        // A log whose first slots were lost begins later; then the caller, who knows from where
        // it is needed, is told that it is not there.
        let first = read.entries.first().and_then(|entry| entry.first_chunk());
        let first = first.map_or(0, |number| u64::from_le_bytes(*number));
        assert!(first == 0 || found.first_lsn > Lsn::ZERO, "it begins with entry {first}");
        for (number, entry) in read.entries.iter().enumerate() {
            let number = first + number as u64;
            assert_eq!(*entry, seeds::entry(number, entry.len()), "entry {number}");
        }
    }
}

struct Read {
    entries: Vec<Vec<u8>>,
    recovered: Recovered,
}

fn arena_disk(input: &[u8]) -> SimDisk {
    let mut bundle = Bundle::decode(input);
    bundle.files.truncate(1);
    for file in &mut bundle.files {
        file.path = ARENA_FILE.into();
    }
    let disk = bundle.disk(Path::new(DIR));
    disk.set_capacity(Some(DEVICE_BYTES));
    disk
}

pub(crate) fn world(disk: &SimDisk, seed: u64) -> World {
    World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

/// `seed` must differ between openings of one disk, as a real random source would.
pub(crate) fn open(disk: &SimDisk, seed: u64) -> Result<Device, resprout_wal::OpenError> {
    let options = Options { idle: Duration::ZERO, ..Options::small(CLUSTER) };
    Device::open(world(disk, seed), Path::new(DIR), options)
}

fn inspect(disk: &SimDisk) -> Vec<(LogIdentity, Verdict)> {
    let path: PathBuf = Path::new(DIR).join(ARENA_FILE);
    let before = disk.operations();
    let Ok(arena) = Arena::open(Arc::new(disk.clone()), &path) else { return Vec::new() };
    let logs = arena.logs();
    let verdict = |log: &LogInfo| {
        arena.walk(log.identity, Some(log.first_lsn), Evidence::default()).verdict()
    };
    let verdicts = logs.iter().map(|log| (log.identity, verdict(log))).collect();
    assert_eq!(disk.operations(), before, "inspection changes nothing");
    verdicts
}

fn read(device: &Device, identity: LogIdentity, from: Lsn) -> Result<Read, Damage> {
    let mut recovery = device.recover(identity, from, Evidence::default())?;
    let mut entries = Vec::new();
    let mut end = Lsn::ZERO;
    while let Some(batch) = recovery.next()? {
        for group in batch.groups() {
            assert!(group.lsn >= end && group.end > group.lsn, "groups in order");
            end = group.end;
        }
        entries.extend(batch.entries().map(|entry| entry.bytes.to_vec()));
    }
    let recovered = recovery.finish()?;
    assert!(recovered.end >= end);
    Ok(Read { entries, recovered })
}

/// Whether the log took an entry; a full or contradictory device may refuse, with an error.
fn append(recovered: Recovered) -> bool {
    let add = || {
        let log = recovered.open(Arc::new(NoObserver))?;
        let space = log.reserve(ADDED.len())?;
        let position = log.lock()?.append(ADDED, space)?;
        log.wait_durable(position)
    };
    add().is_ok()
}

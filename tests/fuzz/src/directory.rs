//! Targets of the data directory: identity, manifests, accounts, and the whole of it through the engine.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use resprout_engine::table::{RowView, Table, Value};
use resprout_engine::{Engine, Identity, Manifest, Options, Partition, State};
use resprout_wal::disk::sim::SimDisk;

use crate::bundle::{Bundle, BundledFile};
use crate::log::{DIR, world};
use crate::{Outcome, seeds};

/// Room of the simulated device.
const DEVICE_BYTES: u64 = 8 << 20;
/// Key of the row that a run adds.
const ADDED: i64 = 1_000_000;

/// The bytes of the identity file.
pub(crate) fn identity(input: &[u8]) -> Outcome {
    let disk = disk_with("identity", input);
    let first = Identity::read(&disk, Path::new(DIR));
    if let Ok(identity) = first {
        let again = Identity::read(&disk, Path::new(DIR)).expect("it was just read");
        assert_eq!(identity, again);
    }
    Outcome::of(&first)
}

/// The bytes of the manifest of database `d`.
pub(crate) fn manifest(input: &[u8]) -> Outcome {
    let disk = disk_with("databases/d.db", input);
    let loaded = Manifest::load_all(&disk, Path::new(DIR));
    if let Ok(manifests) = &loaded {
        let [manifest] = &manifests[..] else { panic!("one file, {} databases", manifests.len()) };
        assert_eq!(manifest.name, "d", "a manifest of another name is refused");
        manifest.store(&disk, Path::new(DIR)).expect("an empty disk has room");
        let again = Manifest::load_all(&disk, Path::new(DIR)).expect("it was just stored");
        assert_eq!(again, *manifests);
    }
    Outcome::of(&loaded)
}

/// The bytes of the file of accounts.
pub(crate) fn accounts(input: &[u8]) -> Outcome {
    match resprout_sql::accounts::is_file_of_accounts(input) {
        true => Outcome::Accepted,
        false => Outcome::Refused,
    }
}

/// A bundle with a data directory: every partition is online or says why not; one that is online
/// is read to its end, takes a row and has it after a restart.
pub(crate) fn whole(input: &[u8]) -> Outcome {
    let disk = bundle_disk(input);
    let Ok(engine) = open(&disk, 5) else { return Outcome::Refused };
    let mut added = false;
    let mut online = 0;
    for partition in partitions(&engine) {
        match partition.state() {
            State::Online => {
                online += 1;
                if read_all(&partition).is_ok() {
                    added |= add_row(&partition);
                }
            }
            State::Unrecoverable => {
                assert!(partition.status().error.is_some(), "a refusal has a reason");
            }
            state => panic!("{} is left {state}", partition.name()),
        }
    }
    drop(engine);
    if added {
        let engine = open(&disk.restart(), 6).expect("what has served opens again");
        let found = partitions(&engine).iter().filter(|partition| has_added(partition)).count();
        assert!(found > 0, "an acknowledged row is there after a restart");
    }
    if online > 0 { Outcome::Accepted } else { Outcome::Refused }
}

/// Whatever is answered from a damaged directory was committed, and nothing before it is missing.
pub(crate) fn whole_honest(input: &[u8]) {
    let disk = bundle_disk(input);
    let Ok(engine) = open(&disk, 5) else { return };
    for partition in partitions(&engine) {
        if partition.state() != State::Online {
            continue;
        }
        let Ok(table) = partition.table(seeds::TABLE) else { continue };
        let rows = rows(&partition, &table);
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(*row, seeds::engine_row(number as i64), "row {number}");
        }
    }
}

fn disk_with(path: &str, bytes: &[u8]) -> SimDisk {
    let file = BundledFile { path: path.into(), bytes: bytes.to_vec() };
    Bundle { files: vec![file] }.disk(Path::new(DIR))
}

fn bundle_disk(input: &[u8]) -> SimDisk {
    let disk = Bundle::decode(input).disk(Path::new(DIR));
    disk.set_capacity(Some(DEVICE_BYTES));
    disk
}

pub(crate) fn open(disk: &SimDisk, run: u64) -> Result<Engine, resprout_engine::Error> {
    let simulated = Options::simulated(world(disk, run));
    let options = Options { maximum_memory: 64 << 20, ..simulated };
    Engine::open(DIR, options)
}

fn partitions(engine: &Engine) -> Vec<Partition> {
    engine.databases().iter().flat_map(|database| database.partitions().to_vec()).collect()
}

fn rows(partition: &Partition, table: &Arc<Table>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let txn = partition.begin().expect("it is online");
    let scanned = txn.scan(table, &table.rows(), |row| {
        let values = row.values().expect("checksums hold, so rows do");
        rows.push(values.into_iter().map(|value| value.into_owned()).collect());
        ControlFlow::Continue(())
    });
    scanned.expect("checksums hold, so rows do");
    rows
}

/// Reads every row of every table; a damaged one is an error.
fn read_all(partition: &Partition) -> Result<(), resprout_engine::Error> {
    let view = partition.view()?;
    let catalog = partition.catalog()?;
    let mut key = Vec::new();
    for table in catalog.tables() {
        let range = table.rows();
        let mut scan = view.range(&range.from, range.to.as_deref());
        while scan.next() {
            scan.key_into(&mut key);
            RowView::new(table, &key, scan.value())?.check()?;
        }
    }
    Ok(())
}

fn add_row(partition: &Partition) -> bool {
    let add = || {
        let table = partition.table(seeds::TABLE)?;
        let mut txn = partition.begin()?;
        txn.insert(&table, &seeds::engine_row(ADDED))?;
        txn.commit()
    };
    add().is_ok()
}

fn has_added(partition: &Partition) -> bool {
    let Ok(table) = partition.table(seeds::TABLE) else { return false };
    let Ok(txn) = partition.begin() else { return false };
    let row = txn.get(&table, &[Value::Int(ADDED)]).ok().flatten();
    row.is_some_and(|row| row == seeds::engine_row(ADDED))
}

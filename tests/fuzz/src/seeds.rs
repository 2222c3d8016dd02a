//! Sound inputs, written by the programs themselves: what the corpus is made of, and what is known
//! of its content.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use resprout_consensus::wire;
use resprout_engine::record::{
    Op, OpKind, PreparedSet, RecordHeader, RecordKind, RecordWriter, Stamp, write_prepare,
};
use resprout_engine::table::{Catalog, Change, NewColumn, Table, TableSchema, Value, Write, key};
use resprout_engine::tree::{MemoryLimit, PageMemory, Tree};
use resprout_engine::{DatabaseOptions, Durability};
use resprout_snapshot::{Digest, Header as SnapshotHeader, LeafPage, PAGE, WriteOptions, Writer};
use resprout_wal::disk::Disk;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::world::Rng;
use resprout_wal::{
    ARENA_FILE, History, LogIdentity, Lsn, NoObserver, SECTOR, SlotHeader, Term, TermStart, frame,
};

use crate::bundle::Bundle;
use crate::log::{CLUSTER, DIR};
use crate::{directory, log, table};

/// Name of the table in the data directory.
pub const TABLE: &str = "t";

/// Types that may be part of a key.
pub const KEY_TYPES: [&str; 17] = [
    "tinyint",
    "smallint unsigned",
    "mediumint",
    "int",
    "bigint",
    "bigint unsigned",
    "float",
    "double",
    "decimal(4,2)",
    "decimal(38,10)",
    "char(5)",
    "varchar(20)",
    "binary(3)",
    "varbinary(20)",
    "date",
    "time(6)",
    "datetime(3)",
];

const NONCE: u64 = 0x5eed;

/// A seed: its file name and its bytes.
pub type Seed = (String, Vec<u8>);

/// The seeds of a target; none for a name that is not a target's.
///
/// # Panics
/// If a program cannot write what it should.
#[must_use]
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "frame" => frames(),
        "slot_header" => named("plain", [heads().0]),
        "mark" => named("plain", [heads().1]),
        "superblock" => named("plain", [heads().2]),
        "arena" => named("arena", [arena(false).encode(), arena(true).encode()]),
        "snapshot" => named("snapshot", [snapshot_file(&[1, 2, 1]), snapshot_file(&[])]),
        "leaf" => named("leaf", leaves()),
        "row" => rows(),
        "key" => keys(),
        "schema" => schemas(),
        "text" => texts(),
        "inference" => inferences(),
        "statement" => statements(),
        "record" => records(),
        "prepared" => named("set", [prepared_set().encode().expect("it is small")]),
        "identity" => named("identity", [file_of_directory("identity")]),
        "manifest" => named("d", [file_of_directory("databases/d.db")]),
        "accounts" => named("accounts", [accounts()]),
        "directory" => named("directory", [data_directory().encode()]),
        "raft_message" => raft_frames(|name, frame| {
            let envelope = wire::decode(&frame, wire::MESSAGE_BYTES_MAX).ok()?;
            let again = wire::encode(&envelope, wire::MESSAGE_BYTES_MAX);
            Some((name, again.expect("it was in a frame").to_vec()))
        }),
        "raft_handshake" => raft_frames(|name, frame| {
            let is_greeting = ["hello", "welcome", "reject"].iter().any(|it| name.starts_with(it));
            is_greeting.then_some((name, frame))
        }),
        "protocol" => named("session", crate::protocol::seeds()),
        _ => Vec::new(),
    }
}

fn named<const N: usize>(name: &str, seeds: [Vec<u8>; N]) -> Vec<Seed> {
    numbered(name, seeds.into())
}

fn numbered(name: &str, seeds: Vec<Vec<u8>>) -> Vec<Seed> {
    seeds.into_iter().enumerate().map(|(n, seed)| (format!("{name}-{n}"), seed)).collect()
}

/// Entry number `n` of the logs in the arenas: its bytes follow from its number.
#[must_use]
pub fn entry(n: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(n);
    let mut bytes = n.to_le_bytes().to_vec();
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len.max(8));
    bytes
}

/// The file that the tests of accounts keep for every version.
fn accounts() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sql/tests/fixtures/accounts-1");
    std::fs::read(path).expect("the fixture of accounts")
}

/// Frames that the tests of Raft keep for every version, those that `seed` wants.
fn raft_frames(seed: impl Fn(String, Vec<u8>) -> Option<Seed>) -> Vec<Seed> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../consensus/tests/fixtures/raft-wire-1");
    let entries = std::fs::read_dir(folder).expect("the fixtures of Raft");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        seed(name, std::fs::read(path).expect("a readable fixture"))
    };
    paths.iter().filter_map(read).collect()
}

fn frames() -> Vec<Seed> {
    let group = |entries: &[&[u8]]| {
        let entry = |entry: &&[u8]| [&(entry.len() as u32).to_le_bytes()[..], entry].concat();
        entries.iter().flat_map(entry).collect::<Vec<u8>>()
    };
    let frame = |payload: Vec<u8>| {
        let header = frame::Header {
            lsn: Lsn(3 * SECTOR as u64),
            term: Term(2),
            chain: 77,
            flags: 0,
            payload_len: payload.len() as u32,
            payload_crc: crc32fast::hash(&payload),
            committed: Lsn(4096),
            durable: Lsn(8192),
        };
        [&NONCE.to_le_bytes()[..], &header.encode(NONCE), &payload].concat()
    };
    let groups = [group(&[]), group(&[b"one", b"", b"three"]), group(&[&entry(1, 300)])];
    named("frame", groups.map(frame))
}

/// A slot header, a mark behind its nonce, and a superblock, as a log has written them.
fn heads() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let arena = arena(true).files.remove(0).bytes;
    let slot = 64 << 10;
    let sector = |at: usize| arena[at..at + SECTOR].to_vec();
    let header = SlotHeader::decode(arena[slot..].first_chunk().expect("a slot"));
    let nonce = header.expect("the slot was written").nonce;
    let mark = [1, 2].map(|number| sector(slot + number * SECTOR));
    let mark = mark.into_iter().find(|mark| mark.iter().any(|byte| *byte != 0));
    let mark = [&nonce.to_le_bytes()[..], &mark.expect("the log was closed")].concat();
    (sector(slot), mark, sector(0))
}

fn log_identity(partition: u32) -> LogIdentity {
    LogIdentity { cluster: CLUSTER, database: 1, partition, instance: 77 + u64::from(partition) }
}

/// Two logs, one over two slots and with two terms; closed in order or left by a kill.
fn arena(closed: bool) -> Bundle {
    let disk = SimDisk::new(1);
    let device = log::open(&disk, 1).expect("a new arena");
    let lens: [&[usize]; 2] = [&[8, 3000, 45_000, 9000, 20], &[100, 0, 5000]];
    for (partition, lens) in (0..).zip(lens) {
        let log = device
            .create(log_identity(partition), Term(1), Arc::new(NoObserver))
            .expect("room for a log");
        for (number, len) in lens.iter().enumerate() {
            let bytes = entry(number as u64, *len);
            let space = log.reserve(bytes.len()).expect("room for an entry");
            let appended = log.lock().and_then(|mut log| log.append(&bytes, space));
            log.wait_durable(appended.expect("an append")).expect("durable");
            if number == 1 && partition == 0 {
                let begun = log.begin_term(Term(3)).expect("a newer term");
                log.wait_durable(begun).expect("durable");
            }
        }
        if closed {
            log.close_clean().expect("closes");
        }
    }
    drop(device);
    let bytes = disk.contents(&Path::new(DIR).join(ARENA_FILE)).expect("the arena");
    Bundle::one(bytes)
}

fn snapshot_file(runs: &[u32]) -> Vec<u8> {
    let disk = SimDisk::new(1);
    let dir = Path::new("/s");
    disk.create_dir(dir).expect("an empty disk");
    let entries = [(1, 0), (4, 8192)].map(|(t, s)| TermStart { term: Term(t), start: Lsn(s) });
    let history = History::from_entries(entries.to_vec()).expect("terms grow");
    let header = SnapshotHeader {
        identity: log_identity(0),
        lsn: Lsn(16_384),
        term: Term(4),
        chain: 5,
        history,
    };
    let options = WriteOptions { buffer_bytes: 2 * PAGE, in_flight: 2, expected_bytes: None };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = Writer::create_with(&shared, dir, &header, b"schema", options).expect("made");
    for (number, run) in (0..).zip(runs) {
        let bytes = entry(number, *run as usize * PAGE);
        let separator = if number == 0 { Vec::new() } else { format!("k{number}").into_bytes() };
        let mut digest = Digest::EMPTY;
        digest.add_row(&separator, b"row");
        let leaf =
            LeafPage { bytes: &bytes, rows: 3 + number as u32, digest, separator: &separator };
        writer.push(leaf).expect("room");
    }
    let written = writer.finish().expect("a sound snapshot");
    disk.contents(&written.path).expect("it was written")
}

/// Full, half empty and long leaves of a tree that was changed.
fn leaves() -> [Vec<u8>; 4] {
    let memory = PageMemory::new(MemoryLimit::new(16 << 20)).expect("addresses for 16 MiB");
    let mut tree = Tree::new(memory);
    let key = |number: u64| [&[0, 0, 0, 16][..], &(number * 977).to_be_bytes()].concat();
    for number in 0..150 {
        tree.put(&key(number), &entry(number, 8 + (number % 90) as usize)).expect("room");
    }
    for number in (0..150).step_by(3) {
        tree.remove(&key(number)).expect("room");
    }
    tree.put(b"a long row", &entry(1, 5000)).expect("room");
    tree.put(b"z", b"").expect("room");
    let root = tree.freeze();
    let view = tree.versions().hold(&root).view();
    let mut leaves: Vec<Vec<u8>> = view.leaves().map(|leaf| leaf.bytes.to_vec()).collect();
    let long = leaves.iter().position(|leaf| leaf.len() > PAGE).expect("the long row");
    let (long, last) = (leaves.remove(long), leaves.pop().expect("the last leaf"));
    [leaves.remove(0), leaves.remove(0), long, last]
}

/// Tables of many types: with a key, without one, and one that has been altered.
///
/// # Panics
/// If a sound schema is refused.
#[must_use]
pub fn tables() -> &'static [Table] {
    static TABLES: OnceLock<Vec<Table>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let made = |schema: TableSchema| Table::new(schema).expect("a sound schema");
        let [keyed, hidden, altered] = sound_schemas();
        vec![made(keyed), made(hidden), made(altered)]
    })
}

fn sound_schemas() -> [TableSchema; 3] {
    let keyed = TableSchema::builder("keyed")
        .column("id", "int")
        .column("name", "varchar(20)")
        .column("n", "smallint")
        .nullable(true)
        .column("price", "decimal(8,2)")
        .default("1.5")
        .column("note", "text")
        .nullable(true)
        .primary_key(&["id", "name"])
        .index("by_price", &["price", "n"])
        .build();
    let mut hidden = TableSchema::builder("hidden");
    for (number, ty) in
        KEY_TYPES.into_iter().chain(["json", "longblob", "timestamp(6)"]).enumerate()
    {
        hidden = hidden.column(&format!("c{number}"), ty).nullable(number % 2 == 0);
    }
    let first = TableSchema::builder("altered")
        .column("id", "bigint")
        .column("gone", "varchar(10)")
        .primary_key(&["id"])
        .auto_increment("id")
        .unique("by_gone", &["gone"])
        .build();
    let mut catalog = Catalog::empty().create(first.expect("sound")).expect("sound").catalog;
    let added =
        NewColumn { default: Some(7_i64.into()), ..NewColumn::parse("new", "int").expect("int") };
    for change in [
        Change::AddColumn(added),
        Change::DropIndex("by_gone".into()),
        Change::DropColumn("gone".into()),
    ] {
        catalog = catalog.alter("altered", change).expect("a possible change").catalog;
    }
    let altered = catalog.table("altered").expect("it was made").schema();
    [keyed.expect("sound"), hidden.build().expect("sound"), TableSchema::clone(altered)]
}

fn rows() -> Vec<Seed> {
    let text = |table: &Table, number: i64| -> Vec<Value> {
        let value = |id: &_| {
            let column = table.schema().column(*id);
            let given = ["1", "2024-02-29", "12:30:00", "2024-02-29 12:30:00", "{\"a\": 1}", "ab"];
            let fits = given.iter().find_map(|text| column.ty.parse_text(text).ok());
            let fits = fits.unwrap_or_else(|| panic!("a value of {}", column.ty));
            if number == 1 && column.nullable { Value::Null } else { fits }
        };
        table.live().iter().map(value).collect()
    };
    let mut seeds = Vec::new();
    for (which, table) in (0..).zip(tables()) {
        for number in 0..2 {
            let hidden = table.schema().primary.columns().is_empty().then_some(9);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let values = text(table, number);
            table.encoder().encode(&values, hidden, &mut key, &mut value).expect("values fit");
            seeds.push([&[which, key.len() as u8][..], &key, &value].concat());
        }
    }
    numbered("row", seeds)
}

fn keys() -> Vec<Seed> {
    let seed = |number: u8| {
        let mut bytes = Vec::new();
        key::start(resprout_engine::table::IndexId(16), &mut bytes);
        for (ty, nullable) in table::key_types(number) {
            let given = ["1", "2024-02-29", "12:30:00", "a\0b"];
            let value = given.iter().find_map(|text| ty.parse_text(text).ok());
            let value = value.unwrap_or_else(|| panic!("a value of {ty}"));
            key::append(&ty, nullable, &value.as_ref(), &mut bytes).expect("it fits");
        }
        [&[number][..], &bytes].concat()
    };
    numbered("key", (0..KEY_TYPES.len() as u8).map(seed).collect())
}

fn schemas() -> Vec<Seed> {
    named("schema", sound_schemas().map(|schema| schema.to_bytes().expect("it is small")))
}

fn statements() -> Vec<Seed> {
    let texts = [
        "SELECT id, a, b + 1 FROM t WHERE id = ? AND a LIKE 'x%' ORDER BY b DESC LIMIT 10, 5",
        "INSERT INTO t (id, a) VALUES (1, 'it''s'), (?, _binary'x') ON DUPLICATE KEY UPDATE b = b + 1",
        "UPDATE t SET a = CONCAT(a, \"y\"), b = 1.5 WHERE id IN (1, 2, 0x1F) LIMIT 3; COMMIT",
        "DELETE FROM t WHERE id BETWEEN -5 AND 5e3 -- all\n; # none\n SET @a := @@b, NAMES utf8",
        "CREATE TABLE t (id BIGINT AUTO_INCREMENT, a VARCHAR(20) DEFAULT 'x' COMMENT 'y', \
         b DECIMAL(8,2) NOT NULL DEFAULT 1, PRIMARY KEY (id), KEY k (a(5) DESC), SHARD KEY (id)) \
         /*!40101 ENGINE=InnoDB */ AUTO_INCREMENT=5",
        "ALTER TABLE `t` ADD COLUMN (c INT, d DATETIME(3)), DROP KEY k, RENAME TO u",
        "CREATE DATABASE d PARTITIONS 8 WITH SYNC DURABILITY SYNC REPLICATION",
        "ADD LEAF root:'pw'@'h':3306 INTO GROUP 2; REBALANCE PARTITIONS ON d FULL FORCE",
        "GRANT SELECT (a), INSERT ON d.* TO 'u'@'%' IDENTIFIED BY 'p' WITH GRANT OPTION",
        "LOAD DATA LOCAL INFILE 'f' INTO TABLE t FIELDS TERMINATED BY ',' (id, @x) SET a = @x",
        "SHOW FULL COLUMNS FROM t FROM d WHERE Field = 'a'",
        "SELECT CASE WHEN (SELECT MAX(b) FROM t) > 1 THEN 'x' END UNION ALL SELECT a DIV 2 FROM t x",
    ];
    named("statement", texts.map(|text| text.as_bytes().to_vec()))
}

fn texts() -> Vec<Seed> {
    let texts = [
        "bigint unsigned\n18446744073709551615",
        "decimal(10,3)\n-12.5e2",
        "double\n1e300",
        "float\n0.1",
        "date\n2024-02-29",
        "datetime(6)\n2024-02-29T23:59:59.999999",
        "time(3)\n-838:59:58.5",
        "timestamp\n1970-01-01 00:00:01",
        "json\n{\"a\": [1, true, null, \"\\u00e9\"], \"b\": -1.5e-3}",
        "varchar(20)\nTom\u{e9}",
        "char(5)\nab  ",
    ];
    named("text", texts.map(|text| text.as_bytes().to_vec()))
}

fn inferences() -> Vec<Seed> {
    let texts = [
        "id,name,price\n1,a,1.5\n-2,b,\n3,long text,12345678901234567.5\n",
        "d,m,e\n2024-02-29,2024-02-29 10:00:00,1e5\n2023-01-01,2024-02-29T10:00:00.5,2\n",
        "n,,x\n007,\\N,9223372036854775808\n1,2,3,4\n",
    ];
    named("sample", texts.map(|text| text.as_bytes().to_vec()))
}

fn sample_writes() -> Vec<Write> {
    let write =
        |kind, key: &[u8], value: &[u8]| Write { kind, key: key.into(), value: value.into() };
    vec![
        write(OpKind::Insert, b"\0\0\0\x10key", b"a row"),
        write(OpKind::Update, b"\0\0\0\x10kez", &entry(1, 100)),
        write(OpKind::Delete, b"\0\0\0\x10old", b""),
        write(OpKind::DeleteRange, b"\0\0\0\x12", b"\0\0\0\x13"),
    ]
}

fn prepared_set() -> PreparedSet {
    let locks = vec![b"\0\0\0\x10key".to_vec(), b"\0\0\0\x10other".to_vec()];
    let (global_id, participants) = (b"g1".to_vec(), vec![3, 1]);
    PreparedSet { global_id, participants, binding: true, ops: sample_writes(), locks }
}

fn records() -> Vec<Seed> {
    let mut commit = Vec::new();
    let header = RecordHeader { kind: RecordKind::Commit, txn_id: 5, wall_ms: 1_700_000_000_000 };
    let mut writer = RecordWriter::new(header, &mut commit);
    writer.writes(&sample_writes());
    writer.finish();
    let mut term = Vec::new();
    let header = RecordHeader { kind: RecordKind::TermStart, txn_id: 0, wall_ms: 1 };
    let mut writer = RecordWriter::new(header, &mut term);
    writer.op(Op { kind: OpKind::Insert, key: b"\0\0\0\x04x", value: b"" });
    writer.finish();
    let mut prepare = Vec::new();
    write_prepare(Stamp { txn_id: 6, wall_ms: 2 }, &prepared_set(), &mut prepare).expect("small");
    named("record", [commit, term, prepare])
}

/// Row number `id` of the data directory.
#[must_use]
pub fn engine_row(id: i64) -> Vec<Value> {
    let name = format!("row {id} ").repeat(1 + id.unsigned_abs() as usize % 7);
    vec![Value::Int(id), Value::Text(name)]
}

/// A directory with one partition: rows 0 to 9 in order, snapshots after some of them, killed.
fn data_directory() -> Bundle {
    let disk = SimDisk::new(1);
    let engine = directory::open(&disk, 1).expect("a new directory");
    let options = DatabaseOptions { partitions: 1, durability: Durability::Sync };
    let database = engine.create_database("d", options).expect("room for a database");
    let schema = TableSchema::builder(TABLE)
        .column("id", "bigint")
        .column("name", "varchar(100)")
        .primary_key(&["id"])
        .index("by_name", &["name"])
        .build();
    database.create_table(&schema.expect("sound")).expect("room for a table");
    let partition = &database.partitions()[0];
    let table = partition.table(TABLE).expect("it was made");
    for id in 0..10 {
        let mut txn = partition.begin().expect("online");
        txn.insert(&table, &engine_row(id)).expect("a new row");
        txn.commit().expect("a commit");
        if id == 3 || id == 6 {
            partition.snapshot().expect("a snapshot");
        }
    }
    Bundle::of(&disk, Path::new(DIR))
}

fn file_of_directory(path: &str) -> Vec<u8> {
    let file = data_directory().files.into_iter().find(|file| file.path == path);
    file.unwrap_or_else(|| panic!("a directory has {path}")).bytes
}

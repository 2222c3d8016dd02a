//! Images of which the pages travel as they are: what they bring, and that nothing is changed where they are not whole.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Instant;

use resprout_engine::table::{TableSchema, Value};
use resprout_engine::{
    CopyOptions, Durability, Engine, Error, Options, PlainImage, Shipper, State, StoredCopy,
};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::world::{SimClock, SimEntropy};
use resprout_wal::{Frame, LogError, Lsn, Term, World};

/// Whoever ships to nobody.
#[derive(Debug)]
struct Nobody;

impl Shipper for Nobody {
    fn appended(&self, _frames: &[Frame]) {}
    fn durable(&self, _lsn: Lsn) {}
    fn failed(&self, _error: &LogError) {}
}

fn nobody() -> Weak<dyn Shipper> {
    let weak: Weak<Nobody> = Weak::new();
    weak
}

fn copy_in(engine: &Engine, instance: u64) -> StoredCopy {
    let options =
        CopyOptions { number: 3, instances: vec![instance], durability: Durability::Sync };
    let database = engine.create_copies("d", &options).expect("made");
    database.partitions()[0].store_copy(nobody()).expect("it is PENDING")
}

/// A master, whose commits are acknowledged by [`Master::acknowledged`].
struct Master {
    copy: Arc<StoredCopy>,
    _engine: Engine,
    _dir: tempfile::TempDir,
}

impl Master {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options { cluster: Some(7), attach: false, ..Options::default() };
        let engine = Engine::open(dir.path(), options).expect("opens");
        let copy = Arc::new(copy_in(&engine, 1));
        copy.enter(State::Transitioning, "test");
        assert!(copy.begin_term(Term(2), true, copy.call()).expect("begun"));
        copy.enter(State::Online, "test");
        let master = Self { copy, _engine: engine, _dir: dir };
        let table = TableSchema::builder("t").column("id", "bigint").column("text", "text");
        let schema = table.primary_key(&["id"]).build().expect("a sound schema");
        master.acknowledged(move |partition| partition.create_table(schema).map(drop));
        master
    }

    fn acknowledged(
        &self,
        work: impl FnOnce(&resprout_engine::Partition) -> Result<(), Error> + Send + 'static,
    ) {
        let partition = self.copy.partition().clone();
        let working = std::thread::spawn(move || work(&partition));
        let began = Instant::now();
        while !working.is_finished() {
            assert!(began.elapsed().as_secs() < 30, "it is acknowledged");
            self.show();
            std::thread::yield_now();
        }
        working.join().expect("no panic").expect("committed");
        let end = self.copy.partition().status().end;
        while self.copy.partition().status().committed < end {
            self.show();
        }
    }

    fn show(&self) {
        self.copy.ship();
        self.copy.set_committed(self.copy.partition().status().end);
        self.copy.disk_went_on();
    }

    /// Rows of every kind of leaf: many on a page, one on a page, and one on several.
    fn fill(&self, ids: std::ops::Range<i64>) {
        self.acknowledged(move |partition| {
            let table = partition.table("t")?;
            let mut txn = partition.begin()?;
            for id in ids {
                let bytes =
                    if id % 100 == 7 { 20_000 } else { usize::try_from(id % 90).unwrap_or(0) };
                txn.insert(&table, &[Value::Int(id), Value::Text("x".repeat(bytes))])?;
            }
            txn.commit().map(drop)
        });
    }

    /// The rows as pieces, which two copies with the same rows have alike.
    fn digests(&self) -> Vec<u64> {
        self.copy.image().expect("held").digests().to_vec()
    }
}

fn simulated(disk: &SimDisk, seed: u64) -> Result<Engine, Error> {
    let world = World {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::default()),
        entropy: Arc::new(SimEntropy::new(seed)),
    };
    Engine::open("/data", Options { cluster: Some(7), attach: false, ..Options::simulated(world) })
}

/// Takes an image, in reads of about 64 KiB.
fn take(image: &mut PlainImage, to: &StoredCopy) -> Result<bool, Error> {
    let (at, pages) = ((image.lsn(), image.lineage().clone()), image.pages());
    let mut taken = to.begin_plain(at, pages)?;
    while taken.next() < pages {
        let wanted: Vec<u64> = (taken.next()..pages).take(100).collect();
        for (number, piece) in image.pieces(&wanted, 64 << 10) {
            assert_eq!(number, taken.next(), "in order, and each once");
            taken.push(&piece)?;
        }
    }
    to.install_plain(taken)
}

fn same(copy: &StoredCopy, digests: &[u64]) -> bool {
    let own = copy.own_chunks().expect("runs");
    !digests.is_empty() && digests.iter().all(|digest| own.contains(*digest))
}

/// Promise (R16, D32): a copy that had nothing has all rows, in memory and behind a crash, and can be master.
#[test]
fn r16_plain_pages_bring_everything() {
    let master = Master::new();
    master.fill(0..5000);
    let mut image = master.copy.plain_image().expect("held");
    assert!(image.pages() > 300, "{} pages", image.pages());
    // What comes behind the image is not in it.
    let digests = master.digests();
    master.fill(5000..5400);
    let disk = SimDisk::new(3);
    let engine = simulated(&disk, 1).expect("opens");
    let copy = copy_in(&engine, 5);
    assert!(take(&mut image, &copy).expect("installed"));
    assert!(same(&copy, &digests));
    assert_eq!(copy.end().expect("runs"), (image.lsn(), image.lineage().clone()));
    drop((copy, engine));
    let disk = disk.crash(9);
    let engine = simulated(&disk, 2).expect("opens");
    let partition = engine.database("d").expect("there").partitions()[0].clone();
    let copy = partition.store_copy(nobody()).expect("it is PENDING");
    assert!(same(&copy, &digests));
    assert_eq!(copy.end().expect("runs"), (image.lsn(), image.lineage().clone()));
    copy.enter(State::Transitioning, "test");
    assert!(copy.begin_term(Term(3), false, copy.call()).expect("begun"));
    copy.enter(State::Online, "test");
    let table = partition.table("t").expect("there");
    let (mut rows, txn) = (0, partition.begin().expect("readable"));
    let counted = txn.scan(&table, &table.rows(), |_| {
        rows += 1;
        ControlFlow::Continue(())
    });
    counted.expect("good rows");
    assert_eq!(rows, 5000);
}

/// Promise (R17): reads may begin anywhere, and again; the pages are the same.
#[test]
fn r17_plain_pages_are_the_same_when_they_are_read_again() {
    let master = Master::new();
    master.fill(0..2000);
    let mut image = master.copy.plain_image().expect("held");
    let all: Vec<u64> = (0..image.pages()).collect();
    let whole = image.pieces(&all, usize::MAX);
    assert_eq!(whole.len() as u64, image.pages());
    let places = (0..all.len()).rev().step_by(13).chain((0..all.len()).step_by(7));
    for from in places {
        let some = image.pieces(&all[from..], 40 << 10);
        assert!(!some.is_empty() && some[..] == whole[from..from + some.len()], "from {from}");
    }
    let odd: Vec<u64> = all.iter().copied().filter(|page| page % 2 == 1).collect();
    let expected = whole.iter().filter(|(page, _)| page % 2 == 1);
    assert!(image.pieces(&odd, usize::MAX).iter().eq(expected));
}

/// Promise (D32, D26): pages that are missing, of another order or damaged are refused, and leave everything as it was.
#[test]
fn d32_plain_pages_that_are_not_what_they_should_be_change_nothing() {
    let master = Master::new();
    master.fill(0..1500);
    let first = master.digests();
    let mut image = master.copy.plain_image().expect("held");
    let disk = SimDisk::new(4);
    let engine = simulated(&disk, 1).expect("opens");
    let copy = copy_in(&engine, 5);
    assert!(take(&mut image, &copy).expect("installed"));
    master.fill(1500..3000);
    let mut image = master.copy.plain_image().expect("held");
    let pieces = image.pieces(&(0..image.pages()).collect::<Vec<_>>(), usize::MAX);
    let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|(_, piece)| piece.to_vec()).collect();
    let attempt = |pieces: &[Vec<u8>]| {
        let at = (image.lsn(), image.lineage().clone());
        let mut taken = copy.begin_plain(at, image.pages())?;
        pieces.iter().try_for_each(|piece| taken.push(piece))?;
        copy.install_plain(taken)
    };
    let last = pieces.len() - 1;
    assert!(!attempt(&pieces[..last]).expect("no fault"), "one is missing");
    let small = pieces.iter().rposition(|piece| piece[..2] != [0xff; 2]).expect("a first page");
    let mut swapped = pieces.clone();
    swapped.swap(0, small);
    let mut spoiled = vec![
        [&pieces[..5], &pieces[4..]].concat(),
        pieces[1..].to_vec(),
        [&pieces[..small - 9], &pieces[small..]].concat(),
        swapped,
    ];
    // Lengths of separators, and fields of a page's header.
    for (piece, byte) in [(0, 0), (0, 4), (0, 8), (0, 14), (small, 0), (small, 1), (last, 0)] {
        let mut flipped = pieces.clone();
        flipped[piece][byte] ^= 0x41;
        spoiled.push(flipped);
        let mut short = pieces.clone();
        short[piece].truncate(byte);
        spoiled.push(short);
    }
    for (number, pieces) in spoiled.iter().enumerate() {
        let error = attempt(pieces).expect_err("it is refused");
        assert!(matches!(error, Error::DataDamaged { .. }), "{number}: {error}");
        assert!(same(&copy, &first), "{number}");
    }
    assert!(attempt(&pieces).expect("installed"));
    assert!(same(&copy, &master.digests()));
}

/// Promise (D32, P03): a crash at any operation, from the first page to the end of the switch, leaves what was before or
/// the image; interrupted again while it is finished, too.
#[test]
fn d32_a_crash_while_plain_pages_come() {
    let master = Master::new();
    master.fill(0..300);
    let (mut first, before_rows) = (master.copy.plain_image().expect("held"), master.digests());
    master.fill(300..400);
    let (mut second, after_rows) = (master.copy.plain_image().expect("held"), master.digests());
    let (mut before, mut after) = (0, 0);
    for k in 0..90 {
        let disk = SimDisk::new(k);
        let engine = simulated(&disk, 1).expect("opens");
        let copy = copy_in(&engine, 5);
        assert!(take(&mut first, &copy).expect("installed"));
        disk.fail(Fault::at(k, Effect::CrashDuring));
        let done = take(&mut second, &copy);
        drop((copy, engine));
        let mut disk = disk.crash(k);
        disk.heal();
        for again in 0..3 {
            disk.fail(Fault::at(again * 3, Effect::CrashDuring));
            drop(simulated(&disk, 2 + again));
            disk = disk.crash(again);
            disk.heal();
        }
        let engine = simulated(&disk, 9).expect("opens");
        let partition = engine.database("d").expect("there").partitions()[0].clone();
        let status = partition.status();
        assert_eq!(status.state, State::Pending, "crash at {k}: {status:?}");
        let copy = partition.store_copy(nobody()).expect("it is PENDING");
        let (end, lineage) = copy.end().expect("runs");
        let is_first = end == first.lsn();
        let image = if is_first { &first } else { &second };
        assert_eq!((end, &lineage), (image.lsn(), image.lineage()), "crash at {k}");
        let rows = if is_first { &before_rows } else { &after_rows };
        assert!(same(&copy, rows), "crash at {k}");
        assert!(done.is_err() || !is_first, "what was done is lost: crash at {k}");
        before += u64::from(is_first);
        after += u64::from(!is_first);
    }
    assert!(before > 5 && after > 5, "{before} before, {after} after: both were met");
}

/// Promise (D22, D24, D32): a device that is full, or that gives back something else than was written, ends the attempt
/// with its reason; what was there goes on, nothing half stays, and the next attempt succeeds.
#[test]
fn d24_d32_a_full_device_ends_plain_pages_and_nothing_else() {
    let master = Master::new();
    master.fill(0..300);
    let (mut first, rows) = (master.copy.plain_image().expect("held"), master.digests());
    // More than one transfer.
    master.fill(300..12_000);
    let (mut second, all) = (master.copy.plain_image().expect("held"), master.digests());
    let mut met = 0;
    let full = Effect::Error(libc::ENOSPC);
    let others = [Effect::Lost, Effect::Flipped(9 << 15), Effect::Error(libc::EIO)];
    for (seed, effect) in (0..).zip([full, full].into_iter().chain(others)) {
        let disk = SimDisk::new(seed);
        let engine = simulated(&disk, 1).expect("opens");
        let copy = copy_in(&engine, 5);
        assert!(take(&mut first, &copy).expect("installed"));
        let is_full = effect == Effect::Error(libc::ENOSPC);
        disk.fail(Fault::on(OpKind::Write, seed.min(1), effect).in_path("image"));
        let error = take(&mut second, &copy).expect_err("the device fails");
        assert!(!is_full || error.to_string().contains("space"), "{error}");
        assert!(same(&copy, &rows), "{error}");
        assert_eq!(copy.end().expect("runs").0, first.lsn());
        met += 1;
        disk.heal();
        assert!(take(&mut second, &copy).expect("installed"));
        assert!(same(&copy, &all));
    }
    assert_eq!(met, 5);
}

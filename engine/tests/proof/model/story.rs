//! One history: runs of a node, each ended by a crash, a kill or a clean stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use resprout_engine::record::Decision;
use resprout_engine::table::{Change as TableChange, NewColumn, NewIndex, TableSchema, Value};
use resprout_engine::{
    DatabaseOptions, Durability, Engine, Error, Options, Partition, State as CopyState, Vote,
};
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::world::{Rng, SimClock, SimEntropy};
use resprout_wal::{DurableMode, World};

use super::clients::{Scene, client};
use super::shadow::{Change, Found, Shadow, State, number};
use crate::contents::contents;
use crate::harness::{DIR, seeds};
use crate::tasks::{BusyDisk, Tasks, alone, meanwhile};

const RUNS: u64 = 4;
const TURNS: u64 = 150;
const CLIENTS: u64 = 5;
const LOCK_LIMIT: Duration = Duration::from_secs(1);

fn schema(name: &str) -> TableSchema {
    let table = TableSchema::builder(name);
    let built = match name {
        "auto" => table
            .column("id", "bigint unsigned")
            .column("stamp", "bigint")
            .primary_key(&["id"])
            .auto_increment("id")
            .build(),
        _ => table
            .column("id", "bigint")
            .column("stamp", "bigint")
            .column("name", "varchar(20)")
            .nullable(true)
            .column("n", "int")
            .nullable(true)
            .column("pad", "text")
            .primary_key(&["id"])
            .index("by_name", &["name", "n"])
            .unique("by_n", &["n"])
            .build(),
    };
    built.expect("a sound schema")
}

/// How a history began.
#[derive(Clone, Copy)]
enum Start {
    New,
    After { clean: bool },
}

struct Story {
    rng: Rng,
    seed: u64,
    disk: SimDisk,
    shadows: Rc<Vec<RefCell<Shadow>>>,
    stamps: Rc<Cell<i64>>,
    counts: Rc<RefCell<BTreeMap<&'static str, u64>>>,
    mode: DurableMode,
}

fn found(partition: &Partition) -> Found {
    let tables = contents(partition).into_iter().map(|(name, rows)| {
        let rows = rows.into_iter().map(|row| (number(&row[0]), row)).collect();
        (name, rows)
    });
    let tables = tables.collect();
    let in_doubt = partition.in_doubt().expect("online");
    let catalog = partition.catalog().expect("online");
    let columns = catalog.tables().map(|table| (table.name().to_owned(), table.live().len()));
    let columns = columns.collect();
    Found { tables, columns, in_doubt: in_doubt.into_iter().map(|one| one.global_id).collect() }
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Database "d" has two partitions that flush, "a" one that does not wait for it.
        let durability = [Durability::Sync, Durability::Sync, Durability::Async];
        let mut shadows: Vec<_> = durability.map(Shadow::new).into();
        shadows.rotate_right(1);
        let mode = if rng.chance(1, 2) { DurableMode::EachWrite } else { DurableMode::BatchFlush };
        Self {
            seed,
            disk: SimDisk::new(seed),
            shadows: Rc::new(shadows.into_iter().map(RefCell::new).collect()),
            stamps: Rc::default(),
            counts: Rc::default(),
            mode,
            rng,
        }
    }

    fn open(&mut self, run: u64) -> (Engine, Arc<SimClock>) {
        let clock = Arc::new(SimClock::default());
        let world = World {
            disk: Arc::new(BusyDisk(self.disk.clone())),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Arc::new(SimEntropy::new(self.seed.wrapping_mul(1000) + run)),
        };
        let options = Options {
            snapshots_to_keep: 1 + self.rng.below(2) as usize,
            rewind_roots: self.rng.below(5) as usize,
            rewind_spacing: 1 << self.rng.below(16),
            snapshot_trigger_size: 64 << 10,
            lock_wait_limit: LOCK_LIMIT,
            durable: self.mode,
            ..Options::simulated(world)
        };
        (Engine::open(DIR, options).expect("the directory opens"), clock)
    }

    fn scene(&mut self, run: u64, start: Start) -> Rc<Scene> {
        let (engine, clock) = self.open(run);
        if matches!(start, Start::New) {
            for (name, partitions, durability) in
                [("a", 1, Durability::Async), ("d", 2, Durability::Sync)]
            {
                let options = DatabaseOptions { partitions, durability };
                let database = engine.create_database(name, options).expect("a new database");
                database.create_table(&schema("t")).expect("a new table");
                database.create_table(&schema("auto")).expect("a new table");
            }
        }
        let partitions: Vec<Partition> =
            engine.databases().iter().flat_map(|d| d.partitions().to_vec()).collect();
        for (partition, shadow) in partitions.iter().zip(&*self.shadows) {
            check_start(partition, &mut shadow.borrow_mut(), start);
        }
        let scene = Scene {
            engine,
            disk: self.disk.clone(),
            clock,
            partitions,
            shadows: Rc::clone(&self.shadows),
            tasks: Tasks::new(self.rng.next()),
            stamps: Rc::clone(&self.stamps),
            next: RefCell::default(),
            faulty: self.rng.chance(1, 6),
            counts: Rc::clone(&self.counts),
            rng: RefCell::new(Rng::new(self.rng.next())),
        };
        Rc::new(scene)
    }

    fn run(&mut self, run: u64, start: Start) -> Start {
        let scene = self.scene(run, start);
        for _ in 0..CLIENTS {
            let transactions = 5 + scene.below(20);
            scene.tasks.add(client(Rc::clone(&scene), transactions));
        }
        if scene.faulty {
            let effect = [Effect::Error(5), Effect::Error(28), Effect::Short(100)];
            let effect = effect[scene.below(3) as usize];
            let kind = [OpKind::Write, OpKind::Flush][scene.below(2) as usize];
            scene.disk.fail(Fault::on(kind, scene.below(40), effect).in_path("wal.arena"));
        }
        let crash_in = scene.below(3 * TURNS);
        let left = Cell::new(crash_in);
        let others = Rc::downgrade(&scene);
        let hook = meanwhile(Rc::new(move || {
            let Some(scene) = others.upgrade() else { return };
            for _ in 0..scene.below(4) {
                scene.tasks.poll_one();
            }
            left.set(left.get().saturating_sub(1));
            if left.get() == 0 && !scene.disk.crashed() {
                power_fails(&scene);
            }
        }));
        for _ in 0..TURNS {
            if scene.disk.crashed() {
                break;
            }
            turn(&scene);
        }
        let clean = self.end(&scene);
        drop(hook);
        scene.disk.heal();
        scene.tasks.clear();
        self.disk = scene.next.borrow_mut().take().expect("every run has an end");
        assert_eq!(Rc::strong_count(&scene), 1, "a client outlived its run");
        Start::After { clean }
    }

    /// Ends a run: clean, by a kill, or by power failing. Whether it was clean.
    fn end(&mut self, scene: &Rc<Scene>) -> bool {
        if scene.disk.crashed() {
            scene.count("crashes with the device busy");
            return false;
        }
        settle(scene);
        let way = self.rng.below(4);
        if way == 0 && !scene.faulty {
            // Clients go first: what they leave open is rolled back.
            finish(scene);
            if scene.disk.crashed() {
                return false;
            }
            alone(|| scene.engine.close().expect("a clean end"));
            *scene.next.borrow_mut() = Some(scene.disk.restart());
            scene.count("clean ends");
            return true;
        }
        // A kill after a refused write leaves what was refused readable and not durable, which no
        // flush repairs: that is the machine's memory lying, and no promise of ours covers it.
        if way == 1 && !scene.faulty {
            *scene.next.borrow_mut() = Some(scene.disk.restart());
            scene.count("kills");
        } else {
            power_fails(scene);
        }
        false
    }
}

fn power_fails(scene: &Scene) {
    settle(scene);
    let next = scene.disk.crash(scene.rng.borrow_mut().next());
    *scene.next.borrow_mut() = Some(next);
    scene.count("crashes");
}

/// Takes note of what the logs say is durable: it must survive.
fn settle(scene: &Scene) {
    for (partition, shadow) in scene.partitions.iter().zip(&*scene.shadows) {
        shadow.borrow_mut().durable(partition.status().durable);
    }
}

/// What a partition must be like after a start.
fn check_start(partition: &Partition, shadow: &mut Shadow, start: Start) {
    let status = partition.status();
    assert_eq!(status.state, CopyState::Online, "{:?}", status.error);
    match start {
        Start::New => {
            shadow.append(Change::Create("t".to_owned(), 5), &[]);
            let number = shadow.append(Change::Create("auto".to_owned(), 2), &[]);
            shadow.certain(number);
        }
        Start::After { clean } => {
            let term = status.term.0;
            assert_eq!(term > shadow.term, !clean, "term {term} after {}", shadow.term);
            shadow.term = term;
            shadow.recovered(&found(partition), clean, |id| {
                let decision = partition.decision(id).expect("online");
                decision.map(|decision| decision == Decision::Commit)
            });
            shadow.marks.clear();
            shadow.epoch += 1;
        }
    }
}

/// Lets every client come to its end.
fn finish(scene: &Rc<Scene>) {
    let mut idle = 0;
    while scene.tasks.unfinished() > 0 && !scene.disk.crashed() {
        if scene.tasks.poll_one() {
            idle = 0;
            continue;
        }
        idle += 1;
        assert!(idle < 10, "{} clients wait for nothing", scene.tasks.unfinished());
        alone(|| while scene.engine.turn() {});
        scene.clock.advance(LOCK_LIMIT);
        alone(|| scene.engine.tick());
    }
}

fn turn(scene: &Rc<Scene>) {
    match scene.below(100) {
        0..=79 => {
            if !scene.tasks.poll_one() {
                scene.engine.turn();
                scene.clock.advance(LOCK_LIMIT / 4);
            }
        }
        80..=84 => {
            scene.clock.advance(LOCK_LIMIT / 3);
            scene.engine.tick();
        }
        85..=87 => snapshot(scene),
        88 | 89 => change_tables(scene),
        90..=92 => end_prepared(scene),
        93 => vote(scene),
        94..=96 => mark(scene),
        97 => rewind(scene),
        _ => check_visible(scene),
    }
}

fn some(scene: &Scene) -> (&Partition, &RefCell<Shadow>) {
    let at = scene.below(scene.partitions.len() as u64) as usize;
    (&scene.partitions[at], &scene.shadows[at])
}

/// An administrator's call failed: only for a reason that the history has.
fn refused(scene: &Scene, error: &Error) {
    assert!(scene.may_fail(), "{error} ({error:?})");
}

fn snapshot(scene: &Scene) {
    let (partition, _) = some(scene);
    match partition.snapshot() {
        Ok(_) => scene.count("snapshots"),
        Err(error) => refused(scene, &error),
    }
}

/// Rows and indexes agree at any moment, and show a possible state.
fn check_visible(scene: &Scene) {
    let (partition, shadow) = some(scene);
    if partition.state() != CopyState::Online || scene.faulty {
        return;
    }
    let found = found(partition);
    let visible = shadow.borrow().is_visible(|state| state.seen().tables == found.tables);
    assert!(visible, "{} shows no possible state", partition.name());
}

fn change_tables(scene: &Scene) {
    let (partition, shadow) = some(scene);
    let before = shadow.borrow().latest().clone();
    let there = before.tables.contains_key("u");
    let held = |name: &str| before.in_doubt.values().flatten().any(|write| write.table == name);
    let (change, outcome): (Change, Box<dyn Fn() -> Result<(), Error>>) = match scene.below(4) {
        0 if !there => (
            Change::Create("u".to_owned(), 5),
            Box::new(|| partition.create_table(schema("u")).map(drop)),
        ),
        0 | 1 if there && !held("u") => {
            (Change::Drop("u".to_owned()), Box::new(|| partition.drop_table("u")))
        }
        2 if !held("t") => {
            let stamp = scene.stamp();
            let mut column = NewColumn::parse(&format!("c{stamp}"), "bigint").expect("a type");
            column.default = Some(Value::Int(stamp));
            let change = TableChange::AddColumn(column);
            (
                Change::AddColumn("t".to_owned(), Value::Int(stamp)),
                Box::new(move || partition.alter_table("t", change.clone()).map(drop)),
            )
        }
        _ if !held("t") && scene.chance(3) => {
            let index = NewIndex::new(&format!("i{}", scene.stamp()), &["stamp"], true);
            let change = TableChange::AddIndex(index);
            let alter = move || partition.alter_table("t", change.clone()).map(drop);
            (Change::AddIndex, Box::new(alter))
        }
        _ => return,
    };
    let number = shadow.borrow_mut().append(change, &[]);
    note(scene, shadow, number, outcome());
}

/// Takes note of how an administrator's change ended.
fn note(scene: &Scene, shadow: &RefCell<Shadow>, number: usize, outcome: Result<(), Error>) {
    let mut shadow = shadow.borrow_mut();
    match outcome {
        Ok(()) if shadow.durability == Durability::Sync => shadow.certain(number),
        Ok(()) => {}
        Err(error @ Error::OutcomeUnknown(_)) => refused(scene, &error),
        Err(error) => {
            refused(scene, &error);
            shadow.refused(number);
        }
    }
}

fn end_prepared(scene: &Scene) {
    let (partition, shadow) = some(scene);
    let id = shadow.borrow().latest().in_doubt.keys().next().cloned();
    let Some(id) = id else { return };
    let commit = scene.chance(2);
    let number = shadow.borrow_mut().append(Change::End(id.clone(), commit), &[]);
    let outcome = match commit {
        true => partition.commit_prepared(&id).map(drop),
        false => partition.abort_prepared(&id),
    };
    match outcome {
        // Seen, and not durable: the promises are.
        Ok(()) if commit && !scene.faulty => {
            scene.count("prepared commits seen");
            let found = found(partition);
            let same = |state: &State| state.seen().tables == found.tables;
            assert!(shadow.borrow().is_visible_since(number, same), "committed and not seen");
        }
        Ok(()) => {}
        Err(error) => note(scene, shadow, number, Err(error)),
    }
}

/// Asks for a vote, about a transaction that is in doubt, over, or not heard of yet; or forgets one
/// that is over.
fn vote(scene: &Scene) {
    let (partition, shadow) = some(scene);
    let state = shadow.borrow().latest().clone();
    let heard: Vec<&Vec<u8>> = state.in_doubt.keys().chain(state.decided.keys()).collect();
    let id = match heard.len() as u64 {
        0 => None,
        count => heard.get(scene.below(count + 1) as usize).map(|id| (*id).clone()),
    };
    let id = id.unwrap_or_else(|| format!("d{}", scene.stamp()).into_bytes());
    let known = state.decided.get(&id).copied();
    if known.is_some() && scene.chance(2) {
        let number = shadow.borrow_mut().append(Change::Forget(id.clone()), &[]);
        match partition.forget_decisions(&[id]) {
            Ok(()) => {}
            Err(error) => note(scene, shadow, number, Err(error)),
        }
        return;
    }
    let expected = match known {
        Some(true) => Vote::Committed,
        Some(false) => Vote::Refused,
        None if state.in_doubt.contains_key(&id) => Vote::Promised,
        None => Vote::Refused,
    };
    let fresh = known.is_none() && expected == Vote::Refused;
    let number = fresh.then(|| shadow.borrow_mut().append(Change::Refuse(id.clone()), &[]));
    match (partition.vote(&id), number) {
        (Ok(vote), number) => {
            assert_eq!(vote, expected);
            scene.count("votes");
            if let Some(number) = number {
                shadow.borrow_mut().certain(number);
            }
        }
        (Err(error), Some(number)) => note(scene, shadow, number, Err(error)),
        (Err(error), None) => refused(scene, &error),
    }
}

/// Remembers a position where nothing is on its way.
fn mark(scene: &Scene) {
    let (partition, shadow) = some(scene);
    alone(|| while scene.engine.turn() {});
    let status = partition.status();
    let mut shadow = shadow.borrow_mut();
    if status.end == status.durable && status.error.is_none() && status.committed == status.end {
        shadow.durable(status.durable);
        if shadow.uncertain() == 0 {
            let state = shadow.latest().clone();
            shadow.marks.push((status.end, state));
        }
    }
}

fn rewind(scene: &Scene) {
    let (partition, shadow) = some(scene);
    let mut shadow = shadow.borrow_mut();
    if shadow.marks.is_empty() {
        return;
    }
    let (to, state) = shadow.marks[scene.below(shadow.marks.len() as u64) as usize].clone();
    let term = partition.status().term.0;
    let in_doubt = !shadow.latest().in_doubt.is_empty();
    match alone(|| partition.rewind(to)) {
        Ok(report) => {
            scene.count("rewinds");
            if !report.by_root {
                scene.count("rewinds from files");
            }
            assert!(!in_doubt, "rewound with transactions in doubt");
            assert_eq!(report.term.0, term + 1);
            shadow.term = term + 1;
            shadow.reset(state);
            shadow.epoch += 1;
            shadow.numbered = 0;
            shadow.marks.retain(|(lsn, _)| *lsn <= to);
            assert_eq!(found(partition), shadow.latest().seen(), "rewound to {to}");
        }
        Err(Error::CannotRewind { .. }) => {
            scene.count("rewinds refused");
            assert_eq!(partition.state(), CopyState::Online, "refused, yet changed");
        }
        Err(error) => {
            refused(scene, &error);
            // The cut was on its way: a restart finds it done or not.
            shadow.perhaps = Some(state);
        }
    }
}

/// Whatever clients, administrators and power do, a node comes back with what it acknowledged:
/// sync durability: all of it; async durability: all that was flushed; both: the rest in the order
/// of the log, whole transactions, indexes that agree with their rows, terms that grow after
/// every unclean stop; and nobody was shown what is gone (rules 13 and 14, R07, R08, T05, D33).
#[test]
fn r08_t05_d33_histories_agree_with_the_model() {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds(400) {
        let mut story = Story::new(seed);
        let told = Told(seed, Rc::clone(&story.counts));
        let mut start = Start::New;
        for run in 0..RUNS {
            start = story.run(run, start);
        }
        drop(story.scene(RUNS, start));
        std::mem::forget(told);
        for (what, count) in story.counts.borrow().iter() {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:#?}");
    let needed = ["commits", "deadlocks", "lock wait limits", "duplicates", "prepares", "rewinds"];
    for what in needed {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "no {what} in {counts:?}");
    }
}

/// Tells the seed of a history that fails.
struct Told(u64, Rc<RefCell<BTreeMap<&'static str, u64>>>);

impl Drop for Told {
    #[expect(clippy::print_stderr, reason = "the seed is what a failed run leaves behind")]
    fn drop(&mut self) {
        eprintln!("history of seed {}: {:?}", self.0, self.1.borrow());
    }
}

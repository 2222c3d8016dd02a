//! Recovering one partition.
//!
//! ```text
//!  newest snapshot ── bad file ──► the one before ── … ──► none: the log from its beginning
//!         │                              │
//!         └── its position: the log from there, which must be there, and of the same history
//! ```
//!
//! A fallback is only taken to an older snapshot, never to less log: what any snapshot's name or
//! the arena's marks say was durable must be found (rule 17).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use resprout_snapshot::{Found, Snapshot};
use resprout_wal::{Anchor, Damage, Evidence, Lsn, Recovered, Term};

use super::load::load;
use super::replay::{Batch, Collector};
use super::{PartitionReport, context_of};
use crate::core::{Core, Parts, Sequences, Writer};
use crate::error::{Error, at};
use crate::partition::{LastSnapshot, Partition};
use crate::progress::Phase;
use crate::publish::{Keep, Publisher};
use crate::state::State;
use crate::table::{Catalog, IndexId, KeyRange, system};
use crate::tree::{MemoryLimit, PageMemory, Tree};

/// Log bytes of one batch: large enough that sorting pays, small enough that a few of them,
/// with what they refer to, do not matter beside the data.
const BATCH_BYTES: u64 = 32 << 20;
/// Batches between the thread that reads the log and the one that applies it.
const BATCHES_AHEAD: usize = 1;

/// Notes how much there is to do, before work begins, so that percentages are right at once.
pub(super) fn expect(partition: &Partition) {
    let context = context_of(partition);
    let disk = context.world().disk.as_ref();
    let newest = resprout_snapshot::list(disk, &partition.inner.dir)
        .ok()
        .and_then(|found| found.into_iter().next());
    let snapshot_lsn = newest.as_ref().map_or(Lsn::ZERO, |found| found.lsn);
    let logs = context.device.found();
    let log = logs.iter().find(|log| log.identity == partition.inner.identity);
    let log_bytes = log.map_or(0, |log| log.durable.since(snapshot_lsn));
    partition.inner.progress.expect(newest.map_or(0, |found| found.bytes) + log_bytes);
}

/// Recovers one partition to PENDING.
///
/// # Errors
/// Why it is unrecoverable.
pub(super) fn recover(partition: &Partition, begun: Duration) -> Result<PartitionReport, Error> {
    let context = context_of(partition);
    let disk = context.world().disk.as_ref();
    let dir = &partition.inner.dir;
    crate::stored_copy::finish_install(partition)?;
    resprout_snapshot::remove_leftovers(disk, dir)?;
    let found = resprout_snapshot::list(disk, dir)?;
    // A snapshot's position was durable when it was taken, whether or not it can be read.
    let durable = found.first().map_or(Lsn::ZERO, |newest| newest.lsn);
    let mut report = PartitionReport::default();
    let (tree, recovered) = first_good(partition, &found, durable, (begun, &mut report))?;
    let rewound = crate::rewind::newest_term(disk, dir)?;
    let clean = recovered.clean && rewound <= recovered.term;
    let next = Term(recovered.term.max(rewound).0 + 1);
    if !clean {
        let mut next_term =
            partition.inner.next_term.lock().unwrap_or_else(PoisonError::into_inner);
        *next_term = Some(next);
    }
    report.rows = tree.rows();
    tracing::info!(
        partition = partition.name(),
        end = %recovered.end,
        term = %recovered.term,
        tail = ?recovered.tail,
        clean,
        rows = tree.rows(),
        "recovered"
    );
    install(partition, tree, recovered)?;
    partition.inner.progress.set_total(0);
    partition.enter_phase(Phase::Done);
    partition.enter(State::Pending, "recovered");
    Ok(report)
}

/// Tries the snapshots from the newest on, then the log alone.
fn first_good(
    partition: &Partition,
    found: &[Found],
    durable: Lsn,
    (begun, report): (Duration, &mut PartitionReport),
) -> Result<(Tree, Recovered), Error> {
    let context = context_of(partition);
    let disk = context.world().disk.as_ref();
    for candidate in found {
        let opened = Snapshot::open(disk, &candidate.path, Some(partition.inner.identity));
        let attempt = opened
            .map_err(Error::from)
            .and_then(|snapshot| attempt(partition, Some(&snapshot), durable, (begun, report)));
        match attempt {
            Err(Error::Snapshot(error)) if error.is_bad_file() => {
                tracing::error!(partition = partition.name(), %error, "snapshot unusable; trying the one before");
            }
            other => return other,
        }
    }
    attempt(partition, None, durable, (begun, report)).map_err(|error| explain(error, found))
}

/// When no snapshot could be used, a log that begins later is the consequence, not the cause.
fn explain(error: Error, found: &[Found]) -> Error {
    match (error, found.first()) {
        (Error::LogDamaged(damage @ Damage::Missing { .. }), Some(newest)) => Error::DataDamaged {
            place: newest.path.display().to_string(),
            lsn: newest.lsn,
            what: format!(
                "none of {} snapshots can be read, and the log does not reach back: {damage}",
                found.len()
            ),
        },
        (error, _) => error,
    }
}

/// Recovers from one snapshot, or from none.
fn attempt(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    durable: Lsn,
    (begun, report): (Duration, &mut PartitionReport),
) -> Result<(Tree, Recovered), Error> {
    *report = PartitionReport::default();
    if context_of(partition).options.threads {
        std::thread::scope(|scope| {
            let (send, receive) = bounded(BATCHES_AHEAD);
            let reader = scope.spawn(move || read_log(partition, snapshot, durable, &send));
            let tree = load_and_apply(partition, snapshot, &receive, (begun, report));
            // Ends the reader if it still has something to send.
            drop(receive);
            let from = snapshot.map_or(Lsn::ZERO, Snapshot::lsn);
            let read = reader.join().map_err(|_| panicked(partition, from))?;
            finish(partition, snapshot, tree?, read?)
        })
    } else {
        one_after_the_other(partition, snapshot, durable, (begun, report))
    }
}

fn panicked(partition: &Partition, lsn: Lsn) -> Error {
    let what = "a panic while the log was read".to_owned();
    Error::DataDamaged { place: partition.name().to_owned(), lsn, what }
}

/// What the log's reader found: its end, and the chain where the snapshot stands.
struct ReadLog {
    recovered: Recovered,
    chain_at_from: Option<u64>,
    /// What the log says was acknowledged.
    acknowledged: Lsn,
}

/// Reads, checks and sorts the log, and sends it on in batches.
fn read_log(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    durable: Lsn,
    send: &Sender<Batch>,
) -> Result<ReadLog, Error> {
    let mut unsent = false;
    let read = each_batch(partition, snapshot, durable, |batch| {
        // The receiver is gone when loading failed: its error is the one that counts.
        unsent |= send.send(batch).is_err();
        Ok(())
    })?;
    if unsent {
        tracing::debug!(partition = partition.name(), "the log was read for nothing");
    }
    Ok(read)
}

fn each_batch(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    durable: Lsn,
    mut take: impl FnMut(Batch) -> Result<(), Error>,
) -> Result<ReadLog, Error> {
    let context = context_of(partition);
    let identity = partition.inner.identity;
    let evidence = Evidence { durable };
    let mut recovery = match snapshot.map(Snapshot::header) {
        None => context.device.recover(identity, Lsn::ZERO, evidence)?,
        Some(header) => {
            let (lsn, chain, history) = (header.lsn, header.chain, header.history.clone());
            context.device.recover_behind(identity, &Anchor { lsn, chain, history }, evidence)?
        }
    };
    let place = context.device.path().display().to_string();
    let mut collector = Collector::new(BATCH_BYTES, place);
    let mut acknowledged = snapshot.map_or(Lsn::ZERO, Snapshot::lsn);
    while let Some(batch) = recovery.next()? {
        for group in batch.groups() {
            acknowledged = acknowledged.max(group.committed);
            if let Some(batch) = collector.add(group)? {
                take(batch)?;
            }
        }
    }
    take(collector.take())?;
    let chain_at_from = recovery.chain_at_from();
    Ok(ReadLog { recovered: recovery.finish()?, chain_at_from, acknowledged })
}

fn load_and_apply(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    batches: &Receiver<Batch>,
    (begun, report): (Duration, &mut PartitionReport),
) -> Result<Tree, Error> {
    let mut tree = load_snapshot(partition, snapshot, (begun, report))?;
    partition.enter_phase(Phase::Log);
    for batch in batches {
        apply(partition, &batch, &mut tree, report)?;
    }
    Ok(tree)
}

fn one_after_the_other(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    durable: Lsn,
    (begun, report): (Duration, &mut PartitionReport),
) -> Result<(Tree, Recovered), Error> {
    let mut tree = load_snapshot(partition, snapshot, (begun, report))?;
    partition.enter_phase(Phase::Log);
    let read = each_batch(partition, snapshot, durable, |batch| {
        apply(partition, &batch, &mut tree, report)
    })?;
    finish(partition, snapshot, tree, read)
}

fn load_snapshot(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    (begun, report): (Duration, &mut PartitionReport),
) -> Result<Tree, Error> {
    let context = context_of(partition);
    partition.enter_phase(Phase::Snapshot);
    let start = context.now();
    let limit = &context.bound.taken;
    let tree = match snapshot {
        None => Tree::new(PageMemory::new(limit.clone())?),
        Some(snapshot) => {
            report.snapshot_bytes = snapshot.bytes();
            let disk = context.world().disk.as_ref();
            load(disk, snapshot, limit, |bytes| {
                partition.inner.progress.advance(bytes, context.now());
            })?
        }
    };
    let now = context.now();
    report.snapshot_at = now.saturating_sub(begun);
    report.snapshot_time = now.saturating_sub(start);
    Ok(tree)
}

fn apply(
    partition: &Partition,
    batch: &Batch,
    tree: &mut Tree,
    report: &mut PartitionReport,
) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let context = context_of(partition);
    let start = context.now();
    batch.apply(tree)?;
    let now = context.now();
    report.log_time += now.saturating_sub(start);
    report.log_bytes += batch.bytes;
    report.log_operations += batch.ops;
    partition.inner.progress.advance(batch.bytes, now);
    Ok(())
}

/// Checks that snapshot and log are of one history.
fn finish(
    partition: &Partition,
    snapshot: Option<&Snapshot>,
    tree: Tree,
    read: ReadLog,
) -> Result<(Tree, Recovered), Error> {
    partition.inner.acknowledged.store(read.acknowledged.0, Ordering::Relaxed);
    let Some(snapshot) = snapshot else { return Ok((tree, read.recovered)) };
    let header = snapshot.header();
    let lsn = header.lsn;
    if read.chain_at_from != Some(header.chain) {
        return Err(Error::DataDamaged {
            place: snapshot.path().display().to_string(),
            lsn,
            what: format!(
                "snapshot and log are of different histories: chain {:016x} in the snapshot, {:016x?} in the log",
                header.chain, read.chain_at_from
            ),
        });
    }
    *partition.inner.snapshot.lock().unwrap_or_else(PoisonError::into_inner) =
        LastSnapshot { lsn: Some(lsn), bytes: snapshot.bytes() };
    Ok((tree, read.recovered))
}

/// Makes a partition of a tree and its log.
fn install(partition: &Partition, mut tree: Tree, recovered: Recovered) -> Result<(), Error> {
    let end = recovered.end;
    let publisher = publisher(partition, &mut tree, end);
    let observer = Arc::clone(&publisher);
    let log = recovered.open(observer).map_err(|error| Error::Stopped {
        partition: partition.name().to_owned(),
        reason: Arc::from(error.to_string()),
    })?;
    let core = core(partition, tree, (publisher, log))?;
    partition.install(core);
    Ok(())
}

fn publisher(partition: &Partition, tree: &mut Tree, end: Lsn) -> Arc<Publisher> {
    let options = &context_of(partition).options;
    let keep = Keep { roots: options.rewind_roots, spacing: options.rewind_spacing };
    let root = tree.freeze();
    Arc::new(Publisher::new(partition.inner.durability, keep, tree.versions(), (end, root)))
}

fn core(
    partition: &Partition,
    tree: Tree,
    (publisher, log): (Arc<Publisher>, resprout_wal::Log),
) -> Result<Core, Error> {
    let context = context_of(partition);
    let end = publisher.committed();
    let catalog = read_catalog(&tree, end)?;
    let bounds = read_bounds(&tree);
    let core = Core::new(Parts {
        name: Arc::clone(&partition.inner.name),
        log,
        durability: partition.inner.durability,
        publisher,
        writer: Writer { tree, catalog, bounds, last: None, leads: true },
        clock: Arc::clone(&context.world().clock),
        bound: context.bound.clone(),
        // Larger than all of earlier runs: each transaction took bytes of the log.
        first_txn: end.0 + 1,
    });
    let mut prepared = core.prepared();
    core.restore_prepared(&core.writer()?.tree, &mut prepared)?;
    drop(prepared);
    Ok(core)
}

/// The tables that the tree holds.
pub(crate) fn read_catalog(tree: &Tree, lsn: Lsn) -> Result<Catalog, Error> {
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for range in Catalog::ranges() {
        let mut scan = tree.range(&range.from, range.to.as_deref());
        while scan.next() {
            let mut key = Vec::new();
            scan.key_into(&mut key);
            rows.push((key, scan.value().to_vec()));
        }
    }
    let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    Catalog::from_rows(rows).map_err(|damage| Error::DataDamaged {
        place: "catalog".to_owned(),
        lsn,
        what: damage.to_string(),
    })
}

/// The bounds of the sequences that the tree holds.
pub(crate) fn read_bounds(tree: &Tree) -> Sequences {
    let range = KeyRange::of_index(IndexId::AUTO_INCREMENT);
    let mut scan = tree.range(&range.from, range.to.as_deref());
    let mut bounds = Sequences::new();
    while scan.next() {
        let mut key = Vec::new();
        scan.key_into(&mut key);
        if let Some(bound) = system::number_from_bytes(scan.value()) {
            bounds.insert(key, bound);
        }
    }
    bounds
}

/// A partition that never held anything, with a new log.
///
/// # Errors
/// [`Error::Stopped`] if the log cannot be made.
pub(crate) fn start_empty(partition: &Partition, term: Term) -> Result<(), Error> {
    let context = context_of(partition);
    let mut tree = Tree::new(PageMemory::new(context.bound.taken.clone())?);
    let publisher = publisher(partition, &mut tree, Lsn::ZERO);
    let observer = Arc::clone(&publisher);
    let log = context.device.create(partition.inner.identity, term, observer);
    let log = log.map_err(|error| match error {
        resprout_wal::LogError::Full(full) => Error::LogFull(full),
        error => Error::Stopped {
            partition: partition.name().to_owned(),
            reason: Arc::from(error.to_string()),
        },
    })?;
    partition.install(core(partition, tree, (publisher, log))?);
    partition.enter_phase(Phase::Done);
    partition.enter(State::Pending, "made");
    Ok(())
}

/// Brings a tree to an earlier position from files: the newest snapshot at or before it, then
/// the log. For rewinding past all kept roots.
///
/// # Errors
/// [`Error::CannotRewind`] if no snapshot and log reach it.
pub(crate) fn rebuild(partition: &Partition, tree: &mut Tree, to: Lsn) -> Result<(), Error> {
    let cannot = |why: String| Error::CannotRewind { to, why };
    let context = context_of(partition);
    let disk = context.world().disk.as_ref();
    let core = partition.core().ok_or_else(|| cannot("not recovered".to_owned()))?;
    let found = resprout_snapshot::list(disk, &partition.inner.dir)?;
    let base = found.iter().find(|found| found.lsn <= to);
    tree.remove_range(&[], None)?;
    let mut at = Lsn::ZERO;
    if let Some(base) = base {
        let snapshot = Snapshot::open(disk, &base.path, Some(partition.inner.identity))?;
        at = snapshot.lsn();
        copy_rows(disk, &snapshot, tree, &context.bound.taken)?;
    }
    crate::rewind::replay(core, tree, (at, to))
}

/// Copies a snapshot's rows into a tree that is in use.
fn copy_rows(
    disk: &dyn resprout_wal::disk::Disk,
    snapshot: &Snapshot,
    tree: &mut Tree,
    limit: &MemoryLimit,
) -> Result<(), Error> {
    let mut loaded = load(disk, snapshot, limit, |_| {})?;
    let root = loaded.freeze();
    loaded.versions().publish(root);
    let view = loaded.versions().acquire();
    let mut scan = view.range(&[], None);
    let mut key = Vec::new();
    while scan.next() {
        scan.key_into(&mut key);
        tree.put(&key, scan.value())?;
    }
    Ok(())
}

/// Removes the snapshots of a dropped partition.
///
/// # Errors
/// [`Error::Disk`].
pub(crate) fn remove_files(partition: &Partition) -> Result<(), Error> {
    let disk = context_of(partition).world().disk.as_ref();
    let dir = &partition.inner.dir;
    for entry in disk.list(dir).map_err(at("list", dir))? {
        if entry.is_dir {
            // Of an image: nothing in it is a folder.
            for inside in disk.list(&entry.path).map_err(at("list", &entry.path))? {
                disk.remove(&inside.path).map_err(at("remove", &inside.path))?;
            }
            disk.remove_dir(&entry.path).map_err(at("remove", &entry.path))?;
        } else {
            disk.remove(&entry.path).map_err(at("remove", &entry.path))?;
        }
    }
    disk.sync_dir(dir).map_err(at("flush directory", dir))
}

//! A log that is one of several copies: shipped as it is sealed, followed frame by frame.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::frame::Flaw;
use resprout_wal::{Device, Frame, Log, LogError, LogStart, Lsn, Observer, SECTOR, Tail, Term};

use crate::harness::*;

/// Keeps the frames that a log makes.
#[derive(Default)]
struct Shipped(Mutex<Vec<Frame>>);

impl Observer for Shipped {
    fn sealed(&self, _generation: u64, _end: Lsn, frames: &[Frame]) {
        self.0.lock().expect("not poisoned").extend(frames.iter().cloned());
    }
    fn durable(&self, _generation: u64, _end: Lsn) {}
    fn failed(&self, _error: &LogError) {}
}

impl Shipped {
    fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }
}

fn shipped_log(device: &Device) -> (Log, Arc<Shipped>) {
    let shipped = Arc::new(Shipped::default());
    let log = device.create(identity(0), Term(1), shipped.clone()).expect("created");
    log.set_shipped(true);
    (log, shipped)
}

fn follow(log: &Log, frames: impl IntoIterator<Item = Frame>) -> Result<Lsn, LogError> {
    let frames: Vec<Frame> = frames.into_iter().collect();
    let mut space = log.frame_space();
    space.reserve(frames.iter().map(Frame::padded_bytes).sum()).expect("space");
    let end = log.follow(frames, &mut space);
    log.deliver_sealed();
    end
}

/// The frames of a running log, as they lie on the disk.
fn on_disk(log: &Log, from: Lsn) -> Vec<Frame> {
    let mut reader = log.read_from(from).expect("held");
    let mut frames = Vec::new();
    while let Some(mut frame) = reader.next().expect("no damage") {
        (frame.header.committed, frame.header.durable) = (Lsn::ZERO, Lsn::ZERO);
        frames.push(frame);
    }
    frames
}

/// Promise: a log that is shipped is sealed by who ships it, on the thread that asks, before the
/// device has written anything; what is shipped is what is written.
#[test]
fn frames_are_shipped_before_they_are_written() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let (log, shipped) = shipped_log(&device);
    append(&log, 0, 100);
    append(&log, 1, 9000);
    device.turn_until_idle();
    assert_eq!((shipped.take(), log.positions().end), (vec![], Lsn::ZERO), "nobody sealed it");
    assert!(log.seal_shipped());
    let frames = shipped.take();
    assert_eq!((frames.len(), log.positions().durable), (1, Lsn::ZERO));
    assert!(!log.seal_shipped(), "nothing is open");
    device.turn_until_idle();
    assert_eq!(log.positions().durable, frames[0].header.end());
    assert_eq!(on_disk(&log, Lsn::ZERO), frames);
}

/// Promise: groups of one frame that have gathered are written by one request, so that they wait for one flush, as
/// far as the slot goes; a crash at it leaves a log that begins like the one that was written.
#[test]
fn small_groups_share_a_request() {
    let write = |disk: &SimDisk, fault: Option<Fault>| {
        let device = open(disk, 1);
        let (log, _shipped) = shipped_log(&device);
        let before = disk.operations();
        for n in 0..10 {
            append(&log, n, 100);
            assert!(log.seal_shipped());
        }
        fault.into_iter().for_each(|fault| disk.fail(fault));
        device.turn_until_idle();
        (disk.operations() - before, log.positions().durable)
    };
    assert_eq!(write(&SimDisk::new(1), None), (1, Lsn(10 * SECTOR as u64)));
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        write(&disk, Some(Fault::on(OpKind::Write, 0, Effect::CrashDuring)));
        let disk = disk.crash(seed);
        disk.heal();
        let read = read(&open(&disk, 2), 0).expect("a crash");
        check_prefix(&read.entries);
    }
}

/// Promise: who waits for a position of a log that is shipped need not wait for who ships it.
#[test]
fn a_waiter_seals_a_shipped_group() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let (log, shipped) = shipped_log(&device);
    let position = append(&log, 0, 100);
    log.wait_durable(position).expect("durable");
    append(&log, 1, 100);
    log.flush().expect("flushed");
    assert_eq!(shipped.take().len(), 2);
    append(&log, 2, 100);
    let end = log.close_clean().expect("closes");
    assert_eq!(end, Lsn(3 * SECTOR as u64));
}

/// Promise (A3): whatever its slots, and however the frames come, a log that follows another is that
/// log: positions, terms, chains and entries; while it runs, after a crash, and when it leads itself.
#[test]
fn a_copy_is_the_log() {
    proptest!(ProptestConfig::with_cases(48), |(
        lens in prop::collection::vec(prop_oneof![0..3000_usize, 40_000..200_000_usize], 1..40),
        term_at in 0..40_usize,
        batch in 1..9_usize,
        behind in 0..12_u64,
        seed in any::<u64>(),
    )| {
        let disk = SimDisk::new(seed);
        let device = open(&disk, 1);
        let (log, shipped) = shipped_log(&device);
        for (n, len) in lens.iter().enumerate() {
            if n == term_at {
                log.begin_term(Term(2)).expect("begun");
            }
            append(&log, n as u64, *len);
            log.seal_shipped();
            device.turn_until_idle();
        }
        let frames = shipped.take();
        prop_assert_eq!(&on_disk(&log, Lsn::ZERO), &frames);

        // The copy begins where some group ends, so that its slots lie otherwise.
        let ends: Vec<_> = frames.iter().filter(|f| !f.header.continues()).collect();
        let begin = ends.get(behind as usize).map_or(Lsn::ZERO, |frame| frame.header.end());
        let start = if begin == Lsn::ZERO {
            LogStart::new(Term(1))
        } else {
            let lineage = log.lineage_at(begin).expect("a boundary");
            LogStart { lsn: begin, chain: lineage.chain, history: lineage.history }
        };
        let copy_disk = SimDisk::new(seed ^ 1);
        let copy_device = open(&copy_disk, 2);
        let nobody = Arc::new(resprout_wal::NoObserver);
        let copy = copy_device.create_at(identity(0), start, nobody.clone()).expect("created");
        let rest: Vec<_> = frames.iter().filter(|f| f.header.lsn >= begin).cloned().collect();
        for (n, frames) in rest.chunks(batch).enumerate() {
            follow(&copy, frames.iter().cloned()).expect("followed");
            if n % 3 == 0 {
                copy_device.turn_until_idle();
            }
        }
        copy_device.turn_until_idle();
        prop_assert_eq!(copy.positions(), log.positions());
        prop_assert_eq!(on_disk(&copy, begin), rest);

        drop((copy, copy_device));
        let copy_device = open(&copy_disk.crash(seed), 3);
        let read = copy_device.recover(identity(0), begin, resprout_wal::Evidence::default());
        let mut read = read.expect("there");
        while read.next().expect("no damage").is_some() {}
        let recovered = read.finish().expect("no damage");
        prop_assert_eq!(recovered.end, log.positions().end);
        prop_assert_eq!(recovered.chain, log.lineage_at(recovered.end).expect("its end").chain);
        let copy = recovered.open(nobody).expect("opens");
        copy.begin_term(Term(3)).expect("begun");
        let position = append(&copy, 99, 70_000);
        copy.wait_durable(position).expect("durable");
    });
}

/// Promise (R19): half a group is no end of the log: a close or a cut takes it away, and the log goes on
/// in the term of what is left.
#[test]
fn half_a_group_is_cut_off() {
    for closes in [true, false] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let (log, shipped) = shipped_log(&device);
        append(&log, 0, 100);
        log.seal_shipped();
        append(&log, 1, 150_000);
        log.seal_shipped();
        let frames = shipped.take();
        assert!(frames.len() > 3);

        let copy_disk = SimDisk::new(2);
        let copy_device = open(&copy_disk, 2);
        let copy = create(&copy_device, 0);
        let end = follow(&copy, frames[..3].iter().cloned()).expect("followed");
        copy_device.turn_until_idle();
        let whole = frames[0].header.end();
        assert_eq!((copy.positions().durable, end), (whole, frames[2].header.end()));
        if closes {
            assert_eq!(copy.close_clean().expect("closes"), whole);
            drop((copy, copy_device));
            let read = read(&open(&copy_disk, 3), 0).expect("no damage");
            assert_eq!((read.recovered.end, read.recovered.tail), (whole, Tail::Clean));
        } else {
            copy.cut_back(whole).expect("cut");
            assert_eq!(copy.term().expect("runs"), Term(1));
            follow(&copy, frames[1..].iter().cloned()).expect("the same frames again");
            copy_device.turn_until_idle();
            assert_eq!(on_disk(&copy, Lsn::ZERO), frames);
        }
    }
}

/// Promise (D26): a frame that does not continue the log is refused by name, what came before it
/// stays, and the log goes on.
#[test]
fn d26_a_misfit_changes_nothing() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let (log, shipped) = shipped_log(&device);
    for n in 0..3 {
        append(&log, n, 100);
        log.seal_shipped();
    }
    let frames = shipped.take();
    let copy_disk = SimDisk::new(2);
    let copy_device = open(&copy_disk, 2);
    let copy = create(&copy_device, 0);
    let gap = [frames[0].clone(), frames[2].clone()];
    let refused = follow(&copy, gap).expect_err("a gap");
    let lsn = frames[1].header.lsn;
    let LogError::Misfit { lsn: at, flaw, .. } = refused else { panic!("{refused}") };
    assert_eq!((at, flaw), (lsn, Flaw::Position { found: frames[2].header.lsn }));
    follow(&copy, frames[1..].iter().cloned()).expect("the log goes on");
    copy_device.turn_until_idle();
    assert_eq!(on_disk(&copy, Lsn::ZERO), frames);
}

/// Promise (D22): space for what is to come is refused by an error before anything has come, and what
/// was reserved stays good.
#[test]
fn d22_space_is_reserved_ahead() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let copy = create(&device, 0);
    let mut space = copy.frame_space();
    space.reserve(40 << 10).expect("space");
    disk.set_capacity(Some(0));
    space.reserve(100 << 20).expect_err("the device is full");
    assert_eq!(space.bytes(), 40 << 10);
    drop(space);
    let position = append(&copy, 0, 100);
    copy.wait_durable(position).expect("durable");
}

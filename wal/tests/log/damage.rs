//! Damage is told from a crash, by evidence, and names where it is. Rows D03 to D14, D16, D25.

use resprout_wal::disk::sim::{Effect, Fault, OpKind, SimDisk};
use resprout_wal::{Damage, Device, Evidence, Lsn, SECTOR, Tail, UnreadableWhy, Witness};

use crate::harness::*;

const SLOT: u64 = 64 << 10;
const SLOTS_AT: u64 = 64 << 10;
const CAPACITY: u64 = SLOT - 3 * SECTOR as u64;

/// A log of `count` entries of 3000 bytes, one frame each, and its end; the process is killed.
fn written(disk: &SimDisk, count: u64, marked: bool) -> Lsn {
    let device = open(disk, 1);
    let log = create(&device, 0);
    let end = commit(&log, 0..count, 3000);
    if marked {
        device.idle();
    }
    end
}

fn frame_damage(damage: Damage) -> (u64, Lsn, Lsn, Witness) {
    let Damage::Frame { path, offset, lsn, durable, witness, .. } = damage else {
        panic!("not the damage of a frame: {damage}");
    };
    assert_eq!(path, arena());
    (offset, lsn, durable, witness)
}

fn damage_of(disk: &SimDisk) -> (Device, Damage) {
    let device = open(disk, 2);
    let damage = read(&device, 0).err().expect("damage");
    (device, damage)
}

/// Promise (D01): a torn last record is cut, physically, before the first append.
#[test]
fn d01_a_torn_tail_is_cut_and_erased() {
    let disk = SimDisk::new(1);
    let end = written(&disk, 5, false);
    let last = Lsn(end.0 - SECTOR as u64);
    let device = open(&disk.restart(), 2);
    let offset = offset_of(&device, last);
    drop(device);
    disk.flip(&arena(), offset + 500, 3);
    let disk = disk.restart();
    let device = open(&disk, 3);
    let read_back = read(&device, 0).expect("a crash");
    assert_eq!(read_back.entries.len(), 4);
    assert_eq!(read_back.recovered.tail, Tail::Torn { at: last, bytes: SECTOR as u64 });
    let log = reopen(read_back);
    let bytes = disk.contents(&arena()).expect("the arena");
    assert!(bytes[offset as usize..offset as usize + SECTOR].iter().all(|byte| *byte == 0));
    commit(&log, 4..6, 3000);
    drop((log, device));
    let entries = read(&open(&disk.restart(), 4), 0).expect("no damage").entries;
    assert_eq!(entries.len(), 6);
    check_prefix(&entries);
}

/// Promise (D02): a record whose header survived and whose body is zeros is cut.
#[test]
fn d02_a_zeroed_body_is_torn() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    let before = commit(&log, 0..3, 3000);
    commit(&log, 3..4, 9000);
    let offset = offset_of(&device, before) + SECTOR as u64;
    drop((log, device));
    disk.overwrite(&arena(), offset, &[0; 2 * SECTOR]);
    let read = read(&open(&disk.restart(), 2), 0).expect("a crash");
    assert_eq!(read.entries.len(), 3);
    assert!(matches!(read.recovered.tail, Tail::Torn { at, .. } if at == before));
}

/// Promise (D03): a flip in the last record is damage once a mark has seen it durable.
#[test]
fn d03_a_flip_in_the_last_durable_record_is_damage() {
    let disk = SimDisk::new(1);
    let end = written(&disk, 5, true);
    let last = Lsn(end.0 - SECTOR as u64);
    let disk = disk.restart();
    let offset = offset_of(&open(&disk, 2), last);
    disk.flip(&arena(), offset + 77, 0);
    let (_, damage) = damage_of(&disk.restart());
    assert_eq!(frame_damage(damage), (offset, last, end, Witness::Mark { slot: 0 }));
}

/// Promise (D03): so it is when only the caller knows that it was durable.
#[test]
fn d03_the_caller_is_a_witness() {
    let disk = SimDisk::new(1);
    let end = written(&disk, 5, false);
    let disk = disk.restart();
    let last = Lsn(end.0 - SECTOR as u64);
    let offset = offset_of(&open(&disk, 2), last);
    disk.flip(&arena(), offset + 77, 0);
    let device = open(&disk.restart(), 3);
    let evidence = Evidence { durable: end };
    let mut recovery = device.recover(identity(0), Lsn::ZERO, evidence).expect("a chain");
    let damage = loop {
        match recovery.next() {
            Ok(batch) => assert!(batch.is_some(), "the end came without damage"),
            Err(damage) => break damage,
        }
    };
    assert_eq!(frame_damage(damage).3, Witness::Caller);
}

/// Promise (D04): a flip in the middle is damage, wherever it is, and names its place.
#[test]
fn d04_a_flip_in_the_middle_is_damage() {
    for n in 0..30 {
        let disk = SimDisk::new(1);
        written(&disk, 40, false);
        let disk = disk.restart();
        let lsn = Lsn(n * SECTOR as u64);
        let offset = offset_of(&open(&disk, 2), lsn);
        disk.flip(&arena(), offset + 100 + n, 5);
        let (_, damage) = damage_of(&disk.restart());
        let (at, found, durable, _) = frame_damage(damage);
        assert_eq!((at, found), (offset, lsn));
        assert!(durable > lsn);
    }
}

/// Promise (D05): each bit of a record's header is guarded.
#[test]
fn d05_each_bit_of_a_header_is_guarded() {
    let disk = SimDisk::new(1);
    written(&disk, 10, false);
    let disk = disk.restart();
    let lsn = Lsn(3 * SECTOR as u64);
    let offset = offset_of(&open(&disk, 2), lsn);
    for bit in 0..64 * 8 {
        disk.flip(&arena(), offset + bit / 8, (bit % 8) as u8);
        let disk = disk.restart();
        let (_, damage) = damage_of(&disk);
        assert_eq!(frame_damage(damage).1, lsn, "bit {bit}");
        disk.flip(&arena(), offset + bit / 8, (bit % 8) as u8);
    }
}

/// Promise (D06): a bad slot header or a foreign version takes out its log, and no other.
#[test]
fn d06_a_bad_slot_header_hurts_one_log() {
    for (at, name) in [(0, "magic"), (4, "version"), (20, "cluster"), (50, "base"), (900, "rest")] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let (first, second) = (create(&device, 0), create(&device, 1));
        commit(&first, 0..40, 3000);
        commit(&second, 0..5, 3000);
        drop((first, second, device));
        disk.flip(&arena(), SLOTS_AT + at, 1);
        let device = open(&disk.restart(), 2);
        assert_eq!(device.unreadable().len(), 1, "{name}");
        assert!(matches!(device.unreadable()[0].why, UnreadableWhy::Header(_)));
        let damage = read(&device, 0).err().expect("damage");
        assert!(matches!(damage, Damage::Missing { .. }), "{name}: {damage}");
        assert_eq!(read(&device, 1).expect("no damage").entries.len(), 5);
    }
}

/// Promise (D06): with its only slot gone the log is absent, which is no empty log.
#[test]
fn d06_the_only_slot_gone_is_absent() {
    let disk = SimDisk::new(1);
    written(&disk, 3, false);
    disk.flip(&arena(), SLOTS_AT + 8, 1);
    let (device, damage) = damage_of(&disk.restart());
    assert!(matches!(damage, Damage::Absent { unreadable: 1, .. }), "{damage}");
    let (slots, free) = device.slots_and_free();
    assert_eq!((slots, free), (1, 0), "what cannot be read is not given out");
}

/// Promise (D07): a file shortened at a record boundary is noticed, in a full slot and in the
/// last one below its mark.
#[test]
fn d07_a_shortened_file_is_damage() {
    let disk = SimDisk::new(1);
    written(&disk, 40, true);
    for frames in [3, 14, 20, 39] {
        let lsn = Lsn(frames * SECTOR as u64);
        let disk = disk.after_crash(1);
        let disk = disk.restart();
        let offset = offset_of(&open(&disk, 2), lsn);
        disk.truncate(&arena(), offset);
        let (_, damage) = damage_of(&disk.restart());
        match damage {
            Damage::Frame { lsn: found, .. } => assert_eq!(found, lsn),
            Damage::Missing { .. } => {}
            // Inside a slot, the end of the file itself is the proof.
            Damage::Read { offset: found, .. } => assert_eq!(found, offset),
            other => panic!("{other}"),
        }
    }
}

fn erase_slot(disk: &SimDisk, slot: u64) {
    disk.overwrite(&arena(), SLOTS_AT + slot * SLOT, &vec![0; SLOT as usize]);
}

/// Promise (D08): a slot missing in the middle is found before anything is handed out, and the
/// error lists what is there and what is not.
#[test]
fn d08_a_missing_slot_is_listed() {
    let disk = SimDisk::new(1);
    written(&disk, 60, false);
    erase_slot(&disk, 2);
    let (_, damage) = damage_of(&disk.restart());
    let Damage::Missing { present, missing, .. } = &damage else { panic!("{damage}") };
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].start, missing[0].end), (Lsn(2 * CAPACITY), Some(Lsn(3 * CAPACITY))));
    assert_eq!(present.len(), 4);
    assert!(damage.to_string().contains("0:106496..0:159744"), "{damage}");
}

/// Promise (D09): the newest slot missing is no shorter log.
#[test]
fn d09_the_newest_slot_missing_is_damage() {
    let disk = SimDisk::new(1);
    written(&disk, 30, false);
    erase_slot(&disk, 2);
    let (_, damage) = damage_of(&disk.restart());
    let Damage::Missing { missing, .. } = &damage else { panic!("{damage}") };
    assert_eq!((missing[0].start, missing[0].end), (Lsn(2 * CAPACITY), None));
}

fn copy_slot(disk: &SimDisk, from: u64, to: u64) {
    let bytes = disk.contents(&arena()).expect("the arena");
    let start = (SLOTS_AT + from * SLOT) as usize;
    disk.overwrite(&arena(), SLOTS_AT + to * SLOT, &bytes[start..start + SLOT as usize]);
}

/// Promise (D10): two slots with the same part of a log are refused; nothing is applied twice.
#[test]
fn d10_a_duplicated_slot_is_refused() {
    for from in 0..5 {
        let disk = SimDisk::new(1);
        written(&disk, 60, false);
        copy_slot(&disk, from, 5);
        let (_, damage) = damage_of(&disk.restart());
        let Damage::Overlap { lsn, .. } = damage else { panic!("{damage}") };
        assert_eq!(lsn, Lsn(from * CAPACITY));
    }
}

/// Promise (D11): a slot of another cluster is refused and kept; one of another log in the middle
/// of this one leaves a gap.
#[test]
fn d11_foreign_slots_are_refused() {
    let foreign = SimDisk::new(9);
    let mut other = options();
    other.cluster = 0xbad;
    let device = Device::open(world(&foreign, 3), &dir(), other).expect("opens");
    let mut its = identity(0);
    its.cluster = 0xbad;
    let log = device
        .create(its, resprout_wal::Term(1), std::sync::Arc::new(resprout_wal::NoObserver))
        .expect("creates");
    commit(&log, 0..3, 3000);
    let bytes = foreign.contents(&arena()).expect("the arena");
    let start = SLOTS_AT as usize;
    let slot = &bytes[start..start + SLOT as usize];

    let disk = SimDisk::new(1);
    written(&disk, 60, false);
    disk.overwrite(&arena(), SLOTS_AT + 5 * SLOT, slot);
    let disk = disk.restart();
    let device = open(&disk, 2);
    assert!(matches!(device.unreadable()[0].why, UnreadableWhy::Foreign(id) if id == its));
    assert_eq!(read(&device, 0).expect("its own slots are good").entries.len(), 60);
    drop(device);
    disk.overwrite(&arena(), SLOTS_AT + 2 * SLOT, slot);
    let (_, damage) = damage_of(&disk.restart());
    assert!(matches!(damage, Damage::Missing { .. }), "{damage}");
    let error = Device::open(world(&foreign.restart(), 4), &dir(), options()).err();
    assert!(matches!(error, Some(resprout_wal::OpenError::Foreign { .. })), "{error:?}");
}

/// Promise (D12): a write that landed elsewhere is noticed in both places.
#[test]
fn d12_a_misdirected_write_is_damage() {
    for by in [SECTOR as i64, 3 * SECTOR as i64, -3 * SECTOR as i64] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        let lsn = commit(&log, 0..5, 3000);
        disk.fail(Fault::on(OpKind::Write, 0, Effect::Misdirected(by)));
        commit(&log, 5..12, 3000);
        drop((log, device));
        let (_, damage) = damage_of(&disk.restart());
        let (_, found, ..) = frame_damage(damage);
        assert_eq!(found, if by < 0 { Lsn(lsn.0 - 3 * SECTOR as u64) } else { lsn });
    }
}

/// Promise (D13): a write that the device said it had done, and had not, is noticed: by the
/// frames behind it, or by the mark.
#[test]
fn d13_a_lost_write_is_damage() {
    for behind in [0, 1, 5] {
        let disk = SimDisk::new(1);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        let lsn = commit(&log, 0..5, 3000);
        disk.fail(Fault::on(OpKind::Write, 0, Effect::Lost));
        commit(&log, 5..6 + behind, 3000);
        device.idle();
        drop((log, device));
        let (_, damage) = damage_of(&disk.restart());
        assert_eq!(frame_damage(damage).1, lsn);
    }
}

/// Promise (D14): a slot used again does not bring back what its earlier use held.
#[test]
fn d14_recycled_slot_does_not_resurrect_old_frames() {
    let disk = SimDisk::new(1);
    let device = open(&disk, 1);
    let log = create(&device, 0);
    commit(&log, 0..13, 3000);
    drop(log);
    device.remove(identity(0)).expect("removed");
    let log = create(&device, 0);
    commit(&log, 0..3, 3000);
    assert_eq!(device.slots_and_free().0, 1, "the slot was used again");
    drop((log, device));
    let bytes = disk.contents(&arena()).expect("the arena");
    let old = (SLOTS_AT + 3 * SECTOR as u64 + 3 * SECTOR as u64) as usize;
    assert_eq!(&bytes[old..old + 4], b"RSFR", "an old frame lies behind the new end");
    let read = read(&open(&disk.restart(), 2), 0).expect("no damage");
    assert_eq!((read.entries.len(), read.recovered.tail), (3, Tail::Clean));
}

/// Promise (D16): frames behind a hole are dropped when nobody saw the hole durable.
#[test]
fn d16_recovery_does_not_jump_a_hole() {
    let mut jumped = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        let end = commit(&log, 0..3, 3000);
        // Four frames in one request, which is torn anywhere.
        for n in 3..7 {
            append(&log, n, 3000);
            log.lock().expect("runs").seal();
        }
        disk.fail(Fault::on(OpKind::Write, 0, Effect::CrashDuring));
        device.turn_until_idle();
        drop((log, device));
        let disk = disk.crash(seed);
        disk.heal();
        let read = read(&open(&disk, 2), 0).expect("a crash");
        check_prefix(&read.entries);
        assert!(read.entries.len() >= 3);
        jumped += u64::from(matches!(read.recovered.tail, Tail::Torn { at, .. } if at == end));
    }
    assert!(jumped > 0, "no seed left a hole");
}

/// Promise (D25): a read that fails is tried again; if it goes on failing, that is damage.
#[test]
fn d25_failed_reads_are_retried_then_damage() {
    const EIO: i32 = 5;
    let disk = SimDisk::new(1);
    written(&disk, 40, true);
    let reads = |disk: &SimDisk, failing: u64, times: u64| {
        let device = open(disk, 2);
        for _ in 0..times {
            disk.fail(Fault::on(OpKind::Read, failing, Effect::Error(EIO)));
        }
        let outcome = read(&device, 0).map(|read| read.entries.len());
        disk.heal();
        outcome
    };
    for failing in 0..3 {
        assert_eq!(reads(&disk.restart(), failing, 1).expect("retried"), 40);
    }
    let disk = disk.restart();
    let device = open(&disk, 2);
    for after in 0..40 {
        disk.fail(Fault::on(OpKind::Read, after, Effect::Error(EIO)));
    }
    let damage = read(&device, 0).err().expect("damage");
    assert!(matches!(damage, Damage::Read { .. }), "{damage}");
}

/// Promise (D31): a log that begins behind, or ends before, the position asked for is no log to
/// start from.
#[test]
fn d31_a_gap_to_the_snapshot_is_damage() {
    let disk = SimDisk::new(1);
    let end = written(&disk, 5, false);
    let disk = disk.restart();
    let device = open(&disk, 2);
    let beyond = Lsn(end.0 + 10 * SECTOR as u64);
    let damage = read_from(&device, 0, beyond).err().expect("damage");
    assert_eq!(frame_damage(damage), (offset_of(&device, end), end, beyond, Witness::Caller));
    let between = Lsn(end.0 - 1);
    let damage = read_from(&device, 0, between).err().expect("damage");
    assert!(matches!(damage, Damage::NotABoundary { .. }), "{damage}");
}

/// Promise (D12, D13): a frame of the same place and the same use of its slot, left because the
/// device lost the zeros over it, does not follow what was written since: the chain tells.
#[test]
fn d13_lost_zeros_do_not_bring_back_what_was_cut() {
    let mut tried = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let device = open(&disk, 1);
        let log = create(&device, 0);
        let end = commit(&log, 0..3, 3000);
        for n in 3..7 {
            append(&log, n, 3000);
            log.lock().expect("runs").seal();
        }
        disk.fail(Fault::on(OpKind::Write, 0, Effect::CrashDuring));
        device.turn_until_idle();
        drop((log, device));
        let disk = disk.crash(seed);
        disk.heal();
        let device = open(&disk, 2);
        let torn = read(&device, 0).expect("a crash");
        if torn.recovered.end != end || torn.recovered.tail == Tail::Clean {
            continue;
        }
        tried += 1;
        // The first write is the mark that says "cut", the second the zeros.
        disk.fail(Fault::on(OpKind::Write, 1, Effect::Lost));
        commit(&reopen(torn), 3..4, 2000);
        drop(device);
        let read = read(&open(&disk.restart(), 3), 0).expect("a crash");
        check_prefix(&read.entries);
        assert_eq!(read.entries.len(), 4, "an entry that was cut came back");
    }
    assert!(tried > 0, "no seed left frames behind a hole");
}

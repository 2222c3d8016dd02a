//! Two copies: following, leaving, coming back, changing roles.

use std::time::{Duration, Instant};

use resprout_engine::Error;
use resprout_replication::{CopyState, Mode, State};

use crate::world::{PARTITION, World, until};

/// Promise (A1, A3): what the master acknowledges is on the replica, in all modes; the copies are equal.
#[test]
fn a_replica_has_what_is_acknowledged() {
    for mode in [Mode::Received, Mode::Durable, Mode::Local] {
        let world = World::new(2, mode);
        for id in 0..40 {
            world.put(1, id, &"x".repeat(id as usize * 60)).expect("committed");
        }
        world.until_equal(1, 2);
        let refused = world.put(2, 99, "no").expect_err("a replica takes no writes");
        assert!(matches!(refused, Error::NotOnline { .. }), "{refused}");
    }
}

/// Promise: large transactions span frames and slots, and arrive whole.
#[test]
fn large_transactions_arrive_whole() {
    let world = World::new(2, Mode::Received);
    let partition = world.running(1).copy.stored().partition().clone();
    let table = partition.table("t").expect("there");
    let mut txn = partition.begin().expect("online");
    for id in 0..2000 {
        use resprout_engine::table::Value;
        txn.insert(&table, &[Value::Int(id), Value::Text("y".repeat(2000))]).expect("a row");
    }
    txn.commit().expect("committed");
    world.until_equal(1, 2);
    assert_eq!(world.rows(2).len(), 2000);
}

/// Promise (rules 6 and 7, P05): a replica that dies is waited for until the record says otherwise; it
/// comes back, catches up, and is waited for again.
#[test]
fn p05_a_replica_dies_and_comes_back() {
    let mut world = World::new(2, Mode::Received);
    world.put(1, 1, "before").expect("committed");
    world.kill(2);
    let start = Instant::now();
    world.put(1, 2, "without").expect("committed");
    assert!(start.elapsed() >= Duration::from_millis(300), "it was waited for");
    assert_eq!(world.state_in_record(2), CopyState::Async);
    for id in 10..60 {
        world.put(1, id, &"z".repeat(2000)).expect("committed");
    }
    world.start(2);
    world.until_sync(2);
    world.until_equal(1, 2);
}

/// Promise (rules 2, 10, 14): a promoted replica has everything acknowledged, takes writes, and the old
/// master follows it.
#[test]
fn roles_change_by_order() {
    for mode in [Mode::Received, Mode::Durable] {
        let world = World::new(2, mode);
        world.put(1, 1, "one").expect("committed");
        world.promote(2);
        world.until_online(2);
        until("the old master knows", || !world.is_online(1));
        world.put(1, 7, "late").expect_err("it is not master any more");
        world.put(2, 2, "two").expect("committed");
        world.until_sync(1);
        world.until_equal(2, 1);
        world.promote(1);
        world.until_online(1);
        world.put(1, 3, "three").expect("committed");
        world.until_sync(2);
        world.until_equal(1, 2);
        assert_eq!(world.rows(1).len(), 3);
    }
}

/// Promise: who asks a copy that is named master hears that it is on its way, and never what looks as if it declined: a
/// manager would begin another term.
#[test]
fn a_copy_that_is_named_says_so_at_once() {
    let world = World::new(2, Mode::Durable);
    for number in [2, 1].repeat(5) {
        world.until_sync(number);
        world.promote(number);
        let named = world.authority.record(PARTITION).expect("there is one");
        // Looked at again and again without a pause: it takes a moment only.
        let began = Instant::now();
        while !world.is_online(number) {
            let status = world.running(number).copy.status();
            let is_on_its_way = matches!(status.state, State::Transitioning(_) | State::Online(_));
            assert!(status.knows < named.stamp || is_on_its_way, "{status:?}");
            assert!(began.elapsed() < Duration::from_secs(30), "it is online");
        }
    }
}

/// Promise (A5, R09, N03): a master that is cut off acknowledges nothing once another one is; its tail is
/// taken back when it returns, and kept in a file.
#[test]
fn r09_a_master_that_was_cut_off_comes_back() {
    let world = World::new(2, Mode::Received);
    world.put(1, 1, "one").expect("committed");
    world.cut(1, true);
    let partition = world.running(1).copy.stored().partition().clone();
    let lost = std::thread::spawn(move || crate::world::put(&partition, 2, "lost"));
    until("it is in the log of the old master", || {
        let status = world.running(1).copy.status();
        status.end > status.committed
    });
    world.promote(2);
    world.until_online(2);
    let outcome = lost.join().expect("no panic").expect_err("nobody acknowledged it");
    assert!(matches!(outcome, Error::OutcomeUnknown(_)), "{outcome}");
    world.put(2, 3, "three").expect("committed");
    world.cut(1, false);
    world.until_sync(1);
    world.until_equal(2, 1);
    let rows = world.rows(1);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [1, 3]);
    let dir = world.running(1).copy.stored().partition().dir().to_owned();
    let files = std::fs::read_dir(dir).expect("there").filter_map(Result::ok);
    let saved = files.filter(|file| file.file_name().to_string_lossy().starts_with("cut-"));
    assert_eq!(saved.count(), 1, "what was taken back is kept");
}

/// Promise (rule 14, P07): a master that restarts is none until it is named anew; what it had stays.
#[test]
fn p07_a_master_that_restarts_waits_to_be_named() {
    let mut world = World::new(2, Mode::Durable);
    world.put(1, 1, "one").expect("committed");
    world.kill(1);
    world.start(1);
    let state = world.running(1).copy.status().state;
    assert!(!matches!(state, State::Online(_) | State::Transitioning(_)), "{state:?}");
    world.promote(1);
    world.until_online(1);
    world.put(1, 2, "two").expect("committed");
    world.until_sync(2);
    world.until_equal(1, 2);
}

/// Promise (R16, R17, D32): a replica that is behind everything that its master keeps of the log gets the
/// pieces that differ, and goes on from there; again after it was killed in between.
#[test]
fn r16_a_replica_behind_the_log_gets_an_image() {
    for mode in [Mode::Received, Mode::Durable] {
        let mut world = World::new(2, mode);
        for id in 0..200 {
            world.put(1, id, &"a".repeat(2500)).expect("committed");
        }
        world.until_equal(1, 2);
        world.kill(2);
        let end = world.running(1).copy.status().end;
        let (mut id, mut first) = (1000, end);
        while first <= end {
            for _ in 0..400 {
                id += 1;
                world.put(1, id, &"b".repeat(2500)).expect("committed");
            }
            let copy = &world.running(1).copy;
            copy.stored().partition().snapshot().expect("written");
            first = copy.stored().first();
        }
        world.start(2);
        world.until_sync(2);
        world.until_equal(1, 2);
        let status = world.running(2).copy.status();
        let image = status.image.expect("the image that it took is known");
        assert!(image.bytes > 400 * 2500 && image.done_bytes == image.bytes, "{image:?}");
        assert!(image.lsn > end && image.lsn <= status.end, "{image:?} {status:?}");
        let run = status.identity.incarnation;
        assert!(run > world.running(2).copy.identity().incarnation, "an image is another run");
        world.put(1, 999, "after").expect("committed");
        world.until_equal(1, 2);
        // What was installed is what a restart finds, and it can lead.
        world.kill(2);
        world.put(1, 998, "meanwhile").expect("committed");
        world.start(2);
        world.until_sync(2);
        world.until_equal(1, 2);
        world.promote(2);
        world.until_online(2);
        world.put(2, 997, "leads").expect("committed");
        assert_eq!(world.rows(2).len() as i64, 200 + (id - 1000) + 3);
    }
}

/// Promise (R12, assertion 6): a copy that cannot store what it promises takes no part, and says so; when it
/// can again, a start of it goes on, and nothing is lost.
#[test]
fn a_promise_that_cannot_be_stored_stops_the_copy() {
    // What is acknowledged is on the medium of both: a copy that is killed may be master then.
    let mut world = World::new(2, Mode::Durable);
    world.put(1, 1, "one").expect("committed");
    let dir = world.running(2).copy.stored().partition().dir().to_owned();
    // Where a promise is written before it counts; one may be just about to.
    until("nothing is there", || std::fs::create_dir(dir.join("copy.tmp")).is_ok());
    world.promote(2);
    until("the copy stops", || matches!(world.running(2).copy.status().state, State::Halted(_)));
    let status = world.running(2).copy.stored().partition().status();
    let why = status.error.expect("a reason");
    assert!(why.contains("copy"), "{why}");
    std::fs::remove_dir(dir.join("copy.tmp")).expect("removed");
    world.kill(2);
    world.start(2);
    world.promote(2);
    world.until_online(2);
    world.put(2, 2, "two").expect("committed");
    world.until_sync(1);
    world.until_equal(2, 1);
}

/// Promise (P16, A5): a panic while a copy is driven stops that copy, says so, and leaves nobody waiting; the
/// threads that drive others go on.
#[test]
fn p16_a_panic_stops_one_copy_and_nothing_else() {
    let mut world = World::new(2, Mode::Received);
    world.put(1, 1, "one").expect("committed");
    world.touchy.panics.store(true, std::sync::atomic::Ordering::SeqCst);
    world.kill(2);
    let outcome = world.put(1, 2, "two").expect_err("the master asks, and the copy stops");
    assert!(matches!(outcome, Error::OutcomeUnknown(_)), "{outcome}");
    world.touchy.panics.store(false, std::sync::atomic::Ordering::SeqCst);
    let status = world.running(1).copy.stored().partition().status();
    assert!(status.error.expect("a reason").contains("panic"));
    // The clock of the node goes on: a copy of it that is started anew comes as far as any.
    world.kill(1);
    world.start(1);
    world.start(2);
    world.promote(1);
    world.until_online(1);
    world.put(1, 3, "three").expect("committed");
    world.until_sync(2);
    world.until_equal(1, 2);
}

//! Copies that have nothing, whose master does not have its log any more.

use resprout_replication::Mode;

use crate::world::{World, until};

/// A master with more than half a megabyte of rows, whose log begins behind them.
fn master_without_log(mode: Mode) -> World {
    let world = World::new(1, mode);
    let (mut id, end) = (0, world.running(1).copy.status().end);
    let first = || world.running(1).copy.stored().first();
    while first() <= end {
        for _ in 0..400 {
            id += 1;
            world
                .put(1, id, &"b".repeat(usize::try_from(id % 3000).unwrap_or(0)))
                .expect("committed");
        }
        world.running(1).copy.stored().partition().snapshot().expect("written");
    }
    world
}

/// What has come of the image so far.
fn done(world: &World) -> Option<(u64, u64)> {
    world.running(2).copy.status().image.map(|image| (image.done_bytes, image.bytes))
}

fn until_in_the_middle(world: &World) -> u64 {
    let mut middle = 0;
    until("some of the image is there", || {
        let Some((done, all)) = done(world) else { return false };
        middle = done;
        assert!(done < all, "it went too fast for this test");
        done > 0
    });
    middle
}

fn is_whole(world: &World) {
    world.until_sync(2);
    world.until_equal(1, 2);
    let image = world.running(2).copy.status().image.expect("it took one");
    assert_eq!(image.done_bytes, image.bytes);
    let beside = world.running(2).copy.stored().partition().dir().join("image");
    let left: Vec<_> = std::fs::read_dir(beside).expect("its folder").collect();
    assert!(left.is_empty(), "{left:?}");
    world.put(1, -1, "after").expect("committed");
    world.until_equal(1, 2);
}

/// Promise (R16, R17, P05): a copy that has nothing gets the pages of its master's tree; through a connection that is cut in
/// the middle, of the same image, and not from the beginning; what it is then comes back and leads.
#[test]
fn r16_a_fresh_copy_gets_plain_pages() {
    for mode in [Mode::Received, Mode::Durable] {
        let mut world = master_without_log(mode);
        world.config.limits.pages_per_beat = 8;
        world.config.limits.digests_max = 30;
        // The master's rate is that of its own settings.
        world.kill(1);
        world.start(1);
        world.promote(1);
        world.until_online(1);
        world.join(2);
        let before = until_in_the_middle(&world);
        world.cut(2, true);
        std::thread::sleep(std::time::Duration::from_millis(700));
        let (kept, _) = done(&world).expect("it is not forgotten");
        assert!(kept >= before);
        world.cut(2, false);
        until("it goes on, from where it was", || {
            let (now, _) = done(&world).expect("it is not forgotten");
            assert!(now >= kept, "{now} bytes of {kept} that were there");
            now > kept
        });
        is_whole(&world);
        world.kill(2);
        world.put(1, -2, "meanwhile").expect("committed");
        world.start(2);
        world.until_sync(2);
        world.until_equal(1, 2);
        world.promote(2);
        world.until_online(2);
        world.put(2, -3, "leads").expect("committed");
    }
}

/// Promise (R16, P05): a copy that is killed in the middle of an image, and then a master that is, change nothing but the time
/// that it takes.
#[test]
fn r16_a_fresh_copy_is_killed_in_the_middle() {
    let mut world = master_without_log(Mode::Durable);
    world.config.limits.pages_per_beat = 8;
    world.kill(1);
    world.start(1);
    world.promote(1);
    world.until_online(1);
    world.join(2);
    until_in_the_middle(&world);
    world.kill(2);
    world.start(2);
    until_in_the_middle(&world);
    world.kill(1);
    world.start(1);
    world.promote(1);
    world.until_online(1);
    is_whole(&world);
}

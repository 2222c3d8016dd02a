//! How long a placement takes, and whether it is proven to be the least.

#![expect(clippy::print_stdout, reason = "it is there to print")]

use resprout_cluster::placement::{Home, Request, check, initial, target};
use resprout_cluster::{
    Address, Copy, Database, Following, Group, Instance, Leaf, LeafId, Mode, Ordinal, Partition,
    Standing,
};

/// Time on a processor, in milliseconds: others on the machine do not count.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.expect("a number") / 1e6
}

fn leaves(each: u64) -> Vec<Leaf> {
    let leaf = |id: u64| {
        let group = if id <= each { Group::One } else { Group::Two };
        let pair = Some(LeafId(if id <= each { id + each } else { id - each }));
        let address = Address { host: format!("leaf-{id}"), port: 3306 };
        Leaf { id: LeafId(id), address, group, pair, standing: Standing::Online }
    };
    (1..=2 * each).map(leaf).collect()
}

fn database(homes: impl Iterator<Item = Home>) -> Database {
    let partitions = homes.zip(0..).map(|(home, n)| {
        let copy = |i| Copy { instance: Instance(i), following: Following::Sync, offline: false };
        let copies = home.leaves().zip(1..).map(|(leaf, i)| (leaf, copy(i))).collect();
        let (ordinal, master) = (Ordinal(n), Some(home.master));
        Partition { ordinal, master, copies, bytes: 1 << 30, ..Partition::default() }
    });
    Database {
        name: "test".to_owned(),
        sync: true,
        partitions: partitions.collect(),
        ..Database::default()
    }
}

fn case(name: &str, leaves: &[Leaf], database: &Database, mode: Mode) -> Database {
    let request = Request { leaves, database, mode, full: None, force: false };
    let begin = cpu_ms();
    let placement = target(&request).expect("placeable");
    let took = cpu_ms() - begin;
    let wrong = check(leaves, mode, &placement.homes);
    println!(
        "{name:25} {} {took:>8.1} ms {} | {} {wrong:?}",
        if placement.cost == placement.bound { "   " } else { "GAP" },
        placement.cost,
        placement.bound
    );
    let homes = placement.homes.iter().zip(&database.partitions).filter_map(|(home, _)| *home);
    let next = self::database(homes);
    let request = Request { database: &next, ..request };
    let again = target(&request).expect("placeable");
    assert_eq!(again.cost.copies + again.cost.promotions, 0);
    next
}

fn main() {
    for (each, partitions) in [(32, 1024), (16, 1000), (8, 100), (32, 777), (31, 1024), (5, 64)] {
        println!("-- {each} + {each} leaves, {partitions} partitions");
        let mut all = leaves(each);
        let first = |mode| initial(&all, mode, partitions).expect("placeable").partitions;
        let homes = |mode| database(first(mode).into_iter().map(|new| new.home));
        let (paired, balanced) = (homes(Mode::Paired), homes(Mode::LoadBalanced));
        let switched = case("paired to load-balanced", &all, &paired, Mode::LoadBalanced);
        case("back to paired", &all, &switched, Mode::Paired);
        case("load-balanced to paired", &all, &balanced, Mode::Paired);
        case("to redundancy 1", &all, &paired, Mode::Single);
        case("nothing to do", &all, &balanced, Mode::LoadBalanced);
        all[1].standing = Standing::Leaving;
        let fewer = case("one leaf leaves", &all, &balanced, Mode::LoadBalanced);
        case("one leaf leaves, paired", &all, &paired, Mode::Paired);
        all[each as usize + 1].standing = Standing::Leaving;
        let fewest = case("another leaves", &all, &fewer, Mode::LoadBalanced);
        let both = case("two leave", &all, &balanced, Mode::LoadBalanced);
        all[1].standing = Standing::Online;
        all[each as usize + 1].standing = Standing::Online;
        case("two come", &all, &fewest, Mode::LoadBalanced);
        case("two come", &all, &both, Mode::LoadBalanced);
        let mut lost = balanced.clone();
        for partition in &mut lost.partitions {
            if partition.master == Some(LeafId(3)) {
                partition.master = partition.copies.keys().copied().find(|leaf| leaf.0 != 3);
            }
            partition.copies.remove(&LeafId(3));
        }
        case("one came back empty", &all, &lost, Mode::LoadBalanced);
        all[2].standing = Standing::Away;
        case("one is away", &all, &lost, Mode::LoadBalanced);
    }
}

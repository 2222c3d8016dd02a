//! How long a plan takes to make, what it costs, and whether that is proven to be the least.
//!
//! Each line: clusters before and after, time on a processor for placement and plan together, the cost, and
//! the bound where it is lower. Each placement is checked, and each is at rest once it is reached.
//!
//! ```text
//! cargo run --release -p resprout-cluster --example placement_speed
//! ```
#![expect(clippy::print_stdout, reason = "it is there to print")]

use resprout_cluster::placement::{Cost, Home, Placement, Request, check, initial, target};
use resprout_cluster::plan::plan;
use resprout_cluster::{
    Address, Copy, Database, Following, Group, Instance, Leaf, LeafId, Mode, Ordinal, Partition,
    Standing,
};

/// Time on a processor, in milliseconds: others on the machine do not count.
fn processor_ms() -> f64 {
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

fn database(homes: impl IntoIterator<Item = Home>) -> Database {
    let copy = |n| Copy {
        instance: Instance(n),
        following: Following::Sync,
        offline: false,
        ..Copy::default()
    };
    let partitions = homes.into_iter().zip(0..).map(|(home, n)| {
        let copies = home.leaves().zip(1..).map(|(leaf, n)| (leaf, copy(n))).collect();
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

/// Worst times by what is placed.
#[derive(Default)]
struct Worst {
    nested_ms: f64,
    load_balanced_ms: f64,
    above_the_bound: u32,
}

impl Worst {
    /// One plan; answers the database as it is when the plan is carried out.
    fn case(&mut self, name: &str, (leaves, before): (&[Leaf], &Database), mode: Mode) -> Database {
        let request = Request { leaves, database: before, mode, full: None, force: false };
        let ask = |database| -> Placement {
            target(&Request { database, ..request }).expect("leaves enough")
        };
        let begin = processor_ms();
        let placement = ask(before);
        let steps = plan(leaves, before, &placement).steps.len();
        let took = processor_ms() - begin;
        assert_eq!(check(leaves, mode, &placement.homes), []);
        let after = database(placement.homes.iter().flatten().copied());
        assert_eq!(ask(&after).cost, Cost::default(), "at rest");
        let worst = match mode {
            Mode::LoadBalanced => &mut self.load_balanced_ms,
            Mode::Single | Mode::Paired => &mut self.nested_ms,
        };
        *worst = worst.max(took);
        let Placement { cost, bound, .. } = placement;
        self.above_the_bound = self.above_the_bound.max(cost.copies - bound.copies);
        let bound = if bound == cost { String::new() } else { format!(" (bound: {bound})") };
        println!("  {name:42} {took:6.1} ms {steps:5} steps: {cost}{bound}");
        after
    }

    fn all_cases(&mut self, each: u64, partitions: u32) {
        println!("{each} + {each} leaves, {partitions} partitions");
        let mut all = leaves(each);
        let first = |mode| initial(&all, mode, partitions).expect("leaves enough").partitions;
        let created = |mode| database(first(mode).into_iter().map(|new| new.home));
        let (paired, balanced) = (created(Mode::Paired), created(Mode::LoadBalanced));
        self.case("pairs, to redundancy 1", (&all, &paired), Mode::Single);
        let switched = self.case("pairs, to load-balanced", (&all, &paired), Mode::LoadBalanced);
        self.case("and back", (&all, &switched), Mode::Paired);
        let (one, two) = (1, each as usize + 1);
        all[one].standing = Standing::Leaving;
        self.case("pairs, a leaf goes", (&all, &paired), Mode::Paired);
        let fewer = self.case("load-balanced, a leaf goes", (&all, &balanced), Mode::LoadBalanced);
        all[two].standing = Standing::Leaving;
        let fewest = self.case("then one of the other group", (&all, &fewer), Mode::LoadBalanced);
        let both = self.case("load-balanced, both go", (&all, &balanced), Mode::LoadBalanced);
        all[one].standing = Standing::Online;
        all[two].standing = Standing::Online;
        self.case("gone one by one, both come", (&all, &fewest), Mode::LoadBalanced);
        self.case("gone together, both come", (&all, &both), Mode::LoadBalanced);
        let lost = without(&balanced, LeafId(3));
        self.case("load-balanced, a leaf came back empty", (&all, &lost), Mode::LoadBalanced);
        all[2].standing = Standing::Away;
        self.case("load-balanced, a leaf is lost", (&all, &lost), Mode::LoadBalanced);
    }
}

/// After a failover: masters of that leaf are where their replicas were.
fn without(database: &Database, lost: LeafId) -> Database {
    let mut database = database.clone();
    for partition in &mut database.partitions {
        partition.copies.remove(&lost);
        if partition.master == Some(lost) {
            partition.master = partition.copies.keys().next().copied();
        }
    }
    database
}

fn main() {
    let mut large = Worst::default();
    large.all_cases(32, 1024);
    println!(
        "64 leaves and 1,024 partitions, worst: {:.1} ms, load-balanced {:.1} ms\n",
        large.nested_ms, large.load_balanced_ms
    );
    let mut others = Worst::default();
    for (each, partitions) in [(32, 777), (31, 1024), (16, 1000), (8, 100), (5, 64)] {
        others.all_cases(each, partitions);
    }
    let above = large.above_the_bound.max(others.above_the_bound);
    println!("copies above the bound, at most: {above}");
}

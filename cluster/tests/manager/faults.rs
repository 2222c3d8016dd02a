//! What goes wrong, from a seed.

use resprout_cluster::execution::{Change, Config};
use resprout_cluster::manager::{Errand, Event, Message};
use resprout_cluster::metadata::Command;
use resprout_cluster::plan::{Asked, One};
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Instance, LeafId, NodeId, Ordinal};

use crate::leaf::LeafBug;
use crate::world::{VOTERS, World};

/// Chances in so many per round; 0 for never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) crash: u64,
    pub(crate) stop: u64,
    pub(crate) pause: u64,
    pub(crate) cut: u64,
    pub(crate) leader: u64,
    pub(crate) loss: u64,
    pub(crate) copy: u64,
    pub(crate) plan: u64,
    /// ALTER DATABASE, to whichever replication it does not have.
    pub(crate) alter: u64,
}

impl Faults {
    /// Different ones for each seed.
    pub(crate) fn of(seed: u64) -> Self {
        let pick = |shift: u32, values: [u64; 4]| values[(seed >> shift) as usize % 4];
        Self {
            crash: pick(0, [500, 200, 2_000, 300]),
            stop: pick(1, [0, 600, 300, 0]),
            pause: pick(2, [400, 0, 200, 0]),
            cut: pick(3, [200, 100, 0, 400]),
            leader: pick(4, [0, 300, 150, 600]),
            loss: pick(5, [0, 20, 5, 0]),
            copy: pick(6, [0, 500, 0, 250]),
            plan: pick(7, [0, 60, 150, 0]),
            alter: 0,
        }
    }
}

impl World {
    /// One round with whatever goes wrong in it.
    pub(crate) fn faulty_step(&mut self, faults: &Faults) {
        self.loss = faults.loss;
        let before = self.show_leaves();
        let leaves: Vec<NodeId> = self.leaves.keys().copied().collect();
        let round = self.round;
        for node in leaves {
            let leaf = self.leaves.get_mut(&node).expect("known");
            if !leaf.up {
                if self.rng.chance(60) {
                    leaf.start(round + self.rng.below(60));
                }
            } else if self.rng.chance(faults.crash) {
                leaf.stop(false);
                // Sometimes it is back before anybody could notice.
                if self.rng.chance(3) {
                    leaf.start(round + self.rng.below(3));
                }
            } else if self.rng.chance(faults.stop) {
                leaf.stop(true);
            } else if self.rng.chance(faults.pause) {
                leaf.paused_until = round + self.rng.below(150);
            }
        }
        let after = self.show_leaves();
        if before != after {
            self.trace(|| format!("leaves {after}"));
        }
        if self.rng.chance(faults.cut) {
            let all = VOTERS + self.leaves.len() as u64;
            let (one, other) = (1 + self.rng.below(all), 1 + self.rng.below(all));
            if one != other {
                self.cut(NodeId(one), NodeId(other));
            }
        }
        if self.rng.chance(40) {
            self.cuts.pop_first();
        }
        if self.rng.chance(faults.leader) {
            let (to, unheard) = (NodeId(1 + self.rng.below(VOTERS)), self.rng.below(120));
            self.change_leader(to, unheard);
        }
        if self.rng.chance(faults.copy) {
            self.copy_somewhere();
        }
        if self.rng.chance(faults.plan) {
            self.ask_for_a_plan();
        }
        if self.rng.chance(faults.alter) {
            self.alter();
        }
        self.checker.quiet_since = self.round + 1;
        self.step();
    }

    /// Somebody wants the other replication, of whoever leads or thinks that it leads; it is on record a little later, or never.
    fn alter(&mut self) {
        let sync = !self.metadata.databases()["db"].map.sync;
        let by = if self.rng.chance(4) { NodeId(1 + self.rng.below(VOTERS)) } else { self.leader };
        for copy in self
            .leaves
            .values_mut()
            .filter(|leaf| leaf.bug == Some(LeafBug::AsyncBeforeRecorded))
            .flat_map(|leaf| leaf.copies.values_mut())
        {
            copy.hurries = !sync;
        }
        self.propose(by, Command::SetReplication { name: "db".to_owned(), sync });
        // Back and forth, before anybody has heard of the first.
        if self.rng.chance(3) {
            self.propose(by, Command::SetReplication { name: "db".to_owned(), sync: !sync });
        }
    }

    /// Somebody asks whoever leads for a plan, or wants none any more.
    fn ask_for_a_plan(&mut self) {
        let database = "db".to_owned();
        let leaf = LeafId(VOTERS + 1 + self.rng.below(self.leaves.len() as u64));
        let partitions = self.metadata.databases()["db"].map.partitions.len() as u64;
        let ordinal = Ordinal(u32::try_from(self.rng.below(partitions)).expect("small"));
        let one = |one| Asked::One { database: "db".to_owned(), ordinal, leaf, one };
        let asked = match self.rng.below(8) {
            0 => return self.aggregator(self.leader, Event::Cancel(database)),
            1 => Asked::Rebalance { database, full: false, force: false },
            2 => Asked::Restore { database },
            3 => Asked::HandOver { database, leaf },
            4 => one(One::Promote),
            5 => match self.orphan(ordinal, leaf) {
                Some(instance) => one(One::Attach { instance }),
                None => return,
            },
            6 => return self.clear_orphans(),
            _ if self.is_alive_unseen(ordinal, leaf) => return,
            _ => one(One::Detach),
        };
        self.ask_for(&asked);
    }

    fn ask_for(&mut self, asked: &Asked) {
        let databases: Vec<_> =
            self.metadata.databases().values().map(|entry| entry.map.clone()).collect();
        let plan = asked.plan(&self.metadata.leaves(), &databases, self.metadata.mode());
        let Ok(plan) = plan else { return };
        let limits = Config { lock_limit_ms: 3_000, master_limit_ms: 3_000, ..Config::default() };
        let config = Config { kill: self.rng.chance(2), ..limits };
        let errand = Errand { number: self.round, plan, config };
        self.aggregator(self.leader, Event::Run(errand));
    }

    /// A copy that is recorded as away while its leaf runs may still serve those who reach it: nobody detaches it here,
    /// since what it goes on to acknowledge is given up with it.
    fn is_alive_unseen(&self, ordinal: Ordinal, leaf: LeafId) -> bool {
        let partition = self.metadata.partition("db", ordinal).expect("it exists");
        let is_away = partition.copies.get(&leaf).is_some_and(|copy| copy.offline);
        is_away && self.leaves[&leaf.into()].up
    }

    /// The orphan of a partition on a leaf that has most.
    fn orphan(&self, ordinal: Ordinal, leaf: LeafId) -> Option<Instance> {
        let recorded = self.metadata.partition("db", ordinal)?.copies.get(&leaf);
        let recorded = recorded.map(|copy| copy.instance);
        let copies = self.leaves[&leaf.into()].copies.iter();
        let orphans =
            copies.filter(|(name, _)| name.ordinal == ordinal && Some(name.instance) != recorded);
        let most = orphans.max_by_key(|(_, copy)| (copy.last_term(), copy.log.len()));
        most.map(|(name, _)| name.instance)
    }

    /// CLEAR ORPHAN DATABASES, by what leaves say now.
    fn clear_orphans(&mut self) {
        let office = self.metadata.office().number;
        let known = self.metadata.applied();
        let mut orders = Vec::new();
        for (node, leaf) in &self.leaves {
            for (name, copy) in &leaf.copies {
                let partition = self.metadata.partition("db", name.ordinal).expect("it exists");
                let recorded = partition.leaf_of(name.instance).is_some();
                let Some(master) = partition.serving() else { continue };
                let on_master = &partition.copies[&master];
                let of_master = CopyName { instance: on_master.instance, ..*name };
                let master = self.leaves[&master.into()].copies.get(&of_master);
                let covers = master.is_some_and(|master| master.log.starts_with(&copy.log));
                if !recorded && covers {
                    orders.push((*node, Message::Remove { office, copy: *name, known }));
                }
            }
        }
        let leader = self.leader;
        for (node, order) in orders {
            self.order(leader, node, order);
        }
    }

    /// An operator looks after what was detached: where nobody serves, the orphan that has most is attached; where copies
    /// are missing, others are made.
    pub(crate) fn look_after_orphans(&mut self) {
        let partitions = &self.metadata.databases()["db"].map.partitions;
        let bereft = partitions.iter().filter(|one| one.master.is_none()).map(|one| one.ordinal);
        for ordinal in bereft.collect::<Vec<_>>() {
            let reach = |(node, leaf): (&NodeId, &crate::leaf::Leaf)| {
                let instance = self.orphan(ordinal, (*node).into()).filter(|_| leaf.up)?;
                let name = CopyName { database: 1, ordinal, instance };
                let copy = leaf.copies.get(&name)?;
                Some(((copy.last_term(), copy.log.len()), *node, instance))
            };
            let Some((_, node, instance)) = self.leaves.iter().filter_map(reach).max() else {
                continue;
            };
            let change = Change::Attach { ordinal, leaf: node.into(), instance };
            self.commit(Command::Execute { database: "db".to_owned(), change });
        }
        self.ask_for(&Asked::Restore { database: "db".to_owned() });
    }

    /// Somebody rebalances: a third copy, wherever.
    fn copy_somewhere(&mut self) {
        let partitions = self.metadata.databases()["db"].map.partitions.len() as u64;
        let ordinal = Ordinal(u32::try_from(self.rng.below(partitions)).expect("small"));
        let leaf = LeafId(VOTERS + 1 + self.rng.below(self.leaves.len() as u64));
        let change = Change::AddCopy { ordinal, leaf };
        self.commit(Command::Execute { database: "db".to_owned(), change });
    }

    fn show_leaves(&self) -> String {
        let show = |(node, leaf): (&NodeId, &crate::leaf::Leaf)| {
            let at = (leaf.up, leaf.run.0, leaf.ready_at, leaf.paused_until);
            format!("{node} {at:?}; ")
        };
        self.leaves.iter().map(show).collect()
    }

    /// Nothing goes wrong any more, and everybody is started.
    pub(crate) fn heal(&mut self) {
        let round = self.round;
        (self.loss, self.checker.quiet_since) = (0, round);
        self.cuts.clear();
        for leaf in self.leaves.values_mut() {
            leaf.paused_until = 0;
            if !leaf.up {
                leaf.start(round + 10);
            }
        }
    }
}

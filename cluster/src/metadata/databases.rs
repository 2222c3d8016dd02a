//! Commands about databases.

use std::collections::BTreeMap;

use resprout_replication::Mode as Replication;

use super::{
    Command, DatabaseEntry, DatabaseState, Happened, Metadata, NewHome, News, Node, NodeState,
    Outcome, Refusal,
};
use crate::{
    Cfg, Copy, Database, Following, Incarnation, Instance, LeafId, NodeId, Ordinal, Partition,
    Reference, Stamp, Term,
};

/// Partitions of one database at most: more than any cluster has use for.
const PARTITIONS_MAX: usize = 1 << 16;

impl DatabaseEntry {
    /// When a commit in a partition is acknowledged.
    #[must_use]
    pub fn replication(&self, ordinal: Ordinal) -> Replication {
        if self.map.is_reference(ordinal) {
            return Replication::Durable;
        }
        // What cannot be together was refused when it was made.
        Replication::new(self.map.sync, self.durable).unwrap_or(Replication::Durable)
    }

    /// Whether commits in a partition wait for disks.
    #[must_use]
    pub fn is_durable(&self, ordinal: Ordinal) -> bool {
        self.durable || self.map.is_reference(ordinal)
    }
}

impl Metadata {
    pub(super) fn carry_out_on_database(
        &mut self,
        command: &Command,
        news: News,
    ) -> Result<Outcome, Refusal> {
        match command {
            Command::CreateDatabase { name, homes, sync, durable, redundancy, reference } => {
                let entry = DatabaseEntry {
                    number: self.next_database,
                    durable: *durable,
                    redundancy: *redundancy,
                    map: Database { sync: *sync, name: name.clone(), ..Database::default() },
                    ..DatabaseEntry::default()
                };
                return self.create_database(entry, (homes, *reference), news);
            }
            Command::DropDatabase { name } => {
                self.databases.remove(name).ok_or_else(|| no_database(name))?;
                self.forget_removed();
            }
            Command::SetReplication { name, sync } => {
                self.set_replication(name, *sync, news)?;
            }
            Command::Opened { name } => self.database_mut(name)?.state = DatabaseState::Open,
            Command::SetSchema { database, version, bytes } => {
                self.database_mut(database)?.schema.replace(*version, bytes)?;
            }
            Command::Aligned { database, ordinal, term } => {
                self.aligned(database, *ordinal, *term)?;
            }
            Command::ForgetLeft { database, copies } => self.forget_left(database, copies)?,
            command => return self.carry_out_on_record(command, news),
        }
        Ok(Outcome::Done)
    }

    pub(super) fn database_mut(&mut self, name: &str) -> Result<&mut DatabaseEntry, Refusal> {
        self.databases.get_mut(name).ok_or_else(|| no_database(name))
    }

    /// ALTER DATABASE … REPLICATION: one version more of every partition, so that whatever was asked for or chosen under the
    /// mode before is void.
    fn set_replication(&mut self, name: &str, sync: bool, news: News) -> Result<(), Refusal> {
        let stamp = self.stamp(news);
        let keeps = planted!(self, KeepSynchronous);
        let entry = self.database_mut(name)?;
        check_modes(sync, entry.durable)?;
        // Said again, as calls are, it changes nothing: nobody falls out of the wait set.
        if entry.map.sync == sync {
            return Ok(());
        }
        entry.map.sync = sync;
        for partition in &mut entry.map.partitions {
            if keeps { partition.decide(stamp) } else { partition.change_mode(stamp) }
        }
        let database = name.to_owned();
        self.tell(news, None, Happened::Replication { database, sync });
        Ok(())
    }

    fn aligned(&mut self, database: &str, ordinal: Ordinal, of: Term) -> Result<(), Refusal> {
        let map = &mut self.database_mut(database)?.map;
        let partition = map.partition_mut(ordinal).ok_or(Refusal::NoPartition { ordinal })?;
        let (term, cfg) = (partition.term, partition.cfg);
        if term != of {
            return Err(Refusal::Changed { term, cfg });
        }
        partition.unaligned = false;
        Ok(())
    }

    fn create_database(
        &mut self,
        mut entry: DatabaseEntry,
        (homes, has_reference): (&[NewHome], bool),
        news: News,
    ) -> Result<Outcome, Refusal> {
        let name = entry.map.name.clone();
        if self.databases.contains_key(&name) {
            return Err(Refusal::DatabaseExists { name });
        }
        check_modes(entry.map.sync, entry.durable)?;
        self.check_homes(homes)?;
        let stamp = self.stamp(news);
        let count = homes.len() as u64;
        let partitions = (0..).zip(homes).map(|(n, home)| new_partition(n, count, home, stamp));
        entry.map.partitions = partitions.collect();
        let replicas = homes.iter().filter(|home| home.replica.is_some()).count() as u64;
        entry.map.next_instance = Instance(1 + count + replicas);
        entry.map.next_term = Term(2 + count);
        let number = entry.number;
        let ordinal = Ordinal(u32::try_from(homes.len()).unwrap_or(u32::MAX));
        entry.map.reference = has_reference.then(|| self.new_reference(number, ordinal, stamp));
        self.next_database += 1;
        self.databases.insert(name, entry);
        Ok(Outcome::Created { database: number })
    }

    /// A copy on each leaf that is there; of several databases the masters are on different ones.
    fn new_reference(&self, database: u32, ordinal: Ordinal, stamp: Stamp) -> Reference {
        let online = |(id, node): (&NodeId, &Node)| {
            (node.is_leaf() && node.state == NodeState::Online).then_some(LeafId::from(*id))
        };
        let leaves: Vec<LeafId> = self.nodes.iter().filter_map(online).collect();
        let master = leaves.get(database as usize % leaves.len().max(1)).copied();
        let mut reference = Reference {
            next_instance: Reference::FIRST_INSTANCE,
            next_term: Term(3),
            ..Reference::default()
        };
        let others = leaves.iter().copied().filter(|leaf| Some(*leaf) != master);
        for leaf in master.into_iter().chain(others) {
            let is_master = Some(leaf) == master;
            let copy = Copy {
                instance: reference.next_instance,
                following: if is_master { Following::Sync } else { Following::Async },
                offline: false,
                incarnation: Incarnation(1),
            };
            reference.next_instance.0 += 1;
            reference.partition.copies.insert(leaf, copy);
        }
        let copies = std::mem::take(&mut reference.partition.copies);
        let (term, cfg) = (Term(2), Cfg(1));
        reference.partition =
            Partition { ordinal, master, term, cfg, stamp, copies, ..Partition::default() };
        reference
    }

    /// Whoever placed them may have seen other leaves.
    fn check_homes(&self, homes: &[NewHome]) -> Result<(), Refusal> {
        if homes.is_empty() || homes.len() > PARTITIONS_MAX {
            let text = format!("a database has 1 to {PARTITIONS_MAX} partitions");
            return Err(Refusal::NotPossible { text });
        }
        let count = homes.iter().filter(|home| home.replica.is_some()).count();
        if count != 0 && count != homes.len() {
            let text = "some partitions have a replica and some have none".to_owned();
            return Err(Refusal::NotPossible { text });
        }
        for home in homes {
            for leaf in [Some(home.master), home.replica].into_iter().flatten() {
                self.check_leaf(leaf, NodeState::Online)?;
            }
            if home.replica == Some(home.master) {
                let text = "master and replica on one leaf".to_owned();
                return Err(Refusal::NotPossible { text });
            }
        }
        Ok(())
    }

    /// Only leaves that are online get copies, or those that are so far already.
    pub(super) fn check_leaf(&self, leaf: LeafId, or: NodeState) -> Result<(), Refusal> {
        let node = NodeId::from(leaf);
        let found = self.nodes.get(&node).ok_or(Refusal::NoNode { node })?;
        if !found.is_leaf() {
            return Err(Refusal::WrongKind { node });
        }
        if found.state != NodeState::Online && found.state != or {
            return Err(Refusal::NodeState { node, state: found.state });
        }
        Ok(())
    }
}

/// Masters first: instances 1 to `count`, terms from 2; then the replicas in the same order.
fn new_partition(n: u32, count: u64, home: &NewHome, stamp: Stamp) -> Partition {
    let copy = |instance, following| Copy {
        instance: Instance(instance),
        following,
        offline: false,
        incarnation: Incarnation(1),
    };
    let mut copies = BTreeMap::from([(home.master, copy(1 + u64::from(n), Following::Sync))]);
    // A replica is published when its master waits for it (rule 7), and never before.
    let replica = copy(1 + count + u64::from(n), Following::Async);
    copies.extend(home.replica.map(|leaf| (leaf, replica)));
    Partition {
        ordinal: Ordinal(n),
        master: Some(home.master),
        term: Term(2 + u64::from(n)),
        cfg: Cfg(1),
        stamp,
        copies,
        ..Partition::default()
    }
}

fn no_database(name: &str) -> Refusal {
    Refusal::NoDatabase { name: name.to_owned() }
}

fn check_modes(sync: bool, durable: bool) -> Result<(), Refusal> {
    Replication::new(sync, durable)
        .map(drop)
        .map_err(|error| Refusal::NotPossible { text: error.to_string() })
}

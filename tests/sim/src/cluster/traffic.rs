//! Clients: each goes by what some aggregator knows, writes where the master is to be, and reads wherever a copy is.

use std::time::Duration;

use resprout_cluster::Ordinal;
use resprout_replication::{Role, State};

use super::mail::Mail;
use super::node::{At, Key};
use super::simulation::{Event, Simulation};
use crate::Violation;
use crate::copy::Waiting;

/// The number of the one database.
const DATABASE: u32 = 1;
/// More writes than that do not wait in one partition.
const WAITING_MAX: usize = 40;

impl Simulation {
    fn any_partition(&mut self) -> Key {
        let ordinal = self.rng.below(u64::from(self.plan.partitions));
        (DATABASE, Ordinal(u32::try_from(ordinal).expect("few")))
    }

    /// A client asks an aggregator to write; that one sends it where it takes the master to be, or anywhere, if it knows an
    /// older map than any.
    pub(super) fn client(&mut self) -> Result<(), Violation> {
        // Without faults copies come in, however perverse their bounds are.
        let is_storm = self.stormy && self.healed.is_none();
        let most = if is_storm { 16_000 } else { 100_000 };
        let wait = self.micros(most) + Duration::from_millis(2);
        self.agenda.after(wait, Event::Client);
        let (key, anywhere) = (self.any_partition(), self.rng.chance(1, 20));
        let aggregator = 1 + self.rng.below(self.plan.first_leaf() - 1);
        let leaf = self.any_leaf();
        let node = self.node(aggregator);
        let Some(metadata) = node.metadata().filter(|_| !node.paused) else { return Ok(()) };
        let entry = metadata.database_of(key.0);
        let partition = entry.and_then(|entry| entry.map.partition(key.1));
        let master = partition.and_then(|partition| partition.serving()).map(|leaf| leaf.0);
        // Nobody serves: error 1777.
        let to = if anywhere { Some(leaf) } else { master };
        let Some(to) = to else { return Ok(()) };
        let count = if self.rng.chance(1, 5) { 1 + self.rng.below(4) } else { 1 };
        let values: Vec<u64> = (self.next_value..self.next_value + count).collect();
        self.next_value += count;
        self.send(aggregator, to, Mail::Write(key, values))
    }

    pub(super) fn write_arrives(
        &mut self,
        id: u64,
        key: Key,
        values: &[u64],
    ) -> Result<(), Violation> {
        let stands_still = self.node(id).leaf().is_some_and(|leaf| leaf.locks.of(key).is_some());
        let serving = self.online(id, key).zip(self.node(id).driven(key));
        let Some((term, driven)) = serving
            .filter(|(_, driven)| !stands_still && driven.process.waiting.len() < WAITING_MAX)
        else {
            let promises = self.checks.promises(key);
            values.iter().for_each(|value| promises.refuse(*value));
            return Ok(());
        };
        let at = At { node: id, key, serial: driven.serial };
        self.checks.promises(key).group(values);
        let process = self.copy(at);
        let Role::Master(master) = process.copy.role() else { unreachable!("online") };
        let frames = process.log.group(term, values, master.committed());
        let end = frames.last().expect("one at least").header.end();
        process.waiting.extend(values.iter().map(|value| Waiting { value: *value, term, end }));
        self.says(id, || format!("? {} writes {values:?} up to {end}", key.1));
        self.hold_partition(id, key);
        self.append_own(at, frames)
    }

    /// Now and then a transaction that has written goes on for long.
    fn hold_partition(&mut self, id: u64, key: Key) {
        let holds = self.plan.asks.is_some_and(|asks| asks.holds) && self.healed.is_none();
        if !holds || !self.rng.chance(1, 40) {
            return;
        }
        let until = self.agenda.now() + self.micros(2_500_000);
        if let Some(leaf) = self.node_mut(id).leaf_mut() {
            leaf.holds.insert(key, until);
            self.coverage.note("a long transaction");
        }
    }

    /// A reader reads somewhere, and logs are given up if the plan says so.
    pub(super) fn reader(&mut self) -> Result<(), Violation> {
        let wait = self.micros(16_000) + Duration::from_millis(4);
        self.agenda.after(wait, Event::Reader);
        let (key, id) = (self.any_partition(), self.any_leaf());
        if self.node(id).paused {
            return Ok(());
        }
        if self.plan.trims && self.rng.chance(1, 4) {
            self.trim(id, key)?;
        }
        let now = self.agenda.now();
        let lease = self.plan.copies().timing.lease;
        let Some(driven) = self.node(id).driven(key) else { return Ok(()) };
        let process = &driven.process;
        let stale = match (process.copy.role(), process.state) {
            (Role::Master(master), State::Online(_)) => {
                if master.lease().is_none_or(|until| until < now + process.ahead) {
                    self.coverage.note("no lease");
                    return Ok(());
                }
                Some(now.saturating_sub(lease))
            }
            (Role::Replica(_), State::Replicating) => None,
            _ => return Ok(()),
        };
        let rows = process.rows();
        if !process.copy.mode().is_sync() || !self.checks.is_sync() {
            // What was not waited for may be gone after a failover, and nothing says that it was seen.
            self.coverage.note("read where nobody is waited for");
            return Ok(());
        }
        self.coverage.note(if stale.is_some() { "read at a master" } else { "read at a replica" });
        self.checks.promises(key).read(&rows, stale)
    }

    /// A snapshot lets the log before it go, unless a root is held for somebody.
    fn trim(&mut self, id: u64, key: Key) -> Result<(), Violation> {
        let Some((driven, disk)) = self.node_mut(id).copy_mut(key) else { return Ok(()) };
        let (serial, process) = (driven.serial, &mut driven.process);
        let Role::Master(master) = process.copy.role() else { return Ok(()) };
        let to = process.visible.min(master.needed_from());
        let is_idle = process.queue.is_empty() && process.held.is_empty();
        let is_master = matches!(process.state, State::Online(_));
        let is_some = to > process.log.first() && process.log.chain_at(to).is_some();
        if !is_idle || !is_master || !is_some {
            return Ok(());
        }
        process.log.trim(to);
        disk.log.trim(to);
        self.coverage.note("trimmed");
        let at = At { node: id, key, serial };
        self.step_copy(at, resprout_replication::Event::Trimmed(to))
    }
}

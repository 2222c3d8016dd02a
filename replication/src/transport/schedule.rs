//! What waits for one peer, and what goes next.
//!
//! Every partition is a *flow*: its messages keep their order. A flow with a small backlog goes
//! first, so what is small (an acknowledgement, a sign of life, one commit) waits for no other
//! partition's pages. Flows with a long backlog take turns by bytes; each batch has room for them,
//! so that they are not starved either.
//!
//! Bytes are bounded together. A flow with a long backlog may have no more than what is free: so one
//! flow alone fills less than half, several share, and there is always room for another flow's
//! beginning. The last eighth is for small backlogs only.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::batch::Batch;
use crate::Partition;

/// A backlog up to this is small.
const SMALL_BYTES: usize = 16 << 10;
/// So much of a batch is for small backlogs, if there are others.
const SMALL_SHARE_BYTES: usize = 64 << 10;
/// About so much goes in one batch: what comes behind it waits for no more.
const BATCH_BYTES: usize = 256 << 10;
/// A flow's turn. Several fit into a batch.
const TURN_BYTES: usize = 64 << 10;
/// What a message takes beside its bytes, so that their number is bounded too.
const OVERHEAD_BYTES: usize = 256;

/// A message as pieces.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) partition: Partition,
    pub(super) parts: Vec<Bytes>,
    pub(super) bytes: usize,
}

impl Encoded {
    fn cost(&self) -> usize {
        self.bytes + OVERHEAD_BYTES
    }
}

#[derive(Debug, Default)]
struct Flow {
    messages: VecDeque<Encoded>,
    /// Cost of all of them.
    bytes: usize,
    /// What it may send of a message longer than its turn.
    saved: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    flows: HashMap<Partition, Flow>,
    /// Each flow is in one of the two.
    small: VecDeque<Partition>,
    large: VecDeque<Partition>,
    messages: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Schedule {
    pub(super) fn new(bytes_max: usize) -> Self {
        let (small, large) = Default::default();
        Self { flows: HashMap::new(), small, large, messages: 0, bytes: 0, bytes_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// About the bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message if there is room; whether there was.
    #[must_use]
    pub(super) fn push(&mut self, message: Encoded) -> bool {
        let (cost, partition) = (message.cost(), message.partition);
        let behind = self.flows.get(&partition).map_or(0, |flow| flow.bytes);
        if !self.has_room(behind + cost, cost) {
            return false;
        }
        let flow = self.flows.entry(partition).or_default();
        if flow.messages.is_empty() {
            self.small.push_back(partition);
        }
        flow.bytes += cost;
        flow.messages.push_back(message);
        self.bytes += cost;
        self.messages += 1;
        true
    }

    fn has_room(&self, backlog: usize, cost: usize) -> bool {
        let free = self.bytes_max.saturating_sub(self.bytes);
        if backlog <= SMALL_BYTES {
            return cost <= free;
        }
        backlog <= free.saturating_sub(self.bytes_max / 8)
    }

    /// Puts about one batch of what goes next behind what is there; how many messages.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> u64 {
        let before = self.messages;
        self.fill_small(batch);
        while batch.bytes() < BATCH_BYTES && self.take_turn(batch) {}
        (before - self.messages) as u64
    }

    fn fill_small(&mut self, batch: &mut Batch) {
        for _ in 0..self.small.len() {
            if batch.bytes() >= SMALL_SHARE_BYTES && !self.large.is_empty() {
                return;
            }
            let Some(partition) = self.small.pop_front() else { return };
            let Some(flow) = self.flows.get(&partition) else { continue };
            if flow.bytes > SMALL_BYTES {
                self.large.push_back(partition);
                continue;
            }
            self.send(partition, usize::MAX, batch);
        }
    }

    /// One turn of a flow with a long backlog; whether there is one.
    fn take_turn(&mut self, batch: &mut Batch) -> bool {
        let Some(partition) = self.large.pop_front() else { return false };
        if let Some(flow) = self.flows.get_mut(&partition) {
            let allowed = flow.saved + TURN_BYTES;
            self.send(partition, allowed, batch);
        }
        true
    }

    /// Sends messages of a flow for so many bytes, and queues it again if some are left.
    fn send(&mut self, partition: Partition, mut allowed: usize, batch: &mut Batch) {
        let Some(flow) = self.flows.get_mut(&partition) else { return };
        while let Some(message) = flow.messages.front().filter(|next| next.cost() <= allowed) {
            allowed -= message.cost();
            flow.bytes -= message.cost();
            self.bytes -= message.cost();
            self.messages -= 1;
            batch.push(flow.messages.pop_front().map(|message| message.parts).unwrap_or_default());
        }
        if flow.messages.is_empty() {
            self.flows.remove(&partition);
            return;
        }
        flow.saved = allowed;
        let is_small = flow.bytes <= SMALL_BYTES;
        if is_small { &mut self.small } else { &mut self.large }.push_back(partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(ordinal: u32, bytes: usize) -> Encoded {
        let partition = Partition { ordinal, ..Partition::default() };
        let mut content = vec![0; bytes];
        content[..4].copy_from_slice(&ordinal.to_le_bytes());
        Encoded { partition, parts: vec![Bytes::from(content)], bytes }
    }

    /// The bytes that go next.
    fn next_batch(schedule: &mut Schedule) -> Vec<u8> {
        let mut batch = Batch::default();
        schedule.fill(&mut batch);
        let mut out = Vec::new();
        let write = |slices: &[std::io::IoSlice<'_>]| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        };
        batch.write(write).unwrap();
        out
    }

    /// Promise: pages of any number of partitions do not delay what is small of another: it is at
    /// the head of the next batch.
    #[test]
    fn bulk_does_not_starve_acks() {
        let mut schedule = Schedule::new(256 << 20);
        for ordinal in (0..20).cycle().take(100) {
            assert!(schedule.push(message(ordinal, 1 << 20)));
        }
        next_batch(&mut schedule);
        assert!(schedule.push(message(77, 100)));
        assert_eq!(next_batch(&mut schedule)[..4], 77_u32.to_le_bytes());
    }

    /// Promise: nor does what is small hold up bulk, however much of it there is.
    #[test]
    fn acks_do_not_starve_bulk() {
        let mut schedule = Schedule::new(256 << 20);
        for _ in 0..200 {
            assert!(schedule.push(message(1, 10_000)));
        }
        next_batch(&mut schedule);
        for ordinal in 100..10_000 {
            assert!(schedule.push(message(ordinal, 100)));
        }
        let batch = next_batch(&mut schedule).len();
        assert!(batch > 2 * SMALL_SHARE_BYTES, "{batch} bytes, of which most are bulk");
        assert!(schedule.messages() > 9_000, "most of what is small still waits");
    }

    /// Promise: flows with much to say take turns by bytes, however long their messages are.
    #[test]
    fn long_backlogs_take_turns_by_bytes() {
        let mut schedule = Schedule::new(256 << 20);
        for _ in 0..10 {
            assert!(schedule.push(message(1, 1 << 20)));
        }
        for _ in 0..1_000 {
            assert!(schedule.push(message(2, 10_000)));
        }
        let mut bytes_of = [0; 3];
        while bytes_of[1] < 5 << 20 {
            let out = next_batch(&mut schedule);
            let mut rest = &out[..];
            while let Some(ordinal) = rest.first() {
                let taken = if *ordinal == 1 { 1 << 20 } else { 10_000 };
                bytes_of[usize::from(*ordinal)] += taken;
                rest = &rest[taken..];
            }
        }
        let difference = bytes_of[1].abs_diff(bytes_of[2]);
        assert!(difference < 2 << 20, "{bytes_of:?}");
    }

    /// Promise: messages of a partition keep their order, whatever their sizes.
    #[test]
    fn the_order_of_a_partition_is_kept() {
        let mut schedule = Schedule::new(64 << 20);
        let mut rng = resprout_wal::world::Rng::new(7);
        let mut next = [0_u32; 5];
        let mut seen = [0_u32; 5];
        for _ in 0..3_000 {
            let place = rng.below(5) as usize;
            let mut one = message(place as u32, 8 + rng.below(40_000) as usize);
            let mut content = one.parts.concat();
            content[4..8].copy_from_slice(&next[place].to_le_bytes());
            one.parts = vec![Bytes::from(content)];
            next[place] += u32::from(schedule.push(one));
            if rng.below(4) == 0 {
                let mut batch = Batch::default();
                schedule.fill(&mut batch);
                let write = |slices: &[std::io::IoSlice<'_>]| {
                    for slice in slices {
                        let place = usize::from(slice[0]);
                        assert_eq!(slice[4..8], seen[place].to_le_bytes());
                        seen[place] += 1;
                    }
                    Ok(slices.iter().map(|slice| slice.len()).sum())
                };
                batch.write(write).unwrap();
            }
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }

    /// Promise: one flow fills less than half; others have their share; small ones come in when no
    /// other does; and the bound holds.
    #[test]
    fn n12_what_waits_is_bounded_and_shared() {
        let mut schedule = Schedule::new(1 << 20);
        let fill = |schedule: &mut Schedule, ordinal| {
            (0..10_000).take_while(|_| schedule.push(message(ordinal, 4_000))).count() * 4_256
        };
        let first = fill(&mut schedule, 1);
        assert!(first < 1 << 19 && first > 400_000, "{first}");
        let second = fill(&mut schedule, 2);
        assert!(second > first / 3, "{second} beside {first}");
        for ordinal in 3..100 {
            fill(&mut schedule, ordinal);
        }
        assert!(schedule.bytes() <= 1 << 20);
        let mut schedule = Schedule::new(1 << 20);
        for ordinal in 1..20 {
            while schedule.push(message(ordinal, 50_000)) {}
        }
        let small = (100..10_000).take_while(|ordinal| schedule.push(message(*ordinal, 100)));
        assert!(small.count() > 300, "the last eighth is for them");
        assert!(schedule.bytes() <= 1 << 20);
    }
}

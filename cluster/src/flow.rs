//! Minimum-cost flow: the one calculation behind every placement.
//!
//! A network is nodes and arcs with a capacity and a cost for each unit. [`Network::solve`] sends units
//! from a source to a sink at the least total cost; what it finds is integral and optimal.
//!
//! The method is the primal-dual one: each round finds the distances in the residual network (with
//! potentials, so that no cost is negative), then sends as much as fits along shortest paths. Costs here
//! have few different values (a copy, a promotion, a bound that is met), so there are few rounds however
//! many units there are. Sending unit by unit would be simpler, and takes a round for each partition.
//!
//! Everything is visited in the order in which it was added: equal inputs give equal flows.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Farther than any path.
const UNREACHED: i64 = i64::MAX / 4;

/// A place in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node(usize);

/// An arc, to ask afterwards how much it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arc(usize);

/// How much to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// So many units, or as many as fit.
    Units(u32),
    /// As long as a further unit lowers the cost.
    Profitable,
}

/// One direction of an arc.
#[derive(Clone, Copy, Debug)]
struct Half {
    cost: i64,
    head: u32,
    free: u32,
}

/// Arcs lie in pairs: `2k` as it was added, `2k + 1` what can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Network {
    halves: Vec<Half>,
    leaving: Vec<Vec<usize>>,
    potential: Vec<i64>,
}

impl Network {
    /// A new node.
    pub(crate) fn node(&mut self) -> Node {
        self.leaving.push(Vec::new());
        Node(self.leaving.len() - 1)
    }

    /// New nodes.
    pub(crate) fn nodes(&mut self, count: usize) -> Vec<Node> {
        (0..count).map(|_| self.node()).collect()
    }

    /// An arc for so many units, each at that cost.
    pub(crate) fn arc(&mut self, from: Node, to: Node, capacity: u32, cost: i64) -> Arc {
        let arc = self.halves.len();
        self.leaving[from.0].push(arc);
        self.leaving[to.0].push(arc + 1);
        let half = |cost, head: Node, free| Half {
            cost,
            head: u32::try_from(head.0).expect("nodes are counted in 32 bits"),
            free,
        };
        self.halves.extend([half(cost, to, capacity), half(-cost, from, 0)]);
        Arc(arc)
    }

    /// Units that an arc carries.
    pub(crate) fn carried(&self, arc: Arc) -> u32 {
        self.halves[arc.0 + 1].free
    }

    /// Sends from source to sink; the units sent and their cost. No cycle may have a negative cost, and no path one
    /// beyond 2^60.
    pub(crate) fn solve(&mut self, source: Node, sink: Node, amount: Amount) -> (u32, i128) {
        let mut left = if let Amount::Units(units) = amount { units } else { u32::MAX };
        let (mut sent, mut total) = (0, 0);
        self.first_potentials(source);
        while left > 0 && self.advance_potentials(source, sink) {
            let distance = self.potential[sink.0] - self.potential[source.0];
            if amount == Amount::Profitable && distance >= 0 {
                break;
            }
            let units = self.send_shortest(source, sink, left);
            debug_assert!(units > 0, "a path was found");
            left -= units;
            sent += units;
            total += i128::from(units) * i128::from(distance);
        }
        (sent, total)
    }

    /// Distances with the costs as they are: they may be negative.
    fn first_potentials(&mut self, source: Node) {
        let mut distance = vec![UNREACHED; self.leaving.len()];
        let mut waiting = vec![false; distance.len()];
        let mut queue = VecDeque::from([source.0]);
        distance[source.0] = 0;
        while let Some(node) = queue.pop_front() {
            waiting[node] = false;
            for &arc in &self.leaving[node] {
                let Half { cost, free, .. } = self.halves[arc];
                let (head, next) = (self.head(arc), distance[node] + cost);
                if free > 0 && next < distance[head] {
                    distance[head] = next;
                    if !waiting[head] {
                        waiting[head] = true;
                        queue.push_back(head);
                    }
                }
            }
        }
        // Nobody comes by what cannot be reached, now or later.
        self.potential = distance;
    }

    /// Dijkstra over reduced costs, as far as the sink; false if it cannot be reached.
    fn advance_potentials(&mut self, source: Node, sink: Node) -> bool {
        let mut distance = vec![UNREACHED; self.leaving.len()];
        let mut heap = BinaryHeap::from([Reverse((0, source.0))]);
        distance[source.0] = 0;
        let mut limit = UNREACHED;
        while let Some(Reverse((near, node))) = heap.pop() {
            if near > distance[node] {
                continue;
            }
            if node == sink.0 {
                limit = near;
                break;
            }
            for &arc in &self.leaving[node] {
                let head = self.head(arc);
                if self.halves[arc].free > 0 {
                    let next = near + self.reduced(node, arc);
                    if next < distance[head] {
                        distance[head] = next;
                        heap.push(Reverse((next, head)));
                    }
                }
            }
        }
        for (potential, distance) in self.potential.iter_mut().zip(&distance) {
            if *potential < UNREACHED && limit < UNREACHED {
                *potential += (*distance).min(limit);
            }
        }
        limit < UNREACHED
    }

    fn reduced(&self, tail: usize, arc: usize) -> i64 {
        self.halves[arc].cost + self.potential[tail] - self.potential[self.head(arc)]
    }

    fn head(&self, arc: usize) -> usize {
        self.halves[arc].head as usize
    }

    /// Sends along arcs of reduced cost zero until no path is left, shortest paths (in arcs) first.
    fn send_shortest(&mut self, source: Node, sink: Node, limit: u32) -> u32 {
        let mut sent = 0;
        while sent < limit {
            let level = self.levels(source, sink);
            if level[sink.0] == usize::MAX {
                break;
            }
            let mut tried = vec![0; level.len()];
            while sent < limit {
                let units = self.one_path((source.0, sink.0), limit - sent, &level, &mut tried);
                if units == 0 {
                    break;
                }
                sent += units;
            }
        }
        sent
    }

    /// Arcs from the source to each node along arcs of reduced cost zero; nodes behind the sink are of no use.
    fn levels(&self, source: Node, sink: Node) -> Vec<usize> {
        let mut level = vec![usize::MAX; self.leaving.len()];
        let mut queue = VecDeque::from([source.0]);
        level[source.0] = 0;
        while let Some(node) = queue.pop_front() {
            for &arc in &self.leaving[node] {
                let head = self.head(arc);
                let open = self.halves[arc].free > 0 && level[head] == usize::MAX;
                if open && self.reduced(node, arc) == 0 {
                    level[head] = level[node] + 1;
                    if head == sink.0 {
                        return level;
                    }
                    queue.push_back(head);
                }
            }
        }
        level
    }

    /// One path from level to level; `tried` counts the arcs of each node that lead nowhere.
    fn one_path(
        &mut self,
        (source, sink): (usize, usize),
        limit: u32,
        level: &[usize],
        tried: &mut [usize],
    ) -> u32 {
        let mut path: Vec<usize> = Vec::new();
        let mut node = source;
        while node != sink {
            let Some(&arc) = self.leaving[node].get(tried[node]) else {
                let Some(back) = path.pop() else { return 0 };
                node = self.head(back ^ 1);
                tried[node] += 1;
                continue;
            };
            let head = self.head(arc);
            let leads_on =
                self.halves[arc].free > 0 && level[head] == level[node].saturating_add(1);
            if leads_on && self.reduced(node, arc) == 0 {
                path.push(arc);
                node = head;
            } else {
                tried[node] += 1;
            }
        }
        let units = path.iter().fold(limit, |least, arc| least.min(self.halves[*arc].free));
        for arc in path {
            self.halves[arc].free -= units;
            self.halves[arc ^ 1].free += units;
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small numbers that are the same everywhere.
    fn draw(state: &mut u64, below: u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    /// The least cost of giving each row a column of its own, by trying all.
    fn obvious(costs: &[Vec<i64>], taken: &mut Vec<usize>) -> i64 {
        let row = taken.len();
        if row == costs.len() {
            return 0;
        }
        let mut least = UNREACHED;
        for column in 0..costs.len() {
            if !taken.contains(&column) {
                taken.push(column);
                least = least.min(costs[row][column] + obvious(costs, taken));
                taken.pop();
            }
        }
        least
    }

    /// Promise: the flow is as cheap as any, with negative costs too, and conserves what it sends.
    #[test]
    fn assignments_cost_the_least() {
        let mut state = 1;
        for _ in 0..300 {
            let size = 1 + draw(&mut state, 6) as usize;
            let costs: Vec<Vec<i64>> = (0..size)
                .map(|_| (0..size).map(|_| draw(&mut state, 9) as i64 - 4).collect())
                .collect();
            let mut network = Network::default();
            let (source, sink) = (network.node(), network.node());
            let (rows, columns) = (network.nodes(size), network.nodes(size));
            let mut arcs = Vec::new();
            for row in 0..size {
                network.arc(source, rows[row], 1, 0);
                network.arc(columns[row], sink, 1, 0);
                for column in 0..size {
                    let cost = costs[row][column];
                    arcs.push((network.arc(rows[row], columns[column], 1, cost), row, cost));
                }
            }
            let (sent, cost) = network.solve(source, sink, Amount::Units(100));
            assert_eq!(sent as usize, size);
            assert_eq!(cost, i128::from(obvious(&costs, &mut Vec::new())));
            let used: Vec<_> = arcs.iter().filter(|(arc, ..)| network.carried(*arc) == 1).collect();
            let together: i64 = used.iter().map(|(_, _, cost)| cost).sum();
            assert_eq!(cost, i128::from(together));
            assert!((0..size).all(|row| used.iter().filter(|(_, of, _)| *of == row).count() == 1));
        }
    }

    /// Promise: if it may stop, it stops where a further unit would not lower the cost.
    #[test]
    fn profitable_flow_stops_in_time() {
        let mut network = Network::default();
        let (source, sink) = (network.node(), network.node());
        let arcs =
            [(5, -2), (5, 0), (5, 3)].map(|(units, cost)| network.arc(source, sink, units, cost));
        assert_eq!(network.solve(source, sink, Amount::Profitable), (5, -10));
        assert_eq!(arcs.map(|arc| network.carried(arc)), [5, 0, 0]);
    }

    /// Promise: a unit is sent another way if that makes room for a cheaper one.
    #[test]
    fn what_was_sent_can_be_taken_back() {
        let mut network = Network::default();
        let [source, a, b, sink] = [(); 4].map(|()| network.node());
        network.arc(source, a, 1, 1);
        network.arc(source, b, 1, 4);
        network.arc(a, b, 1, 1);
        network.arc(a, sink, 1, 5);
        network.arc(b, sink, 1, 1);
        assert_eq!(network.solve(source, sink, Amount::Units(2)), (2, 11));
    }
}

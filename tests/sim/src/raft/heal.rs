//! After the storm: nothing fails any more, and the cluster must be well again in time.

use std::time::Duration;

use resprout_consensus::{NodeId, Role};

use super::node::{Asker, Input};
use super::simulation::{Event, Simulation};
use crate::network::Weather;
use crate::{Violation, hold};

/// Election timeouts until a proposal that is made after the storm is acknowledged. One passes until
/// the last leader is given up, up to two more until somebody stands, as many again for one who woke
/// late, and all of it on a clock that is a fifth too slow; the rest is for votes that are split.
/// Beside it, one `installing`: a majority may need a member that lags.
pub const SERVED_WITHIN: u32 = 12;

/// Election timeouts until all healthy members are equal. Beside it, two `installing`:
/// clients write until the cluster has served them, and what they write may replace the snapshot
/// that a member was getting.
pub const EQUAL_WITHIN: u32 = 40;

impl Simulation {
    /// The storm is over.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        self.healed = Some(now);
        self.trace.line(now, 0, || "~ healed");
        let slowest = self.plan.election / 200;
        let delay = (slowest / 10, slowest);
        let late_by = Duration::ZERO;
        self.network.set_weather(Weather { loss: 0, double: 0, delay, late: 0, late_by });
        (self.plan.flush, self.plan.apply_lag) = ((slowest / 10, slowest), slowest);
        self.plan.gather = slowest;
        self.network.mend_all();
        for (from, to) in self.network.clogged() {
            self.release(from, to);
        }
        for id in 1..=self.plan.nodes() {
            let node = self.node_mut(id);
            if node.store.mend() {
                self.crash(id);
            }
            let node = self.node_mut(id);
            node.disk_slowness = 1;
            node.stopped = node.stopped.min(1);
            let (run, pending) = (node.run(), node.ledger.newest_pending());
            if let Some(upto) = pending.filter(|_| node.process.is_some()) {
                // A flush that a slow disk began may take longer than the whole bound.
                let input = Input::Flushed(upto);
                self.agenda.after(slowest, Event::Input { node: id, run: Some(run), input });
            }
            self.resume(id, run)?;
            self.start(id)?;
        }
        for client in 0..self.clients.len() {
            let one = &mut self.clients[client];
            one.give_up();
            one.finished = 0;
            one.attempt += 1;
            let attempt = one.attempt;
            self.agenda.after(Duration::ZERO, Event::Wake(Asker { client, attempt }));
        }
        self.agenda.after(Duration::ZERO, Event::Poll);
        Ok(())
    }

    /// Looks whether the cluster is well.
    pub(super) fn poll(&mut self) -> Result<(), Violation> {
        let since = self.agenda.now().saturating_sub(self.healed.unwrap_or_default());
        let election = self.plan.election;
        let installing = self.installing();
        let served_within = election * SERVED_WITHIN + installing;
        hold(
            self.served.is_some() || since <= served_within,
            "a healed cluster takes a proposal in time",
            || format!("none after {since:?}, {}", self.roles()),
        )?;
        self.quiet = self.quiet || since > served_within;
        let finished = self.clients.iter().all(|client| client.operation.is_none());
        if self.served.is_some() && finished && self.differing().is_empty() {
            self.done = true;
            return Ok(());
        }
        hold(
            since <= election * EQUAL_WITHIN + installing * 2,
            "the members of a healed cluster become equal in time",
            || format!("{:?} are not after {since:?}, {}", self.differing(), self.roles()),
        )?;
        self.restart_refused()?;
        self.agenda.after(election / 2, Event::Poll);
        Ok(())
    }

    /// How long a member takes at most to get the state. Pieces overtake one another, as the healed
    /// network still delays each message for itself; the one that was wanted first is asked for with
    /// the next sign of life, so every one of them brings at least one piece.
    fn installing(&self) -> Duration {
        let bytes = self.promises.committed.machine().encode().len();
        let pieces = bytes.div_ceil(self.plan.limits.snapshot_piece_bytes);
        let sign_of_life = self.config.timing.heartbeat();
        sign_of_life * u32::try_from(pieces).unwrap_or(u32::MAX)
    }

    /// A healthy member may have been refused while it was none. Its operator starts it again.
    fn restart_refused(&mut self) -> Result<(), Violation> {
        for id in self.members() {
            let ended = self.nodes[&id]
                .process
                .as_ref()
                .is_some_and(|process| matches!(process.raft.status().state.role, Role::Ended(_)));
            if ended {
                self.coverage.note("operator: refused member started again");
                self.crash(id);
                self.start(id)?;
            }
        }
        Ok(())
    }

    /// The healthy members, by what is committed.
    fn members(&self) -> Vec<u64> {
        let Some(membership) = self.promises.committed.membership() else { return Vec::new() };
        let members = membership.members.iter();
        let healthy = members.filter(|(node, member)| self.nodes[&node.0].is_healthy(member.store));
        healthy.map(|(NodeId(node), _)| *node).collect()
    }

    /// Those that have not applied everything.
    fn differing(&self) -> Vec<u64> {
        let whole = self.promises.committed.machine();
        let is_equal = |id: &u64| {
            self.nodes[id].process.as_ref().is_some_and(|process| process.machine == *whole)
        };
        self.members().into_iter().filter(|id| !is_equal(id)).collect()
    }

    fn roles(&self) -> String {
        let role = |(id, node): (&u64, &super::node::Node)| {
            let status = node.process.as_ref().map(|process| process.raft.status())?;
            let (role, term) = (status.state.role, status.state.term);
            Some(format!("n{id} {role:?} t{term} last {}", status.last))
        };
        self.nodes.iter().filter_map(role).collect::<Vec<_>>().join(", ")
    }
}

//! After the storm: in the lull one leaf stays away and nothing else is wrong; then nothing is.

use std::time::Duration;

use super::plan::CALM;
use super::simulation::{Event, Simulation};
use crate::{Violation, hold};

/// Without other faults, a partition that has a copy which may be master has one that serves within this time. An office
/// that begins, after an election of consensus that was split once, finds out who is there, fences, hears reports and decides; a
/// leaf that came back waits for others before.
pub const BEREFT_WITHIN: Duration = Duration::from_secs(6);

/// Without faults, all is well within this time.
pub const HEALED_WITHIN: Duration = Duration::from_secs(15);

/// And whatever people ask for to put it in order is done by then, too.
pub(super) const ORDERED_WITHIN: Duration = Duration::from_secs(40);

/// How long the lull lasts at most.
const LULL: Duration = Duration::from_secs(7);

const POLL_EVERY: Duration = Duration::from_millis(40);

impl Simulation {
    /// Whether a node is not to be started now.
    pub(super) fn stays_away(&self, id: u64) -> bool {
        self.healed.is_none() && self.lull.is_some_and(|(_, away)| away == id)
    }

    /// Nothing is wrong from now on with anything that runs.
    fn calm(&mut self) -> Result<(), Violation> {
        self.network.set_weather(CALM);
        self.network.mend_all();
        for (from, to) in self.network.clogged() {
            self.release(from, to);
        }
        for id in 1..=self.plan.nodes() {
            self.resume(id);
            self.fast(id);
            if !self.stays_away(id) {
                self.start(id)?;
            }
        }
        self.checks.quiet_since(self.agenda.now());
        Ok(())
    }

    pub(super) fn begin_lull(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        if self.wiped {
            // Another loss could take the last copy that has everything.
            return self.heal();
        }
        let away = self.any_leaf();
        self.says(0, || format!("~ a lull without n{away}"));
        self.coverage.note("lull");
        self.lull = Some((now, away));
        self.crash(away);
        self.calm()?;
        self.agenda.after(POLL_EVERY, Event::Poll);
        self.agenda.after(LULL, Event::Heal);
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        if self.healed.is_some() {
            return Ok(());
        }
        self.says(0, || "~ the storm is over");
        self.healed = Some(self.agenda.now());
        self.calm()?;
        if self.lull.is_none() {
            self.agenda.after(POLL_EVERY, Event::Poll);
        }
        Ok(())
    }

    /// Whether all is well, or will be in time.
    pub(super) fn poll(&mut self) -> Result<(), Violation> {
        let now = self.agenda.now();
        let all_served = self.check_bereft()?;
        let Some(healed) = self.healed else {
            self.agenda.after(POLL_EVERY, Event::Poll);
            let since = self.lull.map_or(now, |(since, _)| since);
            if all_served && now - since > Duration::from_secs(1) {
                self.coverage.note("all was served in a lull");
                return self.heal();
            }
            return Ok(());
        };
        if self.operator_is_done() && self.is_whole(healed) {
            self.says(0, || "~ whole");
            self.coverage.note("healed");
            self.done = true;
            return self.finish();
        }
        let within = if self.plan.asks.is_some() { ORDERED_WITHIN } else { HEALED_WITHIN };
        hold(now - healed < within, "a cluster without faults heals in time", || self.show())?;
        self.agenda.after(POLL_EVERY, Event::Poll);
        Ok(())
    }
}

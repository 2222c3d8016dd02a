//! What must be true after every step, one checker per promise.
//!
//! *Outcomes* are what somebody outside could suffer from: [`elections`], [`names`], [`committed`],
//! [`history`]. *[`rules`]* are how they are prevented; they see a bug without the bad luck that it
//! needs to do harm.

pub mod committed;
pub mod elections;
pub mod history;
pub mod names;
pub mod rules;

use std::collections::BTreeMap;

use resprout_consensus::{Envelope, Output, Role, Status};

use super::ledger::Ledger;
use super::node::Node;
use crate::{Violation, hold};

/// All checkers.
#[derive(Debug)]
pub struct Promises {
    /// Terms, votes, leaders.
    pub elections: elections::Elections,
    /// Log matching.
    pub names: names::Names,
    /// The log that all agree on.
    pub committed: committed::Committed,
    /// What clients saw.
    pub history: history::History,
    /// Whether [`rules`] do not count.
    pub outcomes_only: bool,
}

impl Promises {
    /// Nothing has happened yet; machines remember so many proposals.
    #[must_use]
    pub fn new(outcomes_only: bool, window: usize) -> Self {
        Self {
            elections: elections::Elections::default(),
            names: names::Names::default(),
            committed: committed::Committed::new(window),
            history: history::History::default(),
            outcomes_only,
        }
    }

    /// A step of a node wrote: notes it in the node's ledger.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn wrote(
        &mut self,
        ledger: &mut Ledger,
        output: &Output,
        status: &Status,
    ) -> Result<(), Violation> {
        for write in &output.writes {
            self.names.written(&ledger.written, write)?;
            if !self.outcomes_only {
                rules::written(write, ledger, status)?;
            }
            ledger.write(std::slice::from_ref(write));
        }
        Ok(())
    }

    /// A message leaves a node.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn sent(&mut self, node: &Node, envelope: &Envelope) -> Result<(), Violation> {
        if !self.outcomes_only && !node.restored {
            rules::sent(envelope, &node.ledger)?;
        }
        if node.restored { Ok(()) } else { self.elections.sent(envelope) }
    }

    /// A node has stepped, and its ledger has what it wrote. `was_leader`: before the step.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn stepped(
        &mut self,
        nodes: &BTreeMap<u64, Node>,
        (id, status): (u64, &Status),
        was_leader: bool,
    ) -> Result<(), Violation> {
        let node = &nodes[&id];
        let run = (id, node.run());
        if status.state.role == Role::Leader
            && self.elections.leads(status.state.term, id, run.1)?
        {
            // Judged before what it commits in this very step.
            let complete = self.committed.is_complete(status.state.term, &node.ledger.written);
            hold(complete, LEADER_COMPLETE, || {
                let last = self.committed.last();
                format!("n{id} leads term {} without {last}", status.state.term)
            })?;
        }
        let log = &node.ledger.written;
        let news = self.committed.marked(
            run,
            (status.committed, log, status.state.term),
            &mut self.history,
        )?;
        if news {
            self.complete_later_leaders(nodes, status)?;
            if !self.outcomes_only {
                let last = self.committed.last();
                let led = was_leader || status.state.role == Role::Leader;
                rules::committed(nodes, (id, status), last, led)?;
            }
        }
        if !self.outcomes_only {
            rules::members(node, status)?;
        }
        Ok(())
    }

    /// Who leads a later term has what is committed now.
    fn complete_later_leaders(
        &self,
        nodes: &BTreeMap<u64, Node>,
        status: &Status,
    ) -> Result<(), Violation> {
        let running = nodes.values().filter_map(|node| Some((node, node.process.as_ref()?)));
        for (node, process) in running {
            let term = process.leads.filter(|term| *term > status.state.term);
            let lacks =
                term.is_some_and(|term| !self.committed.is_complete(term, &node.ledger.written));
            hold(!lacks, LEADER_COMPLETE, || {
                format!("n{} leads a later term without {}", node.id, self.committed.last())
            })?;
        }
        Ok(())
    }
}

const LEADER_COMPLETE: &str = "a leader has everything that was committed before";

//! The master aggregator's work on this node, while it leads: the [`Manager`], driven.
//!
//! ```text
//!   consensus ── leads? ──►┐
//!   metadata ── applied ──►│           ┌─► proposals ─► consensus ─► Applied
//!   nodes ── News ────────►│ Manager ──┤
//!   clock ── deadline ────►┘           └─► messages ─► nodes
//!   lost connections ─► a look whether anybody listens ─► Refused
//! ```

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use resprout_cluster::NodeId;
use resprout_cluster::manager::{Config, Event, Now, Output, Proposal};
use resprout_cluster::metadata::Outcome;
use resprout_consensus::node::Handle;
use resprout_replication::transport::connect;
use tokio::sync::mpsc;

use crate::errands::Errands;
use crate::post::{Post, node_address};
use crate::settings::Given;
use crate::state::{Machine, Shared};

/// Between two looks whether anybody listens where a connection was lost.
const PROBE_EVERY: Duration = Duration::from_millis(40);
/// So often: afterwards heartbeats decide.
const PROBES: u32 = 25;
/// So often somebody must have listened, for the process to be there.
const LISTENS: u32 = 5;
/// A proposal whose fate is not known by then counts as unknown.
const PROPOSAL_PATIENCE: Duration = Duration::from_secs(5);

/// What the work needs.
#[derive(Debug)]
pub(crate) struct Office {
    node: NodeId,
    errands: Errands,
    /// What it was started with, and what it goes by: what was set wins.
    given: Given,
    config: Config,
    consensus: Handle<Machine>,
    metadata: Shared,
    post: Post,
    events: mpsc::UnboundedSender<Event>,
    began: Instant,
}

impl Office {
    pub(crate) fn new(
        (node, given, errands): (NodeId, Given, Errands),
        consensus: Handle<Machine>,
        (metadata, post): (Shared, Post),
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let config = given.manager(&metadata.read());
        let began = Instant::now();
        Self { node, errands, given, config, consensus, metadata, post, events, began }
    }

    /// Works until the node stops.
    pub(crate) async fn run(mut self, mut came: mpsc::UnboundedReceiver<Event>) {
        let (mut state, mut applied) = (self.consensus.watch(), self.metadata.watch());
        let mut leads = false;
        loop {
            let due =
                tokio::time::Instant::from_std(self.began + self.errands.manager().deadline());
            let event = tokio::select! {
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = state.borrow_and_update().leader == Some(self.node);
                    if std::mem::replace(&mut leads, now) == now {
                        continue;
                    }
                    Event::Leads(now)
                }
                changed = applied.changed(), if leads => {
                    if changed.is_err() {
                        return;
                    }
                    Event::Look
                }
                event = came.recv() => match event {
                    Some(event) => event,
                    None => return,
                },
                () = tokio::time::sleep_until(due), if leads => Event::Look,
            };
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        let config = self.given.manager(&self.metadata.read());
        if config != std::mem::replace(&mut self.config, config) {
            self.step_once(Event::Configure(config));
        }
        self.step_once(event);
    }

    fn step_once(&mut self, event: Event) {
        let at = self.began.elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Now { at, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) };
        let Output { proposals, messages, ended } = {
            let metadata = self.metadata.read();
            self.errands.manager().step(now, &metadata, event)
        };
        self.errands.ended(ended);
        for proposal in proposals {
            self.propose(proposal);
        }
        for (to, message) in messages {
            self.post.send(to, message.into());
        }
    }

    /// Each holds for one version of what it changes, so their order does not matter.
    fn propose(&self, Proposal { id, decree }: Proposal) {
        let (consensus, events) = (self.consensus.within(PROPOSAL_PATIENCE), self.events.clone());
        tokio::spawn(async move {
            let applied = consensus.propose(decree.encode()).await;
            let outcome = applied.ok().and_then(|applied| Outcome::decode(&applied.answer).ok());
            if let Some(Outcome::Refused { refusal }) = &outcome {
                tracing::debug!(command = ?decree.command, %refusal, "refused");
            }
            let event = outcome.map_or(Event::Unknown(id), |outcome| Event::Applied(id, outcome));
            // Nobody wants to know any more while the node stops.
            drop(events.send(event));
        });
    }
}

/// A connection to a node was lost: whether anybody listens there says sooner than silence that its process
/// is gone.
pub(crate) fn look_after(
    (node, source): (NodeId, Option<IpAddr>),
    metadata: &Shared,
    events: &mpsc::UnboundedSender<Event>,
) {
    let address = metadata.read().nodes().get(&node).and_then(|found| node_address(&found.address));
    let Some(address) = address else { return };
    let events = events.clone();
    tokio::spawn(async move {
        let mut listened = 0;
        for _ in 0..PROBES {
            match connect(&address, source).await {
                // Of a process that ends, the port may be closed a moment after its connections.
                Ok(_) => {
                    listened += 1;
                    if listened == LISTENS {
                        return;
                    }
                }
                Err(refused) if refused.kind() == std::io::ErrorKind::ConnectionRefused => {
                    if events.send(Event::Refused(node)).is_err() {
                        return;
                    }
                }
                // Nothing is known: heartbeats decide.
                Err(_) => {}
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    });
}

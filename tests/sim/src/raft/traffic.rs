//! What clients do: ask, wait, ask again elsewhere, give up.

use std::time::Duration;

use resprout_consensus::Index;

use super::client::{Answer, Client, Operation};
use super::node::{Asker, Input, Question};
use super::simulation::{Event, Simulation};
use crate::network::between;

/// Tries of a write before its client gives up.
const TRIES_MAX: u32 = 6;

/// Operations that a client finishes after the storm before it is quiet.
const LAST_OPERATIONS: u64 = 3;

impl Simulation {
    /// A client has waited long enough.
    pub(super) fn wake(&mut self, asker: Asker) {
        let client = &mut self.clients[asker.client];
        if client.attempt != asker.attempt {
            return;
        }
        let gives_up = match &client.operation {
            Some(operation) => {
                operation.tries >= TRIES_MAX || matches!(operation.question, Question::Read(..))
            }
            None => false,
        };
        if gives_up {
            self.coverage.note("client: gave up");
            client.give_up();
        }
        if client.operation.is_none() {
            if self.quiet {
                return;
            }
            self.begin_operation(asker.client);
        }
        self.ask_somebody(asker.client);
    }

    fn begin_operation(&mut self, number: usize) {
        // Its id is made where it is asked first, by what that node has applied.
        let node = &self.nodes[&self.clients[number].node];
        let since = node.active().map_or(Index(0), |process| process.machine.applied().index);
        let client = &mut self.clients[number];
        // What shows that the storm is over is a write.
        let writes = self.rng.chance(1, 2) || self.healed.is_some() && self.served.is_none();
        let question = if writes {
            let (id, key, value, question) =
                client.next_write(&mut self.rng, self.plan.padding, since);
            self.promises.history.begin_write(id, key, value);
            question
        } else {
            Client::next_read(&mut self.rng)
        };
        let began = self.agenda.now();
        client.operation = Some(Operation { question, began, tries: 0 });
    }

    /// Asks a node: often the leader, or one that takes itself for it, sometimes any.
    fn ask_somebody(&mut self, number: usize) {
        let leader = self.promises.elections.newest_leader().map_or(1, |(_, node)| node);
        let any = 1 + self.rng.below(self.plan.nodes());
        // One that has not heard of its successor yet is where reads could be stale.
        let believes = self.some_leader().unwrap_or(any);
        let client = &mut self.clients[number];
        client.node = match self.rng.below(8) {
            0..3 => leader,
            3..6 => believes,
            6 => client.node,
            _ => any,
        };
        client.attempt += 1;
        let Some(operation) = &mut client.operation else { return };
        operation.tries += 1;
        let asker = Asker { client: number, attempt: client.attempt };
        let input = Input::Ask(asker, operation.question.clone());
        let node = client.node;
        let arrives = self.client_delay();
        self.agenda.after(arrives, Event::Input { node, run: None, input });
        let patience = self.tenths(3, 20);
        self.agenda.after(arrives + patience, Event::Wake(asker));
    }

    /// A node answers.
    pub(super) fn answer(&mut self, asker: Asker, answer: Answer) {
        if self.healed.is_none() && self.rng.chance(1, 30) {
            self.coverage.note("client: answer lost");
            return;
        }
        let arrives = self.client_delay();
        self.agenda.after(arrives, Event::Answer(asker, answer));
    }

    /// An answer arrives. One to a question that was asked again elsewhere comes too late.
    pub(super) fn answered(&mut self, asker: Asker, answer: Answer) {
        let client = &mut self.clients[asker.client];
        if client.attempt != asker.attempt {
            return;
        }
        client.attempt += 1;
        let next = Asker { client: asker.client, attempt: client.attempt };
        if answer == Answer::Refused {
            self.coverage.note("client: refused");
            let wait = self.tenths(0, 3);
            self.agenda.after(wait, Event::Wake(next));
            return;
        }
        if answer == Answer::Unknown {
            client.give_up();
            self.agenda.after(Duration::ZERO, Event::Wake(next));
            return;
        }
        let Some(Operation { began, .. }) = client.operation.take() else { return };
        client.finished += 1;
        let finished = client.finished;
        self.note_answer(began, answer);
        let is_last = self.healed.is_some() && finished >= LAST_OPERATIONS;
        if !is_last {
            let wait = between(&mut self.rng, Duration::ZERO, self.plan.think);
            self.agenda.after(wait, Event::Wake(next));
        }
    }

    fn note_answer(&mut self, began: Duration, answer: Answer) {
        let now = self.agenda.now();
        match answer {
            Answer::Written(index) => {
                assert!(index > Index(0), "a write has a place");
                self.coverage.note("client: written");
                if self.healed.is_some_and(|healed| began >= healed) {
                    self.served.get_or_insert(now);
                }
            }
            Answer::Read(_) => self.coverage.note("client: read"),
            Answer::Refused | Answer::Unknown => {}
        }
    }

    /// Clients are near to all nodes: no fault of the network is between them.
    fn client_delay(&mut self) -> Duration {
        let slowest = self.plan.election / 50;
        between(&mut self.rng, slowest / 20, slowest)
    }
}

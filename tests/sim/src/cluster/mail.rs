//! What travels between nodes. Now and then it goes through its bytes.

use resprout_cluster::control::Control;
use resprout_consensus::{Envelope as RaftEnvelope, wire as raft_wire};
use resprout_replication::{Envelope, wire};

use super::asked::AskedMail;
use super::node::Key;
use super::simulation::{Event, Simulation};
use crate::network::Fate;
use crate::{Violation, hold};

/// A message, or what stands for one.
#[derive(Clone, Debug)]
pub(super) enum Mail {
    /// Of consensus.
    Raft(Box<RaftEnvelope>),
    /// Between copies.
    Copy(Box<Envelope>),
    /// Of the control plane.
    Control(Box<Control>),
    /// Nobody listens where that was sent.
    Refused,
    /// A client's write, from the aggregator that it uses.
    Write(Key, Vec<u64>),
    /// What people ask for, and what they are told.
    Asked(Box<AskedMail>),
}

/// More than any message has.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

impl Simulation {
    /// Sends. What a node sends to itself arrives at once.
    pub(super) fn send(&mut self, from: u64, to: u64, mail: Mail) -> Result<(), Violation> {
        if self.rng.chance(1, 32) {
            through_bytes(&mail)?;
        }
        let now = self.agenda.now();
        if from == to {
            self.agenda.at(now, Event::Arrives { from, to, mail });
            return Ok(());
        }
        let is_beat = matches!(&mail, Mail::Control(control) if **control == Control::Beat);
        let fate = self.network.send(from, to, || Event::Arrives { from, to, mail: mail.clone() });
        match fate {
            Fate::Lost => self.coverage.note("lost"),
            Fate::Kept => {}
            Fate::Sent(delay, _) if is_beat && self.node(to).process.is_none() => {
                let event = Event::Arrives { from: to, to: from, mail: Mail::Refused };
                if let Fate::Sent(back, _) = self.network.send(to, from, || event.clone()) {
                    self.agenda.at(now + delay + back, event);
                }
            }
            Fate::Sent(delay, again) => {
                // A connection gives what it is given once; repeating is the client's business.
                let again = again.filter(|_| !matches!(mail, Mail::Write(..) | Mail::Asked(_)));
                for delay in again.into_iter().chain([delay]) {
                    self.agenda.at(now + delay, Event::Arrives { from, to, mail: mail.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Promise (N15): bytes give the message back.
fn through_bytes(mail: &Mail) -> Result<(), Violation> {
    let promise = "bytes give the message back";
    match mail {
        Mail::Raft(envelope) => {
            let Ok(bytes) = raft_wire::encode(envelope, MESSAGE_BYTES_MAX) else {
                return Err(Violation::new("a message has bytes", format!("{envelope:?}")));
            };
            let back = raft_wire::decode(&bytes, MESSAGE_BYTES_MAX);
            hold(back.as_ref().ok() == Some(&**envelope), promise, || format!("{back:?}"))
        }
        Mail::Copy(envelope) => {
            let back = wire::decode(&wire::encode(envelope).into(), wire::MESSAGE_BYTES_MAX);
            hold(back.as_ref().ok() == Some(&**envelope), promise, || format!("{back:?}"))
        }
        Mail::Control(control) => {
            let back = Control::decode(&control.encode());
            hold(back.as_ref() == Ok(&**control), promise, || format!("{back:?}"))
        }
        Mail::Refused | Mail::Write(..) | Mail::Asked(_) => Ok(()),
    }
}

//! Whether two nodes may talk: by what they say of themselves, and by what was seen of them.

use super::record::Greeting;
use super::refusal::{Refusal, Versions};
use crate::transport::NodeId;
use crate::transport::local::Local;

/// The versions that this program speaks: of the messages, [`crate::wire::VERSION`].
pub(super) const VERSIONS: Versions =
    Versions { first: crate::wire::VERSION, last: crate::wire::VERSION };

/// By what a node says that has connected; the version to be spoken.
pub(super) fn judge_hello(local: &Local, hello: &Greeting) -> Result<u16, Refusal> {
    let (expected, found) = (VERSIONS, hello.versions);
    let version = expected.common(found).ok_or(Refusal::Version { expected, found })?;
    judge_cluster(local, hello)?;
    let (own, node) = (local.node, hello.node);
    if node == own {
        let is_this = hello.token == local.token;
        return Err(if is_this { Refusal::Itself { node } } else { Refusal::SameId { node } });
    }
    if hello.to != own {
        return Err(Refusal::Node { expected: hello.to, found: own });
    }
    if node > own {
        return Err(Refusal::Direction { node, to: own });
    }
    Ok(version)
}

/// By what the node says that was connected to.
pub(super) fn judge_challenge(
    local: &Local,
    to: NodeId,
    challenge: &Greeting,
) -> Result<(), Refusal> {
    let (expected, found) = (VERSIONS, challenge.versions);
    if found.first != found.last || expected.common(found).is_none() {
        return Err(Refusal::Version { expected, found });
    }
    judge_cluster(local, challenge)?;
    if challenge.node != to {
        return Err(Refusal::Node { expected: to, found: challenge.node });
    }
    if challenge.to != local.node {
        return Err(Refusal::Node { expected: challenge.to, found: local.node });
    }
    Ok(())
}

fn judge_cluster(local: &Local, greeting: &Greeting) -> Result<(), Refusal> {
    let (expected, found) = (local.cluster, greeting.cluster);
    if expected == found { Ok(()) } else { Err(Refusal::Cluster { expected, found }) }
}

/// The newest process of a node that has proved itself here.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct Seen(Option<(u64, u128)>);

impl Seen {
    /// By what was seen of that node. Only for who has proved itself, or the answer is of no
    /// consequence.
    pub(in crate::transport) fn judge(self, greeting: &Greeting) -> Result<(), Refusal> {
        let (node, found) = (greeting.node, greeting.run);
        match self.0 {
            Some((seen, _)) if seen > found => Err(Refusal::OldRun { node, seen, found }),
            Some((seen, token)) if seen == found && token != greeting.token => {
                Err(Refusal::Twin { node, run: found })
            }
            _ => Ok(()),
        }
    }

    /// That process has proved itself.
    pub(in crate::transport) fn note(&mut self, greeting: &Greeting) {
        self.0 = Some((greeting.run, greeting.token));
    }
}

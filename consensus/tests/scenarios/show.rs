//! What is said in one line.

use std::fmt::Display;

use resprout_consensus::{
    Alarm, AppendResult, Ballot, Content, Entry, Envelope, Event, Membership, Message, Payload,
    ReadId, ReadProof, Refusal, Role, Snapshot, SnapshotMeta, State, Status, Vote,
};

fn list<T>(items: impl IntoIterator<Item = T>, text: impl Fn(T) -> String) -> String {
    items.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

pub(crate) fn bytes(bytes: &[u8]) -> String {
    if bytes.len() > 24 {
        return format!("({} bytes)", bytes.len());
    }
    format!("{:?}", String::from_utf8_lossy(bytes))
}

pub(crate) fn members(membership: &Membership) -> String {
    let member = |(node, vote): (_, Vote)| match vote {
        Vote::Voter => format!("{node}"),
        Vote::Learner => format!("{node}(learner)"),
    };
    list(membership.members.iter().map(|(node, member)| (*node, member.vote)), member)
}

pub(crate) fn entry(entry: &Entry) -> String {
    let what = match &entry.payload {
        Payload::TermStart => "start".to_owned(),
        Payload::Command(proposal) => bytes(&proposal.command),
        Payload::Membership(membership) => format!("members {}", members(membership)),
    };
    format!("{} {what}", entry.id)
}

pub(crate) fn entries(entries: &[Entry]) -> String {
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

pub(crate) fn ballot(ballot: &Ballot) -> String {
    let vote = ballot.vote.map_or_else(|| "nobody".to_owned(), |vote| vote.to_string());
    format!("term {} vote {vote}", ballot.term)
}

fn meta(meta: &SnapshotMeta) -> String {
    format!("{} of {} bytes", meta.last, meta.bytes)
}

pub(crate) fn snapshot(snapshot: &Snapshot) -> String {
    format!("{} {}", snapshot.meta.last, bytes(&snapshot.state))
}

pub(crate) fn content(content: &Content) -> String {
    match content {
        Content::Vote(vote) => ballot(vote),
        Content::Entries(written) => entries(written),
        Content::Snapshot { snapshot: one, base, installed } => {
            let end = if *installed { ", nothing behind" } else { "" };
            format!("snapshot {}, log from behind {base}{end}", snapshot(one))
        }
    }
}

pub(crate) fn refusal(why: &Refusal) -> String {
    match why {
        Refusal::Removed { membership } => format!("removed by {membership}"),
        Refusal::StrangeStore { expected } => format!("strange store, expected {}", expected.0),
        Refusal::Forgot { acknowledged, has } => {
            format!("forgot: acknowledged {acknowledged}, has {has}")
        }
        Refusal::TakenOver { term, committed } => {
            format!("taken over in term {term} without all of {committed}")
        }
    }
}

pub(crate) fn alarm(alarm: &Alarm) -> String {
    match alarm {
        Alarm::StrangeStore { node, expected, found } => {
            format!("{node} has store {}, expected {}", found.0, expected.0)
        }
        Alarm::Forgot { node, acknowledged, has } => {
            format!("{node} forgot: acknowledged {acknowledged}, has {has}")
        }
        Alarm::Unsound { node } => format!("unsound message of {node}"),
        Alarm::Refused { by, why } => format!("refused by {by}: {}", refusal(why)),
    }
}

fn ids(ids: &[ReadId]) -> String {
    list(ids, |id| id.0.to_string())
}

fn granted(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

pub(crate) fn message(message: &Message) -> String {
    let said = match message {
        Message::PreVote { last } => format!("last {last}"),
        Message::PreVoteAnswer { granted: yes } | Message::VoteAnswer { granted: yes } => {
            granted(*yes).to_owned()
        }
        Message::Vote { last, transfer } => {
            format!("last {last}{}", if *transfer { " by transfer" } else { "" })
        }
        Message::Append { previous, entries: sent, commit, round } => {
            format!("prev {previous} [{}] commit {commit} round {round}", entries(sent))
        }
        Message::AppendAnswer { round, result, .. } => match result {
            AppendResult::Matched(index) => format!("matched {index} round {round}"),
            AppendResult::Rejected { previous, hint, last } => {
                format!("rejected {previous} hint {hint} last {last} round {round}")
            }
        },
        Message::Snapshot { meta: which, offset, data, round } => {
            format!("{}, {} from {offset}, round {round}", meta(which), bytes(data))
        }
        Message::SnapshotAnswer { last, received, round } => {
            format!("{last} received {received} round {round}")
        }
        Message::TransferNow => String::new(),
        Message::Propose { proposals } => list(proposals, |one| bytes(&one.command)),
        Message::Read { ids: asked, .. } => ids(asked),
        Message::ReadAnswer { ids: asked, index, .. } => format!("{} at {index}", ids(asked)),
        Message::Refuse { why } => refusal(why),
    };
    format!("{} {said}", message.name()).trim_end().to_owned()
}

pub(crate) fn envelope(envelope: &Envelope, arrow: impl Display) -> String {
    let Envelope { from, to, term, message: said, .. } = envelope;
    format!("{from} {arrow} {to} term {term} {}", message(said))
}

/// What a member is told, without what was shown when it was sent.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Tick => "wakes".to_owned(),
        Event::Receive(envelope) => {
            format!("takes {} of {}", envelope.message.name(), envelope.from)
        }
        Event::Propose(proposals) => {
            format!("proposes {}", list(proposals, |one| bytes(&one.command)))
        }
        Event::Change(change) => format!("is to change {}", change.node()),
        Event::Read { ids: asked, proof } => {
            let proof = if *proof == ReadProof::Lease { "lease" } else { "round" };
            format!("reads {} by {proof}", ids(asked))
        }
        Event::Transfer(to) => format!("is to hand over to {to}"),
        Event::TakeOver => "is to take over".to_owned(),
        Event::Persisted(_) => "has written".to_owned(),
        Event::Compact(one) => format!("compacts {}", snapshot(one)),
        Event::Unreachable(node) => format!("cannot reach {node}"),
    }
}

fn role(role: Role) -> String {
    match role {
        Role::Follower => "follower".to_owned(),
        Role::PreCandidate => "pre-candidate".to_owned(),
        Role::Candidate => "candidate".to_owned(),
        Role::Leader => "leader".to_owned(),
        Role::Ended(why) => format!("out of it ({})", refusal(&why)),
    }
}

pub(crate) fn state(state: &State) -> String {
    let leader = match (state.role, state.leader) {
        (Role::Follower, Some(leader)) => format!(" of {leader}"),
        _ => String::new(),
    };
    format!("is {}{leader} in term {}", role(state.role), state.term)
}

pub(crate) fn status(status: &Status) -> Vec<String> {
    let Status { last, durable, committed, applied, .. } = status;
    let mut lines = vec![format!("{}, members {}", state(&status.state), {
        let (index, membership) = &status.state.membership;
        format!("{} of {index}", members(membership))
    })];
    let lease = if status.has_lease { ", lease" } else { "" };
    let old = status.snapshot.map(|last| format!(", snapshot {last}")).unwrap_or_default();
    lines.push(format!(
        "last {last}, durable {durable}, committed {committed}, applied {applied}{old}{lease}"
    ));
    for member in &status.members {
        let forgot = if member.forgot { ", forgot" } else { "" };
        lines.push(format!("{}: {} matched {}{forgot}", member.node, member.phase, member.matched));
    }
    lines
}

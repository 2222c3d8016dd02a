//! What is said in one line. Positions are shown in frames' smallest size: `3` is `0:12288`.

use std::fmt::Display;

use resprout_replication::{
    Ack, CopyState, Envelope, Frame, Halt, Hello, Message, PageWork, Record, Report, Request,
    Standing, Start, State, Write,
};
use resprout_wal::{Lineage, Lsn, SECTOR};

use crate::world::Node;

pub(crate) fn lsn(lsn: Lsn) -> String {
    (lsn.0 / SECTOR as u64).to_string()
}

pub(crate) fn state(state: State) -> String {
    match state {
        State::Pending => "pending".to_owned(),
        State::Connecting => "connecting".to_owned(),
        State::Provisioning { done, total } => format!("provisioning, {done} of {total} pages"),
        State::Replicating => "replicating".to_owned(),
        State::Transitioning(term) => format!("transitioning to term {term}"),
        State::Online(term) => format!("online in term {term}"),
        State::Fenced(by) => format!("fenced by term {by}: outcomes are unknown"),
        State::Halted(Halt::CutBelowAcknowledged { to, acknowledged }) => {
            format!("halted: a cut at {} of {}", lsn(to), lsn(acknowledged))
        }
        State::Halted(why) => format!("halted: {why}"),
    }
}

fn frames(frames: &[Frame]) -> String {
    let one = |frame: &Frame| {
        let values = resprout_sim::copy::values(&frame.payload);
        let what = values.first().map_or_else(|| "start".to_owned(), u64::to_string);
        let more = if frame.header.continues() { "+" } else { "" };
        format!("{}/{} {what}{more}", frame.header.term, lsn(frame.header.lsn))
    };
    frames.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(crate) fn write(write: &Write) -> String {
    match write {
        Write::Promise(promise) => format!("promise term {}", promise.term),
        Write::Append(appended) => frames(appended),
        Write::Cut { to, save } => {
            format!("cut at {}{}", lsn(*to), if *save { ", tail saved" } else { "" })
        }
        Write::BeginTerm(term) => format!("start of term {term}"),
    }
}

fn history(lineage: &Lineage) -> String {
    let entries = lineage.history.entries().iter();
    let entries = entries.map(|entry| format!("{}@{}", entry.term, lsn(entry.start)));
    entries.collect::<Vec<_>>().join(" ")
}

fn message(message: &Message) -> String {
    let said = match message {
        Message::Hello(Hello { lineage, end, wants_pages }) => {
            let wants = if *wants_pages { ", wants pages" } else { "" };
            format!("end {} history [{}]{wants}", lsn(*end), history(lineage))
        }
        Message::Welcome(Start::Continue { from }) => format!("continue from {}", lsn(*from)),
        Message::Welcome(Start::Truncate { to, .. }) => format!("truncate at {}", lsn(*to)),
        Message::Welcome(Start::Provision(head)) => {
            let image = if head.plain { "plain image" } else { "image" };
            format!("{image} {} of {} pages at {}", head.id, head.pages, lsn(head.lsn))
        }
        Message::Frames { frames: sent, committed } => {
            format!("[{}] committed {}", frames(sent), lsn(*committed))
        }
        Message::Ack(Ack { end, received, durable, .. }) => {
            format!("end {} received {} durable {}", lsn(*end), lsn(*received), lsn(*durable))
        }
        Message::Beat { end, committed, .. } => {
            format!("end {} committed {}", lsn(*end), lsn(*committed))
        }
        Message::Refuse => String::new(),
        Message::Leave(why) => format!("{why:?}"),
        Message::AskDigests { from, count, .. } => format!("{count} from {from}"),
        Message::Digests { from, digests, .. } => format!("{} from {from}", digests.len()),
        Message::Want { pages, .. } => format!("{pages:?}"),
        Message::Pages { pages, .. } => {
            format!("{:?}", pages.iter().map(|(page, _)| *page).collect::<Vec<_>>())
        }
    };
    format!("{} {said}", message.name()).trim_end().to_owned()
}

pub(crate) fn envelope(envelope: &Envelope, arrow: impl Display) -> String {
    let (from, to, term) = (envelope.from.instance.0, envelope.to.0, envelope.term);
    format!("n{from} {arrow} n{to} term {term} {}", message(&envelope.message))
}

fn copy_state(state: CopyState) -> &'static str {
    match state {
        CopyState::Offline => "offline",
        CopyState::Async => "async",
        CopyState::Ready => "ready",
        CopyState::Sync => "sync",
    }
}

pub(crate) fn record(record: &Record) -> String {
    let master = record.master.map_or_else(|| "nobody".to_owned(), |n| format!("n{}", n.0));
    let copies = record.copies.iter().map(|(instance, copy)| {
        format!(" n{}.{} {}", instance.0, copy.incarnation, copy_state(copy.state))
    });
    let copies: String = copies.collect();
    let mode = record.mode.map_or_else(String::new, |mode| format!(", {mode:?}"));
    format!("{}.{} master {master},{copies}{mode}", record.term, record.cfg)
}

pub(crate) fn request(request: &Request) -> String {
    let Request { term, cfg, instance, to } = request;
    format!("at {term}.{cfg} n{}.{} {}", instance.0, to.incarnation, copy_state(to.state))
}

pub(crate) fn report(report: &Report) -> String {
    let Report { promised, last_term, last, incarnation, .. } = report;
    format!("promised {promised}, last {last_term}/{}, run {incarnation}", lsn(*last))
}

pub(crate) fn work(work: &PageWork) -> String {
    match work {
        PageWork::Hold { replica, .. } => format!("hold a root for n{}", replica.0),
        PageWork::Release { replica } => format!("release the root of n{}", replica.0),
        PageWork::Digests { from, count, .. } => format!("{count} digests from {from}"),
        PageWork::Read { pages, .. } => format!("read {pages:?}"),
        PageWork::Compare { head, from, .. } if head.plain => format!("begin from {from}"),
        PageWork::Compare { from, digests, .. } => format!("compare {} from {from}", digests.len()),
        PageWork::Store { pages, .. } => {
            format!("store {:?}", pages.iter().map(|(page, _)| *page).collect::<Vec<_>>())
        }
        PageWork::Install(head) => format!("install image {}", head.id),
    }
}

fn standing(standing: Standing) -> String {
    match standing {
        Standing::Async => "async".to_owned(),
        Standing::Held { from } => format!("held from {}", lsn(from)),
        Standing::Asked { cfg } => format!("asked at {cfg}"),
        Standing::Sync => "sync".to_owned(),
        Standing::Leaving => "leaving".to_owned(),
    }
}

pub(crate) fn status(node: &Node) -> String {
    let Some(master) = node.master() else {
        let end = lsn(node.log.end());
        return format!("{}, end {end}, shows {}", state(node.state), lsn(node.visible));
    };
    let status = master.status();
    let members = status.members.iter().map(|member| {
        let at = lsn(member.position);
        format!("; n{} {} at {at}", member.instance.0, standing(member.standing))
    });
    let members: String = members.collect();
    let (end, committed) = (lsn(status.end), lsn(status.committed));
    format!("{}, cfg {}, end {end}, committed {committed}{members}", state(node.state), status.cfg)
}

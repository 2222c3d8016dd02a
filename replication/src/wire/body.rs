//! The fields of each message. Nothing else may know an offset.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use resprout_wal::frame::{HEADER_BYTES as FRAME_HEADER_BYTES, Header};
use resprout_wal::{History, Lineage, Lsn, Term, TermStart};

use super::WireError;
use super::cursor::Cursor;
use super::parts::Parts;
use crate::{
    Ack, Envelope, Frame, Hello, Identity, ImageHead, Incarnation, Instance, Leave, Message,
    Partition, Start, StreamId, WIRE_NONCE,
};

const HELLO: u8 = 1;
const CONTINUE: u8 = 2;
const TRUNCATE: u8 = 3;
const PROVISION: u8 = 4;
const FRAMES: u8 = 5;
const ACK: u8 = 6;
const BEAT: u8 = 7;
const REFUSE: u8 = 8;
const LEAVE: u8 = 9;
const ASK_DIGESTS: u8 = 10;
const DIGESTS: u8 = 11;
const WANT: u8 = 12;
const PAGES: u8 = 13;

fn kind(message: &Message) -> u8 {
    match message {
        Message::Hello(_) => HELLO,
        Message::Welcome(Start::Continue { .. }) => CONTINUE,
        Message::Welcome(Start::Truncate { .. }) => TRUNCATE,
        Message::Welcome(Start::Provision(_)) => PROVISION,
        Message::Frames { .. } => FRAMES,
        Message::Ack(_) => ACK,
        Message::Beat { .. } => BEAT,
        Message::Refuse => REFUSE,
        Message::Leave(_) => LEAVE,
        Message::AskDigests { .. } => ASK_DIGESTS,
        Message::Digests { .. } => DIGESTS,
        Message::Want { .. } => WANT,
        Message::Pages { .. } => PAGES,
    }
}

/// Puts the body behind what is there; its kind.
pub(super) fn put(envelope: &Envelope, parts: &mut Parts) -> u8 {
    let Envelope { from, to, term, stream, message } = envelope;
    let out = parts.fields();
    out.put_u128_le(from.partition.cluster);
    out.put_u32_le(from.partition.database);
    out.put_u32_le(from.partition.ordinal);
    for number in [from.instance.0, from.incarnation.0, to.0, term.0, stream.run.0, stream.number] {
        out.put_u64_le(number);
    }
    match message {
        Message::Frames { frames, committed } => put_frames(frames, committed.0, parts),
        Message::Pages { image, pages } => put_pages(*image, pages, parts),
        _ => put_fields(message, out),
    }
    kind(message)
}

fn put_frames(frames: &[Frame], committed: u64, parts: &mut Parts) {
    parts.put_u64(committed);
    put_count(frames.len(), parts.fields());
    for frame in frames {
        parts.fields().put_slice(&frame.header.encode(WIRE_NONCE));
        parts.put_summed(&frame.payload, frame.header.payload_crc);
    }
}

fn put_pages(image: u64, pages: &[(u64, Bytes)], parts: &mut Parts) {
    parts.put_u64(image);
    put_count(pages.len(), parts.fields());
    for (page, content) in pages {
        parts.put_u64(*page);
        put_count(content.len(), parts.fields());
        parts.put(content);
    }
}

fn put_fields(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Hello(Hello { lineage, end, wants_pages }) => {
            put_lineage(lineage, out);
            out.put_u64_le(end.0);
            out.put_u8((*wants_pages).into());
        }
        Message::Welcome(Start::Continue { from }) => out.put_u64_le(from.0),
        Message::Welcome(Start::Truncate { to, chain }) => put_all([to.0, *chain], out),
        Message::Welcome(Start::Provision(head)) => {
            put_all([head.id, head.lsn.0, head.pages, head.bytes], out);
            out.put_u8(head.plain.into());
            put_lineage(&head.lineage, out);
        }
        Message::Ack(Ack { end, received, durable, applied, credit, echo }) => {
            let echo = nanos(*echo);
            put_all([end.0, received.0, durable.0, applied.0, *credit, echo], out);
        }
        Message::Beat { sent, end, committed } => {
            put_all([nanos(*sent), end.0, committed.0], out);
        }
        Message::Leave(why) => out.put_u8(match why {
            Leave::Full => 1,
            Leave::Stopping => 2,
        }),
        Message::AskDigests { image, from, count } => {
            put_all([*image, *from], out);
            out.put_u32_le(*count);
        }
        Message::Digests { image, from, digests } => {
            put_all([*image, *from], out);
            put_list(digests, out);
        }
        Message::Want { image, pages } => {
            out.put_u64_le(*image);
            put_list(pages, out);
        }
        // The two with payloads are put by those above.
        Message::Refuse | Message::Frames { .. } | Message::Pages { .. } => {}
    }
}

fn put_all<const N: usize>(numbers: [u64; N], out: &mut Vec<u8>) {
    numbers.into_iter().for_each(|number| out.put_u64_le(number));
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(count).expect("messages are bounded"));
}

fn put_list(numbers: &[u64], out: &mut Vec<u8>) {
    put_count(numbers.len(), out);
    numbers.iter().for_each(|number| out.put_u64_le(*number));
}

fn put_lineage(lineage: &Lineage, out: &mut Vec<u8>) {
    out.put_u64_le(lineage.chain);
    put_count(lineage.history.entries().len(), out);
    for TermStart { term, start } in lineage.history.entries() {
        put_all([term.0, start.0], out);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads a body whose checksum holds.
pub(super) fn take(kind: u8, body: Bytes) -> Result<Envelope, WireError> {
    let mut cursor = Cursor::new(body);
    let from = &mut cursor;
    let partition =
        Partition { cluster: from.u128()?, database: from.u32()?, ordinal: from.u32()? };
    let (instance, incarnation) = (Instance(from.u64()?), Incarnation(from.u64()?));
    let sender = Identity { partition, instance, incarnation };
    let (to, term) = (Instance(from.u64()?), Term(from.u64()?));
    let stream = StreamId { run: Incarnation(from.u64()?), number: from.u64()? };
    let message = take_message(kind, from)?;
    cursor.end()?;
    Ok(Envelope { from: sender, to, term, stream, message })
}

fn take_message(kind: u8, from: &mut Cursor) -> Result<Message, WireError> {
    Ok(match kind {
        HELLO => {
            let lineage = take_lineage(from)?;
            let end = Lsn(from.u64()?);
            Message::Hello(Hello { lineage, end, wants_pages: take_bool(from)? })
        }
        CONTINUE => Message::Welcome(Start::Continue { from: Lsn(from.u64()?) }),
        TRUNCATE => Message::Welcome(Start::Truncate { to: Lsn(from.u64()?), chain: from.u64()? }),
        PROVISION => {
            let (id, lsn, pages) = (from.u64()?, Lsn(from.u64()?), from.u64()?);
            let (bytes, plain) = (from.u64()?, take_bool(from)?);
            let lineage = take_lineage(from)?;
            Message::Welcome(Start::Provision(ImageHead { id, lsn, lineage, pages, bytes, plain }))
        }
        FRAMES => {
            let committed = Lsn(from.u64()?);
            let frames = from.list(FRAME_HEADER_BYTES, take_frame)?;
            Message::Frames { frames, committed }
        }
        ACK => Message::Ack(Ack {
            end: Lsn(from.u64()?),
            received: Lsn(from.u64()?),
            durable: Lsn(from.u64()?),
            applied: Lsn(from.u64()?),
            credit: from.u64()?,
            echo: Duration::from_nanos(from.u64()?),
        }),
        BEAT => Message::Beat {
            sent: Duration::from_nanos(from.u64()?),
            end: Lsn(from.u64()?),
            committed: Lsn(from.u64()?),
        },
        REFUSE => Message::Refuse,
        LEAVE => Message::Leave(match from.u8()? {
            1 => Leave::Full,
            2 => Leave::Stopping,
            found => return Err(WireError::Value { field: "a reason", found: found.into() }),
        }),
        _ => take_page_message(kind, from)?,
    })
}

fn take_page_message(kind: u8, from: &mut Cursor) -> Result<Message, WireError> {
    let number = |from: &mut Cursor, _| from.u64();
    Ok(match kind {
        ASK_DIGESTS => {
            let (image, first) = (from.u64()?, from.u64()?);
            Message::AskDigests { image, from: first, count: from.u32()? }
        }
        DIGESTS => {
            let (image, first) = (from.u64()?, from.u64()?);
            Message::Digests { image, from: first, digests: from.list(8, number)? }
        }
        WANT => Message::Want { image: from.u64()?, pages: from.list(8, number)? },
        PAGES => {
            let image = from.u64()?;
            let pages = from.list(12, |from, _| {
                let page = from.u64()?;
                let bytes = from.u32()? as usize;
                Ok((page, from.bytes(bytes)?))
            })?;
            Message::Pages { image, pages }
        }
        found => return Err(WireError::Value { field: "a kind", found: found.into() }),
    })
}

fn take_frame(from: &mut Cursor, place: usize) -> Result<Frame, WireError> {
    let head = from.bytes(FRAME_HEADER_BYTES)?;
    let wrong = |flaw| WireError::Frame { place, flaw };
    let header = Header::decode(&head, WIRE_NONCE).map_err(wrong)?;
    let end = header.lsn.0.checked_add(header.padded_bytes());
    if end.is_none() {
        return Err(WireError::Value { field: "the position of a frame", found: header.lsn.0 });
    }
    let payload = from.bytes(header.payload_len as usize)?;
    Frame::new(header, payload).map_err(wrong)
}

fn take_lineage(from: &mut Cursor) -> Result<Lineage, WireError> {
    let chain = from.u64()?;
    let entries = from
        .list(16, |from, _| Ok(TermStart { term: Term(from.u64()?), start: Lsn(from.u64()?) }))?;
    let history = History::from_entries(entries).ok_or(WireError::History)?;
    Ok(Lineage { term: history.term(), history, chain })
}

fn take_bool(from: &mut Cursor) -> Result<bool, WireError> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(WireError::Value { field: "a flag", found: found.into() }),
    }
}

//! Notes: messages that are not of copies. What they say is the business of whoever sends them.

use bytes::{Buf, BufMut, Bytes};

use super::{CRC_AT, HEADER_BYTES, Header, WireError, body, check, head};
use crate::Envelope;

/// The kind of a note. Its body: the lane, then bytes.
const NOTE: u8 = 64;

/// Keeps notes of different users apart; notes of one lane keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

/// Something that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of a copy.
    Envelope(Envelope),
    /// A note.
    Note(Lane, Bytes),
}

/// A note as pieces to be written one behind the other; what it says is not copied.
///
/// # Panics
/// If it has 4 GiB.
#[must_use]
pub fn encode_note(lane: Lane, bytes: Bytes) -> Vec<Bytes> {
    let length = u32::try_from(1 + bytes.len()).expect("messages are bounded");
    let head: [u8; CRC_AT] = head(NOTE, length);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(&[lane.0]);
    hasher.update(&bytes);
    let mut first = Vec::with_capacity(HEADER_BYTES + 1);
    first.extend_from_slice(&head);
    first.put_u32_le(hasher.finalize());
    first.push(lane.0);
    vec![Bytes::from(first), bytes]
}

/// What it is whose header was read and whose body this is. Payloads share its memory.
///
/// # Errors
/// [`WireError`] for anything that nobody writes.
pub fn decode_received(header: &Header, mut bytes: Bytes) -> Result<Received, WireError> {
    check(header, &bytes)?;
    if header.kind != NOTE {
        return body::take(header.kind, bytes).map(Received::Envelope);
    }
    if bytes.is_empty() {
        return Err(WireError::Short { need: 1, have: 0 });
    }
    let lane = Lane(bytes.get_u8());
    Ok(Received::Note(lane, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Received, WireError> {
        let head = bytes.first_chunk::<HEADER_BYTES>();
        let head = head.ok_or(WireError::Short { need: HEADER_BYTES, have: bytes.len() })?;
        let header = Header::decode(head, 1 << 20)?;
        decode_received(&header, Bytes::copy_from_slice(&bytes[HEADER_BYTES..]))
    }

    /// Promise: what was sent is what came; what is cut or changed is an error.
    #[test]
    fn n15_a_note_comes_whole_or_not_at_all() {
        for text in ["", "a", "something longer that somebody wants to say"] {
            let sent = encode_note(Lane(3), Bytes::from(text)).concat();
            let expected = Received::Note(Lane(3), Bytes::from(text));
            assert_eq!(decode(&sent), Ok(expected));
            for len in 0..sent.len() {
                assert!(decode(&sent[..len]).is_err(), "cut at {len}");
            }
            for bit in 0..sent.len() * 8 {
                let mut changed = sent.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&changed).is_err(), "bit {bit}");
            }
        }
    }
}

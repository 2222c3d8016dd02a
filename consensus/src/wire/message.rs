//! Envelopes in frames.

use bytes::Bytes;
use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::{HEADER_BYTES, Header, Kind, VERSION, WireError};
use crate::{Envelope, Membership, Message};

/// What archives are aligned to: the most that a number in them needs.
const ALIGNMENT: usize = 16;

/// Bytes of a frame beside what is counted below: an upper bound, header and padding included.
const OVERHEAD_BYTES: usize = 256;

/// Writes frames one behind another, into memory that it keeps.
#[derive(Debug, Default)]
pub struct Encoder {
    archive: AlignedVec<ALIGNMENT>,
}

impl Encoder {
    /// Writes an envelope behind what is in `out`.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if the frame has more than `bytes_max`; then `out` is as before.
    pub fn put(
        &mut self,
        envelope: &Envelope,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let mut archive = std::mem::take(&mut self.archive);
        archive.clear();
        self.archive = rkyv::api::high::to_bytes_in::<_, rancor::Error>(envelope, archive)
            .expect("serialising plain data into a growing buffer cannot fail");
        let bytes = HEADER_BYTES + self.archive.len();
        if bytes > bytes_max.min(u32::MAX as usize) {
            return Err(WireError::TooLong { bytes, max: bytes_max });
        }
        Header::put(Kind::Message, VERSION, &self.archive, out);
        Ok(())
    }

    /// Writes a sign of life behind what is in `out`.
    pub fn put_beat(&mut self, out: &mut Vec<u8>) {
        Header::put(Kind::Beat, VERSION, &[], out);
    }
}

/// An envelope as a frame. The same envelope always has the same bytes.
///
/// # Errors
/// [`WireError::TooLong`] if the frame has more than `bytes_max`.
pub fn encode(envelope: &Envelope, bytes_max: usize) -> Result<Bytes, WireError> {
    let mut out = Vec::new();
    Encoder::default().put(envelope, bytes_max, &mut out)?;
    Ok(out.into())
}

/// The envelope in a frame, which must be all of `bytes`.
///
/// # Errors
/// [`WireError`] if it is none, is damaged, or has more than `bytes_max`.
pub fn decode(bytes: &[u8], bytes_max: usize) -> Result<Envelope, WireError> {
    let (header, body) = Header::open(bytes, bytes_max)?;
    decode_body(&header, body)
}

/// The envelope in a body whose checksum was found right.
///
/// # Errors
/// [`WireError`] if it is none.
pub fn decode_body(header: &Header, body: &[u8]) -> Result<Envelope, WireError> {
    if header.kind != Kind::Message {
        return Err(WireError::Kind {
            found: header.kind as u8,
            expected: Kind::Message.expected(),
        });
    }
    if header.version != VERSION {
        return Err(WireError::Version { found: header.version, expected: VERSION });
    }
    if body.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return rkyv::from_bytes::<Envelope, rancor::Error>(body).map_err(WireError::Archive);
    }
    // An archive must be aligned; where a frame lies among others is chance.
    let mut aligned = AlignedVec::<ALIGNMENT>::with_capacity(body.len());
    aligned.extend_from_slice(body);
    rkyv::from_bytes::<Envelope, rancor::Error>(&aligned).map_err(WireError::Archive)
}

/// About the bytes of a frame, without making it: what queues count.
#[must_use]
pub fn size(envelope: &Envelope) -> usize {
    let members = |membership: &Membership| membership.bytes() + 64 * membership.members.len();
    OVERHEAD_BYTES
        + match &envelope.message {
            Message::Append { entries, .. } => {
                entries.iter().map(|entry| entry.bytes() + 64).sum::<usize>()
            }
            Message::Snapshot { meta, data, .. } => members(&meta.membership) + data.len(),
            Message::Propose { proposals } => {
                proposals.iter().map(|proposal| proposal.command.len() + 64).sum()
            }
            Message::Read { ids, .. } | Message::ReadAnswer { ids, .. } => ids.len() * 8,
            Message::PreVote { .. }
            | Message::PreVoteAnswer { .. }
            | Message::Vote { .. }
            | Message::VoteAnswer { .. }
            | Message::AppendAnswer { .. }
            | Message::SnapshotAnswer { .. }
            | Message::TransferNow
            | Message::Refuse { .. } => 0,
        }
}

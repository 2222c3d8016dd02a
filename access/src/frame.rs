//! Messages in a stream of bytes.
//!
//! ```text
//! 0 length of the body u32   4 crc32 of channel and body u32   8 channel u64   16 body: an rkyv archive
//! ```
//!
//! Lengths are bounded before anything is reserved, and archives are checked before they are read.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use thiserror::Error;

/// Bytes before the body.
pub(crate) const HEAD_BYTES: usize = 16;

/// Most bytes of a message: a row may have 64 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 96 << 20;

/// What came is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// Longer than allowed. Nothing was read.
    #[error("a message of {0} bytes, at most {MESSAGE_BYTES_MAX} are possible")]
    TooLong(usize),
    /// Changed on its way.
    #[error("a message with another checksum")]
    Checksum,
    /// No archive of such a message.
    #[error("a message that is not understood")]
    Archive,
}

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    crc: u32,
    pub(crate) channel: u64,
}

impl Head {
    pub(crate) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let length = u32_at(0) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let channel = u64::from_le_bytes(std::array::from_fn(|n| bytes[8 + n]));
        Ok(Self { length, crc: u32_at(4), channel })
    }

    pub(crate) fn check(&self, body: &[u8]) -> Result<(), FrameError> {
        if crc(self.channel, body) == self.crc { Ok(()) } else { Err(FrameError::Checksum) }
    }
}

fn crc(channel: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&channel.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// A message with a body that is an archive, or empty.
pub(crate) fn put(channel: u64, body: &[u8], out: &mut Vec<u8>) {
    // Rows and values are bounded far below that; what is longer is refused by the other side.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc(channel, body).to_le_bytes());
    out.extend_from_slice(&channel.to_le_bytes());
    out.extend_from_slice(body);
}

/// A message as bytes.
macro_rules! archives {
    ($($encode:ident, $decode:ident, $type:ty;)*) => {$(
        pub(crate) fn $encode(channel: u64, message: &$type) -> Vec<u8> {
            let body = rkyv::to_bytes::<rancor::Error>(message)
                .expect("serialising plain data into a growing buffer cannot fail");
            let mut out = Vec::with_capacity(HEAD_BYTES + body.len());
            put(channel, &body, &mut out);
            out
        }

        pub(crate) fn $decode(body: &[u8]) -> Result<$type, FrameError> {
            let mut aligned = AlignedVec::<16>::with_capacity(body.len());
            aligned.extend_from_slice(body);
            rkyv::from_bytes::<$type, rancor::Error>(&aligned).map_err(|_| FrameError::Archive)
        }
    )*};
}

archives! {
    encode_request, decode_request, crate::message::Request;
    encode_reply, decode_reply, crate::message::Reply;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Looked, Place, Question, Request, Scan, TableRef, Wanted, Write};
    use crate::pushed::{Call, Comparator, Gives, Input, Pushdown, Rule, Step};
    use resprout_engine::table::{ColumnId, TableId, Value};
    use resprout_wal::world::Rng;

    fn samples() -> Vec<Request> {
        let (table, place) =
            (TableRef { id: TableId(3), version: 2 }, Place { database: 7, ordinal: 9 });
        let values = vec![Value::Null, Value::Int(-5), Value::Text("text".to_owned())];
        let scan = Scan {
            table,
            index: None,
            view: 2,
            from: vec![1, 2],
            to: Some(vec![1, 3]),
            bytes_max: 1000,
        };
        let pushdown = Pushdown {
            inputs: vec![Input::Column(ColumnId(3)), Input::Key(ColumnId(1), Rule::GeneralCi)],
            condition: vec![
                Step::Input(0),
                Step::Constant(Value::Int(5)),
                Step::Compare(Comparator::Less),
                Step::All(1),
            ],
            gives: Gives::Groups { by: vec![1], calls: vec![Call::Rows, Call::Sum(0)] },
            zone: -3600,
        };
        vec![
            Request::Push(scan.clone(), pushdown, 12),
            Request::Begin { place, lock_wait_ms: Some(50) },
            Request::WriteLast(Write::Insert(table, values)),
            Request::Scan(scan),
            Request::Commit,
            Request::Fetch(
                vec![Wanted { place, table, looked: Looked::Keys(vec![vec![7, 8]]), rows_max: 3 }],
                9,
            ),
            Request::Of(place, Question::Raw { ranges: vec![(vec![1], None)] }),
        ]
    }

    /// Promise (N15): what was sent is what came; what is changed anywhere is an error; and any bytes that
    /// pretend to be an archive are an error or a message, with no more memory than a multiple of their length.
    #[test]
    fn n15_requests_come_as_they_were_sent_or_not_at_all() {
        let mut rng = Rng::new(3);
        for request in samples() {
            let bytes = encode_request(5, &request);
            let head = Head::decode(bytes.first_chunk().expect("a head")).expect("one of ours");
            let body = &bytes[HEAD_BYTES..];
            assert_eq!((head.length, head.channel), (body.len(), 5));
            head.check(body).expect("as it was sent");
            assert_eq!(decode_request(body), Ok(request));
            for at in 0..body.len() {
                let mut changed = body.to_vec();
                changed[at] ^= 1 << rng.below(8);
                assert_eq!(head.check(&changed), Err(FrameError::Checksum));
                // Never a panic, also where the checksum was made for it.
                let _ = decode_request(&changed);
                let _ = decode_request(&body[..at]);
            }
        }
        let mut long = [0xff; HEAD_BYTES];
        long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Head::decode(&long), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}

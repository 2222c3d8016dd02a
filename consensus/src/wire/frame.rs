//! One frame: a header, and a body of the length that it says.
//!
//! ```text
//! 0       4         6      7      8        12      16
//! ┌───────┬─────────┬──────┬──────┬────────┬───────┬──────
//! │ RSPC  │ version │ kind │ 0    │ length │ crc   │ body …
//! │       │ u16     │ u8   │      │ u32    │ u32   │
//! └───────┴─────────┴──────┴──────┴────────┴───────┴──────
//! ```
//!
//! The checksum covers the first twelve bytes and the body: a flip in the length is noticed as
//! well, once that many bytes are there, and their number is bounded before.

use super::WireError;

/// Bytes before the body. A multiple of 16, so that a body is aligned if its frame is.
pub const HEADER_BYTES: usize = 16;

const MAGIC: [u8; 4] = *b"RSPC";
const RESERVED_AT: usize = 7;
const CRC_AT: usize = 12;

const _: () = assert!(HEADER_BYTES == CRC_AT + 4 && HEADER_BYTES.is_multiple_of(16));

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`crate::Envelope`].
    Message = 1,
    /// A sign of life: no body.
    Beat = 2,
    /// Opens a connection.
    Hello = 3,
    /// Accepts it.
    Welcome = 4,
    /// Refuses it.
    Reject = 5,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the body; 0 in a handshake, where none is agreed on yet.
    pub version: u16,
    /// What the body is.
    pub kind: Kind,
    /// Bytes of the body.
    pub length: usize,
    /// Of what comes before it and of the body.
    crc: u32,
}

impl Header {
    /// The header of a body.
    ///
    /// # Panics
    /// If the body has 4 GiB: bounds are below.
    #[must_use]
    pub fn new(kind: Kind, version: u16, body: &[u8]) -> Self {
        assert!(u32::try_from(body.len()).is_ok(), "a body of {} bytes", body.len());
        let mut header = Self { version, kind, length: body.len(), crc: 0 };
        header.crc = header.checksum(body);
        header
    }

    /// Reads a header. The body's length is bounded here, before anybody asks for memory.
    ///
    /// # Errors
    /// [`WireError`] if it is none, or the body is longer than `length_max`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], length_max: usize) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, v0, v1, kind, reserved, l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        let magic = [m0, m1, m2, m3];
        if magic != MAGIC {
            return Err(WireError::Magic { found: magic });
        }
        if reserved != 0 {
            return Err(WireError::Reserved { at: RESERVED_AT });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > length_max {
            let (bytes, max) = (length + HEADER_BYTES, length_max + HEADER_BYTES);
            return Err(WireError::TooLong { bytes, max });
        }
        Ok(Self {
            version: u16::from_le_bytes([v0, v1]),
            kind: Kind::decode(kind)?,
            length,
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        })
    }

    /// Checks that the body is the one that was sent.
    ///
    /// # Errors
    /// [`WireError::Checksum`] if it is not.
    ///
    /// # Panics
    /// If the body is not as long as the header says: the caller has cut it.
    pub fn check(&self, body: &[u8]) -> Result<(), WireError> {
        assert_eq!(body.len(), self.length, "the body has the length of its header");
        let expected = self.checksum(body);
        let found = self.crc;
        if expected == found { Ok(()) } else { Err(WireError::Checksum { expected, found }) }
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[6] = self.kind as u8;
        bytes[8..CRC_AT].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[CRC_AT..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// A whole frame behind what is in `out`.
    pub(super) fn put(kind: Kind, version: u16, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::new(kind, version, body).encode());
        out.extend_from_slice(body);
    }

    /// Cuts one frame out of bytes that hold nothing else.
    pub(super) fn open(bytes: &[u8], bytes_max: usize) -> Result<(Self, &[u8]), WireError> {
        let Some((head, rest)) = bytes.split_first_chunk() else {
            return Err(WireError::Short { need: HEADER_BYTES, have: bytes.len() });
        };
        let header = Self::decode(head, bytes_max.saturating_sub(HEADER_BYTES))?;
        if rest.len() < header.length {
            let need = HEADER_BYTES + header.length;
            return Err(WireError::Short { need, have: bytes.len() });
        }
        let (body, behind) = rest.split_at(header.length);
        if !behind.is_empty() {
            return Err(WireError::Trailing { bytes: behind.len() });
        }
        header.check(body)?;
        Ok((header, body))
    }

    fn checksum(&self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.encode()[..CRC_AT]);
        hasher.update(body);
        hasher.finalize()
    }
}

impl Kind {
    fn decode(byte: u8) -> Result<Self, WireError> {
        let all = [Self::Message, Self::Beat, Self::Hello, Self::Welcome, Self::Reject];
        let found = all.into_iter().find(|kind| *kind as u8 == byte);
        found.ok_or(WireError::Kind { found: byte, expected: "1 to 5" })
    }

    /// Its number, for messages.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Message => "1 (message)",
            Self::Beat => "2 (beat)",
            Self::Hello => "3 (hello)",
            Self::Welcome => "4 (welcome)",
            Self::Reject => "5 (reject)",
        }
    }
}

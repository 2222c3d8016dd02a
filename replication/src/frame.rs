//! A frame on its way: the header as the log has it, and the payload, without padding.

use bytes::Bytes;
use resprout_wal::frame::{Flaw, Header};

/// The nonce under which headers travel: slots have their own, peers do not know it.
pub const WIRE_NONCE: u64 = 0;

/// One frame of a log. Cloning shares the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it says of itself.
    pub header: Header,
    /// The bytes behind the header.
    pub payload: Bytes,
}

impl Frame {
    /// A frame whose payload is what its header says (catalogue rows N15, D26).
    ///
    /// # Errors
    /// [`Flaw::Length`] or [`Flaw::PayloadSum`].
    pub fn new(header: Header, payload: Bytes) -> Result<Self, Flaw> {
        let frame = Self { header, payload };
        frame.check()?;
        Ok(frame)
    }

    /// Checks the payload against the header: where bytes come in, and where they go out.
    ///
    /// # Errors
    /// [`Flaw::Length`] or [`Flaw::PayloadSum`].
    pub fn check(&self) -> Result<(), Flaw> {
        if self.payload.len() != self.header.payload_len as usize {
            return Err(Flaw::Length { found: self.header.payload_len });
        }
        let (expected, found) = (self.header.payload_crc, crc32fast::hash(&self.payload));
        if expected == found { Ok(()) } else { Err(Flaw::PayloadSum { expected, found }) }
    }

    /// Bytes of log that it takes.
    #[must_use]
    pub fn padded_bytes(&self) -> u64 {
        self.header.padded_bytes()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Header { lsn, term, chain, .. } = self.header;
        write!(f, "Frame({lsn} term {term} chain {chain:016x}, {} bytes)", self.payload.len())
    }
}

//! What nodes say to each other, as bytes. Drawn in `docs/formats/raft-wire.md`.
//!
//! Everything travels in frames with a header, a length and a checksum; nothing else may know an
//! offset. Whatever arrives comes from a peer that may be of another version, of another cluster,
//! or no node at all: lengths are bounded before memory is asked for, every byte is under the
//! checksum, and archives are validated before they are read.
//!
//! The handshake is laid out by hand and stays as it is for ever: it is how versions find out about
//! each other. Messages are rkyv archives of the version agreed on.

pub use frame::{HEADER_BYTES, Header, Kind};
pub use handshake::{HANDSHAKE_BYTES_MAX, Hello, Reject, Versions, Welcome};
pub use message::{Encoder, decode, decode_body, encode, size};

mod frame;
mod handshake;
mod message;

/// The version of messages that this program writes.
pub const VERSION: u16 = 1;

/// Versions of messages that this program understands.
pub const VERSIONS: Versions = Versions { first: VERSION, last: VERSION };

/// The usual bound of a frame: eight times the largest command and 32 times a piece of a snapshot
/// or the entries of one append, by the bounds that [`crate::Limits`] has by default.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize, "a length has four bytes");

/// What is wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// There is less than a frame.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// How many there must be.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// There is more than a frame.
    #[error("{bytes} bytes behind the frame")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Something else speaks here.
    #[error("not a frame of Resprout's Raft: it begins with {found:02x?}")]
    Magic {
        /// What is there.
        found: [u8; 4],
    },
    /// Another version than the one agreed on.
    #[error("version {found} where {expected} is expected")]
    Version {
        /// What the frame says.
        found: u16,
        /// What it should say.
        expected: u16,
    },
    /// No such kind of frame, or not here.
    #[error("a frame of kind {found} where {expected} is expected")]
    Kind {
        /// What the frame says.
        found: u8,
        /// What may be there.
        expected: &'static str,
    },
    /// A byte that must be zero is not.
    #[error("the reserved byte at {at} is not zero")]
    Reserved {
        /// Where.
        at: usize,
    },
    /// Longer than allowed. Nothing was read.
    #[error("a frame of {bytes} bytes, at most {max} are possible")]
    TooLong {
        /// What it says or would be.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Changed on its way.
    #[error("checksum {found:08x} where {expected:08x} is expected")]
    Checksum {
        /// What the bytes give.
        expected: u32,
        /// What the frame says.
        found: u32,
    },
    /// A handshake of another length than it has.
    #[error("a handshake of {found} bytes where {expected} are expected")]
    Length {
        /// What is there.
        found: usize,
        /// What must be.
        expected: usize,
    },
    /// A reason that this version does not know.
    #[error("refused for a reason this version does not know: {code}")]
    Reason {
        /// Its number.
        code: u16,
    },
    /// A store without a number: every directory has one.
    #[error("store 0, which is none")]
    NoStore,
    /// The archive's structure is broken.
    #[error("broken archive: {0}")]
    Archive(rkyv::rancor::Error),
}

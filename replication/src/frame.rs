//! Frames on their way: as the log has them, without padding.

pub use resprout_wal::Frame;

/// The nonce under which headers travel: slots have their own, peers do not know it.
pub const WIRE_NONCE: u64 = 0;

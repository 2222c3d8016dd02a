//! Where slots lie, and the superblock that says so.

use thiserror::Error;

use super::slot::{HEAD_BYTES, crc_around};
use crate::frame::{FRAME_BYTES_MAX, array_at, u16_at, u32_at, u64_at};
use crate::{Lsn, SECTOR};

/// Name of the arena in its directory.
pub const ARENA_FILE: &str = "wal.arena";
/// Smallest slot: room for the head and a few frames.
const SLOT_BYTES_MIN: u64 = 64 << 10;
/// Largest slot.
const SLOT_BYTES_MAX: u64 = 1 << 30;
/// Bytes before the first slot.
const ARENA_HEAD_BYTES: u64 = 64 << 10;

const MAGIC: u32 = u32::from_le_bytes(*b"RSAR");
const VERSION: u16 = 1;
const CRC_AT: usize = 40;

/// Where slots and frames lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slot_bytes: u64,
}

impl Geometry {
    /// Slots of that many bytes; `None` if too small, too large or not a power of two.
    #[must_use]
    pub fn new(slot_bytes: u64) -> Option<Self> {
        let sensible = (SLOT_BYTES_MIN..=SLOT_BYTES_MAX).contains(&slot_bytes);
        (sensible && slot_bytes.is_power_of_two()).then_some(Self { slot_bytes })
    }

    /// Bytes of a slot, its head counted.
    #[must_use]
    pub fn slot_bytes(self) -> u64 {
        self.slot_bytes
    }

    /// Bytes of frames in a full slot.
    #[must_use]
    pub fn capacity(self) -> u64 {
        self.slot_bytes - HEAD_BYTES
    }

    /// Most bytes of a frame here.
    #[must_use]
    pub fn frame_bytes_max(self) -> u64 {
        self.capacity().min(FRAME_BYTES_MAX as u64)
    }

    /// Where a slot begins in the file.
    #[must_use]
    pub fn slot_offset(self, index: u32) -> u64 {
        ARENA_HEAD_BYTES + u64::from(index) * self.slot_bytes
    }

    /// Where an LSN of a slot that begins at `base` lies in the file.
    #[must_use]
    pub fn frame_offset(self, index: u32, base: Lsn, lsn: Lsn) -> u64 {
        assert!(lsn >= base && lsn.since(base) <= self.capacity(), "{lsn} is not in slot {index}");
        self.slot_offset(index) + HEAD_BYTES + lsn.since(base)
    }

    /// Length of a file with that many slots.
    #[must_use]
    pub fn file_bytes(self, slots: u32) -> u64 {
        self.slot_offset(slots)
    }

    /// How many slots a file of that length touches, the last perhaps only in part.
    #[must_use]
    pub fn slots_touched(self, file_bytes: u64) -> u32 {
        let bytes = file_bytes.saturating_sub(ARENA_HEAD_BYTES);
        u32::try_from(bytes.div_ceil(self.slot_bytes)).unwrap_or(u32::MAX)
    }

    /// How many whole slots a file of that length has.
    #[must_use]
    pub fn slots_whole(self, file_bytes: u64) -> u32 {
        let bytes = file_bytes.saturating_sub(ARENA_HEAD_BYTES);
        u32::try_from(bytes / self.slot_bytes).unwrap_or(u32::MAX)
    }
}

/// Whose an arena is, and how it is cut.
///
/// ```text
///  0 magic │ 4 version │ 8 slot size │ 16 cluster │ 32 directory │ 40 crc │ zeros to the sector's end
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// How the file is cut.
    pub geometry: Geometry,
    /// The cluster whose logs lie here.
    pub cluster: u128,
    /// The data directory this file was made in.
    pub directory: u64,
}

/// Why a superblock is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SuperblockFlaw {
    /// Not an arena.
    #[error("magic {found:#010x} is not an arena's")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// Written by a newer program.
    #[error("format version {found}, this program reads {VERSION}")]
    Version {
        /// Stored.
        found: u16,
    },
    /// Changed or torn.
    #[error("checksum {found:#010x}, computed {expected:#010x}")]
    Sum {
        /// Computed.
        expected: u32,
        /// Stored.
        found: u32,
    },
    /// A slot size that no version writes.
    #[error("slots of {found} bytes")]
    SlotBytes {
        /// Stored.
        found: u64,
    },
}

impl Superblock {
    /// One sector.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.geometry.slot_bytes.to_le_bytes());
        out[16..32].copy_from_slice(&self.cluster.to_le_bytes());
        out[32..40].copy_from_slice(&self.directory.to_le_bytes());
        let crc = crc_around(&out, CRC_AT);
        out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a superblock.
    ///
    /// # Errors
    /// What is wrong with the sector.
    pub fn decode(bytes: &[u8; SECTOR]) -> Result<Self, SuperblockFlaw> {
        let found = u32_at(bytes, 0);
        if found != MAGIC {
            return Err(SuperblockFlaw::Magic { found });
        }
        let (expected, found) = (crc_around(bytes, CRC_AT), u32_at(bytes, CRC_AT));
        if expected != found {
            return Err(SuperblockFlaw::Sum { expected, found });
        }
        let found = u16_at(bytes, 4);
        if found != VERSION {
            return Err(SuperblockFlaw::Version { found });
        }
        let found = u64_at(bytes, 8);
        let geometry = Geometry::new(found).ok_or(SuperblockFlaw::SlotBytes { found })?;
        Ok(Self {
            geometry,
            cluster: u128::from_le_bytes(array_at(bytes, 16)),
            directory: u64_at(bytes, 32),
        })
    }
}

//! The last sector of a snapshot: how much there is, and the proof that header and directory
//! belong to the same file.
//!
//! ```text
//!    0  magic "RSPRSEND"          8   version u16  10  zero       12  header crc u32 (echo)
//!   16  instance u64 (echo)      24   LSN u64 (echo)
//!   32  pages offset u64         40   directory offset u64        48  directory bytes u64
//!   56  leaves u64               64   pages u64    72  rows u64   80  digest u64
//!   88  chunks u64               96   blocks u32  100  crc u32 over the crcs of all blocks
//!  104  zero
//! 4092  crc u32 over all before
//! ```

use crate::PAGE;
use crate::digest::Digest;
use crate::error::{Damage, Part};
use crate::field::{array_at, is_zero, put, u16_at, u32_at, u64_at};
use crate::header::VERSION;

const MAGIC: [u8; 8] = *b"RSPRSEND";
const USED: usize = 104;
const CRC_AT: usize = PAGE - 4;

const _: () = assert!(USED < CRC_AT);

/// The footer sector, decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) header_crc: u32,
    pub(crate) instance: u64,
    pub(crate) lsn: u64,
    pub(crate) pages_offset: u64,
    pub(crate) directory_offset: u64,
    pub(crate) directory_len: u64,
    pub(crate) leaves: u64,
    pub(crate) pages: u64,
    pub(crate) rows: u64,
    pub(crate) digest: Digest,
    pub(crate) chunks: u64,
    pub(crate) blocks: u32,
    pub(crate) blocks_crc: u32,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; PAGE] {
        let mut sector = [0; PAGE];
        put(&mut sector, 0, &MAGIC);
        put(&mut sector, 8, &VERSION.to_le_bytes());
        put(&mut sector, 12, &self.header_crc.to_le_bytes());
        let numbers = [
            self.instance,
            self.lsn,
            self.pages_offset,
            self.directory_offset,
            self.directory_len,
            self.leaves,
            self.pages,
            self.rows,
            self.digest.0,
            self.chunks,
        ];
        for (number, at) in numbers.iter().zip((16..).step_by(8)) {
            put(&mut sector, at, &number.to_le_bytes());
        }
        put(&mut sector, 96, &self.blocks.to_le_bytes());
        put(&mut sector, 100, &self.blocks_crc.to_le_bytes());
        let crc = crc32fast::hash(&sector[..CRC_AT]);
        put(&mut sector, CRC_AT, &crc.to_le_bytes());
        sector
    }

    pub(crate) fn decode(sector: &[u8; PAGE]) -> Result<Self, Damage> {
        let part = Part::Footer;
        if array_at::<8>(sector, 0) != MAGIC {
            let rule = "does not start with its magic: the file was cut or never finished";
            return Err(Damage::Content { part, rule });
        }
        let (expected, found) = (u32_at(sector, CRC_AT), crc32fast::hash(&sector[..CRC_AT]));
        if expected != found {
            return Err(Damage::Checksum { part, expected, found });
        }
        let version = u16_at(sector, 8);
        if version != VERSION {
            let (expected, found) = (u64::from(VERSION), u64::from(version));
            return Err(Damage::Field { part, field: "version", expected, found });
        }
        if !is_zero(&sector[10..12]) || !is_zero(&sector[USED..CRC_AT]) {
            return Err(Damage::Content { part, rule: "has reserved bytes that are not zero" });
        }
        Ok(Self {
            header_crc: u32_at(sector, 12),
            instance: u64_at(sector, 16),
            lsn: u64_at(sector, 24),
            pages_offset: u64_at(sector, 32),
            directory_offset: u64_at(sector, 40),
            directory_len: u64_at(sector, 48),
            leaves: u64_at(sector, 56),
            pages: u64_at(sector, 64),
            rows: u64_at(sector, 72),
            digest: Digest(u64_at(sector, 80)),
            chunks: u64_at(sector, 88),
            blocks: u32_at(sector, 96),
            blocks_crc: u32_at(sector, 100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: every field comes back, each in a place of its own.
    #[test]
    fn every_field_comes_back() {
        let footer = Footer {
            header_crc: 1,
            instance: 2,
            lsn: 3,
            pages_offset: 4,
            directory_offset: 5,
            directory_len: 6,
            leaves: 7,
            pages: 8,
            rows: 9,
            digest: Digest(10),
            chunks: 11,
            blocks: 12,
            blocks_crc: 13,
        };
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
    }

    /// Guards S21: every flipped byte of the sector is noticed, also where nothing is stored.
    #[test]
    fn s21_every_flipped_byte_is_noticed() {
        let good = Footer::default().encode();
        for at in 0..PAGE {
            let mut sector = good;
            sector[at] ^= 0x40;
            assert!(Footer::decode(&sector).is_err(), "byte {at}");
        }
    }
}

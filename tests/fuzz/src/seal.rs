//! Making checksums right again, so that a mutant is judged by what it says and not by its sum.
//!
//! Bytes that are not there are left alone: a mutant may be cut anywhere.

#![expect(clippy::ptr_arg, reason = "seals have one type, and some change the length")]

use resprout_snapshot::PAGE;
use resprout_wal::frame::{HEADER_BYTES, Header};
use resprout_wal::{Geometry, SECTOR};

use crate::bundle::Bundle;

/// Offsets of checksums, from the module docs of the formats.
const SUPERBLOCK_CRC: usize = 40;
const SLOT_HEADER_CRC: usize = 76;
const MARK_CRC: usize = 28;
const FRAME_CRC: usize = 56;
const FRAME_PAYLOAD_LEN: usize = 32;
const FRAME_PAYLOAD_CRC: usize = 36;
const FRAME_CHAIN: usize = 24;
const SLOT_CHAIN: usize = 64;
const HEAD_SECTORS: usize = 3;
const SECTOR_END_CRC: usize = SECTOR - 4;

/// `nonce u64 │ frame`.
pub(crate) fn frame(input: &mut Vec<u8>) {
    let Some((nonce, _)) = crate::number_and_rest(input) else { return };
    seal_frame(&mut input[8..], nonce, None);
}

/// One sector.
pub(crate) fn slot_header(input: &mut Vec<u8>) {
    around(input, SLOT_HEADER_CRC);
}

/// `nonce u64 │ sector`.
pub(crate) fn mark(input: &mut Vec<u8>) {
    if input.len() > 8 {
        around(&mut input[8..], MARK_CRC);
    }
}

/// One sector.
pub(crate) fn superblock(input: &mut Vec<u8>) {
    around(input, SUPERBLOCK_CRC);
}

/// One sector whose last four bytes are its sum.
pub(crate) fn identity(input: &mut Vec<u8>) {
    sector_end(input);
}

/// A header with the sum of what follows.
pub(crate) fn manifest(input: &mut Vec<u8>) {
    const HEADER: usize = 32;
    if input.len() < HEADER {
        return;
    }
    let body = input.len() - HEADER;
    put(input, 12, body as u32);
    let crc = crc32fast::hash(&input[HEADER..]);
    put(input, 16, crc);
}

/// A frame of Raft: its length, and the sum of its head and body.
pub(crate) fn wire(input: &mut Vec<u8>) {
    const HEADER: usize = 16;
    if input.len() < HEADER {
        return;
    }
    let body = input.len() - HEADER;
    put(input, 8, body as u32);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&input[..12]);
    crc.update(&input[HEADER..]);
    put(input, 12, crc.finalize());
}

/// A bundle with one arena.
pub(crate) fn arena(input: &mut Vec<u8>) {
    let mut bundle = Bundle::decode(input);
    bundle.files.truncate(1);
    for file in &mut bundle.files {
        arena_file(&mut file.bytes);
    }
    *input = bundle.encode();
}

/// A bundle with a data directory: each file by its name.
pub(crate) fn directory(input: &mut Vec<u8>) {
    let mut bundle = Bundle::decode(input);
    for file in &mut bundle.files {
        match file.path.as_str() {
            "identity" => identity(&mut file.bytes),
            "wal.arena" => arena_file(&mut file.bytes),
            path if path.ends_with(".db") => manifest(&mut file.bytes),
            path if path.ends_with(".rsnap") => snapshot(&mut file.bytes),
            _ => {}
        }
    }
    *input = bundle.encode();
}

fn arena_file(bytes: &mut [u8]) {
    for copy in bytes.chunks_mut(SECTOR).take(2) {
        around(copy, SUPERBLOCK_CRC);
    }
    let Some(geometry) = u64_at(bytes, 8).and_then(Geometry::new) else { return };
    for index in 0..geometry.slots_whole(bytes.len() as u64) {
        let (from, to) = (geometry.slot_offset(index), geometry.slot_offset(index + 1));
        seal_slot(&mut bytes[from as usize..to as usize]);
    }
}

fn seal_slot(slot: &mut [u8]) {
    around(&mut slot[..SECTOR], SLOT_HEADER_CRC);
    for mark in slot.chunks_mut(SECTOR).take(HEAD_SECTORS).skip(1) {
        if mark.iter().any(|byte| *byte != 0) {
            around(mark, MARK_CRC);
        }
    }
    let (Some(nonce), Some(mut chain)) = (u64_at(slot, 8), u64_at(slot, SLOT_CHAIN)) else {
        return;
    };
    let mut at = HEAD_SECTORS * SECTOR;
    while at < slot.len() {
        let frame = &mut slot[at..];
        if frame[..4] != *b"RSFR" {
            return;
        }
        seal_frame(frame, nonce, Some(chain));
        let Ok(header) = Header::decode(frame, nonce) else { return };
        chain = header.next_chain();
        at += header.padded_bytes() as usize;
    }
}

fn seal_frame(frame: &mut [u8], nonce: u64, chain: Option<u64>) {
    if frame.len() < HEADER_BYTES {
        return;
    }
    let len = u32_at(frame, FRAME_PAYLOAD_LEN) as usize;
    if let Some(payload) = frame.get(HEADER_BYTES..HEADER_BYTES.saturating_add(len)) {
        let crc = crc32fast::hash(payload);
        put(frame, FRAME_PAYLOAD_CRC, crc);
    }
    if let Some(chain) = chain {
        frame[FRAME_CHAIN..FRAME_CHAIN + 8].copy_from_slice(&chain.to_le_bytes());
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(&frame[..FRAME_CRC]);
    hasher.update(&frame[FRAME_CRC + 4..HEADER_BYTES]);
    put(frame, FRAME_CRC, hasher.finalize());
}

/// The bytes of a snapshot file, from the pages to the footer.
pub(crate) fn snapshot(bytes: &mut Vec<u8>) {
    if bytes.len() < 2 * PAGE {
        return;
    }
    seal_schema(bytes);
    sector_end(&mut bytes[..PAGE]);
    let footer = (bytes.len() - 1) / PAGE * PAGE;
    let header_crc = u32_at(bytes, SECTOR_END_CRC);
    put(bytes, footer + 12, header_crc);
    if let Some(blocks_crc) = seal_directory(bytes, footer) {
        put(bytes, footer + 100, blocks_crc);
    }
    if bytes.len() == footer + PAGE {
        sector_end(&mut bytes[footer..]);
    }
}

fn seal_schema(bytes: &mut [u8]) {
    let len = (u32_at(bytes, 72) as usize).next_multiple_of(PAGE);
    if let Some(schema) = bytes.get(PAGE..PAGE.saturating_add(len)) {
        let crc = crc32fast::hash(schema);
        put(bytes, 76, crc);
    }
}

/// Sums of leaves into their entries, of blocks into their headers; the sum of these sums.
fn seal_directory(bytes: &mut [u8], footer: usize) -> Option<u32> {
    let pages = usize::try_from(u64_at(bytes, footer + 32)?).ok()?;
    let start = usize::try_from(u64_at(bytes, footer + 40)?).ok()?;
    if pages > start || start > footer {
        return None;
    }
    let (front, directory) = bytes[..footer].split_at_mut(start);
    let mut page_at = pages;
    let mut sums = crc32fast::Hasher::new();
    let mut at = 0;
    while at + PAGE <= directory.len() {
        let len = u32_at(directory, at + 20) as usize;
        let block = directory.get_mut(at..at.saturating_add(len)).filter(|b| b.len() >= PAGE)?;
        if block[8..10] == [1, 0] {
            seal_leaves(block, front, &mut page_at);
        }
        let crc = crc32fast::hash(&block[8..]);
        put(block, 4, crc);
        sums.update(&crc.to_le_bytes());
        at += len;
    }
    Some(sums.finalize())
}

fn seal_leaves(block: &mut [u8], front: &[u8], page_at: &mut usize) {
    let mut next = 32;
    for _ in 0..u32_at(block, 12) {
        if next + 14 > block.len() {
            return;
        }
        let run = (u32_at(block, next) as usize).saturating_mul(PAGE);
        let Some(pages) = front.get(*page_at..page_at.saturating_add(run)) else { return };
        let crc = crc32fast::hash(pages);
        put(block, next + 8, crc);
        *page_at += run;
        next += 14 + usize::from(u16::from_le_bytes([block[next + 12], block[next + 13]]));
    }
}

/// The sum of a whole sector but its own four bytes.
fn around(bytes: &mut [u8], at: usize) {
    let Some(sector) = bytes.first_chunk_mut::<SECTOR>() else { return };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sector[..at]);
    hasher.update(&sector[at + 4..]);
    put(sector, at, hasher.finalize());
}

/// The sum of a sector in its last four bytes.
fn sector_end(bytes: &mut [u8]) {
    let Some(sector) = bytes.first_chunk_mut::<SECTOR>() else { return };
    let crc = crc32fast::hash(&sector[..SECTOR_END_CRC]);
    put(sector, SECTOR_END_CRC, crc);
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: sealing knows the formats: a seed, whose sums are right, is not changed by it, and
    /// comes back when its sums were destroyed.
    #[test]
    fn sealing_a_seed_changes_nothing() {
        for target in crate::targets() {
            let Some(seal) = target.seal else { continue };
            for (name, seed) in crate::seeds::seeds(target.name) {
                let mut sealed = seed.clone();
                seal(&mut sealed);
                assert!(sealed == seed, "{}/{name}", target.name);
            }
        }
        let (_, seed) = crate::seeds::seeds("snapshot").remove(0);
        let mut broken = seed.clone();
        let footer = seed.len() - PAGE;
        for at in [76, SECTOR_END_CRC, footer + 100, footer + SECTOR_END_CRC] {
            broken[at] ^= 1;
        }
        snapshot(&mut broken);
        assert!(broken == seed);
    }
}

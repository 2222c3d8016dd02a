//! Mutants of seeds, the same for the same number: flipped bits, odd numbers, moved and repeated
//! spans, cuts, pieces of other seeds.

use resprout_wal::world::Rng;

/// Most changes of one mutant. Few, since a decoder that stops at the first is not asked about
/// the others.
const CHANGES_MAX: u64 = 4;
/// Most bytes of a moved or repeated span.
const SPAN_MAX: u64 = 512;
/// Numbers that lengths and counts break on.
const ODD: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX / 2,
    u64::MAX,
];

/// The mutant of `seed` with this number; `other` gives pieces.
#[must_use]
pub fn mutant(number: u64, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(CHANGES_MAX) {
        change(&mut rng, &mut bytes, other);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let len = bytes.len();
    if len == 0 {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
        return;
    }
    let at = place(rng, len);
    match rng.below(10) {
        0 | 1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes[at] = rng.next() as u8,
        3 | 4 => write(bytes, at, &number(rng).to_le_bytes()[..1 << rng.below(4)]),
        5 => add(rng, bytes, at),
        6 => {
            let from = place(rng, len);
            let span = span(rng, len - from);
            let moved = bytes[from..from + span].to_vec();
            write(bytes, at, &moved);
        }
        7 if rng.chance(1, 2) => bytes.truncate(at),
        7 => drop(bytes.drain(at..at + span(rng, len - at))),
        8 => {
            let span = span(rng, len - at);
            let again = bytes[at..at + span].to_vec();
            bytes.splice(at..at, again);
        }
        _ if !other.is_empty() => {
            let from = place(rng, other.len());
            let span = span(rng, other.len() - from);
            write(bytes, at, &other[from..from + span]);
        }
        _ => bytes[at] = !bytes[at],
    }
}

/// Anywhere, and every second time near the beginning, where headers are.
fn place(rng: &mut Rng, len: usize) -> usize {
    let bound = if rng.chance(1, 2) { len.min(128) } else { len };
    rng.below(bound as u64) as usize
}

fn span(rng: &mut Rng, most: usize) -> usize {
    (1 + rng.below(SPAN_MAX) as usize).min(most)
}

fn number(rng: &mut Rng) -> u64 {
    if rng.chance(1, 4) { rng.below(5000) } else { ODD[rng.below(ODD.len() as u64) as usize] }
}

fn add(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let by = 1 + rng.below(16) as u8;
    bytes[at] =
        if rng.chance(1, 2) { bytes[at].wrapping_add(by) } else { bytes[at].wrapping_sub(by) };
}

/// Overwrites as much as there is.
fn write(bytes: &mut [u8], at: usize, new: &[u8]) {
    let len = new.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&new[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Guards: a printed number replays its mutant, and numbers give different mutants.
    #[test]
    fn a_number_is_a_mutant() {
        let seed: Vec<u8> = (0..200).collect();
        let all: BTreeSet<_> = (0..1000).map(|n| mutant(n, &seed, &[7; 50])).collect();
        assert!(all.len() > 900, "{} of 1000 differ", all.len());
        assert!((0..100).all(|n| mutant(n, &seed, &[7; 50]) == mutant(n, &seed, &[7; 50])));
    }
}

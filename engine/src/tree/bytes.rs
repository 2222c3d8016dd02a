//! A few bytes compared, or read as a number, without a call.
//!
//! Each level of a search compares the common prefix of its node, mostly of 5 to 12 bytes, and reads a
//! head from the few bytes after it. Calls of the system's `memcmp` and `memcpy` for these cost as much
//! as the rest of the level, and a number read from bytes just copied waits for the copy.

/// Whether both have the same bytes.
#[inline]
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Words from the front, then one that ends with the last byte and may overlap.
    let (words_a, words_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    if let (Some(last_a), Some(last_b)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        return word(last_a) == word(last_b)
            && words_a.iter().zip(words_b).all(|(a, b)| word(a) == word(b));
    }
    if let (Some(first_a), Some(first_b)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        let half = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let (last_a, last_b) = (a.last_chunk::<4>(), b.last_chunk::<4>());
        return half(first_a) == half(first_b) && last_a.map(half) == last_b.map(half);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// The key without the prefix, if it has it.
#[inline]
pub(super) fn strip_prefix<'k>(key: &'k [u8], prefix: &[u8]) -> Option<&'k [u8]> {
    let (start, rest) = key.split_at_checked(prefix.len())?;
    is_equal(start, prefix).then_some(rest)
}

/// The first 8 bytes of the key from `at` on as a big-endian number, zeros where there are no more.
#[inline]
pub(super) fn head8(key: &[u8], at: usize) -> u64 {
    let rest = &key[at..];
    if let Some(first) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let missing = 8 * (8 - rest.len());
    if let Some(last) = key.last_chunk::<8>() {
        // All that is left are the last bytes of a word that ends where the key ends.
        return u64::from_be_bytes(*last).unbounded_shl(missing as u32);
    }
    rest.iter().fold(0, |head, &byte| head << 8 | u64::from(byte)).unbounded_shl(missing as u32)
}

/// The same with 4 bytes.
#[inline]
pub(super) fn head4(key: &[u8], at: usize) -> u32 {
    let rest = &key[at..];
    if let Some(first) = rest.first_chunk::<4>() {
        return u32::from_be_bytes(*first);
    }
    let missing = 8 * (4 - rest.len());
    if let Some(last) = key.last_chunk::<4>() {
        return u32::from_be_bytes(*last).unbounded_shl(missing as u32);
    }
    rest.iter().fold(0, |head, &byte| head << 8 | u32::from(byte)).unbounded_shl(missing as u32)
}

/// Copies bytes, mostly a few.
#[inline]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    assert!(to.len() == from.len(), "{} bytes to a place of {}", from.len(), to.len());
    if from.len() > 16 {
        to.copy_from_slice(from);
    } else if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        // Two words that may overlap.
        if let Some(to) = to.first_chunk_mut() {
            *to = *first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = *last;
        }
    } else {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards: all bytes are copied, and no others, whatever the length.
    #[test]
    fn copies_are_the_same_bytes() {
        let from: Vec<u8> = (1..=40).collect();
        for length in 0..=from.len() {
            let mut to = vec![0xee; from.len()];
            copy(&mut to[..length], &from[..length]);
            assert_eq!(to[..length], from[..length]);
            assert!(to[length..].iter().all(|&byte| byte == 0xee), "behind {length}");
        }
    }

    /// Guards: a head is what the bytes are when padded with zeros, wherever it begins.
    #[test]
    fn heads_are_padded_with_zeros() {
        let text: Vec<u8> = (0xf1..=0xff).collect();
        for length in 0..=text.len() {
            let key = &text[..length];
            for at in 0..=length {
                let mut padded = key[at..].to_vec();
                padded.resize(8.max(padded.len()), 0);
                let expected = u64::from_be_bytes(*padded.first_chunk().unwrap());
                assert_eq!(head8(key, at), expected, "{at} of {length}");
                assert_eq!(u64::from(head4(key, at)), expected >> 32, "{at} of {length}");
            }
        }
    }

    /// Guards: every length and every single differing byte decides like the slices themselves.
    #[test]
    fn equality_and_prefixes_are_those_of_slices() {
        let text: Vec<u8> = (1..=40).collect();
        for length in 0..=text.len() {
            let a = &text[..length];
            assert!(is_equal(a, a));
            assert_eq!(strip_prefix(&text, a), Some(&text[length..]));
            for at in 0..length {
                let mut b = a.to_vec();
                b[at] ^= 0x80;
                assert!(!is_equal(a, &b), "byte {at} of {length}");
                assert_eq!(strip_prefix(&text, &b), None, "byte {at} of {length}");
            }
            if length > 0 {
                assert!(!is_equal(a, &a[1..]) && !is_equal(&a[1..], a));
                assert_eq!(strip_prefix(&a[1..], a), None);
            }
        }
    }
}

//! Bytes on their way into a socket: pieces of several messages, written together and not copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

/// Most pieces of one call of the system.
const SLICES_MAX: usize = 128;

/// What a call that must not wait has achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// The socket takes no more for now.
    Some,
}

/// Pieces in their order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Bytes that are left.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes with a function that writes what it can of some slices.
    pub(super) fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Written> {
        while !self.parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let pieces = slices.iter_mut().zip(&self.parts);
            let count = pieces.map(|(slice, part)| *slice = IoSlice::new(part)).count();
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Some);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Written::All)
    }

    fn advance(&mut self, mut written: usize) {
        assert!(written <= self.bytes, "{written} bytes written of {}", self.bytes);
        self.bytes -= written;
        while let Some(first) = self.parts.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: however few bytes each call takes, what arrives is what was put, in order.
    #[test]
    fn partial_writes_lose_and_double_nothing() {
        let parts: Vec<Bytes> =
            (0..300_u16).map(|n| Bytes::from(vec![n as u8; usize::from(n % 7)])).collect();
        let expected = parts.concat();
        for step in [1, 2, 5, 100, 10_000] {
            let mut batch = Batch::default();
            batch.push(parts.clone());
            let mut arrived = Vec::new();
            let mut calls = 0;
            while !batch.is_empty() {
                let written = batch.write(|slices| {
                    assert!(slices.len() <= SLICES_MAX);
                    calls += 1;
                    if calls % 3 == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                    let taken = bytes.len().min(step);
                    arrived.extend_from_slice(&bytes[..taken]);
                    Ok(taken)
                });
                assert_eq!(written.unwrap() == Written::All, batch.is_empty());
                assert_eq!(batch.bytes(), expected.len() - arrived.len());
            }
            assert_eq!(arrived, expected);
        }
    }
}

//! Packets: a payload in pieces of at most 16 MiB - 1, each behind its length and a number that
//! counts up within one exchange.
//!
//! ```text
//!   length u24 │ number u8 │ payload          a piece of 0xFF_FFFF bytes has another behind it
//! ```
//!
//! [`Inbound`] takes bytes as they come and gives whole payloads, or pieces of a stream (LOCAL
//! INFILE) that never need to be whole. Its memory is bounded by the largest packet allowed plus
//! what was fed. [`Outbound`] is the one buffer that answers are written into.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the largest piece of a payload.
pub const PIECE_MAX: usize = 0xFF_FFFF;
/// Bytes before each piece.
pub const HEADER_LEN: usize = 4;

/// Why the bytes of a client cannot be cut in packets. None of them leaves a way to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The number of a packet is not the next one (MySQL 1156).
    #[error("packet number {found} where {expected} was due")]
    OutOfOrder {
        /// The next number.
        expected: u8,
        /// The packet's.
        found: u8,
    },
    /// The payload is larger than allowed (MySQL 1153).
    #[error("a packet of more than {limit} bytes")]
    TooLarge {
        /// Largest payload allowed.
        limit: usize,
    },
}

/// Cuts what a client sends in packets.
#[derive(Debug)]
pub struct Inbound {
    buffer: BytesMut,
    /// Pieces of a payload that has more than one.
    pieces: BytesMut,
    /// Number of the next packet.
    number: u8,
    limit: usize,
    /// Bytes of the current piece that a stream has not handed out yet.
    streaming: usize,
}

impl Inbound {
    /// For payloads of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), pieces: BytesMut::new(), number: 0, limit, streaming: 0 }
    }

    /// Allows payloads of at most `limit` bytes from now on.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next packet must have this number.
    pub const fn expect(&mut self, number: u8) {
        self.number = number;
    }

    /// Number that the next packet must have; an answer goes on counting from it.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Where bytes are read into; callers only append.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether part of a packet is here: the client is in the middle of sending.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || !self.pieces.is_empty()
    }

    /// Bytes until the packet at the front is whole, or until its length is known.
    #[must_use]
    pub fn missing(&self) -> usize {
        match self.header() {
            Some((len, _)) => (HEADER_LEN + len).saturating_sub(self.buffer.len()),
            None => HEADER_LEN - self.buffer.len(),
        }
    }

    /// Bytes held: what a client makes this connection keep.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() + self.pieces.len()
    }

    /// Gives memory back after a large packet.
    pub fn shrink(&mut self, keep: usize) {
        if self.buffer.is_empty() && self.buffer.capacity() > keep {
            self.buffer = BytesMut::new();
        }
    }

    /// Length and number of the piece at the front.
    fn header(&self) -> Option<(usize, u8)> {
        let [low, middle, high, number] = *self.buffer.first_chunk::<HEADER_LEN>()?;
        Some((u32::from_le_bytes([low, middle, high, 0]) as usize, number))
    }

    fn check_number(&mut self, found: u8) -> Result<(), PacketError> {
        if found != self.number {
            return Err(PacketError::OutOfOrder { expected: self.number, found });
        }
        self.number = self.number.wrapping_add(1);
        Ok(())
    }

    /// The next payload, once it is whole.
    ///
    /// # Errors
    /// If a packet is out of order, or larger than allowed, which is known from its header.
    pub fn next_packet(&mut self) -> Result<Option<Bytes>, PacketError> {
        while let Some((len, number)) = self.header() {
            // Refused before it is here: what is too large is never kept.
            if self.pieces.len().saturating_add(len) > self.limit {
                return Err(PacketError::TooLarge { limit: self.limit });
            }
            if self.buffer.len() < HEADER_LEN + len {
                if number != self.number {
                    return Err(PacketError::OutOfOrder { expected: self.number, found: number });
                }
                return Ok(None);
            }
            self.check_number(number)?;
            let mut piece = self.buffer.split_to(HEADER_LEN + len);
            let piece = piece.split_off(HEADER_LEN);
            if len == PIECE_MAX {
                self.pieces.extend_from_slice(&piece);
            } else if self.pieces.is_empty() {
                return Ok(Some(piece.freeze()));
            } else {
                let mut whole = std::mem::take(&mut self.pieces);
                whole.extend_from_slice(&piece);
                return Ok(Some(whole.freeze()));
            }
        }
        Ok(None)
    }

    /// The next bytes of a stream of packets, as they come; an empty piece ends the stream.
    ///
    /// # Errors
    /// If a packet is out of order.
    pub fn next_streamed(&mut self) -> Result<Option<Bytes>, PacketError> {
        loop {
            if self.streaming > 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let taken = self.streaming.min(self.buffer.len());
                self.streaming -= taken;
                return Ok(Some(self.buffer.split_to(taken).freeze()));
            }
            let Some((len, number)) = self.header() else { return Ok(None) };
            self.check_number(number)?;
            let _header = self.buffer.split_to(HEADER_LEN);
            if len == 0 {
                return Ok(Some(Bytes::new()));
            }
            self.streaming = len;
        }
    }
}

/// The buffer that answers are written into, packet by packet.
#[derive(Debug, Default)]
pub struct Outbound {
    buffer: BytesMut,
    number: u8,
}

impl Outbound {
    /// The next packet gets this number.
    pub const fn expect(&mut self, number: u8) {
        self.number = number;
    }

    /// Number of the next packet.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What waits to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// All of it was sent; a buffer that grew beyond `keep` is given back.
    pub fn sent(&mut self, keep: usize) {
        if self.buffer.capacity() > keep {
            self.buffer = BytesMut::new();
        } else {
            self.buffer.clear();
        }
    }

    /// Writes one packet whose payload `write` appends.
    pub fn packet(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.begin();
        write(&mut self.buffer);
        self.end(start);
    }

    /// Begins a packet: room for its header. The payload is appended to [`Outbound::payload`].
    #[must_use]
    pub fn begin(&mut self) -> usize {
        let start = self.buffer.len();
        self.buffer.put_u32_le(0);
        start
    }

    /// Where the payload of a packet that was begun is appended.
    pub const fn payload(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Takes back the packet that was begun at `start`.
    pub fn abandon(&mut self, start: usize) {
        self.buffer.truncate(start);
    }

    /// Ends the packet that was begun at `start`.
    pub fn end(&mut self, start: usize) {
        let len = self.buffer.len() - start - HEADER_LEN;
        if len < PIECE_MAX {
            self.write_header(start, len);
            return;
        }
        // Rare and large: the payload moves once to make room for the headers between its pieces.
        let payload = self.buffer.split_off(start + HEADER_LEN);
        self.buffer.truncate(start);
        self.buffer.reserve(payload.len() + (len / PIECE_MAX + 1) * HEADER_LEN);
        let mut rest = &payload[..];
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PIECE_MAX));
            let start = self.begin();
            self.buffer.extend_from_slice(piece);
            self.write_header(start, piece.len());
            rest = after;
            // A full last piece needs an empty one behind it.
            if piece.len() < PIECE_MAX {
                return;
            }
        }
    }

    /// Appends packets that were written before, whose numbers are set to the next ones.
    pub fn prepared(&mut self, packets: &[u8]) {
        let mut start = self.buffer.len();
        self.buffer.extend_from_slice(packets);
        while let Some(&[low, middle, high, _]) =
            self.buffer.get(start..).and_then(|rest| rest.first_chunk::<HEADER_LEN>())
        {
            self.buffer[start + 3] = self.number;
            self.number = self.number.wrapping_add(1);
            start += HEADER_LEN + u32::from_le_bytes([low, middle, high, 0]) as usize;
        }
    }

    fn write_header(&mut self, start: usize, len: usize) {
        let [low, middle, high, _] = (len as u32).to_le_bytes();
        self.buffer[start..start + HEADER_LEN].copy_from_slice(&[low, middle, high, self.number]);
        self.number = self.number.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payload: &[u8]) -> Vec<u8> {
        let mut out = Outbound::default();
        out.packet(|buffer| buffer.extend_from_slice(payload));
        out.bytes().to_vec()
    }

    /// Promise: a packet is its length in three bytes, its number, its payload.
    #[test]
    fn a_packet_is_header_and_payload() {
        assert_eq!(written(&[1, 2]), [2, 0, 0, 0, 1, 2]);
        assert_eq!(written(&[]), [0, 0, 0, 0]);
    }

    /// Promise (K04): payloads of 16 MiB - 1 and more go out in pieces, the last one not full, and
    /// come back whole.
    #[test]
    fn k04_large_payloads_come_back_whole() {
        for len in [PIECE_MAX - 1, PIECE_MAX, PIECE_MAX + 1, 2 * PIECE_MAX] {
            let payload = vec![7; len];
            let bytes = written(&payload);
            let pieces = len / PIECE_MAX + 1;
            assert_eq!(bytes.len(), len + pieces * HEADER_LEN);
            let mut inbound = Inbound::new(len);
            inbound.buffer().extend_from_slice(&bytes);
            assert!(inbound.next_packet().unwrap().unwrap() == payload);
            assert_eq!(usize::from(inbound.number()), pieces);
        }
    }

    /// Promise (K04): what is larger than allowed is refused by its header alone, also when only
    /// the sum of its pieces is.
    #[test]
    fn k04_too_large_is_refused_before_it_is_kept() {
        let mut inbound = Inbound::new(100);
        inbound.buffer().extend_from_slice(&[101, 0, 0, 0]);
        assert_eq!(inbound.next_packet(), Err(PacketError::TooLarge { limit: 100 }));
        let mut inbound = Inbound::new(PIECE_MAX + 10);
        inbound.buffer().extend_from_slice(&[255, 255, 255, 0]);
        inbound.buffer().resize(HEADER_LEN + PIECE_MAX, 0);
        inbound.buffer().extend_from_slice(&[11, 0, 0, 1]);
        assert!(inbound.next_packet().is_err());
    }

    /// Promise (K01): a packet out of order is noticed from its header.
    #[test]
    fn k01_numbers_must_count_up() {
        let mut inbound = Inbound::new(100);
        inbound.buffer().extend_from_slice(&[1, 0, 0, 3]);
        let expected = PacketError::OutOfOrder { expected: 0, found: 3 };
        assert_eq!(inbound.next_packet(), Err(expected));
        assert_eq!(inbound.next_streamed(), Err(expected));
    }

    /// Promise: a stream hands out what is here, never waits for a whole packet, and ends with an
    /// empty one.
    #[test]
    fn streams_come_in_pieces() {
        let mut inbound = Inbound::new(10);
        inbound.buffer().extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
        assert_eq!(inbound.next_streamed().unwrap().unwrap(), &[1, 2, 3][..]);
        assert_eq!(inbound.next_streamed().unwrap(), None);
        inbound.buffer().extend_from_slice(&[9; 197]);
        inbound.buffer().extend_from_slice(&[0, 0, 0, 1, 1, 0]);
        assert_eq!(inbound.next_streamed().unwrap().unwrap().len(), 197);
        assert!(inbound.next_streamed().unwrap().unwrap().is_empty());
        assert_eq!(inbound.held(), 2);
    }

    proptest! {
        /// Promise: payloads come back in order however the bytes are cut on their way.
        #[test]
        fn payloads_come_back(
            payloads: Vec<Vec<u8>>,
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let mut out = Outbound::default();
            for payload in &payloads {
                out.packet(|buffer| buffer.extend_from_slice(payload));
            }
            let mut inbound = Inbound::new(1 << 20);
            let mut found = Vec::new();
            let mut rest = out.bytes();
            for cut in cuts.iter().cycle() {
                let (fed, after) = rest.split_at(rest.len().min(*cut));
                inbound.buffer().extend_from_slice(fed);
                while let Some(payload) = inbound.next_packet().unwrap() {
                    found.push(payload.to_vec());
                }
                rest = after;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(found, payloads);
        }
    }
}

//! The compressed protocol: the stream of packets in frames of its own, each deflated or as it is.
//!
//! ```text
//!   length u24 │ number u8 │ length before u24, 0: not compressed │ bytes
//! ```
//!
//! A client says how long a frame becomes. That is checked and never believed: bytes are taken as
//! they come out of the decoder, into a buffer that grows with them, and a frame that gives more or
//! less than it says is an error (CVE-2025-14847 handed out what was in memory instead).

use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes before each frame.
const HEADER_LEN: usize = 7;
/// Bytes that a frame can hold.
const FRAME_MAX: usize = 0xFF_FFFF;
/// Frames written here hold so much: one frame's worth of work and memory at a time.
const FRAME_WRITTEN: usize = 64 << 10;
/// Shorter ones are sent as they are; MySQL's own limit.
const COMPRESS_FROM: usize = 50;
/// Bytes that come out of the decoder at once.
const STEP: usize = 16 << 10;

/// A frame that is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not decode to as many bytes as it says.
    #[error("a compressed frame that does not decode to what it says")]
    Damaged,
    /// Its number is not the next one.
    #[error("compressed frame number {found} where {expected} was due")]
    OutOfOrder {
        /// The next number.
        expected: u8,
        /// The frame's.
        found: u8,
    },
}

/// Both directions of a compressed connection.
#[derive(Debug)]
pub struct Frames {
    raw: BytesMut,
    wire: BytesMut,
    number: u8,
    deflate: Compress,
    inflate: Decompress,
}

impl Frames {
    /// Begins with bytes that came already.
    #[must_use]
    pub fn new(raw: BytesMut) -> Self {
        Self {
            raw,
            wire: BytesMut::new(),
            number: 0,
            deflate: Compress::new(Compression::fast(), true),
            inflate: Decompress::new(true),
        }
    }

    /// Where bytes are read into.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.raw
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.raw.len()
    }

    /// A new exchange begins.
    pub const fn restart(&mut self) {
        self.number = 0;
    }

    /// Decodes the next whole frame, if there is one, and appends what was in it.
    ///
    /// # Errors
    /// If it is not what it says.
    pub fn decode_one(&mut self, into: &mut BytesMut) -> Result<bool, FrameError> {
        let Some(&[l0, l1, l2, number, p0, p1, p2]) = self.raw.first_chunk::<HEADER_LEN>() else {
            return Ok(false);
        };
        let len = u32::from_le_bytes([l0, l1, l2, 0]) as usize;
        let plain_len = u32::from_le_bytes([p0, p1, p2, 0]) as usize;
        if number != self.number {
            return Err(FrameError::OutOfOrder { expected: self.number, found: number });
        }
        if self.raw.len() < HEADER_LEN + len {
            return Ok(false);
        }
        self.number = self.number.wrapping_add(1);
        self.raw.advance(HEADER_LEN);
        let frame = self.raw.split_to(len);
        if plain_len == 0 {
            into.extend_from_slice(&frame);
        } else {
            self.inflate_exactly(&frame, plain_len, into)?;
        }
        Ok(true)
    }

    fn inflate_exactly(
        &mut self,
        frame: &[u8],
        plain_len: usize,
        into: &mut BytesMut,
    ) -> Result<(), FrameError> {
        self.inflate.reset(true);
        let end = into.len() + plain_len;
        let mut step = [0; STEP];
        loop {
            let (read, made) = (self.inflate.total_in(), self.inflate.total_out());
            let rest = frame.get(read as usize..).ok_or(FrameError::Damaged)?;
            let status = self.inflate.decompress(rest, &mut step, FlushDecompress::None);
            let status = status.map_err(|_| FrameError::Damaged)?;
            let new = (self.inflate.total_out() - made) as usize;
            if into.len() + new > end {
                return Err(FrameError::Damaged);
            }
            into.extend_from_slice(&step[..new]);
            let stuck = new == 0 && self.inflate.total_in() == read;
            match status {
                Status::StreamEnd if into.len() == end => return Ok(()),
                Status::Ok | Status::BufError if !stuck => {}
                _ => return Err(FrameError::Damaged),
            }
        }
    }

    /// Appends packets to what is to be sent, in frames.
    pub fn encode(&mut self, packets: &[u8]) {
        for plain in packets.chunks(FRAME_WRITTEN) {
            let start = self.wire.len();
            self.wire.put_bytes(0, HEADER_LEN);
            let deflated = plain.len() >= COMPRESS_FROM && self.deflate_smaller(plain);
            if !deflated {
                self.wire.truncate(start + HEADER_LEN);
                self.wire.extend_from_slice(plain);
            }
            let len = self.wire.len() - start - HEADER_LEN;
            debug_assert!(len <= FRAME_MAX, "a frame written is small");
            let [l0, l1, l2, _] = (len as u32).to_le_bytes();
            let before = if deflated { plain.len() } else { 0 };
            let [p0, p1, p2, _] = (before as u32).to_le_bytes();
            let header = [l0, l1, l2, self.number, p0, p1, p2];
            self.wire[start..start + HEADER_LEN].copy_from_slice(&header);
            self.number = self.number.wrapping_add(1);
        }
    }

    /// Gives whether the deflated form was appended, which it is if it is shorter.
    fn deflate_smaller(&mut self, plain: &[u8]) -> bool {
        self.deflate.reset();
        let start = self.wire.len();
        self.wire.resize(start + plain.len(), 0);
        let place = &mut self.wire[start..];
        let status = self.deflate.compress(plain, place, FlushCompress::Finish);
        self.wire.truncate(start + self.deflate.total_out() as usize);
        matches!(status, Ok(Status::StreamEnd))
    }

    /// What is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.wire
    }

    /// All of it was sent; a buffer that grew beyond `keep` is given back.
    pub fn sent(&mut self, keep: usize) {
        if self.wire.capacity() > keep {
            self.wire = BytesMut::new();
        } else {
            self.wire.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut frames = Frames::new(bytes.into());
        let mut out = BytesMut::new();
        while frames.decode_one(&mut out)? {}
        Ok(out.to_vec())
    }

    fn encode(plain: &[u8]) -> Vec<u8> {
        let mut frames = Frames::new(BytesMut::new());
        frames.encode(plain);
        frames.bytes().to_vec()
    }

    /// Promise: short payloads go as they are, long ones deflated.
    #[test]
    fn long_payloads_are_deflated() {
        assert_eq!(encode(b"short"), b"\x05\0\0\0\0\0\0short");
        let long = encode(&[7; 100_000]);
        assert!(long.len() < 2000);
        assert_eq!(decode(&long).unwrap(), [7; 100_000]);
    }

    /// Promise (K05): frames that decode to more or less than they say, or to nothing, or come out
    /// of order, are refused.
    #[test]
    fn k05_frames_must_be_what_they_say() {
        let honest = encode(&[7; 1000]);
        assert_eq!(decode(&honest).unwrap().len(), 1000);
        for said in [1_u32, 999, 1001, 0xFF_FFFF] {
            let mut lying = honest.clone();
            lying[4..7].copy_from_slice(&said.to_le_bytes()[..3]);
            assert_eq!(decode(&lying), Err(FrameError::Damaged), "{said}");
        }
        let nothing = b"\x03\0\0\0\x0a\0\0abc";
        assert_eq!(decode(nothing), Err(FrameError::Damaged));
        let mut late = honest;
        late[3] = 1;
        assert_eq!(decode(&late), Err(FrameError::OutOfOrder { expected: 0, found: 1 }));
    }

    proptest! {
        /// Promise: what was encoded is decoded.
        #[test]
        fn bytes_come_back(plain: Vec<u8>, times in 1_usize..500) {
            let plain = plain.repeat(times);
            prop_assert!(decode(&encode(&plain)).unwrap() == plain);
        }

        /// Promise (K05): any bytes decode or are refused, and never to more than they say.
        #[test]
        fn k05_any_bytes_decode_or_are_refused(bytes: Vec<u8>, said in 1_u32..5000) {
            let mut frame = vec![bytes.len() as u8, (bytes.len() >> 8) as u8, 0, 0];
            frame.extend_from_slice(&said.to_le_bytes()[..3]);
            frame.extend_from_slice(&bytes);
            if let Ok(found) = decode(&frame) {
                prop_assert_eq!(found.len(), said as usize);
            }
        }
    }
}

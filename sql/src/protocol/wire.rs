//! The protocol's numbers and strings: little-endian integers, integers whose first byte says how
//! long they are, strings that end with a zero or at a length given before.
//!
//! Reading never trusts a length: what does not lie within the payload is [`Malformed`], so no
//! byte of a client decides about memory.

use bytes::{BufMut, BytesMut};

/// A payload that is not what its place in the protocol demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {0}")]
pub struct Malformed(pub &'static str);

/// Reads a payload from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// If none is left.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of one to nine bytes. 0xFB (NULL in rows) and 0xFF are no integers.
    ///
    /// # Errors
    /// If it is cut off or none.
    pub fn lenenc(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            0xFC => self.u16().map(u64::from),
            0xFD => {
                let [low, middle, high] = self.array()?;
                Ok(u64::from(u32::from_le_bytes([low, middle, high, 0])))
            }
            0xFE => self.u64(),
            0xFB | 0xFF => Err(Malformed("a length that is none")),
            small => Ok(u64::from(small)),
        }
    }

    /// A string behind its length.
    ///
    /// # Errors
    /// If the length is none or goes beyond the payload.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.lenenc()?;
        let len = usize::try_from(len).map_err(|_| Malformed("a length beyond the packet"))?;
        self.bytes(len)
    }

    /// A string up to a zero, which is read as well.
    ///
    /// # Errors
    /// If there is no zero.
    pub fn until_zero(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or(Malformed("a string without its end"))?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// A string up to a zero or the end: some clients leave the last zero out.
    pub fn until_zero_or_end(&mut self) -> &'a [u8] {
        self.until_zero().unwrap_or_else(|_| std::mem::take(&mut self.rest))
    }
}

/// Appends an integer of one to nine bytes.
pub fn put_lenenc(out: &mut BytesMut, number: u64) {
    match number {
        0..0xFB => out.put_u8(number as u8),
        0xFB..0x1_0000 => {
            out.put_u8(0xFC);
            out.put_u16_le(number as u16);
        }
        0x1_0000..0x100_0000 => {
            out.put_u8(0xFD);
            out.put_uint_le(number, 3);
        }
        _ => {
            out.put_u8(0xFE);
            out.put_u64_le(number);
        }
    }
}

/// Appends a string behind its length.
pub fn put_lenenc_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_lenenc(out, bytes.len() as u64);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Promise: every integer has the form that MySQL gives it at the borders of its lengths.
    #[test]
    fn integers_change_their_length_where_mysql_does() {
        for (number, expected) in [
            (0, &[0][..]),
            (250, &[250]),
            (251, &[0xFC, 251, 0]),
            (0xFFFF, &[0xFC, 0xFF, 0xFF]),
            (0x1_0000, &[0xFD, 0, 0, 1]),
            (0xFF_FFFF, &[0xFD, 0xFF, 0xFF, 0xFF]),
            (0x100_0000, &[0xFE, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255]),
        ] {
            let mut out = BytesMut::new();
            put_lenenc(&mut out, number);
            assert_eq!(&out[..], expected);
            assert_eq!(Reader::new(&out).lenenc(), Ok(number));
        }
    }

    /// Promise (K02): a length that is cut off, huge or none is an error, and nothing is read.
    #[test]
    fn k02_lengths_that_lie_are_refused() {
        for bytes in [
            &[][..],
            &[0xFB],
            &[0xFF],
            &[0xFC],
            &[0xFC, 1],
            &[0xFD, 1, 2],
            &[0xFE, 1, 2, 3, 4, 5, 6, 7],
            &[5, b'a'],
            &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255, b'a'],
        ] {
            assert!(Reader::new(bytes).lenenc_bytes().is_err(), "{bytes:?}");
        }
        assert!(Reader::new(b"abc").until_zero().is_err());
        assert_eq!(Reader::new(b"abc").until_zero_or_end(), b"abc");
    }

    proptest! {
        /// Promise: what was written is read.
        #[test]
        fn strings_come_back(text: Vec<u8>, number: u64, behind: Vec<u8>) {
            let mut out = BytesMut::new();
            put_lenenc_bytes(&mut out, &text);
            put_lenenc(&mut out, number);
            out.put_slice(&behind);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.lenenc_bytes().unwrap(), &text[..]);
            prop_assert_eq!(reader.lenenc().unwrap(), number);
            prop_assert_eq!(reader.rest(), &behind[..]);
        }
    }
}

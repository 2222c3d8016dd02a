//! Fields out of bytes: each length is checked against what is there.

use bytes::{Buf, Bytes};

use super::WireError;

/// What is left of a body.
pub(super) struct Cursor(Bytes);

impl Cursor {
    pub(super) fn new(body: Bytes) -> Self {
        Self(body)
    }

    fn need(&self, need: usize) -> Result<(), WireError> {
        let have = self.0.len();
        if have < need { Err(WireError::Short { need, have }) } else { Ok(()) }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<Bytes, WireError> {
        self.need(count)?;
        Ok(self.0.split_to(count))
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }

    pub(super) fn u128(&mut self) -> Result<u128, WireError> {
        self.need(16)?;
        Ok(self.0.get_u128_le())
    }

    /// How many things follow: no more than can be there, at `least` bytes each.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        self.need(count.saturating_mul(least))?;
        Ok(count)
    }

    /// Things that follow, `least` bytes each or more.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut one: impl FnMut(&mut Self, usize) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.count(least)?;
        (0..count).map(|place| one(self, place)).collect()
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), WireError> {
        let bytes = self.0.len();
        if bytes == 0 { Ok(()) } else { Err(WireError::Trailing { bytes }) }
    }
}

//! A body in pieces: fields in buffers of our own, payloads in their sender's.

use bytes::{BufMut, Bytes};

/// One piece and its checksum.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) sum: crc32fast::Hasher,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parts {
    done: Vec<Part>,
    /// Fields behind the last payload.
    fields: Vec<u8>,
}

impl Parts {
    /// Where fields go.
    pub(super) fn fields(&mut self) -> &mut Vec<u8> {
        &mut self.fields
    }

    /// A payload whose checksum is known.
    pub(super) fn put_summed(&mut self, payload: &Bytes, crc: u32) {
        if payload.is_empty() {
            return;
        }
        self.end_fields();
        let sum = crc32fast::Hasher::new_with_initial_len(crc, payload.len() as u64);
        self.done.push(Part { bytes: payload.clone(), sum });
    }

    /// A payload. It is read for its checksum.
    pub(super) fn put(&mut self, payload: &Bytes) {
        self.put_summed(payload, crc32fast::hash(payload));
    }

    pub(super) fn put_u64(&mut self, number: u64) {
        self.fields.put_u64_le(number);
    }

    fn end_fields(&mut self) {
        if !self.fields.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.fields));
            let mut sum = crc32fast::Hasher::new();
            sum.update(&bytes);
            self.done.push(Part { bytes, sum });
        }
    }

    /// All pieces.
    pub(super) fn seal(mut self) -> Vec<Part> {
        self.end_fields();
        self.done
    }
}

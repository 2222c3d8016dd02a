//! Messages out of a stream of bytes.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::error::ConnectionError;
use super::handshake::{self, REFUSAL_RECORD_BYTES};
use super::outbox::BEAT;
use crate::wire::{self, HEADER_BYTES, Header, Received};

/// Room made for reads: payloads are slices of it.
const CHUNK_BYTES: usize = 256 << 10;
/// With less room than this there is a new chunk: short reads cost more than memory.
const ROOM_BYTES_MIN: usize = 16 << 10;

const _: () = assert!(BEAT.len() == HEADER_BYTES, "a sign of life is a head");

/// Holds what has arrived of a message, and a chunk. The announced length of a message is bounded
/// before there is room for it.
#[derive(Debug)]
pub(super) struct MessageReader<R> {
    stream: R,
    buffer: BytesMut,
    message_bytes_max: usize,
    /// Bytes of the message whose beginning is in the buffer.
    need: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(super) fn new(stream: R, message_bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), message_bytes_max, need: 0 }
    }

    /// Waits until more has arrived; how much.
    pub(super) async fn fill(&mut self) -> Result<usize, ConnectionError> {
        let here = self.buffer.len();
        let room = self.buffer.capacity() - here;
        if room < ROOM_BYTES_MIN || room < self.need.saturating_sub(here) {
            // Of a chunk that nobody has slices of any more, the memory is used again.
            self.buffer.reserve(self.need.max(CHUNK_BYTES) - here);
        }
        let arrived = self.stream.read_buf(&mut self.buffer).await;
        match arrived.map_err(ConnectionError::of_read)? {
            0 => Err(ConnectionError::Closed),
            bytes => Ok(bytes),
        }
    }

    /// The next message, if all of it has arrived.
    pub(super) fn cut(&mut self) -> Result<Option<Received>, ConnectionError> {
        loop {
            let Some(head) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            if head == BEAT {
                self.buffer.advance(HEADER_BYTES);
                continue;
            }
            if head.starts_with(&handshake::MAGIC) {
                return self.refusal();
            }
            let header = Header::decode(head, self.message_bytes_max)?;
            let need = HEADER_BYTES + header.length;
            if self.buffer.len() < need {
                self.need = need;
                return Ok(None);
            }
            self.need = 0;
            self.buffer.advance(HEADER_BYTES);
            let body = self.buffer.split_to(header.length).freeze();
            return Ok(Some(wire::decode_received(&header, body)?));
        }
    }

    /// The other side has found a flaw in the last record of the handshake.
    fn refusal<T>(&mut self) -> Result<Option<T>, ConnectionError> {
        let Some(record) = self.buffer.first_chunk::<REFUSAL_RECORD_BYTES>() else {
            return Ok(None);
        };
        Err(ConnectionError::Rejected(handshake::decode_refusal(record)?))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use resprout_wal::Term;
    use resprout_wal::world::Rng;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::transport::handshake::Refusal;
    use crate::{Envelope, Identity, Instance, Message, StreamId};

    const MAX: usize = 1 << 20;

    fn pages(bytes: usize) -> Envelope {
        let pages = vec![(bytes as u64, Bytes::from(vec![7; bytes]))];
        let (from, to, stream) = (Identity::default(), Instance(2), StreamId::default());
        Envelope { from, to, term: Term(1), stream, message: Message::Pages { image: 1, pages } }
    }

    async fn next<R: AsyncRead + Unpin>(
        reader: &mut MessageReader<R>,
    ) -> Result<Envelope, ConnectionError> {
        loop {
            if let Some(Received::Envelope(envelope)) = reader.cut()? {
                return Ok(envelope);
            }
            reader.fill().await?;
        }
    }

    /// Promise: messages are found however they are cut on their way, with signs of life between
    /// them; what is cut for good is no message.
    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let sizes = [1, 300_000, 16, 5_000, 70_000, MAX - 500, 200_000, 3];
        let mut bytes = Vec::new();
        for size in sizes {
            bytes.extend_from_slice(BEAT);
            bytes.extend_from_slice(&wire::encode(&pages(size)));
        }
        let half = bytes.len() - 1;
        for piece in [5, 1_000, 65_536, 1 << 20] {
            let (mut far, near) = duplex(piece);
            let sent = bytes[..half].to_vec();
            let sending = tokio::spawn(async move { far.write_all(&sent).await });
            let mut reader = MessageReader::new(near, MAX);
            for size in &sizes[..sizes.len() - 1] {
                assert_eq!(next(&mut reader).await.unwrap(), pages(*size));
            }
            let error = next(&mut reader).await.unwrap_err();
            assert!(matches!(error, ConnectionError::Closed), "{error}");
            sending.await.unwrap().unwrap();
        }
    }

    /// Promise: memory is bounded by the longest message that is allowed, whatever is announced; what is
    /// longer is refused by its head.
    #[tokio::test]
    async fn announced_lengths_are_bounded() {
        let (mut far, near) = duplex(1 << 16);
        let mut head = wire::encode(&pages(9))[..HEADER_BYTES].to_vec();
        head[8..12].copy_from_slice(&(MAX as u32 - 16).to_le_bytes());
        far.write_all(&head).await.unwrap();
        let mut reader = MessageReader::new(near, MAX);
        for _ in 0..100 {
            reader.fill().await.unwrap();
            assert_eq!(reader.cut().unwrap(), None);
            far.write_all(&[7; 5_000]).await.unwrap();
        }
        assert!(reader.buffer.capacity() <= MAX + CHUNK_BYTES, "{}", reader.buffer.capacity());
        let (mut far, near) = duplex(1 << 16);
        head[8..12].copy_from_slice(&(MAX as u32 - 15).to_le_bytes());
        far.write_all(&head).await.unwrap();
        let error = next(&mut MessageReader::new(near, MAX)).await.unwrap_err();
        assert_eq!(error.to_string(), "a message of 1048577 bytes, at most 1048576 are possible");
    }

    /// Promise: while nobody keeps slices, any number of messages is read through one chunk, wherever
    /// reads end.
    #[tokio::test]
    async fn a_chunk_is_used_again() {
        let (mut far, near) = duplex(1 << 20);
        let mut reader = MessageReader::new(near, MAX);
        let bytes: Vec<u8> =
            (0..500).flat_map(|round| wire::encode(&pages(round * 13 % 9_000))).collect();
        let mut found = 0;
        for piece in bytes.chunks(10_007) {
            far.write_all(piece).await.unwrap();
            reader.fill().await.unwrap();
            while reader.cut().unwrap().is_some() {
                found += 1;
            }
            assert!(reader.buffer.capacity() <= CHUNK_BYTES, "{}", reader.buffer.capacity());
        }
        assert_eq!(found, 500);
    }

    /// Promise: whatever comes behind a good handshake, the end is an error and no panic; a refusal
    /// there is told as one (row N15).
    #[tokio::test]
    async fn n15_hostile_bytes_behind_a_handshake_are_an_error() {
        let good = wire::encode(&pages(50));
        let mut rng = Rng::new(5);
        for length in 0..good.len() {
            let (mut far, near) = duplex(1 << 16);
            far.write_all(&good[..length]).await.unwrap();
            let garbage: Vec<u8> = (0..200).map(|_| rng.below(256) as u8).collect();
            far.write_all(&garbage).await.unwrap();
            drop(far);
            let mut reader = MessageReader::new(near, MAX);
            assert!(next(&mut reader).await.is_err(), "{length} good bytes");
        }
        let (mut far, near) = duplex(1 << 16);
        let mut record = b"RSPH\x05\0\x28\0\x07\0".to_vec();
        record.resize(REFUSAL_RECORD_BYTES, 0);
        far.write_all(&record).await.unwrap();
        let error = next(&mut MessageReader::new(near, MAX)).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Rejected(Refusal::Secret)), "{error}");
    }
}

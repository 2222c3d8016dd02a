//! One connection: frames in, frames out, signs of life in both directions.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::options::TcpOptions;
use super::queue::Queue;
use crate::raft::Identity;
use crate::transport::Incoming;
use crate::wire::{self, Encoder, HEADER_BYTES, Header, Kind, Reject, WireError};
use crate::{Envelope, NodeId};

/// About the most bytes of one write: several messages go in one call of the system.
const WRITE_BYTES: usize = 256 << 10;
/// Room made for one read. A long message gets its memory as it arrives, not as it is announced.
const READ_BYTES: usize = 64 << 10;

/// Why a connection is no more, or was never.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side has closed it.
    #[error("closed by the other side")]
    Closed,
    /// Nobody answered.
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    /// The other side did not say who it is, or did not answer.
    #[error("no handshake within {} ms", .0.as_millis())]
    HandshakeTimeout(Duration),
    /// Not even a sign of life.
    #[error("silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// What came is no frame that may come here.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The other side will not talk to this node.
    #[error("refused by the other side: {0}")]
    Rejected(Reject),
    /// This node will not talk to the other side.
    #[error("refused: {0}")]
    Refused(Reject),
    /// A message of somebody else than was greeted.
    #[error("a message of {from} to {to} on the connection of {other}")]
    Foreign {
        /// Whose the message says it is.
        from: NodeId,
        /// Whom it is for.
        to: NodeId,
        /// Who was greeted.
        other: NodeId,
    },
    /// The same node has connected again.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The transport was dropped.
    #[error("this node stops")]
    Stopped,
}

/// Frames from a stream. Holds no more memory than what has arrived, and at most one frame and a
/// read.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

/// A frame whose checksum is right.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    /// Header and body.
    pub(super) bytes: BytesMut,
}

impl Frame {
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame, of at most so many bytes. `silence` bounds each wait for anything at all,
    /// so that a long message may take its time.
    pub(super) async fn next(
        &mut self,
        bytes_max: usize,
        silence: Duration,
    ) -> Result<Frame, ConnectionError> {
        loop {
            if let Some(frame) = self.cut(bytes_max)? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES.min(bytes_max));
            let read = timeout(silence, self.stream.read_buf(&mut self.buffer)).await;
            if read.map_err(|_| ConnectionError::Silent(silence))?? == 0 {
                return Err(ConnectionError::Closed);
            }
        }
    }

    fn cut(&mut self, bytes_max: usize) -> Result<Option<Frame>, WireError> {
        let Some(head) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(head, bytes_max - HEADER_BYTES)?;
        if self.buffer.remaining() < HEADER_BYTES + header.length {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(HEADER_BYTES + header.length);
        header.check(&bytes[HEADER_BYTES..])?;
        Ok(Some(Frame { header, bytes }))
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Connection<R, W> {
    pub(super) reader: FrameReader<R>,
    pub(super) writer: W,
    pub(super) local: Identity,
    /// Who is at the other end.
    pub(super) other: Identity,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Carries messages both ways until something ends it. What is read is bounded by how fast it
    /// is taken; what is written, by the queue.
    pub(super) async fn run(
        self,
        queue: &Queue,
        incoming: &mpsc::Sender<Incoming>,
        options: &TcpOptions,
    ) -> ConnectionError {
        let Self { reader, writer, local, other } = self;
        let reading = read(reader, (local, other), incoming, options);
        let writing = write(writer, queue, options);
        // Both run all the time; the first that ends, ends both.
        let ended = tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        };
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

/// No value.
enum Never {}

async fn read<R: AsyncRead + Unpin>(
    mut reader: FrameReader<R>,
    (local, other): (Identity, Identity),
    incoming: &mpsc::Sender<Incoming>,
    options: &TcpOptions,
) -> Result<Never, ConnectionError> {
    loop {
        let frame = reader.next(options.message_bytes_max, options.silence).await?;
        match frame.header.kind {
            Kind::Beat => {}
            Kind::Message => {
                let envelope = wire::decode_body(&frame.header, frame.body())?;
                drop(frame);
                check_parties(&envelope, local, other)?;
                let taken = incoming.send(Incoming::Message(envelope)).await;
                taken.map_err(|_| ConnectionError::Stopped)?;
            }
            Kind::Reject => {
                return Err(ConnectionError::Rejected(Reject::decode(&frame.bytes)?));
            }
            kind @ (Kind::Hello | Kind::Welcome) => {
                let (found, expected) = (kind as u8, "1 (message) or 2 (beat)");
                return Err(WireError::Kind { found, expected }.into());
            }
        }
    }
}

/// The handshake has shown who is there; nobody speaks for somebody else.
fn check_parties(
    envelope: &Envelope,
    local: Identity,
    other: Identity,
) -> Result<(), ConnectionError> {
    let Envelope { from, from_store, to, .. } = *envelope;
    if (from, from_store) == (other.node, other.store) && to == local.node {
        return Ok(());
    }
    Err(ConnectionError::Foreign { from, to, other: other.node })
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    queue: &Queue,
    options: &TcpOptions,
) -> Result<Never, ConnectionError> {
    let mut encoder = Encoder::default();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        // One long message must not hold its memory for as long as the connection lives.
        batch.shrink_to(2 * WRITE_BYTES);
        let (mut sent, mut dropped) = (0, 0);
        match timeout(options.beat, queue.take(WRITE_BYTES)).await {
            Ok(Some(messages)) => {
                for envelope in messages {
                    match encoder.put(&envelope, options.message_bytes_max, &mut batch) {
                        Ok(()) => sent += 1,
                        Err(error) => {
                            dropped += 1;
                            let (to, message) = (envelope.to, envelope.message.name());
                            tracing::error!(%to, message, %error, "a message cannot be sent");
                        }
                    }
                }
            }
            Ok(None) => return Err(ConnectionError::Replaced),
            Err(_) => encoder.put_beat(&mut batch),
        }
        match writer.write_all(&batch).await {
            Ok(()) => queue.settle(sent, dropped),
            Err(error) => {
                queue.settle(0, sent + dropped);
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const NO_WAIT: Duration = Duration::from_secs(1);

    fn beats(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        (0..count).for_each(|_| Encoder::default().put_beat(&mut bytes));
        bytes
    }

    /// Promise: frames are found however they are cut on their way; one that is cut for good is no
    /// frame.
    #[tokio::test]
    async fn frames_are_found_however_they_are_cut() {
        let bytes = beats(3);
        for piece in [1, 7, HEADER_BYTES, bytes.len()] {
            let (mut far, near) = duplex(piece);
            let sent = bytes[..bytes.len() - 1].to_vec();
            let sending = tokio::spawn(async move { far.write_all(&sent).await });
            let mut reader = FrameReader::new(near);
            for _ in 0..2 {
                let frame = reader.next(100, NO_WAIT).await.unwrap();
                assert_eq!((frame.header.kind, frame.body()), (Kind::Beat, &[][..]));
            }
            let error = reader.next(100, NO_WAIT).await.unwrap_err();
            assert!(matches!(error, ConnectionError::Closed), "{error}");
            sending.await.unwrap().unwrap();
        }
    }

    /// Promise: memory is taken as bytes arrive, not as a length announces them; a length above the
    /// bound is refused by its head.
    #[tokio::test(start_paused = true)]
    async fn memory_follows_what_arrives() {
        let (mut far, near) = duplex(1 << 20);
        let mut head = beats(1);
        head[8..12].copy_from_slice(&(8_000_000_u32).to_le_bytes());
        far.write_all(&head).await.unwrap();
        let mut reader = FrameReader::new(near);
        let error = reader.next(8 << 20, NO_WAIT).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Silent(_)), "{error}");
        assert!(reader.buffer.capacity() <= 2 * READ_BYTES, "{}", reader.buffer.capacity());
        let error = reader.next(4 << 20, NO_WAIT).await.unwrap_err();
        assert_eq!(error.to_string(), "a frame of 8000016 bytes, at most 4194304 are possible");
    }

    /// Promise: a long message may take longer than the silence that ends a connection, if something
    /// arrives all the time.
    #[tokio::test(start_paused = true)]
    async fn slow_is_not_silent() {
        let (mut far, near) = duplex(1);
        let sending = tokio::spawn(async move {
            for byte in beats(1) {
                tokio::time::sleep(NO_WAIT * 3 / 4).await;
                far.write_all(&[byte]).await.unwrap();
            }
            far
        });
        let mut reader = FrameReader::new(near);
        assert!(reader.next(100, NO_WAIT).await.is_ok());
        let _far = sending.await.unwrap();
        let error = reader.next(100, NO_WAIT).await.unwrap_err();
        assert_eq!(error.to_string(), "silent for 1000 ms");
    }
}

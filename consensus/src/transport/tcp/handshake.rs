//! Hello and Welcome on a stream, from both sides. Rules in `roster.rs`, bytes in
//! `wire/handshake.rs`.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::connection::{Connection, ConnectionError, FrameReader};
use super::shared::{Admission, Shared};
use crate::NodeId;
use crate::raft::Identity;
use crate::wire::{HANDSHAKE_BYTES_MAX, Hello, Kind, Reject, Welcome};

pub(super) type Halves<S> = Connection<ReadHalf<S>, WriteHalf<S>>;

/// The whole handshake has one bound, so no wait within it needs another.
const NO_SILENCE: Duration = Duration::from_secs(3600);

/// Greets a node on a stream to it.
pub(super) async fn dial<S: AsyncRead + AsyncWrite>(
    stream: S,
    to: NodeId,
    shared: &Shared,
) -> Result<Halves<S>, ConnectionError> {
    let bound = shared.options.handshake_timeout;
    let done = timeout(bound, greet(stream, to, shared)).await;
    done.unwrap_or(Err(ConnectionError::HandshakeTimeout(bound)))
}

/// Answers whoever has connected.
pub(super) async fn answer<S: AsyncRead + AsyncWrite>(
    stream: S,
    shared: &Arc<Shared>,
) -> Result<(Halves<S>, Admission), ConnectionError> {
    let bound = shared.options.handshake_timeout;
    let done = timeout(bound, welcome(stream, shared)).await;
    done.unwrap_or(Err(ConnectionError::HandshakeTimeout(bound)))
}

async fn greet<S: AsyncRead + AsyncWrite>(
    stream: S,
    to: NodeId,
    shared: &Shared,
) -> Result<Halves<S>, ConnectionError> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader);
    let hello = shared.roster().hello(to);
    writer.write_all(&hello.encode()).await?;
    let frame = reader.next(HANDSHAKE_BYTES_MAX, NO_SILENCE).await?;
    if frame.header.kind == Kind::Reject {
        return Err(ConnectionError::Rejected(Reject::decode(&frame.bytes)?));
    }
    let welcome = Welcome::decode(&frame.bytes)?;
    let judged = shared.accept_answer(to, &welcome);
    if let Err(reject) = judged {
        return Err(refuse(writer, reject).await);
    }
    let other = Identity { node: welcome.node, store: welcome.store };
    Ok(Connection { reader, writer, local: shared.local.identity, other })
}

async fn welcome<S: AsyncRead + AsyncWrite>(
    stream: S,
    shared: &Arc<Shared>,
) -> Result<(Halves<S>, Admission), ConnectionError> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reader);
    let frame = reader.next(HANDSHAKE_BYTES_MAX, NO_SILENCE).await?;
    let hello = Hello::decode(&frame.bytes)?;
    let (welcome, admission) = match shared.admit(&hello) {
        Ok(admitted) => admitted,
        Err(reject) => return Err(refuse(writer, reject).await),
    };
    writer.write_all(&welcome.encode()).await?;
    let other = Identity { node: hello.node, store: hello.store };
    Ok((Connection { reader, writer, local: shared.local.identity, other }, admission))
}

/// Tells the other side why, and ends the connection.
async fn refuse<W: AsyncWrite + Unpin>(mut writer: W, reject: Reject) -> ConnectionError {
    // Telling is a courtesy: if the other side is gone already, nothing is lost.
    let _gone = writer.write_all(&reject.encode()).await;
    let _gone = writer.shutdown().await;
    ConnectionError::Refused(reject)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::transport::tcp::shared::testing::shared;

    /// Promise: whoever connects and says nothing, or half of something, is let go after the
    /// handshake's bound, and leaves nothing behind.
    #[tokio::test(start_paused = true)]
    async fn a_half_open_handshake_ends() {
        let shared = shared(1, &[1, 2]);
        let hello = crate::transport::tcp::shared::testing::shared(2, &[1, 2]);
        let hello = hello.roster().hello(NodeId(1)).encode();
        for said in [0, 10, hello.len() - 1] {
            let (mut stranger, stream) = duplex(1024);
            stranger.write_all(&hello[..said]).await.unwrap();
            let begun = tokio::time::Instant::now();
            let error = answer(stream, &shared).await.unwrap_err();
            assert_eq!(error.to_string(), "no handshake within 3000 ms");
            assert_eq!(begun.elapsed(), Duration::from_secs(3));
            assert_eq!(stranger.read(&mut [0; 10]).await.unwrap(), 0, "the stream is closed");
        }
        assert_eq!(shared.inbound_count(), 0);
    }

    /// Promise: who does not answer a greeting is given up as well.
    #[tokio::test(start_paused = true)]
    async fn an_unanswered_greeting_ends() {
        let shared = shared(1, &[1, 2]);
        let (_mute, stream) = duplex(1024);
        let error = dial(stream, NodeId(2), &shared).await.unwrap_err();
        assert_eq!(error.to_string(), "no handshake within 3000 ms");
    }

    /// Promise: a stranger cannot make this node ask for more memory than a greeting has.
    #[tokio::test]
    async fn a_long_greeting_is_refused_by_its_head() {
        let shared = shared(1, &[1, 2]);
        let (mut stranger, stream) = duplex(1024);
        let head = [b'R', b'S', b'P', b'C', 0, 0, 3, 0, 0, 0, 0x70, 0, 1, 2, 3, 4];
        stranger.write_all(&head).await.unwrap();
        let error = answer(stream, &shared).await.unwrap_err();
        assert_eq!(error.to_string(), "a frame of 7340048 bytes, at most 112 are possible");
    }

    /// Promise: both sides know each other after a handshake, and the one that was refused is told
    /// why in the words of the one that refused.
    #[tokio::test]
    async fn both_sides_learn_the_outcome() {
        let (one, two) = (shared(1, &[1, 2]), shared(2, &[1, 2]));
        let (a, b) = duplex(1024);
        let (dialed, answered) = tokio::join!(dial(a, NodeId(1), &two), answer(b, &one));
        assert_eq!(dialed.unwrap().other, one.local.identity);
        assert_eq!(answered.unwrap().0.other, two.local.identity);
        let (a, b) = duplex(1024);
        let (dialed, answered) = tokio::join!(dial(a, NodeId(3), &two), answer(b, &one));
        let why = "n1 is where n3 was expected: an address that is not up to date";
        assert_eq!(dialed.unwrap_err().to_string(), format!("refused by the other side: {why}"));
        assert_eq!(answered.unwrap_err().to_string(), format!("refused: {why}"));
    }
}

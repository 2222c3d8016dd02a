//! A handshake on a stream, from both sides. Rules in `judge.rs`, bytes in `record.rs`.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::judge::{VERSIONS, judge_challenge, judge_hello};
use super::record::{
    self, Greeting, HEADER_BYTES, Kind, RECORD_BYTES_MAX, encode_proof, encode_refusal,
};
use super::refusal::{Refusal, Versions};
use crate::transport::NodeId;
use crate::transport::error::ConnectionError;
use crate::transport::local::Local;
use crate::transport::secret::{NONCE_BYTES, PROOF_BYTES, Side, random};

/// Who is at the other end, proved.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Session {
    pub(in crate::transport) other: Greeting,
    /// The version to be spoken.
    pub(in crate::transport) version: u16,
    /// Of all connections with that node: what [`Known::note`] gave.
    pub(in crate::transport) number: u64,
}

/// What is known of other nodes.
pub(in crate::transport) trait Known: Sync {
    /// Whether that node may be talked to, by what was seen of it.
    fn judge(&self, other: &Greeting) -> Result<(), Refusal>;

    /// Judges again, now that it has proved itself, and notes it; the number of its connection.
    fn note(&self, other: &Greeting) -> Result<u64, Refusal>;
}

/// Greets a node on a stream to it.
pub(in crate::transport) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    local: &Local,
    to: NodeId,
    known: &impl Known,
) -> Result<Session, ConnectionError> {
    let hello = greeting(local, to, VERSIONS)?.encode(Kind::Hello);
    stream.write_all(&hello).await?;
    let (challenge, other) = read_greeting(stream, Kind::Challenge).await?;
    let judged = judge_challenge(local, to, &other).and_then(|()| known.judge(&other));
    allowed(stream, judged).await?;
    let proof = local.secret.prove(Side::Dialer, &hello, &challenge);
    stream.write_all(&encode_proof(Kind::Proof, &proof)).await?;
    let proof = read_proof(stream, Kind::Welcome).await?;
    let is_proof = local.secret.is_proof(Side::Listener, (&hello, &challenge), &proof);
    let judged = if is_proof { known.note(&other) } else { Err(Refusal::Secret) };
    let number = allowed(stream, judged).await?;
    Ok(Session { other, version: other.versions.last, number })
}

/// Answers whoever has connected.
pub(in crate::transport) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    local: &Local,
    known: &impl Known,
) -> Result<Session, ConnectionError> {
    let (hello, other) = read_greeting(stream, Kind::Hello).await?;
    let version = allowed(stream, judge_hello(local, &other)).await?;
    let only = Versions { first: version, last: version };
    let challenge = greeting(local, other.node, only)?.encode(Kind::Challenge);
    stream.write_all(&challenge).await?;
    let proof = read_proof(stream, Kind::Proof).await?;
    let is_proof = local.secret.is_proof(Side::Dialer, (&hello, &challenge), &proof);
    let judged = if is_proof { known.note(&other) } else { Err(Refusal::Secret) };
    let number = allowed(stream, judged).await?;
    let proof = local.secret.prove(Side::Listener, &hello, &challenge);
    stream.write_all(&encode_proof(Kind::Welcome, &proof)).await?;
    Ok(Session { other, version, number })
}

/// Tells the other side why, and ends the stream.
pub(in crate::transport) async fn refuse<S: AsyncWrite + Unpin>(
    stream: &mut S,
    refusal: Refusal,
) -> ConnectionError {
    // Telling is a courtesy: if the other side is gone already, nothing is lost.
    let _gone = stream.write_all(&encode_refusal(refusal)).await;
    let _gone = stream.shutdown().await;
    ConnectionError::Refused(refusal)
}

async fn allowed<S: AsyncWrite + Unpin, T>(
    stream: &mut S,
    judged: Result<T, Refusal>,
) -> Result<T, ConnectionError> {
    match judged {
        Ok(done) => Ok(done),
        Err(refusal) => Err(refuse(stream, refusal).await),
    }
}

fn greeting(local: &Local, to: NodeId, versions: Versions) -> std::io::Result<Greeting> {
    let nonce: [u8; NONCE_BYTES] = random()?;
    let Local { node, run, cluster, token, .. } = *local;
    Ok(Greeting { versions, node, to, run, cluster, token, nonce })
}

/// A greeting, and the bytes that it was.
async fn read_greeting<S: AsyncRead + Unpin>(
    stream: &mut S,
    kind: Kind,
) -> Result<(Vec<u8>, Greeting), ConnectionError> {
    let bytes = read_record(stream, kind).await?;
    let greeting = Greeting::decode(&bytes[HEADER_BYTES..])?;
    Ok((bytes, greeting))
}

async fn read_proof<S: AsyncRead + Unpin>(
    stream: &mut S,
    kind: Kind,
) -> Result<[u8; PROOF_BYTES], ConnectionError> {
    let bytes = read_record(stream, kind).await?;
    let mut proof = [0; PROOF_BYTES];
    proof.copy_from_slice(&bytes[HEADER_BYTES..]);
    Ok(proof)
}

/// One record of that kind, and not one byte more: what follows may belong to messages.
async fn read_record<S: AsyncRead + Unpin>(
    stream: &mut S,
    expected: Kind,
) -> Result<Vec<u8>, ConnectionError> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).await.map_err(ConnectionError::of_read)?;
    let (kind, length) = record::decode_head(&head, expected)?;
    let mut bytes = Vec::with_capacity(RECORD_BYTES_MAX);
    bytes.extend_from_slice(&head);
    bytes.resize(HEADER_BYTES + length, 0);
    let body = &mut bytes[HEADER_BYTES..];
    stream.read_exact(body).await.map_err(ConnectionError::of_read)?;
    if kind == Kind::Refusal {
        return Err(ConnectionError::Rejected(record::decode_refusal_body(body)?));
    }
    Ok(bytes)
}

//! How a node gets its number: it waits on its port for nodes, and the master aggregator invites it.
//!
//! ```text
//!   master aggregator                         node without a number
//!     │ magic, nonce ──────────────────────────►│
//!     │◄─── magic, nonce, store, proof ──────────│  knows the secret
//!     │ (the metadata give it a number)          │
//!     │ length, assignment, proof ──────────────►│  so does who invites
//!     │                                          │  stored durably
//!     │◄──────────────────────────────── proof ──│
//! ```
//!
//! Proofs are signatures over both nonces by the cluster's secret, so nothing of it can be used twice. An
//! assignment whose answer is lost may have been taken: the master aggregator takes the number back then, and
//! the node, which finds nobody that knows it, has to be started with an empty directory.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use resprout_replication::transport::{PROOF_BYTES, Secret, connect};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::error::JoinError;
use crate::member::Member;

const MAGIC: [u8; 8] = *b"RSPRJOI1";
const NONCE_BYTES: usize = 32;
const OFFER: &[u8; 32] = b"resprout join v1 offer          ";
const ASSIGN: &[u8; 32] = b"resprout join v1 assignment     ";
const TAKEN: &[u8; 32] = b"resprout join v1 taken          ";
/// Most bytes of an assignment: some thousands of nodes.
const ASSIGNMENT_BYTES_MAX: usize = 1 << 20;
/// Each step must be done by then.
const STEP: Duration = Duration::from_secs(5);

fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(nonce)
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(STEP, step).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A node that answers an invitation, and is not assigned yet.
#[derive(Debug)]
pub(crate) struct Invited {
    stream: TcpStream,
    address: String,
    secret: Secret,
    nonces: [u8; 2 * NONCE_BYTES],
    /// Its data directory.
    pub(crate) store: u64,
}

/// Connects to a node that waits, and makes sure that it knows the secret.
pub(crate) async fn invite(
    (address, source): (&str, Option<IpAddr>),
    secret: &Secret,
) -> Result<Invited, JoinError> {
    let lost = |error| JoinError::Connection { address: address.to_owned(), error };
    let mut stream = within(connect(address, source)).await.map_err(lost)?;
    let own = nonce().map_err(lost)?;
    within(stream.write_all(&[&MAGIC[..], &own].concat())).await.map_err(lost)?;
    let mut offer = [0; 8 + NONCE_BYTES + 8 + PROOF_BYTES];
    let not_waiting = |_| JoinError::NotWaiting { address: address.to_owned() };
    within(stream.read_exact(&mut offer)).await.map_err(not_waiting)?;
    let (said, proof) = offer.split_at(8 + NONCE_BYTES + 8);
    if said[..8] != MAGIC {
        return Err(JoinError::NotWaiting { address: address.to_owned() });
    }
    if !secret.is_signed(OFFER, &[&own, said], proof) {
        return Err(JoinError::Secret { address: address.to_owned() });
    }
    let mut nonces = [0; 2 * NONCE_BYTES];
    nonces[..NONCE_BYTES].copy_from_slice(&own);
    nonces[NONCE_BYTES..].copy_from_slice(&said[8..8 + NONCE_BYTES]);
    let mut store = [0; 8];
    store.copy_from_slice(&said[8 + NONCE_BYTES..]);
    let (address, secret) = (address.to_owned(), secret.clone());
    Ok(Invited { stream, address, secret, nonces, store: u64::from_le_bytes(store) })
}

impl Invited {
    /// Gives it its number, and waits until it has stored that.
    pub(crate) async fn assign(mut self, member: &Member) -> Result<(), JoinError> {
        let lost = |error| JoinError::Connection { address: self.address.clone(), error };
        let body = member.encode();
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let proof = self.secret.sign(ASSIGN, &[&self.nonces, &length, body.as_bytes()]);
        let message = [&length[..], body.as_bytes(), &proof].concat();
        within(self.stream.write_all(&message)).await.map_err(lost)?;
        let mut taken = [0; PROOF_BYTES];
        within(self.stream.read_exact(&mut taken)).await.map_err(lost)?;
        if self.secret.is_signed(TAKEN, &[&self.nonces, body.as_bytes()], &taken) {
            Ok(())
        } else {
            Err(JoinError::Secret { address: self.address })
        }
    }
}

/// Waits until somebody who knows the secret has given this node a number, and `keep` has stored it. Whoever
/// else comes is sent away.
pub(crate) async fn wait(
    listener: &TcpListener,
    secret: &Secret,
    store: u64,
    keep: impl Fn(&Member) -> io::Result<()>,
) -> Member {
    loop {
        let came = match listener.accept().await {
            Ok((stream, from)) => answer(stream, secret, store, &keep).await.map_err(|e| (from, e)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match came {
            Ok(member) => return member,
            Err((from, error)) => tracing::warn!(%from, %error, "an invitation came to nothing"),
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    secret: &Secret,
    store: u64,
    keep: &impl Fn(&Member) -> io::Result<()>,
) -> io::Result<Member> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut hello = [0; 8 + NONCE_BYTES];
    within(stream.read_exact(&mut hello)).await?;
    if hello[..8] != MAGIC {
        return Err(refused("it is no invitation"));
    }
    let own = nonce()?;
    let said = [&MAGIC[..], &own, &store.to_le_bytes()].concat();
    let proof = secret.sign(OFFER, &[&hello[8..], &said]);
    within(stream.write_all(&[&said[..], &proof].concat())).await?;
    let nonces = [&hello[8..], &own].concat();
    // The metadata give the number meanwhile.
    let mut length = [0; 4];
    let first = tokio::time::timeout(4 * STEP, stream.read_exact(&mut length)).await;
    first.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > ASSIGNMENT_BYTES_MAX {
        return Err(refused("an assignment of that length is none"));
    }
    let mut body = vec![0; bytes + PROOF_BYTES];
    within(stream.read_exact(&mut body)).await?;
    let (body, proof) = body.split_at(bytes);
    if !secret.is_signed(ASSIGN, &[&nonces, &length, body], proof) {
        return Err(refused("who invites has another cluster secret"));
    }
    let member = std::str::from_utf8(body).ok().and_then(Member::decode);
    let member = member.ok_or_else(|| refused("the assignment is not understood"))?;
    keep(&member)?;
    within(stream.write_all(&secret.sign(TAKEN, &[&nonces, body]))).await?;
    Ok(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).expect("long enough")
    }

    async fn listening() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        (listener, address)
    }

    /// Promise: a node that waits gets its number from who knows the secret, after strangers and who knows
    /// another one were sent away, and has stored it when the other side is told so.
    #[tokio::test]
    async fn only_who_knows_the_secret_gives_numbers() {
        let (listener, address) = listening().await;
        let kept = Mutex::new(None);
        let keep = |member: &Member| {
            *kept.lock().expect("whole") = Some(member.clone());
            Ok(())
        };
        let right = secret("the secret of the cluster");
        let member = Member { cluster: 9, node: 4, store: 77, ..Member::default() };
        let inviting = async {
            let mut stranger = TcpStream::connect(&address).await.expect("connected");
            stranger.write_all(&[0; 100]).await.expect("sent");
            let wrong = secret("the secret of another cluster");
            let refused = invite((&address, None), &wrong).await.expect_err("another secret");
            assert!(matches!(refused, JoinError::Secret { .. }), "{refused}");
            let invited = invite((&address, None), &right).await.expect("it waits");
            assert_eq!(invited.store, 77);
            invited.assign(&member).await.expect("taken");
            assert_eq!(*kept.lock().expect("whole"), Some(member.clone()));
        };
        let (joined, ()) = tokio::join!(wait(&listener, &right, 77, keep), inviting);
        assert_eq!(joined, member);
    }

    /// Promise: what is not stored is not taken.
    #[tokio::test]
    async fn what_cannot_be_stored_is_not_taken() {
        let (listener, address) = listening().await;
        let secret = secret("the secret of the cluster");
        let tries = std::sync::atomic::AtomicU64::new(0);
        let keep = |_: &Member| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        let inviting = async {
            let member = Member::default();
            let invited = invite((&address, None), &secret).await.expect("it waits");
            assert!(invited.assign(&member).await.is_err());
            let invited = invite((&address, None), &secret).await.expect("it still waits");
            invited.assign(&member).await.expect("taken");
        };
        tokio::join!(wait(&listener, &secret, 1, keep), inviting);
    }
}

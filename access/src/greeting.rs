//! Both sides prove that they know the cluster's secret, over fresh nonces of both, before anything is said.
//!
//! ```text
//!   client                                    leaf
//!     │ magic, nonce ──────────────────────────►│
//!     │◄──────────────────── magic, nonce, proof ─│
//!     │ proof ─────────────────────────────────►│
//! ```
//!
//! What follows is neither authenticated nor encrypted, as between copies.

use std::io;

use resprout_replication::transport::{PROOF_BYTES, Secret};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAGIC: [u8; 8] = *b"RSPRACC5";
/// Where the version is in it.
const VERSION_AT: usize = 7;
const NONCE_BYTES: usize = 32;
const OF_LEAF: &[u8; 32] = b"resprout access v2 leaf         ";
const OF_CLIENT: &[u8; 32] = b"resprout access v2 client       ";

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned())
}

/// Why a greeting is not understood: it is of another version, or of nobody that is known.
fn of_version<'w>(greeting: &[u8], stranger: &'w str) -> &'w str {
    let is_ours = greeting.get(..VERSION_AT) == Some(&MAGIC[..VERSION_AT]);
    if is_ours {
        "the other node is of another version: all nodes must be of one"
    } else {
        stranger
    }
}

fn hello() -> io::Result<[u8; 8 + NONCE_BYTES]> {
    let mut hello = [0; 8 + NONCE_BYTES];
    hello[..8].copy_from_slice(&MAGIC);
    let drawn = SystemRandom::new().fill(&mut hello[8..]);
    drawn.map_err(|_| io::Error::other("no random numbers"))?;
    Ok(hello)
}

/// The client's side.
pub(crate) async fn dial(stream: &mut TcpStream, secret: &Secret) -> io::Result<()> {
    let own = hello()?;
    stream.write_all(&own).await?;
    let mut answer = [0; 8 + NONCE_BYTES + PROOF_BYTES];
    stream.read_exact(&mut answer).await?;
    let (other, proof) = answer.split_at(8 + NONCE_BYTES);
    if other[..8] != MAGIC {
        return Err(refused(of_version(other, "no leaf answers there")));
    }
    if !secret.is_signed(OF_LEAF, &[&own, other], proof) {
        return Err(refused("the leaf has another cluster secret"));
    }
    stream.write_all(&secret.sign(OF_CLIENT, &[&own, other])).await
}

/// The leaf's side.
pub(crate) async fn answer(stream: &mut TcpStream, secret: &Secret) -> io::Result<()> {
    let mut other = [0; 8 + NONCE_BYTES];
    stream.read_exact(&mut other).await?;
    if other[..8] != MAGIC {
        return Err(refused(of_version(&other, "no aggregator asks")));
    }
    let own = hello()?;
    let proof = secret.sign(OF_LEAF, &[&other, &own]);
    stream.write_all(&[&own[..], &proof].concat()).await?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    if secret.is_signed(OF_CLIENT, &[&other, &own], &proof) {
        Ok(())
    } else {
        Err(refused("who asks has another cluster secret"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Promise: a node of another version is refused by both sides, which say so.
    #[tokio::test]
    async fn another_version_is_refused_and_named() {
        let secret = Secret::new(b"known to all of the cluster").expect("long enough");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let other = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut hello = [0; 8 + NONCE_BYTES];
            stream.read_exact(&mut hello).await.expect("a greeting");
            let mut answer = [0; 8 + NONCE_BYTES + PROOF_BYTES];
            answer[..8].copy_from_slice(b"RSPRACC3");
            stream.write_all(&answer).await.expect("said");
        };
        let dialing = async {
            let mut stream = TcpStream::connect(address).await.expect("a leaf");
            dial(&mut stream, &secret).await.expect_err("another version")
        };
        let (error, ()) = tokio::join!(dialing, other);
        assert!(error.to_string().contains("another version"), "{error}");
        let asking = async {
            let mut stream = TcpStream::connect(address).await.expect("a leaf");
            let mut hello = [0; 8 + NONCE_BYTES];
            hello[..8].copy_from_slice(b"RSPRACC3");
            stream.write_all(&hello).await.expect("said");
            stream
        };
        let (_stream, accepted) = tokio::join!(asking, listener.accept());
        let (mut stream, _) = accepted.expect("a client");
        let error = answer(&mut stream, &secret).await.expect_err("another version");
        assert!(error.to_string().contains("another version"), "{error}");
    }
}

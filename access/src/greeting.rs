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

const MAGIC: [u8; 8] = *b"RSPRACC4";
const NONCE_BYTES: usize = 32;
const OF_LEAF: &[u8; 32] = b"resprout access v2 leaf         ";
const OF_CLIENT: &[u8; 32] = b"resprout access v2 client       ";

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what.to_owned())
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
        return Err(refused("no leaf answers there"));
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
        return Err(refused("no aggregator asks"));
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

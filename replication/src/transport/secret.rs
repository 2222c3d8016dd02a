//! The cluster's secret, and the proofs that somebody knows it.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// Fewest bytes of a secret: less could be guessed from one recorded handshake.
pub const SECRET_BYTES_MIN: usize = 16;
/// Bytes of a proof: HMAC-SHA-256.
pub const PROOF_BYTES: usize = 32;
/// Bytes of a nonce: as many as the hash, so that none ever comes twice.
pub(super) const NONCE_BYTES: usize = 32;

/// What only nodes of one cluster know. Prints as stars.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// A secret that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cluster secret has {bytes} bytes: give at least {SECRET_BYTES_MIN}, best at random")]
pub struct SecretError {
    /// How many it has.
    pub bytes: usize,
}

/// On which side of a connection a proof was made. It is part of the proof: what one side says is
/// worth nothing when it is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dialer,
    Listener,
}

impl Side {
    /// Also keeps these proofs apart from any other use of the secret.
    fn label(self) -> &'static [u8; 32] {
        match self {
            Self::Dialer => b"resprout replication v1 dialer  ",
            Self::Listener => b"resprout replication v1 listener",
        }
    }
}

impl Secret {
    /// A secret of at least [`SECRET_BYTES_MIN`] bytes.
    ///
    /// # Errors
    /// [`SecretError`] if it is shorter.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(SecretError { bytes: bytes.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Signs what is said for a purpose, which no other use of the secret has. The parts must have lengths that
    /// are fixed or part of what is signed.
    #[must_use]
    pub fn sign(&self, purpose: &[u8; 32], parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        parts.iter().for_each(|part| context.update(part));
        let mut signature = [0; PROOF_BYTES];
        signature.copy_from_slice(context.sign().as_ref());
        signature
    }

    /// Whether that was signed by who knows the secret, in constant time.
    #[must_use]
    pub fn is_signed(&self, purpose: &[u8; 32], parts: &[&[u8]], signature: &[u8]) -> bool {
        let signed = [&[purpose.as_slice()], parts].concat().concat();
        hmac::verify(&self.0, &signed, signature).is_ok()
    }

    /// Proves on this side of the connection on which these two greetings were said.
    pub(super) fn prove(&self, side: Side, hello: &[u8], challenge: &[u8]) -> [u8; PROOF_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        // Labels and greetings have fixed lengths: no two transcripts run into the same bytes.
        for part in [side.label().as_slice(), hello, challenge] {
            context.update(part);
        }
        let mut proof = [0; PROOF_BYTES];
        proof.copy_from_slice(context.sign().as_ref());
        proof
    }

    /// Whether the other side has proved the same, in constant time.
    pub(super) fn is_proof(
        &self,
        side: Side,
        (hello, challenge): (&[u8], &[u8]),
        proof: &[u8; PROOF_BYTES],
    ) -> bool {
        let signed = [side.label().as_slice(), hello, challenge].concat();
        hmac::verify(&self.0, &signed, proof).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Bytes that nobody can foresee.
pub(super) fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| std::io::Error::other("the system has no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a short secret is refused by its length, and no secret is ever printed.
    #[test]
    fn s17_short_secrets_are_refused_and_none_is_printed() {
        let error = Secret::new(b"only 15 bytes..").unwrap_err();
        let said = "the cluster secret has 15 bytes: give at least 16, best at random";
        assert_eq!(error.to_string(), said);
        let secret = Secret::new(b"sixteen bytes...").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }

    /// Promise: a proof is of one side, one secret and two greetings; nothing else passes for it.
    #[test]
    fn a_proof_is_of_one_side_and_one_exchange() {
        let secret = Secret::new(b"sixteen bytes...").unwrap();
        let proof = secret.prove(Side::Dialer, b"hello", b"challenge");
        assert!(secret.is_proof(Side::Dialer, (b"hello", b"challenge"), &proof));
        assert!(!secret.is_proof(Side::Listener, (b"hello", b"challenge"), &proof));
        assert!(!secret.is_proof(Side::Dialer, (b"hullo", b"challenge"), &proof));
        assert!(!secret.is_proof(Side::Dialer, (b"hello", b"challengf"), &proof));
        let other = Secret::new(b"sixteen bytes..!").unwrap();
        assert!(!other.is_proof(Side::Dialer, (b"hello", b"challenge"), &proof));
        for bit in 0..PROOF_BYTES * 8 {
            let mut changed = proof;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!secret.is_proof(Side::Dialer, (b"hello", b"challenge"), &changed));
        }
    }
}

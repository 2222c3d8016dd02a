//! How a connection begins: who speaks, to whom, in which version, and that both know the
//! cluster's secret.
//!
//! ```text
//!  who connects                                     who listens
//!   │ Hello: versions, cluster, node, run, nonce ────►│ judges what is said
//!   │◄──── Challenge: version, cluster, node, run, nonce
//!   │ judges what is said                             │
//!   │ Proof: HMAC(secret, dialer, Hello, Challenge) ─►│ checks it; is that node known, that run new?
//!   │◄── Welcome: HMAC(secret, listener, Hello, Challenge)
//!   │ checks it, and that run                         │
//! ```
//!
//! Either side may answer with a refusal and its reason instead, and closes then. Both nonces are in
//! both proofs, so a recorded handshake proves nothing; so are both identities and the side, so
//! nothing can be passed on or sent back. Who connects proves itself first: a stranger at the port
//! learns nothing that it could try guesses of the secret on. Nothing changes in a node's memory
//! before the other side has proved itself.

pub(super) use exchange::{Known, Session, answer, dial, refuse};
pub(super) use judge::Seen;
pub use record::GreetingError;
pub(super) use record::{Greeting, MAGIC, REFUSAL_RECORD_BYTES, decode_refusal};
pub use refusal::{Refusal, Versions};

mod exchange;
mod judge;
mod record;
mod refusal;
#[cfg(test)]
mod tests;

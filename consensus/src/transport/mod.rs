//! Carrying messages between nodes.
//!
//! [`Transport`] is what the driver needs. [`TcpTransport`] is it between processes, [`local::Hub`]
//! within one.

use std::fmt;

use crate::{Envelope, Membership, NodeId};

pub use tcp::{
    ConnectionError, InboundStatus, Local, PeerStatus, StatusReader, TcpOptions, TcpTransport,
};

pub mod local;
mod tcp;

/// Carries messages, as well as it can: they may be lost, delayed, doubled, and overtake each other.
pub trait Transport: fmt::Debug + Send + 'static {
    /// Takes a message on its way. Never waits: what does not fit any more is dropped, and a member
    /// to which nothing can be sent is no reason to keep much for it.
    fn send(&mut self, envelope: Envelope);

    /// Tells whom there is to talk to, and where.
    fn set_members(&mut self, membership: &Membership);
}

/// What a transport brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Envelope),
    /// The connection to a member was lost, or could not be made: what was sent may not have arrived.
    Unreachable(NodeId),
}

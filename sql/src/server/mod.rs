//! The protocol on sockets: listening, TLS, limits, and what a server must implement.
//!
//! A [`Service`] knows accounts and opens a [`Session`] for each client that is let in; sessions
//! run statements and write results into a [`ResultWriter`]. [`Server`] does the rest: logins,
//! limits ([`Options`]), timeouts, KILL ([`Connections`]), and an orderly end.
//!
//! Each connection is one task that owns its socket and its session. It writes one buffer per
//! command, and more only when a result does not fit: then the session waits for the client
//! ([`Rows::ready`]), so that memory stays bounded however slow the client reads.

mod command_loop;
mod interrupt;
mod listener;
mod login;
mod options;
mod registry;
mod results;
mod service;
mod tls;
mod wire;

pub use interrupt::{Interrupt, Reason};
pub use listener::{Ended, Server};
pub use options::{BadOption, Limits, Options, Times};
pub use registry::{ConnectionInfo, Connections, Kill};
pub use results::{File, ResultWriter, Rows};
pub use service::{Account, Opening, Preparation, Service, Session};
pub use tls::{Tls, TlsError};

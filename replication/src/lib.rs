//! Replication of Resprout: the copies of one partition are one history, always.
//!
//! The rules are two cores without I/O, [`Master`] and [`Replica`], and [`PartitionCopy`], which is one or the
//! other: an [`Event`] and the time go in, what is to be done comes out as an [`Output`]. Logs, pages,
//! sockets, clocks and the authority are at the edge:
//!
//! ```text
//!   authority ─record─►┌────────┐──requests, reports──► authority
//!   peers ──Envelope──►│  copy  │──messages───────────► peers
//!   log ─Appended,────►│ Master │──writes, reads──────► log
//!        Durable       │   or   │──pages──────────────► tree
//!                      │ Replica│──committed──────────► readers, waiting commits
//!                      └────────┘
//! ```
//!
//! What may be relied on (`docs/protocols/replication.md` says where each is held and tested):
//! - A commit is acknowledged when every copy that the record lets be promoted has it.
//! - Only the authority's record makes a master stop waiting for a copy.
//! - Who has heard of a newer term acknowledges nothing of an older one.
//! - Copies that disagree are cut where their histories part, never below what is known acknowledged.
//! - A slow or lying peer costs a bounded amount of memory.

/// Whether the core has this bug: only in tests, and only if one asks for it.
macro_rules! planted {
    ($config:expr, $bug:ident) => {{
        #[cfg(any(test, feature = "testing"))]
        let wanted = $config.planted == Some($crate::testing::Planted::$bug);
        #[cfg(not(any(test, feature = "testing")))]
        let wanted = {
            let _config: &$crate::Config = &$config;
            false
        };
        wanted
    }};
}

pub use config::{Config, ConfigError, Limits, Mode, ModeError, Timing};
pub use copy::{End, PartitionCopy, Role, Stance};
pub use frame::{Frame, WIRE_NONCE};
pub use id::{Cfg, Identity, Incarnation, Instance, Partition, Promise, Stamp, StreamId};
pub use master::{Master, MemberStatus, Standing, Status};
pub use message::{Ack, Envelope, Hello, ImageHead, Leave, Message, Start};
pub use output::{Alarm, Event, Halt, Lookup, Output, PageWork, Read, Report, State, Turn, Write};
pub use promotion::{Choice, NotYet, choose};
pub use record::{CopyRecord, CopyState, Decided, Record, Request};
pub use replica::{ImageProgress, Replica, Seed};
pub use tail::{Tail, last_common};

mod config;
mod copy;
pub mod driver;
mod frame;
mod id;
mod master;
mod message;
mod output;
mod promotion;
mod recent;
mod record;
mod replica;
mod tail;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
pub mod wire;

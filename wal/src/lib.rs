//! The log of Resprout: frames, arena, group commit.
//!
//! A [`Device`] is one directory's arena; in it lie the logs of many partitions. What is appended
//! to a [`Log`] is written by groups, one flush for all logs, and waits are by position:
//!
//! ```text
//!  Device::open ─► found() ─► recover(identity, from, evidence) ─► next() … finish() ─► open() ─► Log
//!                └► create(identity, term) ─────────────────────────────────────────────────────► Log
//!
//!  Log: reserve ─► lock ─► append ─► wait_durable | durable().await
//! ```
//!
//! What may be relied on:
//! - When a wait returns, every group up to the position is on the medium, and the observer knows.
//! - A recovered log is a prefix of what was appended, whole groups only, with everything that was
//!   ever durable; or it is [`Damage`], which names file, offset and LSN. Never anything between.
//! - Nothing read from a disk is trusted: no byte of it leads to a panic or a large allocation.

pub use arena::SuperblockFlaw;
pub use arena::{ARENA_FILE, Geometry, HeadFlaw, Link, Mark, MarkKind, SlotHeader, Superblock};
pub use device::{Counters, Device, DriverMode, FoundLog, LOCK_FILE, LogStart, Options, World};
pub use disk::DurableMode;
pub use error::{CutError, Damage, Full, LogError, OpenError, Range, ReadError, Witness};
pub use frame::Frame;
pub use histogram::{Histogram, HistogramReading};
pub use lineage::Lineage;
pub use log::{
    Appender, Durable, FrameSpace, Hold, Log, NoObserver, Observer, Position, Positions,
    Reservation,
};
pub use position::{History, LogIdentity, Lsn, SECTOR, Term, TermStart};
pub use reader::Reader;
pub use recovery::{
    Anchor, Batch, Entry, Evidence, Group, Recovered, Recovery, Stop, Tail, Unreadable,
    UnreadableWhy,
};

mod arena;
mod device;
pub mod disk;
mod driver;
mod error;
pub mod frame;
mod histogram;
pub mod inspect;
mod lineage;
mod lock;
mod log;
mod position;
mod reader;
mod recovery;
pub mod world;

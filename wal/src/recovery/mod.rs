//! From bytes on a disk to a log that may take entries.
//!
//! ```text
//!  survey ─► chain of slots ─► Recovery ──next──► Batch, Batch, … ──finish──► Recovered ──open──► Log
//!                 │                │                                              │
//!                 └── Damage ◄─────┘                         cuts what is torn, physically
//! ```
//!
//! **Torn or damaged is decided by evidence** (rule 17). Where the next frame should be and is
//! not, everything that could know is asked how far the log was durable: the marks of all its
//! slots, every later frame found sector by sector, and the caller. Durable beyond that place
//! means damage; otherwise a crash left it, and the log ends before it, whatever follows (D16).
//! The two outcomes have two types: [`Damage`] is an error, [`Tail`] a part of [`Recovered`].
//!
//! A frame is never skipped, and a group counts only when all its frames are there.

pub use batch::{Batch, Entry, Group};
pub use recovered::{Recovered, Recovery};
pub use survey::{Unreadable, UnreadableWhy};
pub use walk::{Anchor, Evidence, Stop, Tail};

pub(crate) use survey::{Chain, Found, Survey, read_patiently, survey};
pub(crate) use walk::{Ended, Passed, Place, Reading, Walk};

mod batch;
mod recovered;
mod stream;
mod survey;
mod walk;

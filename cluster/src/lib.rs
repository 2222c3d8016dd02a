//! The control plane of Resprout: where copies belong.
//!
//! Everything here is a function of what it is given: no I/O, no clock, no random source.
//!
//! - [`metadata`]: what the cluster agrees on: a state that committed commands change.
//! - [`reconcile`]: what a node does until it is as they say.
//! - [`detector`]: who is lost.
//! - [`manager`]: what the master aggregator decides: failover, attach, and back again.
//! - [`carrier`]: consensus over the connections between nodes.
//! - [`control`]: what nodes say to each other about it.
//! - [`placement`]: where the copies of a database belong, with the fewest copies and promotions.
//! - [`plan`]: the steps from what is to what shall be, what they take, and the questions around them.
//! - [`execution`]: a plan as a core without I/O, and the changes of the record that it is made of.
//!
//! A leaf in each group, and another pair that came later:
//!
//! ```
//! use resprout_cluster::placement::{Request, initial, target};
//! use resprout_cluster::plan::{Action, plan};
//! use resprout_cluster::{Copy, Database, Following, Group, Leaf, LeafId, Mode, Partition};
//!
//! let leaf = |id, group, pair| {
//!     Leaf { id: LeafId(id), group, pair: Some(LeafId(pair)), ..Leaf::default() }
//! };
//! let old = [leaf(1, Group::One, 2), leaf(2, Group::Two, 1)];
//! let new = [leaf(3, Group::One, 4), leaf(4, Group::Two, 3)];
//!
//! // CREATE DATABASE … PARTITIONS 4
//! let first = initial(&old, Mode::Paired, 4)?;
//! let partitions = first.partitions.iter().map(|new| {
//!     let copy = |instance| Copy { instance, following: Following::Sync, offline: false, ..Copy::default() };
//!     let mut copies = std::collections::BTreeMap::from([(new.home.master, copy(new.master))]);
//!     copies.extend(new.home.replica.zip(new.replica.map(copy)));
//!     let (ordinal, master, term) = (new.ordinal, Some(new.home.master), new.term);
//!     Partition { ordinal, master, term, copies, bytes: 1 << 30, ..Partition::default() }
//! });
//! let database = Database { partitions: partitions.collect(), ..Database::default() };
//!
//! // ADD LEAF twice; EXPLAIN REBALANCE PARTITIONS
//! let leaves = [old, new].concat();
//! let request =
//!     Request { leaves: &leaves, database: &database, mode: Mode::Paired, full: None, force: false };
//! let placement = target(&request)?;
//! assert_eq!((placement.cost.copies, placement.cost.promotions), (4, 2));
//! assert_eq!(placement.bound, placement.cost); // no balanced placement takes less
//! let plan = plan(&leaves, &database, &placement);
//! assert_eq!(plan.steps[0].action, Action::Copy);
//! assert_eq!(plan.peaks[&LeafId(3)], 2 << 30);
//! # Ok::<(), resprout_cluster::placement::Unplaceable>(())
//! ```
//!
//! `docs/protocols/placement.md` has the rules, where each is held, and how it is proven.
#![forbid(unsafe_code)]

/// Whether a core has this bug: only in tests, and only if one asks for it.
macro_rules! planted {
    ($core:expr, $bug:ident) => {{
        #[cfg(any(test, feature = "testing"))]
        let wanted = $core.planted == Some($crate::testing::Planted::$bug);
        #[cfg(not(any(test, feature = "testing")))]
        let wanted = {
            let _ = &$core;
            false
        };
        wanted
    }};
}

pub use copies::{Copy, Database, Following, Partition, Reference};
pub use id::{Address, Cfg, Incarnation, Instance, LeafId, NodeId, Ordinal, Stamp, Term};
pub use leaf::{Group, Leaf, Mode, Standing};
pub use record::RecordError;

pub mod carrier;
pub mod control;
mod copies;
pub mod detector;
pub mod execution;
mod flow;
mod id;
mod leaf;
pub mod manager;
pub mod metadata;
pub mod placement;
pub mod plan;
pub mod reconcile;
mod record;
pub mod settings;
pub mod survey;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

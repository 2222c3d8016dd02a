//! The commands of `resprout`, one folder per noun.

pub mod bench;
pub mod cluster;
pub mod completions;
pub mod inspect;
pub mod load;

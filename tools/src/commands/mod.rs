//! The commands of `resprout`, one folder per noun.

pub mod bench;
pub mod inspect;
pub mod load;

//! What `resprout` and `resproutd` are made of: commands, their output, and the node around the
//! engine. Not a public interface; embed `resprout-engine` instead.

pub mod access;
pub mod bench;
pub mod commands;
pub mod failure;
pub mod node;
pub mod output;
pub mod quantity;
pub mod read_only;
pub mod watch;

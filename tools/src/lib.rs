//! What `resprout` and `resproutd` are made of: commands, their output, and the node around the
//! engine. Not a public interface; embed `resprout-engine` instead.

pub mod bench;
pub mod failure;
pub mod node;
pub mod output;
pub mod quantity;

//! Random histories of a node against a model: clients in seeded interleavings, changes of tables,
//! snapshots, rewinds, crashes and clean stops.

mod clients;
mod shadow;
mod story;

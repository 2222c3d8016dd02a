//! Plans under way: scripts of known failures, and whole clusters with faults from seeds.

mod changes;
mod faults;
mod script;
mod sim;
#[path = "../placement/world.rs"]
#[allow(dead_code, reason = "shared with the tests of placement")]
mod world;

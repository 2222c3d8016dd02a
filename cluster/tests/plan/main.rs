//! Plans and the questions around them.

mod properties;
mod questions;
mod shapes;
#[path = "../placement/world.rs"]
mod world;

//! The master aggregator's core beside model leaves: chosen scenarios, and a simulation from seeds.

mod check;
mod faults;
mod leaf;
mod scenarios;
mod sim;
mod world;

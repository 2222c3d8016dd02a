//! The master aggregator's core beside model leaves: chosen scenarios, and a simulation from seeds.

#![expect(clippy::print_stdout, reason = "a failing seed and its trace are for people")]

mod check;
mod faults;
mod leaf;
mod reference;
mod returns;
mod scenarios;
mod sim;
mod world;

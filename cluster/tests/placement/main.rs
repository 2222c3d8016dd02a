//! Placement: against brute force, against bounds, and the numbers that are known.

mod brute;
mod large;
mod planted;
mod scenarios;
mod small;
mod world;

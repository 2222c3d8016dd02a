//! What the log promises, checked through its public face on the simulated disk.

mod append;
mod crash;
mod cut;
mod damage;
mod failure;
mod flips;
mod follow;
mod harness;
mod inspect;
mod retention;

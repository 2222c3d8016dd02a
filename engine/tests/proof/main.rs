//! What the engine promises, checked from outside on a simulated disk whose faults and choices
//! follow from seeds. `RESPROUT_SEEDS` in the environment asks for more seeds than usual.

mod allocations;
mod contents;
mod crash_everywhere;
mod damage;
mod errors;
mod fixture;
mod harness;
mod limits;
mod model;
mod pairs;
mod power;
mod spread;
mod tasks;
mod waiting;
mod workload;

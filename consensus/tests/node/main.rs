//! Nodes at work in one process: what callers may rely on.

mod cluster;
mod ends;
mod proposing;

//! Real engines, real connections, real time: two or three nodes in one process, driven.

mod fresh;
mod pair;
mod rounds;
mod world;

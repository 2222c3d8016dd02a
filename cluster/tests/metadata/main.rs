//! What the metadata promise: one order, one state; nothing by late or deposed hands; records by compare-and-set.

mod codec;
mod nodes;
mod records;
mod reference;
mod world;

//! What the typed tables promise, checked from outside on generated data. All seeds are fixed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod catalog;
mod coercion;
mod generate;
mod index_model;
mod inference;
mod key_order;
mod log_records;
mod rows;
mod schemas;

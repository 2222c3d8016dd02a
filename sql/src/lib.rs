//! The front door: MySQL clients.
//!
//! | to | see |
//! |---|---|
//! | answer clients over the network | [`server`]: implement [`server::Service`] and [`server::Session`] |
//! | know what goes over the wire | [`protocol`] |
//! | understand what clients say | [`statement`] |
//! | compute what they write between the names | [`expression`] |
//! | run what is not done here: joins, groups, subqueries | [`planned`] |
//! | know who may come in and do what | [`accounts`] |
//! | give clients errors | [`error`] |

#![forbid(unsafe_code)]

pub mod accounts;
mod beside;
pub mod error;
mod execute;
pub mod expression;
pub mod place;
pub mod planned;
pub mod protocol;
pub mod pushdown;
mod sealed_file;
pub mod server;
pub mod session;
pub mod statement;
mod variables;

pub use error::{Code, SqlError};

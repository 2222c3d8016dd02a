//! The MySQL protocol 4.1 as a codec: bytes to events and back, without sockets, clocks or
//! accounts.
//!
//! | to | see |
//! |---|---|
//! | cut bytes in packets | [`packet`], [`compress`] |
//! | read and write numbers and strings | [`wire`] |
//! | let clients in | [`handshake`], [`auth`] |
//! | know what they ask for | [`command`], [`statement`] |
//! | answer | [`resultset`], [`mod@column`], [`value`] |
//! | keep the order of all that | [`session`] |
//!
//! Not offered, so that clients do without: session tracking, query attributes, optional metadata,
//! cursors, the exchange of passwords by RSA.

pub mod auth;
pub mod column;
pub mod command;
pub mod compress;
pub mod flags;
pub mod handshake;
pub mod packet;
pub mod resultset;
pub mod session;
pub mod statement;
pub mod value;
pub mod wire;

//! A cluster of real processes that a bench writes to and does things to.

pub(super) mod cluster;
pub(super) mod processes;
pub(super) mod times;
pub(super) mod writers;

use std::path::{Path, PathBuf};

use super::io_failed;
use crate::failure::{Exit, Failure};

/// The nodes' program.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = || std::env::current_exe().map(|own| own.with_file_name("resproutd"));
    let path = match given {
        Some(given) => given.to_owned(),
        None => beside().map_err(io_failed("find this program"))?,
    };
    path.canonicalize().map_err(|error| {
        let what = format!("cannot use {}", path.display());
        let fix = "build it (cargo build --release --bin resproutd) or give --resproutd PATH";
        Failure::new(what, error, fix).exiting(Exit::Usage)
    })
}

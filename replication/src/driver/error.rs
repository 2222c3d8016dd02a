//! Why a copy cannot be driven.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a copy cannot be driven. It stays PENDING, its files untouched.
#[derive(Debug, Error)]
pub enum StartError {
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] resprout_engine::Error),
    /// What the copy has promised cannot be read or stored: without that it must not take part.
    #[error("{path}: {error}")]
    Kept {
        /// The file.
        path: PathBuf,
        /// What the system said, or what is wrong with it.
        error: io::Error,
    },
    /// No thread could be made.
    #[error("no thread for a copy: {0}")]
    Thread(io::Error),
}

//! Why a node does not start, or does not do what it is told.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a node does not start. Nothing has changed then but the number of starts.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings make no sense.
    #[error("{option}: {why}")]
    Option {
        /// Which.
        option: &'static str,
        /// Why not.
        why: String,
    },
    /// A file of the data directory.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file is not what was written.
    #[error("{}: damaged; restore it, or begin with an empty directory and add the node anew", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The metadata's store.
    #[error("metadata: {0}")]
    Metadata(String),
    /// The rows' engine.
    #[error(transparent)]
    Engine(#[from] resprout_engine::Error),
    /// The copies' driver.
    #[error(transparent)]
    Copies(#[from] resprout_replication::driver::StartError),
    /// It was told to stop before it had joined.
    #[error("stopped before it had joined a cluster")]
    Stopped,
}

/// Why a node was not taken in.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The connection.
    #[error("{address}: {error}; is a node started there that waits to be added?")]
    Connection {
        /// To where.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// What answers is no node that waits to be added.
    #[error("{address} does not wait to be added: it is part of a cluster already, or no node")]
    NotWaiting {
        /// Where.
        address: String,
    },
    /// The two do not know the same secret.
    #[error("{address} has another cluster secret")]
    Secret {
        /// Where.
        address: String,
    },
}

/// Why the cluster did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// What the master aggregator said.
    #[error("{0}")]
    Refused(String),
    /// The same, with MySQL's number of the error.
    #[error("{1}")]
    Told(u16, String),
    /// Somebody else has changed it meanwhile: look again.
    #[error("it was changed meanwhile")]
    Changed,
    /// Nobody answered in time: it may be done or not.
    #[error("the master aggregator did not answer in time; the outcome is unknown")]
    Unknown,
    /// There is none, as far as is known here.
    #[error("there is no master aggregator now; try again")]
    NoMaster,
}

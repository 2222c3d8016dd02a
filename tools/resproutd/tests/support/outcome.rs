//! What a client may take from the end of a statement that writes.

use mysql_async::Error;

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was acknowledged: it is there for good.
    Done,
    /// It was refused: it is nowhere, and never will be.
    Refused,
    /// Nobody knows: the connection was lost, or the server says so.
    Unknown,
}

/// What the end of a statement says.
pub(crate) fn judged<T>(ended: &Result<T, Error>) -> Outcome {
    match ended {
        Ok(_) => Outcome::Done,
        Err(Error::Server(error)) if error.message.contains("outcome") => Outcome::Unknown,
        Err(Error::Server(_)) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

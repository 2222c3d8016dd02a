//! Errors of the engine on their way to another node.

use std::sync::Arc;
use std::time::Duration;

use resprout_engine::table::DuplicateEntry;
use resprout_engine::{Error, State, Unknown};
use resprout_wal::Full;

use crate::message::Fault;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::NotOnline { partition, state } => Self::NotOnline(partition, state.to_string()),
            Error::LockWaitTimeout { limit } => {
                Self::LockWaitTimeout(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
            }
            Error::Deadlock => Self::Deadlock,
            Error::Duplicate(DuplicateEntry { entry, table, index }) => {
                Self::Duplicate(entry, table, index)
            }
            Error::MemoryLimit { needed, limit } => Self::MemoryLimit(needed, limit),
            Error::LogFull(Full { path, needed, available, reason }) => {
                Self::LogFull(path.display().to_string(), needed, available, reason)
            }
            Error::OutcomeUnknown(why) => Self::OutcomeUnknown(why.to_string()),
            Error::TransactionEnded => Self::TransactionEnded,
            Error::SchemaChanged { table } => Self::SchemaChanged(table),
            Error::NoSuchTable { table } => Self::NoSuchTable(table),
            Error::AlreadyDecided => Self::AlreadyDecided,
            Error::NotPrepared => Self::NotPrepared,
            Error::AlreadyPrepared => Self::AlreadyPrepared,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotOnline(partition, state) => {
                let known = State::ALL.into_iter().find(|known| known.to_string() == state);
                Self::NotOnline { partition, state: known.unwrap_or(State::Unrecoverable) }
            }
            Fault::LockWaitTimeout(limit) => {
                Self::LockWaitTimeout { limit: Duration::from_millis(limit) }
            }
            Fault::Deadlock => Self::Deadlock,
            Fault::Duplicate(entry, table, index) => {
                Self::Duplicate(DuplicateEntry { entry, table, index })
            }
            Fault::MemoryLimit(needed, limit) => Self::MemoryLimit { needed, limit },
            Fault::LogFull(path, needed, available, reason) => {
                Self::LogFull(Full { path: path.into(), needed, available, reason })
            }
            Fault::OutcomeUnknown(why) => Self::OutcomeUnknown(Unknown::Elsewhere(Arc::from(why))),
            Fault::TransactionEnded => Self::TransactionEnded,
            Fault::SchemaChanged(table) => Self::SchemaChanged { table },
            Fault::NoSuchTable(table) => Self::NoSuchTable { table },
            Fault::AlreadyDecided => Self::AlreadyDecided,
            Fault::NotPrepared => Self::NotPrepared,
            Fault::AlreadyPrepared => Self::AlreadyPrepared,
            Fault::Other(text) => Self::Elsewhere(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what means something to a client arrives as what it was.
    #[test]
    fn errors_arrive_as_what_they_were() {
        let errors = [
            Error::NotOnline { partition: "d:1".to_owned(), state: State::Transitioning },
            Error::LockWaitTimeout { limit: Duration::from_millis(70) },
            Error::Deadlock,
            Error::Duplicate(DuplicateEntry {
                entry: "1-2".to_owned(),
                table: "t".to_owned(),
                index: "PRIMARY".to_owned(),
            }),
            Error::MemoryLimit { needed: 5, limit: 7 },
            Error::LogFull(Full {
                path: "/data/wal.arena".into(),
                needed: 4096,
                available: 100,
                reason: Some("no space left on device".to_owned()),
            }),
            Error::OutcomeUnknown(Unknown::Fenced),
            Error::TransactionEnded,
            Error::SchemaChanged { table: "t".to_owned() },
            Error::NoSuchTable { table: "t".to_owned() },
            Error::AlreadyDecided,
            Error::NotPrepared,
            Error::AlreadyPrepared,
            Error::Closing,
        ];
        for error in errors {
            let text = error.to_string();
            let is_other = matches!(error, Error::Closing);
            let there = Fault::from(error);
            assert_eq!(matches!(there, Fault::Other(_)), is_other, "{text}");
            assert_eq!(Error::from(there).to_string(), text);
        }
    }
}

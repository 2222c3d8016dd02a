//! Accounts of a cluster: one book for all aggregators, in the metadata.
//!
//! ```text
//!  change: newest book ─► changed ─► put, if it still is the newest ─┬─► all aggregators follow at their next look
//!             ▲                                                      │
//!             └────────────── somebody else was faster ◄─────────────┘
//! ```
//!
//! Until the first change each aggregator has the book that it began with; the first change makes that of the aggregator
//! where it is made everybody's. What is followed is kept in the file, too: it is there at the next start, before anything
//! is heard of the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Accounts;
use super::book::Book;
use crate::beside::beside_tasks;
use crate::error::{Code, SqlError};
use crate::place::Directory;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared {
    cluster: OnceLock<Arc<dyn Directory>>,
    /// The version that was followed last.
    followed: AtomicU64,
    /// One follows at a time.
    following: Mutex<()>,
}

/// Bytes that no version of this program wrote, or a newer one.
fn damaged(flaw: impl std::fmt::Display) -> SqlError {
    let text = format!("the accounts of the cluster cannot be read: {flaw}");
    tracing::error!("{text}");
    SqlError::new(Code::UNKNOWN_ERROR, text)
}

impl Accounts {
    /// From now on they are those of a cluster.
    pub(crate) fn share(&self, cluster: Arc<dyn Directory>) {
        // Whoever shares them twice shares them with the first.
        let _first = self.shared.cluster.set(cluster);
    }

    /// Takes over what others have changed.
    pub(super) fn follow(&self) {
        let Some(cluster) = self.shared.cluster.get() else { return };
        if cluster.accounts_version() == self.shared.followed.load(Ordering::Acquire) {
            return;
        }
        beside_tasks(|| {
            let _one_at_a_time =
                self.shared.following.lock().unwrap_or_else(PoisonError::into_inner);
            let (version, bytes) = cluster.accounts();
            if version == self.shared.followed.load(Ordering::Acquire) {
                return;
            }
            if let Ok(book) = Book::decode(&bytes).map_err(damaged) {
                // What others have decided counts here, whether or not this disk takes it.
                if let Err(error) = self.keep(&book) {
                    tracing::error!(%error, "the next start begins with older accounts");
                }
                self.show(book);
                tracing::info!(event = "accounts.followed", version, "accounts of the cluster");
            }
            // Also what cannot be used: the book before stays, and that was said once.
            self.shared.followed.store(version, Ordering::Release);
        });
    }

    /// What a change is made on, with its version.
    pub(super) fn newest(&self) -> Result<(u64, Arc<Book>), SqlError> {
        match self.shared.cluster.get().map(|cluster| cluster.accounts()) {
            None | Some((0, _)) => Ok((0, self.now())),
            Some((version, bytes)) => {
                Ok((version, Arc::new(Book::decode(&bytes).map_err(damaged)?)))
            }
        }
    }

    /// Makes a book the newest; false, and nothing done, if another is by now. Blocks.
    pub(super) fn put(&self, version: u64, book: &Book) -> Result<bool, SqlError> {
        let Some(cluster) = self.shared.cluster.get() else {
            self.keep(book)?;
            self.show(book.clone());
            return Ok(true);
        };
        let bytes = book.encode()?;
        let put = cluster.set_accounts(version, bytes.clone());
        let is_put = tokio::runtime::Handle::current().block_on(put)?;
        // It may have been put by an attempt whose answer was lost.
        let is_it = is_put || cluster.accounts() == (version + 1, bytes);
        self.follow();
        Ok(is_it)
    }
}

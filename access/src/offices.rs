//! Whose changes of tables are carried out on a leaf: those of the newest office that it knows of.
//!
//! ```text
//!   office 29: Adopt ────────────► under way ─┐
//!   office 61: Begin ──── waits ◄─────────────┘──► 61
//!   office 29: Adopt ────────────► 61: nothing is done
//! ```
//!
//! One change at a time, so whoever has begun finds nothing of an earlier office under way, and reads tables that nobody
//! else changes. What a leaf heard it forgets with its process: it serves again by records that were decided since, and
//! with these it knows the office from the metadata.

use std::sync::{Arc, Mutex, PoisonError};

use resprout_engine::{Error, Partition};

use crate::channel::{answer, not_here, online};
use crate::message::{Place, Reply, TableChange};
use crate::out::Out;
use crate::server::Locate;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Offices {
    newest: Mutex<u64>,
}

impl Offices {
    /// Does something for an office, unless a newer one is known: which that is. Blocks.
    fn within(
        &self,
        office: u64,
        known: u64,
        act: impl FnOnce() -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max(known).max(office);
        if office == *newest {
            act()?;
        }
        Ok(*newest)
    }
}

/// Answers a change of a partition's tables.
pub(crate) async fn defined(
    (channel, out): (u64, Arc<Out>),
    (locate, offices): (Arc<dyn Locate>, Arc<Offices>),
    place: Place,
    (office, change): (u64, TableChange),
) {
    let work = move || {
        offices.within(office, locate.office(), || carry_out(locate.partition(place), change))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let newest = done.unwrap_or_else(|error| Err(Error::Elsewhere(error.to_string())));
    // Without connection nobody waits for it.
    let _lost = answer(&out, channel, newest.map(|newest| Reply::Number(Some(newest)))).await;
}

fn carry_out(partition: Option<Partition>, change: TableChange) -> Result<(), Error> {
    if change == TableChange::Begin {
        return Ok(());
    }
    let partition = partition.ok_or_else(not_here)?;
    online(&partition)?;
    match change {
        TableChange::Begin => Ok(()),
        TableChange::Adopt(schema) => partition.adopt_table(schema).map(drop),
        TableChange::Replace(name, schema) => partition.replace_table(&name, schema),
        TableChange::Drop(name) => partition.drop_table(&name),
    }
}

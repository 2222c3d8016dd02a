//! Rows of a file on their way into partitions: each partition gets its rows piece by piece, each
//! piece one transaction on a thread.
//!
//! ```text
//!  file ─► records ─► rows ─┬─► piece of partition 0 ─► insert, commit ─► …
//!                           └─► piece of partition n ─► insert, commit ─► …
//! ```
//!
//! Of a partition, one piece is filled while one is inserted: rows keep their order, memory is
//! bounded, and a slow partition slows the client down.

use std::sync::Arc;

use resprout_engine::Error;
use resprout_engine::table::{Table, Value};
use tokio::task::JoinHandle;

use crate::error::{Code, SqlError};
use crate::execute::error::at_row;
use crate::execute::order::bytes_of;
use crate::execute::router::Target;
use crate::expression::{WARNINGS_MAX, Warning};
use crate::place::Partition;

/// Rows and bytes of one transaction.
const PIECE_ROWS: usize = 2000;
const PIECE_BYTES: usize = 1 << 20;

/// What is done about rows that cannot be inserted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leniency {
    /// Those whose keys exist are left out.
    pub(super) duplicates: bool,
    /// And all others.
    pub(super) all: bool,
}

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) rows: u64,
    pub(super) left_out: u64,
    pub(super) warnings: Vec<Warning>,
}

impl Loaded {
    pub(super) fn leave_out(&mut self, error: SqlError) {
        self.left_out += 1;
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning { code: error.code.0, text: error.text.into_owned() });
        }
    }

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.left_out += other.left_out;
        let room = WARNINGS_MAX - self.warnings.len();
        self.warnings.extend(other.warnings.into_iter().take(room));
    }
}

/// A row and its number in the file.
pub(super) struct Numbered(pub(super) u64, pub(super) Vec<Value>);

impl AsRef<[Value]> for Numbered {
    fn as_ref(&self) -> &[Value] {
        &self.1
    }
}

/// All partitions of a load.
pub(super) struct Bulk {
    target: Target,
    leniency: Leniency,
    lanes: Vec<Lane>,
    loaded: Loaded,
}

/// The way into one partition.
#[derive(Default)]
struct Lane {
    piece: Vec<Numbered>,
    bytes: usize,
    /// What is being inserted.
    running: Option<JoinHandle<Result<Loaded, SqlError>>>,
}

impl Bulk {
    pub(super) fn new(target: &Target, leniency: Leniency) -> Self {
        let lanes = target.database.partitions().map(|_| Lane::default()).collect();
        Self { target: target.clone(), leniency, lanes, loaded: Loaded::default() }
    }

    /// Hands a row over.
    ///
    /// # Errors
    /// Of an earlier row for the same partition.
    pub(super) async fn put(&mut self, partition: usize, row: Numbered) -> Result<(), SqlError> {
        let lane = &mut self.lanes[partition];
        lane.bytes += bytes_of(&row.1);
        lane.piece.push(row);
        if lane.piece.len() < PIECE_ROWS && lane.bytes < PIECE_BYTES {
            return Ok(());
        }
        self.send(partition).await
    }

    /// Waits until all is committed, what was not handed out yet included if `whole`. With an error,
    /// what was committed before stays.
    pub(super) async fn end(mut self, whole: bool) -> (Loaded, Result<(), SqlError>) {
        let mut outcome = Ok(());
        for partition in 0..self.lanes.len() {
            if whole && outcome.is_ok() {
                outcome = self.send(partition).await;
            }
        }
        for partition in 0..self.lanes.len() {
            outcome = outcome.and(self.ended(partition).await);
        }
        (self.loaded, outcome)
    }

    /// Begins with the next piece of a partition, once the one before has ended.
    async fn send(&mut self, partition: usize) -> Result<(), SqlError> {
        self.ended(partition).await?;
        let lane = &mut self.lanes[partition];
        lane.bytes = 0;
        let piece = std::mem::take(&mut lane.piece);
        if piece.is_empty() {
            return Ok(());
        }
        let to = self.target.database.partition(partition);
        let (table, leniency) = (Arc::clone(&self.target.table), self.leniency);
        let insert = move || insert(&to, &table, &piece, leniency);
        lane.running = Some(tokio::task::spawn_blocking(insert));
        Ok(())
    }

    async fn ended(&mut self, partition: usize) -> Result<(), SqlError> {
        let Some(running) = self.lanes[partition].running.take() else { return Ok(()) };
        let panicked = |_| SqlError::new(Code::UNKNOWN_ERROR, "a thread of the statement ended");
        self.loaded.add(running.await.map_err(panicked)??);
        Ok(())
    }
}

/// One transaction.
fn insert(
    partition: &Partition,
    table: &Arc<Table>,
    piece: &[Numbered],
    leniency: Leniency,
) -> Result<Loaded, SqlError> {
    let mut transaction = partition.begin()?;
    let mut loaded = Loaded::default();
    let refused = transaction.insert_many(table, piece)?;
    loaded.rows += (piece.len() - refused.len()) as u64;
    for (at, error) in refused {
        let is_duplicate = matches!(error, Error::Duplicate(_));
        let lenient = leniency.all || leniency.duplicates && is_duplicate;
        let error = at_row(error, usize::try_from(piece[at].0).unwrap_or(usize::MAX));
        if !lenient {
            return Err(error);
        }
        loaded.leave_out(error);
    }
    transaction.commit()?;
    Ok(loaded)
}

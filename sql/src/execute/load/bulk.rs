//! Rows of a file on their way into partitions: each partition gets its rows piece by piece, in their stored form, each
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

use resprout_engine::table::{Table, Value};
use resprout_engine::{EncodedRows, Error};
use tokio::task::JoinHandle;

use crate::error::{Code, SqlError};
use crate::execute::error::{at_row, of_row};
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

/// Rows of one transaction.
struct Piece {
    rows: EncodedRows,
    /// Their numbers in the file.
    numbers: Vec<u64>,
}

impl Piece {
    fn with_capacity(table: &Arc<Table>, rows: usize, bytes: usize) -> Self {
        let numbers = Vec::with_capacity(rows);
        Self { rows: EncodedRows::with_capacity(table, rows, bytes), numbers }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= PIECE_ROWS || self.rows.bytes() >= PIECE_BYTES
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
struct Lane {
    /// What is being filled.
    piece: Piece,
    /// What is being inserted.
    running: Option<JoinHandle<Result<Loaded, SqlError>>>,
}

impl Bulk {
    pub(super) fn new(target: &Target, leniency: Leniency) -> Self {
        let lane = |_| Lane { piece: Piece::with_capacity(&target.table, 0, 0), running: None };
        let lanes = target.database.partitions().map(lane).collect();
        Self { target: target.clone(), leniency, lanes, loaded: Loaded::default() }
    }

    /// Hands a row over that was the so-manieth of the file.
    ///
    /// # Errors
    /// Of an earlier row for the same partition. Of this row if it has no stored form, unless such rows are left out.
    pub(super) async fn put(
        &mut self,
        partition: usize,
        number: u64,
        row: &[Value],
    ) -> Result<(), SqlError> {
        let piece = &mut self.lanes[partition].piece;
        match piece.rows.push(row) {
            Ok(()) => piece.numbers.push(number),
            Err(error) => {
                let error = of_row(&error, usize::try_from(number).unwrap_or(usize::MAX));
                if !self.leniency.all {
                    return Err(error);
                }
                self.loaded.leave_out(error);
            }
        }
        if self.lanes[partition].piece.is_full() {
            return self.send(partition).await;
        }
        Ok(())
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
        if lane.piece.rows.is_empty() {
            return Ok(());
        }
        // The next is about as large.
        let (rows, bytes) = (lane.piece.rows.len(), lane.piece.rows.bytes());
        let next = Piece::with_capacity(&self.target.table, rows, bytes);
        let piece = std::mem::replace(&mut lane.piece, next);
        let to = self.target.database.partition(partition);
        let leniency = self.leniency;
        let insert = move || insert(&to, &piece, leniency);
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
fn insert(partition: &Partition, piece: &Piece, leniency: Leniency) -> Result<Loaded, SqlError> {
    let mut transaction = partition.begin()?;
    let mut loaded = Loaded::default();
    let refused = transaction.insert_encoded(&piece.rows)?;
    loaded.rows += (piece.rows.len() - refused.len()) as u64;
    for (at, error) in refused {
        let is_duplicate = matches!(error, Error::Duplicate(_));
        let lenient = leniency.all || leniency.duplicates && is_duplicate;
        let error = at_row(error, usize::try_from(piece.numbers[at]).unwrap_or(usize::MAX));
        if !lenient {
            return Err(error);
        }
        loaded.leave_out(error);
    }
    transaction.commit()?;
    Ok(loaded)
}

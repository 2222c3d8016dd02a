//! Rows of a file on their way into partitions: each partition has a thread that inserts and commits
//! what it is handed, piece by piece.
//!
//! ```text
//!  file ─► records ─► rows ─┬─► piece of partition 0 ─► insert, commit ─► …
//!                           └─► piece of partition n ─► insert, commit ─► …
//! ```
//!
//! Rows of one partition keep their order. Few pieces wait, so memory is bounded and a slow
//! partition slows the client down.

use std::sync::Arc;

use resprout_engine::table::{Table, Value};
use resprout_engine::{Error, Partition};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Code, SqlError};
use crate::execute::error::at_row;
use crate::execute::order::bytes_of;
use crate::execute::router::Target;
use crate::expression::{WARNINGS_MAX, Warning};

/// Rows and bytes of one transaction.
const PIECE_ROWS: usize = 2000;
const PIECE_BYTES: usize = 1 << 20;

/// Pieces that wait for a partition.
const PIECES_WAITING: usize = 2;

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
type Numbered = (u64, Vec<Value>);

/// All partitions of a load.
pub(super) struct Bulk {
    target: Target,
    leniency: Leniency,
    lanes: Vec<Option<Lane>>,
}

/// The way into one partition.
struct Lane {
    piece: Vec<Numbered>,
    bytes: usize,
    sender: mpsc::Sender<Vec<Numbered>>,
    thread: JoinHandle<(Loaded, Result<(), SqlError>)>,
}

impl Bulk {
    pub(super) fn new(target: &Target, leniency: Leniency) -> Self {
        let lanes = target.database.partitions().iter().map(|_| None).collect();
        Self { target: target.clone(), leniency, lanes }
    }

    /// Hands a row over; `false` if its partition has failed, which [`Bulk::end`] tells more of.
    pub(super) async fn put(&mut self, partition: usize, row: Numbered) -> bool {
        let lane = self.lanes[partition].get_or_insert_with(|| {
            let to = self.target.database.partitions()[partition].clone();
            Lane::start(to, Arc::clone(&self.target.table), self.leniency)
        });
        lane.bytes += bytes_of(&row.1);
        lane.piece.push(row);
        if lane.piece.len() < PIECE_ROWS && lane.bytes < PIECE_BYTES {
            return true;
        }
        lane.send().await
    }

    /// Waits until all is committed. With an error, what was committed before stays.
    pub(super) async fn end(self) -> (Loaded, Result<(), SqlError>) {
        let (mut loaded, mut outcome) = (Loaded::default(), Ok(()));
        let mut threads = Vec::new();
        for mut lane in self.lanes.into_iter().flatten() {
            // One that has failed takes nothing, and says why below.
            lane.send().await;
            drop(lane.sender);
            threads.push(lane.thread);
        }
        for thread in threads {
            let ended = |_| {
                let error = SqlError::new(Code::UNKNOWN_ERROR, "a thread of the statement ended");
                (Loaded::default(), Err(error))
            };
            let (part, ended) = thread.await.unwrap_or_else(ended);
            loaded.add(part);
            outcome = outcome.and(ended);
        }
        (loaded, outcome)
    }
}

impl Lane {
    fn start(partition: Partition, table: Arc<Table>, leniency: Leniency) -> Self {
        let (sender, mut pieces) = mpsc::channel::<Vec<Numbered>>(PIECES_WAITING);
        let thread = tokio::task::spawn_blocking(move || {
            let mut loaded = Loaded::default();
            while let Some(piece) = pieces.blocking_recv() {
                if let Err(error) = insert(&partition, &table, piece, (leniency, &mut loaded)) {
                    return (loaded, Err(error));
                }
            }
            (loaded, Ok(()))
        });
        Self { piece: Vec::new(), bytes: 0, sender, thread }
    }

    async fn send(&mut self) -> bool {
        self.bytes = 0;
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_ROWS));
        self.sender.send(piece).await.is_ok()
    }
}

/// One transaction.
fn insert(
    partition: &Partition,
    table: &Arc<Table>,
    piece: Vec<Numbered>,
    (leniency, loaded): (Leniency, &mut Loaded),
) -> Result<(), SqlError> {
    let mut transaction = partition.begin()?;
    let mut rows = 0;
    for (number, row) in piece {
        match transaction.insert(table, &row) {
            Ok(_) => rows += 1,
            Err(error) => {
                let is_duplicate = matches!(error, Error::Duplicate(_));
                let of_row = is_duplicate || matches!(error, Error::Row(_));
                let lenient = leniency.all || leniency.duplicates && is_duplicate;
                let error = at_row(error, usize::try_from(number).unwrap_or(usize::MAX));
                if !(of_row && lenient) {
                    return Err(error);
                }
                loaded.leave_out(error);
            }
        }
    }
    transaction.commit()?;
    loaded.rows += rows;
    Ok(())
}

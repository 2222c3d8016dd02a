//! Rows that stand alone, read with one message there and one back: of all partitions on a leaf at once, in no
//! transaction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use resprout_engine::table::{KeyRange, RowView, Table};
use resprout_engine::{Error, Partition};

use crate::channel::{answer, as_meant, index, not_here, online, settled};
pub use crate::message::Looked;
use crate::message::{Reply, Request, Rows, TableRef, Wanted};
use crate::out::Out;
use crate::partition::FarPartition;
use crate::server::Locate;

/// Rows of one partition, of one moment.
#[derive(Debug)]
pub struct Fetched {
    looked: Looked,
    /// Of each key or range.
    rows: Vec<Rows>,
    /// The key that is probably looked at next: they come in order.
    next: AtomicUsize,
}

/// Bytes of rows that one message brings at most; with more they are read in pieces.
const BYTES_MAX: usize = 1 << 20;

/// No such rows were fetched.
fn not_fetched() -> Error {
    Error::TransactionEnded
}

impl Fetched {
    /// Looks at a row by one of the keys that were asked for.
    ///
    /// # Errors
    /// [`Error::RowDamaged`] and its like.
    pub fn look<T>(
        &self,
        table: &Table,
        key: &[u8],
        look: impl FnOnce(&RowView<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let Looked::Keys(keys) = &self.looked else { return Err(not_fetched()) };
        let next = self.next.load(Ordering::Relaxed);
        let is_next = keys.get(next).is_some_and(|known| known == key);
        let found = || keys.iter().position(|known| known == key);
        let at = if is_next { next } else { found().ok_or_else(not_fetched)? };
        self.next.store(at + 1, Ordering::Relaxed);
        let Some((_, value)) = self.rows.get(at).and_then(|rows| rows.pairs().next()) else {
            return Ok(None);
        };
        Ok(Some(look(&RowView::new(table, key, value)?)))
    }

    /// Visits the rows of one of the ranges that were asked for, until told to stop.
    ///
    /// # Errors
    /// As [`Fetched::look`].
    pub fn scan(
        &self,
        table: &Table,
        range: &KeyRange,
        mut visit: impl FnMut(&RowView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let Looked::Ranges(_, ranges) = &self.looked else { return Err(not_fetched()) };
        let is_it =
            |known: &(Vec<u8>, Option<Vec<u8>>)| known.0 == range.from && known.1 == range.to;
        let at = ranges.iter().position(is_it).ok_or_else(not_fetched)?;
        for (key, value) in self.rows.get(at).ok_or_else(not_fetched)?.pairs() {
            if visit(&RowView::new(table, key, value)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads rows of partitions of one table, if they are no more than `rows_max` together: one message for each leaf. Of
/// each key or range `rows_each` are enough. The order is that of the partitions.
///
/// # Errors
/// As reads of a transaction; [`Error::Unreachable`].
pub async fn fetch(
    table: &Table,
    parts: Vec<(&FarPartition, Looked)>,
    limits @ (rows_max, _): (u32, u32),
) -> Result<Option<Vec<Fetched>>, Error> {
    let mut leaves: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (partition, _)) in parts.iter().enumerate() {
        leaves.entry(&partition.leaf.address).or_default().push(at);
    }
    let asked = leaves.values().map(|of_leaf| ask(table, &parts, of_leaf, limits));
    let answers = match leaves.len() {
        1 => {
            vec![ask(table, &parts, leaves.values().next().map_or(&[], |all| all), limits).await]
        }
        _ => join_all(asked).await,
    };
    let mut found: Vec<Vec<Rows>> = parts.iter().map(|_| Vec::new()).collect();
    for (of_leaf, answer) in leaves.values().zip(answers) {
        let Some(rows) = answer? else { return Ok(None) };
        for (at, rows) in of_leaf.iter().zip(rows) {
            found[*at] = rows;
        }
    }
    let found = parts.into_iter().zip(found).map(|((_, looked), rows)| Fetched {
        looked,
        rows,
        next: AtomicUsize::new(0),
    });
    let found: Vec<_> = found.collect();
    let is_few = found.iter().flat_map(|one| &one.rows).map(Rows::len).sum::<usize>();
    Ok((is_few <= rows_max as usize).then_some(found))
}

/// What one leaf has: of each partition the rows of each key or range.
async fn ask(
    table: &Table,
    parts: &[(&FarPartition, Looked)],
    of_leaf: &[usize],
    (rows_max, rows_each): (u32, u32),
) -> Result<Option<Vec<Vec<Rows>>>, Error> {
    let Some(first) = of_leaf.first().map(|at| parts[*at].0) else { return Ok(Some(Vec::new())) };
    let table = TableRef { id: table.id(), version: table.schema().version };
    let wanted = of_leaf.iter().map(|at| {
        let (partition, looked) = &parts[*at];
        Wanted { place: partition.place, table, looked: looked.clone(), rows_max: rows_each }
    });
    let reply = first.leaf.once(&Request::Fetch(wanted.collect(), rows_max)).await;
    match reply.map_err(|error| first.unreachable(error))? {
        Reply::Fetched(rows) => Ok(rows),
        Reply::Failed(fault) => Err(first.fault(fault)),
        other => Err(first.odd(&other)),
    }
}

/// The leaf's side.
pub(crate) async fn fetched(
    (number, out): (u64, Arc<Out>),
    locate: Arc<dyn Locate>,
    wanted: Vec<Wanted>,
    rows_max: u32,
) {
    let reply = all(&*locate, &wanted, rows_max as usize).await.map(Reply::Fetched);
    // Without connection nobody waits for it.
    let _lost = answer(&out, number, reply).await;
}

/// Rows of all partitions that are wanted; none if they are too many.
async fn all(
    locate: &dyn Locate,
    wanted: &[Wanted],
    rows_max: usize,
) -> Result<Option<Vec<Vec<Rows>>>, Error> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut left = Left { rows: rows_max, bytes: BYTES_MAX };
    for wanted in wanted {
        let partition = locate.partition(wanted.place).ok_or_else(not_here)?;
        // A copy that follows could be read too, but not what was acknowledged since.
        online(&partition)?;
        match &wanted.looked {
            Looked::Keys(keys) => {
                for key in keys {
                    settled(&partition, key, Some(&[key, &[0][..]].concat())).await?;
                }
            }
            Looked::Ranges(..) => settled(&partition, &[], None).await?,
        }
        match read(&partition, wanted, &mut left)? {
            Some(rows) => found.push(rows),
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// How much more one message may bring.
struct Left {
    rows: usize,
    bytes: usize,
}

impl Left {
    /// Adds a row, or says that it is too much.
    fn take(&mut self, rows: &mut Rows, row: &RowView<'_>) -> ControlFlow<()> {
        let bytes = row.key().len() + row.value().len();
        let (Some(fewer), Some(left)) = (self.rows.checked_sub(1), self.bytes.checked_sub(bytes))
        else {
            return ControlFlow::Break(());
        };
        (self.rows, self.bytes) = (fewer, left);
        rows.push(row.key(), row.value());
        ControlFlow::Continue(())
    }
}

/// Rows of one partition; none if they are more than that.
fn read(
    partition: &Partition,
    wanted: &Wanted,
    left: &mut Left,
) -> Result<Option<Vec<Rows>>, Error> {
    let table = as_meant(partition, wanted.table)?;
    let reader = partition.begin()?;
    let mut found = Vec::new();
    let mut is_more = false;
    match &wanted.looked {
        Looked::Keys(keys) => {
            for key in keys {
                let mut rows = Rows::default();
                let looked = reader.look(&table, key, |row| left.take(&mut rows, row))?;
                is_more |= looked.is_some_and(|flow| flow.is_break());
                found.push(rows);
            }
        }
        Looked::Ranges(id, ranges) => {
            let view = reader.view()?;
            let index = id.map(|id| index(&table, id)).transpose()?;
            for (from, to) in ranges {
                let mut rows = Rows::default();
                let range = KeyRange { from: from.clone(), to: to.clone() };
                let mut visit = |row: &RowView<'_>| {
                    if rows.len() >= wanted.rows_max as usize {
                        return ControlFlow::Break(());
                    }
                    let flow = left.take(&mut rows, row);
                    is_more |= flow.is_break();
                    flow
                };
                match &index {
                    Some(index) => {
                        reader.scan_index_at(&view, (&table, index), &range, &mut visit)?;
                    }
                    None => reader.scan_at(&view, &table, &range, &mut visit)?,
                }
                found.push(rows);
            }
        }
    }
    Ok((!is_more).then_some(found))
}

//! Tables as DataFusion reads them: partitions of the engine, or rows in memory.
//!
//! A scan is asked for one batch after the other. Between two it holds nothing but the key of its
//! last row: the state that it reads stays, for the statement has a view of it. So it needs no
//! thread, and ends when nobody asks.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use resprout_engine::RowBlock;
use resprout_engine::table::{
    ColumnId, ColumnType, DateTime, Index, KeyRange, RowView, TableSchema, Value, ValueRef,
};
use resprout_sql::expression::Type;
use resprout_sql::planned::{Made, Source, Stored};
use resprout_sql::{Code, SqlError};

use crate::error::carried;
use crate::values::{Writer, data_type, of_scalar};

/// What the engine says of reading.
type EngineResult<T> = std::result::Result<T, resprout_engine::Error>;

/// Rows of a batch.
pub(crate) const BATCH_ROWS: usize = 8192;

/// Rows that a batch has room for: the last leaf of it may bring more than are wanted.
const BATCH_CAPACITY: usize = BATCH_ROWS + 512;

/// Most rows of a partition that are read by a secondary index; if it leads to more, all rows are
/// read instead.
const INDEXED_ROWS_MAX: usize = 1 << 16;

/// A column as it is read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    id: ColumnId,
    ty: Type,
    /// Microseconds that are added: a TIMESTAMP is kept in UTC.
    shift: i64,
}

/// A table of a query.
#[derive(Clone)]
pub(crate) struct Table {
    source: Source,
    schema: SchemaRef,
    columns: Vec<Reading>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.described().name).finish_non_exhaustive()
    }
}

impl Table {
    /// A table, for sessions so many seconds east of UTC.
    pub(crate) fn new(source: Source, zone: i32) -> Self {
        let described = match &source {
            Source::Stored(stored) => stored.table().schema(),
            Source::Made(made) => &made.schema,
        };
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (id, column) in described.live_columns() {
            let ty = Type::of_column(&column.ty);
            fields.push(Field::new(column.name.clone(), data_type(ty), true));
            let in_utc = matches!(column.ty, ColumnType::Timestamp(_));
            let shift = if in_utc { i64::from(zone) * 1_000_000 } else { 0 };
            columns.push(Reading { id, ty, shift });
        }
        let schema = Arc::new(Schema::new(fields));
        Self { source, schema, columns }
    }

    /// What the table looks like.
    pub(crate) fn described(&self) -> &TableSchema {
        match &self.source {
            Source::Stored(stored) => stored.table().schema(),
            Source::Made(made) => &made.schema,
        }
    }

    /// The database that it is in.
    pub(crate) fn database(&self) -> &str {
        match &self.source {
            Source::Stored(stored) => stored.database(),
            Source::Made(made) => &made.database,
        }
    }

    /// What filters say of single columns.
    fn bounds(&self, filters: &[Expr]) -> Vec<Bound> {
        let mut bounds = Vec::new();
        for filter in filters {
            self.add_bounds(filter, &mut bounds);
        }
        bounds
    }

    fn add_bounds(&self, filter: &Expr, bounds: &mut Vec<Bound>) {
        let Expr::BinaryExpr(binary) = filter else { return };
        if binary.op == Operator::And {
            self.add_bounds(&binary.left, bounds);
            self.add_bounds(&binary.right, bounds);
            return;
        }
        let (name, op, constant) = match (&*binary.left, &*binary.right) {
            (Expr::Column(column), Expr::Literal(constant, _)) => {
                (&column.name, binary.op, constant)
            }
            (Expr::Literal(constant, _), Expr::Column(column)) => {
                let Some(op) = binary.op.swap() else { return };
                (&column.name, op, constant)
            }
            _ => return,
        };
        let Some(at) = self.schema.fields().iter().position(|field| field.name() == name) else {
            return;
        };
        let column = &self.columns[at];
        let known = [Operator::Eq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];
        if column.shift != 0 || !known.contains(&op) || constant.is_null() {
            return;
        }
        if let Some(value) = value_of(constant, column.ty) {
            bounds.push(Bound { column: column.id, op, value });
        }
    }
}

fn value_of(constant: &ScalarValue, ty: Type) -> Option<Value> {
    (constant.data_type() == data_type(ty)).then(|| of_scalar(constant, ty).ok()).flatten()
}

/// What must hold of a column: it compares so with a value.
#[derive(Debug)]
struct Bound {
    column: ColumnId,
    op: Operator,
    value: Value,
}

/// Where the rows are that the bounds allow. The bounds still have to be looked at.
#[derive(Clone, Debug)]
enum Access {
    Range(KeyRange),
    Index(Box<Index>, Vec<Value>),
}

fn equal_to(bounds: &[Bound], column: ColumnId) -> Option<Value> {
    let found = bounds.iter().find(|bound| bound.column == column && bound.op == Operator::Eq);
    found.map(|bound| bound.value.clone())
}

fn access(stored: &Stored, bounds: &[Bound]) -> std::result::Result<Access, SqlError> {
    let table = stored.table();
    let schema = table.schema();
    let key = schema.primary.columns();
    let prefix: Vec<Value> = key.iter().map_while(|id| equal_to(bounds, *id)).collect();
    if prefix.is_empty() {
        for index in &schema.indexes {
            let values: Vec<Value> =
                index.columns.iter().map_while(|id| equal_to(bounds, *id)).collect();
            if !values.is_empty() {
                return Ok(Access::Index(Box::new(index.clone()), values));
            }
        }
    }
    let Some(next) = key.get(prefix.len()) else {
        return Ok(match key.is_empty() {
            true => Access::Range(table.rows()),
            false => Access::Range(stored.range(&prefix, None, None)?),
        });
    };
    let limit = |ops: [Operator; 2]| {
        let of = |bound: &&Bound| bound.column == *next && ops.contains(&bound.op);
        let bound = bounds.iter().find(of)?;
        Some((bound.value.clone(), bound.op == ops[1]))
    };
    let lower = limit([Operator::Gt, Operator::GtEq]);
    let upper = limit([Operator::Lt, Operator::LtEq]);
    if prefix.is_empty() && lower.is_none() && upper.is_none() {
        return Ok(Access::Range(table.rows()));
    }
    Ok(Access::Range(stored.range(&prefix, lower, upper)?))
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // They tell where to look; each row is looked at after that.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, columns) = match projection {
            None => (Arc::clone(&self.schema), self.columns.clone()),
            Some(wanted) => (
                Arc::new(self.schema.project(wanted)?),
                wanted.iter().map(|at| self.columns[*at]).collect(),
            ),
        };
        let columns: Arc<[Reading]> = columns.into();
        let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
        match &self.source {
            Source::Stored(stored) => {
                let bounds = self.bounds(filters);
                let access = access(stored, &bounds).map_err(carried)?;
                let shard = stored.table().schema().shard_key.iter();
                let shard: Option<Vec<Value>> = shard.map(|id| equal_to(&bounds, *id)).collect();
                let home = match shard {
                    Some(values) => stored.partition_of(&values).map_err(carried)?,
                    None => None,
                };
                for partition in home.map_or_else(|| stored.partitions(), |home| vec![home]) {
                    partitions.push(Arc::new(PartitionScan {
                        stored: stored.clone(),
                        partition,
                        access: access.clone(),
                        schema: Arc::clone(&schema),
                        columns: Arc::clone(&columns),
                        limit: limit.unwrap_or(usize::MAX),
                    }));
                }
            }
            Source::Made(made) => partitions.push(Arc::new(MadeScan {
                made: made.clone(),
                schema: Arc::clone(&schema),
                columns,
            })),
        }
        let plan = StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// Values of rows, column by column.
struct Rows<'c> {
    columns: &'c [Reading],
    writers: Vec<Writer>,
    rows: usize,
}

impl<'c> Rows<'c> {
    fn new(columns: &'c [Reading]) -> Self {
        let writers = columns.iter().map(|column| Writer::new(column.ty, BATCH_CAPACITY)).collect();
        Self { columns, writers, rows: 0 }
    }

    fn add(&mut self, row: &RowView<'_>) -> Result<()> {
        for (column, writer) in self.columns.iter().zip(&mut self.writers) {
            let value = row.get(column.id).map_err(|damage| {
                carried(SqlError::new(Code::UNKNOWN_ERROR, damage.to_string()))
            })?;
            writer.put(shifted(value, column.shift))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds rows that lie together: all at once where every column is one of whole numbers.
    fn add_block(&mut self, block: &RowBlock<'_>, spare: &mut Spare) -> EngineResult<Result<()>> {
        if self.columns.iter().all(|column| column.ty == Type::Int) && spare.read(self, block) {
            self.rows += block.len();
            return Ok(Ok(()));
        }
        let mut added = Ok(());
        let _whole = block.each(|row| {
            added = self.add(row);
            if added.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(added)
    }

    fn finish(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let arrays: Vec<ArrayRef> = self.writers.into_iter().map(Writer::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
    }
}

/// Columns of the rows of one leaf, kept from leaf to leaf.
#[derive(Default)]
struct Spare(Vec<(Vec<i64>, Vec<bool>)>);

impl Spare {
    /// Reads all columns of a block and adds them; false, and nothing is added, if one of them has to
    /// be read row by row.
    fn read(&mut self, rows: &mut Rows<'_>, block: &RowBlock<'_>) -> bool {
        self.0.resize_with(rows.columns.len(), Default::default);
        for (column, (numbers, present)) in rows.columns.iter().zip(&mut self.0) {
            numbers.clear();
            present.clear();
            if !block.whole_numbers(column.id, numbers, present) {
                return false;
            }
        }
        let all = rows.writers.iter_mut().zip(&self.0);
        all.fold(true, |all, (writer, (numbers, present))| {
            writer.put_whole_numbers(numbers, present) && all
        })
    }
}

#[inline]
fn shifted(value: ValueRef<'_>, shift: i64) -> ValueRef<'_> {
    match value {
        ValueRef::DateTime(moment) if shift != 0 => DateTime::from_micros(moment.micros() + shift)
            .map_or(ValueRef::Null, ValueRef::DateTime),
        value => value,
    }
}

/// One partition of a table.
#[derive(Clone)]
struct PartitionScan {
    stored: Stored,
    partition: usize,
    access: Access,
    schema: SchemaRef,
    columns: Arc<[Reading]>,
    limit: usize,
}

impl fmt::Debug for PartitionScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.stored.table().name();
        f.debug_struct("PartitionScan")
            .field("table", &name)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for PartitionScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let start = Progress { scan: self.clone(), ended: false };
        let batches = futures::stream::try_unfold(start, |mut progress| async move {
            let batch = progress.next()?;
            Ok(batch.map(|batch| (batch, progress)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

/// How far a scan has come: its range begins where the next row is.
struct Progress {
    scan: PartitionScan,
    ended: bool,
}

impl Progress {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.ended || self.scan.limit == 0 {
            return Ok(None);
        }
        if let Access::Index(index, values) = &self.scan.access {
            match self.scan.indexed(index, values)? {
                Some(batch) => {
                    self.ended = true;
                    return Ok(Some(batch));
                }
                None => self.scan.access = Access::Range(self.scan.stored.table().rows()),
            }
        }
        let wanted = BATCH_ROWS.min(self.scan.limit);
        let Access::Range(range) = &mut self.scan.access else { return Ok(None) };
        let mut rows = Rows::new(&self.scan.columns);
        let (stored, partition) = (&self.scan.stored, self.scan.partition);
        let next = match read_blocks((stored, partition), range, &mut rows, wanted)? {
            Some(next) => next,
            None => read_rows((stored, partition), range, &mut rows, wanted)?,
        };
        match next {
            Some(next) => range.from = next,
            None => self.ended = true,
        }
        self.scan.limit = self.scan.limit.saturating_sub(rows.rows);
        if rows.rows == 0 {
            return Ok(None);
        }
        rows.finish(&self.scan.schema).map(Some)
    }
}

/// Adds rows of a range, leaf by leaf, until there are as many as wanted. Where the next rows begin, if
/// there are any; nothing, and nothing is added, if they have to be read one by one.
fn read_blocks(
    (stored, partition): (&Stored, usize),
    range: &KeyRange,
    rows: &mut Rows<'_>,
    wanted: usize,
) -> Result<Option<Option<Vec<u8>>>> {
    let (mut added, mut next, mut spare) = (Ok(()), None, Spare::default());
    let visited = stored.scan_blocks(partition, range, |block| {
        added = rows.add_block(block, &mut spare)?;
        if added.is_ok() && rows.rows < wanted {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(after(&block.last_key()));
        Ok(ControlFlow::Break(()))
    });
    let visited = visited.map_err(carried)?;
    added?;
    Ok(visited.then_some(next))
}

/// Adds rows of a range, one by one. Where the next rows begin, if there are any.
fn read_rows(
    (stored, partition): (&Stored, usize),
    range: &KeyRange,
    rows: &mut Rows<'_>,
    wanted: usize,
) -> Result<Option<Vec<u8>>> {
    let (mut added, mut next) = (Ok(()), None);
    let visited = stored.scan(partition, range, |row| {
        added = rows.add(row);
        if added.is_ok() && rows.rows < wanted {
            return ControlFlow::Continue(());
        }
        next = Some(after(row.key()));
        ControlFlow::Break(())
    });
    visited.map_err(carried)?;
    added?;
    Ok(next)
}

/// The first key after one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

impl PartitionScan {
    /// The rows that an index leads to; none if they are too many.
    fn indexed(&self, index: &Index, values: &[Value]) -> Result<Option<RecordBatch>> {
        let mut rows = Rows::new(&self.columns);
        let mut stopped = None;
        let visited = self.stored.scan_index(self.partition, (index, values), |row| {
            if rows.rows >= INDEXED_ROWS_MAX {
                stopped = Some(Ok(()));
                return ControlFlow::Break(());
            }
            if let Err(error) = rows.add(row) {
                stopped = Some(Err(error));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        visited.map_err(carried)?;
        match stopped {
            None => rows.finish(&self.schema).map(Some),
            Some(too_many) => too_many.map(|()| None),
        }
    }
}

/// Rows in memory.
#[derive(Clone, Debug)]
struct MadeScan {
    made: Made,
    schema: SchemaRef,
    columns: Arc<[Reading]>,
}

impl PartitionStream for MadeScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let scan = self.clone();
        let batches =
            (0..self.made.rows.len()).step_by(BATCH_ROWS).map(move |from| scan.batch(from));
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)))
    }
}

impl MadeScan {
    fn batch(&self, from: usize) -> Result<RecordBatch> {
        let all = &self.made.rows;
        let rows = &all[from..all.len().min(from + BATCH_ROWS)];
        let live: Vec<ColumnId> = self.made.schema.live_columns().map(|(id, _)| id).collect();
        let mut batch = Rows::new(&self.columns);
        for row in rows {
            for (column, writer) in self.columns.iter().zip(&mut batch.writers) {
                let at = live.iter().position(|id| *id == column.id);
                let value = at.and_then(|at| row.get(at)).map_or(ValueRef::Null, Value::as_ref);
                writer.put(shifted(value, column.shift))?;
            }
        }
        batch.rows = rows.len();
        batch.finish(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;
    use resprout_engine::table::Value;

    /// Promise: rows in memory are read as those of a table are, in any choice of columns.
    #[test]
    fn made_rows_are_read() {
        let schema = TableSchema::builder("v")
            .column("name", "varchar(20)")
            .column("n", "bigint unsigned")
            .column("day", "date");
        let rows = (0..20_000_u64).map(|n| vec![format!("r{n}").into(), n.into(), Value::Null]);
        let made = Made {
            database: "information_schema".into(),
            schema: Arc::new(schema.build().unwrap()),
            rows: Arc::new(rows.collect()),
        };
        let table = Table::new(Source::Made(made), 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(async {
            let context = SessionContext::new();
            let rows = context.read_table(Arc::new(table)).unwrap();
            rows.select_columns(&["day", "n"]).unwrap().collect().await.unwrap()
        });
        let (mut seen, mut nulls) = (Vec::new(), 0);
        for batch in &batches {
            nulls += arrow::array::Array::null_count(batch.column(0));
            let reader = crate::values::Reader::new(&**batch.column(1), Type::UInt).unwrap();
            seen.extend((0..batch.num_rows()).map(|row| reader.get(row)));
        }
        seen.sort_by_key(|value| if let ValueRef::UInt(n) = value { *n } else { u64::MAX });
        assert!(seen.iter().zip(0..).all(|(value, n)| *value == ValueRef::UInt(n)));
        assert_eq!((seen.len(), nulls), (20_000, 20_000));
    }
}

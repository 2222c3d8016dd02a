//! Tables as DataFusion reads them: partitions, near or far, or rows in memory.
//!
//! What a scan wants of rows is done where they are ([`crate::pushdown`]): conditions, columns, and with
//! [`crate::partial`] aggregates. It is asked for one batch after the other. Between two it holds nothing but the key where
//! it goes on: the state that it reads stays, for the statement has a view of it. So it needs no thread, and ends when
//! nobody asks.

use std::fmt;
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
use resprout_engine::table::{ColumnId, ColumnType, DateTime, TableSchema, Value, ValueRef};
use resprout_sql::expression::Type;
use resprout_sql::planned::{Made, Source, Stored};
use resprout_sql::pushdown::{Gives, Input, Pushdown, STEPS_MAX, is_possible};
use resprout_sql::{Code, SqlError};

use crate::error::carried;
use crate::leaves::{Access, Leaves};
use crate::pushdown::{Column, Conditions};
use crate::values::{Writer, data_type, of_scalar};

/// Rows of a batch.
pub(crate) const BATCH_ROWS: usize = 8192;

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
    zone: i32,
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
        Self { source, schema, columns, zone }
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
        let of = |filter: &&Expr| match self.pushed(std::slice::from_ref(*filter), &[]) {
            Some((_, all)) if all => TableProviderFilterPushDown::Exact,
            // They tell where to look; each row is looked at after that.
            _ => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(of).collect())
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
        let stored = match &self.source {
            Source::Stored(stored) => stored,
            Source::Made(made) => {
                let scan = MadeScan {
                    made: made.clone(),
                    schema: Arc::clone(&schema),
                    columns: columns.into(),
                };
                let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(scan)];
                let plan = StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?;
                return Ok(Arc::new(plan));
            }
        };
        let bounds = self.bounds(filters);
        let access = access(stored, &bounds).map_err(carried)?;
        let shard = stored.table().schema().shard_key.iter();
        let shard: Option<Vec<Value>> = shard.map(|id| equal_to(&bounds, *id)).collect();
        let home = match shard {
            Some(values) => stored.partition_of(&values).map_err(carried)?,
            None => None,
        };
        let partitions = home.map_or_else(|| stored.partitions(), |home| vec![home]);
        let unable = || carried(SqlError::new(Code::UNKNOWN_ERROR, "a scan that cannot be"));
        let (pushdown, _) = self.pushed(filters, &columns).ok_or_else(unable)?;
        let types = columns.iter().map(|column| column.ty).collect();
        Ok(Arc::new(Leaves::new(
            (stored.clone(), partitions, access),
            pushdown,
            (schema, types),
            limit,
        )))
    }
}

impl Table {
    /// What is to be done where the rows are, to have these columns of those of which the filters hold; and whether that
    /// is all of the filters. None if it cannot be.
    fn pushed(&self, filters: &[Expr], columns: &[Reading]) -> Option<(Pushdown, bool)> {
        let Source::Stored(stored) = &self.source else { return None };
        let mut conditions = Conditions::default();
        let gives: Option<Vec<u16>> =
            columns.iter().map(|column| conditions.input(Input::Column(column.id))).collect();
        let find = |name: &str| -> Option<Column> {
            let at = self.schema.fields().iter().position(|field| field.name() == name)?;
            Some((self.columns[at].id, self.columns[at].ty))
        };
        let (schema, mut all) = (stored.table().schema(), true);
        let made = |conditions: &Conditions, gives: &[u16]| Pushdown {
            inputs: conditions.inputs.clone(),
            condition: conditions.all(),
            gives: Gives::Inputs(gives.to_vec()),
            zone: self.zone,
        };
        let gives = gives?;
        for filter in filters {
            let before = conditions.clone();
            let fits = conditions.add(filter, &find)
                && conditions.steps.len() < STEPS_MAX
                && is_possible(&made(&conditions, &gives), schema);
            if !fits {
                conditions = before;
                all = false;
            }
        }
        // Here the library compares whole numbers column by column, which is faster than row by row.
        let is_whole = |input: &Input| {
            let (Input::Column(id) | Input::Key(id, _)) = input;
            self.columns.iter().any(|column| column.id == *id && column.ty == Type::Int)
        };
        if !stored.is_far() && conditions.inputs.iter().all(is_whole) {
            conditions.forget();
            all = filters.is_empty();
        }
        Some((made(&conditions, &gives), all))
    }
}

/// What was written, as a batch.
pub(crate) fn batch_of(
    writers: Vec<Writer>,
    rows: usize,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let arrays: Vec<ArrayRef> = writers.into_iter().map(Writer::finish).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)?)
}

#[inline]
fn shifted(value: ValueRef<'_>, shift: i64) -> ValueRef<'_> {
    match value {
        ValueRef::DateTime(moment) if shift != 0 => DateTime::from_micros(moment.micros() + shift)
            .map_or(ValueRef::Null, ValueRef::DateTime),
        value => value,
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
        let writers = self.columns.iter().map(|column| Writer::new(column.ty, rows.len()));
        let mut writers: Vec<Writer> = writers.collect();
        for row in rows {
            for (column, writer) in self.columns.iter().zip(&mut writers) {
                let at = live.iter().position(|id| *id == column.id);
                let value = at.and_then(|at| row.get(at)).map_or(ValueRef::Null, Value::as_ref);
                writer.put(shifted(value, column.shift))?;
            }
        }
        batch_of(writers, rows.len(), &self.schema)
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

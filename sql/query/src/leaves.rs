//! Reading of partitions, near or far: what comes of their rows, as batches.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use resprout_engine::Error;
use resprout_engine::table::{Index, KeyRange, RowView, Value, ValueRef};
use resprout_sql::expression::Type;
use resprout_sql::planned::Stored;
use resprout_sql::pushdown::{Gives, Limits, Pushdown, Sink, WholeNumbers};

use crate::error::carried;
use crate::scan::{BATCH_ROWS, batch_of};
use crate::values::Writer;

/// Rows that a batch has room for: the last page of it may bring more than are wanted.
const BATCH_CAPACITY: usize = BATCH_ROWS + 512;
/// Bytes of texts that make a batch however few rows they are of.
const BATCH_BYTES: usize = 16 << 20;
/// Rows that come of another node at once.
const FAR_ROWS: usize = 1 << 16;
/// Rows that are looked at for a batch of which few may be left.
const LOOKED_MAX: usize = 1 << 17;
/// Most rows of a partition that are read by a secondary index; if it leads to more, all rows are
/// read instead.
const INDEXED_ROWS_MAX: usize = 1 << 16;
/// The same in messages of other nodes.
const INDEXED_PIECES_MAX: usize = 8;
/// With a limit below it, little is asked for first.
const FEW_ROWS: usize = 1000;

/// Where the rows are that the bounds allow. The bounds still have to be looked at.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    Range(KeyRange),
    Index(Box<Index>, Vec<Value>),
}

/// See the module.
pub(crate) struct Leaves {
    stored: Stored,
    partitions: Vec<usize>,
    access: Access,
    pushdown: Arc<Pushdown>,
    schema: SchemaRef,
    /// Of what comes of rows.
    types: Arc<[Type]>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves")
            .field("table", &self.stored.table().name())
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl Leaves {
    pub(crate) fn new(
        (stored, partitions, access): (Stored, Vec<usize>, Access),
        pushdown: Pushdown,
        (schema, types): (SchemaRef, Vec<Type>),
        limit: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative));
        let (pushdown, types) = (Arc::new(pushdown), types.into());
        Self { stored, partitions, access, pushdown, schema, types, limit, properties }
    }

    pub(crate) fn stored(&self) -> &Stored {
        &self.stored
    }

    pub(crate) fn pushdown(&self) -> &Pushdown {
        &self.pushdown
    }

    pub(crate) fn types(&self) -> &[Type] {
        &self.types
    }

    pub(crate) const fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// The same rows, with something else done with them.
    pub(crate) fn with(&self, pushdown: Pushdown, (schema, types): (SchemaRef, Vec<Type>)) -> Self {
        let of = (self.stored.clone(), self.partitions.clone(), self.access.clone());
        Self::new(of, pushdown, (schema, types), None)
    }
}

impl DisplayAs for Leaves {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaves: {}", self.stored.table().name())
    }
}

impl ExecutionPlan for Leaves {
    fn name(&self) -> &'static str {
        "Leaves"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            return Ok(self);
        }
        Err(DataFusionError::Internal("a scan has no children".into()))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() {
            return Ok(self);
        }
        Err(DataFusionError::Internal("a scan has no children".into()))
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let partition = self.partitions.get(partition).copied();
        let unknown = || DataFusionError::Internal("a scan of no partition".into());
        let start = Progress {
            stored: self.stored.clone(),
            partition: partition.ok_or_else(unknown)?,
            access: self.access.clone(),
            pushdown: Arc::clone(&self.pushdown),
            schema: Arc::clone(&self.schema),
            types: Arc::clone(&self.types),
            left: self.limit.unwrap_or(usize::MAX),
            is_first: self.limit.is_some_and(|limit| limit < FEW_ROWS),
            ended: false,
        };
        let batches = futures::stream::try_unfold(start, |mut progress| async move {
            let batch = progress.next()?;
            Ok(batch.map(|batch| (batch, progress)))
        });
        let batches = RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches);
        Ok(make_cooperative(Box::pin(batches)))
    }
}

/// How far the scan of a partition has come: its range begins where the next row is.
struct Progress {
    stored: Stored,
    partition: usize,
    access: Access,
    pushdown: Arc<Pushdown>,
    schema: SchemaRef,
    types: Arc<[Type]>,
    left: usize,
    is_first: bool,
    ended: bool,
}

impl Progress {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.ended || self.left == 0 {
            return Ok(None);
        }
        if let Access::Index(index, values) = &self.access {
            match self.indexed(index, values)? {
                Some(columns) => {
                    self.ended = true;
                    return columns.finish(&self.schema).map(Some);
                }
                None => self.access = Access::Range(self.stored.table().rows()),
            }
        }
        let limits = self.limits();
        let Access::Range(range) = &mut self.access else { return Ok(None) };
        let mut columns = Columns::new(&self.types, limits.rows.min(BATCH_CAPACITY));
        let how = (&*self.pushdown, limits, self.is_first);
        let next = self.stored.evaluate(self.partition, range, how, &mut columns);
        match columns.outcome(next)? {
            Some(next) => range.from = next,
            None => self.ended = true,
        }
        self.is_first = false;
        self.left = self.left.saturating_sub(columns.rows);
        columns.finish(&self.schema).map(Some)
    }

    fn limits(&self) -> Limits {
        let rows = match self.pushdown.gives {
            Gives::Groups { .. } => usize::MAX,
            _ if self.stored.is_far() => FAR_ROWS.min(self.left),
            _ => BATCH_ROWS.min(self.left),
        };
        Limits { looked: LOOKED_MAX, rows, bytes: BATCH_BYTES }
    }

    /// What comes of the rows that an index leads to; none if they are too many.
    fn indexed(&self, index: &Index, values: &[Value]) -> Result<Option<Columns>> {
        let mut range = self.stored.index_range(index, values).map_err(carried)?;
        let mut columns = Columns::new(&self.types, BATCH_CAPACITY);
        let limits =
            Limits { looked: INDEXED_ROWS_MAX, rows: INDEXED_ROWS_MAX, bytes: BATCH_BYTES };
        let pieces = if self.stored.is_far() { INDEXED_PIECES_MAX } else { 1 };
        for _ in 0..pieces {
            let how = (&*self.pushdown, limits, false);
            let next =
                self.stored.evaluate_index(self.partition, (index, &range), how, &mut columns);
            match columns.outcome(next)? {
                None => return Ok(Some(columns)),
                Some(next) => range.from = next,
            }
        }
        Ok(None)
    }
}

/// What comes of rows, column by column.
struct Columns {
    writers: Vec<Writer>,
    /// The column of the next value.
    at: usize,
    rows: usize,
    bytes: usize,
    failed: Option<DataFusionError>,
}

impl Columns {
    fn new(types: &[Type], rows: usize) -> Self {
        let writers = types.iter().map(|ty| Writer::new(*ty, rows)).collect();
        Self { writers, at: 0, rows: 0, bytes: 0, failed: None }
    }

    /// What was given, if all of it was taken.
    fn outcome<T>(&mut self, given: std::result::Result<T, resprout_sql::SqlError>) -> Result<T> {
        match self.failed.take() {
            Some(failed) => Err(failed),
            None => given.map_err(carried),
        }
    }

    fn finish(self, schema: &SchemaRef) -> Result<RecordBatch> {
        batch_of(self.writers, self.rows, schema)
    }

    fn fail(&mut self, failed: DataFusionError) -> Error {
        self.failed = Some(failed);
        Error::Elsewhere("a value that was not expected".to_owned())
    }
}

impl Sink for Columns {
    fn value(&mut self, value: ValueRef<'_>) -> std::result::Result<(), Error> {
        self.bytes += match &value {
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let put = match self.writers.get_mut(self.at) {
            Some(writer) => writer.put(value),
            None => Err(DataFusionError::Internal("a row of more columns".into())),
        };
        self.at += 1;
        put.map_err(|failed| self.fail(failed))
    }

    fn end_row(&mut self) {
        self.at = 0;
        self.rows += 1;
    }

    fn stored(&mut self, _row: &RowView<'_>) -> std::result::Result<(), Error> {
        Err(self.fail(DataFusionError::Internal("a whole row".into())))
    }

    fn whole_numbers(
        &mut self,
        rows: usize,
        columns: &[&WholeNumbers],
    ) -> std::result::Result<(), Error> {
        for (writer, column) in self.writers.iter_mut().zip(columns) {
            if !writer.put_whole_numbers(&column.numbers, &column.present) {
                let failed = DataFusionError::Internal("numbers for another column".into());
                return Err(self.fail(failed));
            }
        }
        self.rows += rows;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

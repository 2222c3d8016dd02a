//! Creating, changing and dropping tables: one record of the log each, so that a copy has a
//! table's new form at the same position as every other (catalogue R21).
//!
//! Rows are not rewritten: they know the version of the table under which they were written. An
//! index that is added is filled from the newest rows in the same record.

use std::collections::BTreeMap;
use std::sync::Arc;

use resprout_wal::Position;

use crate::core::{Core, Writer};
use crate::error::Error;
use crate::prepared::Prepared;
use crate::record::{Op, RecordHeader, RecordKind, RecordWriter};
use crate::table::{
    CatalogChange, Change, IndexId, RowView, Table, TableSchema, Write, index_entry, key,
};
use crate::write_set::WriteSet;

/// Transactions in doubt, by global id.
type InDoubt = BTreeMap<Vec<u8>, Prepared>;

pub(crate) fn create(core: &Core, schema: TableSchema) -> Result<Arc<Table>, Error> {
    let change = run(core, |writer, _| {
        let change = writer.catalog.create(schema)?;
        Ok((change, Vec::new()))
    })?;
    Ok(change.table.expect("a created table is there"))
}

pub(crate) fn drop_table(core: &Core, name: &str) -> Result<(), Error> {
    run(core, |writer, prepared| Ok((dropped(writer, prepared, name)?, Vec::new())))?;
    Ok(())
}

fn dropped(writer: &mut Writer, prepared: &InDoubt, name: &str) -> Result<CatalogChange, Error> {
    let table = known(writer, name)?;
    refuse_prepared(prepared, &table)?;
    let change = writer.catalog.drop_table(name)?;
    let gone: Vec<Vec<u8>> = change.ops.iter().map(|op| op.key.clone()).collect();
    writer.bounds.retain(|sequence, _| !gone.iter().any(|from| sequence.starts_with(from)));
    Ok(change)
}

/// Makes a table what it is in another partition, and fills the indexes that are new to it.
pub(crate) fn adopt(core: &Core, schema: TableSchema) -> Result<Arc<Table>, Error> {
    let change = run(core, |writer, prepared| {
        if let Some(old) = writer.catalog.table_by_id(schema.id) {
            refuse_prepared(prepared, old)?;
        }
        let change = writer.catalog.adopt(schema)?;
        let table = change.table.as_ref().expect("an adopted table is there");
        let entries = fill(writer, table, &change.new_indexes)?;
        Ok((change, entries))
    })?;
    Ok(change.table.expect("an adopted table is there"))
}

/// Puts an empty table in the place of one, in one record: no moment has neither.
pub(crate) fn replace(core: &Core, name: &str, schema: TableSchema) -> Result<Arc<Table>, Error> {
    let change = run(core, |writer, prepared| {
        let dropped = dropped(writer, prepared, name)?;
        let mut change = dropped.catalog.adopt(schema)?;
        change.ops.splice(0..0, dropped.ops);
        Ok((change, Vec::new()))
    })?;
    Ok(change.table.expect("an adopted table is there"))
}

pub(crate) fn alter(core: &Core, name: &str, change: Change) -> Result<Arc<Table>, Error> {
    let change = run(core, |writer, prepared| {
        let old = known(writer, name)?;
        refuse_prepared(prepared, &old)?;
        let change = writer.catalog.alter(name, change)?;
        let table = change.table.as_ref().expect("an altered table is there");
        let entries = fill(writer, table, &change.new_indexes)?;
        Ok((change, entries))
    })?;
    Ok(change.table.expect("an altered table is there"))
}

fn known(writer: &Writer, name: &str) -> Result<Arc<Table>, Error> {
    let table = writer.catalog.table(name).cloned();
    table.ok_or_else(|| Error::NoSuchTable { table: name.to_owned() })
}

/// A prepared transaction has promised that it can commit: what it writes to stays as it is.
fn refuse_prepared(prepared: &InDoubt, table: &Table) -> Result<(), Error> {
    let indexes: Vec<IndexId> = table.schema().index_ids().collect();
    let touched = prepared.values().any(|prepared| {
        let mut keys = prepared.set.ops.iter().map(|op| &op.key);
        keys.any(|key| key::index_of(key).is_some_and(|(index, _)| indexes.contains(&index)))
    });
    if touched { Err(Error::PreparedInTheWay { table: table.name().to_owned() }) } else { Ok(()) }
}

/// The entries of new indexes, from the newest rows.
fn fill(writer: &Writer, table: &Table, new: &[IndexId]) -> Result<Vec<Write>, Error> {
    let mut entries = WriteSet::default();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let rows = table.rows();
    let mut scan = writer.tree.range(&rows.from, rows.to.as_deref());
    let mut key = Vec::new();
    while scan.next() {
        scan.key_into(&mut key);
        let row = RowView::new(table, &key, scan.value())?;
        for index in table.schema().indexes.iter().filter(|index| new.contains(&index.id)) {
            let (entry, value) = index_entry(index, &row)?;
            if index.unique && !value.is_empty() && entries.get(&entry).is_some() {
                let absent = crate::table::MustBeAbsent { key: entry, index: index.id };
                return Err(absent.duplicate(table).into());
            }
            entries.extend([Write { kind: crate::record::OpKind::Insert, key: entry, value }]);
        }
    }
    Ok(entries.to_writes())
}

/// Plans a change under the writer's lock, logs it, waits, and shows it to readers.
fn run(
    core: &Core,
    plan: impl FnOnce(&mut Writer, &InDoubt) -> Result<(CatalogChange, Vec<Write>), Error>,
) -> Result<CatalogChange, Error> {
    let (change, position) = append(core, plan)?;
    core.wait_committed(position)?;
    // A later change may have got here first; the newest is what counts. A copy that has stopped
    // meanwhile shows nothing new, but this change is committed all the same.
    if let Ok(writer) = core.writer() {
        core.set_catalog(writer.catalog.clone());
    }
    Ok(change)
}

fn append(
    core: &Core,
    plan: impl FnOnce(&mut Writer, &InDoubt) -> Result<(CatalogChange, Vec<Write>), Error>,
) -> Result<(CatalogChange, Position), Error> {
    let entered = core.enter()?;
    // Held to the append: who prepares meanwhile meets the table as it is then.
    let prepared = core.prepared();
    let mut writer = core.writer()?;
    let (change, entries) = plan(&mut writer, &prepared)?;
    let mut bytes = Vec::new();
    let txn_id = entered.txn.0;
    let header = RecordHeader { kind: RecordKind::Schema, txn_id, wall_ms: core.clock.wall_ms() };
    let mut record = RecordWriter::new(header, &mut bytes);
    let mut writes = WriteSet::default();
    for write in change.ops.iter().chain(&entries) {
        record.op(Op { kind: write.kind, key: &write.key, value: &write.value });
    }
    record.finish();
    writes.extend(change.ops.iter().cloned().chain(entries));
    let space = core.log.reserve(bytes.len()).map_err(Error::LogFull)?;
    core.bound.admit(&mut writer.tree, &writes)?;
    let before = std::mem::replace(&mut writer.catalog, change.catalog.clone());
    let record = (RecordKind::Schema, bytes.as_slice());
    match core.commit(&mut writer, (&writes, &WriteSet::default()), record, space) {
        Ok(appended) => Ok((change, appended.position)),
        Err(error) => {
            writer.catalog = before;
            Err(error)
        }
    }
}

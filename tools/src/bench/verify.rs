//! Checks every row that a bench left: recomputed from the seed, in its partition, in a version
//! that it may have.

use std::ops::ControlFlow;

use resprout_engine::table::{RowView, Table, ValueRef};
use resprout_engine::{Database, Error, Partition};

use super::dataset::Dataset;
use super::testbed::{TABLE, failed, for_each_partition, id, secondary, wrong};
use crate::failure::Failure;

/// A row as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: u64,
    /// The version that its payload says, and that its every byte follows from.
    pub version: u32,
}

/// Reads every row of every partition and hands it to `judge`, which may object; how many there
/// are. With `is_routed`, a row must lie in the partition that its key names.
///
/// # Errors
/// A row that is not what was written, or lies in the wrong partition.
pub fn every_row(
    database: &Database,
    data: &Dataset,
    is_routed: bool,
    judge: impl Fn(&Partition, Found) -> Result<(), String> + Sync,
) -> Result<u64, Failure> {
    let counts = for_each_partition(database, |partition| {
        let mut outcome = Ok(());
        let mut count = 0_u64;
        let mut scratch = Vec::new();
        let visited = visit(partition, |table, row| {
            let judged = read(data, table, row, &mut scratch)
                .and_then(|found| {
                    if is_routed {
                        in_its_place(database, table, partition, found)
                    } else {
                        Ok(found)
                    }
                })
                .and_then(|found| judge(partition, found));
            count += 1;
            outcome = judged;
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        visited.map_err(|error| failed(&error))?;
        outcome.map(|()| count).map_err(|what| wrong(format!("{}: {what}", partition.name())))
    })?;
    Ok(counts.iter().sum())
}

fn visit(
    partition: &Partition,
    mut each: impl FnMut(&Table, &RowView<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let table = partition.table(TABLE)?;
    partition.begin()?.scan(&table, &table.rows(), |row| each(&table, row))
}

fn read(
    data: &Dataset,
    table: &Table,
    row: &RowView<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Found, String> {
    let columns = table.live();
    let ValueRef::Int(key) = row.get(columns[0]).map_err(|error| error.to_string())? else {
        return Err("a key that is no integer".into());
    };
    let key = u64::from_ne_bytes(key.to_ne_bytes());
    let extra = columns.len() - 2;
    for number in 0..extra {
        let found = row.get(columns[1 + number]).map_err(|error| error.to_string())?;
        if found.into_owned() != id(secondary(key, number)) {
            return Err(format!("row {key}: column k{number} differs"));
        }
    }
    let payload = row.get(columns[columns.len() - 1]).map_err(|error| error.to_string())?;
    let ValueRef::Bytes(payload) = payload else {
        return Err(format!("row {key}: a payload that is no bytes"));
    };
    let version = data.check(key, &payload, scratch);
    let version = version.map_err(|_| format!("row {key}: its payload differs"))?;
    Ok(Found { key, version })
}

fn in_its_place(
    database: &Database,
    table: &Table,
    partition: &Partition,
    found: Found,
) -> Result<Found, String> {
    let home = database.partition_of(table, &[id(found.key)]).map_err(|error| error.to_string())?;
    if home.ordinal() == partition.ordinal() {
        Ok(found)
    } else {
        Err(format!("row {} belongs to {}", found.key, home.name()))
    }
}

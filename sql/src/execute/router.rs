//! Which partitions a statement concerns, and which keys there. The step between sessions and
//! partitions, which part later: nothing behind it may assume that a partition is near.

use std::collections::BTreeMap;
use std::sync::Arc;

use resprout_access::Looked;
use resprout_engine::table::key::successor;
use resprout_engine::table::{
    ColumnId, Index, IndexId, KeyRange, RowError, Table, TableSchema, Value,
};

use crate::error::SqlError;
use crate::place::{Database, Databases};
use crate::statement::direct::{Access, KeyPart, Rows, key_value};

use super::error::{no_such_table, unknown_database};

/// A table and the database that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The database.
    pub(crate) database: Database,
    /// The table, as it is now.
    pub(crate) table: Arc<Table>,
}

impl Target {
    /// Looks a table up.
    ///
    /// # Errors
    /// 1046, 1049, 1146.
    pub(crate) fn find(
        databases: &Databases,
        database: Option<&str>,
        table: &str,
    ) -> Result<Self, SqlError> {
        let name = database.ok_or_else(|| SqlError::plain(crate::error::Code::NO_DB))?;
        let database = databases.database(name).map_err(|_| unknown_database(name))?;
        let found = database.table(table);
        let table = found.map_err(|error| match error {
            resprout_engine::Error::NoSuchTable { .. } => no_such_table(name, table),
            other => other.into(),
        })?;
        Ok(Self { database, table })
    }

    /// The partitions that have rows of it.
    pub(crate) fn everywhere(&self) -> Vec<usize> {
        everywhere(self)
    }

    /// Its schema.
    pub(crate) fn schema(&self) -> &TableSchema {
        self.table.schema()
    }
}

/// Where rows are, in one statement.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Rows by key, each with the partition that it is in if it exists.
    Keys(Vec<(usize, Vec<u8>)>),
    /// All rows of a range in some partitions.
    Range(Vec<usize>, KeyRange),
    /// All rows that a range of an index leads to, in some partitions.
    Index(Vec<usize>, IndexId, KeyRange),
    /// All rows of several ranges that have no key in common: of an index, or of the primary key. Each
    /// partition with its ranges, in order.
    Ranges(Option<IndexId>, Vec<(usize, Vec<KeyRange>)>),
}

impl Found {
    /// The same in one partition.
    pub(crate) fn within(&self, partition: usize) -> Self {
        match self {
            Self::Keys(keys) => {
                Self::Keys(keys.iter().filter(|(of, _)| *of == partition).cloned().collect())
            }
            Self::Range(_, range) => Self::Range(vec![partition], range.clone()),
            Self::Index(_, index, range) => Self::Index(vec![partition], *index, range.clone()),
            Self::Ranges(index, parts) => {
                let here = parts.iter().filter(|(of, _)| *of == partition).cloned();
                Self::Ranges(*index, here.collect())
            }
        }
    }

    /// The same in one partition, as another node is asked for it.
    pub(crate) fn looked(&self, partition: usize) -> Looked {
        let pair = |range: &KeyRange| (range.from.clone(), range.to.clone());
        match self {
            Self::Keys(keys) => {
                let here = keys.iter().filter(|(of, _)| *of == partition);
                Looked::Keys(here.map(|(_, key)| key.clone()).collect())
            }
            Self::Range(_, range) => Looked::Ranges(None, vec![pair(range)]),
            Self::Index(_, index, range) => Looked::Ranges(Some(*index), vec![pair(range)]),
            Self::Ranges(index, parts) => {
                let here = parts.iter().filter(|(of, _)| *of == partition);
                Looked::Ranges(*index, here.flat_map(|(_, ranges)| ranges).map(pair).collect())
            }
        }
    }

    /// The partitions that are concerned.
    pub(crate) fn partitions(&self) -> Vec<usize> {
        let mut all: Vec<usize> = match self {
            Self::Keys(keys) => keys.iter().map(|(partition, _)| *partition).collect(),
            Self::Range(partitions, _) | Self::Index(partitions, ..) => partitions.clone(),
            Self::Ranges(_, parts) => parts.iter().map(|(partition, _)| *partition).collect(),
        };
        all.sort_unstable();
        all.dedup();
        all
    }

    /// All rows of a table.
    pub(crate) fn all(target: &Target) -> Self {
        Self::Range(everywhere(target), target.table.rows())
    }
}

fn everywhere(target: &Target) -> Vec<usize> {
    if target.schema().reference {
        return vec![target.database.reference()];
    }
    (0..target.database.count()).collect()
}

/// The partition of a row.
///
/// # Errors
/// If a value of the shard key does not fit its column.
pub(crate) fn home(target: &Target, row: &[Value], free: usize) -> Result<usize, SqlError> {
    let schema = target.schema();
    if schema.reference {
        return Ok(target.database.reference());
    }
    if schema.shard_key.is_empty() {
        return Ok(free % target.database.count());
    }
    let value = |id: &ColumnId| &row[target.table.position(*id)];
    if let [id] = &schema.shard_key[..] {
        return of_shard_values(target, std::slice::from_ref(value(id)));
    }
    let values: Vec<Value> = schema.shard_key.iter().map(|id| value(id).clone()).collect();
    of_shard_values(target, &values)
}

/// The partition of rows with these values of the shard key.
///
/// # Errors
/// If one does not fit its column.
pub(crate) fn of_shard_values(target: &Target, values: &[Value]) -> Result<usize, SqlError> {
    Ok(target.database.partition_of(&target.table, values)?)
}

/// The rows that a filter names by key, with parameters bound; none if it has to be looked for in
/// the whole table.
///
/// # Errors
/// If a key cannot be made.
pub(crate) fn by_key(
    target: &Target,
    rows: &Rows,
    parameters: &[Value],
) -> Result<Option<Found>, SqlError> {
    let schema = target.schema();
    let index = rows.index.and_then(|id| schema.indexes.iter().find(|index| index.id == id));
    let key = index.map_or(schema.primary.columns(), |index| &index.columns);
    let bind = |column: &ColumnId, part: &KeyPart| match part {
        KeyPart::Literal(value) => Bound::Known(value.clone()),
        KeyPart::Parameter(number) => {
            let at = usize::from(*number).checked_sub(1);
            match at.and_then(|at| parameters.get(at)) {
                Some(Value::Null) => Bound::Nothing,
                Some(value) => key_value(schema.column(*column).ty, value.clone())
                    .map_or(Bound::Unknown, Bound::Known),
                None => Bound::Unknown,
            }
        }
    };
    let bind_all = |parts: &[KeyPart]| -> Bound<Vec<Value>> {
        key.iter().zip(parts).map(|(column, part)| bind(column, part)).collect()
    };
    // A point that nothing can be is none.
    let bind_each = |points: &[Vec<KeyPart>]| -> Option<Vec<Vec<Value>>> {
        let bound = points.iter().map(|point| bind_all(point));
        bound.filter_map(Bound::known_or_nothing).collect()
    };
    let no_rows = Ok(Some(Found::Keys(Vec::new())));
    match &rows.access {
        Access::Points(points) => {
            let Some(points) = bind_each(points) else { return Ok(None) };
            points_to_keys(target, rows, &points).map(Some)
        }
        Access::Range { prefix, lower, upper } => {
            let prefix = match bind_all(prefix) {
                Bound::Known(prefix) => prefix,
                Bound::Nothing => return no_rows,
                Bound::Unknown => return Ok(None),
            };
            let mut bounds = [None, None];
            for (bound, given) in bounds.iter_mut().zip([lower, upper]) {
                let Some((part, inclusive)) = given else { continue };
                let Some(column) = key.get(prefix.len()) else { return Ok(None) };
                match bind(column, part) {
                    Bound::Known(value) => *bound = Some((value, *inclusive)),
                    Bound::Nothing => return no_rows,
                    Bound::Unknown => return Ok(None),
                }
            }
            let [lower, upper] = bounds;
            let range = match index {
                Some(index) => range_of(&prefix, lower, upper, |values| {
                    target.table.index_range(index, values).map(|range| range.from)
                })?,
                None => key_range(target, &prefix, lower, upper)?,
            };
            let partitions = match &rows.shard_positions {
                Some(positions) if rows.range_in_one_partition() => {
                    let values: Vec<_> = positions.iter().map(|at| prefix[*at].clone()).collect();
                    vec![of_shard_values(target, &values)?]
                }
                _ => everywhere(target),
            };
            Ok(Some(match index {
                Some(index) => Found::Index(partitions, index.id, range),
                None => Found::Range(partitions, range),
            }))
        }
        Access::Prefixes(prefixes) => {
            let Some(prefixes) = bind_each(prefixes) else { return Ok(None) };
            ranges_of(target, (rows, index), &prefixes).map(Some)
        }
    }
}

/// What the parts of a key are, with parameters.
enum Bound<T> {
    Known(T),
    /// One is NULL: no row is found.
    Nothing,
    /// One does not compare as its column's type does.
    Unknown,
}

impl<T> Bound<T> {
    /// For one of several: left out if it is nothing, none if it is unknown.
    #[expect(clippy::option_option, reason = "nothing and unknown are different answers")]
    fn known_or_nothing(self) -> Option<Option<T>> {
        match self {
            Self::Known(value) => Some(Some(value)),
            Self::Nothing => None,
            Self::Unknown => Some(None),
        }
    }
}

impl<T> FromIterator<Bound<T>> for Bound<Vec<T>> {
    fn from_iter<I: IntoIterator<Item = Bound<T>>>(parts: I) -> Self {
        let mut all = Vec::new();
        let mut nothing = false;
        for part in parts {
            match part {
                Bound::Known(value) => all.push(value),
                Bound::Nothing => nothing = true,
                Bound::Unknown => return Self::Unknown,
            }
        }
        if nothing { Self::Nothing } else { Self::Known(all) }
    }
}

/// The ranges of an index, or of the primary key, whose keys begin with one of these.
fn ranges_of(
    target: &Target,
    (rows, index): (&Rows, Option<&Index>),
    prefixes: &[Vec<Value>],
) -> Result<Found, SqlError> {
    let mut parts: BTreeMap<usize, Vec<KeyRange>> = BTreeMap::new();
    for prefix in prefixes {
        let range = match index {
            Some(index) => target.table.index_range(index, prefix),
            None => target.table.primary_key(prefix).map(KeyRange::with_prefix),
        };
        let range = range.map_err(resprout_engine::Error::from)?;
        let positions = rows.shard_positions.as_ref();
        let positions = positions.filter(|all| all.iter().all(|at| *at < prefix.len()));
        let partitions = match positions {
            Some(positions) if !positions.is_empty() => {
                let values: Vec<_> = positions.iter().map(|at| prefix[*at].clone()).collect();
                vec![of_shard_values(target, &values)?]
            }
            _ => everywhere(target),
        };
        for partition in partitions {
            parts.entry(partition).or_default().push(range.clone());
        }
    }
    for ranges in parts.values_mut() {
        ranges.sort_unstable_by(|a, b| a.from.cmp(&b.from));
        // Parameters may have made two values one.
        ranges.dedup();
    }
    Ok(Found::Ranges(index.map(|index| index.id), parts.into_iter().collect()))
}

fn points_to_keys(target: &Target, rows: &Rows, points: &[Vec<Value>]) -> Result<Found, SqlError> {
    let mut keys = Vec::with_capacity(points.len());
    for point in points {
        let key = target.table.primary_key(point).map_err(resprout_engine::Error::from)?;
        match &rows.shard_positions {
            Some(positions) if !positions.is_empty() => {
                let values: Vec<_> = positions.iter().map(|at| point[*at].clone()).collect();
                keys.push((of_shard_values(target, &values)?, key));
            }
            _ => keys.extend(everywhere(target).into_iter().map(|part| (part, key.clone()))),
        }
    }
    if keys.len() > 1 {
        // Parameters may have made two points one.
        let mut seen = std::collections::HashSet::with_capacity(keys.len());
        keys.retain(|(_, key)| seen.insert(key.clone()) || rows.shard_positions.is_none());
    }
    Ok(Found::Keys(keys))
}

/// The rows whose primary key begins with these values, and goes on between two; each bound with
/// whether it belongs to the range.
///
/// # Errors
/// If a value does not fit its column.
pub(crate) fn key_range(
    target: &Target,
    prefix: &[Value],
    lower: Option<(Value, bool)>,
    upper: Option<(Value, bool)>,
) -> Result<KeyRange, SqlError> {
    range_of(prefix, lower, upper, |values| target.table.primary_key(values))
}

/// The range of keys of which `start` gives the beginnings.
fn range_of(
    prefix: &[Value],
    lower: Option<(Value, bool)>,
    upper: Option<(Value, bool)>,
    start: impl Fn(&[Value]) -> Result<Vec<u8>, RowError>,
) -> Result<KeyRange, SqlError> {
    let key = |last: Option<Value>| {
        let values: Vec<Value> = prefix.iter().cloned().chain(last).collect();
        start(&values).map_err(resprout_engine::Error::from)
    };
    let mut range = KeyRange::with_prefix(key(None)?);
    if let Some((value, inclusive)) = lower {
        let from = key(Some(value))?;
        range.from = if inclusive { from } else { successor(&from).unwrap_or(from) };
    }
    if let Some((value, inclusive)) = upper {
        let to = key(Some(value))?;
        range.to = if inclusive { successor(&to) } else { Some(to) };
    }
    Ok(range)
}

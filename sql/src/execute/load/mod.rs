//! LOAD DATA LOCAL INFILE: a file that the client sends.
//!
//! Inside of a transaction the rows are part of it. Outside, they are committed as they come, each
//! partition for itself, so that files of any size can be loaded: then an error leaves what came
//! before it, and says how much that is. MySQL's NDB and TiDB do the same.
//!
//! With LOCAL, rows whose keys exist are left out with a warning, as in MySQL, unless REPLACE is
//! given. Values that do not fit are errors, which MySQL would bend until they fit; with IGNORE or
//! SKIP ALL ERRORS such rows are left out with a warning.

mod bulk;
mod records;

use bulk::{Bulk, Leniency, Loaded};
use records::Records;
use resprout_engine::table::{ColumnId, ColumnType, Value};

use super::change::{NewValue, new_value};
use super::error::{of_row, unknown_column};
use super::insert::{Job, Moments, Outcome, number_of, put};
use super::router::{Target, home};
use crate::error::{Code, SqlError};
use crate::expression::{Context, NoRow, Scope};
use crate::protocol::resultset::Completion;
use crate::server::ResultWriter;
use crate::session::Client;
use crate::statement::{Duplicates, FieldTarget, Insert, InsertSource, LoadData, Rows};

/// Where a field of a record goes.
enum Place {
    Column(ColumnId),
    Variable(String),
}

/// What holds for all records.
struct Loading<'a> {
    load: &'a LoadData,
    target: Target,
    places: Vec<Place>,
    moments: Moments,
    leniency: Leniency,
}

/// LOAD DATA.
///
/// # Errors
/// With what the client is told; 1148 if the client hands over no files.
pub(crate) async fn load(
    client: &mut Client,
    load: &LoadData,
    out: &mut ResultWriter<'_>,
) -> Result<Completion, SqlError> {
    if !load.local {
        return Err(SqlError::not_supported("LOAD DATA of files on the server"));
    }
    let loading = Loading::new(client, load)?;
    client.state.warnings.clear();
    let mut loaded = Loaded::default();
    let whole = client.state.in_transaction() || load.duplicates == Duplicates::Replace;
    let replaced = if whole {
        in_transaction(client, &loading, out, &mut loaded).await?
    } else {
        in_pieces(client, &loading, out, &mut loaded).await?;
        0
    };
    client.state.warnings = loaded.warnings;
    let left_out = loaded.left_out;
    let records = loaded.rows + left_out;
    let info = format!(
        "Records: {records}  Deleted: {replaced}  Skipped: {left_out}  Warnings: {left_out}"
    );
    Ok(Completion {
        affected_rows: loaded.rows + replaced,
        warnings: u16::try_from(client.state.warnings.len()).unwrap_or(u16::MAX),
        info: info.into(),
        ..Completion::default()
    })
}

/// As part of the session's transaction. Gives how many rows were replaced.
async fn in_transaction(
    client: &mut Client,
    loading: &Loading<'_>,
    out: &mut ResultWriter<'_>,
    loaded: &mut Loaded,
) -> Result<u64, SqlError> {
    let insert = Insert {
        table: loading.load.table.clone(),
        replace: loading.load.duplicates == Duplicates::Replace,
        ignore: loading.leniency.duplicates,
        columns: Vec::new(),
        source: InsertSource::Rows(Rows { width: 0, count: 0, values: Vec::new() }),
        alias: None,
        on_duplicate: Vec::new(),
    };
    let (target, moments) = (loading.target.clone(), Moments::of(client, &loading.target));
    let job = Job { target, insert: &insert, parameters: &[], moments, is_one: false };
    let mut outcome = Outcome::default();
    let mut records = Records::new(loading.load)?;
    let mut file = out.file(&loading.load.file).await?;
    loop {
        let more = take(&mut records, file.next().await?.as_deref());
        while records.next()? {
            if let Some(row) = loading.row(client, &records, loaded)? {
                put(client, &job, row, &mut outcome).await?;
                loaded.rows += 1;
            }
        }
        if !more {
            break;
        }
    }
    let left_out = outcome.left_out;
    loaded.rows -= left_out;
    loaded.left_out += left_out;
    loaded.warnings.append(&mut client.state.warnings);
    Ok(outcome.affected.saturating_sub(loaded.rows))
}

/// In transactions of their own, partition by partition.
async fn in_pieces(
    client: &mut Client,
    loading: &Loading<'_>,
    out: &mut ResultWriter<'_>,
    loaded: &mut Loaded,
) -> Result<(), SqlError> {
    let mut bulk = Bulk::new(&loading.target, loading.leniency);
    let read = read(client, loading, out, (&mut bulk, loaded)).await;
    let (done, ended) = bulk.end(read.is_ok()).await;
    let rows = done.rows;
    loaded.rows += rows;
    loaded.left_out += done.left_out;
    loaded.warnings.extend(done.warnings);
    read.and(ended).map_err(|error| {
        let text = format!("{} (rows loaded before, which stay: {rows})", error.text);
        SqlError { text: text.into(), ..error }
    })
}

async fn read(
    client: &mut Client,
    loading: &Loading<'_>,
    out: &mut ResultWriter<'_>,
    (bulk, loaded): (&mut Bulk, &mut Loaded),
) -> Result<(), SqlError> {
    let mut records = Records::new(loading.load)?;
    let target = &loading.target;
    let mut file = out.file(&loading.load.file).await?;
    loop {
        let more = take(&mut records, file.next().await?.as_deref());
        while records.next()? {
            let Some((number, mut row)) = loading.row(client, &records, loaded)? else { continue };
            number_of(client, target, &mut row)?;
            let partition = home(target, &row, number)?;
            bulk.put(partition, number as u64, &row).await?;
        }
        if !more {
            return Ok(());
        }
    }
}

/// Takes a piece of the file in; whether more may come.
fn take(records: &mut Records, piece: Option<&[u8]>) -> bool {
    match piece {
        Some(piece) => records.push(piece),
        None => records.end(),
    }
    piece.is_some()
}

/// A record's number and its values for columns.
type Given = (usize, Vec<(ColumnId, Value)>);

impl<'a> Loading<'a> {
    fn new(client: &Client, load: &'a LoadData) -> Result<Self, SqlError> {
        let database = load.table.database.as_deref().or(client.state.database.as_deref());
        let target = Target::find(&client.node.databases, database, &load.table.table)?;
        let place = |to: &FieldTarget| match to {
            FieldTarget::Variable(name) => Ok(Place::Variable(name.clone())),
            FieldTarget::Column(name) => {
                let id = target.schema().column_named(name);
                id.map(Place::Column).ok_or_else(|| unknown_column(name))
            }
        };
        let places = match &load.targets[..] {
            [] => target.table.live().iter().copied().map(Place::Column).collect(),
            targets => targets.iter().map(place).collect::<Result<_, _>>()?,
        };
        let all = load.skip_errors || load.duplicates == Duplicates::Ignore;
        let duplicates = load.duplicates != Duplicates::Replace;
        let moments = Moments::of(client, &target);
        Ok(Self { load, target, places, moments, leniency: Leniency { duplicates, all } })
    }

    /// The row of the present record, with its number; none if it is left out.
    fn row(
        &self,
        client: &mut Client,
        records: &Records,
        loaded: &mut Loaded,
    ) -> Result<Option<(usize, Vec<Value>)>, SqlError> {
        let Some((number, given)) = self.given(client, records, loaded)? else { return Ok(None) };
        match self.target.table.complete(given) {
            Ok(row) => Ok(Some((number, row))),
            Err(error) => {
                self.unfit(of_row(&error, number), loaded)?;
                Ok(None)
            }
        }
    }

    /// What the present record gives; none if it is left out.
    fn given(
        &self,
        client: &mut Client,
        records: &Records,
        loaded: &mut Loaded,
    ) -> Result<Option<Given>, SqlError> {
        let number = usize::try_from(records.number()).unwrap_or(usize::MAX);
        let found = records.fields().len();
        if found != self.places.len() {
            self.unfit(wrong_count(number, found < self.places.len()), loaded)?;
            return Ok(None);
        }
        let mut given = Vec::with_capacity(self.places.len() + self.load.set.len());
        for (place, field) in self.places.iter().zip(records.fields()) {
            match place {
                Place::Column(id) => {
                    let ty = &self.target.schema().column(*id).ty;
                    let Some(value) = value(ty, field) else {
                        let name = &self.target.schema().column(*id).name;
                        let text =
                            format!("Incorrect string value for column '{name}' at row {number}");
                        self.unfit(SqlError::new(Code(1366), text), loaded)?;
                        return Ok(None);
                    };
                    given.push((*id, value));
                }
                Place::Variable(name) => {
                    let text = field.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    let value = text.map_or(Value::Null, Value::Text);
                    client.state.set_user_variable(name.clone(), value);
                }
            }
        }
        self.set(client, &mut given)?;
        self.moments.add(&mut given);
        Ok(Some((number, given)))
    }

    /// SET: what columns get beside the fields, from variables that hold some of them.
    fn set(&self, client: &Client, given: &mut Vec<(ColumnId, Value)>) -> Result<(), SqlError> {
        if self.load.set.is_empty() {
            return Ok(());
        }
        let surroundings = client.state.surroundings();
        let scope = Scope::new(&surroundings);
        for item in &self.load.set {
            let id = self.target.schema().column_named(&item.column);
            let id = id.ok_or_else(|| unknown_column(&item.column))?;
            given.retain(|(column, _)| *column != id);
            match new_value(&item.value, &scope, &[])? {
                NewValue::Given(value) => given.push((id, value)),
                NewValue::Default => {}
                NewValue::Computed(compiled) => {
                    let context = Context::new(&surroundings, &[]).strict();
                    given.push((id, compiled.evaluate(&NoRow, &context)?));
                }
            }
        }
        Ok(())
    }

    /// A record that does not fit is left out, if that is wanted.
    fn unfit(&self, error: SqlError, loaded: &mut Loaded) -> Result<(), SqlError> {
        if !self.leniency.all {
            return Err(error);
        }
        loaded.leave_out(error);
        Ok(())
    }
}

fn wrong_count(number: usize, too_few: bool) -> SqlError {
    if too_few {
        let text = format!("Row {number} doesn't contain data for all columns");
        return SqlError::new(Code(1261), text);
    }
    let text =
        format!("Row {number} was truncated; it contained more data than there were input columns");
    SqlError::new(Code(1262), text)
}

/// A field as a value that the column's type takes, or may refuse; none if it is not UTF-8 and has to
/// be.
fn value(ty: &ColumnType, field: Option<&[u8]>) -> Option<Value> {
    let Some(bytes) = field else { return Some(Value::Null) };
    if let ColumnType::Binary(_) | ColumnType::VarBinary(_) | ColumnType::Blob(_) = ty {
        return Some(Value::Bytes(bytes.to_vec()));
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if let ColumnType::Int { .. } = ty
        && let Ok(number) = text.parse()
    {
        return Some(Value::Int(number));
    }
    Some(Value::Text(text.to_owned()))
}

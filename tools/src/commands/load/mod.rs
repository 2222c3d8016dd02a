//! `resprout load`: a CSV or TSV file becomes rows of a table.
//!
//! The file is read twice or three times: once to find the types (unless all are given), once to
//! check every value and every primary key, once to load. A bad row stops the command in one of
//! the first two, so nothing was changed then, wherever in the file the row is. What can still
//! fail afterwards is the machine (memory limit, full device): a table that the command made is
//! dropped again; in a table that existed the rows committed so far stay, and are counted.

mod check;
mod fill;
mod source;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use resprout_engine::table::Value;
use resprout_engine::{Database, DatabaseOptions, Engine, Error};
use serde::Serialize;

use self::source::{Source, parse_delimiter};
use self::target::{Target, Wishes, parse_types};
use crate::access::{self, DiskChoice, explain};
use crate::bench::statistics::per_second;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantity::{grouped, parse_bytes};
use crate::watch::{Show, Watch};

/// Loads a CSV or TSV file with a header into a table.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The file, or - for standard input; `.tsv` and `.tab` are tab-separated
    pub file: PathBuf,
    /// Data directory, made if it is not there
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Table; made if it is not there
    #[arg(long, short, value_name = "TABLE")]
    pub table: String,
    /// Database; made if it is not there
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub database: String,
    /// Partitions of a database that is made
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub partitions: u32,
    /// Types of a table that is made, for example `id=bigint,price=decimal(10,2) not null`;
    /// columns not named here get the type that fits all their values
    #[arg(long, value_name = "COLUMN=TYPE,...", default_value = "")]
    pub types: String,
    /// Columns of the primary key of a table that is made
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub primary_key: Vec<String>,
    /// One character, or `tab`
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter)]
    pub delimiter: Option<u8>,
    /// Text that means NULL; without this an empty field and \N do
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
    /// Most page memory, for example 8GiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Disk backend
    #[arg(long, value_enum, default_value_t)]
    pub disk: DiskChoice,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t)]
    pub progress: Show,
    /// The result as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Loaded<'a> {
    schema_version: u32,
    database: &'a str,
    table: &'a str,
    columns: Vec<(String, String)>,
    rows: u64,
    bytes: u64,
    check_s: f64,
    load_s: f64,
    rows_per_s: f64,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with the file, the wishes or the directory.
pub fn run(args: &LoadArgs) -> Result<Exit, Failure> {
    let source = Source::open(&args.file, args.delimiter)?;
    let wishes = wishes(args)?;
    let early = early_check(&source, args, &wishes)?;
    let mut options = access::options(args.disk)?;
    if let Some(memory) = args.memory {
        options.maximum_memory = memory;
    }
    let engine = access::open(&args.data, options)?;
    let result = load(&engine, args, (&source, &wishes), early);
    let closed = engine.close();
    let loaded = result?;
    closed.map_err(|error| explain(&format!("cannot close {}", args.data.display()), &error))?;
    tell(args, &loaded);
    Ok(Exit::Done)
}

/// A bad file is refused before a directory is even made.
fn early_check(
    source: &Source,
    args: &LoadArgs,
    wishes: &Wishes,
) -> Result<Option<(Target, Duration)>, Failure> {
    if args.data.join("identity").exists() {
        return Ok(None);
    }
    let target = Target::new_table(source, wishes)?;
    let mut watch = Watch::new(args.progress, "checking", source.bytes());
    check::check(source, &target, |_| Ok(false), |done| watch.step(done))?;
    Ok(Some((target, watch.finish())))
}

fn wishes(args: &LoadArgs) -> Result<Wishes, Failure> {
    let types = match args.types.as_str() {
        "" => BTreeMap::new(),
        text => parse_types(text).map_err(|why| {
            let what = "cannot read --types";
            Failure::new(what, why, "see resprout load --help").exiting(Exit::Usage)
        })?,
    };
    let (table, primary_key) = (args.table.clone(), args.primary_key.clone());
    Ok(Wishes { table, types, primary_key, null: args.null.clone() })
}

fn load<'a>(
    engine: &Engine,
    args: &'a LoadArgs,
    (source, wishes): (&Source, &Wishes),
    early: Option<(Target, Duration)>,
) -> Result<Loaded<'a>, Failure> {
    let cannot = |error: Error| explain(&source.cannot(), &error);
    let existing = match engine.database(&args.database) {
        Ok(database) => Some(database),
        Err(Error::NoSuchDatabase { .. }) => None,
        Err(error) => return Err(cannot(error)),
    };
    let (target, checked_in) = match early {
        Some(early) => early,
        None => checked(source, wishes, (existing.as_ref(), args.progress))?,
    };
    let is_new_database = existing.is_none();
    let database = match existing {
        Some(database) => database,
        None => {
            let options =
                DatabaseOptions { partitions: args.partitions, ..DatabaseOptions::default() };
            engine.create_database(&args.database, options).map_err(cannot)?
        }
    };
    if target.is_new {
        database.create_table(target.table.schema()).map_err(cannot)?;
    }
    let mut watch = Watch::new(args.progress, "loading", source.bytes());
    let filled = fill::fill(source, &target, &database, |done| watch.step(done));
    let rows = filled.map_err(|failure| {
        if is_new_database {
            take_back(failure, engine.drop_database(&args.database))
        } else if target.is_new {
            take_back(failure, drop_everywhere(&database, &args.table))
        } else {
            let fix = format!("{}; rows committed before it stay in '{}'", failure.fix, args.table);
            Failure { fix, ..failure }
        }
    })?;
    let load_s = watch.finish().as_secs_f64();
    Ok(Loaded {
        schema_version: 1,
        database: &args.database,
        table: &args.table,
        columns: columns(&target),
        rows,
        bytes: source.bytes(),
        check_s: checked_in.as_secs_f64(),
        load_s,
        rows_per_s: per_second(rows, load_s),
    })
}

fn checked(
    source: &Source,
    wishes: &Wishes,
    (database, progress): (Option<&Database>, Show),
) -> Result<(Target, Duration), Failure> {
    let cannot = |error: Error| explain(&source.cannot(), &error);
    let table = database.map(|database| database.partitions()[0].table(&wishes.table));
    let target = match table {
        Some(Ok(table)) => Target::existing(source, table, wishes.null.clone())?,
        None | Some(Err(Error::NoSuchTable { .. })) => Target::new_table(source, wishes)?,
        Some(Err(error)) => return Err(cannot(error)),
    };
    let mut watch = Watch::new(progress, "checking", source.bytes());
    let exists = |key: &[Value]| match database {
        Some(database) => row_exists(database, &target, key).map_err(cannot),
        None => Ok(false),
    };
    check::check(source, &target, exists, |done| watch.step(done))?;
    Ok((target, watch.finish()))
}

/// Whether the table has a row with this primary key. Partitions are asked in turn unless the key
/// says which one it is.
fn row_exists(database: &Database, target: &Target, key: &[Value]) -> Result<bool, Error> {
    let schema = target.table.schema();
    let is_routed = schema.shard_key == schema.primary.columns();
    let asked = if is_routed {
        std::slice::from_ref(database.partition_of(&target.table, key)?)
    } else {
        database.partitions()
    };
    for partition in asked {
        let table = partition.table(target.table.name())?;
        if partition.begin()?.get(&table, key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn drop_everywhere(database: &Database, table: &str) -> Result<(), Error> {
    database.partitions().iter().try_for_each(|partition| partition.drop_table(table))
}

fn take_back(failure: Failure, taken_back: Result<(), Error>) -> Failure {
    match taken_back {
        Ok(()) => Failure { fix: format!("{}; nothing was changed", failure.fix), ..failure },
        Err(error) => {
            let why = format!("{}; taking it back failed too: {error}", failure.why);
            Failure { why, ..failure }
        }
    }
}

fn columns(target: &Target) -> Vec<(String, String)> {
    let schema = target.table.schema();
    let column = |(_, column): (_, &resprout_engine::table::Column)| {
        let null = if column.nullable { "" } else { " not null" };
        (column.name.clone(), format!("{}{null}", column.ty))
    };
    schema.live_columns().map(column).collect()
}

fn tell(args: &LoadArgs, loaded: &Loaded<'_>) {
    if args.json {
        return output::json(loaded);
    }
    for (column, ty) in &loaded.columns {
        output::line(format_args!("  {column:<24} {ty}"));
    }
    output::line(format_args!(
        "{} rows into {}.{} in {:.2} s ({} rows/s), checked before in {:.2} s",
        grouped(loaded.rows),
        loaded.database,
        loaded.table,
        loaded.load_s,
        grouped(whole(loaded.rows_per_s)),
        loaded.check_s,
    ));
    output::line(format_args!("Next: resproutd node --data {}", args.data.display()));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for people")]
fn whole(rate: f64) -> u64 {
    rate as u64
}

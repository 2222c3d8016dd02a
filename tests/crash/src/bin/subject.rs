//! The program that the tests of this package kill: a small writer around the engine, and the real
//! `resprout inspect` and `resproutd node`, in one file so that the tests find it.
//!
//! The writer keeps one rule, which its reader checks: transaction `n` inserts the rows `n` and
//! `-n`, whose content follows from their key. It prints what it was told, one line each:
//!
//! ```text
//! online                     the directory is open
//! try 7                      transaction 7 begins to commit
//! ack 7                      it was acknowledged
//! refused 7 <why>            a definite error: it must never appear
//! unknown 7 <why>            the outcome is unknown: it may
//! snapshot | snapshot failed <why>
//! row 7 | half 7 | wrong 7   reading: both rows, one of them, other content
//! closed                     closed in order
//! ```

#![expect(clippy::print_stdout, reason = "lines on stdout are what the tests read")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use resprout_engine::table::{Table, TableSchema, Value};
use resprout_engine::{
    Database, DatabaseOptions, Durability, Engine, Error, Options, Partition, State,
};
use resprout_tools::commands::inspect::{self, InspectCommand};
use resprout_tools::node::door::NoDoor;
use resprout_tools::node::run::{self as node, NodeArgs};
use resprout_tools::output;
use resprout_wal::disk::Backend;

/// Ended because the directory cannot be opened.
const EXIT_CANNOT_OPEN: u8 = 10;
/// Ended because the partition is unrecoverable.
const EXIT_UNRECOVERABLE: u8 = 11;
/// Ended because making the database, or closing, failed.
const EXIT_FAILED: u8 = 12;
/// After an unknown outcome so many more transactions are tried: they must be refused.
const TRIES_AFTER_FAILURE: u64 = 3;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes transactions and closes
    Write(WriteArgs),
    /// Recovers, prints what is there, and ends without closing
    Read(OpenArgs),
    /// As `resprout inspect`
    #[command(subcommand)]
    Inspect(InspectCommand),
    /// As `resproutd node`
    Node(NodeArgs),
}

#[derive(Args, Clone, Debug)]
struct OpenArgs {
    /// Data directory
    dir: PathBuf,
    /// Disk backend
    #[arg(long, default_value = "pwritev2")]
    backend: Backend,
    /// With the engine's own threads; else one thread does everything, in one order
    #[arg(long)]
    threads: bool,
}

#[derive(Args, Clone, Debug)]
struct WriteArgs {
    #[command(flatten)]
    open: OpenArgs,
    /// Number of the first transaction, at least 1
    #[arg(long, default_value_t = 1)]
    from: i64,
    /// How many
    #[arg(long, default_value_t = 10)]
    count: u64,
    /// A snapshot after every so many; 0: none
    #[arg(long, default_value_t = 0)]
    snapshot_every: u64,
    /// Bytes of the longer rows
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// After a refusal, wait so long and go on, for as long as the count allows
    #[arg(long)]
    patient_ms: Option<u64>,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Write(args) => write(&args),
        Command::Read(args) => read(&args),
        Command::Inspect(command) => output::exit(inspect::run(&command)),
        Command::Node(args) => output::exit(node::run(&args, NoDoor)),
    }
}

fn open(args: &OpenArgs) -> Result<Engine, ExitCode> {
    let options = Options::default();
    let mut world = options.world.clone();
    world.disk = args.backend.open().map_err(|error| ended(EXIT_CANNOT_OPEN, &error))?;
    let options = Options {
        slot_bytes: 64 << 10,
        recovery_threads: if args.threads { 2 } else { 1 },
        maximum_memory: 256 << 20,
        threads: args.threads,
        recovery_time_target: None,
        world,
        ..options
    };
    Engine::open(&args.dir, options).map_err(|error| ended(EXIT_CANNOT_OPEN, &error))
}

fn ended(code: u8, why: &dyn std::error::Error) -> ExitCode {
    println!("ended {}", resprout_tools::failure::causes(why));
    ExitCode::from(code)
}

/// The database, made if the directory is new; a crash may have left it without its table.
fn database(engine: &Engine) -> Result<Database, Error> {
    let options = DatabaseOptions { partitions: 1, durability: Durability::Sync };
    match engine.database("d") {
        Ok(database) => Ok(database),
        Err(_) => engine.create_database("d", options),
    }
}

fn table(database: &Database) -> Result<Arc<Table>, Error> {
    let partition = &database.partitions()[0];
    if let Ok(table) = partition.table("t") {
        return Ok(table);
    }
    let schema = TableSchema::builder("t")
        .column("id", "bigint")
        .column("body", "longtext")
        .primary_key(&["id"]);
    database.create_table(&schema.build()?)?;
    partition.table("t")
}

/// Content of a row: its key and, every third time, `bytes` more of it.
fn row(id: i64, bytes: usize) -> Vec<Value> {
    let start = format!("row {id} ");
    let len = if id % 3 == 0 { bytes.max(start.len()) } else { start.len() };
    vec![Value::Int(id), Value::Text(start.chars().cycle().take(len).collect())]
}

fn is_whole(values: &[String]) -> bool {
    let [id, body] = values else { return false };
    let start = format!("row {id} ");
    body.len() >= start.len() && start.bytes().cycle().zip(body.bytes()).all(|(a, b)| a == b)
}

fn write(args: &WriteArgs) -> ExitCode {
    let engine = match open(&args.open) {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    let made = database(&engine).and_then(|database| Ok((database.clone(), table(&database)?)));
    let (database, table) = match made {
        Ok(made) => made,
        Err(error) => return ended(EXIT_FAILED, &error),
    };
    let partition = &database.partitions()[0];
    if partition.state() != State::Online {
        println!("ended {}", partition.status().error.unwrap_or_default());
        return ExitCode::from(EXIT_UNRECOVERABLE);
    }
    println!("online");
    write_all(args, partition, &table);
    match engine.close() {
        Ok(()) => {
            println!("closed");
            ExitCode::SUCCESS
        }
        Err(error) => ended(EXIT_FAILED, &error),
    }
}

fn write_all(args: &WriteArgs, partition: &Partition, table: &Arc<Table>) {
    let mut tries_left = TRIES_AFTER_FAILURE;
    for (done, n) in (1..=args.count).zip(args.from..) {
        println!("try {n}");
        match add(partition, table, n, args.bytes) {
            Ok(()) => println!("ack {n}"),
            Err(error @ Error::OutcomeUnknown(_)) => {
                println!("unknown {n} {error}");
                tries_left = tries_left.min(TRIES_AFTER_FAILURE);
            }
            Err(error) => {
                println!("refused {n} {error}");
                match args.patient_ms {
                    Some(pause) => std::thread::sleep(Duration::from_millis(pause)),
                    None if tries_left == 0 => return,
                    None => tries_left -= 1,
                }
            }
        }
        if args.snapshot_every > 0 && done % args.snapshot_every == 0 {
            match partition.snapshot() {
                Ok(_) => println!("snapshot"),
                Err(error) => println!("snapshot failed {error}"),
            }
        }
    }
}

fn add(partition: &Partition, table: &Arc<Table>, n: i64, bytes: usize) -> Result<(), Error> {
    let mut txn = partition.begin()?;
    txn.insert(table, &row(n, bytes))?;
    txn.insert(table, &row(-n, bytes))?;
    txn.commit()?;
    Ok(())
}

fn read(args: &OpenArgs) -> ExitCode {
    let engine = match open(args) {
        Ok(engine) => engine,
        Err(code) => return code,
    };
    // A directory that was killed while it was made has no database or no table yet.
    let Ok(database) = engine.database("d") else { return ExitCode::SUCCESS };
    let partition = &database.partitions()[0];
    if partition.state() != State::Online {
        println!("ended {}", partition.status().error.unwrap_or_default());
        return ExitCode::from(EXIT_UNRECOVERABLE);
    }
    println!("online");
    let Ok(table) = partition.table("t") else { return ExitCode::SUCCESS };
    match print_rows(partition, &table) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ended(EXIT_FAILED, &error),
    }
}

fn print_rows(partition: &Partition, table: &Arc<Table>) -> Result<(), Error> {
    let mut keys = BTreeSet::new();
    let mut wrong = Vec::new();
    partition.begin()?.scan(table, &table.rows(), |row| {
        let values = row.values().map(|values| values.iter().map(ToString::to_string).collect());
        let values: Vec<String> = values.unwrap_or_default();
        let id = values.first().and_then(|id| id.parse::<i64>().ok()).unwrap_or(0);
        if is_whole(&values) {
            keys.insert(id);
        } else {
            wrong.push(id);
        }
        ControlFlow::Continue(())
    })?;
    wrong.iter().for_each(|id| println!("wrong {id}"));
    for id in keys.iter().filter(|id| **id > 0 || !keys.contains(&-**id)) {
        let word = if keys.contains(&-id) { "row" } else { "half" };
        println!("{word} {id}");
    }
    Ok(())
}

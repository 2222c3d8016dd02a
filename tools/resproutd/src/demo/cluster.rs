//! `resproutd demo --leaves N`: a cluster of real processes on this machine, and a prompt for what is done to it.
//!
//! ```text
//!  processes ─► the first founds, the others are added by statements ─► sample data ─► prompt, or --run ─► orders
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row};
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::output;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::signal::unix::{SignalKind, signal};

use super::orders::{self, HELP};
use super::processes::Processes;
use super::{DATABASE, DemoArgs, sample, shell};

/// The cluster must be there by then.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until the prompt ends or a signal comes.
///
/// # Errors
/// Why there is no cluster.
pub(super) fn run(args: &DemoArgs, dir: &Path) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new("cannot start threads", error, "allow more"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|error| Failure::new("cannot listen for signals", error, "try again"))?;
        tokio::select! {
            done = show(args, dir) => done,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
            _ = terminate.recv() => Ok(Exit::Done),
        }
    })
}

async fn show(args: &DemoArgs, dir: &Path) -> Result<Exit, Failure> {
    let began = Instant::now();
    let (voters, leaves) = (args.voters as usize, args.leaves.unwrap_or(0) as usize);
    let first = args.port.filter(|port| *port > 0).unwrap_or(3306);
    let redundancy = args.redundancy;
    let mut processes = Processes::start(dir, first, (voters, leaves), redundancy)?;
    let mut conn = connect(&mut processes).await?;
    join(&mut conn, &processes).await?;
    let took = began.elapsed().as_secs_f64();
    output::line(format_args!("  ✓ {voters} aggregators, {leaves} leaves          {took:.2} s"));
    let began = Instant::now();
    let made = sample::make(&mut conn, args.partitions, args.rows).await.map_err(|error| {
        Failure::new("cannot make the sample data", error, "try an empty directory with --data")
    })?;
    conn.query_drop(format!("CREATE TABLE IF NOT EXISTS {DATABASE}.probe (id BIGINT PRIMARY KEY)"))
        .await
        .map_err(lost)?;
    let took = began.elapsed().as_secs_f64();
    if let Some(made) = made {
        output::line(format_args!(
            "  ✓ database {DATABASE}, {} rows          {took:.2} s",
            made.rows
        ));
    }
    let port = processes.all[0].port;
    output::line("");
    output::line(format_args!("    SQL    mysql -h 127.0.0.1 -P {port} -u root {DATABASE}"));
    output::line(format_args!("    Logs   {}", processes.log(1).display()));
    output::line("");
    if let Some(orders) = &args.run {
        return orders::run(&mut processes, orders).await;
    }
    if args.no_shell || !shell::is_possible() {
        std::future::pending::<()>().await;
    }
    output::line(format_args!("    {HELP}"));
    output::line("");
    prompt(&mut processes).await
}

pub(super) fn lost(error: Error) -> Failure {
    Failure::new("the cluster does not answer as it should", error, "see the logs of the nodes")
}

async fn open(port: u16) -> Result<Conn, Error> {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    Conn::new(options.user(Some("root")).prefer_socket(false)).await
}

/// A client of some aggregator that answers.
pub(super) async fn connect(processes: &mut Processes) -> Result<Conn, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut last = None;
        for port in processes.doors() {
            match open(port).await {
                Ok(conn) => return Ok(conn),
                Err(error) => last = Some(error),
            }
        }
        if Instant::now() > end {
            let why = last.map_or("none runs".to_owned(), |error| error.to_string());
            let fix = format!("see {}", processes.log(1).display());
            return Err(Failure::new("no aggregator answers", why, fix));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Adds all nodes that are not part of it yet.
pub(super) async fn join(conn: &mut Conn, processes: &Processes) -> Result<(), Failure> {
    let known: Vec<Row> = conn.query("SHOW AGGREGATORS").await.map_err(lost)?;
    let leaves: Vec<Row> = conn.query("SHOW LEAVES").await.map_err(lost)?;
    let ports: Vec<u16> = known.iter().chain(&leaves).filter_map(|row| row.get("Port")).collect();
    for process in &processes.all {
        if ports.contains(&process.port) || process.number == 1 {
            continue;
        }
        let port = process.port;
        let statement = if process.is_leaf {
            format!("ADD LEAF root@'127.0.0.1':{port}")
        } else {
            format!("ADD AGGREGATOR root@'127.0.0.1':{port} AS VOTING MEMBER")
        };
        let end = Instant::now() + PATIENCE;
        // It may not listen yet.
        while let Err(error) = conn.query_drop(&statement).await {
            if Instant::now() > end {
                return Err(lost(error));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

async fn prompt(processes: &mut Processes) -> Result<Exit, Failure> {
    let cannot = |error: ReadlineError| {
        Failure::new("cannot read from the terminal", error, "use --no-shell and a MySQL client")
    };
    let mut editor = DefaultEditor::new().map_err(cannot)?;
    loop {
        let reading = tokio::task::spawn_blocking(move || {
            let read = editor.readline("demo> ");
            (editor, read)
        });
        let (back, read) = reading.await.unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic.into_panic());
        });
        editor = back;
        let line = match read {
            Ok(line) => line.trim().to_owned(),
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Exit::Done),
            Err(error) => return Err(cannot(error)),
        };
        if !line.is_empty() {
            // A line that cannot be remembered can still be run.
            let _ = editor.add_history_entry(&line);
        }
        if matches!(&*line, "exit" | "quit" | "\\q" | "\\quit") {
            return Ok(Exit::Done);
        }
        if let Err(failure) = orders::carry_out(processes, &line).await {
            output::line(format_args!("{failure}"));
        }
    }
}

//! `resproutd demo --leaves N`: a cluster of real processes on this machine, and a prompt that kills them.
//!
//! ```text
//!  processes ─► the first founds, the others are added by statements ─► sample data ─► prompt
//!                                                              \kill ─► a writer, meanwhile ─► what it saw
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

use super::processes::Processes;
use super::{DATABASE, DemoArgs, sample, shell, table};

/// The cluster must be there by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes go on for so long without a pause before a failover counts as over.
const CALM: Duration = Duration::from_secs(2);

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
    if args.no_shell || !shell::is_possible() {
        std::future::pending::<()>().await;
    }
    output::line("    \\status   \\kill N   \\restart N   \\quit   or a statement");
    output::line("");
    prompt(&mut processes).await
}

fn lost(error: Error) -> Failure {
    Failure::new("the cluster does not answer as it should", error, "see the logs of the nodes")
}

async fn open(port: u16) -> Result<Conn, Error> {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    Conn::new(options.user(Some("root")).prefer_socket(false)).await
}

/// A client of some aggregator that answers.
async fn connect(processes: &mut Processes) -> Result<Conn, Failure> {
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
async fn join(conn: &mut Conn, processes: &Processes) -> Result<(), Failure> {
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
        if let Err(failure) = order(processes, &line).await {
            output::line(format_args!("{failure}"));
        }
    }
}

async fn order(processes: &mut Processes, line: &str) -> Result<(), Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = words.get(1).and_then(|word| word.parse().ok());
    match (words.first().copied(), number) {
        (None, _) => Ok(()),
        (Some("\\status"), _) => status(processes).await,
        (Some("\\kill"), Some(number)) => kill(processes, number).await,
        (Some("\\restart"), Some(number)) => restart(processes, number).await,
        (Some(word), _) if word.starts_with('\\') => {
            let fix = "\\status, \\kill N, \\restart N, \\quit";
            Err(Failure::new(format!("'{line}' is no order"), "it is not known", fix))
        }
        _ => {
            let mut conn = connect(processes).await?;
            conn.query_drop(format!("USE {DATABASE}")).await.map_err(lost)?;
            print(&mut conn, line).await
        }
    }
}

/// Runs a statement and shows what comes.
async fn print(conn: &mut Conn, statement: &str) -> Result<(), Failure> {
    let mut result = match conn.query_iter(statement).await {
        Ok(result) => result,
        Err(Error::Server(error)) => {
            output::line(format_args!("ERROR {} ({}): {}", error.code, error.state, error.message));
            return Ok(());
        }
        Err(error) => return Err(lost(error)),
    };
    let columns = result.columns().unwrap_or_default();
    if columns.is_empty() {
        output::line(format_args!("OK, {} rows affected", result.affected_rows()));
        return Ok(());
    }
    let rows: Vec<Row> = result.collect().await.map_err(lost)?;
    table::print(&columns, &rows);
    Ok(())
}

async fn status(processes: &mut Processes) -> Result<(), Failure> {
    for number in 1..=processes.all.len() {
        let runs = if processes.runs(number) { "runs" } else { "is down" };
        let process = &processes.all[number - 1];
        let kind = if process.is_leaf { "leaf" } else { "aggregator" };
        output::line(format_args!("  {number}  {kind:<10}  127.0.0.1:{}  {runs}", process.port));
    }
    let mut conn = connect(processes).await?;
    for statement in ["SHOW AGGREGATORS", "SHOW LEAVES"] {
        print(&mut conn, statement).await?;
    }
    Ok(())
}

/// Kills a node while somebody writes, and says what the writer saw.
async fn kill(processes: &mut Processes, number: usize) -> Result<(), Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(Duration::from_millis(300), processes).await?;
    processes.kill(number).await?;
    output::line(format_args!("  node {number} is killed"));
    writer.until_calm(processes).await?;
    writer.tell(processes).await
}

async fn restart(processes: &mut Processes, number: usize) -> Result<(), Failure> {
    let began = Instant::now();
    processes.run(number)?;
    let mut conn = connect(processes).await?;
    loop {
        let leaves: Vec<Row> = conn.query("SHOW LEAVES").await.map_err(lost)?;
        let states: Vec<String> = leaves.iter().filter_map(|row| row.get("State")).collect();
        if states.iter().all(|state| state == "online") || began.elapsed() > PATIENCE {
            let took = began.elapsed().as_secs_f64();
            output::line(format_args!("  leaves: {} after {took:.2} s", states.join(", ")));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a row after the other, and knows which were acknowledged.
struct Writer {
    conn: Option<Conn>,
    next: i64,
    acknowledged: i64,
    last: Instant,
    longest: Duration,
    errors: u64,
}

impl Writer {
    async fn begin(processes: &mut Processes) -> Result<Self, Failure> {
        let mut conn = connect(processes).await?;
        conn.query_drop(format!("DELETE FROM {DATABASE}.probe")).await.map_err(lost)?;
        let (conn, last, longest) = (Some(conn), Instant::now(), Duration::ZERO);
        Ok(Self { conn, next: 0, acknowledged: 0, last, longest, errors: 0 })
    }

    async fn write(&mut self, processes: &mut Processes) -> Result<(), Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(processes).await?,
        };
        let insert = format!("INSERT INTO {DATABASE}.probe VALUES ({})", self.next);
        match conn.query_drop(insert).await {
            // What had an unknown outcome is there.
            Ok(()) => self.acknowledge(conn),
            Err(Error::Server(error)) if error.code == 1062 => self.acknowledge(conn),
            Err(Error::Server(_)) => {
                self.errors += 1;
                self.conn = Some(conn);
            }
            // Its aggregator is gone: another one goes on.
            Err(_) => self.errors += 1,
        }
        Ok(())
    }

    fn acknowledge(&mut self, conn: Conn) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        self.acknowledged += 1;
        self.next += 1;
        self.conn = Some(conn);
    }

    async fn write_for(
        &mut self,
        time: Duration,
        processes: &mut Processes,
    ) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.write(processes).await?;
        }
        (self.longest, self.last) = (Duration::ZERO, Instant::now());
        Ok(())
    }

    async fn until_calm(&mut self, processes: &mut Processes) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        let mut calm_since = Instant::now();
        while calm_since.elapsed() < CALM && Instant::now() < end {
            let before = self.longest;
            self.write(processes).await?;
            if self.longest > before && self.longest > Duration::from_millis(50) {
                calm_since = Instant::now();
            }
        }
        Ok(())
    }

    async fn tell(mut self, processes: &mut Processes) -> Result<(), Failure> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => connect(processes).await?,
        };
        let found: Option<i64> = conn
            .query_first(format!("SELECT COUNT(*) FROM {DATABASE}.probe"))
            .await
            .map_err(lost)?;
        let missing = self.acknowledged - found.unwrap_or(0);
        output::line(format_args!(
            "  writes paused for {:.2} s at most; {} acknowledged, {} lost (counted), {} errors",
            self.longest.as_secs_f64(),
            self.acknowledged,
            missing.max(0),
            self.errors
        ));
        Ok(())
    }
}

//! What can be done to a demo cluster: nodes are killed, stopped, started and added, masters move, and meanwhile somebody
//! writes. What was acknowledged is counted afterwards.

use std::time::{Duration, Instant};

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::output;

use super::cluster::{PATIENCE, connect, join, lost};
use super::processes::Processes;
use super::writer::Writer;
use super::{DATABASE, shell};

/// Orders, as the prompt lists them.
pub(super) const HELP: &str = "\\status   \\kill N   \\stop N   \\restart N   \\cut N   \\heal   \\add leaf   \\rebalance   \\drill   \\quit   or a statement";

/// Before something is done, somebody writes for so long.
const BEFORE: Duration = Duration::from_millis(300);

/// Carries out orders that are separated by `;`, one after the other.
///
/// # Errors
/// The first that cannot be carried out, a statement that is refused included, or that lost what was acknowledged.
pub(super) async fn run(processes: &mut Processes, orders: &str) -> Result<Exit, Failure> {
    for order in orders.split(';').map(str::trim).filter(|order| !order.is_empty()) {
        output::line(format_args!("demo> {order}"));
        if !order.starts_with('\\') {
            if !statement(processes, order).await? {
                let why = "the cluster refused it";
                return Err(Failure::new(format!("'{order}' failed"), why, "see what it said"));
            }
            continue;
        }
        let missing = carry_out(processes, order).await?;
        if missing > 0 {
            let why = format!("{missing} rows that were acknowledged are not there");
            return Err(Failure::new(
                format!("'{order}' lost data"),
                why,
                "see the logs of the nodes",
            ));
        }
    }
    Ok(Exit::Done)
}

/// Carries out one line. How many acknowledged rows are not there afterwards.
///
/// # Errors
/// If it cannot be done.
pub(super) async fn carry_out(processes: &mut Processes, line: &str) -> Result<i64, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = words.get(1).and_then(|word| word.parse().ok());
    match (&words[..], number) {
        ([], _) => Ok(0),
        (["\\status"], _) => status(processes).await.map(|()| 0),
        (["\\kill", _], Some(number)) => kill(processes, number).await,
        (["\\stop", _], Some(number)) => stop(processes, number).await,
        (["\\restart", _], Some(number)) => restart(processes, number).await,
        (["\\cut", _], Some(number)) => cut(processes, number).await,
        (["\\heal"], _) => heal(processes).await,
        (["\\add", "leaf"], _) => add_leaf(processes).await,
        (["\\rebalance"], _) => rebalance(processes).await,
        (["\\drill"], _) => drill(processes).await,
        ([word, ..], _) if word.starts_with('\\') => {
            Err(Failure::new(format!("'{line}' is no order"), "it is not known", HELP))
        }
        // What it was told, the reader of the prompt has seen.
        _ => statement(processes, line).await.map(|_| 0),
    }
}

/// Runs a statement on the sample database and shows what comes. Whether it was carried out.
async fn statement(processes: &mut Processes, text: &str) -> Result<bool, Failure> {
    let mut conn = connect(processes).await?;
    conn.query_drop(format!("USE {DATABASE}")).await.map_err(lost)?;
    shell::show(&mut conn, text).await
}

async fn status(processes: &mut Processes) -> Result<(), Failure> {
    for number in 1..=processes.all.len() {
        let runs = match (processes.runs(number), processes.is_cut(number)) {
            (true, true) => "runs, and is cut off",
            (true, false) => "runs",
            (false, _) => "is down",
        };
        let process = &processes.all[number - 1];
        let kind = if process.is_leaf { "leaf" } else { "aggregator" };
        output::line(format_args!("  {number}  {kind:<10}  127.0.0.1:{}  {runs}", process.port));
    }
    let mut conn = connect(processes).await?;
    for statement in ["SHOW AGGREGATORS", "SHOW LEAVES"] {
        shell::show(&mut conn, statement).await?;
    }
    Ok(())
}

/// Kills a node while somebody writes, and says what the writer saw.
async fn kill(processes: &mut Processes, number: usize) -> Result<i64, Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(BEFORE, processes).await?;
    processes.kill(number).await?;
    output::line(format_args!("  node {number} is killed"));
    writer.until_calm(processes).await?;
    writer.tell(processes).await
}

/// Stops a node in order: it hands its masters over first.
async fn stop(processes: &mut Processes, number: usize) -> Result<i64, Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(BEFORE, processes).await?;
    let mut ending = processes.stop(number)?;
    let began = Instant::now();
    while !processes.has_ended(number, &mut ending)? {
        if began.elapsed() > PATIENCE {
            let why = format!("it still runs after {} s", PATIENCE.as_secs());
            let fix = format!("\\kill does not wait; see {}", processes.log(number).display());
            return Err(Failure::new(format!("node {number} does not stop"), why, fix));
        }
        writer.write(processes).await?;
    }
    output::line(format_args!(
        "  node {number} has stopped after {:.2} s",
        began.elapsed().as_secs_f64()
    ));
    writer.until_calm(processes).await?;
    writer.tell(processes).await
}

/// Cuts a node off from all others while somebody writes. Its clients still reach it: it is the cluster that does not.
async fn cut(processes: &mut Processes, number: usize) -> Result<i64, Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(BEFORE, processes).await?;
    processes.cut(number)?;
    writer.look_for_another_door();
    output::line(format_args!("  node {number} is cut off from the others"));
    writer.until_calm(processes).await?;
    writer.tell(processes).await
}

/// All reach each other again, and those that were cut off follow what was decided without them.
async fn heal(processes: &mut Processes) -> Result<i64, Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(BEFORE, processes).await?;
    let healed: Vec<String> = processes.heal().iter().map(usize::to_string).collect();
    let healed = if healed.is_empty() { "no node".to_owned() } else { healed.join(", ") };
    output::line(format_args!("  {healed} was cut off, and is not any more"));
    writer.until_calm(processes).await?;
    let missing = writer.tell(processes).await?;
    are_online(processes).await.map(|()| missing)
}

async fn restart(processes: &mut Processes, number: usize) -> Result<i64, Failure> {
    processes.run(number)?;
    are_online(processes).await.map(|()| 0)
}

/// Waits for all leaves.
async fn are_online(processes: &mut Processes) -> Result<(), Failure> {
    let began = Instant::now();
    let mut conn = connect(processes).await?;
    loop {
        let leaves: Vec<Row> = conn.query("SHOW LEAVES").await.map_err(lost)?;
        let states: Vec<String> = leaves.iter().filter_map(|row| row.get("State")).collect();
        let all = states.iter().all(|state| state == "online");
        let took = began.elapsed();
        if all {
            let (states, seconds) = (states.join(", "), took.as_secs_f64());
            output::line(format_args!("  leaves: {states} after {seconds:.2} s"));
            return Ok(());
        }
        if took > PATIENCE {
            let why = format!("they are {} after {} s", states.join(", "), PATIENCE.as_secs());
            let fix = "\\restart those that are down; see their logs";
            return Err(Failure::new("not all leaves are online", why, fix));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another node, with nothing on it: `\rebalance` gives it its share.
async fn add_leaf(processes: &mut Processes) -> Result<i64, Failure> {
    let number = processes.add_leaf()?;
    let mut conn = connect(processes).await?;
    join(&mut conn, processes).await?;
    let port = processes.all[number - 1].port;
    output::line(format_args!("  node {number} is a leaf at 127.0.0.1:{port}, with nothing on it"));
    Ok(0)
}

/// REBALANCE PARTITIONS while somebody writes.
async fn rebalance(processes: &mut Processes) -> Result<i64, Failure> {
    let mut writer = Writer::begin(processes).await?;
    writer.write_for(BEFORE, processes).await?;
    let mut conn = connect(processes).await?;
    let began = Instant::now();
    let statement = tokio::spawn(async move {
        let done = conn.query_drop(format!("REBALANCE PARTITIONS ON {DATABASE}")).await;
        done.map(|()| conn)
    });
    while !statement.is_finished() {
        writer.write(processes).await?;
    }
    let done =
        statement.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let mut conn = done.map_err(lost)?;
    let steps: Vec<Row> =
        conn.query(format!("SHOW REBALANCE STATUS ON {DATABASE}")).await.map_err(lost)?;
    let took = began.elapsed().as_secs_f64();
    output::line(format_args!("  {} steps in {took:.2} s", steps.len()));
    writer.until_calm(processes).await?;
    writer.tell(processes).await
}

/// A leaf dies and comes back, is cut off and comes back, another one comes in, and everything is spread anew: nothing may be lost.
async fn drill(processes: &mut Processes) -> Result<i64, Failure> {
    let running = (1..=processes.all.len()).filter(|number| processes.all[number - 1].is_leaf);
    let running: Vec<usize> = running.collect();
    let Some(leaf) = running.into_iter().find(|number| processes.runs(*number)) else {
        return Err(Failure::new(
            "there is nothing to kill",
            "no leaf runs",
            "\\restart one first",
        ));
    };
    let began = Instant::now();
    let mut missing = kill(processes, leaf).await?;
    missing += restart(processes, leaf).await?;
    missing += cut(processes, leaf).await?;
    missing += heal(processes).await?;
    missing += add_leaf(processes).await?;
    missing += rebalance(processes).await?;
    let took = began.elapsed().as_secs_f64();
    output::line(format_args!("  drill: {missing} acknowledged rows lost, {took:.1} s"));
    Ok(missing)
}

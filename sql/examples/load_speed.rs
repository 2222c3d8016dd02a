//! Speed of LOAD DATA LOCAL: `load_speed [rows] [rounds]`. Server and client are this process; rows are as `benches/peers/sql.py`
//! loads them. Prints rows a second, and the processor time of both for a row, which other work on the machine hardly changes.
#![expect(clippy::print_stdout, reason = "a measurement for people")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use resprout_engine::{Engine, Options as EngineOptions};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::session::SingleNode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// That of a node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 8;
/// As a client sends it.
const PIECE: usize = 64 << 10;
/// Clock ticks a second in `/proc/self/stat`.
const TICKS: f64 = 100.0;

fn main() {
    let mut args = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let (rows, rounds) = (args.next().unwrap_or(500_000), args.next().unwrap_or(5));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(rows, rounds));
}

async fn run(rows: u64, rounds: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options =
        EngineOptions { maximum_memory: (1 << 30) + rows * 400, ..EngineOptions::default() };
    let engine = Engine::open(dir.path(), options).expect("the directory opens");
    let connections = Connections::new();
    let node = SingleNode::new(engine.clone(), connections.clone(), &AccountOptions::default());
    let node = node.expect("a new node").with_options(&Options::default());
    node.recovered().expect("nothing to recover");
    let server = Server::new(node, Options::default(), None, connections).expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _told = stopped.await;
    };
    let serving = tokio::spawn(async move { server.serve(listener, stopped).await });
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    let opts = opts.prefer_socket(false).user(Some("root"));
    let mut conn = Conn::new(opts).await.expect("connected");
    for statement in [
        &format!("CREATE DATABASE d PARTITIONS {PARTITIONS}"),
        "USE d",
        "CREATE TABLE t (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(30), pad CHAR(60))",
    ] {
        conn.query_drop(statement).await.expect(statement);
    }
    let file = file(rows);
    let mut times: Vec<(Duration, f64)> = Vec::new();
    for _ in 0..rounds {
        conn.query_drop("TRUNCATE TABLE t").await.expect("emptied");
        let sent = file.clone();
        let pieces = (0..sent.len().div_ceil(PIECE)).map(move |number| {
            Ok(sent.slice(number * PIECE..sent.len().min((number + 1) * PIECE)))
        });
        conn.set_infile_handler(async move { Ok(futures_util::stream::iter(pieces).boxed()) });
        let (began, used) = (Instant::now(), processor_time());
        conn.query_drop("LOAD DATA LOCAL INFILE 'f' INTO TABLE t").await.expect("loaded");
        times.push((began.elapsed(), processor_time() - used));
        assert_eq!(conn.affected_rows(), rows, "all rows");
    }
    times.sort_by(|one, other| one.1.total_cmp(&other.1));
    let (elapsed, used) = times[times.len() / 2];
    println!(
        "{rows} rows: {:.0} rows/s, processor time {:.2} µs a row; all {times:?}",
        rows as f64 / elapsed.as_secs_f64(),
        used * 1e6 / rows as f64,
    );
    drop(conn);
    drop(stop);
    serving.await.expect("no panic");
    engine.close().expect("a clean end");
}

fn file(rows: u64) -> Bytes {
    let mut file = String::with_capacity(rows as usize * 90);
    for id in 1..=rows {
        let number = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
        writeln!(file, "{id}\t{number}\t{number:024x}\t{:044x}", number ^ id).expect("a String");
    }
    file.into()
}

/// Seconds that this process has kept processors busy.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / TICKS
}

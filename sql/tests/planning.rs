//! Planning that takes long, by a query library that does nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod running;
mod runtime;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use resprout_sql::SqlError;
use resprout_sql::planned::{Batches, Catalogue, Moment, Planned, Queries};
use resprout_sql::protocol::column::{Column, Columns, WireType};
use resprout_sql::server::Interrupt;
use running::*;
use runtime::run;
use sqlparser::ast::Query;

/// Plans without end until it is let go; then each query has one column and no rows.
#[derive(Debug, Default)]
struct Slow {
    /// How many plan now, and whether they may end.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Slow {
    fn let_go(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn now(&self) -> usize {
        self.state.lock().unwrap().0
    }

    /// Waits until so many plan.
    async fn planning(self: &Arc<Self>, number: usize) {
        let own = Arc::clone(self);
        let wait = move || {
            let state = own.state.lock().unwrap();
            drop(own.changed.wait_while(state, |state| state.0 != number).unwrap());
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }
}

/// Lets threads go when a test ends, however it does: the runtime waits for them.
struct LetGo(Arc<Slow>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl Queries for Slow {
    fn plan(
        &self,
        _query: &Query,
        _catalogue: &Catalogue,
        _moment: &Arc<Moment>,
    ) -> Result<Box<dyn Planned>, SqlError> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| !state.1).unwrap();
        state.0 -= 1;
        self.changed.notify_all();
        Ok(Box::new(Empty(Columns::new(vec![Column::new("x", WireType::LongLong)]))))
    }
}

struct Empty(Columns);

impl Planned for Empty {
    fn columns(&self) -> &Columns {
        &self.0
    }

    fn explain(&self) -> Vec<String> {
        vec!["nothing".to_owned()]
    }

    fn run(self: Box<Self>, _interrupt: Arc<Interrupt>) -> Batches {
        tokio::sync::mpsc::channel(1).1
    }
}

/// Of a query library.
const QUERY: &str = "SELECT 1 UNION SELECT 2";

/// Promise (K12): a query is ended by KILL and by its time limit while it is planned, run, explained or
/// prepared; the session goes on at once, and so do all others meanwhile.
#[test]
fn k12_planning_is_ended() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let slow = Arc::new(Slow::default());
        let _end = LetGo(slow.clone());
        let server = Running::start_planned_by(dir.path(), slow.clone()).await;
        let (mut conn, mut other) = (server.connect().await, server.connect().await);
        let number = conn.id();
        for (at, text) in [QUERY, &format!("EXPLAIN {QUERY}")].into_iter().enumerate() {
            let killed = async {
                slow.planning(at + 1).await;
                other.query_drop(format!("KILL QUERY {number}")).await.unwrap();
            };
            let (failed, ()) = tokio::join!(fails(&mut conn, text), killed);
            assert_eq!(failed, 1317, "{text}");
            assert_eq!(rows(&mut conn, "SELECT 7").await, ["7"]);
        }
        let killed = async {
            slow.planning(3).await;
            other.query_drop(format!("KILL QUERY {number}")).await.unwrap();
        };
        let (failed, ()) = tokio::join!(conn.prep(QUERY), killed);
        assert_eq!(code(&failed.unwrap_err()), 1317);
        conn.query_drop("SET max_execution_time = 1000").await.unwrap();
        assert_eq!(fails(&mut conn, QUERY).await, 3024);
        // The limit is of one statement.
        assert_eq!(rows(&mut conn, "SELECT 7").await, ["7"]);
        slow.planning(4).await;
        slow.let_go();
        assert!(rows(&mut conn, QUERY).await.is_empty());
        slow.planning(0).await;
        drop((conn, other));
        server.end().await;
    });
}

/// Promise (K12): only so many queries are planned at once, also if they were ended; others wait, can
/// be ended, and statements that need no library are run.
#[test]
fn k12_planners_are_bounded() {
    run(async {
        const PLANNERS: usize = 16;
        let dir = tempfile::tempdir().unwrap();
        let slow = Arc::new(Slow::default());
        let _end = LetGo(slow.clone());
        let server = Running::start_planned_by(dir.path(), slow.clone()).await;
        let mut conn = server.connect().await;
        conn.query_drop("SET max_execution_time = 50").await.unwrap();
        // On a busy machine the time may be over before the planning begins.
        while slow.now() < PLANNERS {
            assert_eq!(fails(&mut conn, QUERY).await, 3024);
        }
        for _ in 0..4 {
            assert_eq!(fails(&mut conn, QUERY).await, 3024);
        }
        assert_eq!(slow.now(), PLANNERS);
        assert_eq!(rows(&mut conn, "SELECT 7").await, ["7"]);
        conn.query_drop("SET max_execution_time = 0").await.unwrap();
        slow.let_go();
        assert!(rows(&mut conn, QUERY).await.is_empty());
        slow.planning(0).await;
        drop(conn);
        server.end().await;
    });
}

/// Promise: a SELECT that reads for longer than it may is ended (3024), the one after it is not; what
/// changes rows has no such limit.
#[test]
fn queries_have_a_time_limit() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)").await.unwrap();
        let values = vec!["(1)"; 5000].join(",");
        conn.query_drop(format!("INSERT INTO t (v) VALUES {values}")).await.unwrap();
        // Milliseconds for each row.
        let long = "SELECT id FROM t WHERE MD5(REPEAT('x', 1000000 + v)) = 'no'";
        conn.query_drop("SET SESSION max_execution_time = 300").await.unwrap();
        let began = Instant::now();
        assert_eq!(fails(&mut conn, long).await, 3024);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(rows(&mut conn, "SELECT COUNT(*) FROM t").await, ["5000"]);
        conn.query_drop("SET SESSION max_execution_time = 1").await.unwrap();
        conn.query_drop("UPDATE t SET v = v + 1").await.unwrap();
        assert_eq!(conn.affected_rows(), 5000);
        drop(conn);
        server.end().await;
    });
}

/// Guards (K12): a condition as large as a statement may be, on a table with many indexes, is planned in
/// bounded time.
#[test]
fn k12_large_conditions_are_planned() {
    run(async {
        let (_dir, server, mut conn) = fresh().await;
        let columns: Vec<_> = (0..60).map(|at| format!("c{at} INT, KEY (c{at})")).collect();
        let table = format!("CREATE TABLE t (id INT PRIMARY KEY, {})", columns.join(","));
        conn.query_drop(table).await.unwrap();
        let list: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
        let list = list.join(",");
        let tuples: Vec<_> = (0..20_000).map(|number| format!("({number},1)")).collect();
        let ands: Vec<_> = (0..240).map(|at| format!("c{} = {at}", at % 60)).collect();
        for condition in [
            format!("id IN ({list})"),
            format!("c1 IN ({list})"),
            format!("c1 + 1 IN ({list})"),
            format!("(c1, c2) IN ({})", tuples.join(",")),
            ands.join(" AND "),
            ands.join(" OR "),
        ] {
            let began = Instant::now();
            let found = rows(&mut conn, &format!("SELECT id FROM t WHERE {condition}")).await;
            assert!(found.is_empty());
            // A debug build on a busy machine; what multiplies would take minutes.
            assert!(began.elapsed().as_secs() < 20, "{:?} {condition:.50}", began.elapsed());
        }
        drop(conn);
        server.end().await;
    });
}

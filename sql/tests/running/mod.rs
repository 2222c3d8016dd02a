//! A server on an engine in a temporary directory, and what tests ask of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use resprout_engine::{Engine, Options as EngineOptions};
use resprout_sql::accounts::{AccountOptions, AccountsError};
use resprout_sql::planned::Queries;
use resprout_sql::server::{Connections, Options, Server, Tls};
use resprout_sql::session::SingleNode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_with(dir, &AccountOptions::default(), None).await.unwrap()
    }

    pub(crate) async fn start_with(
        dir: &Path,
        accounts: &AccountOptions,
        tls: Option<Tls>,
    ) -> Result<Self, AccountsError> {
        Self::begin(dir, accounts, (Options::default(), tls), None).await
    }

    /// With somebody who plans queries.
    pub(crate) async fn start_planned_by(dir: &Path, queries: Arc<dyn Queries>) -> Self {
        let options = (Options::default(), None);
        Self::begin(dir, &AccountOptions::default(), options, Some(queries)).await.unwrap()
    }

    /// With these settings of the server.
    pub(crate) async fn start_secured(dir: &Path, options: Options, tls: Option<Tls>) -> Self {
        Self::begin(dir, &AccountOptions::default(), (options, tls), None).await.unwrap()
    }

    async fn begin(
        dir: &Path,
        accounts: &AccountOptions,
        (settings, tls): (Options, Option<Tls>),
        queries: Option<Arc<dyn Queries>>,
    ) -> Result<Self, AccountsError> {
        let options = EngineOptions {
            maximum_memory: 256 << 20,
            lock_wait_limit: Duration::from_millis(500),
            ..EngineOptions::default()
        };
        let engine = Engine::open(dir, options).unwrap();
        let connections = Connections::new();
        let mut node = SingleNode::new(engine.clone(), connections.clone(), accounts)?;
        node = node.with_options(&settings);
        if let Some(queries) = queries {
            node = node.with_queries(queries);
        }
        node.recovered().unwrap();
        let server = Server::new(node, settings, tls, connections).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            server
                .serve(listener, async {
                    let _told = stopped.await;
                })
                .await;
        });
        Ok(Self { engine, address, stop, task })
    }

    pub(crate) async fn try_connect(&self, found_rows: bool) -> Result<Conn, Error> {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.address.port())
            .prefer_socket(false)
            .client_found_rows(found_rows)
            .user(Some("root"));
        Conn::new(opts).await
    }

    pub(crate) async fn connect_with(&self, found_rows: bool) -> Conn {
        self.try_connect(found_rows).await.unwrap()
    }

    pub(crate) async fn connect(&self) -> Conn {
        self.connect_with(false).await
    }

    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
        self.engine.close().unwrap();
    }
}

pub(crate) async fn fresh() -> (tempfile::TempDir, Running, Conn) {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path()).await;
    let mut conn = server.connect().await;
    conn.query_drop("CREATE DATABASE d PARTITIONS 4").await.unwrap();
    conn.query_drop("USE d").await.unwrap();
    (dir, server, conn)
}

pub(crate) fn code(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("not from the server: {other}"),
    }
}

pub(crate) async fn fails(conn: &mut Conn, text: &str) -> u16 {
    code(&conn.query_drop(text).await.expect_err(text))
}

pub(crate) async fn rows(conn: &mut Conn, text: &str) -> Vec<String> {
    let rows: Vec<Row> = conn.query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let show = |value: Value| match value {
        Value::NULL => "NULL".to_owned(),
        value => value.as_sql(true).trim_matches('\'').to_owned(),
    };
    rows.into_iter()
        .map(|row| row.unwrap().into_iter().map(show).collect::<Vec<_>>().join(","))
        .collect()
}

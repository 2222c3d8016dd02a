//! A server with queries, for the tests of this package.

#![allow(dead_code, reason = "each test uses a part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mysql_async::{Conn, Error, OptsBuilder};
use resprout_engine::{Engine, Options as EngineOptions};
use resprout_query::{Limits, QueryEngine};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::session::SingleNode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that runs until it is ended.
pub(crate) struct Running {
    engine: Engine,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// With so much memory for queries, if there are to be queries.
    pub(crate) async fn start(dir: &Path, memory: Option<usize>) -> Self {
        let options = EngineOptions { maximum_memory: 512 << 20, ..EngineOptions::default() };
        let engine = Engine::open(dir, options).expect("a good directory");
        let connections = Connections::new();
        let mut node =
            SingleNode::new(engine.clone(), connections.clone(), &AccountOptions::default())
                .expect("accounts");
        node.recovered().expect("nothing in doubt");
        if let Some(memory) = memory {
            let queries = QueryEngine::new(Limits { memory, threads: 2 }).expect("threads");
            node = node.with_queries(Arc::new(queries));
        }
        Self::serve(engine, node, connections).await
    }

    /// An aggregator of a cluster in this process, with so much memory for queries.
    pub(crate) async fn over(
        dir: &Path,
        (directory, access): (Arc<resprout_node::Directory>, resprout_access::Client),
        memory: usize,
    ) -> Self {
        let options = EngineOptions { maximum_memory: 64 << 20, ..EngineOptions::default() };
        let engine = Engine::open(dir, options).expect("a good directory");
        let connections = Connections::new();
        let node = SingleNode::new(engine.clone(), connections.clone(), &AccountOptions::default())
            .expect("accounts");
        let queries = QueryEngine::new(Limits { memory, threads: 2 }).expect("threads");
        let node = node.in_cluster(directory, access).with_queries(Arc::new(queries));
        Self::serve(engine, node, connections).await
    }

    async fn serve(engine: Engine, node: SingleNode, connections: Arc<Connections>) -> Self {
        let server =
            Server::new(node, Options::default(), None, connections).expect("sound options");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            server
                .serve(listener, async {
                    let _told = stopped.await;
                })
                .await;
        });
        Self { engine, address, stop, task }
    }

    pub(crate) async fn connect(&self) -> Conn {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.address.port())
            .prefer_socket(false)
            .user(Some("root"));
        Conn::new(opts).await.expect("a connection")
    }

    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.expect("a server that ends");
        self.engine.close().expect("an engine that ends");
    }
}

/// The number of a server's error.
pub(crate) fn code(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("not from the server: {other}"),
    }
}

/// Runs a test on threads enough for a server and its clients.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads").block_on(test);
}

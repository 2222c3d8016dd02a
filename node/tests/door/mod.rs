//! Ports for clients of the aggregators of a cluster in this process.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;

use mysql_async::{Conn, OptsBuilder};
use resprout_access::Client;
use resprout_engine::Engine;
use resprout_node::Directory;
use resprout_node::testing::Cluster;
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::session::SingleNode;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// An aggregator's port for clients, on the node that is asked first.
pub(crate) struct Door {
    address: SocketAddr,
    _dir: TempDir,
}

impl Door {
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        Self::on(cluster.statements().unwrap()).await
    }

    pub(crate) async fn on((directory, access): (Arc<Directory>, Client)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = resprout_engine::Options {
            maximum_memory: 64 << 20,
            ..resprout_engine::Options::default()
        };
        let engine = Engine::open(dir.path(), options).unwrap();
        let connections = Connections::new();
        let node =
            SingleNode::new(engine, connections.clone(), &AccountOptions::default()).unwrap();
        let node = node.in_cluster(directory, access);
        let server = Server::new(node, Options::default(), None, connections).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener, std::future::pending::<()>()).await });
        Self { address, _dir: dir }
    }

    pub(crate) async fn client(&self) -> Conn {
        self.client_as("root", "").await.unwrap()
    }

    pub(crate) async fn client_as(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Conn, mysql_async::Error> {
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").prefer_socket(false);
        let options = options.tcp_port(self.address.port()).user(Some(user)).pass(Some(password));
        Conn::new(options).await
    }
}

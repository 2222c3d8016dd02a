//! A server of a data directory: `cargo run --release -p resprout-sql --example serve -- --data DIR`.
//! Root comes in without a password, from this machine. Prints the port that it listens on; ends
//! in order on SIGINT or SIGTERM.

#![expect(clippy::print_stdout, reason = "the port is what a script reads")]

use std::path::PathBuf;

use clap::Parser;
use resprout_engine::Engine;
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server};
use resprout_sql::session::SingleNode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What it is told.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port; 0 for any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The data directory.
    #[arg(long)]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let options = resprout_engine::Options::default();
    let data = arguments.data;
    let engine = tokio::task::spawn_blocking(move || Engine::open(data, options)).await??;
    let connections = Connections::new();
    let node = SingleNode::new(engine.clone(), connections.clone(), &AccountOptions::default())?;
    let recovered = node.clone();
    tokio::task::spawn_blocking(move || recovered.recovered()).await??;
    let server = Server::new(node, Options::default(), None, connections)?;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    println!("{}", listener.local_addr()?.port());
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    server.serve(listener, stop).await;
    tokio::task::spawn_blocking(move || engine.close()).await??;
    Ok(())
}

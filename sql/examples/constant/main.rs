//! The constant server as a program: `cargo run --release -p resprout-sql --example constant`.
//! Prints the port that it listens on; ends in order on SIGINT or SIGTERM.

#![expect(clippy::print_stdout, reason = "the port is what a script reads")]

mod service;

use clap::Parser;
use resprout_sql::server::{Connections, Options, Server, Tls};
use service::Constant;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// What it is told.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port; 0 for any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Offers TLS with a certificate made for this run.
    #[arg(long)]
    tls: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let tls = if arguments.tls { Some(self_signed()?) } else { None };
    let connections = Connections::new();
    let service = Constant::new(connections.clone());
    let server = Server::new(service, Options::default(), tls, connections)?;
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
    Ok(())
}

fn self_signed() -> Result<Tls, Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der();
    Ok(Tls::new(vec![made.cert.der().clone()], key.try_into()?)?)
}

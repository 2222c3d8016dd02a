//! The port: takes clients in, each as a task, until the server is told to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::command_loop::serve;
use super::interrupt::Reason;
use super::login::{Shared, prepare_socket};
use super::options::{BadOption, Options};
use super::registry::Connections;
use super::service::Service;
use super::tls::Tls;
use super::wire::{Stream, Wire};
use crate::error::{Code, SqlError};
use crate::protocol::session::{Connection, Settings, rejection};

/// How long to wait when the system has no more descriptors or memory for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections have to end once they were told that they must.
const LAST_GRACE: Duration = Duration::from_secs(3);

/// A server of MySQL clients.
pub struct Server<S: Service> {
    shared: Arc<Shared<S>>,
    options: Arc<Options>,
    connections: Arc<Connections>,
}

impl<S: Service> std::fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Connections that did not end in time and were cut off.
    pub cut_off: usize,
}

impl<S: Service> Server<S> {
    /// With these settings. `connections` is shared with the service, for KILL and
    /// SHOW PROCESSLIST.
    ///
    /// # Errors
    /// If a setting is impossible.
    pub fn new(
        service: S,
        mut options: Options,
        tls: Option<Tls>,
        connections: Arc<Connections>,
    ) -> Result<Self, BadOption> {
        options.validate()?;
        if options.require_secure_transport && tls.is_none() {
            let why = "nobody could log in: give a certificate and its key";
            return Err(BadOption { option: "require_secure_transport", why });
        }
        options.protocol.tls = tls.is_some();
        let password_checks = Semaphore::new(options.password_checks);
        let shared = Arc::new(Shared { service, tls, password_checks });
        Ok(Self { shared, options: Arc::new(options), connections })
    }

    /// Takes clients in until `stop` is ready, then ends in order: nobody comes in any more, who
    /// is idle is sent away (1053), running statements have [`Options::shutdown_grace`] to finish,
    /// then they are interrupted.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) -> Ended {
        let protocol = Arc::new(self.options.protocol.clone());
        let mut tasks = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_ended) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => self.take_in(&mut tasks, &protocol, (socket, peer)),
                    Err(error) => pause(&error).await,
                },
            }
        }
        drop(listener);
        self.end(tasks).await
    }

    fn take_in(
        &self,
        tasks: &mut JoinSet<()>,
        protocol: &Arc<Settings>,
        (socket, peer): (TcpStream, SocketAddr),
    ) {
        prepare_socket(&socket);
        let limits = self.shared.service.limits();
        // Beyond the place for an administrator nobody can get in, so nothing is asked.
        let most = limits.connections.unwrap_or(self.options.max_connections);
        if self.connections.sessions() > most {
            tasks.spawn(turn_away(socket));
            return;
        }
        let host = peer.ip().to_canonical().to_string();
        let present = self.connections.enter(host.clone(), self.options.max_logins);
        let number = present.entry.number;
        let (mut options, mut protocol) = (self.options.clone(), protocol.clone());
        if let Some(bytes) = limits.packet_bytes {
            Arc::make_mut(&mut options).protocol.max_allowed_packet = bytes;
            Arc::make_mut(&mut protocol).max_allowed_packet = bytes;
        }
        let connection = match Connection::new(protocol, number, host) {
            Ok(connection) => connection,
            Err(error) => return tracing::error!(%error, "a client is not let in"),
        };
        let wire = Wire {
            stream: Stream::Plain(socket),
            connection,
            entry: present.entry.clone(),
            usual: options.clone(),
            options,
            peer,
            file_open: false,
            broken: None,
        };
        tasks.spawn(serve(self.shared.clone(), wire, present));
    }

    async fn end(&self, mut tasks: JoinSet<()>) -> Ended {
        self.connections.ask_all_to_leave();
        let finished = timeout(self.options.shutdown_grace, self.connections.emptied()).await;
        if finished.is_err() {
            self.connections.fire_all(Reason::Shutdown);
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        let _those_left_are_counted = timeout(LAST_GRACE, all).await;
        let cut_off = tasks.len();
        tasks.shutdown().await;
        Ended { cut_off }
    }
}

/// Says that there are too many connections, at once and before anything else.
async fn turn_away(mut socket: TcpStream) {
    let packet = rejection(&SqlError::plain(Code::TOO_MANY_CONNECTIONS));
    let write = async {
        socket.write_all(&packet).await?;
        socket.shutdown().await
    };
    let _the_client_may_be_gone = timeout(Duration::from_secs(1), write).await;
}

/// A failed accept: without descriptors the next one fails too, and the loop must not spin.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot take a client in");
    sleep(ACCEPT_PAUSE).await;
}

//! MySQL clients on the node's engine.

use std::env::VarError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use resprout_engine::Engine;
use resprout_query::{Limits, QueryEngine};
use resprout_sql::accounts::AccountOptions;
use resprout_sql::server::{Connections, Options, Server, Tls};
use resprout_sql::session::SingleNode;
use resprout_sql::statement::Secret;
use resprout_tools::access::explain;
use resprout_tools::failure::{Exit, Failure};
use resprout_tools::node::config::{Settings, parse_path, parse_truth};
use resprout_tools::node::door::FrontDoor;
use resprout_tools::node::run::bad_setting;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::certificate;

/// Where clients are served unless something else is said. Only this machine can connect.
const DEFAULT_ADDRESS: &str = "127.0.0.1:3306";

/// The variable with root's password, for the first start.
const ROOT_PASSWORD: &str = "RESPROUT_ROOT_PASSWORD";

/// Ports that are tried, one after the other, if the first may be left.
const PORTS_TRIED: u16 = 100;

/// Clients over the MySQL protocol.
#[derive(Debug, Default)]
pub(crate) struct Door {
    address: Option<SocketAddr>,
    tls: Option<Tls>,
    /// Whether clients without TLS are refused.
    require_tls: bool,
    /// If the port is taken, the next that is free does.
    may_move: bool,
    listener: Mutex<Option<TcpListener>>,
    bound: OnceLock<SocketAddr>,
    node: OnceLock<SingleNode>,
    serving: Mutex<Option<Serving>>,
}

#[derive(Debug)]
struct Serving {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Door {
    /// A door that takes the next port if the one it is told is taken.
    pub(crate) fn that_may_move() -> Self {
        Self { may_move: true, ..Self::default() }
    }

    /// Where clients connect, once that is known.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        self.bound.get().copied()
    }

    async fn listen(&self, address: SocketAddr) -> std::io::Result<TcpListener> {
        let mut tried = address;
        loop {
            match TcpListener::bind(tried).await {
                Err(error)
                    if self.may_move
                        && error.kind() == std::io::ErrorKind::AddrInUse
                        && tried.port() - address.port() < PORTS_TRIED =>
                {
                    tried.set_port(tried.port().checked_add(1).ok_or(error)?);
                }
                done => return done,
            }
        }
    }
}

impl FrontDoor for Door {
    fn configure(&mut self, settings: &Settings) -> Result<(), Failure> {
        let address = |text: &str| match text {
            "off" => Ok(None),
            _ => text
                .parse()
                .map(Some)
                .map_err(|_| "write an address and a port, such as 127.0.0.1:3306, or off".into()),
        };
        let given = settings.read("sql", address).map_err(bad_setting)?;
        let default = || DEFAULT_ADDRESS.parse().ok();
        self.address = given.unwrap_or_else(default);
        let path = |name| settings.read(name, parse_path).map_err(bad_setting);
        self.tls = tls(path("tls.certificate")?, path("tls.key")?)?;
        let require = settings.read("tls.require", parse_truth).map_err(bad_setting)?;
        self.require_tls = require.unwrap_or(false);
        Ok(())
    }

    async fn bind(&self) -> Result<(), Failure> {
        let Some(address) = self.address else { return Ok(()) };
        let listener = self.listen(address).await.map_err(|error| {
            let what = format!("cannot serve SQL on {address}");
            Failure::new(what, error, "choose another address with --sql, or --sql off")
        })?;
        // With port 0 the system chose; whoever started the node reads it here.
        let bound = listener.local_addr().unwrap_or(address);
        tracing::info!(event = "sql.listening", "sql on {bound}");
        self.bound.get_or_init(|| bound);
        *locked(&self.listener) = Some(listener);
        Ok(())
    }

    fn open(&self, engine: &Engine) -> Result<(), Failure> {
        let connections = Connections::new();
        let accounts = AccountOptions { root_password: root_password()?, ..Default::default() };
        let node = SingleNode::new(engine.clone(), connections.clone(), &accounts);
        let node = node.map_err(|error| {
            let fix = "put a copy of the file back, or move it away";
            Failure::new("cannot read the accounts", error, fix)
        })?;
        let queries = QueryEngine::new(Limits::default())
            .map_err(|error| Failure::new("cannot start queries", error, "allow more threads"))?;
        let options = Options { require_secure_transport: self.require_tls, ..Options::default() };
        let node = node.with_queries(Arc::new(queries)).with_options(&options);
        self.node.get_or_init(|| node.clone());
        let Some(listener) = locked(&self.listener).take() else { return Ok(()) };
        let tls = self.tls.clone().map_or_else(|| certificate::own(engine.dir()), Ok)?;
        let server = Server::new(node, options, Some(tls), connections);
        let server = server.map_err(|error| {
            Failure::new("cannot serve SQL", error, "correct the setting that is named")
        })?;
        let (stop, mut stopped) = watch::channel(());
        let task = Handle::current().spawn(async move {
            // The sender says nothing: it is dropped.
            let stop = async move { drop(stopped.changed().await) };
            let ended = server.serve(listener, stop).await;
            if ended.cut_off > 0 {
                tracing::warn!(sessions = ended.cut_off, "sessions were cut off");
            }
        });
        *locked(&self.serving) = Some(Serving { stop, task });
        Ok(())
    }

    fn recovered(&self) -> Result<(), Failure> {
        let Some(node) = self.node.get() else { return Ok(()) };
        node.recovered().map_err(|error| explain("cannot end what a crash left half done", &error))
    }

    async fn close(&self) {
        let serving = locked(&self.serving).take();
        let Some(Serving { stop, task }) = serving else { return };
        drop(stop);
        if let Err(error) = task.await {
            tracing::error!(%error, "the task that serves SQL failed");
        }
    }
}

/// Root's password on a new node. In the environment and not among the settings, which are shown.
pub(crate) fn root_password() -> Result<Option<Secret>, Failure> {
    match std::env::var(ROOT_PASSWORD) {
        Ok(text) => Ok(Some(Secret::new(text)).filter(|secret| !secret.reveal().is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            let what = format!("cannot use {ROOT_PASSWORD}");
            Err(Failure::new(what, "it is not UTF-8", "use another password").exiting(Exit::Usage))
        }
    }
}

/// Certificate and key, or neither.
fn tls(certificate: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<Tls>, Failure> {
    let read = |certificate: &Path, key: &Path| {
        Tls::from_files(certificate, key).map_err(|error| {
            let fix = "correct tls.certificate and tls.key: files in PEM form that belong together";
            Failure::new("cannot use TLS", error, fix).exiting(Exit::Usage)
        })
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => read(&certificate, &key).map(Some),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let why = "only one of tls.certificate and tls.key is set";
            Err(Failure::new("cannot use TLS", why, "set both or none").exiting(Exit::Usage))
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The leaf's side: requests carried out on the partitions that are here.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resprout_engine::Partition;
use resprout_replication::transport::Secret;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::channel::{Channel, Located};
use crate::frame::{HEAD_BYTES, Head, decode_request};
use crate::greeting;
use crate::message::{Place, Question, Request};
use crate::offices::Offices;
use crate::out::Out;
use crate::pushed::Evaluator;

/// Which partitions are here.
pub trait Locate: Send + Sync + fmt::Debug + 'static {
    /// The copy of a partition, whatever it does: only one that is master and ONLINE is written to and read.
    fn partition(&self, place: Place) -> Option<Partition>;

    /// The newest office of a master aggregator that is known here: changes of tables by an earlier one are refused.
    fn office(&self) -> u64;

    /// Who can do with rows here what aggregators ask; nobody if they are only to be sent.
    fn evaluator(&self) -> Option<Arc<dyn Evaluator>> {
        None
    }
}

/// A greeting must be over by then.
const GREETING: Duration = Duration::from_secs(5);
/// Requests of one channel that wait; a client has few under way.
const WAITING_MAX: usize = 64;
/// Bytes that are read at once.
pub(crate) const READ_BYTES: usize = 32 << 10;

/// A leaf's port for aggregators. Dropping it ends all connections, and with them all transactions that have
/// not promised.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Server {
    /// Listens on the current runtime.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(address: &str, secret: Secret, locate: Arc<dyn Locate>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (mut tasks, offices) = (JoinSet::new(), Arc::new(Offices::default()));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                match listener.accept().await {
                    Ok((stream, from)) => {
                        let here = (locate.clone(), offices.clone());
                        connections.spawn(connection(stream, from, secret.clone(), here));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections of aggregators");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn connection(
    mut stream: TcpStream,
    from: SocketAddr,
    secret: Secret,
    here: (Arc<dyn Locate>, Arc<Offices>),
) {
    let greeted = tokio::time::timeout(GREETING, greeting::answer(&mut stream, &secret)).await;
    match greeted {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::warn!(%from, %error, "a connection was refused"),
        Err(_) => return tracing::warn!(%from, "a connection said nothing"),
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%from, %error, "answers may be delayed");
    }
    let (reader, writer) = stream.into_split();
    let out = Arc::new(Out::new(writer));
    let ended = tokio::select! {
        ended = read(reader, &out, here) => ended,
        ended = out.run() => ended,
    };
    out.end();
    tracing::debug!(%from, %ended, "an aggregator's connection ended");
}

/// A channel that is open: its requests, and what ends it whatever it waits for.
struct Open {
    requests: mpsc::Sender<Located>,
    closed: Arc<Notify>,
}

/// The channels of a connection.
type Channels = Arc<Mutex<HashMap<u64, Open>>>;

fn locked(open: &Mutex<HashMap<u64, Open>>) -> MutexGuard<'_, HashMap<u64, Open>> {
    // Each change is one insertion or removal.
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(
    reader: OwnedReadHalf,
    out: &Arc<Out>,
    (locate, offices): (Arc<dyn Locate>, Arc<Offices>),
) -> io::Error {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let open = Channels::default();
    // Channels end with the connection: what has not promised is rolled back.
    let mut working = JoinSet::new();
    loop {
        while working.try_join_next().is_some() {}
        let (channel, body) = match message(&mut reader).await {
            Ok(message) => message,
            Err(error) => return error,
        };
        if channel == PING {
            if out.say(&ping()).is_err() {
                return io::ErrorKind::BrokenPipe.into();
            }
            continue;
        }
        if body.is_empty() {
            if let Some(closing) = locked(&open).remove(&channel) {
                closing.closed.notify_one();
            }
            continue;
        }
        let request = match decode_request(&body) {
            Ok(request) => request,
            Err(error) => return io::Error::new(io::ErrorKind::InvalidData, error),
        };
        let located = match request {
            Request::Of(place, Question::Define(office, change)) => {
                let here = (locate.clone(), offices.clone());
                let (to, what) = ((channel, out.clone()), (office, change));
                working.spawn(crate::offices::defined(to, here, place, what));
                continue;
            }
            // Nobody says more in these.
            Request::Of(place, question) => {
                let (out, partition) = (out.clone(), locate.partition(place));
                working.spawn(crate::channel::asked(channel, out, partition, question));
                continue;
            }
            Request::Fetch(wanted, rows_max) => {
                let (out, locate) = (out.clone(), locate.clone());
                working.spawn(crate::fetch::fetched((channel, out), locate, wanted, rows_max));
                continue;
            }
            Request::Begin { place, .. } => Located { request, partition: locate.partition(place) },
            request => Located { request, partition: None },
        };
        let begin =
            || opened(Channel::new(channel, out.clone(), locate.evaluator()), &open, &mut working);
        let requests = locked(&open).entry(channel).or_insert_with(begin).requests.clone();
        // If the channel has ended, it has said why.
        let _ended = requests.send(located).await;
    }
}

/// A channel that begins, and takes itself out of those that are open when it has ended.
fn opened(serving: Channel, open: &Channels, working: &mut JoinSet<()>) -> Open {
    let (requests, received) = mpsc::channel(WAITING_MAX);
    let closed = Arc::new(Notify::new());
    let (channel, ends) = (serving.number(), closed.clone());
    let open = open.clone();
    working.spawn(async move {
        serving.run(received, &ends).await;
        locked(&open).remove(&channel);
    });
    Open { requests, closed }
}

/// The channel of signs of life.
pub(crate) const PING: u64 = u64::MAX;

/// A sign of life.
pub(crate) fn ping() -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    crate::frame::put(PING, &[], &mut out);
    out
}

/// The next message of a stream.
pub(crate) async fn message(
    reader: &mut (impl AsyncReadExt + Unpin),
) -> io::Result<(u64, Vec<u8>)> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut head = [0; HEAD_BYTES];
    reader.read_exact(&mut head).await?;
    let head = Head::decode(&head).map_err(invalid)?;
    // Grown as it comes: a length that lies reserves little.
    let mut body = Vec::with_capacity(head.length.min(1 << 20));
    let length = head.length as u64;
    reader.take(length).read_to_end(&mut body).await?;
    if body.len() < head.length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    head.check(&body).map_err(invalid)?;
    Ok((head.channel, body))
}

//! The aggregator's side: one connection for each leaf, made when it is needed, and lines over it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use resprout_engine::table::Catalog;
use resprout_replication::transport::Secret;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;

use crate::frame::{self, decode_reply, encode_request};
use crate::greeting;
use crate::message::{Place, Reply, Request};
use crate::partition::FarPartition;
use crate::server::{PING, message, ping};

/// A connection must be made by then.
const CONNECT: Duration = Duration::from_secs(2);
/// The same where the connection before ended in silence: by now another leaf may be master, and whoever waits here does
/// not hear of that.
const CONNECT_TO_SILENT: Duration = Duration::from_millis(500);
/// Between two signs of life that are asked for.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A leaf that says nothing for so long is lost.
const SILENCE: Duration = Duration::from_secs(3);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insertion or removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections to leaves. Cheap to clone. Calls that wait need a runtime with several threads.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

struct Inner {
    secret: Secret,
    runtime: Handle,
    leaves: Mutex<HashMap<String, Arc<Leaf>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leaves", locked(&self.leaves).len())
    }
}

impl Client {
    /// One that knows the cluster's secret, on the current runtime.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        let (runtime, leaves) = (Handle::current(), Mutex::default());
        Self(Arc::new(Inner { secret, runtime, leaves }))
    }

    /// A partition whose master is on the leaf that listens there (`host:port`). `name` is for people.
    #[must_use]
    pub fn partition(&self, address: &str, place: Place, name: &str) -> FarPartition {
        let mut leaves = locked(&self.0.leaves);
        let leaf = leaves.entry(address.to_owned()).or_insert_with(|| {
            Arc::new(Leaf {
                address: address.to_owned(),
                secret: self.0.secret.clone(),
                runtime: self.0.runtime.clone(),
                way: tokio::sync::Mutex::default(),
                catalogs: Mutex::default(),
            })
        });
        FarPartition::new(leaf.clone(), place, name)
    }
}

impl Client {
    fn leaf(&self, address: &str) -> Option<Arc<Connection>> {
        let leaf = locked(&self.0.leaves).get(address).cloned()?;
        let way = leaf.way.try_lock().ok()?;
        way.made.as_ref().filter(|made| locked(&made.lines).is_some()).cloned()
    }

    /// Connections to a leaf that are open now.
    #[must_use]
    pub fn connections(&self, address: &str) -> u64 {
        u64::from(self.leaf(address).is_some())
    }

    /// How long the leaf took for its last sign of life.
    #[must_use]
    pub fn latency(&self, address: &str) -> Option<Duration> {
        *locked(&self.leaf(address)?.latency)
    }
}

/// The connection with a leaf, and how trying to make one went.
#[derive(Debug, Default)]
struct Way {
    /// The newest; it may have ended.
    made: Option<Arc<Connection>>,
    /// When an attempt failed last.
    failed: Option<Instant>,
}

/// One leaf, as it is reached.
pub(crate) struct Leaf {
    pub(crate) address: String,
    secret: Secret,
    runtime: Handle,
    way: tokio::sync::Mutex<Way>,
    /// The tables of partitions, as they were asked for last.
    pub(crate) catalogs: Mutex<HashMap<Place, Catalog>>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({})", self.address)
    }
}

impl Leaf {
    /// A line to it, over the connection that there is, or a new one. Who waits while an attempt to make one fails gets
    /// its error: with an attempt each, one after the other, the last of many would wait for all of them.
    pub(crate) async fn line(&self) -> io::Result<Line> {
        let asked = Instant::now();
        let mut way = self.way.lock().await;
        if let Some(line) = way.made.as_ref().and_then(Connection::line) {
            return Ok(line);
        }
        if way.failed.is_some_and(|failed| failed >= asked) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let was_silent = way.made.as_ref().is_some_and(|made| made.silent.load(Ordering::Acquire));
        let made = match self.connect(if was_silent { CONNECT_TO_SILENT } else { CONNECT }).await {
            Ok(made) => made,
            Err(error) => {
                way.failed = Some(Instant::now());
                return Err(error);
            }
        };
        let line = made.line().ok_or(io::ErrorKind::ConnectionReset)?;
        way.made = Some(made);
        Ok(line)
    }

    async fn connect(&self, within: Duration) -> io::Result<Arc<Connection>> {
        let connecting = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            greeting::dial(&mut stream, &self.secret).await?;
            io::Result::Ok(stream)
        };
        let connected = tokio::time::timeout(within, connecting).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        // Later connections may have seen other tables.
        locked(&self.catalogs).clear();
        Ok(Connection::start(stream, &self.runtime))
    }

    /// Waits for an answer on a thread that is not a task's.
    pub(crate) fn block<T>(&self, work: impl Future<Output = T>) -> T {
        match Handle::try_current() {
            Ok(here) if here.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| here.block_on(work))
            }
            _ => self.runtime.block_on(work),
        }
    }
}

/// A connection that was made. It ends when nobody has it any more, or with an error.
pub(crate) struct Connection {
    out: mpsc::UnboundedSender<Vec<u8>>,
    next: AtomicU64,
    /// None once it has ended.
    lines: Mutex<Option<HashMap<u64, mpsc::UnboundedSender<Reply>>>>,
    heard: Mutex<Instant>,
    pinged: Mutex<Instant>,
    latency: Mutex<Option<Duration>>,
    /// It ended because nothing was heard.
    silent: AtomicBool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = locked(&self.lines);
        write!(f, "Connection({:?} lines)", lines.as_ref().map(HashMap::len))
    }
}

impl Connection {
    fn start(stream: TcpStream, runtime: &Handle) -> Arc<Self> {
        let (reader, writer) = stream.into_split();
        let (out, waiting) = mpsc::unbounded_channel();
        let connection = Arc::new(Self {
            out,
            next: AtomicU64::new(1),
            lines: Mutex::new(Some(HashMap::new())),
            heard: Mutex::new(Instant::now()),
            pinged: Mutex::new(Instant::now()),
            latency: Mutex::default(),
            silent: AtomicBool::new(false),
        });
        let of_tasks = connection.clone();
        runtime.spawn(async move {
            tokio::select! {
                () = of_tasks.read(reader) => {}
                () = write(writer, waiting) => {}
                () = of_tasks.watch() => {}
            }
            // Whoever waits for an answer gets none.
            *locked(&of_tasks.lines) = None;
        });
        connection
    }

    /// None if it has ended.
    fn line(self: &Arc<Self>) -> Option<Line> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        locked(&self.lines).as_mut()?.insert(number, sender);
        Some(Line { connection: self.clone(), number, replies, asked: 0, answered: 0 })
    }

    async fn read(&self, mut reader: OwnedReadHalf) {
        loop {
            let Ok((number, body)) = message(&mut reader).await else { return };
            *locked(&self.heard) = Instant::now();
            if number == PING {
                *locked(&self.latency) = Some(locked(&self.pinged).elapsed());
                continue;
            }
            let Ok(reply) = decode_reply(&body) else { return };
            let line = locked(&self.lines).as_ref().and_then(|lines| lines.get(&number).cloned());
            if let Some(line) = line {
                // Who asked may have gone away.
                drop(line.send(reply));
            }
        }
    }

    /// Asks for signs of life, and ends the connection when none come.
    async fn watch(&self) {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            *locked(&self.pinged) = Instant::now();
            if locked(&self.heard).elapsed() > SILENCE {
                self.silent.store(true, Ordering::Release);
                return;
            }
            if self.out.send(ping()).is_err() {
                return;
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut waiting: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(mut bytes) = waiting.recv().await {
        while let Ok(more) = waiting.try_recv() {
            bytes.extend_from_slice(&more);
        }
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// One channel, from the side that asks. Dropping it ends what it has begun there.
pub(crate) struct Line {
    connection: Arc<Connection>,
    number: u64,
    replies: mpsc::UnboundedReceiver<Reply>,
    /// Requests that are answered, and answers that came.
    asked: u64,
    answered: u64,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.number)
    }
}

/// The connection is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lost;

impl Line {
    /// Asks something; by which number its answer is known.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<u64, Lost> {
        self.say(request)?;
        self.asked += 1;
        Ok(self.asked)
    }

    /// Says something that is not answered; whether the connection is there.
    pub(crate) fn say(&self, request: &Request) -> Result<(), Lost> {
        self.connection.out.send(encode_request(self.number, request)).map_err(|_| Lost)
    }

    /// The answer to what was asked. Those before it that nobody waits for any more are passed over: who asked
    /// may have been told to stop.
    pub(crate) async fn answer(&mut self, asked: u64) -> Result<Reply, Lost> {
        loop {
            let reply = self.replies.recv().await.ok_or(Lost)?;
            self.answered += 1;
            if self.answered == asked {
                return Ok(reply);
            }
        }
    }

    /// Says that something which it had asked for may go.
    pub(crate) fn release(&self) -> impl Fn(&Request) + Send + Sync + use<> {
        let (connection, number) = (self.connection.clone(), self.number);
        move |request| {
            // If the connection is lost, it is gone already.
            drop(connection.out.send(encode_request(number, request)));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(lines) = locked(&self.connection.lines).as_mut() {
            lines.remove(&self.number);
        }
        let mut end = Vec::new();
        frame::put(self.number, &[], &mut end);
        drop(self.connection.out.send(end));
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn leaf(listener: &TcpListener) -> Arc<Leaf> {
        let secret = Secret::new(b"known to all of the cluster").expect("long enough");
        let client = Client::new(secret);
        let address = listener.local_addr().expect("bound").to_string();
        let place = Place { database: 1, ordinal: 0 };
        let _partition = client.partition(&address, place, "d:0");
        let leaves = locked(&client.0.leaves);
        leaves[&address].clone()
    }

    /// Promise (N13): a leaf that hangs holds up many statements no longer than one: who waits while an attempt fails
    /// makes none of its own behind it.
    #[tokio::test]
    async fn n13_who_waits_beside_an_attempt_fails_with_it() {
        // The system takes the connection, and nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let leaf = leaf(&listener);
        let began = Instant::now();
        let ask = |leaf: Arc<Leaf>| tokio::spawn(async move { leaf.line().await.is_err() });
        let all: Vec<_> = (0..16).map(|_| ask(leaf.clone())).collect();
        for one in all {
            assert!(one.await.expect("no panic"), "there is a line to nobody");
        }
        assert!(began.elapsed() < CONNECT * 2, "{:?}", began.elapsed());
        let again = Instant::now();
        assert!(leaf.line().await.is_err());
        assert!(again.elapsed() > CONNECT / 2, "later ones try anew");
    }

    /// Promise (N13): a leaf that fell silent is tried again for a short time only, and taken when it answers.
    #[tokio::test]
    async fn n13_a_silent_leaf_is_tried_for_a_short_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let leaf = leaf(&listener);
        let answer = async || {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            greeting::answer(&mut stream, &leaf.secret).await.expect("the same secret");
            stream
        };
        let (line, stream) = tokio::join!(leaf.line(), answer());
        let mut line = line.expect("answered");
        let asked = Instant::now();
        assert!(line.replies.recv().await.is_none(), "it says nothing");
        assert!(asked.elapsed() > SILENCE, "it was not waited for");
        let again = Instant::now();
        assert!(leaf.line().await.is_err());
        assert!(again.elapsed() < CONNECT / 2, "{:?}", again.elapsed());
        drop(stream);
        // The one that was given up first.
        let _given_up = listener.accept().await.expect("a connection");
        let (line, _stream) = tokio::join!(leaf.line(), answer());
        line.expect("it is back");
    }
}

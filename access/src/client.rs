//! The aggregator's side: one connection for each leaf, made when it is needed, and lines over it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use resprout_engine::table::Catalog;
use resprout_replication::transport::{Secret, connect};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use crate::frame::{self, decode_reply, encode_request};
use crate::greeting;
use crate::message::{Place, Reply, Request};
use crate::out::{Lost, Out};
use crate::partition::FarPartition;
use crate::server::{PING, READ_BYTES, message, ping};

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
    source: Option<IpAddr>,
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
        Self::from_source(secret, None)
    }

    /// The same, with connections that come from this address.
    #[must_use]
    pub fn from_source(secret: Secret, source: Option<IpAddr>) -> Self {
        let (runtime, leaves) = (Handle::current(), Mutex::default());
        Self(Arc::new(Inner { secret, source, runtime, leaves }))
    }

    /// A partition whose master is on the leaf that listens there (`host:port`). `name` is for people.
    #[must_use]
    pub fn partition(&self, address: &str, place: Place, name: &str) -> FarPartition {
        let mut leaves = locked(&self.0.leaves);
        let leaf = leaves.entry(address.to_owned()).or_insert_with(|| {
            Arc::new(Leaf {
                address: address.to_owned(),
                secret: self.0.secret.clone(),
                source: self.0.source,
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
    source: Option<IpAddr>,
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
        self.connection().await?.line().ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }

    /// Asks something that stands alone: one message there and one back. What was sent may have been done if the
    /// connection is lost.
    pub(crate) async fn once(&self, request: &Request) -> io::Result<Reply> {
        let connection = self.connection().await?;
        let lost = || io::ErrorKind::ConnectionReset.into();
        let once = connection.once().ok_or_else(lost)?;
        let said = connection.out.say(&encode_request(once.number, request));
        said.map_err(|Lost| lost())?;
        once.answer().await.map_err(|Lost| lost())
    }

    async fn connection(&self) -> io::Result<Arc<Connection>> {
        let asked = Instant::now();
        let mut way = self.way.lock().await;
        if let Some(made) = way.made.as_ref().filter(|made| made.is_open()) {
            return Ok(made.clone());
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
        way.made = Some(made.clone());
        Ok(made)
    }

    async fn connect(&self, within: Duration) -> io::Result<Arc<Connection>> {
        let connecting = async {
            let mut stream = connect(&self.address, self.source).await?;
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
    out: Out,
    next: AtomicU64,
    /// None once it has ended.
    lines: Mutex<Option<HashMap<u64, Waiter>>>,
    heard: Mutex<Instant>,
    pinged: Mutex<Instant>,
    latency: Mutex<Option<Duration>>,
    /// It ended because nothing was heard.
    silent: AtomicBool,
}

/// Who waits for answers.
#[derive(Debug)]
enum Waiter {
    Line(mpsc::UnboundedSender<Reply>),
    Once(oneshot::Sender<Reply>),
}

/// One request, from the side that asks. Dropping it passes its answer over.
struct Once<'a> {
    connection: &'a Connection,
    number: u64,
    reply: oneshot::Receiver<Reply>,
}

impl Once<'_> {
    async fn answer(mut self) -> Result<Reply, Lost> {
        (&mut self.reply).await.map_err(|_| Lost)
    }
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        self.connection.forget(self.number);
    }
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
        let connection = Arc::new(Self {
            out: Out::new(writer),
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
                _ = of_tasks.out.run() => {}
                () = of_tasks.watch() => {}
            }
            of_tasks.out.end();
            // Whoever waits for an answer gets none.
            *locked(&of_tasks.lines) = None;
        });
        connection
    }

    /// None if it has ended.
    fn line(self: &Arc<Self>) -> Option<Line> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        locked(&self.lines).as_mut()?.insert(number, Waiter::Line(sender));
        let connection = self.clone();
        Some(Line { connection, number, replies, asked: 0, answered: 0, ends_with: None })
    }

    /// None if it has ended.
    fn once(&self) -> Option<Once<'_>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        locked(&self.lines).as_mut()?.insert(number, Waiter::Once(sender));
        Some(Once { connection: self, number, reply })
    }

    fn is_open(&self) -> bool {
        locked(&self.lines).is_some()
    }

    fn forget(&self, number: u64) {
        if let Some(lines) = locked(&self.lines).as_mut() {
            lines.remove(&number);
        }
    }

    /// Gives an answer to who waits for it; who asked may have gone away.
    fn answered(&self, number: u64, reply: Reply) {
        let mut lines = locked(&self.lines);
        let Some(lines) = lines.as_mut() else { return };
        match lines.get(&number) {
            Some(Waiter::Line(line)) => drop(line.send(reply)),
            Some(Waiter::Once(_)) => {
                if let Some(Waiter::Once(once)) = lines.remove(&number) {
                    drop(once.send(reply));
                }
            }
            None => {}
        }
    }

    async fn read(&self, reader: OwnedReadHalf) {
        let mut reader = BufReader::with_capacity(READ_BYTES, reader);
        loop {
            let Ok((number, body)) = message(&mut reader).await else { return };
            *locked(&self.heard) = Instant::now();
            if number == PING {
                *locked(&self.latency) = Some(locked(&self.pinged).elapsed());
                continue;
            }
            let Ok(reply) = decode_reply(&body) else { return };
            self.answered(number, reply);
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
            if self.out.say(&ping()).is_err() {
                return;
            }
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
    /// With the answer to this, the channel is over there.
    ends_with: Option<u64>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.number)
    }
}

impl Line {
    /// Asks something; by which number its answer is known.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<u64, Lost> {
        self.say(request)?;
        self.asked += 1;
        Ok(self.asked)
    }

    /// Asks the last thing: the channel ends with the answer.
    pub(crate) fn ask_last(&mut self, request: &Request) -> Result<u64, Lost> {
        let asked = self.ask(request)?;
        self.ends_with = Some(asked);
        Ok(asked)
    }

    /// Says something that is not answered, with the next request; whether the connection is there.
    pub(crate) fn say(&self, request: &Request) -> Result<(), Lost> {
        self.connection.out.put(&encode_request(self.number, request))
    }

    /// Says that nothing more is wanted; what is not past its point of no return ends, and its answer says so.
    pub(crate) fn stop(&self) {
        let mut end = Vec::new();
        frame::put(self.number, &[], &mut end);
        // If the connection is lost, it has ended already.
        let _lost = self.connection.out.say(&end);
    }

    /// The answer to what was asked. Those before it that nobody waits for any more are passed over: who asked
    /// may have been told to stop.
    pub(crate) async fn answer(&mut self, asked: u64) -> Result<Reply, Lost> {
        self.connection.out.flush();
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
            let _lost = connection.out.put(&encode_request(number, request));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.connection.forget(self.number);
        if self.ends_with.is_none_or(|last| self.answered < last) {
            self.stop();
        }
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

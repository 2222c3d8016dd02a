//! What a transport costs beside bare sockets of the same runtime, in the same run:
//! `cargo test --release -p resprout-replication --test transport bench -- --ignored --nocapture`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use resprout_replication::transport::{Deliver, NodeId, Sender, Transport};
use resprout_replication::{Envelope, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::node::{ack, addresses, frames, local, number, options, secret};

const ROUNDS: usize = 20_000;
const PAYLOAD: usize = 4096;
/// Of an acknowledgement with its head.
const ACK_BYTES: usize = 136;
const BULK_MESSAGES: u64 = 2_000;
const BULK_PAYLOAD: usize = 1 << 20;

/// Acknowledges what comes, where it is taken.
#[derive(Default)]
struct Replica(OnceLock<Sender>);

impl Deliver for Replica {
    fn deliver(&self, from: NodeId, envelope: Envelope) {
        if let Some(sender) = self.0.get() {
            sender.send(from, &ack(1, number(&envelope)));
        }
    }
}

/// Sends the next round where the answer to the last is taken: as a driver that steps its core
/// there.
struct Master {
    sender: OnceLock<Sender>,
    message: Envelope,
    times: std::sync::Mutex<Vec<Instant>>,
    done: mpsc::UnboundedSender<u64>,
}

impl Deliver for Master {
    fn deliver(&self, from: NodeId, envelope: Envelope) {
        let number = number(&envelope);
        let mut times = self.times.lock().unwrap();
        times.push(Instant::now());
        if number == u64::MAX || times.len() > ROUNDS {
            let _gone = self.done.send(number);
        } else if let Some(sender) = self.sender.get() {
            sender.send(from, &self.message);
        }
    }

    fn connected(&self, _node: NodeId, _run: u64) {
        let _gone = self.done.send(0);
    }
}

struct Pair {
    one: Transport,
    _two: Transport,
    master: Arc<Master>,
    done: mpsc::UnboundedReceiver<u64>,
}

async fn pair() -> Pair {
    let one = Transport::bind(options(secret()), local(1, 1)).await.unwrap();
    let two = Transport::bind(options(secret()), local(2, 1)).await.unwrap();
    one.set_peers(&addresses(&[(2, two.address().to_string())]));
    two.set_peers(&addresses(&[(1, one.address().to_string())]));
    let replica = Replica::default();
    replica.0.set(two.sender()).unwrap();
    two.start(Arc::new(replica));
    let (sender, mut done) = mpsc::unbounded_channel();
    let message = frames(1, 3, PAYLOAD);
    let times = std::sync::Mutex::default();
    let master = Master { sender: OnceLock::new(), message, times, done: sender };
    master.sender.set(one.sender()).unwrap();
    let master = Arc::new(master);
    one.start(master.clone());
    done.recv().await.unwrap();
    Pair { one, _two: two, master, done }
}

fn told(name: &str, mut times: Vec<Duration>) {
    let all: Duration = times.iter().sum();
    times.sort();
    let at = |part: usize| times[times.len() * part / 1_000].as_nanos() as f64 / 1_000.0;
    let rate = times.len() as f64 / all.as_secs_f64();
    println!("{name:44} {rate:9.0} /s   p50 {:6.1} µs   p99 {:6.1} µs", at(500), at(990));
}

fn steps(times: &[Instant]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

async fn rounds_of_transport(name: &str) {
    let mut pair = pair().await;
    pair.one.send(NodeId(2), &pair.master.message);
    pair.done.recv().await.unwrap();
    told(name, steps(&pair.master.times.lock().unwrap()));
}

/// From a thread that is not the runtime's, and waits for the answer in a channel: as a client's
/// session would.
async fn rounds_of_thread(name: &str) {
    let mut pair = pair().await;
    let sender = pair.one.sender();
    let asked = std::thread::spawn(move || {
        let message = last_round();
        let mut times = vec![Instant::now()];
        for _ in 0..ROUNDS {
            sender.send(NodeId(2), &message);
            pair.done.blocking_recv().unwrap();
            times.push(Instant::now());
        }
        steps(&times)
    });
    let times = tokio::task::spawn_blocking(move || asked.join().unwrap()).await.unwrap();
    told(name, times);
}

/// A message whose answer is told to who waits for it.
fn last_round() -> Envelope {
    let mut message = frames(1, 3, PAYLOAD);
    if let Message::Frames { committed, .. } = &mut message.message {
        *committed = resprout_wal::Lsn(u64::MAX);
    }
    message
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

async fn rounds_of_sockets(name: &str) {
    let (mut near, mut far) = sockets().await;
    tokio::spawn(async move {
        let mut bytes = vec![0; PAYLOAD];
        while far.read_exact(&mut bytes).await.is_ok() {
            far.write_all(&bytes[..ACK_BYTES]).await.unwrap();
        }
    });
    let asking = tokio::spawn(async move {
        let mut bytes = vec![0; PAYLOAD];
        let mut times = vec![Instant::now()];
        for _ in 0..ROUNDS {
            near.write_all(&bytes).await.unwrap();
            near.read_exact(&mut bytes[..ACK_BYTES]).await.unwrap();
            times.push(Instant::now());
        }
        steps(&times)
    });
    told(name, asking.await.unwrap());
}

/// Counts bytes of payloads.
struct Counter(mpsc::UnboundedSender<usize>);

impl Deliver for Counter {
    fn deliver(&self, _from: NodeId, envelope: Envelope) {
        let bytes = match &envelope.message {
            Message::Frames { frames, .. } => frames.iter().map(|frame| frame.payload.len()).sum(),
            _ => 0,
        };
        let _gone = self.0.send(bytes);
    }

    fn connected(&self, _node: NodeId, _run: u64) {
        let _gone = self.0.send(0);
    }
}

fn rate_told(name: &str, begun: Instant) {
    let bytes = BULK_MESSAGES * BULK_PAYLOAD as u64;
    let rate = bytes as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("{name:44} {rate:9.0} MB/s");
}

async fn bulk_of_transport(name: &str) {
    let one = Transport::bind(options(secret()), local(1, 1)).await.unwrap();
    let two = Transport::bind(options(secret()), local(2, 1)).await.unwrap();
    one.set_peers(&addresses(&[(2, two.address().to_string())]));
    two.set_peers(&addresses(&[(1, one.address().to_string())]));
    let (unused, mut here) = mpsc::unbounded_channel();
    let (sender, mut there) = mpsc::unbounded_channel();
    one.start(Arc::new(Counter(unused)));
    two.start(Arc::new(Counter(sender)));
    here.recv().await.unwrap();
    let message = frames(1, 3, BULK_PAYLOAD - 4096);
    let begun = Instant::now();
    // As much under way as the credit of a replica usually is.
    let mut under_way = 0;
    for _ in 0..BULK_MESSAGES {
        one.send(NodeId(2), &message);
        under_way += 1;
        while under_way >= 16 {
            under_way -= usize::from(there.recv().await.unwrap() > 0);
        }
    }
    while under_way > 0 {
        under_way -= usize::from(there.recv().await.unwrap() > 0);
    }
    rate_told(name, begun);
    assert_eq!(one.status()[0].dropped, 0);
}

async fn bulk_of_sockets(name: &str, is_summed: bool) {
    let (mut near, mut far) = sockets().await;
    let content = Bytes::from(vec![3; BULK_PAYLOAD]);
    let begun = Instant::now();
    tokio::spawn(async move {
        for _ in 0..BULK_MESSAGES {
            near.write_all(&content).await.unwrap();
        }
    });
    let taking = tokio::spawn(async move {
        let mut bytes = vec![0; 256 << 10];
        loop {
            match far.read(&mut bytes).await.unwrap() {
                0 => return,
                // The codec sums up a message, and each of its frames.
                count if is_summed => {
                    std::hint::black_box(crc32fast::hash(&bytes[..count]));
                    std::hint::black_box(crc32fast::hash(&bytes[..count]));
                }
                _ => {}
            }
        }
    });
    taking.await.unwrap();
    rate_told(name, begun);
}

/// Measures; promises nothing.
#[test]
#[ignore = "measures, beside bare sockets"]
fn bench_beside_bare_sockets() {
    let one_thread = Builder::new_current_thread().enable_all().build().unwrap();
    let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("4 KiB there, an acknowledgement back, {ROUNDS} rounds; bulk in messages of 1 MiB");
    for _ in 0..2 {
        one_thread.block_on(rounds_of_sockets("one thread:  bare sockets"));
        one_thread.block_on(rounds_of_transport("one thread:  transport"));
        threads.block_on(rounds_of_sockets("two threads: bare sockets"));
        threads.block_on(rounds_of_transport("two threads: transport"));
        threads.block_on(rounds_of_thread("two threads: transport, from a thread outside"));
        threads.block_on(bulk_of_sockets("two threads: bulk, bare sockets", false));
        threads.block_on(bulk_of_sockets("two threads: bulk, bare sockets and sums", true));
        threads.block_on(bulk_of_transport("two threads: bulk, transport"));
    }
}

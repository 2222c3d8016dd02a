//! etcd as its package brings it: three processes, driven over gRPC. It does more than the libraries
//! (its own network, an index of keys and a store behind the log), so it is beside them, not among
//! them.
//!
//! The few messages that are needed are written here by hand, from etcd's `rpc.proto` of 3.4.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tonic::codec::ProstCodec;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::{Cluster, ELECTION_TIMEOUT};
use crate::ledger::Ledger;

/// Connections that the clients share: one alone would be the bottleneck.
const CONNECTIONS: usize = 8;
/// Keys that one answer brings when all are read back.
const PAGE_KEYS: i64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(bool, tag = "7")]
    serializable: bool,
    #[prost(bool, tag = "8")]
    keys_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// How often it was put.
    #[prost(int64, tag = "4")]
    version: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It is to be gone; that it may be already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Three processes.
pub struct Etcd {
    _processes: Vec<Process>,
    members: Vec<Channel>,
    /// Connections to the leader.
    leader: Vec<Channel>,
    first_free: AtomicU64,
}

async fn call<Q, A>(channel: &Channel, path: &'static str, request: Q) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    grpc.ready().await?;
    let codec = ProstCodec::<Q, A>::default();
    let path = PathAndQuery::from_static(path);
    Ok(grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Etcd {
    /// Starts three processes and waits for their leader.
    ///
    /// # Errors
    /// There is no etcd, or it does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let ports = (0..6).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let name = |at: usize| format!("n{at}");
        let all: Vec<_> = (0..3).map(|at| format!("{}={}", name(at), url(ports[at + 3]))).collect();
        let (mut processes, mut members) = (Vec::new(), Vec::new());
        for at in 0..3 {
            let (client, peer) = (url(ports[at]), url(ports[at + 3]));
            let timeout = ELECTION_TIMEOUT.as_millis();
            let data = folder.join(format!("etcd-{at}"));
            let child = Command::new("etcd")
                .args(["--name", &name(at), "--logger", "zap", "--log-level", "error"])
                .arg("--data-dir")
                .arg(data)
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
                .args(["--election-timeout", &timeout.to_string()])
                .args(["--heartbeat-interval", &(timeout / 10).to_string()])
                .args(["--quota-backend-bytes", "8589934592"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("etcd: is the package etcd-server installed?")?;
            processes.push(Process(child));
            members.push(client);
        }
        let channels =
            members.iter().map(|url| Ok(Endpoint::from_shared(url.clone())?.connect_lazy()));
        let channels = channels.collect::<Result<Vec<_>>>()?;
        let leader = wait_leader(&channels).await?;
        let endpoint = Endpoint::from_shared(members[leader].clone())?;
        let leader = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { _processes: processes, members: channels, leader, first_free: AtomicU64::new(0) })
    }
}

async fn wait_leader(members: &[Channel]) -> Result<usize> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for (at, member) in members.iter().enumerate() {
            let path = "/etcdserverpb.Maintenance/Status";
            let answer = call::<_, StatusResponse>(member, path, StatusRequest {}).await;
            let leads = |status: &StatusResponse| {
                status.leader != 0
                    && status.header.as_ref().is_some_and(|own| own.member_id == status.leader)
            };
            if answer.is_ok_and(|status| leads(&status)) {
                return Ok(at);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("etcd has no leader")
}

impl Cluster for Etcd {
    async fn propose(&self, number: u64, value: Vec<u8>) -> Result<()> {
        let key = number.to_be_bytes().to_vec();
        let channel = &self.leader[number as usize % self.leader.len()];
        let request = PutRequest { key, value };
        call::<_, PutResponse>(channel, "/etcdserverpb.KV/Put", request).await?;
        Ok(())
    }

    /// How often each key was put, read from each member's own store.
    async fn ledgers(&self) -> Result<Vec<Ledger>> {
        let mut ledgers = Vec::new();
        for member in &self.members {
            let ledger = Ledger::default();
            let mut key = vec![0; 8];
            loop {
                let request = RangeRequest {
                    key: key.clone(),
                    range_end: vec![0xff; 9],
                    limit: PAGE_KEYS,
                    serializable: true,
                    keys_only: true,
                };
                let path = "/etcdserverpb.KV/Range";
                let page: RangeResponse = call(member, path, request).await?;
                for pair in &page.kvs {
                    let number: [u8; 8] = pair.key[..].try_into().context("a strange key")?;
                    ensure!(pair.version > 0, "a key without a version");
                    ledger.set(u64::from_be_bytes(number), u8::try_from(pair.version)?);
                }
                match page.kvs.last() {
                    Some(last) if page.more => {
                        key.clone_from(&last.key);
                        key.push(0);
                    }
                    _ => break,
                }
            }
            ledgers.push(ledger);
        }
        Ok(ledgers)
    }

    fn flushes(&self) -> Option<u64> {
        None
    }

    fn first_free(&self) -> u64 {
        self.first_free.load(Ordering::Relaxed)
    }

    fn set_first_free(&self, number: u64) {
        self.first_free.store(number, Ordering::Relaxed);
    }
}

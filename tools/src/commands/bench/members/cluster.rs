//! A cluster of processes, as clients see it: how it is made, when it is whole, who is master of what.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Error, OptsBuilder, Row};

use super::processes::{Processes, Settings};
use super::writers::{Client, Keys, Writers, Written};
use crate::bench::testbed::wrong;
use crate::failure::Failure;

/// Whatever is waited for is there by then.
pub(in crate::commands::bench) const PATIENCE: Duration = Duration::from_secs(60);
/// All copies are in step by then: a replica that falls out again and again is waited for anew after up to a minute.
const WHOLE: Duration = Duration::from_secs(150);
/// Between two looks.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// An aggregator that does not answer a login by then is as good as away.
const LOGIN: Duration = Duration::from_secs(5);

/// A connection with the aggregator of this port.
pub(in crate::commands::bench) async fn open(port: u16) -> Result<Conn, Error> {
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
    let opening = Conn::new(options.user(Some("root")).prefer_socket(false));
    match tokio::time::timeout(LOGIN, opening).await {
        Ok(opened) => opened,
        Err(late) => Err(Error::from(std::io::Error::from(late))),
    }
}

/// The cluster does not do what it should.
pub(in crate::commands::bench) fn unanswered(why: impl std::fmt::Display) -> Failure {
    Failure::new("the cluster does not answer as it should", why, "see the logs of its nodes")
}

pub(in crate::commands::bench) fn lost(error: Error) -> Failure {
    unanswered(error)
}

/// Who has a copy of a partition: ports of leaves.
#[derive(Clone, Debug, Default)]
pub(in crate::commands::bench) struct Homes {
    pub(in crate::commands::bench) master: Option<u16>,
    pub(in crate::commands::bench) replicas: Vec<u16>,
}

/// A cluster with a table, and what is in it.
pub(in crate::commands::bench) struct Cluster {
    pub(in crate::commands::bench) processes: Processes,
    keys: Arc<Keys>,
    partitions: usize,
    /// How many rows of each client were acknowledged.
    ledger: BTreeMap<i64, u64>,
    last_key: i64,
}

impl Cluster {
    /// Starts its nodes, makes them one, and a table with a row in each partition.
    pub(in crate::commands::bench) async fn start(
        dir: &Path,
        settings: Settings,
        partitions: usize,
    ) -> Result<Self, Failure> {
        let processes = Processes::start(dir, settings)?;
        let keys = Arc::new(Keys::new(partitions)?);
        let mut cluster =
            Self { processes, keys, partitions, ledger: BTreeMap::new(), last_key: 0 };
        cluster.join().await?;
        let mut conn = cluster.connect().await?;
        for statement in [
            format!("CREATE DATABASE bench PARTITIONS {partitions}"),
            "CREATE TABLE bench.writes (id BIGINT PRIMARY KEY, client BIGINT NOT NULL, number BIGINT NOT NULL)"
                .to_owned(),
        ] {
            conn.query_drop(statement).await.map_err(lost)?;
        }
        cluster.whole().await?;
        let (aggregators, _) = cluster.processes.ports();
        let writers = cluster.write(&aggregators, 0..partitions);
        writers.all_since(Instant::now()).await?;
        let written = writers.end().await?;
        cluster.verify(&written).await?;
        Ok(cluster)
    }

    /// Adds all nodes but the founder.
    async fn join(&mut self) -> Result<(), Failure> {
        let (aggregators, mut leaves) = self.processes.ports();
        leaves.truncate(leaves.len() - self.processes.settings().spare);
        let aggregators = aggregators[1..]
            .iter()
            .map(|port| format!("ADD AGGREGATOR root@'127.0.0.1':{port} AS VOTING MEMBER"));
        let leaves = leaves.iter().map(|port| format!("ADD LEAF root@'127.0.0.1':{port}"));
        self.add(aggregators.chain(leaves)).await
    }

    /// Adds the leaves that were kept back; their ports.
    pub(in crate::commands::bench) async fn add_spares(&mut self) -> Result<Vec<u16>, Failure> {
        let (_, leaves) = self.processes.ports();
        let spares = leaves[leaves.len() - self.processes.settings().spare..].to_vec();
        let statements = spares.iter().map(|port| format!("ADD LEAF root@'127.0.0.1':{port}"));
        self.add(statements).await?;
        Ok(spares)
    }

    async fn add(&mut self, statements: impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut conn = self.connect().await?;
        for statement in statements {
            let end = Instant::now() + PATIENCE;
            // It may not listen yet.
            while let Err(error) = conn.query_drop(&statement).await {
                if Instant::now() > end || self.processes.ended().is_some() {
                    return Err(lost(error));
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        Ok(())
    }

    /// A client of the first aggregator that answers.
    pub(in crate::commands::bench) async fn connect(&mut self) -> Result<Conn, Failure> {
        let end = Instant::now() + PATIENCE;
        let (aggregators, _) = self.processes.ports();
        loop {
            let mut last = None;
            for port in &aggregators {
                match open(*port).await {
                    Ok(conn) => return Ok(conn),
                    Err(error) => last = Some(error),
                }
            }
            if let Some(at) = self.processes.ended() {
                return Err(unanswered(format!("node {at} has ended")));
            }
            if Instant::now() > end {
                return Err(last.map_or_else(|| unanswered("no aggregator"), lost));
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Port of the master aggregator.
    pub(in crate::commands::bench) async fn master_aggregator(&mut self) -> Result<u16, Failure> {
        let mut conn = self.connect().await?;
        let rows: Vec<Row> = conn.query("SHOW AGGREGATORS").await.map_err(lost)?;
        let is_master = |row: &&Row| value::<u64>(row, "Master_Aggregator") == Some(1);
        let master = rows.iter().find(is_master).and_then(|row| value(row, "Port"));
        master.ok_or_else(|| unanswered("there is no master aggregator"))
    }

    /// Who has which copies, by ordinal.
    pub(in crate::commands::bench) async fn homes(&mut self) -> Result<Vec<Homes>, Failure> {
        let mut conn = self.connect().await?;
        let rows: Vec<Row> = conn.query("SHOW PARTITIONS ON bench").await.map_err(lost)?;
        let mut homes = vec![Homes::default(); self.partitions];
        for row in rows {
            let (Some(ordinal), Some(port)) =
                (value::<usize>(&row, "Ordinal"), value(&row, "Port"))
            else {
                continue;
            };
            let Some(of) = homes.get_mut(ordinal) else { continue };
            match value::<String>(&row, "Role").as_deref() {
                Some("Master") => of.master = Some(port),
                _ => of.replicas.push(port),
            }
        }
        Ok(homes)
    }

    /// Waits until the cluster knows that a leaf is away.
    pub(in crate::commands::bench) async fn is_missed(&mut self, leaf: u16) -> Result<(), Failure> {
        self.until(&format!("the leaf on port {leaf} is missed"), PATIENCE, async |conn| {
            let leaves: Vec<Row> = conn.query("SHOW LEAVES").await?;
            let is_it = |row: &&Row| value::<u16>(row, "Port") == Some(leaf);
            let found = leaves.iter().find(is_it);
            Ok(found.is_some_and(|row| value::<String>(row, "State").as_deref() != Some("online")))
        })
        .await
    }

    /// Waits until all nodes are online, and every partition has all copies in step.
    pub(in crate::commands::bench) async fn whole(&mut self) -> Result<(), Failure> {
        let redundancy = usize::try_from(self.processes.settings().redundancy).unwrap_or(1);
        let expected = self.partitions * redundancy;
        self.until("the cluster is whole", WHOLE, async |conn| {
            let leaves: Vec<Row> = conn.query("SHOW LEAVES").await?;
            let aggregators: Vec<Row> = conn.query("SHOW AGGREGATORS").await?;
            let copies: Vec<Row> = conn.query("SHOW PARTITIONS EXTENDED ON bench").await?;
            let is_online = |row: &Row| value::<String>(row, "State").as_deref() == Some("online");
            Ok(leaves.iter().chain(&aggregators).all(is_online)
                && copies.len() == expected
                && copies.iter().all(is_in_step))
        })
        .await
    }

    pub(in crate::commands::bench) async fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut is_so: impl AsyncFnMut(&mut Conn) -> Result<bool, Error>,
    ) -> Result<(), Failure> {
        let end = Instant::now() + within;
        let mut conn = self.connect().await?;
        loop {
            let found = is_so(&mut conn).await;
            if matches!(found, Ok(true)) {
                return Ok(());
            }
            if let Some(at) = self.processes.ended() {
                return Err(unanswered(format!("{what}: node {at} has ended by itself")));
            }
            if Instant::now() > end {
                let why = found.err().map_or_else(String::new, |error| format!(": {error}"));
                return Err(unanswered(format!("{what}: not within {within:?}{why}")));
            }
            if found.is_err() {
                conn = self.connect().await?;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// Clients that write, one for each of these partitions, through these aggregators in turn.
    pub(in crate::commands::bench) fn write(
        &mut self,
        doors: &[u16],
        partitions: impl IntoIterator<Item = usize>,
    ) -> Writers {
        let first = i64::try_from(self.ledger.len()).unwrap_or(i64::MAX);
        let above = self.last_key;
        let clients: Vec<Client> = (first..)
            .zip(doors.iter().cycle().zip(partitions))
            .map(|(number, (door, partition))| Client { number, door: *door, partition, above })
            .collect();
        self.ledger.extend(clients.iter().map(|client| (client.number, 0)));
        Writers::start(&self.keys, clients)
    }

    /// Everything that was ever acknowledged is there, and nothing else; as a failure what is not so.
    pub(in crate::commands::bench) async fn verify(
        &mut self,
        written: &[Written],
    ) -> Result<(), Failure> {
        self.ledger.extend(written.iter().map(|written| (written.client, written.rows)));
        let mut conn = self.connect().await?;
        let count: Option<u64> =
            conn.query_first("SELECT COUNT(*) FROM bench.writes").await.map_err(lost)?;
        let rows: Vec<(i64, i64, u64)> =
            conn.query("SELECT id, client, number FROM bench.writes").await.map_err(lost)?;
        let mut found: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (id, client, number) in &rows {
            self.last_key = self.last_key.max(*id);
            found.entry(*client).or_default().push(*number);
        }
        for (client, rows) in &self.ledger {
            let mut numbers = found.remove(client).unwrap_or_default();
            numbers.sort_unstable();
            if !numbers.iter().copied().eq(0..*rows) {
                let lost = (0..*rows).filter(|number| numbers.binary_search(number).is_err());
                let lost: Vec<u64> = lost.collect();
                let (first, found) = (lost.first(), numbers.len());
                return Err(wrong(format!(
                    "client {client}: {rows} acknowledged, {found} there, {} missing, the first {first:?}",
                    lost.len(),
                )));
            }
        }
        let expected: u64 = self.acknowledged();
        if count != Some(expected) || !found.is_empty() {
            let others: Vec<i64> = found.into_keys().collect();
            return Err(wrong(format!(
                "{expected} rows acknowledged, {count:?} counted, {} read, clients {others:?} unknown",
                rows.len()
            )));
        }
        Ok(())
    }

    /// Rows that were acknowledged, of all clients.
    pub(in crate::commands::bench) fn acknowledged(&self) -> u64 {
        self.ledger.values().sum()
    }
}

/// A column, if it is there, not NULL, and of that type.
pub(in crate::commands::bench) fn value<T: FromValue>(row: &Row, name: &str) -> Option<T> {
    row.get_opt(name)?.ok()
}

fn is_in_step(row: &Row) -> bool {
    let how: Option<String> = value(row, "Replication_Status");
    matches!(how.as_deref(), Some("" | "sync")) && value::<u64>(row, "Online") == Some(1)
}

//! `status`: whether the cluster is healthy, what it is doing, and how long that will take.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::StateArgs;
use super::look::{self, Seen};
use super::master::{Client, Rows};
use super::registry::Registry;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantity::{Bytes, of_total, rough};

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;
/// Between two looks of `--watch`, on a terminal and elsewhere.
const WATCHED_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Shows the cluster's health
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Show it again and again
    #[arg(long)]
    watch: bool,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

/// What is known. The names are kept: scripts read them.
#[derive(Clone, Debug, Default, Serialize)]
struct Health {
    schema_version: u32,
    verdict: &'static str,
    master_aggregator: String,
    partitions: u64,
    partitions_without_master: u64,
    partitions_under_replicated: u64,
    nodes: Vec<NodeHealth>,
    voters: u64,
    voters_online: u64,
    worst_lag: Option<Lag>,
    /// None if they cannot be listed now, which is no reason to say nothing of the rest.
    orphans: Option<Orphans>,
}

/// Copies that leaves have and the record does not, and those of leaves that were removed by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Orphans {
    found: u64,
    safe_to_drop: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct NodeHealth {
    role: &'static str,
    address: String,
    state: String,
    /// Of a leaf of this machine that recovers.
    progress: Option<Recovering>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Recovering {
    phase: String,
    done_bytes: u64,
    total_bytes: u64,
    rate_bytes_per_s: f64,
    eta_s: Option<f64>,
    stalled_s: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Lag {
    database: String,
    ordinal: u64,
    node: Option<u64>,
    bytes: u64,
    seconds: f64,
}

/// Shows it once, or again and again. Exit: 0 healthy, 3 degraded, 4 data unavailable, 5 nobody answers.
///
/// # Errors
/// If the master aggregator cannot be asked.
pub(super) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    use std::io::IsTerminal;
    let registry = Registry::open(&args.state.dir())?;
    if !args.watch {
        let health = Health::ask(&registry)?;
        health.show(args.json);
        return Ok(health.exit());
    }
    let is_terminal = std::io::stdout().is_terminal() && !args.json;
    loop {
        // Nodes may have been made or started meanwhile.
        let health = Registry::open(&args.state.dir()).and_then(|it| Health::ask(&it));
        if is_terminal {
            // From the upper left corner on.
            output::line("\x1b[H\x1b[J");
        }
        match health {
            Ok(health) if is_terminal || args.json => health.show(args.json),
            Ok(health) => output::line(health.sentence()),
            Err(failure) => output::talk(failure),
        }
        std::thread::sleep(if is_terminal { WATCHED_EVERY.0 } else { WATCHED_EVERY.1 });
    }
}

impl Orphans {
    /// Of rows of one column: whether an orphan is safe to drop.
    fn of(rows: &Rows) -> Self {
        let is_safe = |row: &&Vec<Option<String>>| {
            row.first().is_some_and(|cell| cell.as_deref() == Some("1"))
        };
        let safe_to_drop = rows.iter().filter(is_safe).count() as u64;
        Self { found: rows.len() as u64, safe_to_drop }
    }

    fn text(self) -> Option<String> {
        let Self { found, safe_to_drop } = self;
        let text = format!(
            "Orphans      {found}, {safe_to_drop} safe to drop; clear-orphans --dry-run lists them"
        );
        (found > 0).then_some(text)
    }
}

impl Health {
    fn ask(registry: &Registry) -> Result<Self, Failure> {
        let seen = look::all(registry);
        let (knows, address) = look::master(&seen)?;
        let mut client = Client::of_master(registry, &seen)?;
        let asked = |what| {
            format!(
                "SELECT host, port, state, role FROM (SELECT * FROM information_schema.{what}) t"
            )
        };
        let aggregators = client.query(&asked("aggregators"))?;
        let leaves = client.query("SELECT host, port, state FROM information_schema.leaves")?;
        let orphans = client.query("SELECT is_safe_to_drop FROM information_schema.mv_orphans");
        let databases = knows.member().map(|member| &member["databases"]);
        let Some(databases) = databases.filter(|databases| databases.is_array()) else {
            return Err(Failure::new(
                format!("the master aggregator {address} does not tell how its databases are"),
                "its status over HTTP has no list of them",
                "start it with a resproutd of the version of this command, or read its log",
            ));
        };
        let health = Self::of((&aggregators, &leaves), databases, &seen, address);
        Ok(Self { orphans: orphans.ok().map(|rows| Orphans::of(&rows)), ..health })
    }

    fn of(
        (aggregators, leaves): (&Rows, &Rows),
        databases: &Value,
        seen: &[Seen],
        master: String,
    ) -> Self {
        let cell =
            |row: &[Option<String>], at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let node = |role, row: &Vec<Option<String>>| {
            let address = format!("{}:{}", cell(row, 0), cell(row, 1));
            let own = seen.iter().find(|node| node.entry.address() == address);
            let progress = own.and_then(recovering);
            // What the node itself says is newer.
            let state = if progress.is_some() { "recovering".to_owned() } else { cell(row, 2) };
            NodeHealth { role, address, state, progress }
        };
        let nodes = aggregators.iter().map(|row| node("aggregator", row));
        let nodes: Vec<_> = nodes.chain(leaves.iter().map(|row| node("leaf", row))).collect();
        let votes = |row: &&Vec<Option<String>>| cell(row, 3) != "Follower";
        let sum = |name: &str| -> u64 {
            let all = databases.as_array().into_iter().flatten();
            all.filter_map(|database| database[name].as_u64()).sum()
        };
        let mut health = Self {
            schema_version: SCHEMA_VERSION,
            verdict: "healthy",
            master_aggregator: master,
            partitions: sum("partitions"),
            partitions_without_master: sum("without_master"),
            partitions_under_replicated: sum("under_replicated"),
            nodes,
            voters: aggregators.iter().filter(votes).count() as u64,
            voters_online: aggregators
                .iter()
                .filter(votes)
                .filter(|row| cell(row, 2) == "online")
                .count() as u64,
            worst_lag: worst_lag(seen),
            ..Self::default()
        };
        health.verdict = if health.partitions_without_master > 0 {
            "unavailable"
        } else if health.partitions_under_replicated > 0
            || health.nodes.iter().any(|node| node.state != "online")
        {
            "degraded"
        } else {
            "healthy"
        };
        health
    }

    fn exit(&self) -> Exit {
        match self.verdict {
            "healthy" => Exit::Done,
            "degraded" => Exit::Torn,
            _ => Exit::Damaged,
        }
    }

    /// All in one line.
    fn sentence(&self) -> String {
        let Self { partitions, .. } = self;
        let verdict = self.verdict.to_uppercase();
        let away = self.nodes.iter().filter(|node| node.state != "online").count();
        match (self.partitions_without_master, self.partitions_under_replicated) {
            (0, 0) if away > 0 => {
                let nodes = self.nodes.len();
                format!(
                    "{verdict}  All data can be read and written. {away} of {nodes} nodes are not online."
                )
            }
            (0, 0) => format!("{verdict}  All data can be read and written, on all copies."),
            (0, under) => format!(
                "{verdict}  All data can be read and written. {under} of {partitions} partitions have too few copies."
            ),
            (without, _) => {
                format!("{verdict}  {without} of {partitions} partitions have no master.")
            }
        }
    }

    fn show(&self, as_json: bool) {
        if as_json {
            output::json(self);
            return;
        }
        output::line(self.sentence());
        output::line("");
        for node in &self.nodes {
            let what = node.progress.as_ref().map(Recovering::text).unwrap_or_default();
            let line =
                format!("{:<10}  {:<21}  {:<12}  {what}", node.role, node.address, node.state);
            output::line(line.trim_end());
        }
        output::line("");
        let voters = self.voters;
        let spare = self.voters_online.saturating_sub(voters / 2 + 1);
        output::line(format_args!(
            "Consensus    master aggregator {}, {} of {voters} voters online: {spare} more may be lost",
            self.master_aggregator, self.voters_online
        ));
        if let Some(orphans) = self.orphans.and_then(Orphans::text) {
            output::line(orphans);
        }
        if let Some(lag) = &self.worst_lag {
            output::line(format_args!(
                "Replication  worst lag {}, {:.3} s: {}:{} to node {}",
                Bytes(lag.bytes),
                lag.seconds,
                lag.database,
                lag.ordinal,
                lag.node.map_or_else(|| "?".to_owned(), |node| node.to_string())
            ));
        }
    }
}

impl Recovering {
    fn text(&self) -> String {
        if self.total_bytes == 0 {
            return "starting".to_owned();
        }
        let percent = u128::from(self.done_bytes) * 100 / u128::from(self.total_bytes);
        let amount = of_total(self.done_bytes, self.total_bytes);
        let left = self.eta_s.and_then(|eta| Duration::try_from_secs_f64(eta).ok());
        let left = left.map_or_else(String::new, |left| format!("  {} left", rough(left)));
        let stalled = if self.stalled_s >= 10.0 {
            format!("  stalled {:.0} s", self.stalled_s)
        } else {
            String::new()
        };
        format!("{} {percent}%  {amount}{left}{stalled}", self.phase)
    }
}

/// How far a node of this machine is that recovers.
fn recovering(node: &Seen) -> Option<Recovering> {
    if node.state() != Some("RECOVERING") {
        return None;
    }
    let progress = &node.status.as_ref()?["progress"];
    Some(Recovering {
        phase: progress["phase"].as_str().unwrap_or_default().to_owned(),
        done_bytes: progress["done_bytes"].as_u64().unwrap_or(0),
        total_bytes: progress["total_bytes"].as_u64().unwrap_or(0),
        rate_bytes_per_s: progress["rate_bytes_per_s"].as_f64().unwrap_or(0.0),
        eta_s: progress["eta_s"].as_f64(),
        stalled_s: progress["stalled_s"].as_f64().unwrap_or(0.0),
    })
}

/// The replica that lacks most, of those whose masters are on this machine.
fn worst_lag(seen: &[Seen]) -> Option<Lag> {
    let copies = seen.iter().filter_map(|node| node.member()?["copies"].as_array()).flatten();
    let lags = copies.flat_map(|copy| {
        let replicas = copy["replicas"].as_array().into_iter().flatten();
        replicas.map(|replica| Lag {
            database: copy["database"].as_str().unwrap_or_default().to_owned(),
            ordinal: copy["ordinal"].as_u64().unwrap_or(0),
            node: replica["node"].as_u64(),
            bytes: replica["lag_bytes"].as_u64().unwrap_or(0),
            seconds: replica["lag_s"].as_f64().unwrap_or(0.0),
        })
    });
    lags.max_by_key(|lag| lag.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn health(leaf: &str, without: u64, under: u64) -> Health {
        let online = |port, role| [Some("a"), Some(port), Some("online"), Some(role)];
        let aggregators = [online("1", "Leader"), online("2", "Follower")];
        let aggregators = aggregators.map(|row| row.map(|cell| cell.map(str::to_owned)).to_vec());
        let leaves = vec!["c", "1", leaf].into_iter().map(|cell| Some(cell.to_owned())).collect();
        let databases =
            json!([{"partitions": 8, "without_master": without, "under_replicated": under}]);
        Health::of((&aggregators.to_vec(), &vec![leaves]), &databases, &[], "a:1".into())
    }

    /// Promise: the verdict and its exit code: what cannot be read is worse than what has one copy or a node away, which
    /// is worse than nothing.
    #[test]
    fn the_worst_is_the_verdict() {
        assert_eq!(health("online", 0, 0).exit(), Exit::Done);
        assert_eq!(health("offline", 0, 0).exit(), Exit::Torn);
        assert!(health("offline", 0, 0).sentence().ends_with("1 of 3 nodes are not online."));
        assert_eq!(health("online", 0, 2).exit(), Exit::Torn);
        assert_eq!(health("offline", 1, 2).exit(), Exit::Damaged);
        let sentence = health("online", 1, 2).sentence();
        assert_eq!(sentence, "UNAVAILABLE  1 of 8 partitions have no master.");
        let health = health("online", 0, 0);
        assert_eq!((health.voters, health.voters_online), (1, 1), "followers do not vote");
    }

    /// Promise: orphans are counted, those too that are to stay; where there are none nothing is said.
    #[test]
    fn orphans_are_counted() {
        let rows = |cells: &[&str]| -> Rows {
            cells.iter().map(|cell| vec![Some((*cell).to_owned())]).collect()
        };
        let some = Orphans::of(&rows(&["1", "0", "1"]));
        assert_eq!(some, Orphans { found: 3, safe_to_drop: 2 });
        assert!(some.text().is_some_and(|text| text.contains("3, 2 safe to drop")));
        assert_eq!(Orphans::of(&rows(&[])).text(), None);
    }

    /// Promise: how far a recovery is, in one line.
    #[test]
    fn progress_is_a_line() {
        let progress = Recovering {
            phase: "replaying log".into(),
            done_bytes: 1 << 30,
            total_bytes: 4 << 30,
            eta_s: Some(16.0),
            stalled_s: 12.0,
            ..Recovering::default()
        };
        let text = progress.text();
        assert!(text.starts_with("replaying log 25%  1.0/4.0 GiB  "), "{text}");
        assert!(text.ends_with("stalled 12 s"), "{text}");
    }
}

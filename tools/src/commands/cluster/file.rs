//! The cluster file: which nodes there are to be, on which hosts, and what holds for all of them.
//!
//! ```yaml
//! high_availability: true
//! root_password: secret
//! sync_variables:
//!   consensus_enabled: ON
//! hosts:
//!   - hostname: 127.0.0.1
//!     nodes:
//!       - { role: Master, config: { port: 3306 } }
//!       - { role: Aggregator, aggregator_role: voting_member, config: { port: 3308 } }
//!       - { role: Leaf, availability_group: 1, config: { port: 3310, maximum_memory: 2048 } }
//! ```

use std::net::{TcpListener, ToSocketAddrs};

use super::NODE_PORT_ABOVE;
use super::registry::Role;
use super::yaml::{Document, Item};
use crate::failure::{Exit, Failure};

/// Where probes, metrics and status of a node are, unless it is said: so far above its port for clients.
pub(super) const HTTP_PORT_ABOVE: u16 = 20_000;

/// Port of a node for which none is given.
const DEFAULT_PORT: u16 = 3306;

const TOP: [&str; 8] = [
    "cluster",
    "license",
    "high_availability",
    "redundancy",
    "package_type",
    "root_password",
    "sync_variables",
    "hosts",
];
const OF_HOST: [&str; 4] = ["hostname", "localhost", "ssh", "nodes"];
const OF_NODE: [&str; 7] =
    ["role", "aggregator_role", "availability_group", "port", "memory", "data", "config"];
const OF_CONFIG: [&str; 4] = ["port", "http_port", "password", "maximum_memory"];

/// What a file asks for, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Copies of each partition.
    pub(super) redundancy: u32,
    /// `load_balanced`, if that was asked for.
    pub(super) is_load_balanced: bool,
    /// `consensus_election_timeout` in milliseconds, if it was said.
    pub(super) election_timeout: Option<u64>,
    /// Variables for SET GLOBAL.
    pub(super) variables: Vec<(String, String)>,
    /// root's password, if there is to be one.
    pub(super) password: Option<String>,
    /// The master aggregator first, then the others as they stand in the file, aggregators before leaves.
    pub(super) nodes: Vec<Planned>,
    /// What is possible and hardly wanted.
    pub(super) warnings: Vec<String>,
}

/// A node that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// What it is for.
    pub(super) role: Role,
    /// Whether it is the first, which founds the cluster.
    pub(super) founds: bool,
    /// Of an aggregator, whether it votes.
    pub(super) votes: bool,
    /// Of a leaf, its group.
    pub(super) group: Option<u32>,
    /// Where it listens.
    pub(super) host: String,
    /// The port for clients.
    pub(super) port: u16,
    /// The port for probes, metrics and status.
    pub(super) http_port: u16,
    /// Most memory of rows, as it is written in settings.
    pub(super) memory: Option<String>,
    /// Its data directory, if it was said.
    pub(super) data: Option<String>,
}

fn wrong(why: impl std::fmt::Display, fix: &str) -> Failure {
    Failure::new("cannot use the cluster file", why, fix).exiting(Exit::Usage)
}

/// Reads and checks a file. `force` makes warnings of what can be done and is hardly wanted.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn read(name: &str, text: &str, force: bool) -> Result<Plan, Failure> {
    let document = Document::read(name, text)?;
    let mut reading = Reading::default();
    for (key, value) in document.root().map("the file", &TOP)? {
        reading.top(&key, value)?;
    }
    reading.plan(force)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    plan: Plan,
    consensus: bool,
    high_availability: Option<bool>,
    redundancy: Option<u32>,
}

impl Reading {
    fn top(&mut self, key: &str, value: Item<'_, '_>) -> Result<(), Failure> {
        match key {
            "high_availability" => self.high_availability = Some(value.truth(key)?),
            "redundancy" => {
                let number: u32 = value.number(key)?;
                if !(1..=2).contains(&number) {
                    return Err(value.wrong(&format!("redundancy is {number}"), "write 1 or 2"));
                }
                self.redundancy = Some(number);
            }
            "root_password" => self.password(value)?,
            "sync_variables" => {
                for (name, value) in value.map(key, &[])? {
                    self.variable(&name, value)?;
                }
            }
            "hosts" => {
                for host in value.list(key)? {
                    self.host(host)?;
                }
            }
            // Accepted, because files of before have them; nothing depends on them.
            _ => drop(value.text(key)?),
        }
        Ok(())
    }

    fn password(&mut self, value: Item<'_, '_>) -> Result<(), Failure> {
        let password = value.exact_text("the password")?;
        let other = self.plan.password.replace(password.clone()).is_some_and(|it| it != password);
        if other {
            let what = "there are two passwords";
            return Err(value.wrong(what, "accounts are the cluster's: give root one password"));
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, value: Item<'_, '_>) -> Result<(), Failure> {
        let name = name.replace('-', "_").to_ascii_lowercase();
        match name.as_str() {
            "consensus_enabled" => {
                self.consensus = value.truth(&name)?;
                if !self.consensus {
                    self.plan.variables.push((name, "OFF".to_owned()));
                }
            }
            "consensus_election_timeout" => {
                self.plan.election_timeout = Some(value.number(&name)?);
            }
            "leaf_failover_fanout" => {
                let how = value.one_of(&name, &["paired", "load_balanced"])?;
                self.plan.is_load_balanced = how == "load_balanced";
            }
            _ if name.is_empty()
                || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
            {
                return Err(value.wrong(&format!("'{name}' is no variable"), "correct its name"));
            }
            _ => {
                let value = value.text(&name)?;
                self.plan.variables.push((name, value));
            }
        }
        Ok(())
    }

    fn host(&mut self, host: Item<'_, '_>) -> Result<(), Failure> {
        let entries = host.map("a host", &OF_HOST)?;
        let of = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let Some(hostname) = of("hostname") else {
            return Err(host.wrong("a host without hostname", "write hostname: 127.0.0.1"));
        };
        let name = hostname.text("hostname")?;
        let is_said = of("localhost").map(|value| value.truth("localhost")).transpose()?;
        if of("ssh").is_some() || is_said == Some(false) || !is_here(&name) {
            let what = format!("host '{name}' is not this machine");
            let fix = "give addresses of this machine; on other machines start each node with \
                       resproutd node --config, and add it with add-leaf or add-aggregator";
            return Err(hostname.wrong(&what, fix));
        }
        if !is_loopback(&name) {
            let what = format!("host '{name}' is no loopback address");
            let fix = "write 127.0.0.1: a new cluster lets root in from there only";
            return Err(hostname.wrong(&what, fix));
        }
        let Some(nodes) = of("nodes") else {
            return Err(host.wrong(&format!("host '{name}' has no nodes"), "write nodes:"));
        };
        for node in nodes.list("nodes")? {
            self.node(&name, node)?;
        }
        Ok(())
    }

    fn node(&mut self, host: &str, item: Item<'_, '_>) -> Result<(), Failure> {
        let mut node = Planned {
            role: Role::Leaf,
            founds: false,
            votes: false,
            group: None,
            host: host.to_owned(),
            port: 0,
            http_port: 0,
            memory: None,
            data: None,
        };
        let mut role = None;
        for (key, value) in item.map("a node", &OF_NODE)? {
            match key.as_str() {
                "role" => role = Some(value.one_of(&key, &["Master", "Aggregator", "Leaf"])?),
                "aggregator_role" => {
                    node.votes =
                        value.one_of(&key, &["voting_member", "follower"])? == "voting_member";
                }
                "availability_group" => {
                    let group = value.one_of(&key, &["1", "2"])?;
                    node.group = Some(if group == "1" { 1 } else { 2 });
                }
                "port" => node.port = value.number(&key)?,
                "memory" => node.memory = Some(value.text(&key)?),
                "data" => node.data = Some(value.text(&key)?),
                _ => self.config(&mut node, value)?,
            }
        }
        match role {
            Some("Master") => (node.role, node.founds, node.votes) = (Role::Aggregator, true, true),
            Some("Aggregator") => node.role = Role::Aggregator,
            Some(_) => {}
            None => return Err(item.wrong("a node without role", "write role: Leaf")),
        }
        if node.role == Role::Leaf && node.votes {
            return Err(
                item.wrong("a leaf that votes", "aggregators vote: take aggregator_role out")
            );
        }
        if node.role == Role::Aggregator && node.group.is_some() {
            let fix = "leaves are in groups: take availability_group out";
            return Err(item.wrong("an aggregator in a group", fix));
        }
        node.complete(&item)?;
        self.plan.nodes.push(node);
        Ok(())
    }

    fn config(&mut self, node: &mut Planned, value: Item<'_, '_>) -> Result<(), Failure> {
        for (key, value) in value.map("config", &OF_CONFIG)? {
            match key.as_str() {
                "port" => node.port = value.number(&key)?,
                "http_port" => node.http_port = value.number(&key)?,
                "password" => self.password(value)?,
                // In MB, as such files have it.
                _ => node.memory = Some(format!("{}MiB", value.number::<u64>(&key)?)),
            }
        }
        Ok(())
    }

    fn plan(self, force: bool) -> Result<Plan, Failure> {
        let Self { mut plan, consensus, high_availability, redundancy } = self;
        let masters = plan.nodes.iter().filter(|node| node.founds).count();
        if masters != 1 {
            let why = format!("there are {masters} nodes of role Master");
            return Err(wrong(why, "give exactly one node the role Master"));
        }
        let voters = plan.nodes.iter().filter(|node| node.votes && !node.founds).count();
        if voters > 0 && !consensus {
            let why = "a node has aggregator_role voting_member, and consensus_enabled is not ON";
            return Err(wrong(why, "write consensus_enabled: ON below sync_variables"));
        }
        if consensus && voters < 2 {
            let why = format!(
                "consensus_enabled is ON, and {voters} aggregators beside the Master vote: \
                 losing one voter would stop the cluster"
            );
            if !force {
                let fix = "give two aggregators aggregator_role: voting_member, or use --force";
                return Err(wrong(why, fix));
            }
            plan.warnings.push(why);
        }
        let leaves = plan.nodes.iter().filter(|node| node.role == Role::Leaf).count();
        plan.redundancy = match (high_availability, redundancy) {
            (Some(is), Some(number)) if is != (number == 2) => {
                let why = "high_availability and redundancy contradict each other";
                return Err(wrong(why, "take one of them out"));
            }
            (_, Some(number)) => number,
            (Some(is), None) => 1 + u32::from(is),
            (None, None) => 1 + u32::from(leaves >= 2),
        };
        if plan.redundancy == 2 && leaves % 2 == 1 {
            let what = format!("{leaves} leaves cannot be paired: one stays without a pair");
            plan.warnings.push(what);
        }
        if leaves == 0 {
            plan.warnings.push("there is no leaf: nothing can be stored yet".to_owned());
        }
        // The first founds; leaves come last, because a cluster without voters can be lost.
        plan.nodes.sort_by_key(|node| (!node.founds, node.role == Role::Leaf));
        ports(&plan.nodes)?;
        Ok(plan)
    }
}

impl Planned {
    /// Fills in what was not said.
    fn complete(&mut self, item: &Item<'_, '_>) -> Result<(), Failure> {
        if self.port == 0 {
            self.port = DEFAULT_PORT;
        }
        if self.port.checked_add(NODE_PORT_ABOVE).is_none() {
            let what = format!("port {} leaves none for nodes, which is 10000 higher", self.port);
            return Err(item.wrong(&what, "choose a port up to 55535"));
        }
        if self.http_port == 0 {
            self.http_port = self.port.checked_add(HTTP_PORT_ABOVE).ok_or_else(|| {
                let what = format!("port {} leaves none for HTTP, 20000 higher", self.port);
                item.wrong(&what, "choose config.http_port")
            })?;
        }
        Ok(())
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// No port is taken twice.
fn ports(nodes: &[Planned]) -> Result<(), Failure> {
    let mut taken: Vec<(&str, u16, String)> = Vec::new();
    for node in nodes {
        let of = [
            (node.port, "clients"),
            (node.port + NODE_PORT_ABOVE, "nodes"),
            (node.http_port, "HTTP"),
        ];
        for (port, what) in of {
            let who = format!("{what} of {}", node.address());
            if let Some((.., other)) =
                taken.iter().find(|(host, p, _)| *host == node.host && *p == port)
            {
                let why = format!("port {port} is for {other} and for {who}");
                return Err(wrong(why, "give each node a port of its own"));
            }
            taken.push((&node.host, port, who));
        }
    }
    Ok(())
}

/// Whether a host is this machine: only its own addresses can be listened on.
pub(super) fn is_here(host: &str) -> bool {
    TcpListener::bind((host, 0)).is_ok()
}

/// Whether a host is reached by nobody but this machine.
fn is_loopback(host: &str) -> bool {
    (host, 0).to_socket_addrs().is_ok_and(|mut all| all.all(|address| address.ip().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
high_availability: true
root_password: secret
sync_variables:
  consensus_enabled: ON
  leaf_failover_fanout: load_balanced
hosts:
  - hostname: 127.0.0.1
    localhost: true
    nodes:
      - { role: Leaf, availability_group: 2, config: {port: 3311} }
      - role: Master
        config: {port: 3306, password: secret}
      - role: Aggregator
        aggregator_role: voting_member
        config: {port: 3308}
      - role: Aggregator
        aggregator_role: voting_member
        config: {port: 3309, http_port: 9}
      - role: Leaf
        availability_group: 1
        config: {port: 3310, maximum_memory: 2048}
";

    fn why(text: &str) -> String {
        let failure = read("c.yaml", text, false).expect_err("it is wrong");
        assert_eq!(failure.exit, Exit::Usage);
        failure.why
    }

    /// Promise: what a file says is what is planned: the master first, leaves last.
    #[test]
    fn a_good_file_is_a_plan() {
        let plan = read("c.yaml", GOOD, false).expect("it is good");
        assert_eq!((plan.redundancy, plan.is_load_balanced), (2, true));
        assert_eq!(plan.password.as_deref(), Some("secret"));
        let ports: Vec<_> = plan.nodes.iter().map(|node| node.port).collect();
        assert_eq!(ports, [3306, 3308, 3309, 3311, 3310]);
        assert!(plan.nodes[0].founds && plan.nodes[1].votes);
        assert_eq!((plan.nodes[0].http_port, plan.nodes[2].http_port), (23306, 9));
        assert_eq!(plan.nodes[4].memory.as_deref(), Some("2048MiB"));
        assert_eq!(plan.warnings, [""; 0]);
    }

    /// Promise (W16): voting members need consensus; one Master, no more and no less.
    #[test]
    fn voters_need_consensus_and_there_is_one_master() {
        assert!(
            why(&GOOD.replace("consensus_enabled: ON", "consensus_enabled: OFF"))
                .contains("consensus_enabled is not ON")
        );
        assert!(why(&GOOD.replace("role: Master", "role: Aggregator")).contains("0 nodes of role"));
        assert!(why(&GOOD.replacen("role: Aggregator", "role: Master", 1)).contains("2 nodes of"));
        let one = GOOD.replacen("aggregator_role: voting_member", "aggregator_role: follower", 1);
        assert!(why(&one).contains("1 aggregators beside"));
        let forced = read("c.yaml", &one, true).expect("forced");
        assert_eq!(forced.warnings.len(), 1);
    }

    /// Promise: an odd number of leaves is said, and taken.
    #[test]
    fn a_leaf_without_a_pair_is_said() {
        let odd = GOOD
            .replace("      - { role: Leaf, availability_group: 2, config: {port: 3311} }\n", "");
        let plan = read("c.yaml", &odd, false).expect("it is good");
        assert!(plan.warnings[0].contains("one stays without a pair"), "{:?}", plan.warnings);
    }

    /// Promise: what is wrong is told with its place and what would be right.
    #[test]
    fn errors_have_places() {
        let failure = read("c.yaml", &GOOD.replace("role: Master", "rolle: Master"), false);
        let failure = failure.expect_err("unknown");
        assert_eq!(failure.why, "c.yaml:11:9: unknown key 'rolle' of a node");
        assert_eq!(failure.fix, "did you mean 'role'?");
        assert!(why(&GOOD.replace("port: 3311", "port: 3306")).contains("port 3306 is for"));
        assert!(
            why(&GOOD.replace("localhost: true", "ssh: {user: ops}")).contains("not this machine")
        );
        assert!(
            why(&GOOD.replace("127.0.0.1", "192.0.2.7")).contains("c.yaml:7:15: host '192.0.2.7'")
        );
        assert!(why(&GOOD.replace("3310,", "x,")).contains("port is 'x'"));
        assert!(
            why(&GOOD.replace("password: secret}", "password: other}")).contains("two passwords")
        );
        assert!(why("a: [").contains("c.yaml:"));
        assert!(why("").contains("one document"));
        assert!(why(&format!("{GOOD}hosts: []\n")).contains("duplicated key"));
    }
}

//! What the nodes of this machine are at this moment: by their processes, ports and what they say over HTTP.

use serde::Serialize;
use serde_json::Value;

use super::probe;
use super::registry::{Entry, Registry, Role};
use crate::failure::{Exit, Failure};

/// A node, looked at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// As it is listed.
    pub(super) entry: Entry,
    /// Whether its process runs.
    pub(super) runs: bool,
    /// Whether its port for clients is open.
    pub(super) is_open: bool,
    /// What it says, if it answers.
    pub(super) status: Option<Value>,
}

/// A row of `list-nodes`. The names are kept: scripts read them.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) role: &'static str,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) process_state: &'static str,
    pub(super) connectable: bool,
    pub(super) version: Option<String>,
    pub(super) recovery_state: &'static str,
    pub(super) availability_group: Option<u64>,
    pub(super) bind_address: String,
}

impl Seen {
    fn look(entry: &Entry) -> Self {
        let runs = entry.process.is_some_and(super::registry::Process::runs);
        let status = if runs { probe::status(&entry.host, entry.http_port) } else { None };
        let is_open = runs && probe::is_open(&entry.host, entry.port);
        Self { entry: entry.clone(), runs, is_open, status }
    }

    /// What it says of itself in a cluster, once it is in one.
    pub(super) fn member(&self) -> Option<&Value> {
        self.status.as_ref()?.get("member").filter(|member| member.is_object())
    }

    /// `WAITING`, `RECOVERING`, `ONLINE`, `RECOVERY_FAILED`, `STOPPING`; nothing if it does not answer.
    pub(super) fn state(&self) -> Option<&str> {
        self.status.as_ref()?.get("state")?.as_str()
    }

    /// Whether it takes itself for the master aggregator, which an old one does that is cut off.
    pub(super) fn is_master(&self) -> bool {
        let Some(member) = self.member() else { return false };
        let master = &member["master_aggregator"]["node"];
        self.entry.role == Role::Aggregator && master.is_u64() && *master == member["node"]
    }

    pub(super) fn row(&self) -> Row {
        let role = match (self.entry.role, self.state()) {
            _ if self.is_master() => "Master",
            (_, Some("WAITING")) => "Unknown",
            (Role::Aggregator, _) => "Aggregator",
            (Role::Leaf, _) => "Leaf",
        };
        let recovery_state = match self.state() {
            Some("ONLINE") => "Online",
            Some("RECOVERING") => "Recovering",
            Some("RECOVERY_FAILED") => "Recovery failed",
            _ => "Unknown",
        };
        let version = self.status.as_ref().and_then(|status| status["version"].as_str());
        Row {
            id: self.entry.id.clone(),
            role,
            host: self.entry.host.clone(),
            port: self.entry.port,
            process_state: if self.runs { "Running" } else { "Stopped" },
            connectable: self.is_open,
            version: version.map(str::to_owned),
            recovery_state,
            availability_group: self.member().and_then(|m| m["availability_group"].as_u64()),
            bind_address: self.entry.host.clone(),
        }
    }
}

/// Looks at all nodes at once.
pub(super) fn all(registry: &Registry) -> Vec<Seen> {
    std::thread::scope(|scope| {
        let looking: Vec<_> =
            registry.nodes.iter().map(|entry| scope.spawn(|| Seen::look(entry))).collect();
        let seen = looking
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        seen.collect()
    })
}

/// Looks at one node.
pub(super) fn one(entry: &Entry) -> Seen {
    Seen::look(entry)
}

/// A node that knows the master aggregator, and where that is. Two that take themselves for it are refused: which of
/// them is cut off cannot be said from here.
///
/// # Errors
/// If no aggregator answers, none knows a master, or two are.
pub(super) fn master(seen: &[Seen]) -> Result<(&Seen, String), Failure> {
    let masters: Vec<&Seen> = seen.iter().filter(|node| node.is_master()).collect();
    match masters[..] {
        [master] => Ok((master, master.entry.address())),
        [] => {
            let aggregators = seen.iter().filter(|node| node.entry.role == Role::Aggregator);
            let known = aggregators.filter_map(|node| {
                let address = node.member()?["master_aggregator"]["address"].as_str()?;
                Some((node, address.to_owned()))
            });
            known.into_iter().next().ok_or_else(|| {
                let why = "no aggregator of this machine runs and knows one";
                let fix = "see list-nodes; start-node starts those that do not run";
                Failure::new("cannot find the master aggregator", why, fix)
                    .exiting(Exit::Unreachable)
            })
        }
        _ => {
            let ids: Vec<&str> = masters.iter().map(|node| node.entry.short()).collect();
            let why = format!("nodes {} both run and take themselves for it", ids.join(" and "));
            let fix = "stop the one that is cut off from the others: resprout stop-node --id ID";
            Err(Failure::new("there are two master aggregators", why, fix).exiting(Exit::Refused))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(id: &str, role: Role, status: Value) -> Seen {
        let entry = Entry {
            id: id.into(),
            role,
            host: "127.0.0.1".into(),
            port: 3306,
            http_port: 1,
            data: "/d".into(),
            process: None,
        };
        Seen { entry, runs: true, is_open: true, status: Some(status).filter(|it| !it.is_null()) }
    }

    fn aggregator(id: &str, own: u64, master: u64) -> Seen {
        let master = json!({"node": master, "address": format!("127.0.0.1:{master}")});
        let member = json!({"node": own, "master_aggregator": master});
        node(id, Role::Aggregator, json!({"state": "ONLINE", "version": "1", "member": member}))
    }

    /// Promise (W23): two running masters are refused with advice, and no longer once one is stopped.
    #[test]
    fn w23_two_masters_are_refused() {
        let (one, two) = (aggregator("aaaaaaaa", 1, 1), aggregator("bbbbbbbb", 2, 2));
        let refused = master(&[one, two.clone()]).expect_err("two");
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.why.contains("aaaaaaaa") && refused.why.contains("bbbbbbbb"));
        assert!(refused.fix.contains("stop-node"), "{refused}");
        let (found, address) =
            master(std::slice::from_ref(&two)).map_err(|f| f.to_string()).expect("one");
        assert_eq!((found.entry.id.as_str(), address.as_str()), ("bbbbbbbb", "127.0.0.1:3306"));
    }

    /// Promise: where no node here is the master aggregator, who knows it is asked; and if nobody does, that is said.
    #[test]
    fn who_knows_the_master_is_asked() {
        let child = aggregator("cccccccc", 3, 9);
        assert_eq!(master(&[child]).expect("known").1, "127.0.0.1:9");
        let leaf = node("dddddddd", Role::Leaf, Value::Null);
        assert_eq!(master(&[leaf]).expect_err("nobody").exit, Exit::Unreachable);
    }

    /// Promise: a row has the words that are documented.
    #[test]
    fn rows_have_the_documented_words() {
        let row = aggregator("a", 1, 1).row();
        assert_eq!(
            (row.role, row.process_state, row.recovery_state),
            ("Master", "Running", "Online")
        );
        let waiting = node("b", Role::Leaf, json!({"state": "WAITING"})).row();
        assert_eq!((waiting.role, waiting.recovery_state), ("Unknown", "Unknown"));
        let failed = node("c", Role::Leaf, json!({"state": "RECOVERY_FAILED"})).row();
        assert_eq!((failed.role, failed.recovery_state), ("Leaf", "Recovery failed"));
    }
}

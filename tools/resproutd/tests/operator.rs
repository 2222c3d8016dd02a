//! `resprout`'s commands for clusters, over real processes that outlive them.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use resprout_node::testing::free_port;
use serde_json::Value;
use support::{Ran, directory, file};

const PATIENCE: Duration = Duration::from_secs(120);

/// The command's program, from the environment or beside what is tested: this package does not build it.
fn resprout() -> Option<PathBuf> {
    let said = std::env::var_os("RESPROUT").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_BIN_EXE_resproutd")).with_file_name("resprout");
    let path = said.unwrap_or(beside);
    if path.is_file() {
        return Some(path);
    }
    // Past the harness, which keeps what a test that passes prints.
    let why = format!("skipped: there is no {}\n", path.display());
    std::io::stderr().write_all(why.as_bytes()).expect("stderr is there");
    None
}

/// A cluster, by its state directory. Dropped, it is destroyed.
struct Operator {
    program: PathBuf,
    state: PathBuf,
}

impl Operator {
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--state-dir").arg(&self.state).stdin(Stdio::null());
        command.output().expect("the binary runs").into()
    }

    /// A command that must do what it is asked for.
    fn done(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran
    }

    fn setup(&self, text: &str) -> Ran {
        let path = file(self.state.parent().expect("a directory"), "cluster.yaml", text);
        let resproutd = env!("CARGO_BIN_EXE_resproutd");
        let path = path.to_str().expect("text");
        self.run(&["setup-cluster", "-y", "--cluster-file", path, "--resproutd", resproutd])
    }

    fn nodes(&self) -> Vec<Value> {
        let listed = self.done(&["list-nodes", "--json"]).json();
        assert_eq!(listed["schema_version"], 1);
        listed["nodes"].as_array().expect("a list").clone()
    }

    /// The id of the first node of a role.
    fn id(&self, role: &str) -> String {
        let ran = self.done(&["list-nodes", "-q", "-r", role]);
        ran.out.lines().next().expect("one").to_owned()
    }

    /// Waits until `status` ends with that code.
    fn until_status(&self, code: i32) {
        let end = Instant::now() + PATIENCE;
        loop {
            let ran = self.run(&["status"]);
            if ran.code == code {
                return;
            }
            assert!(Instant::now() < end, "not {code} but {}: {}{}", ran.code, ran.out, ran.err);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    async fn connect(&self, port: u16) -> Conn {
        let password = std::fs::read_to_string(self.state.join("password")).expect("kept");
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port);
        let options = options.user(Some("resprout")).pass(Some(password)).prefer_socket(false);
        Conn::new(options).await.expect("connected")
    }
}

impl Drop for Operator {
    /// A failed test leaves no node behind, and shows what they had to say.
    #[expect(clippy::print_stderr, reason = "for whoever reads why a test failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folders = std::fs::read_dir(self.state.join("nodes")).into_iter().flatten();
            for folder in folders.flatten() {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(30)..].join("\n");
                eprintln!("{}:\n{last}", folder.path().display());
            }
        }
        let _ = self.run(&["destroy-cluster", "-y"]);
    }
}

fn operator(dir: &Path, name: &str) -> Option<Operator> {
    let program = resprout()?;
    let state = dir.join(name).join("state");
    std::fs::create_dir_all(dir.join(name)).expect("made");
    Some(Operator { program, state })
}

fn port() -> u16 {
    free_port().expect("a port")
}

/// One node of a cluster file.
fn node(role: &str, port: u16) -> String {
    let http_port = self::port();
    format!(
        "      - {{ {role}, config: {{ port: {port}, http_port: {http_port}, maximum_memory: 256 }} }}\n"
    )
}

/// Three voters and two leaves; the port of the first.
fn whole_file() -> (u16, String) {
    let (master, voter) = ("role: Master", "role: Aggregator, aggregator_role: voting_member");
    let first = port();
    let nodes = [
        node(master, first),
        node(voter, port()),
        node(voter, port()),
        node("role: Leaf, availability_group: 1", port()),
        node("role: Leaf, availability_group: 2", port()),
    ];
    let text = format!(
        "high_availability: true\nroot_password: the password\nsync_variables:\n  \
         consensus_enabled: ON\n  consensus_election_timeout: 1000\n  max_connections: 77\nhosts:\n  \
         - hostname: 127.0.0.1\n    localhost: true\n    nodes:\n{}",
        nodes.concat()
    );
    (first, text)
}

/// Promise (W16, P01): a cluster from a file is whole and outlives the command; its variables and root's password hold; a
/// leaf that is killed makes it degraded and comes back; all nodes are stopped in order and started again with all rows;
/// nothing is left of it once it is destroyed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w16_a_cluster_from_a_file() {
    let dir = directory();
    let Some(operator) = operator(dir.path(), "one") else { return };
    let (first, text) = whole_file();
    let refused = operator.setup(&text.replace("consensus_enabled: ON", "consensus_enabled: OFF"));
    assert!(refused.code == 2 && refused.err.contains("consensus_enabled"), "{}", refused.err);
    assert!(!operator.state.exists(), "what is refused makes nothing");
    let made = operator.setup(&text);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    assert_eq!(operator.setup(&text).code, 7, "there is one already");
    let nodes = operator.nodes();
    let count = |role: &str| nodes.iter().filter(|node| node["role"] == role).count();
    assert_eq!((count("Master"), count("Aggregator"), count("Leaf")), (1, 2, 2), "{nodes:?}");
    for node in &nodes {
        assert_eq!(node["process_state"], "Running");
        assert_eq!(node["connectable"], true);
        assert_eq!(node["recovery_state"], "Online");
    }
    let shown = operator.done(&["show-aggregators", "--json"]).json();
    let aggregators = shown["aggregators"].as_array().expect("a list");
    let is = |role: &str| aggregators.iter().filter(|node| node["role"] == role).count();
    assert_eq!((is("Leader"), is("Voting Member")), (1, 2), "{shown}");
    let shown = operator.done(&["show-leaves"]).out;
    assert!(shown.starts_with("Host ") && shown.lines().count() == 3, "{shown}");
    operator.until_status(0);
    let mut conn = operator.connect(first).await;
    let set: Option<(String, u64)> =
        conn.query_first("SHOW VARIABLES LIKE 'max_connections'").await.expect("answered");
    assert_eq!(set.expect("a variable").1, 77);
    let root = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(first);
    let root = Conn::new(root.user(Some("root")).prefer_socket(false)).await;
    assert!(root.is_err(), "root has a password");
    conn.query_drop("CREATE DATABASE shop PARTITIONS 4").await.expect("made");
    conn.query_drop("CREATE TABLE shop.t (id BIGINT PRIMARY KEY)").await.expect("made");
    conn.query_drop("INSERT INTO shop.t VALUES (1), (2), (3)").await.expect("written");
    operator.until_status(0);
    let leaf = operator.id("leaf");
    assert_eq!(operator.run(&["stop-node", "--id", &leaf]).code, 2, "nobody was asked");
    operator.done(&["stop-node", "--id", &leaf, "-y", "--kill"]);
    operator.until_status(3);
    assert_eq!(operator.done(&["list-nodes", "-q", "-p", "stopped"]).out.trim(), leaf);
    let resproutd = ["--resproutd", env!("CARGO_BIN_EXE_resproutd")];
    operator.done(&[&["start-node", "--id", &leaf][..], &resproutd].concat());
    operator.until_status(0);
    let events = operator.done(&["events"]).out;
    assert!(events.contains("NODE_OFFLINE") && events.contains("PARTITION_PROMOTED"), "{events}");
    drop(conn);
    operator.done(&["stop-node", "--all", "-y"]);
    assert_eq!(operator.run(&["status"]).code, 5);
    operator.done(&[&["start-node", "--all"][..], &resproutd].concat());
    operator.until_status(0);
    let mut conn = operator.connect(first).await;
    let rows: Option<u64> = conn.query_first("SELECT COUNT(*) FROM shop.t").await.expect("read");
    assert_eq!(rows, Some(3));
    drop(conn);
    operator.done(&["destroy-cluster", "-y"]);
    assert!(!operator.state.exists(), "something is left");
}

/// Roles of aggregators as `show-aggregators` has them, in order; of the leader it knows no latency.
fn roles(operator: &Operator) -> Vec<String> {
    let shown = operator.done(&["show-aggregators", "--json"]).json();
    let shown = shown["aggregators"].as_array().expect("a list");
    let mut roles: Vec<_> =
        shown.iter().map(|node| node["role"].as_str().expect("text").to_owned()).collect();
    roles.sort();
    roles
}

/// Waits until the aggregators have these roles.
fn until_roles(operator: &Operator, expected: &[&str]) {
    let end = Instant::now() + PATIENCE;
    while roles(operator) != expected {
        assert!(Instant::now() < end, "not {expected:?} but {:?}", roles(operator));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Promise (W16, 3 to 6): voters are made and added by commands alone, once consensus is turned on; a follower is replaced by one that votes; another voter
/// takes over when the first is killed, and the commands find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w16_a_cluster_by_commands() {
    let dir = directory();
    let Some(operator) = operator(dir.path(), "one") else { return };
    let master = port();
    let text = format!(
        "sync_variables:\n  consensus_enabled: OFF\n  consensus_election_timeout: 1000\nhosts:\n  - hostname: 127.0.0.1\n    nodes:\n{}",
        node("role: Master", master)
    );
    let made = operator.setup(&text);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    let first = operator.id("master");
    let create = || {
        let (port, http) = (port().to_string(), port().to_string());
        let args =
            ["create-node", "-q", "--role", "aggregator", "--memory", "256MiB", "--port", &port];
        let resproutd = ["--resproutd", env!("CARGO_BIN_EXE_resproutd")];
        let made = operator.done(&[&args[..], &["--http-port", &http], &resproutd].concat());
        made.out.trim().to_owned()
    };
    // 4
    let voter = create();
    let add_voter = ["add-aggregator", "--memsql-id", &voter, "--role", "voting_member"];
    let refused = operator.run(&add_voter);
    let why = "SET GLOBAL consensus_enabled = ON first";
    assert!(refused.code == 1 && refused.err.contains(why), "{}", refused.err);
    // 3
    let on = ["--key=consensus-enabled", "--value=ON", "--set-global", "--role", "master", "-y"];
    operator.done(&[&["update-config"], &on[..]].concat());
    operator.done(&add_voter);
    let follower = create();
    operator.done(&["add-aggregator", "--memsql-id", &follower]);
    until_roles(&operator, &["Follower", "Leader", "Voting Member"]);
    // 5
    operator.done(&["remove-aggregator", "-y", "--memsql-id", &follower]);
    until_roles(&operator, &["Leader", "Voting Member"]);
    // What was removed belongs to nobody: another takes its place.
    operator.done(&["delete-node", "-y", "--stop", "--memsql-id", &follower]);
    let follower = create();
    operator.done(&["add-aggregator", "--memsql-id", &follower, "--role", "voting_member"]);
    until_roles(&operator, &["Leader", "Voting Member", "Voting Member"]);
    // 6
    let mut conn = operator.connect(master).await;
    let found: Vec<(String, u64)> =
        conn.query("SHOW VARIABLES LIKE '%election%'").await.expect("answered");
    assert_eq!(found, [("consensus_election_timeout".to_owned(), 1000)]);
    drop(conn);
    // Two of three are a majority.
    operator.done(&["stop-node", "-y", "--kill", "--memsql-id", &first]);
    let end = Instant::now() + PATIENCE;
    while operator.run(&["show-leaves"]).code != 0 {
        assert!(Instant::now() < end, "nobody takes over");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(operator.id("master"), first);
}

/// Promise: nodes are made, added, changed, removed and deleted one by one; what the server refuses is shown as it says it.
#[test]
fn nodes_come_and_go() {
    let dir = directory();
    let Some(operator) = operator(dir.path(), "one") else { return };
    let text = format!(
        "redundancy: 1\nhosts:\n  - hostname: 127.0.0.1\n    nodes:\n{}{}",
        node("role: Master", port()),
        node("role: Leaf", port()),
    );
    let made = operator.setup(&text);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    let resproutd = ["--resproutd", env!("CARGO_BIN_EXE_resproutd")];
    let (new, http) = (port().to_string(), port().to_string());
    let create = ["create-node", "-q", "--role", "leaf", "--memory", "256MiB", "--port", &new];
    let create = [&create[..], &["--http-port", &http], &resproutd].concat();
    let id = operator.done(&create).out.trim().to_owned();
    assert_eq!(operator.run(&create).code, 7, "its ports are taken");
    assert_eq!(operator.id("unknown"), id);
    operator.done(&["add-leaf", "--id", &id[..8]]);
    operator.until_status(0);
    let describe = || operator.done(&["describe-node", "--json", "--id", &id]).json();
    // It hears of what it is a moment later than who added it.
    let end = Instant::now() + PATIENCE;
    while describe()["state"] != "online" {
        assert!(Instant::now() < end, "{}", describe());
        std::thread::sleep(Duration::from_millis(50));
    }
    let described = describe();
    assert_eq!(described["role"], "Leaf");
    assert!(described["pid"].is_u64() && described["nodeId"].is_u64(), "{described}");
    let again = operator.run(&["add-leaf", "--id", &id]);
    assert!(again.code == 1 && again.err.contains("ERROR "), "{}", again.err);
    let update = |key: &str, value: &str| {
        let args = ["update-config", "-y", "--id", &id, "--key", key, "--value", value];
        operator.run(&[&args[..], &resproutd].concat())
    };
    assert_eq!(update("maximum-memory", "300MiB").code, 0);
    let wrong = update("maximum-memory", "much");
    assert!(wrong.code == 2 && wrong.err.contains("'much'"), "{}", wrong.err);
    let wrong = update("maximum_memroy", "1");
    assert!(wrong.code == 2 && wrong.err.contains("maximum"), "{}", wrong.err);
    assert_eq!(update("listen", "127.0.0.1:1").code, 2, "who it is stays");
    operator.done(&[&["restart-node", "-y", "--id", &id][..], &resproutd].concat());
    let status = format!("127.0.0.1:{http}").parse().expect("an address");
    let status: Value = serde_json::from_str(&support::get(status, "/api/status").1).expect("JSON");
    assert_eq!(status["maximum_memory_bytes"], 300 << 20);
    assert_eq!(operator.run(&["delete-node", "-y", "--id", &id]).code, 7, "it runs");
    operator.until_status(0);
    operator.done(&["remove-leaf", "-y", "--id", &id]);
    operator.done(&["delete-node", "-y", "--stop", "--id", &id]);
    assert_eq!(operator.nodes().len(), 2);
}

/// Runs the plan that was shown, ends it while a promotion waits for a transaction, and goes on with it.
async fn cancelled_and_resumed(operator: &Operator, conn: &mut Conn, master: u16) {
    let shown = operator.done(&["rebalance", "--database", "a b", "--dry-run"]);
    let (_, id) = shown.out.split_once("; plan ").expect("a name");
    let id = id.split_whitespace().next().expect("a name");
    assert!(shown.err.contains(&format!("--database 'a b' --plan {id}")), "{}", shown.err);
    let stale = operator.run(&["rebalance", "--plan", "00000000"]);
    assert!(stale.code == 7 && stale.is_three_lines(), "{}{}", stale.out, stale.err);
    conn.query_drop("CREATE TABLE `a b`.t (id INT PRIMARY KEY)").await.expect("made");
    conn.query_drop("BEGIN").await.expect("begun");
    let rows: Vec<String> = (0..64).map(|id| format!("({id})")).collect();
    let insert = format!("INSERT INTO `a b`.t VALUES {}", rows.join(", "));
    conn.query_drop(insert).await.expect("inserted");
    let mut look = operator.connect(master).await;
    let program = (operator.program.clone(), operator.state.clone());
    let plan = id.to_owned();
    let runs = std::thread::spawn(move || {
        let mut command = Command::new(program.0);
        command.args(["rebalance", "--plan", &plan, "--state-dir"]).arg(program.1);
        Ran::from(command.stdin(Stdio::null()).output().expect("the binary runs"))
    });
    let waits = "SELECT COUNT(*) FROM information_schema.mv_rebalance_status \
                 WHERE status = 'running' AND action LIKE 'PROMOTE%'";
    let end = Instant::now() + PATIENCE;
    while look.query_first::<u64, _>(waits).await.expect("shown") == Some(0) {
        assert!(Instant::now() < end, "no promotion waits");
    }
    let told = operator.done(&["rebalance", "cancel"]);
    assert!(told.out.contains("told to end"), "{}", told.out);
    let ended = runs.join().expect("no panic");
    assert!(ended.code == 1 && ended.out.contains("canceled"), "{}{}", ended.out, ended.err);
    conn.query_drop("ROLLBACK").await.expect("over");
    let moved = operator.done(&["rebalance", "resume", "--watch"]);
    assert!(moved.out.contains("steps done"), "{}", moved.out);
    for early in ["failed", "canceled"] {
        assert!(!moved.out.contains(early), "{}", moved.out);
    }
}

/// Promise: `rebalance` shows what it would do and changes nothing; the plan that was shown is run by its name, and no
/// other; one that was cancelled is resumed, after which there is nothing to do; who
/// waits for no plan has none to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pair_of_leaves_gets_its_share() {
    let dir = directory();
    let Some(operator) = operator(dir.path(), "one") else { return };
    let master = port();
    let text = format!(
        "redundancy: 2\nhosts:\n  - hostname: 127.0.0.1\n    nodes:\n{}{}{}",
        node("role: Master", master),
        node("role: Leaf", port()),
        node("role: Leaf", port()),
    );
    let made = operator.setup(&text);
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    let mut conn = operator.connect(master).await;
    conn.query_drop("CREATE DATABASE `a b` PARTITIONS 4").await.expect("made");
    let idle = operator.done(&["rebalance"]);
    assert!(idle.out.contains("a b: nothing to do"), "{}", idle.out);
    let resproutd = ["--resproutd", env!("CARGO_BIN_EXE_resproutd")];
    for _ in 0..2 {
        let (new, http) = (port().to_string(), port().to_string());
        let create = ["create-node", "-q", "--role", "leaf", "--memory", "256MiB", "--port", &new];
        let create = [&create[..], &["--http-port", &http], &resproutd].concat();
        let id = operator.done(&create).out.trim().to_owned();
        operator.done(&["add-leaf", "--id", &id]);
    }
    operator.until_status(0);
    for _ in 0..2 {
        let shown = operator.done(&["rebalance", "--database", "a b", "--dry-run"]);
        assert!(shown.out.contains("BEFORE (M/R)") && shown.out.contains("0 / 0"), "{}", shown.out);
        assert!(shown.err.contains("Nothing was changed"), "{}", shown.err);
    }
    cancelled_and_resumed(&operator, &mut conn, master).await;
    let none = operator.done(&["rebalance", "resume"]);
    assert!(none.out.contains("no plan ended early"), "{}", none.out);
    let again = operator.done(&["rebalance", "--dry-run"]);
    assert!(again.out.contains("a b: nothing to do"), "{}", again.out);
    let whole = operator.done(&["restore-redundancy", "--dry-run"]);
    assert!(whole.out.contains("a b: nothing to do"), "{}", whole.out);
    let none = operator.done(&["rebalance", "cancel"]);
    assert!(none.out.contains("no plan runs"), "{}", none.out);
    assert_eq!(operator.run(&["rebalance", "--database", "nowhere"]).code, 1);
}

/// Promise (W23): while two running nodes take themselves for the master aggregator, commands that need it are refused
/// with advice; once one is stopped they work.
#[test]
fn w23_two_masters_are_refused_until_one_is_stopped() {
    let dir = directory();
    let Some(one) = operator(dir.path(), "one") else { return };
    let Some(two) = operator(dir.path(), "two") else { return };
    for operator in [&one, &two] {
        let text = format!(
            "hosts:\n  - hostname: 127.0.0.1\n    nodes:\n{}",
            node("role: Master", port())
        );
        let made = operator.setup(&text);
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    }
    let list = |operator: &Operator| operator.state.join("nodes.json");
    let read = |operator| {
        let text = std::fs::read_to_string(list(operator)).expect("kept");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let other = two.id("master");
    let (mut listed, more) = (read(&one), read(&two));
    let nodes = listed["nodes"].as_array_mut().expect("a list");
    nodes.extend(more["nodes"].as_array().expect("a list").clone());
    std::fs::write(list(&one), listed.to_string()).expect("written");
    assert_eq!(one.nodes().iter().filter(|node| node["role"] == "Master").count(), 2);
    let leaf = ["--host", "127.0.0.1", "--port", "1"];
    let about_leaf = |command| [&[command][..], &leaf].concat();
    let commands = [
        vec!["show-leaves"],
        vec!["show-aggregators"],
        vec!["status"],
        vec!["events"],
        vec!["rebalance"],
        vec!["restore-redundancy"],
        vec!["clear-orphans", "-y"],
        about_leaf("add-leaf"),
        about_leaf("attach-leaf"),
        [about_leaf("detach-leaf"), vec!["-y"]].concat(),
        [about_leaf("remove-leaf"), vec!["-y"]].concat(),
        about_leaf("add-aggregator"),
        [about_leaf("remove-aggregator"), vec!["-y"]].concat(),
    ];
    for command in commands {
        let refused = one.run(&command);
        assert!(refused.code == 7 && refused.is_three_lines(), "{}", refused.err);
        assert!(refused.err.contains("stop-node"), "{}", refused.err);
    }
    one.done(&["stop-node", "-y", "--id", &other]);
    one.done(&["show-leaves"]);
}

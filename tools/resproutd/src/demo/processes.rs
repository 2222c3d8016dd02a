//! The nodes of a demo cluster: processes of this program, on ports of this machine.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use resprout_node::NODE_PORT_ABOVE;
use resprout_tools::failure::Failure;
use tokio::process::{Child, Command};

use super::network::{self, Network};

/// The election timeout of demo clusters: short, so that every failover can be watched.
const ELECTION_TIMEOUT_MS: &str = "1000";

/// One node.
#[derive(Debug)]
pub(super) struct Process {
    /// Its number for people, from 1: aggregators first.
    pub(super) number: usize,
    /// Its port for clients.
    pub(super) port: u16,
    pub(super) is_leaf: bool,
    child: Option<Child>,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Processes {
    dir: PathBuf,
    redundancy: u32,
    network: Network,
    pub(super) all: Vec<Process>,
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Ports from that one on, whose ports for nodes are free too.
fn ports(from: u16, count: usize) -> Vec<u16> {
    let all = from..=u16::MAX - NODE_PORT_ABOVE;
    all.filter(|port| is_free(*port) && is_free(port + NODE_PORT_ABOVE)).take(count).collect()
}

fn failed(what: String) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::new(what, error, "see what the system says")
}

impl Processes {
    /// Starts all of them; the first founds a cluster, the others wait to be added.
    ///
    /// # Errors
    /// If there are no ports, or the system starts no processes.
    pub(super) fn start(
        dir: &Path,
        first_port: u16,
        (voters, leaves): (usize, usize),
        redundancy: u32,
    ) -> Result<Self, Failure> {
        fs::create_dir_all(dir).map_err(failed(format!("cannot make {}", dir.display())))?;
        let secret = dir.join("secret");
        if !secret.exists() {
            let drawn: String = (0..4).map(|_| format!("{:016x}", rand_u64())).collect();
            fs::write(&secret, drawn)
                .map_err(failed(format!("cannot write {}", secret.display())))?;
        }
        let ports = ports(first_port, voters + leaves);
        if ports.len() < voters + leaves {
            let why = format!("there are too few from {first_port} on");
            return Err(Failure::new("cannot find ports", why, "choose another --port"));
        }
        let mut all = Vec::new();
        for (number, port) in (1..).zip(ports) {
            all.push(Process { number, port, is_leaf: number > voters, child: None });
        }
        let network = Network::new();
        let mut processes = Self { dir: dir.to_owned(), redundancy, network, all };
        for number in 1..=voters + leaves {
            processes.run(number)?;
        }
        Ok(processes)
    }

    fn process(&mut self, number: usize) -> Result<&mut Process, Failure> {
        let found = self.all.iter_mut().find(|process| process.number == number);
        found.ok_or_else(|| {
            let why = "there is none of that number";
            Failure::new(format!("cannot do that to node {number}"), why, "\\status lists them")
        })
    }

    /// Cuts a node off from all others.
    ///
    /// # Errors
    /// If there is none of that number, or it is cut off.
    pub(super) fn cut(&mut self, number: usize) -> Result<(), Failure> {
        self.process(number)?;
        if self.network.cut(number) {
            return Ok(());
        }
        Err(Failure::new(
            format!("node {number} is cut off"),
            "it was cut off before",
            "\\heal it first",
        ))
    }

    /// Ends all cuts: which nodes were cut off.
    pub(super) fn heal(&self) -> Vec<usize> {
        self.network.heal()
    }

    pub(super) fn is_cut(&self, number: usize) -> bool {
        self.network.is_cut(number)
    }

    /// Where a node's log is.
    pub(super) fn log(&self, number: usize) -> PathBuf {
        self.dir.join(format!("node-{number}.log"))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// If there is none of that number, it runs, or the system does not start it.
    pub(super) fn run(&mut self, number: usize) -> Result<(), Failure> {
        let (dir, redundancy, log) = (self.dir.clone(), self.redundancy, self.log(number));
        let process = self.process(number)?;
        if process.child.is_some() {
            return Err(Failure::new(
                format!("node {number} runs"),
                "it was not stopped",
                "\\kill it first",
            ));
        }
        let port = process.port;
        self.network.relay(number, [port, port + NODE_PORT_ABOVE])?;
        let process = self.process(number)?;
        let what = || format!("cannot start node {number}");
        let program = std::env::current_exe().map_err(failed(what()))?;
        let written = File::options().create(true).append(true).open(&log);
        let written = written.map_err(failed(format!("cannot write {}", log.display())))?;
        let mut command = Command::new(program);
        command.arg("member").arg("--data").arg(dir.join(format!("node-{number}")));
        command.arg("--listen").arg(format!("127.0.0.1:{}", process.port));
        command.arg("--bind").arg(network::address(number).to_string());
        command.arg("--secret-file").arg(dir.join("secret"));
        command.args(["--consensus-election-timeout", ELECTION_TIMEOUT_MS]);
        if number == 1 {
            command.arg("--found").arg("--redundancy").arg(redundancy.to_string());
        }
        // Signals of the terminal are for the demo alone, which ends the nodes itself.
        command.process_group(0);
        // What ends with this process, however that ends.
        command.arg("--until-eof").stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(written).kill_on_drop(true);
        process.child = Some(command.spawn().map_err(failed(what()))?);
        Ok(())
    }

    /// Ends a node at once, as `kill -9` does.
    ///
    /// # Errors
    /// If there is none of that number, or it does not run.
    pub(super) async fn kill(&mut self, number: usize) -> Result<(), Failure> {
        let process = self.process(number)?;
        let Some(mut child) = process.child.take() else {
            let why = "it was ended before";
            return Err(Failure::new(format!("node {number} does not run"), why, "\\restart it"));
        };
        child.kill().await.map_err(failed(format!("cannot kill node {number}")))?;
        self.network.is_gone(number);
        Ok(())
    }

    /// Tells a node to stop, as SIGTERM does: whether it has is for [`Processes::has_ended`].
    ///
    /// # Errors
    /// If there is none of that number, or it does not run.
    pub(super) fn stop(&mut self, number: usize) -> Result<Child, Failure> {
        let process = self.process(number)?;
        let Some(mut child) = process.child.take() else {
            let why = "it was ended before";
            return Err(Failure::new(format!("node {number} does not run"), why, "\\restart it"));
        };
        // It stops when its input ends.
        drop(child.stdin.take());
        Ok(child)
    }

    /// Whether a node that was told to stop has stopped.
    ///
    /// # Errors
    /// If the system does not say.
    pub(super) fn has_ended(&mut self, number: usize, child: &mut Child) -> Result<bool, Failure> {
        let ended = child.try_wait().map_err(failed("cannot wait for a node".to_owned()))?;
        if ended.is_some() {
            self.network.is_gone(number);
        }
        Ok(ended.is_some())
    }

    /// Starts one more leaf, which waits to be added. Its number.
    ///
    /// # Errors
    /// As [`Processes::start`].
    pub(super) fn add_leaf(&mut self) -> Result<usize, Failure> {
        let last = self.all.iter().map(|process| process.port).max().unwrap_or_default();
        let Some(port) = ports(last.saturating_add(1), 1).first().copied() else {
            let why = format!("there is none from {last} on");
            return Err(Failure::new("cannot find a port", why, "end what listens there"));
        };
        let number = self.all.len() + 1;
        self.all.push(Process { number, port, is_leaf: true, child: None });
        self.run(number)?;
        Ok(number)
    }

    /// Whether a node runs.
    pub(super) fn runs(&mut self, number: usize) -> bool {
        let Ok(process) = self.process(number) else { return false };
        let Some(child) = &mut process.child else { return false };
        match child.try_wait() {
            Ok(None) => true,
            // It has ended by itself: its log says why.
            _ => {
                process.child = None;
                self.network.is_gone(number);
                false
            }
        }
    }

    /// Ports of the aggregators that run.
    pub(super) fn doors(&mut self) -> Vec<u16> {
        let numbers: Vec<usize> = self.all.iter().map(|process| process.number).collect();
        let running: Vec<usize> = numbers.into_iter().filter(|number| self.runs(*number)).collect();
        let all = self.all.iter();
        // Who is cut off answers clients, and knows nothing new.
        let is_door = |process: &&Process| !process.is_leaf && !self.network.is_cut(process.number);
        all.filter(|process| is_door(process) && running.contains(&process.number))
            .map(|process| process.port)
            .collect()
    }
}

/// A number that nobody can foresee.
fn rand_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Keys of the standard library's maps are drawn from the system.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

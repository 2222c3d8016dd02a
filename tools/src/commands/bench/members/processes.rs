//! The nodes: processes `resproutd member` on ports of this machine. Whatever ends the bench ends them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::commands::bench::{io_failed, secret};
use crate::failure::Failure;

/// How far above the port for clients the one for nodes is.
const NODE_PORT_ABOVE: u16 = 10_000;
/// Both ports of a node are below those that the system gives to clients, so that nobody takes them while it is away.
const PORTS: std::ops::Range<u16> = 10_000..22_000;
/// A signal has taken effect by then.
const SIGNALLED_WITHIN: Duration = Duration::from_secs(5);

/// When a node was lost.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::bench) struct Lost {
    /// Right before the signal.
    pub(in crate::commands::bench) at: Instant,
    /// When the process was seen to be gone, or to stand still: nothing that was begun later is of it.
    pub(in crate::commands::bench) gone: Instant,
}

/// How all nodes of a cluster are started.
#[derive(Clone, Debug)]
pub(in crate::commands::bench) struct Settings {
    pub(in crate::commands::bench) program: PathBuf,
    pub(in crate::commands::bench) voters: usize,
    pub(in crate::commands::bench) leaves: usize,
    /// Of these, the last so many are added later.
    pub(in crate::commands::bench) spare: usize,
    pub(in crate::commands::bench) redundancy: u32,
    /// In milliseconds; the default if not said.
    pub(in crate::commands::bench) election_timeout: Option<u64>,
}

struct Process {
    port: u16,
    child: Option<Child>,
}

/// All nodes: aggregators first. Dropped, they are killed.
pub(in crate::commands::bench) struct Processes {
    dir: PathBuf,
    settings: Settings,
    all: Vec<Process>,
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// So many ports that are free, as are those for nodes. Two benches at once begin to look in different places.
fn ports(count: usize) -> Vec<u16> {
    let len = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() * 64 % u32::from(len)).unwrap_or(0);
    let all = (0..len).map(|offset| PORTS.start + (first + offset) % len);
    all.filter(|port| is_free(*port) && is_free(port + NODE_PORT_ABOVE)).take(count).collect()
}

impl Processes {
    /// Starts all of them; the first founds a cluster, the others wait to be added.
    pub(in crate::commands::bench) fn start(
        dir: &Path,
        settings: Settings,
    ) -> Result<Self, Failure> {
        let write = io_failed("write the secret of the cluster");
        fs::create_dir_all(dir).map_err(&write)?;
        let secret = secret().map_err(io_failed("draw a secret"))?;
        fs::write(dir.join("secret"), secret).map_err(&write)?;
        let count = settings.voters + settings.leaves;
        let ports = ports(count);
        if ports.len() < count {
            let why = format!("fewer than {count} of {PORTS:?} are free");
            return Err(Failure::new("cannot find ports", why, "end what uses them"));
        }
        let all = ports.into_iter().map(|port| Process { port, child: None }).collect();
        let mut processes = Self { dir: dir.to_owned(), settings, all };
        (0..count).try_for_each(|at| processes.run(at))?;
        Ok(processes)
    }

    /// Starts a node that does not run.
    pub(in crate::commands::bench) fn run(&mut self, at: usize) -> Result<(), Failure> {
        let log = self.dir.join(format!("node-{at}.log"));
        let log = File::options().create(true).append(true).open(log);
        let log = log.map_err(io_failed("write the log of a node"))?;
        let process = &mut self.all[at];
        let mut command = Command::new(&self.settings.program);
        command.arg("member").arg("--data").arg(self.dir.join(format!("node-{at}")));
        command.arg("--listen").arg(format!("127.0.0.1:{}", process.port));
        command.arg("--secret-file").arg(self.dir.join("secret"));
        if let Some(timeout) = self.settings.election_timeout {
            command.args(["--consensus-election-timeout", &timeout.to_string()]);
        }
        if at == 0 {
            command.args(["--found", "--redundancy", &self.settings.redundancy.to_string()]);
        }
        // Signals of the terminal are for the bench alone. A node ends when its standard input does, however the bench
        // ends; one that stands still then is woken by the system, because nobody is left who could.
        command.process_group(0);
        command.arg("--until-eof").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let started = command.spawn().map_err(io_failed("start a node"))?;
        process.child = Some(started);
        Ok(())
    }

    fn child(&mut self, at: usize) -> Result<&mut Child, Failure> {
        let Process { port, child } = &mut self.all[at];
        child.as_mut().ok_or_else(|| {
            let what = format!("cannot signal the node on port {port}");
            Failure::new(what, "it does not run", "see its log")
        })
    }

    /// Ends a node as `kill -9` does.
    pub(in crate::commands::bench) fn kill(&mut self, at: usize) -> Result<Lost, Failure> {
        let killed = io_failed("kill a node");
        let child = self.child(at)?;
        let began = Instant::now();
        child.kill().map_err(&killed)?;
        child.wait().map_err(&killed)?;
        self.all[at].child = None;
        Ok(Lost { at: began, gone: Instant::now() })
    }

    /// Makes a node stand still, as a hanging machine does.
    pub(in crate::commands::bench) fn stop(&mut self, at: usize) -> Result<Lost, Failure> {
        let id = self.child(at)?.id();
        let began = Instant::now();
        signal(id, libc::SIGSTOP)?;
        while !stands_still(id) {
            if began.elapsed() > SIGNALLED_WITHIN {
                let why = format!("process {id} runs on");
                return Err(Failure::new("cannot stop a node", why, "see what the system says"));
            }
            std::thread::yield_now();
        }
        Ok(Lost { at: began, gone: Instant::now() })
    }

    /// Lets it go on.
    pub(in crate::commands::bench) fn go_on(&mut self, at: usize) -> Result<(), Failure> {
        signal(self.child(at)?.id(), libc::SIGCONT)
    }

    /// A node that has ended by itself, and is not known to.
    pub(in crate::commands::bench) fn ended(&mut self) -> Option<usize> {
        let has_ended = |process: &mut Process| {
            process.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
        };
        self.all.iter_mut().position(has_ended)
    }

    /// Where a node of this port is in the list.
    pub(in crate::commands::bench) fn at(&self, port: u16) -> Option<usize> {
        self.all.iter().position(|process| process.port == port)
    }

    /// Ports of the aggregators, and of the leaves.
    pub(in crate::commands::bench) fn ports(&self) -> (Vec<u16>, Vec<u16>) {
        let ports: Vec<u16> = self.all.iter().map(|process| process.port).collect();
        let (aggregators, leaves) = ports.split_at(self.settings.voters);
        (aggregators.to_vec(), leaves.to_vec())
    }

    pub(in crate::commands::bench) const fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let children = self.all.iter_mut().filter_map(|process| process.child.as_mut());
        let mut children: Vec<&mut Child> = children.collect();
        // What has ended already is what was wanted. All are killed before any is waited for.
        for child in &mut children {
            let _ended = child.kill();
        }
        for child in children {
            let _status = child.wait();
        }
    }
}

fn signal(id: u32, signal: libc::c_int) -> Result<(), Failure> {
    let id = libc::pid_t::try_from(id).unwrap_or(libc::pid_t::MAX);
    // SAFETY: takes numbers only. The process is a child that was not waited for, so the number is still its.
    match unsafe { libc::kill(id, signal) } {
        0 => Ok(()),
        _ => Err(io_failed("signal a node")(std::io::Error::last_os_error())),
    }
}

/// Whether all threads of a process do.
fn stands_still(id: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before it may have any letters.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: who is stopped stands still, and goes on when told to.
    #[test]
    fn a_stopped_process_stands_still() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        assert!(!stands_still(child.id()));
        signal(child.id(), libc::SIGSTOP).expect("sent");
        let end = Instant::now() + SIGNALLED_WITHIN;
        while !stands_still(child.id()) {
            assert!(Instant::now() < end, "it runs on");
        }
        signal(child.id(), libc::SIGCONT).expect("sent");
        while stands_still(child.id()) {
            assert!(Instant::now() < end, "it stands still");
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Promise: ports are free, different, and out of the way of clients.
    #[test]
    fn ports_are_of_nobody() {
        let mut found = ports(7);
        found.dedup();
        assert_eq!(found.len(), 7);
        assert!(found.iter().all(|port| PORTS.contains(port)));
    }
}

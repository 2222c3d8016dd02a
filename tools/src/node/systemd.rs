//! Tells a supervisor how the start goes, through the socket that it names in `NOTIFY_SOCKET`.
//!
//! * `READY=1` once recovered, `STOPPING=1` at the end.
//! * `STATUS=` for `systemctl status`.
//! * `EXTEND_TIMEOUT_USEC=` only if recovery advanced since it was last sent: a recovery that
//!   advances is never killed by a clock, and one that hangs is not kept alive.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use super::view::NodeView;
use crate::quantity::{of_total, rate, rough};

/// How much time one extension asks for. Sent every ten seconds.
const EXTEND_USEC: u64 = 60_000_000;
/// Ticks of a second between two extensions.
const EXTEND_EVERY_TICKS: u64 = 10;

/// A supervisor, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    ticks: u64,
    done_when_extended: u64,
    is_ready: bool,
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names. Without it, everything here does nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| connect(name.as_bytes()).ok());
        Self { socket, ticks: 0, done_when_extended: 0, is_ready: false }
    }

    /// Says what `view` says. Call once a second.
    pub fn tick(&mut self, view: &NodeView) {
        if let Some(message) = self.message(view) {
            self.send(&message);
        }
    }

    /// Says that the node stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    fn message(&mut self, view: &NodeView) -> Option<String> {
        self.ticks += 1;
        if !view.is_recovering() {
            let verdict = view.readiness();
            let first = !std::mem::replace(&mut self.is_ready, true);
            let failed = view.state == "RECOVERY_FAILED";
            return (first && !failed).then(|| format!("READY=1\nSTATUS={}", verdict.reason));
        }
        let progress = &view.progress;
        let mut message = format!(
            "STATUS=recovering {}% {} {} eta {}",
            progress.percent(),
            of_total(progress.done_bytes, progress.total_bytes),
            rate(progress.rate_bytes_per_s),
            progress
                .eta_s
                .map_or("unknown".into(), |s| rough(std::time::Duration::from_secs_f64(s))),
        );
        let due = self.ticks % EXTEND_EVERY_TICKS == 1;
        if due && progress.done_bytes > self.done_when_extended {
            self.done_when_extended = progress.done_bytes;
            message.push_str(&format!("\nEXTEND_TIMEOUT_USEC={EXTEND_USEC}"));
        }
        Some(message)
    }

    /// A supervisor that does not listen changes nothing for the node.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// A path, or with `@` in front a name in the abstract name space.
fn connect(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::view::ProgressView;

    fn recovering(done_bytes: u64) -> NodeView {
        let progress = ProgressView { done_bytes, total_bytes: 100, ..ProgressView::default() };
        NodeView { state: "RECOVERING".into(), progress, ..NodeView::default() }
    }

    /// Promise: more time is asked for only while bytes advance, so a hung recovery is ended.
    #[test]
    fn time_is_extended_only_when_bytes_advanced() {
        let mut supervisor =
            Supervisor { socket: None, ticks: 0, done_when_extended: 0, is_ready: false };
        let mut asked = |done: u64| {
            (0..10)
                .filter(|_| {
                    supervisor.message(&recovering(done)).is_some_and(|m| m.contains("EXTEND"))
                })
                .count()
        };
        assert_eq!(asked(0), 0, "nothing was done yet");
        assert_eq!(asked(10), 1);
        assert_eq!(asked(10), 0, "no bytes since the last extension");
        assert_eq!(asked(11), 1);
    }

    /// Promise: ready is said once, after recovery, and never for a failed one.
    #[test]
    fn ready_is_said_once() {
        let mut supervisor =
            Supervisor { socket: None, ticks: 0, done_when_extended: 0, is_ready: false };
        assert!(
            supervisor
                .message(&recovering(5))
                .expect("a status")
                .starts_with("STATUS=recovering 5%")
        );
        let online = NodeView { state: "ONLINE".into(), ..NodeView::default() };
        assert!(supervisor.message(&online).expect("ready").starts_with("READY=1\n"));
        assert_eq!(supervisor.message(&online), None);
        let mut other =
            Supervisor { socket: None, ticks: 0, done_when_extended: 0, is_ready: false };
        let failed = NodeView { state: "RECOVERY_FAILED".into(), ..NodeView::default() };
        assert_eq!(other.message(&failed), None);
    }

    /// Promise: the supervisor's socket gets what is said, by path.
    #[test]
    fn messages_arrive() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let socket = connect(path.as_os_str().as_bytes()).expect("an address");
        let supervisor =
            Supervisor { socket: Some(socket), ticks: 0, done_when_extended: 0, is_ready: false };
        supervisor.stopping();
        let mut bytes = [0; 64];
        let len = listener.recv(&mut bytes).expect("a message");
        assert!(bytes[..len].starts_with(b"STOPPING=1"));
    }
}

//! A network of hosts in two zones that can be cut from each other, made of network namespaces: nothing arrives on the
//! other side, and nobody is told so.
//!
//! ```text
//!   test ──10.x.y.254── a link to each host, whatever is cut
//!   host 0 ─┐                         ┌─ host 3
//!   host 1 ─┤ bridge A ══ link ══ bridge B
//!   host 2 ─┘        up, or down      └─ host 4
//! ```

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    A,
    B,
}

pub(crate) struct Network {
    /// What all names of this network begin with.
    name: String,
    /// The first three bytes of its addresses.
    net: [u8; 3],
    hosts: usize,
}

impl Network {
    /// A network with a host for each zone that is named.
    ///
    /// # Errors
    /// What this machine does not have for it.
    pub(crate) fn new(zones: &[Zone]) -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(8);
        let number = number.wrapping_add(MADE.fetch_add(1, Ordering::Relaxed)) % (100 * 256);
        let [.., high, low] = number.to_be_bytes();
        let name = format!("rs{number:x}");
        let network = Self { name, net: [10, 100 + high, low], hosts: zones.len() };
        network.make(zones)?;
        Ok(network)
    }

    /// The same, or says why a test is skipped.
    pub(crate) fn or_skip(test: &str, zones: &[Zone]) -> Option<Self> {
        Self::new(zones)
            .inspect_err(|why| {
                // Past the harness, which keeps what a test that passes prints.
                let said = writeln!(std::io::stderr(), "skipped: {test}: {why}");
                // Without stderr nobody can be told.
                drop(said);
            })
            .ok()
    }

    fn make(&self, zones: &[Zone]) -> Result<(), String> {
        let (name, switch) = (&self.name, self.switch());
        let own = self.address(254);
        ip(&format!("netns add {switch}"))?;
        for zone in ["a", "b"] {
            ip(&format!("-n {switch} link add br{zone} type bridge"))?;
            ip(&format!("-n {switch} link set br{zone} up"))?;
        }
        ip(&format!("-n {switch} link add cuta type veth peer name cutb"))?;
        for zone in ["a", "b"] {
            ip(&format!("-n {switch} link set cut{zone} master br{zone} up"))?;
        }
        for (at, zone) in zones.iter().enumerate() {
            let (host, address) = (self.namespace(at), self.host(at));
            let zone = if *zone == Zone::A { "a" } else { "b" };
            ip(&format!("netns add {host}"))?;
            ip(&format!("-n {host} link set lo up"))?;
            let pair = format!("-n {switch} link add h{at} type veth peer name eth0 netns {host}");
            ip(&pair)?;
            ip(&format!("-n {switch} link set h{at} master br{zone} up"))?;
            ip(&format!("-n {host} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {host} link set eth0 up"))?;
            ip(&format!("link add {name}t{at} type veth peer name test netns {host}"))?;
            ip(&format!("addr add {own}/32 dev {name}t{at}"))?;
            ip(&format!("link set {name}t{at} up"))?;
            ip(&format!("route add {address}/32 dev {name}t{at} src {own}"))?;
            ip(&format!("-n {host} link set test up"))?;
            ip(&format!("-n {host} route add {own}/32 dev test src {address}"))?;
        }
        Ok(())
    }

    fn switch(&self) -> String {
        format!("{}sw", self.name)
    }

    fn namespace(&self, at: usize) -> String {
        format!("{}h{at}", self.name)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }

    fn host(&self, at: usize) -> Ipv4Addr {
        self.address(u8::try_from(at + 1).expect("few hosts"))
    }

    /// The addresses of all hosts, in order.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + use<'_> {
        (0..self.hosts).map(|at| self.host(at))
    }

    /// A command that runs on a host. Its process is the program's own.
    pub(crate) fn command(&self, at: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(at), program]);
        command
    }

    /// From now on nothing goes between the zones.
    pub(crate) fn cut(&self) {
        ip(&format!("-n {} link set cuta down", self.switch())).expect("cut");
    }

    /// As before the cut.
    pub(crate) fn heal(&self) {
        ip(&format!("-n {} link set cuta up", self.switch())).expect("healed");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The links to the test go with the namespaces.
        for at in 0..self.hosts {
            drop(ip(&format!("netns del {}", self.namespace(at))));
        }
        drop(ip(&format!("netns del {}", self.switch())));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    let ran = command.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("the program ip does not run: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&ran.stderr);
    Err(format!("ip {arguments}: {}", why.trim()))
}

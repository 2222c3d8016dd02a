//! What is said when the demo can be used.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use resprout_tools::failure::{Exit, Failure};
use resprout_tools::output;
use serde::Serialize;

use super::sample::Made;
use super::{DATABASE, DemoArgs};

/// A statement to begin with.
pub(super) const SUGGESTION: &str =
    "SELECT COUNT(*), SUM(amount), MAX(ordered) FROM orders WHERE status = 'paid';";

/// How to come in. The names are kept: scripts read them.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    schema_version: u32,
    host: String,
    port: u16,
    user: &'static str,
    database: &'static str,
    try_statement: &'static str,
    data: PathBuf,
    temporary: bool,
}

impl Ready {
    pub(super) fn new(address: SocketAddr, data: PathBuf, kept: bool) -> Self {
        Self {
            schema_version: 1,
            host: address.ip().to_string(),
            port: address.port(),
            user: "root",
            database: DATABASE,
            try_statement: SUGGESTION,
            data,
            temporary: !kept,
        }
    }

    /// Writes it to a file descriptor that whoever started this process opened.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn tell(&self, fd: u32) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| {
            let what = format!("cannot write to file descriptor {fd}");
            Failure::new(what, error, "open it in the process that starts this one")
                .exiting(Exit::Usage)
        };
        // By its name in /proc: no descriptor is taken over whose owner is unknown.
        let path = format!("/proc/self/fd/{fd}");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(cannot)?;
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        file.write_all(line.as_bytes()).map_err(cannot)
    }

    /// For people.
    pub(super) fn print(&self, made: Option<&Made>, args: &DemoArgs) {
        match made {
            Some(Made { rows, took }) => output::line(format_args!(
                "  ✓ database {DATABASE}, {} partitions, {rows} rows          {:.2} s",
                args.partitions,
                took.as_secs_f64()
            )),
            None => output::line(format_args!("  ✓ database {DATABASE}, as it was left")),
        }
        let Self { host, port, user, .. } = self;
        output::line("");
        output::line(format_args!("    SQL    mysql -h {host} -P {port} -u {user} {DATABASE}"));
        if let Some(http) = &args.http {
            output::line(format_args!("    HTTP   http://{http}/api/status"));
        }
        if self.temporary {
            output::line("    Data   temporary, removed on exit   (keep it: --data DIR)");
        } else {
            output::line(format_args!("    Data   {}", self.data.display()));
        }
        output::line("");
        output::line(format_args!("    Try    {SUGGESTION}"));
        output::line("           kill -9 this process while you write, start it again with --data");
        output::line("");
    }
}

//! The replica's process, as the master's sees it: orders to its stdin, answers from its stdout.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use clap::ValueEnum;
use resprout_replication::Decided;
use resprout_replication::driver::{Authority, MemoryAuthority, RecordListener};

use super::lines::{FromReplica, RecordLine, ToReplica, report, request};
use super::member::{PARTITION, PATIENCE, cannot, until};
use super::pair::Shape;
use crate::bench::testbed::wrong;
use crate::commands::bench::io_failed;
use crate::failure::Failure;

/// The other process. Dropped, it ends.
pub(super) struct Peer {
    child: Child,
    pub(super) orders: Arc<Orders>,
    answers: Receiver<FromReplica>,
}

/// Its stdin.
pub(super) struct Orders(Mutex<Option<ChildStdin>>);

impl Orders {
    fn give(&self, order: &ToReplica) -> io::Result<()> {
        let text = serde_json::to_string(order)? + "\n";
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(stdin) => stdin.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }
}

impl RecordListener for Orders {
    fn record(&self, _: resprout_replication::Partition, decided: &Decided) {
        // A replica that has gone is noticed where its answer is waited for.
        let _gone = self.give(&ToReplica::Record(RecordLine::from(decided)));
    }
}

impl Peer {
    pub(super) fn start(
        shape: &Shape,
        dir: &Path,
        run: u64,
    ) -> Result<(Self, ChildStdout), Failure> {
        let start = io_failed("start the replica's process");
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        let mut command = Command::new(std::env::current_exe().map_err(&start)?);
        command.args(["bench", "replicate-replica", "--data"]).arg(dir);
        command.args(["--mode", &name(shape.mode.to_possible_value())]);
        command.args(["--durability", &name(shape.durability.to_possible_value())]);
        command.args(["--disk", &name(shape.disk.to_possible_value())]);
        command.args(["--row-bytes", &shape.row_bytes.to_string()]);
        command.args(["--run", &run.to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(&start)?;
        let orders = Arc::new(Orders(Mutex::new(child.stdin.take())));
        let stdout = child.stdout.take();
        let peer = Self { child, orders, answers: mpsc::channel().1 };
        let stdout = stdout.ok_or_else(|| cannot("cannot start the replica")("no stdout"))?;
        Ok((peer, stdout))
    }

    pub(super) fn hear(&mut self, stdout: ChildStdout, authority: Arc<MemoryAuthority>) {
        let (found, answers) = mpsc::channel();
        self.answers = answers;
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(FromReplica::Request { term, cfg, copy }) => {
                        authority.request(PARTITION, request(term, cfg, copy));
                    }
                    Ok(FromReplica::Report { terms, last, instance, incarnation, healthy }) => {
                        let of = (instance, incarnation);
                        authority.report(PARTITION, report(terms, last, of, healthy));
                    }
                    Ok(answer) => {
                        // Without a reader the bench is over.
                        let _over = found.send(answer);
                    }
                    Err(error) => tracing::warn!(%error, line, "the replica says nonsense"),
                }
            }
        });
    }

    pub(super) fn order(&self, order: &ToReplica) -> Result<(), Failure> {
        self.orders.give(order).map_err(io_failed("order the replica"))
    }

    pub(super) fn answer(&self) -> Result<FromReplica, Failure> {
        let lost = cannot("the replica's process does not answer");
        match self.answers.recv_timeout(PATIENCE).map_err(lost)? {
            FromReplica::Failed { what } => Err(wrong(what)),
            answer => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.orders.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = until("the replica's process ends", || {
            matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
        });
        if ended.is_err() {
            let _ended = self.child.kill();
        }
        let _status = self.child.wait();
    }
}

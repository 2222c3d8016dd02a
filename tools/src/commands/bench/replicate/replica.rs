//! The process with the replica. It ends when its stdin does.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use resprout_replication::driver::Authority;
use resprout_replication::{Decided, Partition, Report, Request, State};
use resprout_wal::Lsn;

use super::lines::{FromReplica, ToReplica};
use super::member::{MASTER, Member, PARTITION, REPLICA, cannot, until};
use super::{DurabilityChoice, ModeChoice, mode};
use crate::access::DiskChoice;
use crate::bench::dataset::Dataset;
use crate::bench::testbed::{self, TABLE, failed};
use crate::commands::bench::io_failed;
use crate::failure::Failure;
use crate::output;

/// What the master's process says on the command line; the secret comes on stdin.
#[derive(Args, Clone, Debug)]
pub struct ReplicaArgs {
    /// Data directory
    #[arg(long)]
    pub data: PathBuf,
    /// Replication
    #[arg(long, value_enum)]
    pub mode: ModeChoice,
    /// Durability
    #[arg(long, value_enum)]
    pub durability: DurabilityChoice,
    /// Bytes of a payload
    #[arg(long)]
    pub row_bytes: usize,
    /// Disk backend
    #[arg(long, value_enum)]
    pub disk: DiskChoice,
}

/// The authority is in the other process: questions go there by stdout.
#[derive(Debug)]
struct Remote;

impl Authority for Remote {
    fn request(&self, _: Partition, request: Request) {
        output::json(&FromReplica::from(request));
    }

    fn report(&self, _: Partition, report: Report) {
        output::json(&FromReplica::from(report));
    }
}

/// Follows until stdin ends.
///
/// # Errors
/// If it cannot run.
pub fn run(args: &ReplicaArgs) -> Result<(), Failure> {
    let mut lines = io::stdin().lock().lines();
    let Some(first) = lines.next() else { return Ok(()) };
    let ToReplica::Start { secret, master } = parse(first)? else {
        return Err(cannot("cannot start the replica")("its first order is another"));
    };
    let mode = mode(args.mode, args.durability)?;
    let member = Member::start(&args.data, args.disk, (REPLICA, mode), &secret, Arc::new(Remote))?;
    let member = Arc::new(member);
    member.meet(MASTER, master);
    output::json(&FromReplica::Ready {
        address: member.transport.address().to_string(),
        echo: echo().map_err(io_failed("answer round trips"))?,
        incarnation: member.copy.identity().incarnation.0,
    });
    for line in lines {
        match parse(line)? {
            ToReplica::Start { .. } => {}
            ToReplica::Record(record) => member.node.record(PARTITION, Decided::from(record)),
            order => {
                // Records go on meanwhile.
                let (member, row_bytes) = (member.clone(), args.row_bytes);
                thread::spawn(move || {
                    let answer = obey(&member, row_bytes, order);
                    output::json(&answer.unwrap_or_else(|failure| FromReplica::Failed {
                        what: failure.to_string(),
                    }));
                });
            }
        }
    }
    member.node.stop();
    Ok(())
}

fn parse(line: io::Result<String>) -> Result<ToReplica, Failure> {
    let line = line.map_err(io_failed("read orders"))?;
    serde_json::from_str(&line).map_err(cannot("an order makes no sense"))
}

fn obey(member: &Member, row_bytes: usize, order: ToReplica) -> Result<FromReplica, Failure> {
    match order {
        ToReplica::Verify { end, acknowledged } => {
            until("the replica shows everything", || member.copy.stored().shown() >= Lsn(end))?;
            member.verify(&acknowledged, row_bytes).map(FromReplica::Verified)
        }
        ToReplica::Write { key } => {
            let online = || matches!(member.copy.status().state, State::Online(_));
            until("the former replica is master", online)?;
            let data = Dataset::new(1, row_bytes, 1, 0.0);
            let partition = member.copy.stored().partition();
            let write = || {
                let table = partition.table(TABLE)?;
                let mut txn = partition.begin()?;
                txn.insert(&table, &testbed::row(&data, &table, key, 0))?;
                txn.commit()
            };
            write().map_err(|error| failed(&error))?;
            Ok(FromReplica::Wrote)
        }
        other => Err(cannot("an order makes no sense here")(format!("{other:?}"))),
    }
}

/// Answers 4 KiB with 64 bytes; where.
fn echo() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut request = [0; 4096];
        while stream.read_exact(&mut request).is_ok() {
            stream.write_all(&[0; 64])?;
        }
        Ok(())
    });
    Ok(address)
}

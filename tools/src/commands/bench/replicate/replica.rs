//! The process with the replica. It ends when its stdin does.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use clap::Args;
use resprout_replication::driver::Authority;
use resprout_replication::{Decided, Partition, Report, Request, State};
use resprout_wal::Lsn;

use super::lines::{Followed, FromReplica, ToReplica};
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
    /// Which replica of the bench this is, counted
    #[arg(long)]
    pub run: u64,
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
    let ToReplica::Start { secret } = parse(first)? else {
        return Err(cannot("cannot start the replica")("its first order is another"));
    };
    let mode = mode(args.mode, args.durability)?;
    let who = (REPLICA, mode, args.run);
    let member = Member::start(&args.data, args.disk, who, &secret, Arc::new(Remote))?;
    let member = Arc::new(member);
    output::json(&FromReplica::Ready {
        address: member.transport.address().to_string(),
        echo: echo().map_err(io_failed("answer round trips"))?,
        sink: sink().map_err(io_failed("take bulk"))?,
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
        ToReplica::Meet { master } => {
            match master {
                Some(address) => member.meet(MASTER, address),
                None => member.part(),
            }
            Ok(FromReplica::Met)
        }
        ToReplica::Follow { end } => follow(member, Lsn(end)).map(FromReplica::Followed),
        ToReplica::Sum { end } => {
            until("the replica shows everything", || member.copy.stored().shown() >= Lsn(end))?;
            member.sums(row_bytes, |_, _| true).map(FromReplica::Sums)
        }
        ToReplica::Write { key, count } => {
            let online = || matches!(member.copy.status().state, State::Online(_));
            until("the former replica is master", online)?;
            let data = Dataset::new(1, row_bytes, 1, 0.0);
            let partition = member.copy.stored().partition();
            let write = || {
                let table = partition.table(TABLE)?;
                for key in key..key + count {
                    let mut txn = partition.begin()?;
                    txn.insert(&table, &testbed::row(&data, &table, key, 0))?;
                    txn.commit()?;
                }
                Ok::<_, resprout_engine::Error>(())
            };
            write().map_err(|error| failed(&error))?;
            Ok(FromReplica::Wrote { end: member.end()? })
        }
        other => Err(cannot("an order makes no sense here")(format!("{other:?}"))),
    }
}

/// Waits until all before `end` has come, is shown, and is on this disk.
fn follow(member: &Member, end: Lsn) -> Result<Followed, Failure> {
    let began = Instant::now();
    until("the replica has received everything", || member.copy.status().end >= end)?;
    let received_s = began.elapsed().as_secs_f64();
    until("the replica shows everything", || member.copy.stored().shown() >= end)?;
    let shown_s = began.elapsed().as_secs_f64();
    if member.end()? < end.0 {
        return Err(cannot("the replica does not follow")("its log ends before what it shows"));
    }
    let bytes = member.transport.status().iter().map(|peer| peer.received_bytes).sum();
    Ok(Followed { received_s, shown_s, bytes })
}

/// Swallows all that comes on a connection, then says how much that was; where.
fn sink() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let (mut stream, _) = listener.accept()?;
            let mut sum = 0_u64;
            loop {
                match stream.read(&mut buffer)? {
                    0 => break,
                    len => sum += len as u64,
                }
            }
            stream.write_all(&sum.to_le_bytes())?;
        }
    });
    Ok(address)
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

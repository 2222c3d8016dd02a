//! What bulk between two copies cannot beat, measured in the same run: the loopback between the same two
//! processes, and what the device makes durable.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::bench::bandwidth::DurableProbe;
use crate::bench::statistics::per_second;
use crate::bench::testbed;
use crate::commands::bench::io_failed;
use crate::failure::Failure;

/// Most bytes of one measurement.
const PROBE_BYTES_MAX: u64 = 256 << 20;
/// Fewest.
const PROBE_BYTES_MIN: u64 = 16 << 20;
/// Two measurements around a run that differ by so much make it a noisy one.
const NOISY: f64 = 1.5;

/// Both bandwidths at one time.
#[derive(Clone, Copy, Debug)]
struct Bound {
    loopback: f64,
    disk: f64,
}

/// Measures; between two runs once.
pub(super) struct Yardstick {
    disk: DurableProbe,
    bytes: u64,
    last: Bound,
}

/// Means of the measurement before a run and the one behind it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Beside {
    pub(super) loopback_bytes_per_s: f64,
    pub(super) disk_bytes_per_s: f64,
    /// The two differ so much that what lies between them says little.
    pub(super) noisy: bool,
}

impl Yardstick {
    /// Makes the file to write to; for runs that move about `bytes`.
    pub(super) fn new(
        dir: &Path,
        disk: crate::access::DiskChoice,
        bytes: u64,
    ) -> Result<Self, Failure> {
        let bytes = bytes.clamp(PROBE_BYTES_MIN, PROBE_BYTES_MAX);
        let disk = testbed::options(disk)?.world.disk;
        let disk = DurableProbe::new(&disk, dir, bytes).map_err(io_failed("probe the device"))?;
        Ok(Self { disk, bytes, last: Bound { loopback: 0.0, disk: 0.0 } })
    }

    /// Before a run: the device, and the loopback to a replica's sink.
    pub(super) fn before(&mut self, sink: &str) -> Result<(), Failure> {
        let loopback = bulk(sink, self.bytes).map_err(io_failed("measure the loopback"))?;
        let disk = self.disk.measure().map_err(io_failed("probe the device"))?;
        self.last = Bound { loopback, disk };
        Ok(())
    }

    /// Behind it.
    pub(super) fn behind(&mut self, sink: &str) -> Result<Beside, Failure> {
        let before = self.last;
        self.before(sink)?;
        let behind = self.last;
        let differ = |one: f64, other: f64| one.max(other) >= NOISY * one.min(other);
        Ok(Beside {
            loopback_bytes_per_s: f64::midpoint(before.loopback, behind.loopback),
            disk_bytes_per_s: f64::midpoint(before.disk, behind.disk),
            noisy: differ(before.loopback, behind.loopback) || differ(before.disk, behind.disk),
        })
    }
}

impl Beside {
    /// The share that `bytes_per_s` is of the slower of the two.
    pub(super) fn share(&self, bytes_per_s: f64) -> f64 {
        bytes_per_s / self.loopback_bytes_per_s.min(self.disk_bytes_per_s).max(f64::MIN_POSITIVE)
    }
}

/// Bytes per second of a bare connection, until the other end has them all.
fn bulk(sink: &str, bytes: u64) -> io::Result<f64> {
    let block = vec![0x5a; 1 << 20];
    let mut stream = TcpStream::connect(sink)?;
    let began = Instant::now();
    let mut sent = 0;
    while sent < bytes {
        stream.write_all(&block)?;
        sent += block.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut taken = [0; 8];
    stream.read_exact(&mut taken)?;
    let seconds = began.elapsed().as_secs_f64();
    if u64::from_le_bytes(taken) != sent {
        return Err(io::Error::other("not all bytes arrived"));
    }
    Ok(per_second(sent, seconds))
}

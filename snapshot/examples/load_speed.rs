//! How fast a snapshot loads beside what the device can do.
//!
//! Writes one snapshot of one-page leaves, then in turn, several rounds:
//!
//! * reads its file bare: large sequential reads around the page cache into a few reused buffers,
//!   nothing checked: what the device can do;
//! * touches fresh huge pages of that size: what the kernel takes to give out memory;
//! * loads it, every leaf checked, into memory touched before;
//! * loads it, every leaf checked, into fresh memory, which the kernel zeroes during the reads.
//!
//! It prints the medians. The rounds alternate because virtual machines change their speed by
//! themselves.
//!
//! `cargo run --release -p resprout-snapshot --example load_speed -- [DIR [MiB [DEPTH]]]`

#![expect(clippy::print_stdout, reason = "the report is for whoever runs it")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use resprout_snapshot::{
    Digest, Header, LeafPage, PAGE, READ_BYTES, Snapshot, Writer, Written, load_all,
};
use resprout_wal::disk::{
    AlignedBuf, Cache, Completion, Disk, HUGE_PAGE, IoBuf, Open, Request, open_default,
};
use resprout_wal::{History, LogIdentity, Lsn, Term};

const ROUNDS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: u32 = args.next().map_or(Ok(1024), |arg| arg.parse())?;
    let depth: usize = args.next().map_or(Ok(6), |arg| arg.parse())?;
    let dir = tempfile::tempdir_in(dir)?;
    let disk = open_default();
    println!("{} in {}, {mib} MiB, {depth} reads in flight", disk.backend(), dir.path().display());

    let start = Instant::now();
    let written = write(&disk, dir.path(), mib * ((1 << 20) / PAGE as u32))?;
    report("write, flush, read back, rename", written.bytes, start.elapsed().as_secs_f64());

    let reads = written.bytes.div_ceil(READ_BYTES as u64) as usize;
    let mut touched = touch(reads)?;
    let mut seconds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        seconds[0].push(timed(|| read_bare(disk.as_ref(), &written.path, depth))?.0);
        seconds[1].push(timed(|| touch(reads))?.0);
        let (time, kept) = timed(|| load(disk.as_ref(), &written, depth, touched))?;
        touched = kept;
        seconds[2].push(time);
        seconds[3].push(timed(|| load(disk.as_ref(), &written, depth, Vec::new()))?.0);
    }
    let [bare, touch, loaded, fresh] = seconds.map(median);
    report("bare sequential read", written.bytes, bare);
    report("fresh memory touched", written.bytes, touch);
    report("loaded into touched memory", written.bytes, loaded);
    report("loaded into fresh memory", written.bytes, fresh);
    println!("ratio to the device: {:.3}, {:.3} into fresh memory", bare / loaded, bare / fresh);
    Ok(())
}

fn report(what: &str, bytes: u64, seconds: f64) {
    println!("{what:32} {:6.2} GB/s  ({seconds:.3} s)", bytes as f64 / seconds / 1e9);
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds of one run, and what it gave, so that giving memory back is not measured.
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let kept = run()?;
    Ok((start.elapsed().as_secs_f64(), kept))
}

/// Fresh memory for `reads` reads, one huge page each, touched by this thread.
fn touch(reads: usize) -> Result<Vec<AlignedBuf>> {
    let mut bufs = Vec::with_capacity(reads);
    for _ in 0..reads {
        let mut buf = AlignedBuf::new(READ_BYTES)?;
        buf[0] = 1;
        bufs.push(buf);
    }
    Ok(bufs)
}

fn write(disk: &Arc<dyn Disk>, dir: &Path, pages: u32) -> Result<Written> {
    let identity = LogIdentity { cluster: 1, database: 1, partition: 0, instance: 1 };
    let history = History::starting(Term(1));
    let header = Header { identity, lsn: Lsn(4096), term: Term(1), chain: 1, history };
    let mut writer = Writer::create(disk, dir, &header, b"")?;
    let mut noise = 1u64;
    let mut bytes: Vec<u8> = (0..PAGE / 8)
        .flat_map(|_| {
            noise = noise.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
            noise.to_le_bytes()
        })
        .collect();
    for page in 0..pages {
        let separator = page.to_be_bytes();
        bytes[..4].copy_from_slice(&separator);
        let separator = if page == 0 { &[][..] } else { &separator };
        let digest = Digest(u64::from(page));
        writer.push(LeafPage { bytes: &bytes, rows: 36, digest, separator })?;
    }
    Ok(writer.finish()?)
}

/// The same reads without anything else: what the device can do through this queue.
fn read_bare(disk: &dyn Disk, path: &Path, depth: usize) -> Result<()> {
    let file = disk.open(path, Open::Read, Cache::Direct)?;
    let len = file.len()?;
    let mut queue = disk.local_queue(depth as u32)?;
    let mut free = (0..depth)
        .map(|_| Ok(AlignedBuf::new(HUGE_PAGE)?.into_io_prefix(READ_BYTES)))
        .collect::<std::io::Result<Vec<IoBuf>>>()?;
    let mut completions: Vec<Completion> = Vec::new();
    let mut offset = 0;
    while offset < len || queue.in_flight() > 0 {
        while offset < len {
            let Some(buf) = free.pop() else { break };
            queue.push(offset, Request::Read { file: file.clone(), offset, buf });
            offset += READ_BYTES as u64;
        }
        queue.wait(1, &mut completions)?;
        for completion in completions.drain(..) {
            completion.result?;
            free.extend(completion.buf);
        }
    }
    Ok(())
}

/// As recovery: open, then every page into memory of its own, checked. The memory is taken from
/// `spare`, then from the kernel.
fn load(
    disk: &dyn Disk,
    written: &Written,
    depth: usize,
    mut spare: Vec<AlignedBuf>,
) -> Result<Vec<AlignedBuf>> {
    let snapshot = Snapshot::open(disk, &written.path, None)?;
    let mut queue = disk.local_queue(depth as u32)?;
    let mut pages = 0;
    let mut kept = Vec::with_capacity(spare.len());
    load_all(
        &snapshot,
        queue.as_mut(),
        depth,
        |read| {
            let buf = spare.pop().map_or_else(|| AlignedBuf::new(READ_BYTES), Ok)?;
            Ok(buf.into_io_prefix(read.bytes()))
        },
        |read, buf| {
            pages += read.pages;
            kept.extend(AlignedBuf::from_io(buf));
        },
    )?;
    if (pages, snapshot.digest()) != (written.pages, written.digest) {
        return Err("the snapshot that came back is not the one that was written".into());
    }
    kept.append(&mut spare);
    Ok(kept)
}

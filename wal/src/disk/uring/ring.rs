//! Making a ring with the best of what the kernel has.

use std::io;

use io_uring::{IoUring, opcode};

/// Who may use a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One thread, from its first wait on.
    Local,
    /// Whoever has the queue.
    Shared,
}

/// A step of what kernels have: the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Linux 5.6 and what it was backported to.
    Basic,
    /// Linux 5.19: cooperative task running.
    Cooperative,
    /// Linux 6.6: no indirection of submissions, and deferred completion since 6.1.
    Full,
}

/// Cap of the kernel's helper threads for one ring: they run what cannot be started without
/// blocking (buffered writes, writes that allocate), and more of them only fight for the same
/// file.
const WORKERS_MAX: u32 = 4;

/// A ring with room for `entries` requests. A [`Kind::Local`] one starts disabled where the
/// kernel needs that to find out which thread owns it; see [`enable`].
pub(super) fn make(entries: u32, kind: Kind) -> io::Result<IoUring> {
    let mut result = Err(io::ErrorKind::Unsupported.into());
    for level in [Level::Full, Level::Cooperative, Level::Basic] {
        result = at(entries, kind, level);
        match &result {
            // An unknown flag; older kernels may know fewer.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            _ => break,
        }
    }
    let ring = result?;
    let mut workers = [WORKERS_MAX, WORKERS_MAX];
    // Linux 5.15; without it there are only more threads.
    let _ = ring.submitter().register_iowq_max_workers(&mut workers);
    Ok(ring)
}

fn at(entries: u32, kind: Kind, level: Level) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // At most one completion per entry is ever outstanding, so the default of twice as many
    // would stay unused.
    builder.setup_cqsize(entries);
    if level >= Level::Cooperative {
        builder.setup_submit_all();
    }
    if level == Level::Full {
        builder.setup_no_sqarray();
    }
    match (kind, level) {
        // The thread that submitted may be computing while another waits: the kernel must
        // interrupt it to run its completions, so nothing cooperative here.
        (Kind::Shared, _) | (Kind::Local, Level::Basic) => {}
        (Kind::Local, Level::Cooperative) => {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        (Kind::Local, Level::Full) => {
            builder.setup_single_issuer().setup_r_disabled();
            builder.setup_defer_taskrun().setup_taskrun_flag();
        }
    }
    builder.build(entries)
}

/// Makes the calling thread the owner of a ring that was made disabled.
pub(super) fn enable(ring: &IoUring) -> io::Result<()> {
    if ring.params().is_setup_single_issuer() {
        ring.submitter().register_enable_rings()?;
    }
    Ok(())
}

/// Whether this process may use io_uring at all: makes a ring and runs an empty request.
pub(super) fn check() -> io::Result<()> {
    let mut ring = make(2, Kind::Shared)?;
    // SAFETY: an empty request refers to no memory.
    let pushed = unsafe { ring.submission().push(&opcode::Nop::new().build()) };
    pushed.map_err(|_| io::ErrorKind::WouldBlock)?;
    ring.submit_and_wait(1)?;
    let end = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if end.result() < 0 { Err(io::Error::from_raw_os_error(-end.result())) } else { Ok(()) }
}

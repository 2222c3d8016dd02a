//! What every backend promises, run on each of them: simulated, `pwritev2`, io_uring (skipped
//! where the kernel forbids it), each with a queue that may move between threads and a local one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "says which backend failed, and which was skipped")]

use std::io;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc;

use resprout_wal::SECTOR;
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{
    AlignedBuf, Cache, Completion, Disk, FileRef, IoBuf, Open, PlainDisk, Queue, Request,
    UringDisk, probe_durable_write,
};

/// One backend in an empty directory.
struct Bench<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    local: bool,
}

impl Bench<'_> {
    fn create(&self, name: &str, cache: Cache) -> FileRef {
        self.disk.open(&self.dir.join(name), Open::Create, cache).unwrap()
    }

    fn queue(&self, depth: u32) -> Box<dyn Queue> {
        if self.local { self.disk.local_queue(depth) } else { self.disk.queue(depth) }.unwrap()
    }
}

/// Runs a test on every backend and kind of queue.
fn on_all(test: impl Fn(&Bench<'_>)) {
    let mut disks: Vec<Box<dyn Disk>> = vec![Box::new(SimDisk::new(1)), Box::new(PlainDisk)];
    match UringDisk::new() {
        Ok(disk) => disks.push(Box::new(disk)),
        Err(error) => println!("io_uring skipped: {error}"),
    }
    for disk in &disks {
        for local in [false, true] {
            let temporary = tempfile::tempdir().unwrap();
            let dir = temporary.path().join(format!("local-{local}"));
            disk.create_dir(&dir).unwrap();
            println!("{} local={local}", disk.backend());
            test(&Bench { disk: disk.as_ref(), dir, local });
        }
    }
}

fn sectors(count: usize, byte: u8) -> AlignedBuf {
    AlignedBuf::copied(&vec![byte; count * SECTOR]).unwrap()
}

fn write(file: &FileRef, offset: u64, buf: IoBuf, durable: bool) -> Request {
    Request::Write { file: Arc::clone(file), offset, buf, durable }
}

fn read(file: &FileRef, offset: u64, len: usize) -> Request {
    let buf = AlignedBuf::new(len).unwrap().into_io();
    Request::Read { file: Arc::clone(file), offset, buf }
}

/// Waits for everything in flight; completions by token.
fn finish(queue: &mut dyn Queue) -> Vec<Completion> {
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        queue.wait(1, &mut done).unwrap();
    }
    done.sort_by_key(|end| end.token);
    done
}

/// Promise: opening says whether the file is there, and creating never replaces one.
#[test]
fn open_creates_or_finds() {
    on_all(|bench| {
        let path = bench.dir.join("file");
        let open = |how| bench.disk.open(&path, how, Cache::Buffered);
        assert_eq!(open(Open::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(open(Open::Write).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = open(Open::Create).unwrap();
        assert!(file.is_empty().unwrap());
        assert_eq!(file.path(), path);
        assert_eq!(open(Open::Create).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        open(Open::Write).unwrap().write_at(b"abc", 0).unwrap();
        assert_eq!(file.len().unwrap(), 3);
        let reader = open(Open::Read).unwrap();
        assert_eq!(reader.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EBADF));
    });
}

/// Promise: blocking transfers grow the file, leave zeros in holes and are short only at the end.
#[test]
fn blocking_transfers() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Buffered);
        file.write_at(b"end", 5000).unwrap();
        file.flush().unwrap();
        let mut buf = [9; 10];
        assert_eq!(file.read_at(&mut buf, 4996).unwrap(), 7);
        assert_eq!(&buf, b"\0\0\0\0end\x09\x09\x09");
        assert_eq!(file.read_at(&mut buf, 5003).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        assert_eq!(file.len().unwrap(), 5003);
    });
}

/// Promise: many requests in flight all end, each with its token, its buffer and its length.
#[test]
fn every_request_ends_once() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        let mut queue = bench.queue(32);
        for token in 0..32_u64 {
            let buf = sectors(2, u8::try_from(token).unwrap()).into_io();
            queue.push(token, write(&file, token * 2 * SECTOR as u64, buf, token % 2 == 0));
        }
        assert_eq!((queue.in_flight(), queue.depth()), (32, 32));
        for (token, end) in finish(queue.as_mut()).into_iter().enumerate() {
            assert_eq!(end.token, token as u64);
            assert_eq!(end.result.unwrap(), 2 * SECTOR);
            assert_eq!(end.buf.unwrap().len(), 2 * SECTOR);
        }
        for token in 0..32 {
            queue.push(token, read(&file, token * 2 * SECTOR as u64, 2 * SECTOR));
        }
        for (token, end) in finish(queue.as_mut()).into_iter().enumerate() {
            assert_eq!(end.result.unwrap(), 2 * SECTOR);
            let expected = u8::try_from(token).unwrap();
            assert!(end.buf.unwrap().as_slice().iter().all(|byte| *byte == expected));
        }
    });
}

/// Promise: a write, then a flush pushed after its completion, then a read: each sees the one
/// before.
#[test]
fn write_then_flush_then_read() {
    on_all(|bench| {
        for (name, cache) in [("direct", Cache::Direct), ("buffered", Cache::Buffered)] {
            let file = bench.create(name, cache);
            let mut queue = bench.queue(1);
            for round in 1..20 {
                queue.push(1, write(&file, 0, sectors(1, round).into_io(), false));
                finish(queue.as_mut()).remove(0).result.unwrap();
                queue.push(2, Request::Flush { file: Arc::clone(&file) });
                assert_eq!(finish(queue.as_mut()).remove(0).result.unwrap(), 0);
                queue.push(3, read(&file, 0, SECTOR));
                let end = finish(queue.as_mut()).remove(0);
                assert_eq!(end.result.unwrap(), SECTOR);
                assert_eq!(end.buf.unwrap().as_slice()[SECTOR - 1], round);
            }
        }
    });
}

/// Promise: a read ends short at the end of the file, direct or not, aligned or not.
#[test]
fn a_read_is_short_at_the_end() {
    on_all(|bench| {
        let path = bench.dir.join("file");
        let file = bench.create("file", Cache::Buffered);
        file.write_at(&[1; 3 * SECTOR + 100], 0).unwrap();
        let direct = bench.disk.open(&path, Open::Read, Cache::Direct).unwrap();
        let mut queue = bench.queue(4);
        for (token, file) in [&file, &direct].into_iter().enumerate() {
            queue.push(token as u64, read(file, 2 * SECTOR as u64, 4 * SECTOR));
            queue.push(token as u64 + 2, read(file, 16 * SECTOR as u64, SECTOR));
        }
        let ends = finish(queue.as_mut());
        let lengths: Vec<usize> = ends.into_iter().map(|end| end.result.unwrap()).collect();
        assert_eq!(lengths, [SECTOR + 100, SECTOR + 100, 0, 0]);
        let mut buf = AlignedBuf::new(4 * SECTOR).unwrap();
        assert_eq!(direct.read_at(&mut buf, 2 * SECTOR as u64).unwrap(), SECTOR + 100);
    });
}

/// Promise: direct transfers that are not in whole sectors are refused, on every device alike,
/// and the buffer comes back.
#[test]
fn misaligned_direct_transfers_are_refused() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        let mut queue = bench.queue(4);
        queue.push(0, write(&file, 512, sectors(1, 1).into_io(), true));
        queue.push(1, write(&file, 0, sectors(1, 1).into_io_prefix(512), true));
        queue.push(2, read(&file, 1, SECTOR));
        for end in finish(queue.as_mut()) {
            assert_eq!(end.result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
            assert!(AlignedBuf::from_io(end.buf.unwrap()).is_ok());
        }
        let buf = AlignedBuf::new(2 * SECTOR).unwrap();
        assert!(file.write_at(&buf[8..SECTOR + 8], 0).is_err());
        assert!(file.is_empty().unwrap());
    });
}

/// Promise: a write beyond the positions of the kernel is an error, not a wrapped offset.
#[test]
fn positions_end_where_the_kernel_ends() {
    on_all(|bench| {
        if bench.disk.backend() == "simulated" {
            return;
        }
        let file = bench.create("file", Cache::Buffered);
        assert!(file.write_at(b"x", u64::MAX).is_err());
        let mut queue = bench.queue(1);
        queue.push(0, read(&file, u64::MAX - 5, SECTOR));
        assert!(finish(queue.as_mut()).remove(0).result.is_err());
    });
}

/// Promise: a request that fails says so with its token and buffer, and the queue goes on.
#[test]
fn an_error_ends_one_request_only() {
    on_all(|bench| {
        let writer = bench.create("file", Cache::Direct);
        let path = bench.dir.join("file");
        let reader = bench.disk.open(&path, Open::Read, Cache::Direct).unwrap();
        let mut queue = bench.queue(4);
        queue.push(0, write(&reader, 0, sectors(1, 1).into_io(), false));
        queue.push(1, write(&writer, 0, sectors(1, 2).into_io(), false));
        let ends = finish(queue.as_mut());
        assert_eq!(ends[0].result.as_ref().unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert!(ends[0].buf.is_some());
        assert_eq!(*ends[1].result.as_ref().unwrap(), SECTOR);
    });
}

/// Promise: a queue that is dropped with requests in flight waits for them: nothing writes to
/// their memory afterwards.
#[test]
fn a_dropped_queue_leaves_nothing_behind() {
    const COUNT: usize = 16;
    const SIZE: usize = 64 * SECTOR;
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        file.write_at(&sectors(64 * COUNT, 7), 0).unwrap();
        file.flush().unwrap();
        let mut memory = AlignedBuf::new(COUNT * SIZE).unwrap();
        for round in 0..20 {
            let start = NonNull::from(&mut memory[..]).cast::<u8>();
            let mut queue = bench.queue(COUNT as u32);
            for index in 0..COUNT {
                // SAFETY: inside the memory, of which each request gets its own part.
                let part = unsafe { start.add(index * SIZE) };
                // SAFETY: the memory outlives the queue, and the test does not look at it before
                // the queue is gone.
                let buf = unsafe { IoBuf::from_raw(part, SIZE, Arc::new(())) };
                let (file, offset) = (Arc::clone(&file), (index * SIZE) as u64);
                queue.push(index as u64, Request::Read { file, offset, buf });
            }
            queue.wait(round % 2, &mut Vec::new()).unwrap();
            drop(queue);
            memory.fill(1);
            // As many reads again: whatever the first ones still had to do is done then.
            file.read_at(&mut AlignedBuf::new(COUNT * SIZE).unwrap(), 0).unwrap();
            assert!(memory.iter().all(|byte| *byte == 1), "a read came after its queue was gone");
        }
    });
}

/// Promise: the file of a request stays open until the request ends.
#[test]
fn a_file_outlives_its_last_handle() {
    on_all(|bench| {
        let mut queue = bench.queue(4);
        for round in 0..100 {
            let name = format!("file-{round}");
            let file = bench.create(&name, Cache::Buffered);
            queue.push(0, write(&file, 0, sectors(1, 3).into_io(), false));
            drop(file);
            finish(queue.as_mut()).remove(0).result.unwrap();
            bench.disk.remove(&bench.dir.join(&name)).unwrap();
        }
    });
}

/// Promise: a wake before the wait ends the wait, once.
#[test]
fn a_wake_before_the_wait_is_not_lost() {
    on_all(|bench| {
        let mut queue = bench.queue(2);
        let wake = queue.waker();
        for _ in 0..50 {
            wake();
            wake();
            let mut done = Vec::new();
            queue.wait(1, &mut done).unwrap();
            assert!(done.is_empty());
        }
    });
}

/// Promise: a wake from another thread ends a wait that has nothing else to wait for.
#[test]
fn a_wake_reaches_a_sleeping_thread() {
    on_all(|bench| {
        let mut queue = bench.queue(2);
        let wake = queue.waker();
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || {
                for round in 0..20 {
                    queue.wait(1, &mut Vec::new()).unwrap();
                    sender.send(round).unwrap();
                }
            });
            for round in 0..20 {
                assert!(receiver.try_recv().is_err(), "nobody woke it");
                wake();
                assert_eq!(receiver.recv().unwrap(), round);
            }
        });
        // The queue is gone, its waker is harmless.
        wake();
    });
}

/// Promise: many threads that wake one queue for their work are all served.
#[test]
fn wakes_from_many_threads_are_all_seen() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        let mut queue = bench.queue(8);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (sender, wake) = (sender.clone(), queue.waker());
                scope.spawn(move || {
                    for number in 0..50 {
                        sender.send(thread * 50 + number).unwrap();
                        wake();
                    }
                });
            }
            let (mut started, mut done) = (0, Vec::new());
            while done.len() < 200 {
                while queue.in_flight() < queue.depth() {
                    let Ok(number) = receiver.try_recv() else { break };
                    let offset = number * SECTOR as u64;
                    queue.push(number, write(&file, offset, sectors(1, 1).into_io(), true));
                    started += 1;
                }
                queue.wait(1, &mut done).unwrap();
            }
            assert_eq!(started, 200);
            assert!(done.iter().all(|end| end.result.is_ok()));
        });
    });
}

/// Promise: a queue that is not local works in whichever thread has it, also when the thread that
/// pushed is gone.
#[test]
fn a_queue_moves_between_threads() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        let mut queue = bench.disk.queue(8).unwrap();
        for token in 0..20 {
            queue = std::thread::scope(|scope| {
                let file = &file;
                let work = move || {
                    queue.push(token, write(file, 0, sectors(1, 1).into_io(), true));
                    queue.wait(0, &mut Vec::new()).unwrap();
                    queue
                };
                scope.spawn(work).join().unwrap()
            });
            for end in finish(queue.as_mut()) {
                assert_eq!(end.result.unwrap(), SECTOR);
            }
        }
    });
}

/// Promise: a local queue may be made and filled in one thread and used in another from its first
/// wait on.
#[test]
fn a_local_queue_belongs_to_its_first_waiter() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        let mut queue = bench.disk.local_queue(8).unwrap();
        queue.push(0, write(&file, 0, sectors(1, 1).into_io(), true));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                assert_eq!(finish(queue.as_mut()).remove(0).result.unwrap(), SECTOR);
            });
        });
    });
}

/// Promise: names come and go, a rename replaces, and a listing is sorted and complete.
#[test]
fn d17_names_come_and_go() {
    on_all(|bench| {
        let disk = bench.disk;
        bench.create("b", Cache::Buffered).write_at(b"bb", 0).unwrap();
        bench.create("a", Cache::Buffered).write_at(b"a", 0).unwrap();
        disk.create_dir(&bench.dir.join("c/d")).unwrap();
        disk.create_dir(&bench.dir.join("c/d")).unwrap();
        let names = |dir: &Path| -> Vec<(String, u64)> {
            let entries = disk.list(dir).unwrap();
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            entries.iter().map(|entry| (name(&entry.path), entry.len)).collect()
        };
        assert_eq!(names(&bench.dir), [("a".into(), 1), ("b".into(), 2), ("c".into(), 0)]);
        assert!(disk.list(&bench.dir).unwrap()[2].is_dir);
        disk.rename(&bench.dir.join("a"), &bench.dir.join("b")).unwrap();
        disk.sync_dir(&bench.dir).unwrap();
        assert_eq!(names(&bench.dir), [("b".into(), 1), ("c".into(), 0)]);
        let full = disk.remove_dir(&bench.dir.join("c")).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
        disk.remove_dir(&bench.dir.join("c/d")).unwrap();
        disk.remove_dir(&bench.dir.join("c")).unwrap();
        disk.remove(&bench.dir.join("b")).unwrap();
        assert_eq!(names(&bench.dir), []);
        for error in [
            disk.remove(&bench.dir.join("b")).unwrap_err(),
            disk.rename(&bench.dir.join("b"), &bench.dir.join("a")).unwrap_err(),
            disk.list(&bench.dir.join("c")).unwrap_err(),
            disk.sync_dir(&bench.dir.join("c")).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    });
}

/// Promise: one holder of a lock at a time, and it is free again when the holder is gone.
#[test]
fn d38_a_lock_has_one_holder() {
    on_all(|bench| {
        let path = bench.dir.join("LOCK");
        let held = bench.disk.lock(&path).unwrap();
        let refused = bench.disk.lock(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let again = bench.disk.lock(&path).unwrap();
        assert!(bench.disk.lock(&path).is_err());
        drop(again);
    });
}

/// Promise: what is stored is readable by its owner only.
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    on_all(|bench| {
        if bench.disk.backend() == "simulated" {
            return;
        }
        bench.create("file", Cache::Buffered);
        drop(bench.disk.lock(&bench.dir.join("LOCK")).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bench.dir.join("file")), 0o600);
        assert_eq!(mode(&bench.dir.join("LOCK")), 0o600);
        assert_eq!(mode(&bench.dir), 0o700);
    });
}

/// Promise: what the page cache holds is counted where the kernel counts it, never beyond the
/// range.
#[test]
fn cached_bytes_are_counted() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Buffered);
        file.write_at(&[1; 10 * SECTOR], 0).unwrap();
        assert!(file.cached_bytes(0, 0).is_none_or(|bytes| bytes == 0));
        if let Some(bytes) = file.cached_bytes(0, 4 * SECTOR as u64) {
            assert_eq!(bytes, 4 * SECTOR as u64);
            let all = file.cached_bytes(0, 1 << 30).unwrap();
            assert_eq!(all, 10 * SECTOR as u64);
        }
    });
}

/// Promise: the probe measures, decides and leaves no file behind.
#[test]
fn the_probe_cleans_up() {
    on_all(|bench| {
        let probe = probe_durable_write(bench.disk, &bench.dir).unwrap();
        println!("{probe:?}");
        assert!(bench.disk.list(&bench.dir).unwrap().is_empty());
    });
}

/// Promise: a local queue that ends up in another thread, with its own gone or not, ends without
/// touching memory that it gave up.
#[test]
fn a_local_queue_may_die_elsewhere() {
    on_all(|bench| {
        let file = bench.create("file", Cache::Direct);
        for waits in [false, true] {
            let mut queue = bench.disk.local_queue(4).unwrap();
            let wake = queue.waker();
            let queue = std::thread::scope(|scope| {
                let file = &file;
                let work = move || {
                    wake();
                    queue.wait(1, &mut Vec::new()).unwrap();
                    queue.push(0, write(file, 0, sectors(1, 1).into_io(), true));
                    if waits {
                        queue.wait(0, &mut Vec::new()).unwrap();
                    }
                    queue
                };
                scope.spawn(work).join().unwrap()
            });
            drop(queue);
        }
    });
}

/// Promise: a file that nobody has any more is closed, also by the kernel's table of a ring, at
/// the next wait.
#[test]
fn closed_files_are_let_go() {
    use std::os::fd::AsRawFd;
    on_all(|bench| {
        if bench.disk.backend() == "simulated" {
            return;
        }
        let file = bench.create("file", Cache::Buffered);
        let mut queue = bench.queue(2);
        queue.push(0, write(&file, 0, sectors(1, 1).into_io(), false));
        finish(queue.as_mut());
        drop(file);
        queue.waker()();
        queue.wait(1, &mut Vec::new()).unwrap();
        let own = std::fs::File::options().write(true).open(bench.dir.join("file")).unwrap();
        // A write lease is granted only if the file is open nowhere else. The kernel closes
        // behind the call, so this asks more than once.
        let granted = (0..1_000_000).any(|_| {
            std::thread::yield_now();
            // SAFETY: no memory is involved.
            unsafe { libc::fcntl(own.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0 }
        });
        assert!(granted, "still open: {}", io::Error::last_os_error());
    });
}

//! Every byte of a small log flipped in turn: never a wrong entry, never a panic, never a large
//! allocation (promise A8).

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use resprout_wal::disk::sim::SimDisk;

use crate::harness::*;

/// Remembers the largest request.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Far above what the tests of this binary need, far below what a flipped length would ask for.
const ALLOCATION_MAX: usize = 64 << 20;

fn small_log(disk: &SimDisk, clean: bool) {
    let device = open(disk, 1);
    let log = create(&device, 0);
    for (n, len) in [40, 5000, 0, 50_000, 300, 20].into_iter().enumerate() {
        let position = append(&log, n as u64, len);
        log.wait_durable(position).expect("durable");
        if n == 4 {
            device.idle();
        }
    }
    if clean {
        log.close_clean().expect("closes");
    }
}

fn flip_each(disk: &SimDisk, step: usize, least: usize) {
    let disk = disk.restart();
    let len = disk.contents(&arena()).expect("the arena").len();
    let mut damaged = 0;
    for offset in (0..len).step_by(step) {
        let bit = (offset % 8) as u8;
        disk.flip(&arena(), offset as u64, bit);
        let disk = disk.restart();
        if let Ok(device) = try_open(&disk, 2) {
            match read(&device, 0) {
                Ok(read) => {
                    check_prefix(&read.entries);
                    assert!(read.entries.len() >= least, "byte {offset}: acknowledged and marked");
                }
                Err(_) => damaged += 1,
            }
        }
        disk.flip(&arena(), offset as u64, bit);
    }
    assert!(damaged > 0);
    assert!(LARGEST.load(Ordering::Relaxed) < ALLOCATION_MAX);
}

/// Promise (A8): a killed process's log, every byte of every head and header, every 13th of all.
#[test]
fn every_byte_of_a_running_log_flipped() {
    let disk = SimDisk::new(1);
    small_log(&disk, false);
    flip_each(&disk, 13, 5);
}

/// Promise (A8): a cleanly closed log loses nothing to any flip: it is damaged or whole.
#[test]
fn every_byte_of_a_closed_log_flipped() {
    let disk = SimDisk::new(2);
    small_log(&disk, true);
    flip_each(&disk, 17, 6);
}

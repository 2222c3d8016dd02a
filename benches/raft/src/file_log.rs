//! The log on disk that every library gets: one file and one thread per node. What waits is written
//! together and flushed once, in the order of the requests.
//!
//! The file is written with zeros before and then over and over, so that a flush has no metadata to
//! write: the libraries are compared, not the file system. Nobody reads it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of the file.
const FILE_BYTES: u64 = 32 << 20;
/// Most bytes that one flush covers.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Most requests that wait.
const QUEUE_MAX: usize = 16 << 10;

/// Called when the bytes are durable.
pub type Done = Box<dyn FnOnce() + Send>;

struct Request {
    bytes: Vec<u8>,
    done: Done,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct FileLog {
    queue: SyncSender<Request>,
    flushes: Arc<AtomicU64>,
}

impl FileLog {
    /// Makes the file and starts its thread, which ends when the last clone is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let (queue, requests) = sync_channel(QUEUE_MAX);
        let flushes = Arc::new(AtomicU64::new(0));
        let count = flushes.clone();
        std::thread::spawn(move || write(&file, &requests, &count));
        Ok(Self { queue, flushes })
    }

    /// Writes behind what was given before. Waits if too much does already.
    pub fn append(&self, bytes: Vec<u8>, done: impl FnOnce() + Send + 'static) {
        // After the thread has ended nobody waits for an answer.
        drop(self.queue.send(Request { bytes, done: Box::new(done) }));
    }

    /// How often the file was flushed.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

fn write(file: &File, requests: &Receiver<Request>, flushes: &AtomicU64) {
    let mut at = 0;
    let (mut bytes, mut done) = (Vec::new(), Vec::new());
    while let Ok(first) = requests.recv() {
        let mut next = Some(first);
        while let Some(request) = next.take() {
            bytes.extend_from_slice(&request.bytes);
            done.push(request.done);
            next = (bytes.len() < GROUP_BYTES_MAX).then(|| requests.try_recv().ok()).flatten();
        }
        if !bytes.is_empty() {
            if at + bytes.len() as u64 > FILE_BYTES {
                at = 0;
            }
            file.write_all_at(&bytes, at).expect("a bench on a broken disk says nothing");
            file.sync_data().expect("a bench on a broken disk says nothing");
            flushes.fetch_add(1, Ordering::Relaxed);
            at += bytes.len() as u64;
        }
        bytes.clear();
        done.drain(..).for_each(|done| done());
    }
}

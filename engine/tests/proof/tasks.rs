//! Many clients in one thread, in an order that a seed decides, also while the device is busy.
//!
//! ```text
//!  client A: commit ─► append ─► drive ─► wait for the device ─┐
//!                                                              ├─ meanwhile: clients B, C, …
//!  client A: acknowledged ◄─────── the device is done ◄────────┘    read, write, append, wait
//! ```
//!
//! A task is polled only when it was woken, so a lost wake-up shows as a standstill.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{
    Cache, Completion, Disk, Entry, FileRef, Open, Queue, Request, Waker as QueueWaker,
};
use resprout_wal::world::Rng;

type Hook = Rc<dyn Fn()>;

thread_local! {
    static MEANWHILE: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Sets what happens while the device is busy, until the guard is dropped.
pub(crate) fn meanwhile(hook: Hook) -> impl Drop {
    struct Restore(Option<Hook>);
    impl Drop for Restore {
        fn drop(&mut self) {
            MEANWHILE.with(|place| place.replace(self.0.take()));
        }
    }
    Restore(MEANWHILE.with(|place| place.replace(Some(hook))))
}

/// Runs `work` with nothing happening while the device is busy.
pub(crate) fn alone<T>(work: impl FnOnce() -> T) -> T {
    let hook = MEANWHILE.with(RefCell::take);
    let done = work();
    MEANWHILE.with(|place| place.replace(hook));
    done
}

/// Whether somebody waits for the device right now, so that nobody else may.
pub(crate) fn is_busy() -> bool {
    MEANWHILE.with(|place| place.borrow().is_none())
}

/// A simulated disk whose queues let others run while they wait.
#[derive(Debug)]
pub(crate) struct BusyDisk(pub(crate) SimDisk);

struct BusyQueue(Box<dyn Queue>);

impl Queue for BusyQueue {
    fn push(&mut self, token: u64, request: Request) {
        self.0.push(token, request);
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        if at_least > 0 {
            alone_with_hook();
        }
        self.0.wait(at_least, out)
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn waker(&self) -> QueueWaker {
        self.0.waker()
    }
}

/// Calls the hook, which is out of its place meanwhile, so that it does not call itself.
fn alone_with_hook() {
    let hook = MEANWHILE.with(|place| place.borrow().clone());
    if let Some(hook) = hook {
        alone(|| hook());
    }
}

impl Disk for BusyDisk {
    fn open(&self, path: &Path, open: Open, cache: Cache) -> io::Result<FileRef> {
        self.0.open(path, open, cache)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync + fmt::Debug>> {
        self.0.lock(path)
    }

    fn queue(&self, depth: u32) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(BusyQueue(self.0.queue(depth)?)))
    }

    fn backend(&self) -> &'static str {
        "simulated"
    }
}

#[derive(Debug)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    woken: Arc<Woken>,
}

/// Clients, each a task.
pub(crate) struct Tasks {
    tasks: RefCell<Vec<Task>>,
    rng: RefCell<Rng>,
}

impl Tasks {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = RefCell::new(Rng::new(seed));
        Self { tasks: RefCell::default(), rng }
    }

    pub(crate) fn add(&self, future: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.tasks.borrow_mut().push(Task { future: Some(Box::pin(future)), woken });
    }

    /// Polls one task that was woken, if there is one that does not run already.
    pub(crate) fn poll_one(&self) -> bool {
        let chosen = {
            let mut tasks = self.tasks.borrow_mut();
            let ready: Vec<usize> = (0..tasks.len())
                .filter(|at| {
                    tasks[*at].future.is_some() && tasks[*at].woken.0.load(Ordering::SeqCst)
                })
                .collect();
            if ready.is_empty() {
                return false;
            }
            let at = ready[self.rng.borrow_mut().below(ready.len() as u64) as usize];
            let task = &mut tasks[at];
            task.woken.0.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&task.woken));
            task.future.take().map(|future| (at, future, waker))
        };
        let Some((at, mut future, waker)) = chosen else { return false };
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        if poll.is_pending() {
            self.tasks.borrow_mut()[at].future = Some(future);
        }
        true
    }

    /// Tasks that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.tasks.borrow().iter().filter(|task| task.future.is_some()).count()
    }

    /// Drops all tasks, as a process does that ends.
    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}

/// Lets others run.
pub(crate) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future once; what it waits for is given up.
pub(crate) async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

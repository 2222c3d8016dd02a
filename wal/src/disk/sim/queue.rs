//! Requests in flight on a simulated disk.
//!
//! A request takes effect when it is pushed, so that a crash may keep any part of it; it becomes
//! known as done, and durable if it asked for that, when a wait returns it. The order of
//! completions follows from the seed of the disk.

use std::any::Any;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use super::file::SimFile;
use super::world::{HANGS, World};
use super::{Crashed, Place, Shared};
use crate::disk::{Completion, FileRef, IoBuf, Queue, Request, Waker};
use crate::world::Rng;

/// What is still to do when a request ends.
enum Finish {
    Nothing,
    Read { place: Place, offset: u64 },
    Write { place: Place, id: u64, durable: bool },
    Flush { place: Place, ids: Vec<u64> },
}

struct InFlight {
    token: u64,
    buf: Option<IoBuf>,
    result: io::Result<usize>,
    finish: Finish,
    /// Waits that must pass first.
    delay: u32,
    /// Keeps the inode from being collected while the request runs.
    file: FileRef,
}

pub(super) struct SimQueue {
    shared: Arc<Shared>,
    epoch: u64,
    depth: usize,
    rng: Rng,
    requests: Vec<InFlight>,
    woken: Arc<AtomicBool>,
}

impl SimQueue {
    pub(super) fn new(shared: Arc<Shared>, epoch: u64, depth: u32, seed: u64) -> Self {
        let woken = Arc::default();
        let rng = Rng::new(seed);
        Self { shared, epoch, depth: depth as usize, rng, requests: Vec::new(), woken }
    }

    /// Takes out `count` of the requests that may end, in the order of the seed.
    fn choose(&mut self, count: usize) -> Vec<InFlight> {
        let mut chosen_requests = Vec::with_capacity(count);
        for _ in 0..count {
            let ready = self.requests.iter().filter(|request| request.delay == 0).count();
            let chosen = self.rng.below(ready as u64) as usize;
            let index = (0..self.requests.len())
                .filter(|index| self.requests[*index].delay == 0)
                .nth(chosen)
                .expect("`chosen` is under the number of ready requests");
            chosen_requests.push(self.requests.remove(index));
        }
        chosen_requests
    }

    /// Ends everything with the error of a crash; an error of the queue if there was nothing.
    fn give_up(&mut self, out: &mut Vec<Completion>) -> io::Result<()> {
        if self.requests.is_empty() {
            return Err(Crashed.into());
        }
        out.extend(self.requests.drain(..).map(|request| Completion {
            token: request.token,
            buf: request.buf,
            result: Err(Crashed.into()),
        }));
        Ok(())
    }
}

/// Carries out what a request still has to do. The file comes back with the completion, because
/// to close it takes the lock of the disk, which is held here.
fn end(world: &mut World, mut request: InFlight) -> (Completion, FileRef) {
    let mut result = request.result;
    match request.finish {
        Finish::Nothing => {}
        Finish::Read { place, offset } => {
            if let Some(buf) = &mut request.buf {
                result = Ok(world.inode(place.inode).live.read(buf.as_mut_slice(), offset));
            }
        }
        Finish::Write { place, id, durable } => {
            let inode = world.inode(place.inode);
            inode.completed(id);
            if durable && result.is_ok() {
                inode.persist(&[id]);
            }
        }
        Finish::Flush { place, ids } => world.inode(place.inode).persist(&ids),
    }
    (Completion { token: request.token, buf: request.buf, result }, request.file)
}

/// The file's place, if it is open on this disk.
fn place_of(file: &FileRef, shared: &Arc<Shared>) -> io::Result<Place> {
    let any: &dyn Any = file.as_ref();
    let place = any.downcast_ref::<SimFile>().and_then(|file| file.place_on(shared));
    place.cloned().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl Queue for SimQueue {
    fn push(&mut self, token: u64, request: Request) {
        assert!(self.requests.len() < self.depth, "over {} requests in flight", self.depth);
        let (file, buf, started) = match request {
            Request::Read { file, offset, buf } => {
                let started = self.start_read(&file, offset, &buf);
                (file, Some(buf), started)
            }
            Request::Write { file, offset, buf, durable } => {
                let started = self.start_write(&file, offset, &buf, durable);
                (file, Some(buf), started)
            }
            Request::Flush { file } => {
                let started = self.start_flush(&file);
                (file, None, started)
            }
        };
        let (result, finish, delay) =
            started.unwrap_or_else(|error| (Err(error), Finish::Nothing, 0));
        self.requests.push(InFlight { token, buf, result, finish, delay, file });
    }

    fn wait(&mut self, at_least: usize, out: &mut Vec<Completion>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut world = shared.world();
        let chosen = loop {
            for request in &mut self.requests {
                request.delay = match request.delay {
                    HANGS if world.hanging => HANGS,
                    HANGS => 0,
                    delay => delay.saturating_sub(1),
                };
            }
            if world.alive(self.epoch).is_err() {
                drop(world);
                return self.give_up(out);
            }
            let ready = self.requests.iter().filter(|request| request.delay == 0).count();
            let woken = self.woken.swap(false, Ordering::SeqCst);
            if ready >= at_least || woken {
                let least = at_least.min(ready);
                let count = least + self.rng.below((ready - least + 1) as u64) as usize;
                break self.choose(count);
            }
            if self.requests.iter().filter(|request| request.delay < HANGS).count() < at_least {
                let changed = Arc::clone(&world.changed);
                world = changed.wait(world).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let ended: Vec<_> = chosen.into_iter().map(|request| end(&mut world, request)).collect();
        drop(world);
        out.extend(ended.into_iter().map(|(completion, _file)| completion));
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.requests.len()
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn waker(&self) -> Waker {
        let (woken, shared) = (Arc::clone(&self.woken), Arc::clone(&self.shared));
        Arc::new(move || {
            // Under the lock, or the wake could fall between a waiter's look and its sleep.
            let world = shared.world();
            woken.store(true, Ordering::SeqCst);
            world.changed.notify_all();
        })
    }
}

type Begun = (io::Result<usize>, Finish, u32);

impl SimQueue {
    fn start_read(&self, file: &FileRef, offset: u64, buf: &IoBuf) -> io::Result<Begun> {
        let place = place_of(file, &self.shared)?;
        let mut world = self.shared.world();
        place.check(&world, buf.as_slice(), offset, false)?;
        let delay = world.start_read(&place, offset, buf.len() as u64)?;
        Ok((Ok(0), Finish::Read { place, offset }, delay))
    }

    fn start_write(
        &self,
        file: &FileRef,
        offset: u64,
        buf: &IoBuf,
        durable: bool,
    ) -> io::Result<Begun> {
        let place = place_of(file, &self.shared)?;
        let mut world = self.shared.world();
        place.check(&world, buf.as_slice(), offset, true)?;
        let started = world.start_write(&place, buf.as_slice(), offset, durable)?;
        let finish = match started.id {
            Some(id) => Finish::Write { place, id, durable },
            None => Finish::Nothing,
        };
        Ok((started.result, finish, started.delay))
    }

    fn start_flush(&self, file: &FileRef) -> io::Result<Begun> {
        let place = place_of(file, &self.shared)?;
        let mut world = self.shared.world();
        world.alive(place.epoch)?;
        let (ids, delay) = world.start_flush(&place)?;
        Ok((Ok(0), Finish::Flush { place, ids }, delay))
    }
}

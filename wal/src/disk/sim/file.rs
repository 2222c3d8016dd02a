//! An open file of a simulated disk, for blocking use.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::world::World;
use super::{Place, Shared};
use crate::disk::{File, check_aligned};

#[derive(Debug)]
pub(super) struct SimFile {
    shared: Arc<Shared>,
    place: Place,
}

impl SimFile {
    pub(super) fn new(shared: Arc<Shared>, place: Place) -> Self {
        Self { shared, place }
    }

    /// Where it is, if it belongs to the disk `shared`.
    pub(super) fn place_on(&self, shared: &Arc<Shared>) -> Option<&Place> {
        Arc::ptr_eq(&self.shared, shared).then_some(&self.place)
    }
}

impl Place {
    /// Refuses what the kernel would: dead handles, wrong alignment, writes to a file open for
    /// reading.
    pub(super) fn check(
        &self,
        world: &World,
        memory: &[u8],
        offset: u64,
        writes: bool,
    ) -> io::Result<()> {
        world.alive(self.epoch)?;
        if writes && !self.writable {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        check_aligned(self.cache, memory, offset)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        if world.alive(self.place.epoch).is_ok() {
            let handles = &mut world.inode(self.place.inode).handles;
            *handles = handles.saturating_sub(1);
        }
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut world = self.shared.world();
        world.alive(self.place.epoch)?;
        Ok(world.inode(self.place.inode).live.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.shared.world();
        self.place.check(&world, buf, offset, false)?;
        world.start_read(&self.place, offset, buf.len() as u64)?;
        Ok(world.inode(self.place.inode).live.read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.shared.world();
        self.place.check(&world, buf, offset, true)?;
        let started = world.start_write(&self.place, buf, offset, false)?;
        if let Some(id) = started.id {
            world.inode(self.place.inode).completed(id);
        }
        started.result.map(drop)
    }

    fn flush(&self) -> io::Result<()> {
        let mut world = self.shared.world();
        world.alive(self.place.epoch)?;
        let (ids, _) = world.start_flush(&self.place)?;
        world.inode(self.place.inode).persist(&ids);
        Ok(())
    }

    /// None: there is no page cache to warm.
    fn cached_bytes(&self, _offset: u64, _len: u64) -> Option<u64> {
        None
    }

    fn descriptor(&self) -> Option<i32> {
        None
    }

    fn path(&self) -> &Path {
        &self.place.path
    }
}

//! Writing a snapshot, step by step, at whatever pace the caller wants.
//!
//! ```text
//!   create ─► header, schema ─► push, push, ... ─► finish:
//!     directory, footer ─► flush ─► read all back from the device ─► rename ─► flush directory
//! ```
//!
//! The file has a temporary name until all of it was read back and matched the checksums that
//! were computed over the pages in memory: a write that the device lost or put elsewhere is found
//! while the older snapshots, and the log behind them, still exist (rule 18, rows D15, D17, D29).
//! A writer that fails or is dropped removes its temporary file and touches nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use resprout_wal::Lsn;
use resprout_wal::disk::{Cache, Disk, FileRef, Open};

use crate::PAGE;
use crate::digest::Digest;
use crate::directory::{Builder, LeafEntry};
use crate::error::{Damage, Part, SnapshotError};
use crate::folder::{file_name, unfinished_name};
use crate::footer::Footer;
use crate::header::{Header, HeaderSector, MAX_SCHEMA};
use crate::load::{PageRead, read_back};
use crate::open::{Snapshot, Source};
use crate::stream::Stream;

/// One leaf, in key order.
#[derive(Clone, Copy, Debug)]
pub struct LeafPage<'a> {
    /// Its pages: a multiple of [`PAGE`] bytes.
    pub bytes: &'a [u8],
    /// Rows in it.
    pub rows: u32,
    /// Sum of its rows' digests; the file keeps the sums of groups of leaves.
    pub digest: Digest,
    /// Shortest key above all keys of the leaf before; empty for the first leaf.
    pub separator: &'a [u8],
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Bytes of one transfer; a multiple of [`PAGE`].
    pub buffer_bytes: usize,
    /// Transfers in flight. Memory taken is one buffer more than that.
    pub in_flight: u32,
    /// Bytes that the file will have, if known, for messages (row D24).
    pub expected_bytes: Option<u64>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { buffer_bytes: 2 << 20, in_flight: 3, expected_bytes: None }
    }
}

/// How far a writer is. All counts grow only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pages pushed.
    pub pages: u32,
    /// Rows pushed.
    pub rows: u64,
    /// Bytes that the device has taken.
    pub bytes_written: u64,
    /// Pages read back and found good.
    pub pages_verified: u32,
}

/// A snapshot that is complete, verified and durable under its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The moment that it holds.
    pub lsn: Lsn,
    /// Where it is.
    pub path: PathBuf,
    /// Length of the file.
    pub bytes: u64,
    /// Number of leaves.
    pub leaves: u64,
    /// Number of pages of all leaves.
    pub pages: u32,
    /// Number of rows of all leaves.
    pub rows: u64,
    /// Digest of all rows.
    pub digest: Digest,
}

/// Writes one snapshot. See the module.
pub struct Writer {
    /// Before `place`: what is in flight ends before the file is removed.
    stream: Stream,
    place: Place,
    directory: Builder,
    header: Header,
    header_crc: u32,
    last_separator: Vec<u8>,
    pages_offset: u64,
    expected_bytes: Option<u64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({}, {:?})", self.place.unfinished.display(), self.progress())
    }
}

impl Writer {
    /// Starts the snapshot of `header` in `dir`, with the blob `schema`, which comes back from
    /// [`Snapshot::schema`].
    ///
    /// # Errors
    /// If the file cannot be made or written. A leftover of the same name is replaced.
    ///
    /// # Panics
    /// If `schema` is longer than 64 MiB.
    pub fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        header: &Header,
        schema: &[u8],
    ) -> Result<Self, SnapshotError> {
        Self::create_with(disk, dir, header, schema, WriteOptions::default())
    }

    /// As [`Writer::create`], with other sizes.
    ///
    /// # Errors
    /// As [`Writer::create`].
    ///
    /// # Panics
    /// As [`Writer::create`].
    pub fn create_with(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        header: &Header,
        schema: &[u8],
        options: WriteOptions,
    ) -> Result<Self, SnapshotError> {
        assert!(schema.len() <= MAX_SCHEMA as usize, "a schema of {} bytes", schema.len());
        let (place, file) = Place::create(disk, dir, header.lsn)?;
        let failed = |e| SnapshotError::io("prepare to write", &place.unfinished, e);
        let queue = disk.queue(options.in_flight).map_err(failed)?;
        let stream = Stream::new(file, queue, options.buffer_bytes).map_err(failed)?;
        let mut padded = schema.to_vec();
        padded.resize(schema.len().next_multiple_of(PAGE), 0);
        let schema_crc = crc32fast::hash(&padded);
        let (sector, header_crc) = HeaderSector::encode(header, schema.len() as u32, schema_crc);
        let mut writer = Self {
            stream,
            place,
            directory: Builder::default(),
            header: header.clone(),
            header_crc,
            last_separator: Vec::new(),
            pages_offset: (PAGE + padded.len()) as u64,
            expected_bytes: options.expected_bytes,
        };
        writer.append(&sector)?;
        writer.append(&padded)?;
        assert_eq!(writer.stream.position(), writer.pages_offset);
        Ok(writer)
    }

    /// Adds the next leaf. Copies it, and waits for the device only while all buffers are in
    /// flight.
    ///
    /// # Errors
    /// If the device failed or is full; the writer is then good for nothing but to be dropped.
    ///
    /// # Panics
    /// If the leaf is not of whole pages, has more than [`crate::MAX_RUN`] of them, or its
    /// separator is not above the one before or longer than [`crate::MAX_SEPARATOR`].
    pub fn push(&mut self, leaf: LeafPage<'_>) -> Result<(), SnapshotError> {
        assert!(leaf.bytes.len().is_multiple_of(PAGE), "a leaf of {} bytes", leaf.bytes.len());
        let is_first = self.directory.pages() == 0;
        assert!(is_first || self.last_separator.as_slice() < leaf.separator, "separators grow");
        let entry = LeafEntry {
            first_page: self.directory.pages(),
            run: u32::try_from(leaf.bytes.len() / PAGE).expect("a leaf of less than 4 GiB"),
            rows: leaf.rows,
            crc: crc32fast::hash(leaf.bytes),
            separator: leaf.separator,
        };
        let added = self.directory.push(&entry, leaf.digest);
        added.ok_or_else(|| self.too_large("number of pages"))?;
        self.last_separator.clear();
        self.last_separator.extend_from_slice(leaf.separator);
        self.append(leaf.bytes)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            pages: self.directory.pages(),
            rows: self.directory.rows(),
            bytes_written: self.stream.written(),
            pages_verified: 0,
        }
    }

    /// Completes the snapshot; see the module for the steps.
    ///
    /// # Errors
    /// If the device failed, is full, or gave back something else than was written. The final
    /// name then does not exist, unless only the last flush of the directory failed: that leaves
    /// a complete, verified file whose name may vanish in a crash.
    pub fn finish(self) -> Result<Written, SnapshotError> {
        self.finish_paced(|_| {})
    }

    /// As [`Writer::finish`]; `pace` is called after each read of the verification and may take
    /// its time, so that other work on the device comes first.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn finish_paced(self, mut pace: impl FnMut(Progress)) -> Result<Written, SnapshotError> {
        let mut progress = self.progress();
        let (written, _) = self.finish_read(|snapshot, read, _| {
            progress.bytes_written = snapshot.bytes();
            progress.pages_verified += read.pages;
            pace(progress);
            Ok::<(), SnapshotError>(())
        })?;
        Ok(written)
    }

    /// As [`Writer::finish`]; `take` gets each read of the verification with its pages, in no particular
    /// order: for who would read them next anyway. The snapshot comes along, with its directory.
    ///
    /// # Errors
    /// As [`Writer::finish`], and the first of `take`: the snapshot is given up then.
    pub fn finish_read<E: From<SnapshotError>>(
        self,
        mut take: impl FnMut(&Snapshot, PageRead, &[u8]) -> Result<(), E>,
    ) -> Result<(Written, Snapshot), E> {
        let (mut place, written) = self.seal()?;
        let path = place.unfinished.clone();
        let disk = place.disk.clone();
        let identity = written.header.identity;
        let snapshot = Snapshot::open_from(disk.as_ref(), &path, Some(identity), Source::Device)?;
        written.check(&snapshot)?;
        let (mut pages, mut taken) = (0, Ok(()));
        read_back(disk.as_ref(), &snapshot, |read, bytes| {
            pages += read.pages;
            if taken.is_ok() {
                taken = take(&snapshot, read, bytes);
            }
        })?;
        taken?;
        assert_eq!(pages, snapshot.pages(), "every page was read back");
        let path = place.publish(written.header.lsn)?;
        let written = Written {
            lsn: written.header.lsn,
            path,
            bytes: snapshot.bytes(),
            leaves: snapshot.leaf_count() as u64,
            pages: snapshot.pages(),
            rows: snapshot.rows(),
            digest: snapshot.digest(),
        };
        Ok((written, snapshot))
    }

    /// Writes directory and footer and flushes; the file is then complete, but unproven. The
    /// stream, with its handle that could write, ends here.
    fn seal(mut self) -> Result<(Place, Sealed), SnapshotError> {
        let (bytes, mut footer) = std::mem::take(&mut self.directory)
            .finish()
            .ok_or_else(|| self.too_large("page directory"))?;
        footer.header_crc = self.header_crc;
        footer.instance = self.header.identity.instance;
        footer.lsn = self.header.lsn.0;
        footer.pages_offset = self.pages_offset;
        footer.directory_offset = self.stream.position();
        let all = self.stream.position() + (bytes.len() + PAGE) as u64;
        self.expected_bytes = Some(all);
        self.append(&bytes)?;
        self.append(&footer.encode())?;
        assert_eq!(self.stream.position(), all);
        let finished = self.stream.finish();
        finished.map_err(|e| self.write_error(e))?;
        Ok((self.place, Sealed { header: self.header, bytes: all, footer }))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.stream.is_dead() {
            return Err(SnapshotError::GivenUp { path: self.place.unfinished.clone() });
        }
        self.stream.append(bytes).map_err(|e| self.write_error(e))
    }

    fn write_error(&self, source: io::Error) -> SnapshotError {
        let path = &self.place.unfinished;
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SnapshotError::NoSpace {
                path: path.clone(),
                needed: self.expected_bytes,
                written: self.stream.written(),
            },
            _ => SnapshotError::io("write", path, source),
        }
    }

    fn too_large(&self, what: &'static str) -> SnapshotError {
        SnapshotError::TooLarge { path: self.place.unfinished.clone(), what }
    }
}

/// What the file must be when it is read back.
struct Sealed {
    header: Header,
    bytes: u64,
    footer: Footer,
}

impl Sealed {
    /// The footer carries a checksum over the header and over the directory, so an intact footer
    /// that is ours proves all but the pages, and the directory proves those.
    fn check(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let same = *snapshot.footer() == self.footer && *snapshot.header() == self.header;
        if same && snapshot.bytes() == self.bytes {
            return Ok(());
        }
        let (part, rule) = (Part::Footer, "is not the one that was just written");
        let offset = snapshot.bytes() - PAGE as u64;
        Err(SnapshotError::damaged(snapshot.path(), offset, Damage::Content { part, rule }))
    }
}

/// The temporary file, removed when dropped before it was published.
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    unfinished: PathBuf,
    published: bool,
}

impl Place {
    fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        lsn: Lsn,
    ) -> Result<(Self, FileRef), SnapshotError> {
        let unfinished = dir.join(unfinished_name(lsn));
        let failed = |e| SnapshotError::io("create", &unfinished, e);
        match disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = create_file(disk.as_ref(), &unfinished).map_err(failed)?;
        let disk = disk.clone();
        Ok((Self { disk, dir: dir.to_owned(), unfinished, published: false }, file))
    }

    /// Gives the file its final name, durably.
    fn publish(&mut self, lsn: Lsn) -> Result<PathBuf, SnapshotError> {
        let path = self.dir.join(file_name(lsn));
        let renamed = self.disk.rename(&self.unfinished, &path);
        renamed.map_err(|e| SnapshotError::io("rename", &self.unfinished, e))?;
        self.published = true;
        let flushed = self.disk.sync_dir(&self.dir);
        flushed.map_err(|e| SnapshotError::io("flush directory", &self.dir, e))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // Best effort: what stays is removed at the next start (`remove_leftovers`).
        if let Err(error) = self.disk.remove(&self.unfinished) {
            let path = self.unfinished.display();
            tracing::warn!(%path, %error, "cannot remove the unfinished snapshot");
        }
    }
}

/// Around the page cache where the file system can: pages written once would only push others out.
fn create_file(disk: &dyn Disk, path: &Path) -> io::Result<FileRef> {
    match disk.open(path, Open::Create, Cache::Direct) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            // The failed attempt may have made the file.
            match disk.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => disk.open(path, Open::Create, Cache::Buffered),
            }
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use resprout_wal::disk::sim::SimDisk;
    use resprout_wal::{History, LogIdentity, Term};

    use super::*;

    fn header(chain: u64) -> Header {
        let identity = LogIdentity { cluster: 1, database: 2, partition: 3, instance: 4 };
        let history = History::starting(Term(1));
        Header { identity, lsn: Lsn(4096), term: Term(1), chain, history }
    }

    fn sealed(disk: &Arc<dyn Disk>, chain: u64) -> (Place, Sealed) {
        let mut writer = Writer::create(disk, Path::new("/d"), &header(chain), b"").unwrap();
        let bytes = [chain as u8; PAGE];
        writer
            .push(LeafPage { bytes: &bytes, rows: 1, digest: Digest(chain), separator: b"" })
            .unwrap();
        let (place, sealed) = writer.seal().unwrap();
        (place, sealed)
    }

    /// Guards rule 18: a whole snapshot that is not the one just written (the device kept what an
    /// earlier attempt left under that name) does not pass for it.
    #[test]
    fn a_whole_file_of_another_attempt_is_not_published() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        disk.create_dir(Path::new("/d")).unwrap();
        let (place, first) = sealed(&disk, 1);
        let open = |place: &Place| {
            Snapshot::open_from(disk.as_ref(), &place.unfinished, None, Source::Device).unwrap()
        };
        assert!(first.check(&open(&place)).is_ok());
        drop(place);
        let (place, second) = sealed(&disk, 2);
        assert!(second.check(&open(&place)).is_ok());
        let error = first.check(&open(&place)).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
}

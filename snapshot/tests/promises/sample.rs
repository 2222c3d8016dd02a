//! Snapshots with known content, written and read through the public interface only.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use resprout_snapshot::{
    Digest, Header, LeafPage, PAGE, Snapshot, SnapshotError, WriteOptions, Writer, Written,
    load_all,
};
use resprout_wal::disk::sim::SimDisk;
use resprout_wal::disk::{AlignedBuf, Disk};
use resprout_wal::{History, LogIdentity, Lsn, Term, TermStart};

/// Where the snapshots of the tests are.
pub(crate) const DIR: &str = "/data/1-0";

/// Whose they are.
pub(crate) const IDENTITY: LogIdentity =
    LogIdentity { cluster: 0xc1a5_7e12 << 64, database: 1, partition: 0, instance: 0xabcd };

/// One leaf to write.
#[derive(Clone, Debug)]
pub(crate) struct SampleLeaf {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: u32,
    pub(crate) separator: Vec<u8>,
}

impl SampleLeaf {
    /// Any digest will do: the snapshot only adds them.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::EMPTY;
        digest.add_row(&self.separator, &self.bytes[..64]);
        digest
    }
}

/// A snapshot to write.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) header: Header,
    pub(crate) schema: Vec<u8>,
    pub(crate) leaves: Vec<SampleLeaf>,
}

impl Sample {
    /// Leaves with these runs of pages, at `lsn`; the content follows from both.
    pub(crate) fn new(lsn: u64, runs: &[u32]) -> Self {
        let mut state = lsn ^ 0x9e37_79b9_7f4a_7c15;
        let leaves = runs.iter().enumerate().map(|(index, run)| SampleLeaf {
            bytes: (0..*run as usize * PAGE / 8).flat_map(|_| next(&mut state)).collect(),
            rows: 10 + index as u32,
            separator: match index {
                0 => Vec::new(),
                _ => format!("key {index:08}").into_bytes(),
            },
        });
        Self {
            header: header(lsn),
            schema: format!("schema at {lsn}").into(),
            leaves: leaves.collect(),
        }
    }

    /// A few leaves, one of them long: ten sectors in all.
    pub(crate) fn small(lsn: u64) -> Self {
        Self::new(lsn, &[1, 2, 1])
    }

    pub(crate) fn pages(&self) -> Vec<u8> {
        self.leaves.iter().flat_map(|leaf| leaf.bytes.iter().copied()).collect()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.leaves.iter().map(|leaf| u64::from(leaf.rows)).sum()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.leaves.iter().map(SampleLeaf::digest).sum()
    }

    /// Writes it into [`DIR`] with transfers of two pages, so that there are many.
    pub(crate) fn write(&self, disk: &SimDisk) -> Result<Written, SnapshotError> {
        let options = WriteOptions { buffer_bytes: 2 * PAGE, in_flight: 2, expected_bytes: None };
        self.write_with(&shared(disk), Path::new(DIR), options)
    }

    pub(crate) fn write_with(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: WriteOptions,
    ) -> Result<Written, SnapshotError> {
        self.push_all(disk, dir, options)?.finish()
    }

    pub(crate) fn push_all(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        options: WriteOptions,
    ) -> Result<Writer, SnapshotError> {
        let mut writer = Writer::create_with(disk, dir, &self.header, &self.schema, options)?;
        for leaf in &self.leaves {
            let SampleLeaf { bytes, rows, separator } = leaf;
            writer.push(LeafPage { bytes, rows: *rows, digest: leaf.digest(), separator })?;
        }
        Ok(writer)
    }

    /// Opens `path` and compares all that can be seen of it.
    pub(crate) fn assert_is_at(&self, disk: &dyn Disk, path: &Path) {
        let snapshot = Snapshot::open(disk, path, Some(self.header.identity)).unwrap();
        assert_eq!(snapshot.header(), &self.header);
        assert_eq!(snapshot.schema(), self.schema);
        assert_eq!(snapshot.rows(), self.rows());
        assert_eq!(snapshot.digest(), self.digest());
        assert_eq!(snapshot.leaf_count(), self.leaves.len());
        for (found, leaf) in snapshot.leaves().zip(&self.leaves) {
            assert_eq!((found.rows, found.separator), (leaf.rows, leaf.separator.as_slice()));
            assert_eq!(found.run as usize * PAGE, leaf.bytes.len());
        }
        assert!(load(disk, &snapshot).unwrap() == self.pages(), "other pages than written");
    }
}

/// The header of a snapshot at `lsn`.
pub(crate) fn header(lsn: u64) -> Header {
    let starts = [(1, 0), (4, lsn / 2)];
    let entries = starts.map(|(term, start)| TermStart { term: Term(term), start: Lsn(start) });
    let history = History::from_entries(entries.to_vec()).expect("terms grow");
    Header { identity: IDENTITY, lsn: Lsn(lsn), term: Term(4), chain: !lsn, history }
}

/// An empty disk with [`DIR`].
pub(crate) fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// The disk as a writer takes it.
pub(crate) fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

/// All pages of a snapshot, loaded as recovery does.
pub(crate) fn load(disk: &dyn Disk, snapshot: &Snapshot) -> Result<Vec<u8>, SnapshotError> {
    let pages = RefCell::new(vec![0; snapshot.pages() as usize * PAGE]);
    let mut queue = disk.queue(3).unwrap();
    load_all(
        snapshot,
        queue.as_mut(),
        3,
        |read| Ok(AlignedBuf::new(read.bytes())?.into_io()),
        |read, buf| {
            let start = read.first_page as usize * PAGE;
            pages.borrow_mut()[start..start + read.bytes()].copy_from_slice(buf.as_slice());
        },
    )?;
    Ok(pages.into_inner())
}

/// Opens and loads: what recovery would believe of the file at `path`.
pub(crate) fn open_and_load(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, SnapshotError> {
    load(disk, &Snapshot::open(disk, path, Some(IDENTITY))?)
}

fn next(state: &mut u64) -> [u8; 8] {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

//! What a copy keeps beside log and pages: what it has promised, how often it was started, and where its log ended if
//! the last run ended in order. One small file in the partition's folder, replaced as a whole.
//!
//! ```text
//!  0 magic "RSPRCOPY"   8 version u32   12 zero
//! 16 incarnation u64   24 term u64   32 stamp: term u64   40 index u64
//! 48 orderly end: term u64, 0 if there was none   56 LSN u64   64 crc32 of 0..64
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use resprout_engine::COPY_FILE;
use resprout_wal::{Lsn, Term};

use super::StartError;
use crate::{End, Incarnation, Promise, Stamp};

const MAGIC: [u8; 8] = *b"RSPRCOPY";
const VERSION: u32 = 2;
const CRC_AT: usize = 64;
const BYTES: usize = CRC_AT + 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    pub(super) incarnation: Incarnation,
    pub(super) promise: Promise,
    end: Option<End>,
}

impl Kept {
    /// Reads what is there, and counts this run, from `least` on: durably, before it does anything (rule 14). With
    /// where the run before ended, if that was in order; the next run is told so only if this one ends in order, too.
    pub(super) fn begin_run(
        dir: &Path,
        least: Incarnation,
    ) -> Result<(Self, Option<End>), StartError> {
        let path = dir.join(COPY_FILE);
        let new = (Incarnation(0), Promise::default(), None);
        let (incarnation, promise, end) = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).map_err(|why| failed(&path, why))?,
            Err(none) if none.kind() == io::ErrorKind::NotFound => new,
            Err(error) => return Err(failed(&path, error)),
        };
        let incarnation = Incarnation(incarnation.0 + 1).max(least);
        let kept = Self { path, incarnation, promise, end: None };
        kept.store()?;
        Ok((kept, end))
    }

    /// The last run that is counted in a folder; 0 if there was none, or nobody can tell.
    pub(super) fn last_run(dir: &Path) -> Incarnation {
        let kept = fs::read(dir.join(COPY_FILE)).and_then(|bytes| decode(&bytes));
        kept.map_or(Incarnation(0), |(incarnation, ..)| incarnation)
    }

    /// The run ends in order: nothing is appended any more, and all is on the medium.
    pub(super) fn end_run(&mut self, end: End) -> Result<(), StartError> {
        self.end = Some(end);
        self.store()
    }

    /// Another run begins: an image was installed.
    pub(super) fn another_run(&mut self) -> Result<(), StartError> {
        self.incarnation.0 += 1;
        self.store()
    }

    /// Stores a promise; what is older of it stays as it is.
    pub(super) fn promise(&mut self, promise: Promise) -> Result<(), StartError> {
        self.promise = self.promise.joined(promise);
        self.store()
    }

    fn store(&self) -> Result<(), StartError> {
        self.replace().map_err(|error| failed(&self.path, error))
    }

    /// Writes beside, flushes, renames, flushes the folder.
    fn replace(&self) -> io::Result<()> {
        let beside = self.path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(&self.encode())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let dir = self.path.parent().unwrap_or_else(|| Path::new("."));
        File::open(dir)?.sync_all()
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let Promise { term, stamp } = self.promise;
        let end = self.end.map_or((0, 0), |end| (end.term.0, end.lsn.0));
        let numbers = [self.incarnation.0, term.0, stamp.term, stamp.index, end.0, end.1];
        for (place, number) in out[16..CRC_AT].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

fn failed(path: &Path, error: io::Error) -> StartError {
    StartError::Kept { path: path.to_owned(), error }
}

fn decode(bytes: &[u8]) -> io::Result<(Incarnation, Promise, Option<End>)> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let bytes: &[u8; BYTES] =
        bytes.try_into().map_err(|_| damaged("not what a copy keeps: another length"))?;
    if bytes[..8] != MAGIC {
        return Err(damaged("not what a copy keeps: another magic"));
    }
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
    if u32_at(CRC_AT) != crc32fast::hash(&bytes[..CRC_AT]) {
        return Err(damaged("damaged: restore it or provision the copy anew"));
    }
    if u32_at(8) != VERSION {
        return Err(damaged("written by another version of this program"));
    }
    let stamp = Stamp { term: u64_at(32), index: u64_at(40) };
    let end = End { term: Term(u64_at(48)), lsn: Lsn(u64_at(56)) };
    let end = (end.term > Term(0)).then_some(end);
    Ok((Incarnation(u64_at(16)), Promise { term: Term(u64_at(24)), stamp }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise (rule 14, assertion 6): runs are counted and promises kept, whatever comes between; what is
    /// older takes nothing back.
    #[test]
    fn runs_are_counted_and_promises_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Kept::last_run(dir.path()), Incarnation(0));
        let (mut kept, _) = Kept::begin_run(dir.path(), Incarnation(1)).expect("new");
        assert_eq!((kept.incarnation, kept.promise), (Incarnation(1), Promise::default()));
        assert_eq!(Kept::last_run(dir.path()), Incarnation(1));
        let newer = Promise { term: Term(4), stamp: Stamp { term: 2, index: 9 } };
        kept.promise(newer).expect("stored");
        kept.promise(Promise { term: Term(3), ..newer }).expect("stored");
        fs::write(dir.path().join("copy.tmp"), b"half").expect("written");
        let (kept, _) = Kept::begin_run(dir.path(), Incarnation(1)).expect("read");
        assert_eq!((kept.incarnation, kept.promise), (Incarnation(2), newer));
    }

    /// Promise (rule 14): that a run ended in order is told to the next run, and to no other.
    #[test]
    fn an_orderly_end_is_told_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let begin = || Kept::begin_run(dir.path(), Incarnation(1)).expect("read");
        let (mut kept, end) = begin();
        assert_eq!(end, None);
        let ended = End { term: Term(7), lsn: Lsn(4096) };
        kept.end_run(ended).expect("stored");
        let (_crashes, end) = begin();
        assert_eq!(end, Some(ended));
        let (_kept, end) = begin();
        assert_eq!(end, None, "the run in between did not end in order");
    }

    /// Promise (D04): a damaged file is never taken for no promise.
    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("copy");
        drop(Kept::begin_run(dir.path(), Incarnation(1)).expect("new"));
        let good = fs::read(&path).expect("there");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).expect("written");
            let error = Kept::begin_run(dir.path(), Incarnation(1)).expect_err("damaged");
            assert!(matches!(error, StartError::Kept { .. }), "byte {at}: {error}");
        }
        fs::write(&path, b"").expect("written");
        Kept::begin_run(dir.path(), Incarnation(1)).expect_err("nothing in it");
    }
}

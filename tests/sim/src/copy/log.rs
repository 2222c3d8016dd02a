//! A model of one copy's log and rows, for the scenarios and the simulations: what the real log and
//! tree promise, without disks.

use bytes::{BufMut, Bytes};
use resprout_replication::{Frame, Tail};
use resprout_wal::frame::{CONTINUED, CONTINUES, Header};
use resprout_wal::{Lineage, Lsn, Term};

/// A log behind a root: what a copy has stored, or would have if all of it were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    base: Lsn,
    lineage: Option<Lineage>,
    /// Values of the root at the base, in the order of their commits.
    rows: Vec<u64>,
    frames: Vec<Frame>,
}

/// Values in one page of an image.
pub const PAGE_VALUES: usize = 4;

impl Log {
    /// A log behind an image.
    #[must_use]
    pub fn behind(base: Lsn, lineage: Lineage, rows: Vec<u64>) -> Self {
        Self { base, lineage: Some(lineage), rows, frames: Vec::new() }
    }

    /// Where it begins.
    #[must_use]
    pub fn first(&self) -> Lsn {
        self.base
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.frames.last().map_or(self.base, |frame| frame.header.end())
    }

    fn base_tail(&self) -> Tail {
        self.lineage.clone().map_or_else(Tail::default, |lineage| Tail::new(self.base, lineage))
    }

    /// The end of the log as a core that starts on it sees it.
    ///
    /// # Panics
    /// Never: its frames follow each other.
    #[must_use]
    pub fn tail(&self) -> Tail {
        let mut tail = self.base_tail();
        for frame in &self.frames {
            tail.take(&frame.header).expect("a log follows itself");
        }
        tail.flushed(self.end());
        tail
    }

    fn end_chain(&self) -> u64 {
        let base = self.lineage.as_ref().map_or(0, |lineage| lineage.chain);
        self.frames.last().map_or(base, |frame| frame.header.next_chain())
    }

    /// The chain at the beginning of a frame, or at the end.
    #[must_use]
    pub fn chain_at(&self, lsn: Lsn) -> Option<u64> {
        if lsn == self.end() {
            return Some(self.end_chain());
        }
        let place = self.frames.partition_point(|frame| frame.header.lsn < lsn);
        let header = self.frames.get(place)?.header;
        (header.lsn == lsn).then_some(header.chain)
    }

    /// Terms and chain at the end of a group.
    #[must_use]
    pub fn lineage_at(&self, lsn: Lsn) -> Lineage {
        let mut upto = self.clone();
        upto.frames.retain(|frame| frame.header.end() <= lsn);
        assert_eq!(upto.end(), lsn, "the end of a frame");
        let tail = upto.tail();
        let history = tail.history().clone();
        Lineage { term: history.term(), history, chain: tail.chain() }
    }

    /// The next frame of this log.
    #[must_use]
    pub fn next(&self, term: Term, values: &[u64], flags: u16, committed: Lsn) -> Frame {
        frame((self.end(), self.end_chain()), term, values, (flags, committed))
    }

    /// The frames of one group.
    #[must_use]
    pub fn group(&self, term: Term, values: &[u64], committed: Lsn) -> Vec<Frame> {
        let mut at = (self.end(), self.end_chain());
        let last = values.len() - 1;
        let frames = values.iter().enumerate().map(|(place, value)| {
            let continues = if place < last { CONTINUES } else { 0 };
            let continued = if place > 0 { CONTINUED } else { 0 };
            let frame = frame(at, term, &[*value], (continues | continued, committed));
            at = (frame.header.end(), frame.header.next_chain());
            frame
        });
        frames.collect()
    }

    /// Puts a frame behind its end.
    ///
    /// # Panics
    /// If it does not follow.
    pub fn push(&mut self, frame: Frame) {
        assert_eq!(frame.header.lsn, self.end(), "frames follow each other");
        self.frames.push(frame);
    }

    /// Takes back what is behind the end of a frame.
    ///
    /// # Panics
    /// If that is none.
    pub fn cut(&mut self, to: Lsn) {
        self.frames.retain(|frame| frame.header.end() <= to);
        assert_eq!(self.end(), to, "a cut at the end of a frame");
    }

    /// Frames from `from` on, up to as many bytes, one at least.
    #[must_use]
    pub fn read(&self, from: Lsn, bytes_max: u64) -> Option<Vec<Frame>> {
        let first = self.frames.partition_point(|frame| frame.header.lsn < from);
        let found = self.frames.get(first).is_some_and(|frame| frame.header.lsn == from);
        let fits = |frame: &&Frame| {
            frame.header.lsn == from || frame.header.end().since(from) <= bytes_max
        };
        found.then(|| self.frames[first..].iter().take_while(fits).cloned().collect())
    }

    /// All that it has.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The values that the root of a position shows.
    #[must_use]
    pub fn rows_at(&self, lsn: Lsn) -> Vec<u64> {
        let mut rows = self.rows.clone();
        for frame in self.frames.iter().filter(|frame| frame.header.end() <= lsn) {
            let words = frame.payload.chunks_exact(8);
            rows.extend(words.map(|word| u64::from_le_bytes(word.try_into().expect("eight"))));
        }
        rows
    }

    /// Gives up what is before the end of a group.
    pub fn trim(&mut self, to: Lsn) {
        let (lineage, rows) = (self.lineage_at(to), self.rows_at(to));
        self.frames.retain(|frame| frame.header.lsn >= to);
        (self.base, self.lineage, self.rows) = (to, Some(lineage), rows);
    }

    /// The newest commit mark that is written in it.
    #[must_use]
    pub fn known_committed(&self) -> Lsn {
        let marks = self.frames.iter().map(|frame| frame.header.committed);
        marks.fold(self.base, Lsn::max).min(self.tail().whole())
    }

    /// A frame, counted from the end, becomes another one that looks as good.
    pub fn damage(&mut self, from_end: usize) {
        let place = self.frames.len() - from_end;
        let header = self.frames[place].header;
        let mut before = self.clone();
        before.frames.truncate(place);
        self.frames[place] = before.next(header.term, &[666], header.flags, header.committed);
    }

    /// The same, and what is behind it follows from it: another history of the same names.
    pub fn falsify(&mut self, from_end: usize) {
        self.damage(from_end);
        let place = self.frames.len() - from_end;
        for frame in self.frames.split_off(place + 1) {
            let header = frame.header;
            let values = values(&frame.payload);
            self.push(self.next(header.term, &values, header.flags, header.committed));
        }
    }

    /// What recovery does: a group that is not complete goes.
    pub fn recover(&mut self) {
        let whole = self.tail().whole();
        self.cut(whole);
    }
}

/// A frame at a place and behind a chain.
fn frame(
    (lsn, chain): (Lsn, u64),
    term: Term,
    values: &[u64],
    (flags, committed): (u16, Lsn),
) -> Frame {
    let mut payload = Vec::new();
    values.iter().for_each(|value| payload.put_u64_le(*value));
    let header = Header {
        lsn,
        term,
        chain,
        flags,
        payload_len: u32::try_from(payload.len()).expect("a few values"),
        payload_crc: crc32fast::hash(&payload),
        committed,
        durable: Lsn::ZERO,
    };
    Frame::new(header, Bytes::from(payload)).expect("its own checksum")
}

/// The pages of rows.
#[must_use]
pub fn pages(rows: &[u64]) -> Vec<Bytes> {
    let page = |values: &[u64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Bytes::from(bytes)
    };
    rows.chunks(PAGE_VALUES).map(page).collect()
}

/// The digest of a page.
#[must_use]
pub fn digest(page: &[u8]) -> u64 {
    u64::from(crc32fast::hash(page)) << 32 | page.len() as u64
}

/// The values of a page.
#[must_use]
pub fn values(page: &[u8]) -> Vec<u64> {
    let words = page.chunks_exact(8);
    words.map(|word| u64::from_le_bytes(word.try_into().expect("eight"))).collect()
}

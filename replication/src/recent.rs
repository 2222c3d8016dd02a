//! The newest frames of a master's log, in memory: what replicas that keep up are sent. The bytes
//! are shared with the log's own buffers; how many there are is bounded, whatever replicas do.

use std::collections::VecDeque;

use resprout_wal::Lsn;

use crate::Frame;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    frames: VecDeque<Frame>,
    bytes: u64,
    bytes_max: u64,
    /// Behind the last frame.
    end: Lsn,
}

impl Recent {
    /// None yet, of a log that ends at `end`.
    pub(crate) fn new(end: Lsn, bytes_max: u64) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, bytes_max, end }
    }

    /// Takes the next frame; the oldest ones go if there is no room.
    pub(crate) fn push(&mut self, frame: Frame) {
        assert_eq!(frame.header.lsn, self.end, "the next frame");
        self.end = frame.header.end();
        self.bytes += frame.padded_bytes();
        self.frames.push_back(frame);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.padded_bytes();
        }
    }

    /// Frames from `from` on, one at least and no more than `bytes_max`; `None` if the first is not
    /// here.
    pub(crate) fn batch(&self, from: Lsn, bytes_max: u64) -> Option<Vec<Frame>> {
        let first = self.frames.partition_point(|frame| frame.header.lsn < from);
        if self.frames.get(first)?.header.lsn != from {
            return None;
        }
        let fits = |frame: &&Frame| {
            frame.header.lsn == from || frame.header.end().since(from) <= bytes_max
        };
        Some(self.frames.range(first..).take_while(fits).cloned().collect())
    }

    /// The chain at the beginning of a frame that is here.
    pub(crate) fn chain_at(&self, lsn: Lsn) -> Option<u64> {
        let place = self.frames.partition_point(|frame| frame.header.lsn < lsn);
        let header = self.frames.get(place)?.header;
        (header.lsn == lsn).then_some(header.chain)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use resprout_wal::Term;
    use resprout_wal::frame::Header;

    use super::*;

    fn frame(number: u64) -> Frame {
        let header = Header {
            lsn: Lsn(number * 4096),
            term: Term(1),
            chain: number,
            flags: 0,
            payload_len: 0,
            payload_crc: 0,
            committed: Lsn(0),
            durable: Lsn(0),
        };
        Frame::new(header, Bytes::new()).unwrap()
    }

    /// Promise: memory is bounded, a batch begins where it was asked for and has one frame at least.
    #[test]
    fn recent_frames_are_bounded() {
        let mut recent = Recent::new(Lsn(0), 4 * 4096);
        (0..10).for_each(|number| recent.push(frame(number)));
        assert_eq!(recent.frames.len(), 4);
        assert_eq!(recent.batch(Lsn(5 * 4096), 1 << 20), None);
        assert_eq!(recent.batch(Lsn(6 * 4096 + 1), 1 << 20), None);
        assert_eq!(recent.batch(Lsn(6 * 4096), 1).unwrap(), [frame(6)]);
        assert_eq!(recent.batch(Lsn(7 * 4096), 2 * 4096).unwrap(), [frame(7), frame(8)]);
        assert_eq!(recent.batch(Lsn(10 * 4096), 1 << 20), None);
        assert_eq!((recent.chain_at(Lsn(8 * 4096)), recent.chain_at(Lsn(0))), (Some(8), None));
    }
}

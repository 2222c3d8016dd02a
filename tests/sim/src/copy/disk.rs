//! A copy's disk.
//!
//! What it has changes only when an operation completes, in order.

use std::collections::BTreeMap;

use bytes::Bytes;
use resprout_replication::{End, ImageHead, Promise, Write};

use super::log::{Log, digest};

/// What survives.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What was promised.
    pub promise: Promise,
    /// The log with the root before it.
    pub log: Log,
    /// Runs and provisionings, counted.
    pub incarnation: u64,
    /// Pages stored beside what is served, by digest.
    pub pages: BTreeMap<u64, Bytes>,
    /// Where the last run ended, if that was in order.
    pub ended: Option<End>,
}

/// One operation on its way to the disk.
#[derive(Clone, Debug)]
pub enum Op {
    /// Of the log.
    Write(Write),
    /// Pages of that image, beside what is served.
    Store(u64, Vec<Bytes>),
    /// An image, with its rows, in place of everything.
    Install(ImageHead, Vec<u64>),
}

impl Disk {
    /// An operation is done.
    ///
    /// # Panics
    /// If it is none of the log's queue.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Write(Write::Append(frames)) => {
                frames.into_iter().for_each(|frame| self.log.push(frame));
            }
            Op::Write(Write::Cut { to, .. }) => self.log.cut(to),
            Op::Write(write) => unreachable!("not in the log's queue: {write:?}"),
            Op::Store(_, pages) => {
                self.pages.extend(pages.into_iter().map(|page| (digest(&page), page)));
            }
            Op::Install(head, rows) => {
                self.log = Log::behind(head.lsn, head.lineage, rows);
                self.incarnation += 1;
                self.pages.clear();
            }
        }
    }
}

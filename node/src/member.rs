//! Who this node is, in which cluster, and how often it was started: one small file that people can read,
//! replaced as a whole.
//!
//! ```text
//! resprout member 1
//! cluster 0f3c…
//! node 4
//! kind leaf
//! store 6a11…
//! run 7
//! peer 1 db1.example.net:13306
//! crc32 8d2f01aa
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::error::StartError;

/// The file's name in the data directory.
pub const MEMBER_FILE: &str = "member";

const TITLE: &str = "resprout member 1";

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeKind {
    /// It routes, and may decide.
    #[default]
    Aggregator,
    /// It has copies.
    Leaf,
}

impl NodeKind {
    fn text(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregator",
            Self::Leaf => "leaf",
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The cluster's identity.
    pub(crate) cluster: u128,
    /// The node's number in it.
    pub(crate) node: u64,
    /// What it is for.
    pub(crate) kind: NodeKind,
    /// This data directory, for consensus.
    pub(crate) store: u64,
    /// How often the process was started with it.
    pub(crate) run: u64,
    /// Where the others listen for nodes, as far as was known.
    pub(crate) peers: BTreeMap<u64, String>,
}

impl Member {
    /// What a data directory says; none if it has not joined yet.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, StartError> {
        let path = dir.join(MEMBER_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(none) if none.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StartError::File { path, error }),
        };
        let damaged = || StartError::Damaged { path: path.clone() };
        Self::decode(&text).map(Some).ok_or_else(damaged)
    }

    /// Replaces the file, durably.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), StartError> {
        let path = dir.join(MEMBER_FILE);
        self.replace(&path).map_err(|error| StartError::File { path, error })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    pub(crate) fn encode(&self) -> String {
        let Self { cluster, node, kind, store, run, peers } = self;
        let kind = kind.text();
        let mut text = format!(
            "{TITLE}\ncluster {cluster:032x}\nnode {node}\nkind {kind}\nstore {store:016x}\nrun {run}\n"
        );
        for (peer, address) in peers {
            // Writing to a string does not fail.
            let _ = writeln!(text, "peer {peer} {address}");
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc32 {crc:08x}");
        text
    }

    /// None if it is not what [`Member::encode`] writes.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let at = text.rfind("crc32 ")?;
        let crc = text[at..].strip_prefix("crc32 ")?.strip_suffix('\n')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(&text.as_bytes()[..at]) {
            return None;
        }
        let mut lines = text[..at].lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let cluster = u128::from_str_radix(field("cluster")?, 16).ok()?;
        let node = field("node")?.parse().ok()?;
        let kind = field("kind")?;
        let kinds = [NodeKind::Aggregator, NodeKind::Leaf];
        let kind = kinds.into_iter().find(|known| known.text() == kind)?;
        let store = u64::from_str_radix(field("store")?, 16).ok()?;
        let run = field("run")?.parse().ok()?;
        let mut peers = BTreeMap::new();
        for line in lines {
            let (peer, address) = line.strip_prefix("peer ")?.split_once(' ')?;
            peers.insert(peer.parse().ok()?, address.to_owned());
        }
        Some(Self { cluster, node, kind, store, run, peers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        let peers = [(1, "db1:13306".to_owned()), (9, "[::1]:13307".to_owned())].into();
        Member { cluster: u128::MAX - 5, node: 4, kind: NodeKind::Leaf, store: 77, run: 3, peers }
    }

    /// Promise: what is stored is what is read; without a file the node has not joined.
    #[test]
    fn what_is_stored_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Member::load(dir.path()).expect("readable"), None);
        member().store(dir.path()).expect("stored");
        assert_eq!(Member::load(dir.path()).expect("readable"), Some(member()));
    }

    /// Promise: a file that is cut or changed is an error that names it, never another identity.
    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let good = member().encode();
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] ^= 1;
            fs::write(dir.path().join(MEMBER_FILE), &bad).expect("written");
            assert!(Member::load(dir.path()).is_err(), "byte {at}");
            fs::write(dir.path().join(MEMBER_FILE), &good[..at]).expect("written");
            assert!(Member::load(dir.path()).is_err(), "length {at}");
        }
    }
}

//! Transactions over several partitions whose aggregator went away: ended by the votes of their participants. Every
//! leaf looks after the partitions whose master it has, so nothing stays in doubt for longer than [`PATIENCE`] and
//! a look, once all participants have masters; what a master took over in doubt, not longer than a look, since readers wait
//! for it.
//!
//! What a partition remembers of transactions that took effect is forgotten when none of them is in doubt anywhere,
//! and that is durable: who promised and restarted asks until then.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use resprout_access::{Client, FarPartition, Place};
use resprout_cluster::metadata::{DatabaseEntry, Metadata};
use resprout_cluster::{NodeId, Ordinal};
use resprout_engine::{Error, InDoubt, Vote};

use crate::directory::reach;
use crate::state::Shared;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A transaction is in doubt for so long before anybody votes: its aggregator ends it in a moment, if it is there.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ends that are remembered in one partition before somebody asks whether they can be forgotten.
const REMEMBERED_MIN: usize = 64;

/// See the module.
pub(crate) struct Doubts {
    pub(crate) node: NodeId,
    pub(crate) metadata: Shared,
    pub(crate) access: Client,
    /// Since when a transaction is known to be in doubt.
    since: HashMap<(Place, Vec<u8>), Instant>,
}

/// The partitions of a database, by ordinal; none where there is no master.
type Parts = Vec<Option<FarPartition>>;

impl Doubts {
    pub(crate) fn new(node: NodeId, metadata: Shared, access: Client) -> Self {
        Self { node, metadata, access, since: HashMap::new() }
    }

    pub(crate) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let databases: Vec<(Vec<usize>, Parts)> = {
                let metadata = self.metadata.read();
                let databases = metadata.databases().values();
                databases.map(|entry| (self.own(entry), self.parts(&metadata, entry))).collect()
            };
            let mut seen = BTreeSet::new();
            for (own, parts) in databases {
                for at in own {
                    if let Err(error) = self.look(&parts, at, &mut seen).await {
                        tracing::debug!(%error, "transactions in doubt are looked at again");
                    }
                }
            }
            self.since.retain(|doubt, _| seen.contains(doubt));
        }
    }

    /// Which of a database's partitions have their master here.
    fn own(&self, entry: &DatabaseEntry) -> Vec<usize> {
        let is_own = |ordinal: &usize| {
            let ordinal = u32::try_from(*ordinal).unwrap_or(u32::MAX);
            let partition = entry.map.partition(Ordinal(ordinal));
            partition.is_some_and(|one| one.serving() == Some(self.node.into()))
        };
        (0..entry.map.partitions.len()).filter(is_own).collect()
    }

    fn parts(&self, metadata: &Metadata, entry: &DatabaseEntry) -> Parts {
        let part = |partition: &resprout_cluster::Partition| {
            let leaf = metadata.nodes().get(&partition.serving()?.into())?;
            let place = Place { database: entry.number, ordinal: partition.ordinal.0 };
            let name = format!("{}:{}", entry.map.name, place.ordinal);
            Some(self.access.partition(&reach(&leaf.address), place, &name))
        };
        entry.map.partitions.iter().map(part).collect()
    }

    async fn look(
        &mut self,
        parts: &Parts,
        at: usize,
        seen: &mut BTreeSet<(Place, Vec<u8>)>,
    ) -> Result<(), Error> {
        let Some(own) = parts[at].clone() else { return Ok(()) };
        for doubt in own.in_doubt().await? {
            let name = (own.place(), doubt.global_id.clone());
            let since = *self.since.entry(name.clone()).or_insert_with(Instant::now);
            let is_early = !doubt.inherited && since.elapsed() < PATIENCE;
            if is_early || !end(&own, parts, &doubt).await? {
                seen.insert(name);
            }
        }
        let remembered = own.decisions().await?;
        if remembered.len() >= REMEMBERED_MIN {
            forget(&own, parts, remembered).await?;
        }
        Ok(())
    }
}

/// Ends one partition's part as the votes say. False if somebody who takes part cannot be asked, and nobody is
/// against it: its rows stay locked.
async fn end(own: &FarPartition, parts: &Parts, doubt: &InDoubt) -> Result<bool, Error> {
    let mut is_missing = false;
    for ordinal in &doubt.participants {
        let Some(Some(part)) = parts.get(*ordinal as usize) else {
            is_missing = true;
            continue;
        };
        match part.vote(&doubt.global_id).await {
            Ok(Vote::Promised | Vote::Committed) => {}
            Ok(Vote::Refused) => {
                tracing::warn!(partition = own.name(), "a transaction in doubt is dropped");
                own.abort_prepared(&doubt.global_id).await?;
                return Ok(true);
            }
            Err(error) => {
                tracing::debug!(%error, "a transaction stays in doubt");
                is_missing = true;
            }
        }
    }
    if !is_missing {
        tracing::warn!(partition = own.name(), "a transaction in doubt takes effect");
        own.commit_prepared(&doubt.global_id).await?;
    }
    Ok(!is_missing)
}

async fn forget(
    own: &FarPartition,
    parts: &Parts,
    mut remembered: Vec<Vec<u8>>,
) -> Result<(), Error> {
    for part in parts {
        // Who cannot be asked may be in doubt about any.
        let Some(part) = part else { return Ok(()) };
        let doubts = part.in_doubt().await?;
        remembered.retain(|id| doubts.iter().all(|doubt| doubt.global_id != *id));
        part.flush().await?;
    }
    // A refusal is remembered: the promise that it is against may still be on its way.
    let mut committed = Vec::with_capacity(remembered.len());
    for id in remembered {
        if own.vote(&id).await? == Vote::Committed {
            committed.push(id);
        }
    }
    own.forget_decisions(committed).await
}

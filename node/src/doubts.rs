//! Transactions over several partitions whose aggregator went away: ended by the votes of their participants. Every
//! leaf looks after the partitions whose master it has, so nothing stays in doubt for longer than [`PATIENCE`] and
//! a look, once all participants have masters; what a master took over in doubt, not longer than a look, since readers wait
//! for it.
//!
//! What a partition remembers of transactions that took effect is forgotten when none of them is in doubt anywhere,
//! and that is durable: who promised and restarted asks until then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use resprout_access::{Client, FarPartition, Place};
use resprout_cluster::NodeId;
use resprout_cluster::metadata::{DatabaseEntry, Metadata};
use resprout_engine::{Error, InDoubt, Partition, State, Vote};

use crate::copies::Copies;
use crate::directory::reach;
use crate::state::Shared;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A transaction is in doubt for so long before anybody votes: its aggregator ends it in a moment, if it is there.
const PATIENCE: Duration = Duration::from_secs(2);
/// One look of so many asks what is remembered of transactions that have ended.
const LOOKS_PER_TIDYING: u32 = 10;
/// Ends that are remembered in one partition before somebody asks whether they can be forgotten.
const REMEMBERED_MIN: usize = 64;

/// See the module.
pub(crate) struct Doubts {
    node: NodeId,
    metadata: Shared,
    copies: Arc<Copies>,
    access: Client,
    /// Since when a transaction is known to be in doubt.
    since: HashMap<(Place, Vec<u8>), Instant>,
}

/// The partitions of a database, by ordinal; none where there is no master.
type Parts = Vec<Option<FarPartition>>;

/// A partition whose master is here.
#[derive(Debug)]
struct Own {
    place: Place,
    partition: Partition,
}

impl Doubts {
    pub(crate) fn new(
        node: NodeId,
        metadata: Shared,
        (copies, access): (Arc<Copies>, Client),
    ) -> Self {
        Self { node, metadata, copies, access, since: HashMap::new() }
    }

    pub(crate) async fn run(mut self) {
        for look in 1_u32.. {
            tokio::time::sleep(LOOK_EVERY).await;
            let tidies = look.is_multiple_of(LOOKS_PER_TIDYING);
            let mut seen = BTreeSet::new();
            for own in self.own() {
                if let Err(error) = self.look(&own, &mut seen).await {
                    tracing::debug!(%error, "transactions in doubt are looked at again");
                }
                if tidies && let Err(error) = self.tidy(&own).await {
                    tracing::debug!(%error, "ends of transactions are remembered for longer");
                }
            }
            self.since.retain(|doubt, _| seen.contains(doubt));
        }
    }

    /// The partitions whose master is here.
    fn own(&self) -> Vec<Own> {
        let metadata = self.metadata.read();
        let partitions = metadata.databases().values().flat_map(|entry| {
            let served = entry.map.all().filter(|one| one.serving() == Some(self.node.into()));
            served.map(|one| Place { database: entry.number, ordinal: one.ordinal.0 })
        });
        let own = |place: Place| {
            let partition = self.copies.serving(place.database, place.ordinal)?;
            (partition.state() == State::Online).then_some(Own { place, partition })
        };
        partitions.filter_map(own).collect()
    }

    /// All partitions of a database, where their masters are now.
    fn parts(&self, database: u32) -> Parts {
        let metadata = self.metadata.read();
        let Some(entry) = metadata.database_of(database) else { return Parts::new() };
        self.parts_of(&metadata, entry)
    }

    fn parts_of(&self, metadata: &Metadata, entry: &DatabaseEntry) -> Parts {
        let part = |partition: &resprout_cluster::Partition| {
            let leaf = metadata.nodes().get(&partition.serving()?.into())?;
            let place = Place { database: entry.number, ordinal: partition.ordinal.0 };
            let name = format!("{}:{}", entry.map.name, place.ordinal);
            Some(self.access.partition(&reach(&leaf.address), place, &name))
        };
        entry.map.all().map(part).collect()
    }

    async fn look(
        &mut self,
        own: &Own,
        seen: &mut BTreeSet<(Place, Vec<u8>)>,
    ) -> Result<(), Error> {
        for doubt in own.partition.in_doubt()? {
            let name = (own.place, doubt.global_id.clone());
            let since = *self.since.entry(name.clone()).or_insert_with(Instant::now);
            let is_early = !doubt.inherited && since.elapsed() < PATIENCE;
            if is_early || !end(own, &self.parts(own.place.database), &doubt).await? {
                seen.insert(name);
            }
        }
        Ok(())
    }

    async fn tidy(&self, own: &Own) -> Result<(), Error> {
        let remembered = own.partition.decisions()?;
        if remembered.len() < REMEMBERED_MIN {
            return Ok(());
        }
        forget(own, &self.parts(own.place.database), remembered).await
    }
}

/// Ends one partition's part as the votes say. False if somebody who takes part cannot be asked, and nobody is
/// against it: its rows stay locked.
async fn end(own: &Own, parts: &Parts, doubt: &InDoubt) -> Result<bool, Error> {
    let mut is_missing = false;
    for ordinal in &doubt.participants {
        let Some(Some(part)) = parts.get(*ordinal as usize) else {
            is_missing = true;
            continue;
        };
        match part.vote(&doubt.global_id).await {
            Ok(Vote::Promised | Vote::Committed) => {}
            Ok(Vote::Refused) => {
                tracing::warn!(
                    partition = own.partition.name(),
                    "a transaction in doubt is dropped"
                );
                own.partition.abort_prepared(&doubt.global_id)?;
                return Ok(true);
            }
            Err(error) => {
                tracing::debug!(%error, "a transaction stays in doubt");
                is_missing = true;
            }
        }
    }
    if !is_missing {
        tracing::warn!(partition = own.partition.name(), "a transaction in doubt takes effect");
        own.partition.commit_prepared_async(&doubt.global_id).await?;
        tell_others(own, parts, doubt).await;
    }
    Ok(!is_missing)
}

/// What has taken effect here does so where it is in doubt too: until those look by themselves, readers would see half of it.
async fn tell_others(own: &Own, parts: &Parts, doubt: &InDoubt) {
    let others = doubt.participants.iter().filter(|ordinal| **ordinal != own.place.ordinal);
    let others = others.filter_map(|ordinal| parts.get(*ordinal as usize)?.as_ref());
    for part in others {
        if let Err(error) = part.commit_prepared(&doubt.global_id).await {
            tracing::debug!(%error, "it has taken effect there already, or will");
        }
    }
}

async fn forget(own: &Own, parts: &Parts, mut remembered: Vec<Vec<u8>>) -> Result<(), Error> {
    for part in parts {
        // Who cannot be asked may be in doubt about any.
        let Some(part) = part else { return Ok(()) };
        let doubts = part.in_doubt().await?;
        remembered.retain(|id| doubts.iter().all(|doubt| doubt.global_id != *id));
        part.flush().await?;
    }
    let Some(Some(own)) = parts.get(own.place.ordinal as usize) else { return Ok(()) };
    // A refusal is remembered: the promise that it is against may still be on its way.
    let mut committed = Vec::with_capacity(remembered.len());
    for id in remembered {
        if own.vote(&id).await? == Vote::Committed {
            committed.push(id);
        }
    }
    own.forget_decisions(committed).await
}

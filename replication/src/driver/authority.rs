//! Who decides about masters and copies: what the control plane implements. Here one that keeps its
//! records in memory, for pairs that are driven by hand, benches and tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use resprout_wal::Term;

use crate::{
    CopyRecord, CopyState, Decided, Incarnation, Instance, Partition, Record, Report, Request,
    Stamp,
};

/// Decides, and tells all copies of a partition by [`RecordListener`] or the metadata. Calls wait for
/// nothing; answers may be late, or never come: they are asked for again.
pub trait Authority: Send + Sync + fmt::Debug {
    /// A master asks how another copy shall stand: compare-and-set on `(term, cfg)`.
    fn request(&self, partition: Partition, request: Request);
    /// A fenced copy tells how far it is (catalogue rule 9).
    fn report(&self, partition: Partition, report: Report);
}

/// Is told of records.
pub trait RecordListener: Send + Sync {
    /// A committed record.
    fn record(&self, partition: Partition, decided: &Decided);
}

#[derive(Debug, Default)]
struct Records {
    index: u64,
    decided: BTreeMap<Partition, Decided>,
    reports: BTreeMap<(Partition, Instance), Report>,
}

/// Records in memory: one for all nodes of a process, or one on the node that leads a pair.
#[derive(Default)]
pub struct MemoryAuthority {
    records: Mutex<Records>,
    listeners: Mutex<Vec<Weak<dyn RecordListener>>>,
}

impl fmt::Debug for MemoryAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAuthority").finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryAuthority {
    /// Whoever listens is told of every record from now on.
    pub fn listen(&self, listener: Weak<dyn RecordListener>) {
        locked(&self.listeners).push(listener);
    }

    /// The newest record of a partition.
    #[must_use]
    pub fn record(&self, partition: Partition) -> Option<Decided> {
        locked(&self.records).decided.get(&partition).cloned()
    }

    /// What a copy has reported since it was fenced last.
    #[must_use]
    pub fn report_of(&self, partition: Partition, instance: Instance) -> Option<Report> {
        locked(&self.records).reports.get(&(partition, instance)).copied()
    }

    /// Changes a partition's record, and tells everybody: for whoever decides by hand. Whether there
    /// was anything to change.
    pub fn decide(
        &self,
        partition: Partition,
        change: impl FnOnce(&Record) -> Option<Record>,
    ) -> bool {
        let decided = {
            let mut records = locked(&self.records);
            let before = records.decided.get(&partition).map(|known| known.record.clone());
            let Some(record) = change(&before.unwrap_or_default()) else { return false };
            records.index += 1;
            let stamp = Stamp { term: 1, index: records.index };
            let decided = Decided { stamp, record };
            records.decided.insert(partition, decided.clone());
            records.reports.retain(|(of, _), _| *of != partition);
            decided
        };
        self.tell(partition, &decided);
        true
    }

    /// Makes a copy master in a new term, in two steps: nobody takes anything of the old term from the
    /// first on. False, and nothing done, unless the record says that the copy is sync, so that it has
    /// everything that was acknowledged (rule 8), or nobody was master yet.
    pub fn promote(
        &self,
        partition: Partition,
        instance: Instance,
        incarnation: Incarnation,
    ) -> bool {
        let fenced = self.decide(partition, |record| {
            let may = record.copy(instance).state == CopyState::Sync || record.term == Term(0);
            may.then(|| record.intent())
        });
        fenced
            && self.decide(partition, |record| {
                let mut record = record.elected(instance, incarnation);
                // The master before may have what nobody else has; it is taken in anew when it follows.
                for (other, copy) in &mut record.copies {
                    if *other != instance && copy.state != CopyState::Offline {
                        copy.state = CopyState::Async;
                    }
                }
                Some(record)
            })
    }

    /// Takes a copy into the record, asynchronous; or tells of another run of it.
    pub fn register(&self, partition: Partition, instance: Instance, incarnation: Incarnation) {
        self.decide(partition, |record| {
            let mut record = record.clone();
            let known = record.copies.get(&instance).copied().unwrap_or_default();
            let state =
                if record.master == Some(instance) { known.state } else { CopyState::Async };
            record.copies.insert(instance, CopyRecord { state, incarnation });
            record.cfg.0 += 1;
            Some(record)
        });
    }

    fn tell(&self, partition: Partition, decided: &Decided) {
        let listeners: Vec<Arc<dyn RecordListener>> =
            locked(&self.listeners).iter().filter_map(Weak::upgrade).collect();
        listeners.iter().for_each(|listener| listener.record(partition, decided));
    }
}

impl Authority for MemoryAuthority {
    fn request(&self, partition: Partition, request: Request) {
        let answer = self.record(partition);
        self.decide(partition, |record| record.after(&request));
        // Who asked at an older version learns the newer one.
        if let Some(decided) = answer.filter(|known| known.record.after(&request).is_none()) {
            self.tell(partition, &decided);
        }
    }

    fn report(&self, partition: Partition, report: Report) {
        locked(&self.records).reports.insert((partition, report.instance), report);
    }
}

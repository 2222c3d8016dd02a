//! Partitions that began anew, or with an orphan, get the tables of their database: before anything else is done with its
//! tables, since the first partition says to all others what tables there are.

use std::time::Duration;

use resprout_access::Client;
use resprout_cluster::control::Returned;
use resprout_cluster::metadata::{Command, Metadata, Outcome, Refusal};
use resprout_cluster::plan::{Action, Plan, Step};
use resprout_cluster::{Ordinal, Partition, Term};
use resprout_engine::Error;
use resprout_sql::error::SqlError;
use resprout_sql::place::{Database, Map};

use tokio::time::{Instant, sleep, timeout_at};

use crate::directory::map;
use crate::operations::{Operations, failed};

/// How long a partition may take to have a master, once an orphan was attached for that or it was made anew.
const ELECTING: Duration = Duration::from_secs(30);
/// How long a master that is recorded may take to serve.
const SERVING: Duration = Duration::from_secs(15);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A partition whose tables may be others than its database's, and one that has these.
#[derive(Debug)]
struct Unaligned {
    map: Map,
    ordinal: Ordinal,
    term: Term,
    from: Option<Ordinal>,
}

fn unaligned(metadata: &Metadata, database: &str) -> Option<Unaligned> {
    let entry = metadata.databases().get(database)?;
    let found = entry.map.all().find(|partition| partition.unaligned)?;
    let mut others = entry.map.all().filter(|other| !other.unaligned);
    let from = others.find(|other| other.serving().is_some()).map(|other| other.ordinal);
    let (map, ordinal, term) = (map(metadata, entry), found.ordinal, found.term);
    Some(Unaligned { map, ordinal, term, from })
}

impl Unaligned {
    /// Without another one to go by it says itself what tables there are, as all partitions of its database do.
    /// False, and nothing done, if the office is over.
    fn align(&self, access: &Client, office: u64) -> Result<bool, Error> {
        let Some(from) = self.from else { return Ok(true) };
        let database = Database::far(&self.map, access).in_office(office);
        if !database.begin_office()? {
            return Ok(false);
        }
        database.copy_tables(from.0 as usize, self.ordinal.0 as usize).map(|()| true)
    }
}

impl Operations {
    /// Gives them the tables of their database. To be called while no other change of tables is under way.
    ///
    /// # Errors
    /// If one of them does not serve: whoever comes next goes on.
    pub(crate) async fn align_tables(&self, office: u64, database: &str) -> Result<(), Returned> {
        let end = Instant::now() + SERVING;
        loop {
            let Some(found) = unaligned(&self.metadata.read(), database) else { return Ok(()) };
            let (ordinal, term) = (found.ordinal, found.term);
            let access = self.access.clone();
            let aligned = tokio::task::spawn_blocking(move || found.align(&access, office)).await;
            match aligned.map_err(failed)? {
                Ok(true) => {}
                Ok(false) => return Err(Returned::NotMaster),
                // A new master is recorded before it serves.
                Err(_) if Instant::now() < end => {
                    sleep(AGAIN_AFTER).await;
                    continue;
                }
                Err(error) => {
                    let error = SqlError::from(error);
                    return Err(Returned::Told { code: error.code.0, text: error.text.into() });
                }
            }
            let database = database.to_owned();
            match self.command(office, Command::Aligned { database, ordinal, term }).await {
                // Another mastership has begun meanwhile: once more.
                Ok(_)
                | Err(Returned::Done {
                    outcome: Outcome::Refused { refusal: Refusal::Changed { .. } },
                    ..
                }) => {}
                Err(ended) => return Err(ended),
            }
        }
    }

    /// Partitions that a plan made or attached serve, with the tables of their database.
    pub(crate) async fn until_served(&self, plan: &Plan) -> Result<Outcome, Returned> {
        let begins = |step: &&Step| matches!(step.action, Action::Create | Action::Attach);
        let begun: Vec<_> = plan.steps.iter().filter(begins).map(|step| step.ordinal).collect();
        if begun.is_empty() {
            return Ok(Outcome::Done);
        }
        let end = Instant::now() + ELECTING;
        for ordinal in begun {
            self.serves(&plan.database, ordinal, end).await?;
        }
        let _one_at_a_time = self.defining.lock().await;
        let office = self.metadata.read().office();
        if office.holder != Some(self.node) {
            return Err(Returned::NotMaster);
        }
        self.align_tables(office.number, &plan.database).await?;
        Ok(Outcome::Done)
    }

    async fn serves(&self, database: &str, of: Ordinal, end: Instant) -> Result<(), Returned> {
        let mut changes = self.metadata.watch();
        loop {
            let serving = {
                let metadata = self.metadata.read();
                metadata.partition(database, of).and_then(Partition::serving)
            };
            if serving.is_some() {
                return Ok(());
            }
            if !matches!(timeout_at(end, changes.changed()).await, Ok(Ok(()))) {
                return Err(failed(format!("{database}:{of} has no master yet; see MV_EVENTS")));
            }
        }
    }
}

//! Plans that statements ask for: made from the record as it is, carried out, and shown.

use resprout_cluster::Database;
use resprout_cluster::control::{Returned, ShownStep};
use resprout_cluster::execution::{self, Failure};
use resprout_cluster::manager::{Ended, Event};
use resprout_cluster::metadata::Outcome;
use resprout_cluster::plan::{
    Asked, AskedError, ExplainRow, Plan, StatusRow, ensure_online, explain, status,
};
use resprout_sql::error::Code;

use crate::operations::{Operations, failed};

/// How long a leaf that stops waits for transactions before they are ended, which its stop would do as well.
const HAND_OVER_LIMIT_MS: u64 = 2_000;

impl From<AskedError> for Told {
    fn from(error: AskedError) -> Self {
        let code = match error {
            AskedError::Unknown(_) => Code::BAD_DB,
            AskedError::NoPartition(..) | AskedError::NoCopy(..) | AskedError::HasCopies(..) => {
                Code::WRONG_ARGUMENTS
            }
            AskedError::LastCopy(..) => Code::PARTITION_SAFETY,
            AskedError::Unplaceable(_) | AskedError::Removal(_) => Code::NO_LEAVES,
        };
        Self(code, error.to_string())
    }
}

/// What a client is told.
struct Told(Code, String);

impl From<Told> for Returned {
    fn from(Told(code, text): Told) -> Self {
        Self::Told { code: code.0, text }
    }
}

impl Operations {
    fn planned(&self, asked: &Asked) -> Result<Plan, Told> {
        let metadata = self.metadata.read();
        let databases = metadata.databases().values().map(|entry| entry.map.clone());
        let databases: Vec<Database> = databases.collect();
        Ok(asked.plan(&metadata.leaves(), &databases, metadata.mode())?)
    }

    /// Makes a plan and carries it out. Who begins it again on another master aggregator finds by the record what is done.
    pub(crate) async fn carry_out_plan(
        &self,
        asked: &Asked,
        (kill, all_online): (bool, bool),
    ) -> Result<Outcome, Returned> {
        if all_online {
            let leaves = self.metadata.read().leaves();
            let told = |text: String| Returned::from(Told(Code::NO_LEAVES, text));
            ensure_online(&leaves).map_err(|error| told(error.to_string()))?;
        }
        let plan = self.planned(asked)?;
        let mut config = execution::Config { kill, ..execution::Config::default() };
        if matches!(asked, Asked::HandOver { .. }) {
            config.lock_limit_ms = HAND_OVER_LIMIT_MS;
        }
        self.run_plan(plan, config).await
    }

    /// Carries a plan out, if it has steps.
    pub(crate) async fn run_plan(
        &self,
        plan: Plan,
        config: execution::Config,
    ) -> Result<Outcome, Returned> {
        if plan.steps.is_empty() {
            return Ok(Outcome::Done);
        }
        let (errand, over) = self.errands.errand(plan.clone(), config);
        self.events.send(Event::Run(errand)).map_err(|_| failed("the node stops"))?;
        // Without an answer the office is over.
        let told = match over.await.unwrap_or(Ended::NotMaster) {
            Ended::With(execution::Outcome::Success) => return self.until_served(&plan).await,
            Ended::NotMaster => return Err(Returned::NotMaster),
            Ended::With(execution::Outcome::Canceled) => {
                Told(Code::QUERY_INTERRUPTED, "Query execution was interrupted".to_owned())
            }
            Ended::With(execution::Outcome::Failed(step, failure)) => {
                self.failure(&plan, step, failure)
            }
            Ended::Busy => {
                let text = format!("A rebalance of database {} is already running", plan.database);
                Told(Code::REBALANCE_RUNNING, text)
            }
            Ended::Dropped => Told(Code::BAD_DB, format!("Unknown database '{}'", plan.database)),
        };
        Err(told.into())
    }

    fn failure(&self, plan: &Plan, step: usize, failure: Failure) -> Told {
        let leaves = self.metadata.read().leaves();
        let code = match failure {
            Failure::Timeout => Code::LOCK_WAIT_TIMEOUT,
            _ => Code::UNKNOWN_ERROR,
        };
        let text = plan.steps.get(step).map_or_else(
            || failure.to_string(),
            |step| {
                let target = leaves.iter().find(|leaf| leaf.id == step.target);
                let target = target.map_or_else(String::new, |leaf| leaf.address.to_string());
                let (action, ordinal) = (step.action.text(), step.ordinal.0);
                format!("{action} {}:{ordinal} on {target}: {failure}", plan.database)
            },
        );
        Told(code, text)
    }

    pub(crate) fn cancel_plan(&self, database: String) -> Result<Outcome, Returned> {
        self.events.send(Event::Cancel(database)).map_err(|_| failed("the node stops"))?;
        Ok(Outcome::Done)
    }

    /// The steps of the plan that would be made, or of the one that runs or ran last; none if there was none.
    pub(crate) fn show_plan(
        &self,
        database: &str,
        asked: Option<&Asked>,
    ) -> Result<Returned, Returned> {
        let (leaves, number, reference) = {
            let metadata = self.metadata.read();
            let entry = metadata.databases().get(database);
            let reference = entry.and_then(|entry| entry.map.reference.as_ref());
            let reference = reference.map(|reference| reference.partition.ordinal.0);
            (metadata.leaves(), entry.map(|entry| entry.number), reference)
        };
        let number = number.ok_or_else(|| AskedError::Unknown(database.to_owned()));
        let number = number.map_err(Told::from)?;
        let steps = if let Some(asked) = asked {
            let plan = self.planned(asked)?;
            let rows = explain(&leaves, &plan, self.errands.manager().averages());
            rows.into_iter().map(shown).collect::<Vec<_>>()
        } else {
            let manager = self.errands.manager();
            let rows = manager.shown(number).map_or_else(Vec::new, |one| {
                status(&leaves, &one.plan, manager.averages(), &one.progress)
            });
            rows.into_iter().map(shown_status).collect()
        };
        // Clients are shown the partitions that rows are spread over.
        let steps = steps.into_iter().filter(|step: &ShownStep| Some(step.ordinal) != reference);
        Ok(Returned::Steps { steps: steps.collect() })
    }
}

fn shown(row: ExplainRow) -> ShownStep {
    ShownStep {
        action: row.action.to_owned(),
        ordinal: row.ordinal,
        target: resprout_cluster::Address { host: row.target_host, port: row.target_port },
        phase: row.phase,
        status: None,
        running_ms: None,
        remaining_ms: row.estimated_time_remaining_ms,
        copied: None,
        waiting_for: None,
    }
}

fn shown_status(row: StatusRow) -> ShownStep {
    ShownStep {
        status: Some(row.status.to_owned()),
        running_ms: row.running_time,
        copied: row.copied,
        waiting_for: row.waiting_for.map(str::to_owned),
        ..shown(row.step)
    }
}

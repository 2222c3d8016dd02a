//! `rebalance`, `restore-redundancy`: plans of the cluster, shown before they run, watched, and ended.
//!
//! ```text
//!  --dry-run   EXPLAIN … , SHOW PARTITIONS ──► what each leaf has before and after
//!  --plan ID   the same once more: another plan than was shown is not run
//!  otherwise   the statement, on one connection; MV_REBALANCE_STATUS on another ──► how far it is
//!  resume      MV_REBALANCE_STATUS ──► databases whose last plan ended early ──► as above
//!  cancel      SHOW PROCESSLIST of each aggregator ──► KILL QUERY of whoever waits for a plan
//! ```

mod progress;
mod shape;

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::{Args, Subcommand};

use self::progress::Progress;
use self::shape::Shape;
use super::master::{ACCOUNT, Client, identifier};
use super::registry::{Registry, Role};
use super::{StateArgs, look};
use crate::failure::{Exit, Failure};
use crate::output;

/// Between two looks of `--watch`, on a terminal and elsewhere.
const WATCHED_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// REBALANCE PARTITIONS
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RebalanceArgs {
    #[command(subcommand)]
    command: Option<RebalanceCommand>,
    #[command(flatten)]
    plan: PlanArgs,
}

/// RESTORE REDUNDANCY
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Args, Clone, Debug)]
struct PlanArgs {
    #[command(flatten)]
    state: StateArgs,
    /// This one only, instead of one after the other
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Show what would be done, and change nothing
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Only the plan that --dry-run named so: refused (exit 7) if another one would be made by now
    #[arg(long, value_name = "ID", conflicts_with = "dry_run")]
    plan: Option<String>,
    /// Show how far it is. Ending the command ends the plan: what is complete stays
    #[arg(long)]
    watch: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum RebalanceCommand {
    /// Ends the plans that run: what is complete stays, what is not is removed
    Cancel(CancelArgs),
    /// Goes on where plans were cancelled or failed: copies that are complete are not made again
    Resume(ResumeArgs),
}

#[derive(Args, Clone, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Show how far it is. Ending the command ends the plan: what is complete stays
    #[arg(long)]
    watch: bool,
}

#[derive(Args, Clone, Debug)]
struct CancelArgs {
    #[command(flatten)]
    state: StateArgs,
}

/// Which plan.
#[derive(Clone, Copy, Debug)]
enum What {
    Rebalance,
    Restore,
}

impl What {
    fn statement(self, database: &str) -> String {
        let database = identifier(database);
        match self {
            Self::Rebalance => format!("REBALANCE PARTITIONS ON {database}"),
            Self::Restore => format!("RESTORE REDUNDANCY ON {database}"),
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Rebalance => "rebalance",
            Self::Restore => "restore-redundancy",
        }
    }
}

/// `rebalance`, `rebalance cancel`, `rebalance resume`.
///
/// # Errors
/// If the master aggregator cannot be asked, or refuses.
pub(super) fn rebalance(args: &RebalanceArgs) -> Result<Exit, Failure> {
    match &args.command {
        Some(RebalanceCommand::Cancel(args)) => cancel(args),
        Some(RebalanceCommand::Resume(args)) => resume(args),
        None => run(&args.plan, What::Rebalance),
    }
}

/// `restore-redundancy`.
///
/// # Errors
/// As [`rebalance`].
pub(super) fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    run(&args.plan, What::Restore)
}

fn run(args: &PlanArgs, what: What) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let seen = look::all(&registry);
    let mut client = Client::of_master(&registry, &seen)?;
    let databases = match &args.database {
        Some(database) => vec![database.clone()],
        None => {
            let asked = "SELECT database_name FROM information_schema.distributed_databases \
                         ORDER BY database_name";
            client.query(asked)?.into_iter().flatten().flatten().collect()
        }
    };
    let mut was_found = args.plan.is_none();
    for database in databases {
        let statement = what.statement(&database);
        let shape = Shape::ask(&mut client, &database, &statement)?;
        let id = shape.id(&statement);
        if args.plan.as_ref().is_some_and(|wanted| *wanted != id) {
            continue;
        }
        was_found = true;
        if shape.is_empty() {
            output::line(format_args!("{database}: nothing to do"));
            continue;
        }
        if args.dry_run {
            shape.show(&database, &id);
            let again =
                format!("resprout {} --database {} --plan {id}", what.command(), shell(&database));
            output::talk(format_args!("Nothing was changed. Run: {again}"));
            continue;
        }
        let mut watching = Client::of_master(&registry, &seen)?;
        client = carry_out(client, &mut watching, (database, statement), args.watch)?;
    }
    if was_found {
        Ok(Exit::Done)
    } else {
        Err(stale(args.plan.as_deref().unwrap_or_default(), what))
    }
}

/// The plan that was shown would not be made any more.
fn stale(id: &str, what: What) -> Failure {
    let why = "another one would be made by now: leaves, copies or masters are others than when it was shown";
    let fix = format!("look at it again: resprout {} --dry-run", what.command());
    Failure::new(format!("plan {id} is stale, nothing was changed"), why, fix)
        .exiting(Exit::Refused)
}

/// A name as a shell takes it.
fn shell(name: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "_-.".contains(one);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// `rebalance resume`: each database whose last plan, under this master aggregator, ended before all its steps were done is rebalanced
/// again; the record says what is complete.
fn resume(args: &ResumeArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let mut client = Client::of_master(&registry, &look::all(&registry))?;
    let asked = "SELECT DISTINCT database_name FROM information_schema.mv_rebalance_status \
                 WHERE status IN ('failed', 'canceled') ORDER BY database_name";
    let databases: Vec<String> = client.query(asked)?.into_iter().flatten().flatten().collect();
    if databases.is_empty() {
        output::line(
            "no plan ended early under this master aggregator; `rebalance` makes a new one",
        );
    }
    for database in databases {
        let plan = PlanArgs {
            state: args.state.clone(),
            database: Some(database),
            dry_run: false,
            plan: None,
            watch: args.watch,
        };
        run(&plan, What::Rebalance)?;
    }
    Ok(Exit::Done)
}

/// Runs the statement, and shows meanwhile how far it is.
fn carry_out(
    mut client: Client,
    watching: &mut Client,
    (database, statement): (String, String),
    is_watched: bool,
) -> Result<Client, Failure> {
    let (over, ended) = channel();
    let runs = std::thread::spawn(move || {
        let done = client.run(&statement);
        // Nobody listens any more if the look failed.
        let _unheard = over.send(());
        done.map(|()| client)
    });
    let is_terminal = std::io::stdout().is_terminal();
    let every = if is_terminal { WATCHED_EVERY.0 } else { WATCHED_EVERY.1 };
    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        if !is_watched {
            continue;
        }
        if is_terminal {
            // From the upper left corner on.
            output::line("\x1b[H\x1b[J");
        }
        match Progress::ask(watching, &database) {
            Ok(progress) => progress.show(&database),
            Err(failure) => output::talk(failure),
        }
    }
    let done = runs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // How it ended is known also if it failed.
    if let Ok(progress) = Progress::ask(watching, &database) {
        output::line(progress.sentence(&database));
    }
    done
}

/// `rebalance cancel`: whoever waits for a plan, on whichever aggregator of this machine, is told to give up; that ends it.
fn cancel(args: &CancelArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let password = registry.password()?;
    let (mut ended, mut silent) = (0, Vec::new());
    let seen = look::all(&registry);
    for node in seen.iter().filter(|node| node.runs && node.entry.role == Role::Aggregator) {
        let address = node.entry.address();
        let Ok(mut client) = Client::connect(&address, ACCOUNT, Some(&password)) else {
            silent.push(address);
            continue;
        };
        for row in client.query("SHOW FULL PROCESSLIST")? {
            let (Some(Some(id)), Some(Some(info))) = (row.first(), row.get(7)) else { continue };
            if is_plan(info) {
                client.run(&format!("KILL QUERY {id}"))?;
                output::line(format_args!("{address}: told to end: {info}"));
                ended += 1;
            }
        }
    }
    if !silent.is_empty() {
        let what = format!("{} cannot be asked whether they run plans", silent.join(", "));
        let fix = "see list-nodes; a plan that is asked for there goes on";
        return Err(Failure::new(what, "they do not answer", fix).exiting(Exit::Unreachable));
    }
    if ended == 0 {
        output::line("no plan runs that was asked for through aggregators of this machine");
    }
    Ok(Exit::Done)
}

/// Whether a statement waits for a plan.
fn is_plan(statement: &str) -> bool {
    let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
    let first = (words.next(), words.next());
    let (Some(first), Some(second)) = first else { return false };
    matches!(
        (first.as_str(), second.as_str()),
        ("REBALANCE", "PARTITIONS" | "ALL") | ("RESTORE", "REDUNDANCY")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: what is told to end is what waits for a plan, and nothing else.
    #[test]
    fn statements_with_plans_are_known() {
        assert!(is_plan("REBALANCE PARTITIONS ON shop"));
        assert!(is_plan("rebalance  all databases"));
        assert!(is_plan("RESTORE REDUNDANCY ON shop"));
        for other in ["EXPLAIN REBALANCE PARTITIONS ON shop", "SHOW REBALANCE STATUS ON shop", "x"]
        {
            assert!(!is_plan(other), "{other}");
        }
    }

    /// Promise: the line that is to be run after a dry run is what a shell takes as one name.
    #[test]
    fn names_are_quoted_for_shells() {
        assert_eq!(shell("shop_1"), "shop_1");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's"), "'it'\\''s'");
    }

    /// Promise: names of databases are quoted.
    #[test]
    fn statements_name_their_database() {
        assert_eq!(What::Restore.statement("a`b"), "RESTORE REDUNDANCY ON `a``b`");
    }
}

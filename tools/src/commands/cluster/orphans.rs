//! `clear-orphans`: copies that leaves have and the cluster's record does not, and the end of those that nobody needs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use resprout_engine::table::DateTime;
use serde::Serialize;

use super::master::{Client, Rows};
use super::registry::Registry;
use super::{StateArgs, confirm, look, table};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::quantity::{Bytes, rough};

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// Removes copies that the cluster does not have on record and whose rows are elsewhere
#[derive(Args, Clone, Debug)]
pub struct ClearOrphansArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Show them, and remove none
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// As JSON
    #[arg(short, long)]
    json: bool,
}

/// What there is. The names are kept: scripts read them.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Orphans {
    schema_version: u32,
    orphans: Vec<Orphan>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Orphan {
    leaf: String,
    partition: String,
    instance: u64,
    /// None on a leaf that was removed by force.
    bytes: Option<u64>,
    made_by: Option<String>,
    age_s: Option<u64>,
    master: Option<String>,
    safe: bool,
    reason: Option<String>,
}

/// The columns that are read.
const ASKED: &str = "SELECT host, port, database_name, ordinal, instance_id, bytes, made_by, made_time, master_host, \
                     master_port, is_safe_to_drop, reason FROM information_schema.mv_orphans";

/// Shows orphans; removes those that are safe to drop, unless it is a dry run.
///
/// # Errors
/// If the master aggregator cannot be asked, or refuses.
pub(super) fn clear(args: &ClearOrphansArgs) -> Result<Exit, Failure> {
    let registry = Registry::open(&args.state.dir())?;
    let mut client = Client::of_master(&registry, &look::all(&registry))?;
    let found = orphans(client.query(ASKED)?);
    let safe = found.iter().filter(|orphan| orphan.safe).count();
    if args.dry_run || safe == 0 {
        show(args.json, found);
        return Ok(Exit::Done);
    }
    if !args.yes {
        show(args.json, found.clone());
    }
    confirm(args.yes, &format!("{safe} of {} orphans will be removed", found.len()))?;
    client.run("CLEAR ORPHAN DATABASES")?;
    let left = orphans(client.query(ASKED)?);
    let (removed, kept) = (found.len().saturating_sub(left.len()), left.len());
    output::talk(format_args!("{}: removed {removed} orphans, kept {kept}", client.address()));
    show(args.json, left);
    Ok(Exit::Done)
}

fn show(as_json: bool, orphans: Vec<Orphan>) {
    if as_json {
        output::json(&Orphans { schema_version: SCHEMA_VERSION, orphans });
    } else if orphans.is_empty() {
        output::line("No orphans.");
    } else {
        let titles = ["LEAF", "PARTITION", "BYTES", "MADE BY", "AGE", "A MASTER EXISTS", "SAFE"];
        table(&titles, &orphans.iter().map(Orphan::cells).collect::<Vec<_>>());
    }
}

fn orphans(rows: Rows) -> Vec<Orphan> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rows.into_iter().map(|row| Orphan::of(&row, now)).collect()
}

impl Orphan {
    fn of(row: &[Option<String>], now: Duration) -> Self {
        let text = |at: usize| row.get(at).cloned().flatten();
        let number = |at: usize| text(at).and_then(|text| text.parse().ok()).unwrap_or(0);
        let address = |host: usize| {
            let (host, port) = (text(host)?, text(host + 1)?);
            Some(format!("{host}:{port}"))
        };
        let age = |made: DateTime| {
            let made = u64::try_from(made.micros()).unwrap_or(0);
            now.as_secs().saturating_sub(made / 1_000_000)
        };
        Self {
            leaf: address(0).unwrap_or_default(),
            partition: format!("{}:{}", text(2).unwrap_or_default(), number(3)),
            instance: number(4),
            bytes: text(5).and_then(|text| text.parse().ok()),
            made_by: text(6),
            age_s: text(7).and_then(|time| DateTime::parse(&time)).map(age),
            master: address(8),
            safe: number(10) == 1,
            reason: text(11),
        }
    }

    fn cells(&self) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        vec![
            self.leaf.clone(),
            self.partition.clone(),
            self.bytes.map_or_else(unknown, |bytes| Bytes(bytes).to_string()),
            self.made_by.clone().unwrap_or_else(unknown),
            self.age_s.map_or_else(unknown, |age| rough(Duration::from_secs(age))),
            self.master.as_ref().map_or_else(|| "no".to_owned(), |at| format!("yes, {at}")),
            match &self.reason {
                _ if self.safe => "yes".to_owned(),
                Some(reason) => format!("NO: {reason}"),
                None => "NO".to_owned(),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| (!cell.is_empty()).then(|| (*cell).to_owned())).collect()
    }

    /// Promise: each orphan is shown with its leaf, size, origin, age, master and verdict; what is not known says so, and
    /// what must stay says why.
    #[test]
    fn orphans_are_shown_with_their_verdicts() {
        let now = Duration::from_micros(
            u64::try_from(DateTime::parse("2026-11-28 10:00:00").unwrap().micros()).unwrap(),
        );
        let known = row(&[
            "10.0.0.2",
            "3306",
            "orders",
            "11",
            "40",
            "644245094",
            "DROP PARTITION",
            "2026-11-28 08:00:00.123",
            "10.0.0.1",
            "3306",
            "1",
            "",
        ]);
        let safe = Orphan::of(&known, now).cells();
        assert_eq!(safe[0..2], ["10.0.0.2:3306", "orders:11"]);
        assert_eq!(safe[3], "DROP PARTITION");
        assert_eq!(safe[4], rough(Duration::from_secs(7200)));
        assert_eq!(safe[5..], ["yes, 10.0.0.1:3306", "yes"]);
        let last =
            row(&["h", "1", "orders", "19", "41", "7", "", "", "", "", "0", "it may be the last"]);
        let last = Orphan::of(&last, now).cells();
        assert_eq!(last[3..], ["unknown", "unknown", "no", "NO: it may be the last"]);
        let gone = row(&[
            "h",
            "1",
            "orders",
            "19",
            "41",
            "",
            "REMOVE LEAF FORCE",
            "",
            "",
            "",
            "0",
            "gone",
        ]);
        assert_eq!(Orphan::of(&gone, now).cells()[2], "unknown");
    }
}

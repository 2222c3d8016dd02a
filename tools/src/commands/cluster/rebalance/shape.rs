//! What a plan would do, from its steps: how many copies each leaf has before and after.

use std::collections::{BTreeMap, BTreeSet};

use super::super::master::{Client, Rows, identifier};
use super::super::table;
use crate::failure::Failure;
use crate::output;

/// Where a leaf listens: host and port.
type Place = (String, u64);

/// Copies of a leaf: masters and replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    masters: usize,
    replicas: usize,
}

/// A partition: its master, and all with a copy.
#[derive(Clone, Debug, Default)]
struct Partition {
    master: Option<Place>,
    copies: BTreeSet<Place>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    steps: Vec<Step>,
    before: BTreeMap<u64, Partition>,
}

#[derive(Clone, Debug)]
struct Step {
    action: String,
    ordinal: u64,
    target: Place,
    phase: u64,
}

impl Shape {
    /// # Errors
    /// What the server says.
    pub(super) fn ask(
        client: &mut Client,
        database: &str,
        statement: &str,
    ) -> Result<Self, Failure> {
        let steps = client.query(&format!("EXPLAIN {statement}"))?;
        let partitions = client.query(&format!("SHOW PARTITIONS ON {}", identifier(database)))?;
        Self::of(&steps, &partitions).ok_or_else(|| {
            let why = "a step of the plan, or a partition, has columns that are not known here";
            let fix = "use the resprout of the server's version, or the statement itself";
            Failure::new(format!("cannot read EXPLAIN {statement}"), why, fix)
        })
    }

    /// None if a row is not as it should be: what is not understood is not nothing.
    fn of(steps: &Rows, partitions: &Rows) -> Option<Self> {
        let cell = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
        let number = |row: &[Option<String>], at| cell(row, at)?.parse::<u64>().ok();
        let mut shape = Self::default();
        for row in steps {
            shape.steps.push(Step {
                action: cell(row, 0)?,
                ordinal: number(row, 1)?,
                target: (cell(row, 2)?, number(row, 3)?),
                phase: number(row, 4)?,
            });
        }
        for row in partitions {
            let partition = shape.before.entry(number(row, 0)?).or_default();
            // Without a master there is one row, of nobody.
            let (Some(host), Some(port)) = (cell(row, 1), number(row, 2)) else { continue };
            if cell(row, 3).as_deref() == Some("Master") {
                partition.master = Some((host.clone(), port));
            }
            partition.copies.insert((host, port));
        }
        Some(shape)
    }

    /// Names the plan: the same steps on the same partitions have the same name, all others another.
    pub(super) fn id(&self, statement: &str) -> String {
        let mut sum = crc32fast::Hasher::new();
        sum.update(statement.as_bytes());
        for Step { action, ordinal, target, phase } in &self.steps {
            sum.update(
                format!("\n{action} {ordinal} {}:{} {phase}", target.0, target.1).as_bytes(),
            );
        }
        for (ordinal, partition) in &self.before {
            sum.update(format!("\n{ordinal} {partition:?}").as_bytes());
        }
        format!("{:08x}", sum.finalize())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The partitions when all steps are done.
    fn after(&self) -> BTreeMap<u64, Partition> {
        let mut after = self.before.clone();
        for Step { action, ordinal, target, .. } in &self.steps {
            let partition = after.entry(*ordinal).or_default();
            let is_promotion = action.starts_with("PROMOTE");
            if action.starts_with("DROP") {
                partition.copies.remove(target);
                continue;
            }
            partition.copies.insert(target.clone());
            if is_promotion || action.starts_with("CREATE") {
                let old = partition.master.replace(target.clone());
                if let Some(old) = old.filter(|_| action.contains("WITH DROP")) {
                    partition.copies.remove(&old);
                }
            }
        }
        after
    }

    fn count(&self, what: &str) -> usize {
        self.steps.iter().filter(|step| step.action.starts_with(what)).count()
    }

    fn sentence(&self, database: &str) -> String {
        let phases: BTreeSet<u64> = self.steps.iter().map(|step| step.phase).collect();
        format!(
            "{database}: {} copies, {} promotions, {} drops in {} phases",
            self.count("COPY"),
            self.count("PROMOTE"),
            self.count("DROP"),
            phases.len()
        )
    }

    /// One row for each leaf that has copies before or after.
    fn leaves(&self) -> Vec<Vec<String>> {
        let (before, after) = (counts(&self.before), counts(&self.after()));
        let places: BTreeSet<&Place> = before.keys().chain(after.keys()).collect();
        let text = |counts: Option<&Counts>| {
            let Counts { masters, replicas } = counts.copied().unwrap_or_default();
            format!("{masters} / {replicas}")
        };
        let row = |place: &Place| {
            let is_in = |step: &&Step| step.action.starts_with("COPY") && step.target == *place;
            vec![
                format!("{}:{}", place.0, place.1),
                text(before.get(place)),
                text(after.get(place)),
                self.steps.iter().filter(is_in).count().to_string(),
            ]
        };
        places.into_iter().map(row).collect()
    }

    pub(super) fn show(&self, database: &str, id: &str) {
        output::line(format_args!("{}; plan {id}", self.sentence(database)));
        table(&["LEAF", "BEFORE (M/R)", "AFTER (M/R)", "COPIES IN"], &self.leaves());
    }
}

fn counts(partitions: &BTreeMap<u64, Partition>) -> BTreeMap<Place, Counts> {
    let mut counts: BTreeMap<Place, Counts> = BTreeMap::new();
    for partition in partitions.values() {
        for place in &partition.copies {
            let of = counts.entry(place.clone()).or_default();
            if partition.master.as_ref() == Some(place) {
                of.masters += 1;
            } else {
                of.replicas += 1;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Rows {
        let cell = |cell: &str| (cell != "NULL").then(|| cell.to_owned());
        text.lines().map(|line| line.split(", ").map(cell).collect()).collect()
    }

    /// Promise: a plan's name is that of its statement, its steps, and the partitions that they were made for.
    #[test]
    fn another_plan_has_another_name() {
        let copy = "COPY PARTITION, 0, c, 3, 4, NULL";
        let partition = "0, a, 1, Master, 0";
        let id = |steps: &str, partitions: &str, statement: &str| {
            Shape::of(&rows(steps), &rows(partitions)).expect("sound rows").id(statement)
        };
        let shown = id(copy, partition, "REBALANCE");
        assert_eq!(
            id(&copy.replace("NULL", "17"), partition, "REBALANCE"),
            shown,
            "estimates vary"
        );
        assert_ne!(id(copy, partition, "RESTORE"), shown);
        assert_ne!(id(&copy.replace('c', "d"), partition, "REBALANCE"), shown);
        assert_ne!(id(copy, &partition.replace('a', "b"), "REBALANCE"), shown);
    }

    /// Promise: what leaves have after a plan is what its steps say, one after the other.
    #[test]
    fn leaves_before_and_after() {
        let partitions = rows(
            "0, a, 1, Master, 0\n0, b, 2, Replica, 0\n1, b, 2, Master, 0\n1, a, 1, Replica, 0\n2, NULL, NULL, NULL, 0",
        );
        let steps = rows(
            "COPY PARTITION, 0, c, 3, 4, NULL\nCREATE PARTITION, 2, c, 3, 1, NULL\n\
             PROMOTE PARTITION WITH DROP, 0, c, 3, 5, 12\nPROMOTE PARTITION, 1, a, 1, 5, 12\n\
             DROP PARTITION, 0, b, 2, 6, 1",
        );
        let shape = Shape::of(&steps, &partitions).expect("sound rows");
        assert_eq!(shape.sentence("d"), "d: 1 copies, 2 promotions, 1 drops in 4 phases");
        assert_eq!(
            shape.leaves(),
            [
                ["a:1", "1 / 1", "1 / 0", "0"],
                ["b:2", "1 / 1", "0 / 1", "0"],
                ["c:3", "0 / 0", "2 / 0", "1"],
            ]
        );
        assert!(Shape::of(&rows(""), &partitions).expect("sound rows").is_empty());
        assert!(Shape::of(&rows("COPY PARTITION, 0, c, NULL, 4, NULL"), &partitions).is_none());
    }
}

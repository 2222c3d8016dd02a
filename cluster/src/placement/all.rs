//! All databases at once: REBALANCE ALL DATABASES.

use super::{Load, Placement, Request, Unplaceable, target};
use crate::{Database, Leaf, Mode};

/// The placement of each database by name, in alphabetical order, each with the remainder where those before it
/// have the fewest masters: so masters of all databases together are even to within one, with redundancy 1 and
/// in load-balanced placement.
///
/// Those behind it do not count: their remainder comes to lie by this one's. If they counted as they are
/// now, one run would not be enough to come to rest.
///
/// # Errors
/// [`Unplaceable`] if the mode needs leaves that are not there.
pub fn target_all<'a>(
    leaves: &[Leaf],
    databases: &'a [Database],
    mode: Mode,
) -> Result<Vec<(&'a str, Placement)>, Unplaceable> {
    let mut sorted: Vec<&Database> = databases.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let mut load = Load::new();
    let mut all = Vec::with_capacity(sorted.len());
    for database in sorted {
        let request = Request { leaves, database, mode, full: Some(&load), force: false };
        let placement = target(&request)?;
        for home in placement.homes.iter().flatten() {
            *load.entry(home.master).or_default() += 1;
        }
        all.push((database.name.as_str(), placement));
    }
    Ok(all)
}

/// What leaves have of the other databases: `REBALANCE PARTITIONS … FULL` of one.
#[must_use]
pub fn load_elsewhere(databases: &[Database], name: &str) -> Load {
    let others = databases.iter().filter(|database| database.name != name);
    let mut load = Load::new();
    for master in others.flat_map(|database| &database.partitions).filter_map(|p| p.master) {
        *load.entry(master).or_default() += 1;
    }
    load
}

//! What a partition holds, in a form that can be compared; reading it checks that rows and
//! indexes say the same.

use std::collections::{BTreeMap, BTreeSet};

use resprout_engine::table::{RowView, Table, Value, ValueRef, index_entry};
use resprout_engine::tree::View;
use resprout_engine::{Engine, Partition, State};

/// By table: its rows in key order, each with one value per living column.
pub(crate) type Contents = BTreeMap<String, Vec<Vec<Value>>>;

/// By `database:partition`.
pub(crate) type Node = BTreeMap<String, Contents>;

/// All rows of a partition, as readers see them now.
///
/// # Panics
/// If an index has an entry too many, one too few, or a wrong one.
pub(crate) fn contents(partition: &Partition) -> Contents {
    let view = partition.view().expect("an online partition is read");
    let catalog = partition.catalog().expect("an online partition has a catalog");
    catalog.tables().map(|table| (table.name().to_owned(), rows(&view, table))).collect()
}

fn rows(view: &View, table: &Table) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let mut expected: Vec<BTreeSet<(Vec<u8>, Vec<u8>)>> =
        vec![BTreeSet::new(); table.schema().indexes.len()];
    let range = table.rows();
    let mut scan = view.range(&range.from, range.to.as_deref());
    let mut key = Vec::new();
    while scan.next() {
        scan.key_into(&mut key);
        let row = RowView::new(table, &key, scan.value()).expect("a sound row");
        for (index, expected) in table.schema().indexes.iter().zip(&mut expected) {
            expected.insert(index_entry(index, &row).expect("a row that is there fits its index"));
        }
        let values = row.values().expect("a sound row");
        rows.push(values.into_iter().map(ValueRef::into_owned).collect());
    }
    for (index, expected) in table.schema().indexes.iter().zip(expected) {
        let range = table.index_range(index, &[]).expect("no values, no misfit");
        let mut scan = view.range(&range.from, range.to.as_deref());
        let mut found = BTreeSet::new();
        while scan.next() {
            scan.key_into(&mut key);
            found.insert((key.clone(), scan.value().to_vec()));
        }
        assert_eq!(found, expected, "index {} of {} against its rows", index.name, table.name());
    }
    rows
}

/// Contents of all partitions.
///
/// # Panics
/// If one of them is not online.
pub(crate) fn node(engine: &Engine) -> Node {
    let databases = engine.databases();
    let partitions = databases.iter().flat_map(|database| database.partitions());
    partitions
        .map(|partition| {
            let state = partition.state();
            assert_eq!(state, State::Online, "{:?}", partition.status().error);
            (partition.name().to_owned(), contents(partition))
        })
        .collect()
}

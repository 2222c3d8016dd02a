//! The catalog and the tree never disagree: the ops of each change, applied to the tree, make
//! exactly the catalog that the change answered with.

use resprout_engine::record::OpKind;
use resprout_engine::table::system::{self, Property, Sequence};
use resprout_engine::table::{
    Catalog, CatalogChange, CatalogDamage, Change, IndexId, NewColumn, NewIndex, SchemaError,
    TableId, TableSchema, Write,
};
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The tree of a partition, as simple as can be.
#[derive(Default)]
struct Tree(Rows);

impl Tree {
    fn apply(&mut self, ops: &[Write]) {
        for Write { kind, key, value } in ops {
            match kind {
                OpKind::Insert => assert_eq!(self.0.insert(key.clone(), value.clone()), None),
                OpKind::Update => assert!(self.0.insert(key.clone(), value.clone()).is_some()),
                OpKind::Delete => assert!(self.0.remove(key).is_some()),
                OpKind::DeleteRange => self.0.retain(|at, _| at < key || at >= value),
            }
        }
    }

    fn catalog(&self) -> Result<Catalog, CatalogDamage> {
        let ranges = Catalog::ranges();
        let rows = self.0.iter().filter(|(key, _)| ranges.iter().any(|range| range.contains(key)));
        Catalog::from_rows(rows.map(|(key, value)| (&key[..], &value[..])))
    }

    fn keys_of(&self, index: IndexId) -> usize {
        self.0.keys().filter(|key| key.starts_with(&index.0.to_be_bytes())).count()
    }
}

/// Applies a change and checks that the tree says the same as the answered catalog.
#[track_caller]
fn take(tree: &mut Tree, change: Result<CatalogChange, SchemaError>) -> CatalogChange {
    let change = change.unwrap();
    tree.apply(&change.ops);
    let schemas = |catalog: &Catalog| -> Vec<TableSchema> {
        catalog.tables().map(|table| TableSchema::clone(table.schema())).collect()
    };
    let read = tree.catalog().unwrap();
    assert_eq!(schemas(&read), schemas(&change.catalog));
    // The next numbers agree too.
    let next = |catalog: &Catalog| catalog.create(table("next")).unwrap().ops;
    assert_eq!(next(&read), next(&change.catalog));
    change
}

fn table(name: &str) -> TableSchema {
    let builder = TableSchema::builder(name).column("id", "int").column("a", "varchar(9)");
    builder.primary_key(&["id"]).index("by_a", &["a"]).build().unwrap()
}

/// Guards R21: a schema is what the log says, at every step.
#[test]
fn r21_tree_and_catalog_agree_after_every_change() {
    let mut tree = Tree::default();
    let catalog = Catalog::empty();
    let catalog = take(&mut tree, catalog.create(table("t"))).catalog;
    let catalog = take(&mut tree, catalog.create(table("u"))).catalog;
    let column = NewColumn::parse("b", "int").unwrap();
    let catalog = take(&mut tree, catalog.alter("t", Change::AddColumn(column))).catalog;
    let change =
        take(&mut tree, catalog.alter("t", Change::AddIndex(NewIndex::new("by_b", &["b"], true))));
    let by_b = change.table.unwrap().schema().index_named("by_b").unwrap().id;
    assert_eq!(change.new_indexes, [by_b]);
    let change = take(&mut tree, change.catalog.alter("t", Change::RenameTable("v".into())));
    assert_eq!(change.table.unwrap().id(), TableId(1));
    let catalog = change.catalog;
    assert!(catalog.table("t").is_none() && catalog.table("v").is_some());
    let change = take(&mut tree, catalog.alter("v", Change::DropIndex("by_b".into())));
    assert!(change.table.unwrap().schema().index_named("by_b").is_none());
    let change = take(&mut tree, change.catalog.alter("v", Change::DropColumn("b".into())));
    assert_eq!(change.table.unwrap().schema().version, 3);
    let catalog = change.catalog;
    let catalog = take(&mut tree, catalog.drop_table("v")).catalog;
    let catalog = take(&mut tree, catalog.drop_table("u")).catalog;
    assert_eq!(catalog.tables().len(), 0);
    assert_eq!(catalog.table_by_id(TableId(1)).map(|table| table.id()), None);
}

/// Guards: numbers are never reused, so nothing old is ever taken for another's.
#[test]
fn numbers_are_never_reused() {
    let mut tree = Tree::default();
    let first = take(&mut tree, Catalog::empty().create(table("t")));
    let ids: Vec<_> = first.table.unwrap().schema().index_ids().collect();
    assert_eq!(ids, [IndexId(16), IndexId(17)]);
    let dropped = take(&mut tree, first.catalog.drop_table("t"));
    // As after a restart: the numbers come from the tree.
    let again = tree.catalog().unwrap().create(table("t")).unwrap().table.unwrap();
    assert_eq!(again.id(), TableId(2));
    assert_eq!(again.schema().index_ids().collect::<Vec<_>>(), [IndexId(18), IndexId(19)]);
    assert!(dropped.new_indexes.is_empty());
}

/// Guards: dropping a table or index leaves none of its rows, and all rows of others.
#[test]
fn what_is_dropped_leaves_nothing_behind() {
    let mut tree = Tree::default();
    let catalog = take(&mut tree, Catalog::empty().create(table("t"))).catalog;
    let catalog = take(&mut tree, catalog.create(table("u"))).catalog;
    for index in 16_u32..20 {
        for row in [&[][..], &[0], &[0xFF; 20]] {
            tree.0.insert([&index.to_be_bytes()[..], row].concat(), vec![]);
        }
    }
    for id in [1, 2] {
        for sequence in [Sequence::Column, Sequence::Hidden] {
            tree.0.insert(system::sequence_key(TableId(id), sequence), vec![0; 8]);
        }
    }
    let catalog = take(&mut tree, catalog.alter("t", Change::DropIndex("by_a".into()))).catalog;
    let left = |tree: &Tree| [16, 17, 18, 19, 2].map(|index| tree.keys_of(IndexId(index)));
    assert_eq!(left(&tree), [3, 0, 3, 3, 4]);
    take(&mut tree, catalog.drop_table("t"));
    assert_eq!(left(&tree), [0, 0, 3, 3, 2]);
}

/// Guards: what cannot be is refused with MySQL's number.
#[test]
fn impossible_changes_are_refused() {
    let catalog = Catalog::empty().create(table("t")).unwrap().catalog;
    let catalog = catalog.create(table("u")).unwrap().catalog;
    let code = |change: Result<CatalogChange, SchemaError>| change.unwrap_err().mysql_code();
    assert_eq!(code(catalog.create(table("t"))), 1050);
    assert_eq!(code(catalog.drop_table("x")), 1146);
    assert_eq!(code(catalog.alter("x", Change::DropColumn("a".into()))), 1146);
    assert_eq!(code(catalog.alter("t", Change::RenameTable("u".into()))), 1050);
    assert!(catalog.alter("t", Change::RenameTable("t".into())).is_ok());
}

/// Guards A8: damaged rows of the catalog are errors that say which row.
#[test]
fn damaged_catalogs_are_errors() {
    let mut tree = Tree::default();
    take(&mut tree, Catalog::empty().create(table("t")));
    let damaged = |change: &dyn Fn(&mut Rows)| {
        let mut damaged = Tree(tree.0.clone());
        change(&mut damaged.0);
        damaged.catalog().unwrap_err()
    };
    let row = system::catalog_key(TableId(1));
    let next_index = system::property_key(Property::NextIndex);
    assert!(matches!(
        damaged(&|rows| rows.get_mut(&row).unwrap().truncate(9)),
        CatalogDamage::Schema { table: TableId(1), .. }
    ));
    let at = |id| {
        move |rows: &mut Rows| {
            let value = rows[&system::catalog_key(TableId(1))].clone();
            rows.insert(system::catalog_key(TableId(id)), value);
        }
    };
    assert!(matches!(damaged(&at(2)), CatalogDamage::Conflict { table: TableId(2), .. }));
    let number = |number| {
        move |rows: &mut Rows| {
            let key = system::property_key(Property::NextIndex);
            rows.insert(key, system::number_to_bytes(number).to_vec());
        }
    };
    assert!(matches!(damaged(&number(17)), CatalogDamage::Conflict { .. }));
    assert!(matches!(damaged(&number(u64::MAX)), CatalogDamage::Property(Property::NextIndex)));
    assert!(matches!(
        damaged(&|rows| drop(rows.remove(&next_index))),
        CatalogDamage::Conflict { .. }
    ));
    assert!(matches!(
        damaged(&|rows| drop(rows.insert(vec![0, 0, 0, 4, 9], vec![]))),
        CatalogDamage::Key(_)
    ));
    assert!(matches!(
        damaged(&|rows| drop(rows.insert(vec![0, 0, 0, 0, 9], vec![]))),
        CatalogDamage::Key(_)
    ));
}

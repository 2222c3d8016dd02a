//! Which table a key belongs to: names from the catalogs of snapshots, and from the log itself.
//!
//! Numbers of indexes are never reused, so a name that any snapshot or record knew is right
//! wherever the number occurs.

use std::collections::BTreeMap;

use resprout_engine::record::{Op, OpKind, Record};
use resprout_engine::table::key::index_of;
use resprout_engine::table::{IndexId, TableSchema};
use resprout_engine::tree::leaf;
use resprout_snapshot::{PAGE, Snapshot};

/// An index and its table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    table: String,
    /// `table` or `table.index`.
    label: String,
}

/// Names by the number of an index.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables(BTreeMap<IndexId, Owner>);

impl Tables {
    /// Reads the catalogs of snapshots, the newest last. One that cannot be read has no names to
    /// give; what it lacks is told by its own inspection.
    pub(super) fn of_snapshots(snapshots: &[Snapshot]) -> Self {
        let mut tables = Self::default();
        for snapshot in snapshots {
            tables.read(snapshot);
        }
        tables
    }

    /// Learns from a record that makes, changes or drops tables.
    pub(super) fn learn(&mut self, record: &Record<'_>) {
        for op in record.ops() {
            let puts = matches!(op.kind, OpKind::Insert | OpKind::Update);
            if puts && matches!(index_of(op.key), Some((IndexId::CATALOG, _))) {
                self.learn_row(op.value);
            }
        }
    }

    /// What a key belongs to: `orders`, `orders.by_day`, `(catalog)`, or the index number.
    pub(super) fn label(&self, key: &[u8]) -> String {
        let Some((index, _)) = index_of(key) else { return "?".to_owned() };
        match self.0.get(&index) {
            Some(owner) => owner.label.clone(),
            None if index.is_system() => system(index).to_owned(),
            None => format!("index {}", index.0),
        }
    }

    /// Whether an op changes this table or one of its indexes.
    pub(super) fn is_of(&self, op: &Op<'_>, table: &str) -> bool {
        let owner = index_of(op.key).and_then(|(index, _)| self.0.get(&index));
        owner.is_some_and(|owner| owner.table == table)
    }

    /// Names of all tables, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.values().map(|owner| owner.table.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The leaves with the catalog come first, since its index has the lowest number.
    fn read(&mut self, snapshot: &Snapshot) {
        let catalog_end = IndexId(IndexId::CATALOG.0 + 1).0.to_be_bytes();
        for leaf in snapshot.leaves().take_while(|leaf| *leaf.separator < catalog_end[..]) {
            let mut bytes = vec![0; leaf.run as usize * PAGE];
            let offset = snapshot.offset_of(leaf.first_page);
            let read = snapshot.file().read_at(&mut bytes, offset);
            let whole = read.is_ok_and(|len| len == bytes.len())
                && snapshot.verify(leaf.first_page, &bytes).is_ok();
            let Some(view) = whole.then(|| leaf::check(&bytes).ok()).flatten() else { continue };
            for row in 0..view.rows() {
                let ((prefix, suffix), value) = view.row(row);
                let key = [prefix, suffix].concat();
                if matches!(index_of(&key), Some((IndexId::CATALOG, _))) {
                    self.learn_row(value);
                }
            }
        }
    }

    fn learn_row(&mut self, value: &[u8]) {
        let Ok(schema) = TableSchema::from_bytes(value) else { return };
        let table = schema.name.clone();
        self.0.insert(schema.primary_index, Owner { label: table.clone(), table: table.clone() });
        for index in &schema.indexes {
            let label = format!("{table}.{}", index.name);
            self.0.insert(index.id, Owner { table: table.clone(), label });
        }
    }
}

fn system(index: IndexId) -> &'static str {
    match index {
        IndexId::CATALOG => "(catalog)",
        IndexId::PREPARED => "(prepared)",
        IndexId::AUTO_INCREMENT => "(auto-increment)",
        IndexId::DECISIONS => "(decisions)",
        IndexId::PROPERTIES => "(properties)",
        _ => "(system)",
    }
}

//! Where the columns of a row lie: worked out once per version of a table, then looked up.

use crate::table::column_type::ColumnType;
use crate::table::schema::{ColumnId, TableSchema};

/// Where one column of a row is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the key: the so-manieth column of it.
    Key(u16),
    /// In the fixed part.
    Fixed {
        /// Bytes from the start of the row value.
        offset: u32,
        /// Its bit in the null bitmap, if it is nullable.
        null: Option<u16>,
    },
    /// In the variable part.
    Var {
        /// Its number among the columns of variable length.
        number: u16,
        /// Its bit in the null bitmap, if it is nullable.
        null: Option<u16>,
    },
    /// Not in rows of this version: the column is newer, or was dropped before.
    Absent,
}

/// A column that is stored in row values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) column: ColumnId,
    pub(crate) ty: ColumnType,
    pub(crate) null: Option<u16>,
}

/// The row layout of one version of a table.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// By column number, dropped columns included.
    places: Vec<Place>,
    /// Columns of fixed width, in the order of their bytes.
    pub(crate) fixed: Vec<Stored>,
    /// Columns of variable length, in the order of their bytes.
    pub(crate) var: Vec<Stored>,
    /// Bytes of the null bitmap.
    pub(crate) null_bytes: usize,
    /// Bytes before the offsets: version, null bitmap, fixed part.
    pub(crate) fixed_end: usize,
}

/// Bytes of the version that each row value starts with.
pub(crate) const VERSION_BYTES: usize = 2;

impl Layout {
    pub(crate) fn new(schema: &TableSchema, version: u16) -> Self {
        let primary = schema.primary.columns();
        let stored: Vec<_> = schema
            .numbered_columns()
            .filter(|(id, column)| column.lives_in(version) && !primary.contains(id))
            .collect();
        let nullable = stored.iter().filter(|(_, column)| column.nullable).count();
        let null_bytes = nullable.div_ceil(8);

        let mut layout = Self {
            places: vec![Place::Absent; schema.columns.len()],
            fixed: Vec::new(),
            var: Vec::new(),
            null_bytes,
            fixed_end: VERSION_BYTES + null_bytes,
        };
        for (number, id) in (0..).zip(primary) {
            layout.places[id.position()] = Place::Key(number);
        }
        let mut next_null = 0;
        for (column, described) in stored {
            let null = described.nullable.then_some(next_null);
            next_null += u16::from(described.nullable);
            layout.add(Stored { column, ty: described.ty, null });
        }
        layout
    }

    fn add(&mut self, stored: Stored) {
        let small = "a table has at most 4096 columns of at most 16 fixed bytes";
        let null = stored.null;
        let place = match stored.ty.fixed_width() {
            Some(width) => {
                let offset = u32::try_from(self.fixed_end).expect(small);
                self.fixed_end += width;
                self.fixed.push(stored);
                Place::Fixed { offset, null }
            }
            None => {
                let number = u16::try_from(self.var.len()).expect(small);
                self.var.push(stored);
                Place::Var { number, null }
            }
        };
        self.places[stored.column.position()] = place;
    }

    /// Where a column is.
    pub(crate) fn place(&self, column: ColumnId) -> Place {
        self.places.get(column.position()).copied().unwrap_or(Place::Absent)
    }
}

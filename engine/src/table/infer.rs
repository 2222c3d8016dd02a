//! Column types for data that comes without any, such as a CSV file: from the header and a
//! sample of its rows. The same sample always gives the same types.
//!
//! | all fields of a column that are not empty | type |
//! |---|---|
//! | integers without leading zeros | `bigint`; `bigint unsigned` if one is too large for it |
//! | plain numbers | `double`; `decimal(38,s)` if one has more than 15 digits |
//! | numbers, some with exponents | `double` |
//! | `2024-02-29` | `date` |
//! | `2024-02-29 23:59:59`, also with `T`; dates may be among them | `datetime`, `datetime(6)` with fractions |
//! | anything else, or nothing | `varchar(n)`, at least twice as long as the longest; `longtext` |
//!
//! A column with an empty field is nullable. Rows behind the sample may still not fit; that is
//! found when they are loaded, and is an error there.

use super::column_type::{ColumnType, IntSize, LobSize};
use super::schema::{ColumnNotes, NewColumn};
use super::value::{Date, DateTime, PRECISION_MAX, SCALE_MAX};

/// Digits that a double keeps exactly.
const DOUBLE_DIGITS: usize = 15;

/// Lengths of VARCHAR to choose from. Small ones are of no use, since an unused length costs
/// nothing; the largest is what four-byte characters leave of a row of MySQL.
const LENGTHS: [u32; 3] = [255, 1024, 16_383];

/// Whether a field means NULL: it is empty, or `\N` as in MySQL's files.
#[must_use]
pub fn is_null(field: &str) -> bool {
    field.is_empty() || field == "\\N"
}

/// Looks at a sample of rows and says what types their columns have.
#[derive(Clone, Debug)]
pub struct Inference {
    columns: Vec<Observed>,
}

impl Inference {
    /// Starts with the names of the columns. A column without a name is called `column_1` and so
    /// on, by its position.
    #[must_use]
    pub fn new<S: AsRef<str>>(header: &[S]) -> Self {
        let column = |(number, name): (usize, &S)| Observed {
            name: match name.as_ref().trim() {
                "" => format!("column_{number}"),
                name => name.to_owned(),
            },
            ..Observed::default()
        };
        Self { columns: (1..).zip(header).map(column).collect() }
    }

    /// Takes one row of the sample into account. Fields that it lacks count as empty; fields
    /// beyond the header are passed over: whoever loads the row refuses it.
    pub fn observe<S: AsRef<str>>(&mut self, row: &[S]) {
        for (number, column) in self.columns.iter_mut().enumerate() {
            column.observe(row.get(number).map_or("", AsRef::as_ref));
        }
    }

    /// The columns, in the order of the header.
    #[must_use]
    pub fn columns(&self) -> Vec<NewColumn> {
        self.columns.iter().map(Observed::column).collect()
    }
}

/// What the fields of a column have been so far.
#[derive(Clone, Debug, Default)]
struct Observed {
    name: String,
    empty: bool,
    /// How many fields were not empty, and how many of them were what.
    fields: u64,
    integers: u64,
    plain_numbers: u64,
    numbers: u64,
    dates: u64,
    moments: u64,
    negative: bool,
    beyond_bigint: bool,
    beyond_unsigned: bool,
    fraction_of_second: bool,
    digits: usize,
    whole_digits: usize,
    scale: usize,
    characters: usize,
}

impl Observed {
    fn observe(&mut self, field: &str) {
        if is_null(field) {
            self.empty = true;
            return;
        }
        self.fields += 1;
        self.characters = self.characters.max(field.chars().count());
        self.observe_number(field);
        self.dates += u64::from(is_iso_date(field));
        if !is_iso_date(field) && field.len() > 10 && DateTime::parse(field).is_some() {
            self.moments += u64::from(field.is_char_boundary(10) && is_iso_date(&field[..10]));
            self.fraction_of_second |= field.contains('.');
        }
    }

    fn observe_number(&mut self, field: &str) {
        let unsigned = field.strip_prefix('-').unwrap_or(field);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // 007 is a name, not a number: it would not come back as it was.
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        let plain = !whole.is_empty()
            && !leading_zero
            && all_digits(whole)
            && all_digits(fraction)
            && !unsigned.ends_with('.');
        if !plain {
            let starts = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
            let number = starts && !leading_zero && field.parse::<f64>().is_ok_and(f64::is_finite);
            self.numbers += u64::from(number);
            return;
        }
        self.numbers += 1;
        self.plain_numbers += 1;
        self.negative |= field.starts_with('-');
        self.digits = self.digits.max(whole.len() + fraction.len());
        self.whole_digits = self.whole_digits.max(whole.len());
        self.scale = self.scale.max(fraction.len());
        if !unsigned.contains('.') {
            self.integers += 1;
            self.beyond_bigint |= field.parse::<i64>().is_err();
            self.beyond_unsigned |= unsigned.parse::<u64>().is_err();
        }
    }

    fn column(&self) -> NewColumn {
        NewColumn {
            name: self.name.clone(),
            ty: self.ty(),
            nullable: self.empty || self.fields == 0,
            default: None,
            notes: ColumnNotes::default(),
        }
    }

    fn ty(&self) -> ColumnType {
        if self.fields == 0 {
            return self.text();
        }
        if self.integers == self.fields && !self.beyond_bigint {
            return ColumnType::Int { size: IntSize::Big, unsigned: false };
        }
        if self.integers == self.fields && !self.beyond_unsigned && !self.negative {
            return ColumnType::Int { size: IntSize::Big, unsigned: true };
        }
        if self.plain_numbers == self.fields && self.digits > DOUBLE_DIGITS {
            return self.decimal().unwrap_or_else(|| self.text());
        }
        if self.numbers == self.fields {
            return ColumnType::Double;
        }
        if self.dates == self.fields {
            return ColumnType::Date;
        }
        if self.moments > 0 && self.dates + self.moments == self.fields {
            return ColumnType::DateTime(if self.fraction_of_second { 6 } else { 0 });
        }
        self.text()
    }

    /// A decimal that holds all numbers exactly; `None` if there is none.
    fn decimal(&self) -> Option<ColumnType> {
        let scale = u8::try_from(self.scale).ok().filter(|scale| *scale <= SCALE_MAX)?;
        let fits = self.whole_digits + self.scale <= usize::from(PRECISION_MAX);
        fits.then_some(ColumnType::Decimal { precision: PRECISION_MAX, scale })
    }

    fn text(&self) -> ColumnType {
        let room = |length: &&u32| **length as usize >= 2 * self.characters;
        let length = LENGTHS.iter().find(room);
        length.map_or(ColumnType::Text(LobSize::Long), |length| ColumnType::VarChar(*length))
    }
}

/// Whether a field is a date in the one form that comes back as it was.
fn is_iso_date(field: &str) -> bool {
    let bytes = field.as_bytes();
    bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-' && Date::parse(field).is_some()
}

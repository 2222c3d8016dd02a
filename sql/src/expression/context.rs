//! What an expression sees of the world while it is evaluated: the moment, the session, the
//! parameters; and where its warnings go.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use resprout_engine::table::{ColumnId, DateTime, Value, ValueRef};

use super::error::Error;

/// Most warnings that are kept of one statement (MySQL's `max_error_count`); more are counted.
pub const WARNINGS_MAX: usize = 64;

/// Most bytes of a value that a function may make, unless a session has another
/// `max_allowed_packet`.
pub const PACKET_MAX: usize = 16 << 20;

/// Most places of `RAND(seed)` that keep their own sequence in one statement.
const SEQUENCES_MAX: usize = 1024;

/// A row that expressions read columns of.
pub trait Row {
    /// The value of a column.
    ///
    /// # Errors
    /// If the row cannot be read.
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, Error>;

    /// The value that an INSERT gave for a column: `VALUES(column)`. NULL outside of `ON
    /// DUPLICATE KEY UPDATE`.
    ///
    /// # Errors
    /// If the row cannot be read.
    fn inserted(&self, _column: ColumnId) -> Result<ValueRef<'_>, Error> {
        Ok(ValueRef::Null)
    }
}

/// No row: for expressions that name no column.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRow;

impl Row for NoRow {
    fn column(&self, _column: ColumnId) -> Result<ValueRef<'_>, Error> {
        Err(Error::Row("there is no row here".into()))
    }
}

impl Row for resprout_engine::table::RowView<'_> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, Error> {
        self.get(column).map_err(|damage| Error::Row(damage.to_string()))
    }
}

/// Values of all columns that ever were, by the number of the column.
impl Row for &[Value] {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, Error> {
        let value = self.get(column.position());
        let missing = || Error::Row(format!("the row has no column {column}"));
        value.map(Value::as_ref).ok_or_else(missing)
    }
}

/// Values of all columns that ever were, by the number of the column.
impl Row for Vec<Value> {
    fn column(&self, column: ColumnId) -> Result<ValueRef<'_>, Error> {
        let value = self.get(column.position());
        let missing = || Error::Row(format!("the row has no column {column}"));
        value.map(Value::as_ref).ok_or_else(missing)
    }
}

/// Which of a system variable's values is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableScope {
    /// `@@name`: the session's, or the global one if sessions have none.
    Any,
    /// `@@session.name`.
    Session,
    /// `@@global.name`.
    Global,
}

/// What expressions may ask of a session. Every answer has a default, so that tests and the
/// folding of constants need none.
pub trait Session {
    /// `DATABASE()`.
    fn database(&self) -> Option<String> {
        None
    }
    /// `USER()`: the name and host that the client came with.
    fn user(&self) -> String {
        String::new()
    }
    /// `CURRENT_USER()`: the account that it was taken for.
    fn current_user(&self) -> String {
        self.user()
    }
    /// `VERSION()`.
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }
    /// `CONNECTION_ID()`.
    fn connection_id(&self) -> u64 {
        0
    }
    /// `LAST_INSERT_ID()`.
    fn last_insert_id(&self) -> u64 {
        0
    }
    /// `LAST_INSERT_ID(number)`: what the next `LAST_INSERT_ID()` answers.
    fn set_last_insert_id(&self, _number: u64) {}
    /// `ROW_COUNT()`: rows that the last statement changed, -1 after one that changes none.
    fn row_count(&self) -> i64 {
        -1
    }
    /// `FOUND_ROWS()`.
    fn found_rows(&self) -> u64 {
        0
    }
    /// `@name`, in lower case; NULL if it was never set.
    fn user_variable(&self, _name: &str) -> Value {
        Value::Null
    }
    /// `@name := value`. How many there may be and how large is the session's to bound.
    fn set_user_variable(&self, _name: &str, _value: &Value) {}
    /// `@@name`, in lower case; `None` if there is none.
    fn system_variable(&self, _scope: VariableScope, _name: &str) -> Option<Value> {
        None
    }
}

/// A session that knows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSession;

impl Session for NoSession {}

/// What becomes of values that do not fit: `'12abc' + 1`, `1 / 0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A warning and the nearest value or NULL: what MySQL does in SELECT.
    #[default]
    Lenient,
    /// An error: what MySQL does in INSERT, UPDATE and DELETE in strict mode.
    Strict,
}

/// A warning as `SHOW WARNINGS` lists it, of the level `Warning`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// MySQL's number.
    pub code: u16,
    /// MySQL's text.
    pub text: String,
}

/// What one statement's expressions see while they are evaluated.
pub struct Context<'s> {
    /// Microseconds from 1970 to the start of the statement: `NOW()`, the same for all rows.
    pub now: i64,
    /// The session's zone, in seconds east of UTC. Zones with rules of their own (summer time)
    /// are not known; MySQL's default, the zone of the machine, is taken for UTC.
    pub zone: i32,
    /// The values of the parameters.
    pub parameters: &'s [Value],
    /// The session.
    pub session: &'s dyn Session,
    /// What becomes of values that do not fit.
    pub mode: Mode,
    /// Most bytes of a value that a function may make.
    pub max_packet: usize,
    warnings: RefCell<Vec<Warning>>,
    warning_count: Cell<u64>,
    random: Cell<Option<Sequence>>,
    sequences: RefCell<HashMap<usize, Sequence>>,
}

/// MySQL's generator of random numbers.
#[derive(Clone, Copy)]
struct Sequence(u64, u64);

impl Sequence {
    const LIMIT: u64 = 0x3FFF_FFFF;

    fn seeded(seed: u32) -> Self {
        let one = seed.wrapping_mul(0x1_0001).wrapping_add(55_555_555);
        let other = seed.wrapping_mul(0x1000_0001);
        Self(u64::from(one) % Self::LIMIT, u64::from(other) % Self::LIMIT)
    }

    fn next(&mut self) -> f64 {
        self.0 = (self.0 * 3 + self.1) % Self::LIMIT;
        self.1 = (self.0 + self.1 + 33) % Self::LIMIT;
        #[expect(clippy::cast_precision_loss, reason = "both have 30 bits")]
        let number = self.0 as f64 / Self::LIMIT as f64;
        number
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now)
            .field("zone", &self.zone)
            .field("parameters", &self.parameters)
            .field("mode", &self.mode)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl<'s> Context<'s> {
    /// For a statement that starts now, in UTC.
    #[must_use]
    pub fn new(session: &'s dyn Session, parameters: &'s [Value]) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            now: i64::try_from(since_1970.as_micros()).unwrap_or(0),
            zone: 0,
            parameters,
            session,
            mode: Mode::Lenient,
            max_packet: PACKET_MAX,
            warnings: RefCell::new(Vec::new()),
            warning_count: Cell::new(0),
            random: Cell::new(None),
            sequences: RefCell::new(HashMap::new()),
        }
    }

    /// The same for a statement that changes rows.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.mode = Mode::Strict;
        self
    }

    /// Adds a warning, such as one of storing a value.
    pub fn warn(&self, code: u16, text: String) {
        self.warning_count.set(self.warning_count.get() + 1);
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < WARNINGS_MAX {
            warnings.push(Warning { code, text });
        }
    }

    /// A warning with the error's number and text, or the error itself in strict mode.
    pub(super) fn complain(&self, error: Error) -> Result<(), Error> {
        if self.mode == Mode::Strict {
            return Err(error);
        }
        self.warn(error.mysql_code(), error.to_string());
        Ok(())
    }

    /// The warnings so far, at most [`WARNINGS_MAX`], taken out.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// How many warnings there were, kept or not.
    #[must_use]
    pub fn warning_count(&self) -> u64 {
        self.warning_count.get()
    }

    /// The start of the statement in the session's zone, or in UTC, to so many digits of a
    /// fraction of a second; digits beyond are cut off.
    pub(crate) fn moment(&self, fsp: u8, zone: bool) -> Option<DateTime> {
        let unit = 10_i64.pow(u32::from(6 - fsp.min(6)));
        let micros = self.now.div_euclid(unit) * unit;
        DateTime::from_micros(micros + if zone { self.zone_micros() } else { 0 })
    }

    /// A moment of the session's zone in UTC, as TIMESTAMP columns hold it.
    #[must_use]
    pub fn to_utc(&self, moment: DateTime) -> Option<DateTime> {
        DateTime::from_micros(moment.micros() - self.zone_micros())
    }

    /// A moment in UTC, as TIMESTAMP columns hold it, in the session's zone.
    #[must_use]
    pub fn from_utc(&self, moment: DateTime) -> Option<DateTime> {
        DateTime::from_micros(moment.micros() + self.zone_micros())
    }

    fn zone_micros(&self) -> i64 {
        i64::from(self.zone) * 1_000_000
    }

    /// `RAND()`.
    pub(super) fn random(&self) -> f64 {
        let start = || Sequence(random_number() >> 34, random_number() >> 34);
        let mut sequence = self.random.get().unwrap_or_else(start);
        let number = sequence.next();
        self.random.set(Some(sequence));
        number
    }

    /// `RAND(seed)` at a place of an expression: each place has its own sequence.
    pub(super) fn random_seeded(&self, place: usize, seed: u32) -> f64 {
        let mut sequences = self.sequences.borrow_mut();
        if sequences.len() >= SEQUENCES_MAX && !sequences.contains_key(&place) {
            return Sequence::seeded(seed).next();
        }
        sequences.entry(place).or_insert_with(|| Sequence::seeded(seed)).next()
    }
}

/// A number that nobody foresees, for the start of sequences and for UUIDs.
pub(super) fn random_number() -> u64 {
    RandomState::new().build_hasher().finish()
}

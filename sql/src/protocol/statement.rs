//! Prepared statements of one connection, and the values that an execution binds to them.
//!
//! ```text
//!   COM_STMT_EXECUTE:  flags u8 │ iterations u32 │ NULL bits │ types follow u8 │ types u16 each │ values
//! ```
//!
//! Types may be left out when they are those of the execution before; a value may be left out when
//! it came as long data. All that a client can make grow here has a limit: the number of
//! statements and the bytes of long data.

use std::collections::HashMap;

use bytes::BytesMut;

use super::column::WireType;
use super::value::{ParameterType, Value, read_binary};
use super::wire::{Malformed, Reader};
use crate::error::{Code, SqlError};

/// Most parameters of a statement: what the wire can count.
pub const PARAMETERS_MAX: usize = u16::MAX as usize;

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct StatementLimits {
    /// Statements that are open at once (MySQL 1461).
    pub statements: usize,
    /// Bytes of long data, over all statements.
    pub long_data_bytes: usize,
}

/// The statements of a connection, with what the server keeps of each.
#[derive(Debug)]
pub struct Statements<T> {
    open: HashMap<u32, Prepared<T>>,
    next: u32,
    limits: StatementLimits,
    long_data_bytes: usize,
}

/// A statement and its bindings.
#[derive(Debug)]
pub struct Prepared<T> {
    /// What the server keeps of it.
    pub statement: T,
    binding: Binding,
}

#[derive(Debug, Default)]
struct Binding {
    parameters: usize,
    types: Vec<ParameterType>,
    /// Long data, by parameter; few have any.
    long: Vec<(u16, BytesMut)>,
    /// Long data of the next execution was refused; it says so, as it is the first to answer.
    failed: Option<&'static str>,
}

/// An execution as asked for.
#[derive(Debug)]
pub struct Execution<'a, T> {
    /// The statement.
    pub statement: &'a mut T,
    /// Its values, one for each parameter.
    pub values: Vec<Value<'a>>,
    /// Whether the rows are to stay on the server (a cursor).
    pub wants_cursor: bool,
}

impl<T> Statements<T> {
    /// None yet.
    #[must_use]
    pub fn new(limits: StatementLimits) -> Self {
        Self { open: HashMap::new(), next: 1, limits, long_data_bytes: 0 }
    }

    /// Number of open statements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether another one may be prepared.
    ///
    /// # Errors
    /// 1461 if as many are open as allowed.
    pub fn check_room(&self) -> Result<(), SqlError> {
        if self.open.len() < self.limits.statements {
            return Ok(());
        }
        let text = format!(
            "Can't create more than max_prepared_stmt_count statements (current value: {})",
            self.limits.statements
        );
        Err(SqlError::new(Code::TOO_MANY_STATEMENTS, text))
    }

    /// Keeps a statement with so many parameters; gives its number.
    ///
    /// # Errors
    /// As [`Statements::check_room`], and if it has more parameters than can be counted.
    pub fn insert(&mut self, statement: T, parameters: usize) -> Result<u32, SqlError> {
        self.check_room()?;
        if parameters > PARAMETERS_MAX {
            return Err(SqlError::not_supported("more than 65535 parameters"));
        }
        // Numbers go round after 4 billion statements; those in use are passed over.
        while self.next == 0 || self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let binding = Binding { parameters, ..Binding::default() };
        self.open.insert(number, Prepared { statement, binding });
        Ok(number)
    }

    /// Forgets a statement. One that is not there is no error: there is no answer.
    pub fn close(&mut self, number: u32) {
        if let Some(mut closed) = self.open.remove(&number) {
            self.long_data_bytes -= closed.binding.forget_long_data();
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.open.clear();
        self.long_data_bytes = 0;
    }

    /// Forgets the long data of a statement.
    ///
    /// # Errors
    /// 1243 if there is no such statement.
    pub fn reset(&mut self, number: u32) -> Result<(), SqlError> {
        let Some(found) = self.open.get_mut(&number) else {
            return Err(unknown(number, "mysqld_stmt_reset"));
        };
        self.long_data_bytes -= found.binding.forget_long_data();
        Ok(())
    }

    /// Appends a part of a parameter. There is no answer, so what is wrong is said by the next
    /// execution.
    pub fn long_data(&mut self, number: u32, parameter: u16, data: &[u8]) {
        let Some(found) = self.open.get_mut(&number) else { return };
        let binding = &mut found.binding;
        if usize::from(parameter) >= binding.parameters {
            binding.failed = Some("Incorrect arguments to mysqld_stmt_send_long_data");
        } else if self.limits.long_data_bytes - self.long_data_bytes < data.len() {
            binding.failed = Some("Long data of parameters exceeds 'max_allowed_packet' bytes");
        } else {
            self.long_data_bytes += data.len();
            match binding.long.iter_mut().find(|(known, _)| *known == parameter) {
                Some((_, bytes)) => bytes.extend_from_slice(data),
                None => binding.long.push((parameter, data.into())),
            }
        }
    }

    /// Reads what an execution binds.
    ///
    /// # Errors
    /// 1243 if there is no such statement, 1210 if the values are not as the protocol demands.
    pub fn execution<'a>(
        &'a mut self,
        number: u32,
        rest: &'a [u8],
    ) -> Result<Execution<'a, T>, SqlError> {
        let Some(found) = self.open.get_mut(&number) else {
            return Err(unknown(number, "mysqld_stmt_execute"));
        };
        if let Some(text) = found.binding.failed {
            self.long_data_bytes -= found.binding.forget_long_data();
            return Err(SqlError::new(Code::WRONG_ARGUMENTS, text));
        }
        let (flags, values) = found.binding.read(rest).map_err(|malformed| {
            let text = format!("Incorrect arguments to mysqld_stmt_execute: {malformed}");
            SqlError::new(Code::WRONG_ARGUMENTS, text)
        })?;
        Ok(Execution { statement: &mut found.statement, values, wants_cursor: flags != 0 })
    }

    /// After an execution: long data counts once.
    pub fn executed(&mut self, number: u32) {
        if let Some(found) = self.open.get_mut(&number) {
            self.long_data_bytes -= found.binding.forget_long_data();
        }
    }

    /// Why rows cannot be fetched: cursors are never opened.
    #[must_use]
    pub fn fetch_error(&self, number: u32) -> SqlError {
        if !self.open.contains_key(&number) {
            return unknown(number, "mysqld_stmt_fetch");
        }
        SqlError::new(Code::NO_OPEN_CURSOR, format!("The statement ({number}) has no open cursor."))
    }
}

fn unknown(number: u32, command: &str) -> SqlError {
    let text = format!("Unknown prepared statement handler ({number}) given to {command}");
    SqlError::new(Code::UNKNOWN_STATEMENT, text)
}

impl Binding {
    /// Gives the number of bytes that were kept.
    fn forget_long_data(&mut self) -> usize {
        self.failed = None;
        self.long.drain(..).map(|(_, bytes)| bytes.len()).sum()
    }

    fn read<'a>(&'a mut self, rest: &'a [u8]) -> Result<(u8, Vec<Value<'a>>), Malformed> {
        let mut reader = Reader::new(rest);
        let flags = reader.u8()?;
        let _iterations = reader.u32()?;
        if self.parameters == 0 {
            return Ok((flags, Vec::new()));
        }
        let nulls = reader.bytes(self.parameters.div_ceil(8))?;
        if reader.u8()? == 1 {
            self.types = read_types(&mut reader, self.parameters)?;
        }
        if self.types.len() != self.parameters {
            return Err(Malformed("parameters without types"));
        }
        let mut values = Vec::with_capacity(self.parameters);
        for (number, of) in self.types.iter().enumerate() {
            let long = self.long.iter().find(|(known, _)| usize::from(*known) == number);
            values.push(match long {
                Some((_, bytes)) => Value::Bytes(bytes),
                None if nulls[number / 8] >> (number % 8) & 1 == 1 => Value::Null,
                None => read_binary(&mut reader, *of)?,
            });
        }
        Ok((flags, values))
    }
}

fn read_types(reader: &mut Reader<'_>, count: usize) -> Result<Vec<ParameterType>, Malformed> {
    let pairs = reader.bytes(count * 2)?.chunks_exact(2);
    pairs
        .map(|pair| {
            let known = WireType::from_number(pair[0]);
            let wire_type = known.ok_or(Malformed("a parameter of a type that is none"))?;
            Ok(ParameterType { wire_type, unsigned: pair[1] & 0x80 != 0 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: StatementLimits = StatementLimits { statements: 3, long_data_bytes: 10 };

    fn with_one(parameters: usize) -> Statements<&'static str> {
        let mut statements = Statements::new(LIMITS);
        assert_eq!(statements.insert("s", parameters).unwrap(), 1);
        statements
    }

    /// An execution with an INT 7, a NULL, and a string.
    const THREE: &[u8] = b"\0\x01\0\0\0\x02\x01\x03\0\x03\0\xfd\0\x07\0\0\0\x04lamp";

    /// Promise: values are read by their types; types may be left out the next time.
    #[test]
    fn values_are_read_by_their_types() {
        let mut statements = with_one(3);
        let expected = [Value::Int(7), Value::Null, Value::from("lamp")];
        assert_eq!(statements.execution(1, THREE).unwrap().values, expected);
        let again = b"\0\x01\0\0\0\x02\0\x08\0\0\0\x02ok";
        let found = statements.execution(1, again).unwrap();
        assert_eq!(found.values, [Value::Int(8), Value::Null, Value::from("ok")]);
        assert!(!found.wants_cursor);
    }

    /// Promise: long data takes the place of a value, once.
    #[test]
    fn long_data_takes_the_place_of_a_value() {
        let mut statements = with_one(1);
        statements.long_data(1, 0, b"two ");
        statements.long_data(1, 0, b"parts");
        let bound = b"\0\x01\0\0\0\0\x01\xfc\0";
        let values = statements.execution(1, bound).unwrap().values;
        assert_eq!(values, [Value::from("two parts")]);
        statements.executed(1);
        assert!(statements.execution(1, bound).is_err(), "the value is missing");
        statements.long_data(1, 0, b"0123456789");
        statements.reset(1).unwrap();
        statements.long_data(1, 0, b"9876543210");
        assert_eq!(statements.execution(1, bound).unwrap().values, [Value::from("9876543210")]);
    }

    /// Promise (K06): unknown numbers, wrong counts, missing types, floods of long data and of
    /// statements are errors with MySQL's numbers.
    #[test]
    fn k06_what_clients_get_wrong_is_an_error() {
        let mut statements = with_one(3);
        let code = |statements: &mut Statements<_>, number, bytes: &[u8]| {
            statements.execution(number, bytes).unwrap_err().code
        };
        assert_eq!(code(&mut statements, 9, THREE), Code::UNKNOWN_STATEMENT);
        let untyped = b"\0\x01\0\0\0\x02\0\x08\0\0\0\x02ok";
        assert_eq!(code(&mut statements, 1, untyped), Code::WRONG_ARGUMENTS);
        for len in 0..THREE.len() {
            assert_eq!(code(&mut statements, 1, &THREE[..len]), Code::WRONG_ARGUMENTS);
        }
        statements.long_data(1, 0, &[0; 11]);
        assert!(statements.execution(1, THREE).unwrap_err().text.contains("max_allowed_packet"));
        statements.long_data(1, 3, b"x");
        assert_eq!(code(&mut statements, 1, THREE), Code::WRONG_ARGUMENTS);
        assert!(statements.execution(1, THREE).is_ok(), "an error is told once");
        statements.insert("s", 0).unwrap();
        statements.insert("s", 0).unwrap();
        assert_eq!(statements.insert("s", 0).unwrap_err().code, Code::TOO_MANY_STATEMENTS);
        statements.close(1);
        assert!(statements.insert("s", 0).is_ok());
        assert_eq!(statements.fetch_error(1).code, Code::UNKNOWN_STATEMENT);
        assert_eq!(statements.fetch_error(2).code, Code::NO_OPEN_CURSOR);
    }

    proptest! {
        /// Promise (K06): any bytes are an execution or an error.
        #[test]
        fn k06_any_bytes_are_an_execution_or_an_error(bytes: Vec<u8>, parameters in 0_usize..20) {
            let mut statements = with_one(parameters);
            let _any_answer = statements.execution(1, &bytes);
        }
    }
}

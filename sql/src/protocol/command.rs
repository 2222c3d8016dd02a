//! What a client asks for once it is in: the first byte of a packet that begins an exchange.

use bytes::{Buf, Bytes};

use super::wire::{Malformed, Reader};

/// A request of a client. Texts are bytes as they came: who reads them says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// COM_QUIT: the client goes.
    Quit,
    /// COM_INIT_DB: uses a database.
    InitDb(Bytes),
    /// COM_QUERY: one statement or several.
    Query(Bytes),
    /// COM_FIELD_LIST: columns of a table whose names match a pattern.
    FieldList {
        /// Table.
        table: Bytes,
        /// Pattern; empty for all.
        pattern: Bytes,
    },
    /// COM_STATISTICS: a line about the server.
    Statistics,
    /// COM_PROCESS_KILL: ends another connection.
    Kill(u32),
    /// COM_PING: nothing but an answer.
    Ping,
    /// COM_CHANGE_USER: its payload; logging in again.
    ChangeUser(Bytes),
    /// COM_RESET_CONNECTION: the session as it was at first.
    ResetConnection,
    /// COM_SET_OPTION: several statements in one query, or not.
    SetMultiStatements(bool),
    /// COM_STMT_PREPARE.
    Prepare(Bytes),
    /// COM_STMT_EXECUTE.
    Execute {
        /// Number of the statement.
        statement: u32,
        /// The rest: flags, NULLs, types, values.
        rest: Bytes,
    },
    /// COM_STMT_SEND_LONG_DATA: part of a parameter. Has no answer.
    LongData {
        /// Number of the statement.
        statement: u32,
        /// Which parameter.
        parameter: u16,
        /// The part.
        data: Bytes,
    },
    /// COM_STMT_RESET: forgets long data.
    ResetStatement(u32),
    /// COM_STMT_CLOSE. Has no answer.
    CloseStatement(u32),
    /// COM_STMT_FETCH: rows of a cursor.
    Fetch(u32),
    /// Something else, which is refused (MySQL 1047).
    Unknown(u8),
}

impl Command {
    /// Reads a request. What stands behind it is ignored.
    ///
    /// # Errors
    /// If it is empty or cut off.
    pub fn decode(mut payload: Bytes) -> Result<Self, Malformed> {
        if payload.is_empty() {
            return Err(Malformed("a command without its first byte"));
        }
        let number = payload.get_u8();
        let mut reader = Reader::new(&payload);
        Ok(match number {
            0x01 => Self::Quit,
            0x02 => Self::InitDb(payload),
            0x03 => Self::Query(payload),
            0x04 => {
                let table = payload.slice_ref(reader.until_zero_or_end());
                Self::FieldList { table, pattern: payload.slice_ref(reader.rest()) }
            }
            0x09 => Self::Statistics,
            0x0C => Self::Kill(reader.u32()?),
            0x0E => Self::Ping,
            0x11 => Self::ChangeUser(payload),
            0x16 => Self::Prepare(payload),
            0x17 => {
                let statement = reader.u32()?;
                Self::Execute { statement, rest: payload.slice_ref(reader.rest()) }
            }
            0x18 => {
                let (statement, parameter) = (reader.u32()?, reader.u16()?);
                let data = payload.slice_ref(reader.rest());
                Self::LongData { statement, parameter, data }
            }
            0x19 => Self::CloseStatement(reader.u32()?),
            0x1A => Self::ResetStatement(reader.u32()?),
            0x1B => match reader.u16()? {
                0 => Self::SetMultiStatements(true),
                1 => Self::SetMultiStatements(false),
                _ => Self::Unknown(number),
            },
            0x1C => Self::Fetch(reader.u32()?),
            0x1F => Self::ResetConnection,
            other => Self::Unknown(other),
        })
    }

    /// What SHOW PROCESSLIST calls it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Quit => "Quit",
            Self::InitDb(_) => "Init DB",
            Self::Query(_) => "Query",
            Self::FieldList { .. } => "Field List",
            Self::Statistics => "Statistics",
            Self::Kill(_) => "Kill",
            Self::Ping => "Ping",
            Self::ChangeUser(_) => "Change user",
            Self::ResetConnection => "Reset connection",
            Self::SetMultiStatements(_) => "Set option",
            Self::Prepare(_) => "Prepare",
            Self::Execute { .. } => "Execute",
            Self::LongData { .. } => "Long Data",
            Self::ResetStatement(_) => "Reset stmt",
            Self::CloseStatement(_) => "Close stmt",
            Self::Fetch(_) => "Fetch",
            Self::Unknown(_) => "Error",
        }
    }

    /// Whether the client waits for an answer.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        !matches!(self, Self::Quit | Self::LongData { .. } | Self::CloseStatement(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &'static [u8]) -> Result<Command, Malformed> {
        Command::decode(Bytes::from_static(bytes))
    }

    /// Promise: each command of the protocol is known by its number, with its fields.
    #[test]
    fn commands_are_known_by_their_numbers() {
        let text = Bytes::from_static;
        for (bytes, expected) in [
            (&b"\x01"[..], Command::Quit),
            (b"\x02shop", Command::InitDb(text(b"shop"))),
            (b"\x03SELECT 1", Command::Query(text(b"SELECT 1"))),
            (b"\x04t\0a%", Command::FieldList { table: text(b"t"), pattern: text(b"a%") }),
            (b"\x09", Command::Statistics),
            (b"\x0c\x07\0\0\0", Command::Kill(7)),
            (b"\x0e", Command::Ping),
            (b"\x11x", Command::ChangeUser(text(b"x"))),
            (b"\x16SELECT ?", Command::Prepare(text(b"SELECT ?"))),
            (b"\x17\x01\0\0\0\0", Command::Execute { statement: 1, rest: text(b"\0") }),
            (
                b"\x18\x01\0\0\0\x02\0xy",
                Command::LongData { statement: 1, parameter: 2, data: text(b"xy") },
            ),
            (b"\x19\x01\0\0\0", Command::CloseStatement(1)),
            (b"\x1a\x01\0\0\0", Command::ResetStatement(1)),
            (b"\x1b\0\0", Command::SetMultiStatements(true)),
            (b"\x1b\x01\0", Command::SetMultiStatements(false)),
            (b"\x1b\x02\0", Command::Unknown(0x1B)),
            (b"\x1c\x01\0\0\0\x01\0\0\0", Command::Fetch(1)),
            (b"\x1f", Command::ResetConnection),
            (b"\x12", Command::Unknown(0x12)),
        ] {
            assert_eq!(decode(bytes), Ok(expected));
        }
    }

    /// Promise (K01): a command that is empty or cut off is an error.
    #[test]
    fn k01_cut_commands_are_errors() {
        for bytes in [&b""[..], b"\x0c\x07", b"\x17\x01", b"\x18\x01\0\0\0\x02", b"\x19", b"\x1b"] {
            assert!(decode(bytes).is_err());
        }
    }

    /// Promise (K17): what stands behind a command is ignored.
    #[test]
    fn k17_the_tail_of_a_command_is_ignored() {
        assert_eq!(decode(b"\x0etail"), Ok(Command::Ping));
        assert_eq!(decode(b"\x19\x01\0\0\0tail"), Ok(Command::CloseStatement(1)));
    }

    proptest! {
        /// Promise (K01): any bytes are a command or an error.
        #[test]
        fn k01_any_bytes_are_a_command_or_an_error(bytes: Vec<u8>) {
            let _any_answer = Command::decode(bytes.into());
        }
    }
}

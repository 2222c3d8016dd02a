//! Errors as clients see them: a number of MySQL's, its SQLSTATE and a text. All numbers that are
//! used stand in one table, [`CODES`], so that they can be found and corrected in one place.

use std::borrow::Cow;
use std::fmt;

/// Most bytes of a text on its way to a client (MySQL's own limit).
pub const TEXT_BYTES_MAX: usize = 512;

/// A number of MySQL's for what went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match entry(*self) {
            Some((_, name, ..)) => write!(f, "{name}({})", self.0),
            None => write!(f, "Code({})", self.0),
        }
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $state:literal, $text:literal;)*) => {
        impl Code {
            $(#[doc = concat!("`", $text, "`")]
            pub const $name: Self = Self($number);)*
        }

        /// Every code that is used: itself, its name, SQLSTATE, and the pattern of its text. In
        /// a pattern, words in brackets are filled in.
        pub const CODES: &[(Code, &str, &str, &str)] =
            &[$((Code::$name, stringify!($name), $state, $text)),*];
    };
}

codes! {
    DB_CREATE_EXISTS = 1007, "HY000", "Can't create database '<db>'; database exists";
    DB_DROP_EXISTS = 1008, "HY000", "Can't drop database '<db>'; database doesn't exist";
    DISK_FULL = 1021, "HY000", "Disk full (<path>); waiting for someone to free some space...";
    OUT_OF_MEMORY = 1037, "HY001", "Out of memory; restart server and try again (needed <n> bytes)";
    OUT_OF_SORT_MEMORY = 1038, "HY001", "Out of sort memory, consider increasing server sort buffer size";
    TOO_MANY_CONNECTIONS = 1040, "08004", "Too many connections";
    BAD_HANDSHAKE = 1043, "08S01", "Bad handshake";
    DB_ACCESS_DENIED = 1044, "42000", "Access denied for user '<user>'@'<host>' to database '<db>'";
    ACCESS_DENIED = 1045, "28000", "Access denied for user '<user>'@'<host>' (using password: <yes or no>)";
    NO_DB = 1046, "3D000", "No database selected";
    UNKNOWN_COMMAND = 1047, "08S01", "Unknown command";
    BAD_NULL = 1048, "23000", "Column '<column>' cannot be null";
    BAD_DB = 1049, "42000", "Unknown database '<db>'";
    TABLE_EXISTS = 1050, "42S01", "Table '<table>' already exists";
    BAD_TABLE = 1051, "42S02", "Unknown table '<table>'";
    AMBIGUOUS_COLUMN = 1052, "23000", "Column '<column>' in <clause> is ambiguous";
    SERVER_SHUTDOWN = 1053, "08S01", "Server shutdown in progress";
    BAD_FIELD = 1054, "42S22", "Unknown column '<column>' in '<clause>'";
    WRONG_FIELD_WITH_GROUP = 1055, "42000", "Expression #<n> of SELECT list is not in GROUP BY clause and contains nonaggregated column '<column>'";
    WRONG_GROUP_FIELD = 1056, "42000", "Can't group on '<column>'";
    TOO_LONG_IDENT = 1059, "42000", "Identifier name '<name>' is too long";
    DUP_FIELD_NAME = 1060, "42S21", "Duplicate column name '<column>'";
    DUP_KEY_NAME = 1061, "42000", "Duplicate key name '<key>'";
    DUP_ENTRY = 1062, "23000", "Duplicate entry '<values>' for key '<key>'";
    PARSE_ERROR = 1064, "42000", "<what> near '<text>' at line <n>";
    EMPTY_QUERY = 1065, "42000", "Query was empty";
    NONUNIQUE_TABLE = 1066, "42000", "Not unique table/alias: '<name>'";
    INVALID_DEFAULT = 1067, "42000", "Invalid default value for '<column>'";
    MULTIPLE_PRIMARY_KEY = 1068, "42000", "Multiple primary key defined";
    KEY_COLUMN_DOES_NOT_EXIST = 1072, "42000", "Key column '<column>' doesn't exist in table";
    CANT_DROP_FIELD_OR_KEY = 1091, "42000", "Can't DROP '<name>'; check that column/key exists";
    NO_SUCH_THREAD = 1094, "HY000", "Unknown thread id: <id>";
    KILL_DENIED = 1095, "HY000", "You are not owner of thread <id>";
    UNKNOWN_ERROR = 1105, "HY000", "Unknown error";
    UNKNOWN_TABLE = 1109, "42S02", "Unknown table '<table>' in <where>";
    INVALID_GROUP_FUNCTION = 1111, "HY000", "Invalid use of group function";
    PASSWORD_NO_MATCH = 1133, "42000", "Can't find any matching row in the user table";
    WRONG_VALUE_COUNT_ON_ROW = 1136, "21S01", "Column count doesn't match value count at row <n>";
    NONEXISTING_GRANT = 1141, "42000", "There is no such grant defined for user '<user>' on host '<host>'";
    TABLE_ACCESS_DENIED = 1142, "42000", "<command> command denied to user '<user>'@'<host>' for table '<table>'";
    ILLEGAL_GRANT_FOR_TABLE = 1144, "42000", "Illegal GRANT/REVOKE command; please consult the manual to see which privileges can be used";
    NO_SUCH_TABLE = 1146, "42S02", "Table '<db>.<table>' doesn't exist";
    NONEXISTING_TABLE_GRANT = 1147, "42000", "There is no such grant defined for user '<user>' on host '<host>' on table '<table>'";
    NOT_ALLOWED_COMMAND = 1148, "42000", "The used command is not allowed with this MySQL version";
    SYNTAX_ERROR = 1149, "42000", "You have an error in your SQL syntax; <what>";
    PACKET_TOO_LARGE = 1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes";
    NET_READ_ERROR = 1158, "08S01", "Got an error reading communication packets";
    NET_READ_INTERRUPTED = 1159, "08S01", "Got timeout reading communication packets";
    PACKETS_OUT_OF_ORDER = 1156, "08S01", "Got packets out of order";
    UNCOMPRESS_ERROR = 1157, "08S01", "Couldn't uncompress communication packet";
    NET_WRITE_INTERRUPTED = 1161, "08S01", "Got timeout writing communication packets";
    UNKNOWN_SYSTEM_VARIABLE = 1193, "HY000", "Unknown system variable '<name>'";
    TOO_MANY_USER_CONNECTIONS = 1203, "42000", "User <user> already has more than 'max_user_connections' active connections";
    LOCK_WAIT_TIMEOUT = 1205, "HY000", "Lock wait timeout exceeded; try restarting transaction";
    WRONG_ARGUMENTS = 1210, "HY000", "Incorrect arguments to <function>";
    LOCK_DEADLOCK = 1213, "40001", "Deadlock found when trying to get lock; try restarting transaction";
    CONNECT_TO_MASTER = 1218, "08S01", "Error connecting to master: <reason>";
    WRONG_USAGE = 1221, "HY000", "Incorrect usage of <what> and <what>";
    WRONG_NUMBER_OF_COLUMNS_IN_SELECT = 1222, "21000", "The used SELECT statements have a different number of columns";
    USER_LIMIT_REACHED = 1226, "42000", "User '<user>' has exceeded the '<resource>' resource (current value: <n>)";
    SPECIFIC_ACCESS_DENIED = 1227, "42000", "Access denied; you need (at least one of) the <privilege> privilege(s) for this operation";
    LOCAL_VARIABLE = 1228, "HY000", "Variable '<name>' is a SESSION variable and can't be used with SET GLOBAL";
    GLOBAL_VARIABLE = 1229, "HY000", "Variable '<name>' is a GLOBAL variable and should be set with SET GLOBAL";
    WRONG_VALUE_FOR_VARIABLE = 1231, "42000", "Variable '<name>' can't be set to the value of '<value>'";
    WRONG_TYPE_FOR_VARIABLE = 1232, "42000", "Incorrect argument type to variable '<name>'";
    NOT_SUPPORTED_YET = 1235, "42000", "This version of the server doesn't yet support '<feature>'";
    READ_ONLY_VARIABLE = 1238, "HY000", "Variable '<name>' is a read only variable";
    OPERAND_COLUMNS = 1241, "21000", "Operand should contain <n> column(s)";
    SUBQUERY_NO_1_ROW = 1242, "21000", "Subquery returns more than 1 row";
    UNKNOWN_STATEMENT = 1243, "HY000", "Unknown prepared statement handler (<id>) given to <command>";
    ILLEGAL_REFERENCE = 1247, "42S22", "Reference '<name>' not supported (<reason>)";
    DERIVED_MUST_HAVE_ALIAS = 1248, "42000", "Every derived table must have its own alias";
    AUTH_NOT_SUPPORTED = 1251, "08004", "Client does not support authentication protocol requested by server; consider upgrading MySQL client";
    DATA_OUT_OF_RANGE = 1264, "22003", "Out of range value for column '<column>' at row <n>";
    DATA_TRUNCATED = 1265, "01000", "Data truncated for column '<column>' at row <n>";
    REVOKE_GRANTS = 1269, "HY000", "Can't revoke all privileges for one or more of the requested users";
    INVALID_CHARACTER_STRING = 1300, "HY000", "Invalid utf8mb4 character string: '<bytes>'";
    QUERY_INTERRUPTED = 1317, "70100", "Query execution was interrupted";
    NO_DEFAULT_FOR_FIELD = 1364, "HY000", "Field '<column>' doesn't have a default value";
    TRUNCATED_WRONG_VALUE = 1366, "HY000", "Incorrect <type> value: '<value>' for column '<column>' at row <n>";
    CANNOT_USER = 1396, "HY000", "Operation <what> failed for <users>";
    DATA_TOO_LONG = 1406, "22001", "Data too long for column '<column>' at row <n>";
    CANT_CREATE_USER_WITH_GRANT = 1410, "42000", "You are not allowed to create a user with GRANT";
    TABLE_DEF_CHANGED = 1412, "HY000", "Table definition has changed, please retry transaction";
    NO_OPEN_CURSOR = 1421, "HY000", "The statement (<id>) has no open cursor.";
    TOO_MANY_STATEMENTS = 1461, "42000", "Can't create more than max_prepared_stmt_count statements (current value: <n>)";
    WRONG_STRING_LENGTH = 1470, "HY000", "String '<text>' is too long for <what> (should be no longer than <n>)";
    PLUGIN_IS_NOT_LOADED = 1524, "HY000", "Plugin '<name>' is not loaded";
    VARIABLE_IS_READ_ONLY = 1621, "HY000", "SESSION variable '<name>' is read-only. Use SET GLOBAL to assign the value";
    PARTITION_HAS_NO_MASTER = 1777, "HY000", "Partition <db>:<n> has no master instance.";
    PASSWORD_FORMAT = 1827, "HY000", "The password hash doesn't have the expected format.";
    MALFORMED_PACKET = 1835, "HY000", "Malformed communication packet.";
    ROLLED_BACK_TRANSACTION = 1857, "HY000", "An error in this transaction required closing a connection to a leaf";
    LEAF_CONNECT = 1735, "HY000", "Unable to connect to leaf <host>:<port>: <reason>";
    LEAF_EXISTS = 1736, "HY000", "Leaf <host>:<port> is already part of the cluster";
    LEAF_NOT_FOUND = 1737, "HY000", "Leaf <host>:<port> is not part of the cluster";
    NO_LEAVES = 1738, "HY000", "There are not enough online leaves for this operation";
    LEAF_STATE = 1772, "HY000", "Leaf <host>:<port> is in state <state>; expected <state>";
    NOT_MASTER_AGGREGATOR = 2033, "HY000", "Not the master";
    WRITE_TO_REPLICA = 2034, "HY000", "Can't write to replica";
    ATTACH_CONFLICT = 2035, "HY000", "Databases <list> on leaf <host>:<port> conflict with the cluster; use FORCE to ignore them";
    PARTITION_SAFETY = 2036, "HY000", "Leaf <host>:<port> has the last online instance of partition <db>:<n>";
    REBALANCE_RUNNING = 2037, "HY000", "A rebalance of database <db> is already running";
    ASYNC_REPLICATION_SYNC_DURABILITY = 2038, "HY000", "Synchronous durability cannot be combined with asynchronous replication";
    INTERNAL_DATABASE = 2625, "HY000", "Operation '<op>' can't be executed on internal database('<db>') utilized by SingleStore.";
    QUERY_TIMEOUT = 3024, "HY000", "Query execution was interrupted, maximum statement execution time exceeded";
    ACCOUNT_LOCKED = 3118, "HY000", "Access denied for user '<user>'@'<host>'. Account is locked.";
    USER_DOES_NOT_EXIST = 3162, "HY000", "Authorization ID <user> does not exist.";
    USER_ALREADY_EXISTS = 3163, "HY000", "Authorization ID <user> already exists.";
    SECURE_TRANSPORT_REQUIRED = 3159, "HY000", "Connections using insecure transport are prohibited while --require_secure_transport=ON.";
    NO_SECURE_TRANSPORTS_CONFIGURED = 3160, "HY000", "No secure transports (SSL or Shared Memory) are configured, unable to set --require_secure_transport=ON.";
    IDLE_TIMEOUT = 4031, "HY000", "The client was disconnected by the server because of inactivity. See wait_timeout and interactive_timeout for configuring this behavior.";
}

fn entry(code: Code) -> Option<&'static (Code, &'static str, &'static str, &'static str)> {
    CODES.iter().find(|(known, ..)| *known == code)
}

impl Code {
    /// Its SQLSTATE; `HY000`, the general error, for a code that is not in the table (one that
    /// came from another node, for example).
    #[must_use]
    pub fn sql_state(self) -> &'static str {
        entry(self).map_or("HY000", |(_, _, state, _)| state)
    }

    /// The pattern of its text.
    #[must_use]
    pub fn text(self) -> &'static str {
        entry(self).map_or("Unknown error", |(.., text)| text)
    }
}

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SqlError {
    /// The number.
    pub code: Code,
    /// The text, which names what it is about.
    pub text: Cow<'static, str>,
}

impl SqlError {
    /// With a text of its own.
    #[must_use]
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }

    /// With the text of the table, which must have nothing to fill in.
    #[must_use]
    pub fn plain(code: Code) -> Self {
        debug_assert!(!code.text().contains('<'), "{code:?} needs a text");
        Self::new(code, code.text())
    }

    /// Something is not supported (1235).
    #[must_use]
    pub fn not_supported(feature: &str) -> Self {
        let text = format!("This version of the server doesn't yet support '{feature}'");
        Self::new(Code::NOT_SUPPORTED_YET, text)
    }

    /// The text as it is sent: at most [`TEXT_BYTES_MAX`] bytes, cut between characters.
    #[must_use]
    pub fn sent_text(&self) -> &str {
        &self.text[..self.text.floor_char_boundary(TEXT_BYTES_MAX)]
    }
}

/// A statement or name as text.
///
/// # Errors
/// If it is not UTF-8: 1300, with the bytes from the first wrong one on.
pub fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let wrong = &bytes[error.valid_up_to()..];
        let shown: String = wrong.iter().take(6).map(|byte| format!("\\x{byte:02X}")).collect();
        let text = format!("Invalid utf8mb4 character string: '{shown}'");
        SqlError::new(Code::INVALID_CHARACTER_STRING, text)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Promise: no number stands for two things, and each has a SQLSTATE of five characters.
    #[test]
    fn codes_are_unique() {
        let numbers: BTreeSet<u16> = CODES.iter().map(|(code, ..)| code.0).collect();
        assert_eq!(numbers.len(), CODES.len());
        for (code, _, state, text) in CODES {
            assert_eq!(state.len(), 5, "{code:?}");
            assert!(!text.is_empty() && text.len() <= TEXT_BYTES_MAX);
        }
    }

    /// Promise: a code nobody listed is an error like any other, not a panic.
    #[test]
    fn unknown_codes_have_a_state() {
        assert_eq!(Code(2261).sql_state(), "HY000");
        assert_eq!(Code(65535).text(), "Unknown error");
    }

    /// Promise (K13): text that is not UTF-8 is refused and said where; long texts are cut between
    /// characters.
    #[test]
    fn k13_texts_are_utf8_and_bounded() {
        let error = utf8(b"SELECT '\xFF\xFE'").unwrap_err();
        assert_eq!(error.text, "Invalid utf8mb4 character string: '\\xFF\\xFE\\x27'");
        let long = SqlError::new(Code::UNKNOWN_ERROR, "ä".repeat(300) + "x");
        assert_eq!(long.sent_text().len(), TEXT_BYTES_MAX);
        let odd = SqlError::new(Code::UNKNOWN_ERROR, "x".to_owned() + &"ä".repeat(300));
        assert_eq!(odd.sent_text().len(), TEXT_BYTES_MAX - 1);
    }
}

//! How large a statement may be. Whoever sends one is not trusted: each limit stands for memory
//! or stack that a short text could otherwise claim.

/// Bytes of one text, possibly of several statements. The protocol has its own limit, the
/// variable `max_allowed_packet`; this one holds whoever calls.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// Tokens of one statement, the literal rows of an INSERT apart. One takes about a hundred bytes.
pub const TOKENS_MAX: usize = 250_000;

/// Values in the rows of one INSERT.
pub const VALUES_MAX: usize = 1 << 22;

/// Operators of one statement, the literal rows of an INSERT apart. `1+1+1…` is a tree as deep as
/// it is long, and whoever walks or frees it needs that much stack.
pub const OPERATORS_MAX: usize = 500;

/// Parentheses inside of each other.
pub const PARENTHESES_MAX: usize = 64;

/// Queries inside of each other. The parser tries what follows `FROM (` twice, and in nested ones
/// the tries multiply: 2 to the power of this is the worst.
pub const SUBQUERIES_MAX: u32 = 12;

/// Expressions, subqueries and joins inside of each other.
pub const RECURSION_MAX: usize = 100;

/// Steps of the expression parser for each token. It tries alternatives, and in nested ones the
/// tries multiply: honest statements need fewer than ten.
pub const STEPS_PER_TOKEN: usize = 100;

/// Parameters of one statement, as in MySQL.
pub const PARAMETERS_MAX: usize = 65_535;

/// Characters of the text that a syntax error shows, as in MySQL.
pub const NEAR_CHARACTERS_MAX: usize = 80;

/// Partitions that a database may be given; the engine has the last word.
pub const PARTITIONS_MAX: u32 = 65_535;

// A depth is also a bit of a word.
const _: () = assert!(PARENTHESES_MAX + 1 < 128);

//! ALTER TABLE.

use sqlparser::tokenizer::Token;

use super::charset;
use super::column::{ColumnDefinition, DefaultValue};
use super::create_table::shard_key;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::index::{KeyDefinition, algorithm, index_name};
use super::name::TableName;
use super::operand::Operand;
use super::table_options::TableOptions;

/// `ALTER TABLE t action, …`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// The table.
    pub table: TableName,
    /// What changes, in order.
    pub actions: Vec<AlterAction>,
}

/// Where a column comes to stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// Where it is; at the end if it is new.
    #[default]
    Unspecified,
    /// Before all others.
    First,
    /// Behind another.
    After(String),
}

/// One change of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    /// `ADD [COLUMN] …`; several for `ADD (…, …)`.
    AddColumn {
        /// The column.
        column: ColumnDefinition,
        /// Where.
        position: Position,
    },
    /// `DROP [COLUMN] c`.
    DropColumn(String),
    /// `RENAME COLUMN a TO b`.
    RenameColumn {
        /// The old name.
        from: String,
        /// The new one.
        to: String,
    },
    /// `MODIFY [COLUMN] c …`, `CHANGE [COLUMN] a b …`.
    ChangeColumn {
        /// Its present name.
        from: String,
        /// What it becomes, perhaps with another name.
        column: ColumnDefinition,
        /// Where.
        position: Position,
    },
    /// `ALTER [COLUMN] c {SET DEFAULT … | DROP DEFAULT}`.
    AlterDefault {
        /// The column.
        column: String,
        /// Its new default; none if it has none any more.
        default: Option<DefaultValue>,
    },
    /// `ADD {KEY | INDEX | UNIQUE | PRIMARY KEY} …`.
    AddKey(KeyDefinition),
    /// `DROP {KEY | INDEX} name`, `DROP PRIMARY KEY` under the name `PRIMARY`.
    DropKey(String),
    /// `RENAME {KEY | INDEX} a TO b`.
    RenameKey {
        /// The old name.
        from: String,
        /// The new one.
        to: String,
    },
    /// `RENAME [TO | AS] t`.
    Rename(TableName),
    /// `AUTO_INCREMENT = n`, `COMMENT = '…'`, `ENGINE = …` and others.
    Options(TableOptions),
    /// What MySQL does to stored rows and keys, and here needs nothing: `ENABLE KEYS`, `FORCE`,
    /// `CONVERT TO CHARACTER SET`, `ALGORITHM = …`.
    Nothing(&'static str),
}

impl AlterTable {
    /// What follows ALTER TABLE.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let table = TableName::parse(cursor)?;
        let mut actions = Vec::new();
        if cursor.at_end() {
            return Ok(Self { table, actions });
        }
        loop {
            action(cursor, &mut actions)?;
            if !cursor.symbol(&Token::Comma) {
                return Ok(Self { table, actions });
            }
        }
    }
}

fn action(cursor: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsing<()> {
    refuse(cursor)?;
    const STARTS: &[&str] = &[
        "ADD COLUMN",
        "ADD",
        "DROP COLUMN",
        "DROP PRIMARY KEY",
        "DROP KEY",
        "DROP INDEX",
        "DROP",
        "RENAME COLUMN",
        "RENAME KEY",
        "RENAME INDEX",
        "RENAME",
        "MODIFY COLUMN",
        "MODIFY",
        "CHANGE COLUMN",
        "CHANGE",
        "ALTER COLUMN",
        "ALTER",
        "DISABLE KEYS",
        "ENABLE KEYS",
        "FORCE",
        "CONVERT TO",
    ];
    let Some(start) = cursor.one_of(STARTS) else {
        if algorithm(cursor)? {
            actions.push(AlterAction::Nothing("ALGORITHM"));
            return Ok(());
        }
        let mut options = TableOptions::default();
        if !options.parse(cursor)? {
            return Err(cursor.unexpected());
        }
        actions.push(AlterAction::Options(options));
        return Ok(());
    };
    match start {
        "ADD COLUMN" => return add_columns(cursor, actions),
        "ADD" => return add(cursor, actions),
        _ => {}
    }
    actions.push(match start {
        "DROP COLUMN" | "DROP" => AlterAction::DropColumn(cursor.name()?),
        "DROP PRIMARY KEY" => AlterAction::DropKey("PRIMARY".to_owned()),
        "DROP KEY" | "DROP INDEX" => AlterAction::DropKey(index_name(cursor)?),
        "MODIFY COLUMN" | "MODIFY" => {
            let column = ColumnDefinition::parse(cursor)?;
            let (from, position) = (column.name.clone(), position(cursor)?);
            AlterAction::ChangeColumn { from, column, position }
        }
        "CHANGE COLUMN" | "CHANGE" => {
            let from = cursor.name()?;
            let column = ColumnDefinition::parse(cursor)?;
            AlterAction::ChangeColumn { from, column, position: position(cursor)? }
        }
        "ALTER COLUMN" | "ALTER" => alter_default(cursor)?,
        "DISABLE KEYS" => AlterAction::Nothing("DISABLE KEYS"),
        "ENABLE KEYS" => AlterAction::Nothing("ENABLE KEYS"),
        "FORCE" => AlterAction::Nothing("FORCE"),
        "CONVERT TO" => {
            while charset::option(cursor)? {}
            AlterAction::Nothing("CONVERT TO CHARACTER SET")
        }
        _ => rename(cursor, start)?,
    });
    Ok(())
}

fn rename(cursor: &mut Cursor<'_>, start: &str) -> Parsing<AlterAction> {
    if start == "RENAME" {
        let _optional = cursor.one_of(&["TO", "AS"]);
        return TableName::parse(cursor).map(AlterAction::Rename);
    }
    let from = cursor.name()?;
    cursor.expect_words("TO")?;
    let to = cursor.name()?;
    Ok(match start {
        "RENAME COLUMN" => AlterAction::RenameColumn { from, to },
        _ => AlterAction::RenameKey { from, to },
    })
}

/// What follows ADD: a key or columns.
fn add(cursor: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsing<()> {
    if shard_key(cursor)?.is_some() {
        return Err(ParseError::unsupported("a change of the SHARD KEY"));
    }
    match KeyDefinition::parse(cursor)? {
        Some(key) => actions.push(AlterAction::AddKey(key)),
        None => add_columns(cursor, actions)?,
    }
    Ok(())
}

fn add_columns(cursor: &mut Cursor<'_>, actions: &mut Vec<AlterAction>) -> Parsing<()> {
    if *cursor.peek() != Token::LParen {
        let column = ColumnDefinition::parse(cursor)?;
        actions.push(AlterAction::AddColumn { column, position: position(cursor)? });
        return Ok(());
    }
    let columns = cursor.in_parentheses(ColumnDefinition::parse)?;
    if columns.is_empty() {
        return Err(cursor.unexpected());
    }
    let position = Position::Unspecified;
    let add = |column| AlterAction::AddColumn { column, position: position.clone() };
    actions.extend(columns.into_iter().map(add));
    Ok(())
}

fn position(cursor: &mut Cursor<'_>) -> Parsing<Position> {
    Ok(match cursor.one_of(&["FIRST", "AFTER"]) {
        Some("FIRST") => Position::First,
        Some(_) => Position::After(cursor.name()?),
        None => Position::Unspecified,
    })
}

fn alter_default(cursor: &mut Cursor<'_>) -> Parsing<AlterAction> {
    let column = cursor.name()?;
    if cursor.words("DROP DEFAULT") {
        return Ok(AlterAction::AlterDefault { column, default: None });
    }
    cursor.expect_words("SET DEFAULT")?;
    match Operand::parse(cursor)? {
        Operand::Literal(value) => {
            let default = Some(DefaultValue::Literal(value));
            Ok(AlterAction::AlterDefault { column, default })
        }
        _ => Err(ParseError::unsupported("expressions as DEFAULT")),
    }
}

fn refuse(cursor: &Cursor<'_>) -> Parsing<()> {
    const REFUSED: &[(&str, &str)] = &[
        ("DROP FOREIGN KEY", "FOREIGN KEY"),
        ("DROP CHECK", "CHECK"),
        ("DROP CONSTRAINT", "DROP CONSTRAINT"),
        ("DROP SHARD KEY", "a change of the SHARD KEY"),
        ("ADD PARTITION", "PARTITION of tables"),
        ("DROP PARTITION", "PARTITION of tables"),
        ("TRUNCATE PARTITION", "PARTITION of tables"),
        ("REMOVE PARTITIONING", "PARTITION of tables"),
        ("DISCARD TABLESPACE", "TABLESPACE"),
        ("IMPORT TABLESPACE", "TABLESPACE"),
        ("ORDER BY", "ORDER BY of tables"),
        ("ALTER INDEX", "INVISIBLE indexes"),
    ];
    match REFUSED.iter().find(|(words, _)| cursor.are_words(words)) {
        Some((_, what)) => Err(ParseError::unsupported(*what)),
        None => Ok(()),
    }
}

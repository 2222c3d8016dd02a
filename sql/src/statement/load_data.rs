//! LOAD DATA.

use sqlparser::tokenizer::Token;

use super::change::ColumnValue;
use super::charset;
use super::cursor::{Cursor, Parsing};
use super::error::ParseError;
use super::name::TableName;

/// `LOAD DATA [LOCAL] INFILE 'file' …`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadData {
    /// The client sends the file; else it lies on the server.
    pub local: bool,
    /// The file.
    pub file: String,
    /// What happens to rows whose keys exist.
    pub duplicates: Duplicates,
    /// `SKIP {PARSER | ALL} ERRORS`, SingleStore's: also lines that make no rows are left out.
    pub skip_errors: bool,
    /// The table.
    pub table: TableName,
    /// The character set, in lower case.
    pub charset: Option<String>,
    /// How fields are set apart.
    pub fields: Fields,
    /// How lines are set apart.
    pub lines: Lines,
    /// `IGNORE n LINES`.
    pub ignored_lines: u64,
    /// Where each field goes; to all columns in order if empty.
    pub targets: Vec<FieldTarget>,
    /// `SET column = value, …`.
    pub set: Vec<ColumnValue>,
}

/// What happens to rows whose keys exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// An error, or with LOCAL as `Ignore`, because the client cannot be stopped.
    #[default]
    Unspecified,
    /// They take the place of the old ones.
    Replace,
    /// They are left out.
    Ignore,
}

/// How fields are set apart, by MySQL's defaults: tabs, backslashes, no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// What ends a field.
    pub terminated_by: String,
    /// The quote around fields.
    pub enclosed_by: Option<char>,
    /// Whether only text is quoted.
    pub optionally: bool,
    /// What takes the meaning from the next character.
    pub escaped_by: Option<char>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            terminated_by: "\t".to_owned(),
            enclosed_by: None,
            optionally: false,
            escaped_by: Some('\\'),
        }
    }
}

/// How lines are set apart, by MySQL's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// What begins a line; whatever comes before is passed over.
    pub starting_by: String,
    /// What ends a line.
    pub terminated_by: String,
}

impl Default for Lines {
    fn default() -> Self {
        Self { starting_by: String::new(), terminated_by: "\n".to_owned() }
    }
}

/// Where a field goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldTarget {
    /// Into a column.
    Column(String),
    /// Into a user variable, which SET may use. Its name without `@`, in lower case.
    Variable(String),
}

impl LoadData {
    /// What follows LOAD DATA.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let _optional = cursor.one_of(&["LOW_PRIORITY", "CONCURRENT"]);
        let local = cursor.word("LOCAL");
        cursor.expect_words("INFILE")?;
        let file = cursor.string()?;
        let (mut duplicates, mut skip_errors) = (Duplicates::default(), false);
        const POLICIES: &[&str] = &[
            "REPLACE",
            "IGNORE",
            "SKIP ALL ERRORS",
            "SKIP PARSER ERRORS",
            "SKIP DUPLICATE KEY ERRORS",
            "SKIP CONSTRAINT ERRORS",
        ];
        while let Some(policy) = cursor.one_of(POLICIES) {
            match policy {
                "REPLACE" => duplicates = Duplicates::Replace,
                "SKIP PARSER ERRORS" => skip_errors = true,
                "SKIP ALL ERRORS" => (duplicates, skip_errors) = (Duplicates::Ignore, true),
                _ => duplicates = Duplicates::Ignore,
            }
        }
        cursor.expect_words("INTO TABLE")?;
        let table = TableName::parse(cursor)?;
        if cursor.is_word("PARTITION") {
            return Err(ParseError::unsupported("PARTITION in LOAD DATA"));
        }
        let mut load = Self {
            local,
            file,
            duplicates,
            skip_errors,
            table,
            charset: None,
            fields: Fields::default(),
            lines: Lines::default(),
            ignored_lines: 0,
            targets: Vec::new(),
            set: Vec::new(),
        };
        load.format(cursor)?;
        load.targets(cursor)?;
        Ok(load)
    }

    fn format(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        if cursor.one_of(&["CHARACTER SET", "CHARSET"]).is_some() {
            self.charset = Some(charset::name(cursor)?);
        }
        if cursor.one_of(&["FIELDS", "COLUMNS"]).is_some() {
            self.fields.parse(cursor)?;
        }
        if cursor.word("LINES") {
            self.lines.parse(cursor)?;
        }
        if cursor.word("IGNORE") {
            self.ignored_lines = cursor.number()?;
            if cursor.one_of(&["LINES", "ROWS"]).is_none() {
                return Err(cursor.unexpected());
            }
        }
        Ok(())
    }

    fn targets(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        if *cursor.peek() == Token::LParen {
            self.targets = cursor.in_parentheses(FieldTarget::parse)?;
        }
        if cursor.word("SET") {
            let table = self.table.clone();
            self.set = cursor.list(|cursor| ColumnValue::parse(cursor, &table, None))?;
        }
        Ok(())
    }
}

impl Fields {
    fn parse(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        const CLAUSES: &[&str] =
            &["TERMINATED BY", "OPTIONALLY ENCLOSED BY", "ENCLOSED BY", "ESCAPED BY"];
        let mut any = false;
        while let Some(clause) = cursor.one_of(CLAUSES) {
            any = true;
            match clause {
                "TERMINATED BY" => self.terminated_by = cursor.string()?,
                "ESCAPED BY" => self.escaped_by = character(cursor)?,
                _ => {
                    self.enclosed_by = character(cursor)?;
                    self.optionally = clause.starts_with("OPTIONALLY");
                }
            }
        }
        if any { Ok(()) } else { Err(cursor.unexpected()) }
    }
}

impl Lines {
    fn parse(&mut self, cursor: &mut Cursor<'_>) -> Parsing<()> {
        let mut any = false;
        while let Some(clause) = cursor.one_of(&["STARTING BY", "TERMINATED BY"]) {
            any = true;
            let text = cursor.string()?;
            *(if clause == "STARTING BY" {
                &mut self.starting_by
            } else {
                &mut self.terminated_by
            }) = text;
        }
        if any { Ok(()) } else { Err(cursor.unexpected()) }
    }
}

impl FieldTarget {
    fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        match cursor.peek() {
            Token::Word(word) if word.value.starts_with('@') && !word.value.starts_with("@@") => {
                let name = word.value[1..].to_lowercase();
                cursor.advance();
                Ok(Self::Variable(name))
            }
            _ => cursor.name().map(Self::Column),
        }
    }
}

/// One character, or none for an empty string.
fn character(cursor: &mut Cursor<'_>) -> Parsing<Option<char>> {
    let text = cursor.string()?;
    let mut characters = text.chars();
    let first = characters.next();
    // MySQL 1083.
    if characters.next().is_some() { Err(ParseError::Argument("FIELDS")) } else { Ok(first) }
}

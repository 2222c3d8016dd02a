//! EXPLAIN.

use super::Statement;
use super::cluster::{self, ClusterStatement};
use super::cursor::{Cursor, Parsing};
use super::database::optional_equals;
use super::error::ParseError;
use super::parse;

/// `EXPLAIN [EXTENDED | ANALYZE] [FORMAT = …] statement`.
#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    /// `ANALYZE`: run it and say what happened.
    pub analyze: bool,
    /// `FORMAT = …`.
    pub format: ExplainFormat,
    /// What is explained.
    pub explained: Explained,
}

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub enum Explained {
    /// A query or a change of rows.
    Statement(Box<Statement>),
    /// The plan of a rebalance, of restored redundancy, or of orphans to be cleared; what a failover would do.
    Cluster(ClusterStatement),
}

/// How the explanation looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    /// As rows.
    #[default]
    Traditional,
    /// As JSON.
    Json,
    /// As a tree of text.
    Tree,
}

impl Explain {
    /// What follows EXPLAIN.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsing<Self> {
        let (mut analyze, mut format) = (false, ExplainFormat::default());
        loop {
            match cursor.one_of(&["EXTENDED", "PARTITIONS", "ANALYZE", "FORMAT", "JSON"]) {
                Some("ANALYZE") => analyze = true,
                Some("JSON") => format = ExplainFormat::Json,
                Some("FORMAT") => {
                    optional_equals(cursor);
                    format = named(cursor)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        if let Some(plan) = cluster::explained(cursor)? {
            if analyze {
                return Err(ParseError::unsupported("EXPLAIN ANALYZE of cluster statements"));
            }
            return Ok(Self { analyze, format, explained: Explained::Cluster(plan) });
        }
        let explainable = ["SELECT", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "VALUES"];
        let query = *cursor.peek() == sqlparser::tokenizer::Token::LParen;
        if cursor.is_word("FOR") {
            return Err(ParseError::unsupported("EXPLAIN FOR CONNECTION"));
        }
        if !query && !explainable.iter().any(|word| cursor.is_word(word)) {
            return Err(cursor.unexpected());
        }
        let statement = parse::statement(cursor, None)?;
        Ok(Self { analyze, format, explained: Explained::Statement(Box::new(statement)) })
    }

    /// Whether EXPLAIN has one of its own words next, rather than the name of a table.
    pub(super) fn is_next(cursor: &Cursor<'_>) -> bool {
        const STARTS: &[&str] = &[
            "EXTENDED",
            "PARTITIONS",
            "ANALYZE",
            "FORMAT",
            "JSON",
            "SELECT",
            "WITH",
            "INSERT",
            "REPLACE",
            "UPDATE",
            "DELETE",
            "VALUES",
            "FOR",
            "RESTORE REDUNDANCY",
            "REBALANCE PARTITIONS",
            "REBALANCE ALL",
            "CLEAR ORPHAN",
            "FAILOVER LEAF",
        ];
        let query = *cursor.peek() == sqlparser::tokenizer::Token::LParen;
        query || STARTS.iter().any(|words| cursor.are_words(words))
    }
}

fn named(cursor: &mut Cursor<'_>) -> Parsing<ExplainFormat> {
    let name = cursor.name_or_string()?;
    match name.to_ascii_uppercase().as_str() {
        "TRADITIONAL" => Ok(ExplainFormat::Traditional),
        "JSON" => Ok(ExplainFormat::Json),
        "TREE" => Ok(ExplainFormat::Tree),
        _ => Err(ParseError::unsupported(format!("EXPLAIN FORMAT={name}"))),
    }
}

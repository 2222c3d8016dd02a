//! SHOW CREATE TABLE reads back.

use resprout_sql::statement::show_create::show_create;
use resprout_sql::statement::{Statement, TableDefinition, parse};

use crate::golden::{file, read};

fn definition(text: &str) -> Option<TableDefinition> {
    match parse(text.as_bytes()).ok()?.statement {
        Statement::CreateTable(table) => table.definition().ok(),
        _ => None,
    }
}

/// Guards: the text of SHOW CREATE TABLE makes the same table, for all tables of the corpus.
#[test]
fn it_reads_back() {
    let mut tables = 0;
    for name in ["ddl.txt", "clients.txt"] {
        for block in read(&file(name)) {
            let Some(table) = definition(&block.statement) else { continue };
            let text = show_create(&table, table.auto_increment);
            let again = definition(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(again, table, "{text}");
            tables += 1;
        }
    }
    assert!(tables > 20, "{tables} tables were tried");
}

/// Guards: the text looks as MySQL's does.
#[test]
fn it_looks_as_mysqls() {
    let table = definition(
        "create table `od``d` (id bigint unsigned auto_increment, name varchar(20) default 'it''s', \
         at timestamp(3) null default current_timestamp(3) on update current_timestamp(3), \
         price decimal(8,2) not null default 1 comment 'in €', note text, bin binary(2) default 'ab', \
         primary key (id), key (name(5), at desc), unique key u (id, price), shard key (id)) \
         comment 'of things'",
    );
    let expected = "\
CREATE ROWSTORE TABLE `od``d` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT,
  `name` varchar(20) DEFAULT 'it''s',
  `at` timestamp(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  `price` decimal(8,2) NOT NULL DEFAULT '1.00' COMMENT 'in €',
  `note` text,
  `bin` binary(2) DEFAULT x'6162',
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`id`,`price`),
  KEY `name` (`name`,`at`),
  SHARD KEY (`id`)
) AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COMMENT='of things'";
    assert_eq!(show_create(&table.expect("a table"), Some(7)), expected);
}

/// Guards: what makes no table says why, with MySQL's number.
#[test]
fn what_makes_no_table() {
    let code = |text: &str| match parse(text.as_bytes()).expect(text).statement {
        Statement::CreateTable(table) => table.definition().map_err(|error| error.mysql_code()),
        other => panic!("{other:?}"),
    };
    let table = [
        ("create table t (a int, a int)", 1060),
        ("create table t (a int, b int, primary key (a), primary key (b))", 1068),
        ("create table t (a int primary key, b int primary key)", 1068),
        ("create table t (a int null primary key)", 1171),
        ("create table t (a int, key (b))", 1054),
        ("create table t (a text, key (a))", 1170),
        ("create table t (a text, key (a(10)))", 1170),
        ("create table t (a int default 'x')", 1067),
        ("create table t (a int not null default null)", 1067),
        ("create table t (a text default 'x')", 1101),
        ("create table t (a int auto_increment)", 1075),
        ("create table t (a int auto_increment key, b int auto_increment unique)", 1075),
        ("create table t (a int primary key, b int, shard key (b))", 1744),
        ("create table t (a int primary key, b int unique)", 1744),
        ("create table t (a int primary key, shard key ())", 1744),
        ("create reference table t (a int primary key, shard key (a))", 1064),
    ];
    for (text, expected) in table {
        assert_eq!(code(text), Err(expected), "{text}");
    }
    assert!(code("create reference table t (a int primary key, b int unique)").is_ok());
    assert!(code("create table t (a int, b int unique)").is_ok());
}

//! The sample data: customers and their orders, the same in every run.

use std::fmt::Write;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::DATABASE;

/// Rows of one INSERT.
const ROWS_OF_STATEMENT: u32 = 2000;

/// Orders of one customer, on average.
const ORDERS_OF_CUSTOMER: u32 = 20;

const FIRST_NAMES: [&str; 8] =
    ["Ada", "Alan", "Barbara", "Edsger", "Grace", "Leslie", "Tony", "Yukihiro"];
const LAST_NAMES: [&str; 7] =
    ["Cerf", "Hopper", "Knuth", "Lamport", "Liskov", "Lovelace", "Turing"];
const CITIES: [&str; 6] = ["Berlin", "Boston", "Lagos", "Lima", "Osaka", "Pune"];
const STATUSES: [&str; 4] = ["new", "paid", "shipped", "returned"];

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) rows: u32,
    pub(super) took: Duration,
}

/// Makes the database with its tables, if it is not there.
///
/// # Errors
/// What the node answered.
pub(super) async fn make(
    conn: &mut Conn,
    partitions: u32,
    orders: u32,
) -> Result<Option<Made>, Error> {
    let known: Vec<String> = conn.query("SHOW DATABASES").await?;
    if known.iter().any(|name| name == DATABASE) {
        return Ok(None);
    }
    let began = Instant::now();
    conn.query_drop(format!("CREATE DATABASE {DATABASE} PARTITIONS {partitions}")).await?;
    conn.query_drop(format!("USE {DATABASE}")).await?;
    conn.query_drop(
        "CREATE TABLE customers (id BIGINT PRIMARY KEY, name VARCHAR(64) NOT NULL, \
         city VARCHAR(32) NOT NULL, joined DATE NOT NULL, KEY (city))",
    )
    .await?;
    conn.query_drop(
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, \
         amount DECIMAL(10, 2) NOT NULL, status VARCHAR(16) NOT NULL, ordered DATETIME NOT NULL, \
         KEY (customer_id))",
    )
    .await?;
    let customers = orders.div_ceil(ORDERS_OF_CUSTOMER);
    fill(conn, "customers", customers, customer).await?;
    fill(conn, "orders", orders, |row, number| order(row, number, customers)).await?;
    Ok(Some(Made { rows: customers + orders, took: began.elapsed() }))
}

async fn fill(
    conn: &mut Conn,
    table: &str,
    rows: u32,
    mut row: impl FnMut(&mut String, u32),
) -> Result<(), Error> {
    let mut numbers = (1..=rows).peekable();
    while numbers.peek().is_some() {
        let mut statement = format!("INSERT INTO {table} VALUES ");
        for number in numbers.by_ref().take(ROWS_OF_STATEMENT as usize) {
            row(&mut statement, number);
            statement.push(',');
        }
        statement.pop();
        conn.query_drop(statement).await?;
    }
    Ok(())
}

/// Spreads numbers (splitmix64): what follows looks drawn, and is the same in every run.
fn mixed(number: u32) -> u64 {
    let mut z = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pick<'a>(from: &[&'a str], number: u64) -> &'a str {
    from[(number % from.len() as u64) as usize]
}

fn customer(out: &mut String, id: u32) {
    let drawn = mixed(id);
    let (first, last) = (pick(&FIRST_NAMES, drawn), pick(&LAST_NAMES, drawn >> 8));
    let city = pick(&CITIES, drawn >> 16);
    let (year, month, day) =
        (2015 + (drawn >> 24) % 10, 1 + (drawn >> 32) % 12, 1 + (drawn >> 40) % 28);
    // Writing to a String cannot fail.
    let _ = write!(out, "({id},'{first} {last}','{city}','{year}-{month:02}-{day:02}')");
}

fn order(out: &mut String, id: u32, customers: u32) {
    let drawn = mixed(id ^ 0x8000_0000);
    let customer = 1 + drawn % u64::from(customers);
    let (units, cents) = ((drawn >> 20) % 500, (drawn >> 30) % 100);
    let status = pick(&STATUSES, drawn >> 40);
    let (month, day) = (1 + (drawn >> 44) % 12, 1 + (drawn >> 48) % 28);
    let (hour, minute) = ((drawn >> 53) % 24, (drawn >> 58) % 60);
    let _ = write!(
        out,
        "({id},{customer},{units}.{cents:02},'{status}','2025-{month:02}-{day:02} {hour:02}:{minute:02}:00')"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: the sample data is the same in every run of every version.
    #[test]
    fn rows_are_always_the_same() {
        let mut text = String::new();
        customer(&mut text, 1);
        order(&mut text, 1, 10_000);
        assert_eq!(
            text,
            concat!(
                "(1,'Grace Liskov','Lima','2020-03-19')",
                "(1,5879,408.10,'new','2025-05-08 17:15:00')",
            )
        );
    }
}

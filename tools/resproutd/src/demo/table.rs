//! Rows in columns, for people.

use mysql_async::{Column, Row, Value};
use resprout_tools::output;

/// Longest value that is shown whole.
const WIDTH_MAX: usize = 60;

/// Prints a head and rows.
pub(super) fn print(columns: &[Column], rows: &[Row]) {
    for line in lines(columns, rows) {
        output::line(line);
    }
}

fn lines(columns: &[Column], rows: &[Row]) -> Vec<String> {
    let head: Vec<String> = columns.iter().map(|column| column.name_str().into_owned()).collect();
    let body: Vec<Vec<String>> = rows.iter().map(|row| cells(row, columns.len())).collect();
    let all = || std::iter::once(&head).chain(&body);
    let width = |at: usize| all().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let is_number: Vec<bool> =
        columns.iter().map(|column| column.column_type().is_numeric_type()).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            let cell =
                if is_number[at] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(if at == 0 { " " } else { " │ " });
            line.push_str(&cell);
        }
        line.trim_end().to_owned()
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    let mut lines = vec![line(&head), rule.join("┼")];
    lines.extend(body.iter().map(line));
    lines
}

fn cells(row: &Row, count: usize) -> Vec<String> {
    (0..count).map(|at| row.as_ref(at).map_or_else(String::new, cell)).collect()
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::NULL => return "NULL".into(),
        // The text protocol sends text.
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).replace(['\n', '\t', '\r'], " "),
        other => other.as_sql(true),
    };
    if text.chars().count() <= WIDTH_MAX {
        return text;
    }
    let mut cut: String = text.chars().take(WIDTH_MAX - 1).collect();
    cut.push('…');
    cut
}

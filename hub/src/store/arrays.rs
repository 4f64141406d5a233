//! Statements in PostgreSQL's words: a list is one array for each of its columns, so that any number of
//! rows has one text and one plan.

use std::fmt::Write as _;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::error::StoreError;
use super::sql::{Statement, Text, Value};

/// The text of a statement and its values. `may_lock`: rows that it reads may be held.
pub(super) fn spelled(statement: Statement, may_lock: bool) -> Result<(SqlStr, PgArguments), StoreError> {
    let Statement { text, values, locking, .. } = statement;
    let locking = locking.filter(|_| may_lock);
    let mut arguments = PgArguments::default();
    let text = match text {
        Text::Fixed(text) => {
            bind_each(&mut arguments, values)?;
            match locking {
                None => return Ok((text.into_sql_str(), arguments)),
                Some(_) => text.to_owned(),
            }
        }
        Text::Parts(text) => {
            bind_each(&mut arguments, values)?;
            text
        }
        Text::Rows(head, width, _, tail) => {
            let head = head.strip_suffix("VALUES").unwrap_or(head);
            let arrays = bind_columns(&mut arguments, width, values)?;
            format!("{head} SELECT * FROM unnest({arrays}) {tail}")
        }
        Text::List(head, _, tail) => {
            let head = head.strip_suffix("IN").unwrap_or(&head);
            let array = bind_columns(&mut arguments, 1, values)?;
            format!("{head} = ANY({array}) {tail}")
        }
    };
    let text = match locking {
        Some(table) => format!("{text} FOR NO KEY UPDATE OF {table}"),
        None => text,
    };
    // Put together from fixed parts only.
    Ok((AssertSqlSafe(text).into_sql_str(), arguments))
}

/// A value that the library refuses is a mistake of ours.
fn misfit(error: &(dyn std::error::Error + Send + Sync)) -> StoreError {
    StoreError::Other(error.to_string())
}

fn bind_each(arguments: &mut PgArguments, values: Vec<Value>) -> Result<(), StoreError> {
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Int(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(|error| misfit(error.as_ref()))?;
    }
    Ok(())
}

enum Column {
    Text(Vec<Option<String>>),
    Int(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

/// Binds rows as one array a column; answers the placeholders with their types, which the first row has.
fn bind_columns(arguments: &mut PgArguments, width: usize, values: Vec<Value>) -> Result<String, StoreError> {
    let count = values.len().checked_div(width).unwrap_or(0);
    let mut columns: Vec<Column> = Vec::with_capacity(width);
    for (n, value) in values.into_iter().enumerate() {
        if n < width {
            columns.push(match value {
                Value::Text(_) => Column::Text(Vec::with_capacity(count)),
                Value::Int(_) => Column::Int(Vec::with_capacity(count)),
                Value::Bytes(_) => Column::Bytes(Vec::with_capacity(count)),
            });
        }
        match (columns.get_mut(n % width.max(1)), value) {
            (Some(Column::Text(column)), Value::Text(text)) => column.push(text),
            (Some(Column::Int(column)), Value::Int(number)) => column.push(number),
            (Some(Column::Bytes(column)), Value::Bytes(bytes)) => column.push(bytes),
            _ => return Err(StoreError::Other("a column of a list has two types".to_owned())),
        }
    }
    let mut arrays = String::with_capacity(width * 14);
    for (n, column) in columns.into_iter().enumerate() {
        let (added, name) = match column {
            Column::Text(column) => (arguments.add(column), "text"),
            Column::Int(column) => (arguments.add(column), "bigint"),
            Column::Bytes(column) => (arguments.add(column), "bytea"),
        };
        added.map_err(|error| misfit(error.as_ref()))?;
        if n > 0 {
            arrays.push_str(", ");
        }
        let _ = write!(arrays, "${}::{name}[]", n + 1);
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use super::super::sql::{listed, parts, rows, sql};
    use super::*;

    fn text(statement: Statement, may_lock: bool) -> String {
        spelled(statement, may_lock).unwrap().0.as_str().to_owned()
    }

    #[test]
    fn any_number_of_rows_has_one_text() {
        let insert = |count: i64| {
            let values = (0..count).flat_map(|n| [Value::from("a"), n.into(), Vec::<u8>::new().into()]);
            rows("INSERT INTO x (a, b, c) VALUES", 3, values.collect(), "ON CONFLICT DO NOTHING")
        };
        let one = text(insert(1), true);
        assert_eq!(
            one,
            "INSERT INTO x (a, b, c)  SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) \
             ON CONFLICT DO NOTHING"
        );
        assert_eq!(one, text(insert(500), true));
        let list = listed(&["SELECT a FROM x WHERE a IN"], vec!["a".into(), "b".into()], "ORDER BY a");
        assert_eq!(text(list, true), "SELECT a FROM x WHERE a  = ANY($1::text[]) ORDER BY a");
    }

    #[test]
    fn rows_are_held_only_by_who_may_write() {
        let read = || sql("SELECT a FROM x").locking("x");
        assert_eq!(text(read(), false), "SELECT a FROM x");
        assert_eq!(text(read(), true), "SELECT a FROM x FOR NO KEY UPDATE OF x");
        let some = parts(&["SELECT a FROM x ", "LIMIT $1"]).bind(1_i64).locking("x SKIP LOCKED");
        assert_eq!(text(some, true), "SELECT a FROM x LIMIT $1 FOR NO KEY UPDATE OF x SKIP LOCKED");
    }

    #[test]
    fn a_column_has_one_type_also_where_values_are_missing() {
        let missing = vec![Value::Text(None), Value::Int(None), Value::from("a"), 5_i64.into()];
        assert!(text(rows("INSERT INTO x (a, b) VALUES", 2, missing, ""), true).contains("$2::bigint[]"));
        let mixed = rows("INSERT INTO x (a) VALUES", 1, vec!["a".into(), 5_i64.into()], "");
        assert!(matches!(spelled(mixed, true), Err(StoreError::Other(_))));
    }
}

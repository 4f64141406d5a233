//! SQLite with nothing around it: rows in one table, in transactions of a fixed size, every commit
//! synced.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _, SqliteConnection,
    TypeInfo as _, Value as _, ValueRef as _,
};

/// Opens a file with WAL and full syncs.
async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    options.synchronous(SqliteSynchronous::Full).foreign_keys(false).connect().await.expect("a file")
}

/// Opens a file of bare tables.
pub(crate) async fn bare(path: &Path) -> SqliteConnection {
    let mut file = open(path).await;
    for table in ["bus", "inbox", "messages", "log"] {
        let create =
            format!("CREATE TABLE IF NOT EXISTS {table} (n INTEGER PRIMARY KEY, key TEXT, payload TEXT)");
        file.execute(AssertSqlSafe(create)).await.expect("a table");
    }
    file
}

/// Inserts rows into `table` by one statement.
pub(crate) async fn insert(file: &mut SqliteConnection, table: &str, rows: &[(String, String)]) {
    let marks = vec!["(?, ?)"; rows.len()].join(", ");
    let text = format!("INSERT INTO {table} (key, payload) VALUES {marks}");
    let mut statement = sqlx::query(AssertSqlSafe(text));
    for (key, payload) in rows {
        statement = statement.bind(key).bind(payload);
    }
    statement.execute(file).await.expect("rows");
}

/// How many groups of rows a second, measured for `time` after `warm_up`: each transaction has `batch`
/// groups, each group one row with a key and the given payload in each of `tables`; a table may be
/// named more than once.
pub(crate) async fn groups_per_second(
    folder: &Path,
    tables: &[(&str, String)],
    batch: usize,
    warm_up: Duration,
    time: Duration,
) -> f64 {
    let mut file = bare(&folder.join("raw.db")).await;
    let (start, mut done, mut begun) = (Instant::now(), 0u64, 0u64);
    while start.elapsed() < warm_up + time {
        let mut tx = file.begin().await.expect("a transaction");
        for (table, payload) in tables {
            let rows: Vec<_> =
                (0..batch).map(|n| (format!("m|whatsapp:305|wamid.{done}.{n}"), payload.clone())).collect();
            insert(&mut tx, table, &rows).await;
        }
        tx.commit().await.expect("a commit");
        done += batch as u64;
        if start.elapsed() < warm_up {
            begun = done;
        }
    }
    super::load::rate(done - begun, start.elapsed().saturating_sub(warm_up))
}

/// A table of the product's as it was left: how it is made, and what is in it.
pub(crate) struct Table {
    name: &'static str,
    columns: usize,
    /// Statements that make it with its keys and indexes.
    schema: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

enum Cell {
    Null,
    Int(i64),
    Text(String),
}

impl Table {
    /// How many bytes a row has.
    pub(crate) fn row_bytes(&self) -> usize {
        let bytes = |cell: &Cell| match cell {
            Cell::Null => 0,
            Cell::Int(number) => number.to_string().len(),
            Cell::Text(text) => text.len(),
        };
        self.rows.iter().flatten().map(bytes).sum::<usize>() / self.rows.len().max(1)
    }
}

/// Reads tables out of a file.
pub(crate) async fn tables(path: &Path, names: &[&'static str]) -> Vec<Table> {
    let mut file = open(path).await;
    let mut tables = Vec::new();
    for name in names {
        let schema =
            sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND sql IS NOT NULL")
                .bind(*name)
                .fetch_all(&mut file)
                .await
                .expect("a schema");
        // The inbox is kept in the order of its keys; its rows were written in that of their messages.
        let order = if *name == "inbox" { "effect_id" } else { "rowid" };
        let text = format!("SELECT * FROM {name} ORDER BY {order}");
        let found = file.fetch_all(AssertSqlSafe(text)).await.expect("rows");
        let rows: Vec<Vec<Cell>> =
            found.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect();
        tables.push(Table { name, columns: rows.first().map_or(0, Vec::len), schema, rows });
    }
    tables
}

fn cell(row: &sqlx::sqlite::SqliteRow, at: usize) -> Cell {
    let value = row.try_get_raw(at).expect("a value").to_owned();
    let kind = value.type_info().name().to_owned();
    match kind.as_str() {
        // A missing value has the type of its column.
        _ if value.is_null() => Cell::Null,
        "INTEGER" => Cell::Int(value.decode()),
        _ => Cell::Text(value.decode()),
    }
}

/// How many rows a second go into each of these tables, keys and indexes and all, when they are merely
/// inserted: one statement a table and `batch` rows a transaction. As many as the shortest table has.
pub(crate) async fn copies_per_second(folder: &Path, tables: &[Table], batch: usize) -> f64 {
    let mut file = open(&folder.join("copy.db")).await;
    for text in tables.iter().flat_map(|table| &table.schema) {
        file.execute(AssertSqlSafe(text.clone())).await.expect("a table");
    }
    let batches = tables.iter().map(|table| table.rows.len() / batch).min().unwrap_or(0);
    let texts: Vec<String> = tables
        .iter()
        .map(|table| {
            let row = format!("({})", vec!["?"; table.columns].join(", "));
            format!("INSERT INTO {} VALUES {}", table.name, vec![row; batch].join(", "))
        })
        .collect();
    let start = Instant::now();
    for at in 0..batches {
        let mut tx = file.begin().await.expect("a transaction");
        for (table, text) in tables.iter().zip(&texts) {
            let mut statement = sqlx::query(AssertSqlSafe(text.clone()));
            for cell in table.rows[at * batch..(at + 1) * batch].iter().flatten() {
                statement = match cell {
                    Cell::Null => statement.bind(None::<i64>),
                    Cell::Int(number) => statement.bind(*number),
                    Cell::Text(text) => statement.bind(text),
                };
            }
            statement.execute(&mut *tx).await.expect("rows");
        }
        tx.commit().await.expect("a commit");
    }
    super::load::rate((batches * batch) as u64, start.elapsed())
}

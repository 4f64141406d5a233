//! SQLite with nothing around it: rows in one table, in transactions of a fixed size, every commit
//! synced.

use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};

/// Opens a file with WAL and full syncs.
pub(crate) async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::from_str("sqlite::memory:").expect("options").filename(path);
    let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut file = options.synchronous(SqliteSynchronous::Full).connect().await.expect("a file");
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

/// How many groups of rows a second: each transaction has `batch` groups, each group one row in each
/// of `tables` with the given key and payload.
pub(crate) async fn groups_per_second(
    folder: &Path,
    tables: &[(&str, &str)],
    batch: usize,
    time: Duration,
) -> f64 {
    let mut file = open(&folder.join("raw.db")).await;
    let (start, mut done) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        let mut tx = file.begin().await.expect("a transaction");
        for (table, payload) in tables {
            let rows: Vec<_> = (0..batch)
                .map(|n| (format!("m|whatsapp:305|wamid.{done}.{n}"), (*payload).to_owned()))
                .collect();
            insert(&mut tx, table, &rows).await;
        }
        tx.commit().await.expect("a commit");
        done += batch as u64;
    }
    super::load::rate(done, start.elapsed())
}

//! PostgreSQL with nothing around it: the very rows that the hub wrote, merely inserted, with the same
//! keys and indexes, every commit synced.

use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

/// The URL of a server on which a database may be made, as its superuser: the tests' own.
const SERVICE: &str = "LOKET_TEST_POSTGRES";

/// A database of one run, dropped by [`Database::gone`].
pub(crate) struct Database {
    server: String,
    name: String,
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a URL");
    options.options([("plan_cache_mode", "force_generic_plan")]).connect().await.expect("a connection")
}

impl Database {
    /// A fresh one; `None` where no server is named.
    pub(crate) async fn fresh(name: &str) -> Option<Self> {
        let server = std::env::var(SERVICE).ok().filter(|url| !url.is_empty())?;
        let database = Self { server, name: format!("loket_{name}") };
        let mut open = connect(&database.server).await;
        open.execute(AssertSqlSafe(format!("CREATE DATABASE {}", database.name))).await.expect("done");
        open.close().await.expect("closed");
        Some(database)
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        let (host, _) = self.server.rsplit_once('/').expect("a database's name");
        format!("{host}/{}", self.name)
    }

    /// One number that it is asked for.
    pub(crate) async fn number(&self, question: &'static str) -> i64 {
        let mut open = connect(&self.url()).await;
        let number = sqlx::query_scalar(question).fetch_one(&mut open).await.expect("a number");
        open.close().await.expect("closed");
        number
    }

    /// Drops it.
    pub(crate) async fn gone(self) {
        let mut open = connect(&self.server).await;
        let text = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        open.execute(AssertSqlSafe(text)).await.expect("done");
        open.close().await.expect("closed");
    }

    /// How many rows a second go into each of these tables when they are merely inserted: one statement a
    /// table and `batch` rows a transaction. As many as the shortest table has.
    pub(crate) async fn copies_per_second(&self, names: &[&str], batch: usize) -> f64 {
        let mut open = connect(&self.url()).await;
        let mut tables = Vec::new();
        for name in names {
            tables.push(Table::read(&mut open, name).await);
        }
        let batches = tables.iter().map(|table| table.rows / batch).min().unwrap_or(0);
        let start = Instant::now();
        for at in 0..batches {
            let mut tx = open.begin().await.expect("a transaction");
            for table in &tables {
                let mut statement = sqlx::query(AssertSqlSafe(table.insert.clone()));
                for column in &table.columns {
                    statement = statement.bind(&column[at * batch..(at + 1) * batch]);
                }
                statement.execute(&mut *tx).await.expect("rows");
            }
            tx.commit().await.expect("a commit");
        }
        let rate = super::load::rate((batches * batch) as u64, start.elapsed());
        open.close().await.expect("closed");
        rate
    }
}

/// A table of the product's as it was left, by columns, and the statement that fills its empty twin.
struct Table {
    insert: String,
    columns: Vec<Vec<Option<String>>>,
    rows: usize,
}

impl Table {
    async fn read(open: &mut PgConnection, name: &str) -> Self {
        let twin = format!("CREATE TABLE copy_{name} (LIKE {name} INCLUDING ALL)");
        open.execute(AssertSqlSafe(twin)).await.expect("a table");
        // A number that the server draws is drawn for the twin as well.
        let found = sqlx::query(
            "SELECT column_name::text AS name, data_type::text AS type FROM information_schema.columns \
             WHERE table_name = $1 AND is_identity = 'NO' ORDER BY ordinal_position",
        )
        .bind(name)
        .fetch_all(&mut *open)
        .await
        .expect("columns");
        let named: Vec<(String, String)> =
            found.iter().map(|row| (row.get("name"), row.get("type"))).collect();
        let list = |each: &dyn Fn(usize, &(String, String)) -> String| {
            named.iter().enumerate().map(|(n, column)| each(n, column)).collect::<Vec<_>>().join(", ")
        };
        let insert = format!(
            "INSERT INTO copy_{name} ({}) SELECT {} FROM unnest({}) AS u ({})",
            list(&|_, (name, _)| name.clone()),
            list(&|n, (_, kind)| format!("c{n}::{kind}")),
            list(&|n, _| format!("${}::text[]", n + 1)),
            list(&|n, _| format!("c{n}")),
        );
        let read =
            format!("SELECT {} FROM {name} ORDER BY ctid", list(&|_, (name, _)| format!("{name}::text")));
        let rows = open.fetch_all(AssertSqlSafe(read)).await.expect("rows");
        let columns = (0..named.len()).map(|at| rows.iter().map(|row| row.get(at)).collect()).collect();
        Self { insert, columns, rows: rows.len() }
    }
}

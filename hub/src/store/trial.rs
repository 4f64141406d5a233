//! Where the store of a test is: a file, or a database of its own on the server of the test run.
//!
//! Tests of the hub exist twice, once for each backend, by including their files a second time under a
//! name that ends in `on_postgres`; the name of the module tells which one is meant.

use std::path::PathBuf;

use loket_backbone::{random, trial};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// The URL of the server on which tests make their databases, as its superuser.
const SERVICE: &str = "LOKET_TEST_POSTGRES";
/// How often a database is tried to be made: two cannot be made of one model at the same moment.
const TRIES: usize = 100;

/// Which backend a test is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// A file.
    Sqlite,
    /// A server's database.
    Postgres,
}

impl On {
    /// By the name of the test's module.
    pub(crate) fn of(module: &str) -> Self {
        if module.contains("on_postgres") { Self::Postgres } else { Self::Sqlite }
    }
}

/// A place for one store, alone and empty, that is gone with this.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Home {
    /// A fresh one. Without a server the test is told as skipped, and tries a file once more.
    pub(crate) async fn fresh(on: On) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = match on {
            On::Sqlite => None,
            On::Postgres => Database::fresh().await,
        };
        Self { folder, database }
    }

    /// The store's URL.
    pub(crate) fn url(&self) -> String {
        match &self.database {
            Some(database) => database.url(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    /// A copy as it stands now, while nobody has it open.
    pub(crate) async fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = if let Some(database) = &self.database {
            Some(database.copy().await)
        } else {
            std::fs::copy(self.file(), folder.path().join("loket.db")).unwrap();
            None
        };
        Self { folder, database }
    }

    /// Does something to it by hand that its own rules would not let happen; answers how many rows it
    /// touched. Bytes are written as SQLite does it, `x'00'`.
    pub(crate) async fn damage(&self, text: &str) -> u64 {
        if let Some(database) = &self.database {
            let mut open = database.connect().await;
            open.execute("SET session_replication_role = replica").await.unwrap();
            let text = text.replace("x'00'", "'\\x00'");
            return open.execute(AssertSqlSafe(text)).await.unwrap().rows_affected();
        }
        let options = SqliteConnectOptions::new().filename(self.file()).foreign_keys(false);
        let mut open = options.disable_statement_logging().connect().await.unwrap();
        let done = open.execute(AssertSqlSafe(text.to_owned())).await.unwrap().rows_affected();
        open.close().await.unwrap();
        done
    }

    /// All that is kept, to look for something that must not be there.
    pub(crate) async fn contents(&self) -> String {
        let Some(database) = &self.database else {
            let files = ["loket.db", "loket.db-wal"].map(|name| std::fs::read(self.folder.path().join(name)));
            return files.map(|bytes| String::from_utf8_lossy(&bytes.unwrap()).into_owned()).concat();
        };
        let mut open = database.connect().await;
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
                .fetch_all(&mut open)
                .await
                .unwrap();
        let mut contents = String::new();
        for table in tables {
            let text = format!("SELECT COALESCE(string_agg(t::text, ' '), '') FROM \"{table}\" t");
            let rows: String = sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&mut open).await.unwrap();
            contents.push_str(&rows);
        }
        contents
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("loket.db")
    }
}

/// A database of one test.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// An empty one; `None` without a server.
    pub(crate) async fn fresh() -> Option<Self> {
        let server = trial::service(SERVICE)?;
        Some(Self::of(&server, "template1").await)
    }

    /// An empty one on a server of the test's own.
    pub(crate) async fn fresh_on(server: &str) -> Self {
        Self::of(server, "template1").await
    }

    async fn copy(&self) -> Self {
        Self::of(&self.server, &self.name).await
    }

    async fn of(server: &str, model: &str) -> Self {
        let database = Self { server: server.to_owned(), name: format!("loket_{}", random::hex::<8>()) };
        let text = format!("CREATE DATABASE {} TEMPLATE {model}", database.name);
        let mut open = connect(server).await;
        for _ in 0..TRIES {
            match open.execute(AssertSqlSafe(text.clone())).await {
                // Another test copies the model just now.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                made => {
                    made.unwrap();
                    break;
                }
            }
        }
        database
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        let (place, query) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (host, _) = place.rsplit_once('/').unwrap();
        format!("{host}/{}?{query}", self.name)
    }

    /// A connection to it, as the superuser and without limits.
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url()).await
    }
}

async fn connect(url: &str) -> PgConnection {
    let url = url.replace("durability=relaxed", "");
    let options: PgConnectOptions = url.trim_end_matches(['?', '&']).parse().unwrap();
    options.disable_statement_logging().connect().await.unwrap()
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, text) =
            (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // A test may end anywhere, also while it panics; the server itself is thrown away afterwards.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut open = connect(&server).await;
                let _ = open.execute(AssertSqlSafe(text)).await;
                let _ = open.close().await;
            });
        });
        let _ = dropped.join();
    }
}

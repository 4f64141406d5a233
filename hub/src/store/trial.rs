//! Where the store of a test is: a file, or a database of its own on the server of the test run.
//!
//! Tests of the hub exist twice, once for each backend, by including their files a second time under a
//! name that ends in `on_postgres`; the name of the module tells which one is meant.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use loket_backbone::{random, trial};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::dialect::postgres_migrator;

/// The URL of the server on which tests make their databases, as its superuser.
pub(crate) const SERVICE: &str = "LOKET_TEST_POSTGRES";
/// How long a server is asked to drop one: the test may have ended while it was not even there.
const DROP_WAIT: Duration = Duration::from_secs(10);
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

/// A place for one store, alone and empty.
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
            On::Postgres => Database::borrowed().await,
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

    /// Keeps what is there now, while nobody has it open.
    pub(crate) async fn keep(&self) {
        if let Some(database) = &self.database {
            let mut open = database.connect().await;
            run(&mut open, "DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept").await;
            for table in tables(&mut open).await {
                run(&mut open, &format!("CREATE TABLE kept.{table} AS TABLE public.{table}")).await;
            }
            run(
                &mut open,
                "CREATE TABLE kept.indexes AS SELECT indexname, indexdef FROM pg_indexes \
                 WHERE schemaname = 'public'",
            )
            .await;
        } else {
            std::fs::copy(self.file(), self.folder.path().join("kept.db")).unwrap();
        }
    }

    /// Makes everything as it was when it was kept.
    pub(crate) async fn restore(&self) {
        if let Some(database) = &self.database {
            let mut open = database.connect().await;
            run(&mut open, "SET session_replication_role = replica").await;
            for table in tables(&mut open).await {
                run(&mut open, &format!("DELETE FROM public.{table}")).await;
                run(
                    &mut open,
                    &format!("INSERT INTO public.{table} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{table}"),
                )
                .await;
            }
            let lost = "SELECT indexdef FROM kept.indexes WHERE indexname NOT IN \
                 (SELECT indexname FROM pg_indexes WHERE schemaname = 'public')";
            let lost: Vec<String> = sqlx::query_scalar(lost).fetch_all(&mut open).await.unwrap();
            for index in lost {
                run(&mut open, &index).await;
            }
        } else {
            for left in ["loket.db-wal", "loket.db-shm"] {
                let _ = std::fs::remove_file(self.folder.path().join(left));
            }
            std::fs::copy(self.folder.path().join("kept.db"), self.file()).unwrap();
        }
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
        let mut contents = String::new();
        for table in tables(&mut open).await {
            let text = format!("SELECT COALESCE(string_agg(t::text, ' '), '') FROM {table} t");
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
    /// Holds the right to use it. A made one is dropped; a borrowed one stays for the next test.
    borrowed: Option<PgConnection>,
}

impl Database {
    /// A new one with nothing in it, dropped in the end, which takes the server a while; `None` without a
    /// server.
    pub(crate) async fn made() -> Option<Self> {
        Some(Self::made_on(&trial::service(SERVICE)?).await)
    }

    /// The same on another server.
    pub(crate) async fn made_on(server: &str) -> Self {
        let (server, name) = (server.to_owned(), format!("loket_{}", random::hex::<8>()));
        make(&mut connect(&server).await, &name).await;
        Self { server, name, borrowed: None }
    }

    /// One with this version's schema and no rows; `None` without a server.
    pub(crate) async fn borrowed() -> Option<Self> {
        let server = trial::service(SERVICE)?;
        let migrator = postgres_migrator();
        let version: String = migrator
            .iter()
            .flat_map(|migration| migration.checksum.iter().take(4))
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let mut open = connect(&server).await;
        for number in 0.. {
            let name = format!("loket_{version}_{number}");
            let is = async |open: &mut PgConnection, question: &'static str| -> bool {
                sqlx::query_scalar(question).bind(&name).fetch_one(open).await.unwrap()
            };
            if !is(&mut open, "SELECT pg_try_advisory_lock(hashtext($1))").await {
                continue;
            }
            if !is(&mut open, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)").await {
                make(&mut open, &name).await;
            }
            let database = Self { server, name, borrowed: Some(open) };
            database.empty(&migrator).await;
            return Some(database);
        }
        None
    }

    async fn empty(&self, migrator: &Migrator) {
        let mut open = self.connect().await;
        migrator.run_direct(None, &mut open, false).await.unwrap();
        let mut text = "SET session_replication_role = replica; SET synchronous_commit = off; ".to_owned();
        for table in tables(&mut open).await {
            let _ = write!(text, "DELETE FROM {table}; ");
        }
        text.push_str("ALTER TABLE log ALTER row_id RESTART; ALTER TABLE audit ALTER row_id RESTART");
        run(&mut open, &text).await;
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

async fn make(open: &mut PgConnection, name: &str) {
    for _ in 0..TRIES {
        match open.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await {
            // Another test copies the model just now.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            made => {
                made.unwrap();
                return;
            }
        }
    }
    panic!("{name} could not be made");
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.trim_end_matches('?').parse().unwrap();
    options.disable_statement_logging().connect().await.unwrap()
}

async fn run(open: &mut PgConnection, text: &str) {
    open.execute(AssertSqlSafe(text.to_owned())).await.unwrap();
}

async fn tables(open: &mut PgConnection) -> Vec<String> {
    let text =
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_%'";
    sqlx::query_scalar(text).fetch_all(open).await.unwrap()
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.borrowed.is_some() {
            return;
        }
        let (server, text) =
            (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // A test may end anywhere, also while it panics; the server itself is thrown away afterwards.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(async {
                let dropped = async {
                    let mut open = connect(&server).await;
                    let _ = open.execute(AssertSqlSafe(text)).await;
                };
                tokio::time::timeout(DROP_WAIT, dropped).await
            });
        });
        let _ = dropped.join();
    }
}

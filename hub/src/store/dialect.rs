//! Where the backends part: the types of the schema, how a URL is read, how SQLite is opened.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _};
use tokio::sync::Mutex;

use super::error::StoreError;
use super::sql::{Ended, ROWS_MAX};

/// How long SQLite itself waits for another connection's lock (`reliability-contract` §12).
const BUSY: Duration = Duration::from_secs(5);
/// Connections that read.
const READERS: u32 = 4;
/// Pages of the write-ahead log before they are carried into the file: 16 MiB.
const WAL_PAGES: &str = "4096";
/// Prepared statements kept per connection: inserts of many rows have a text per number of rows.
const STATEMENTS: usize = 400;

/// Which backend a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server, by its URL.
    Postgres(String),
}

impl Location {
    /// Reads `sqlite:PATH` or `postgres://…`.
    pub(crate) fn of(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() || path == ":memory:" {
                    return Err(StoreError::Refused(
                        "it names no file: write it as sqlite:PATH, such as sqlite:data/loket.db".to_owned(),
                    ));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url.to_owned())),
            _ => Err(StoreError::Refused(
                "it must begin with sqlite:, such as sqlite:data/loket.db, or with postgres://".to_owned(),
            )),
        }
    }
}

/// An opened SQLite file: its writer, its readers, and the lock that keeps other processes out.
pub(crate) struct SqliteFile {
    pub(crate) writer: Arc<Mutex<Writer>>,
    pub(crate) readers: SqlitePool,
    /// For readers all of whose statements see the same moment.
    pub(crate) snapshots: SqlitePool,
    /// Held as long as the store is open; the system lets go of it when the process ends.
    pub(crate) _lock: File,
}

/// The one connection that writes. Whoever holds it has its turn.
pub(crate) struct Writer {
    /// None once the store is closed.
    options: Option<SqliteConnectOptions>,
    /// None after it broke: the file is opened anew, because a disk that failed once is not asked the
    /// same again (`reliability-contract` §1).
    open: Option<SqliteConnection>,
    /// A transaction was begun on it and not committed.
    unfinished: bool,
}

impl Writer {
    async fn connect(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut writer = Self { options: Some(options), open: None, unfinished: false };
        writer.make_ready().await?;
        Ok(writer)
    }

    /// Opens the file if need be, and takes back what a transaction left that was not committed.
    pub(super) async fn make_ready(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.unfinished)
            && let Some(open) = &mut self.open
            && !end_transaction(open).await.unwrap_or(false)
        {
            self.open = None;
        }
        if self.open.is_none() {
            let closed = || StoreError::Away("it is closed".to_owned());
            let mut open = self.options.as_ref().ok_or_else(closed)?.connect().await?;
            read_back(&mut open).await?;
            self.open = Some(open);
        }
        self.unfinished = true;
        Ok(())
    }

    /// The connection.
    pub(super) fn open(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.open.as_mut().ok_or_else(|| StoreError::Away("it is closed".to_owned()))
    }

    pub(super) fn has_ended(&mut self, how: Ended) {
        match how {
            Ended::Committed => self.unfinished = false,
            Ended::Broken => self.open = None,
        }
    }

    /// Closes it; it is not opened again.
    pub(super) async fn close(&mut self) {
        self.options = None;
        let Some(open) = self.open.take() else { return };
        if let Err(error) = open.close().await {
            tracing::warn!(%error, "the store's file did not close cleanly; it is repaired when it is opened");
        }
    }
}

/// Opens the file for this process alone, makes it when it is not there (0600, in a folder of
/// 0700), and reads back what durability rests on.
pub(crate) async fn open_sqlite(path: &Path) -> Result<SqliteFile, StoreError> {
    let lock = claim(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS)
        // Whole answers wait for whoever asked, so that the file's thread does not wait for them.
        .row_buffer_size(ROWS_MAX * 2)
        .pragma("cache_size", "-16384")
        // Pages that many commits touch are carried into the file once and not with each few commits.
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("temp_store", "MEMORY");
    let writer = Arc::new(Mutex::new(Writer::connect(options.clone()).await?));
    let reading = options.pragma("query_only", "ON").pragma("cache_size", "-4096");
    let readers = || {
        SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(super::POOL_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let snapshots =
        readers().after_release(|open, _| Box::pin(end_transaction(open))).connect_lazy_with(reading.clone());
    let readers = readers().connect_with(reading).await?;
    Ok(SqliteFile { writer, readers, snapshots, _lock: lock })
}

/// Takes back what a transaction left that was not committed. SQLite ends some by itself (a full disk,
/// a failed read), so that there may be none: transactions are begun and ended in plain SQL, because
/// the library's own count of them does not know of that and refuses the connection from then on.
async fn end_transaction(open: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    match open.execute("ROLLBACK").await {
        Ok(_) | Err(sqlx::Error::Database(_)) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// Both pragmas as the open file has them, not as we asked for them (`reliability-contract` §1).
async fn read_back(writer: &mut SqliteConnection) -> Result<(), StoreError> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *writer).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *writer).await?;
    if !journal.eq_ignore_ascii_case("wal") || synchronous != 2 {
        return Err(StoreError::Refused(format!(
            "the store's file runs with journal_mode={journal} and synchronous={synchronous}, which loses \
             what was acknowledged: put it on a local disk that allows WAL"
        )));
    }
    Ok(())
}

fn claim(path: &Path) -> Result<File, StoreError> {
    let refuse = |what: &str, at: &Path, error: &dyn std::fmt::Display| {
        StoreError::Refused(format!("cannot {what} {}: {error}", at.display()))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| refuse("make the folder", folder, &error))?;
    }
    let open = |path: &Path| {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
    };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock = open(&lock_path).map_err(|error| refuse("open", &lock_path, &error))?;
    match loket_backbone::disk::until_locked(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Refused(format!(
                "{} is open in another process; stop that one first",
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(refuse("lock", &lock_path, &error)),
    }
    let file = open(path).map_err(|error| refuse("open", path, &error))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|error| refuse("protect", path, &error))?;
    Ok(lock)
}

/// The schema, one entry a migration; never changed after a release, only added to.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "threads and log", include_str!("migrations/0001_threads_and_log.sql")),
    (3, "one thread per customer", include_str!("migrations/0003_one_thread_per_customer.sql")),
    (6, "control", include_str!("migrations/0006_control.sql")),
];

/// The schema in SQLite's words.
pub(crate) fn sqlite_migrator() -> Migrator {
    migrator(&[("{ROW_ID}", "INTEGER PRIMARY KEY"), ("{BYTES}", "BLOB"), ("{BY_KEY}", " WITHOUT ROWID")])
}

/// The schema in PostgreSQL's words. Text is compared byte by byte, as SQLite does it and as Rust does
/// it: whichever name is the greater one is so everywhere, and the server's language changes nothing.
pub(crate) fn postgres_migrator() -> Migrator {
    migrator(&[
        ("{ROW_ID}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        ("{BYTES}", "BYTEA"),
        ("{BY_KEY}", ""),
        (" TEXT", " TEXT COLLATE \"C\""),
    ])
}

fn migrator(words: &[(&str, &str)]) -> Migrator {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, name, text)| {
            let text =
                words.iter().fold((*text).to_owned(), |text, (ours, theirs)| text.replace(ours, theirs));
            Migration::new(
                *version,
                (*name).into(),
                MigrationType::Simple,
                AssertSqlSafe(text).into_sql_str(),
                false,
            )
        })
        .collect();
    Migrator::with_migrations(migrations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_is_refused_with_a_sentence() {
        assert_eq!(Location::of("sqlite:a/b.db").unwrap(), Location::Sqlite("a/b.db".into()));
        assert_eq!(Location::of("sqlite:///a/b.db").unwrap(), Location::Sqlite("/a/b.db".into()));
        assert_eq!(
            Location::of("postgres://h/db").unwrap(),
            Location::Postgres("postgres://h/db".to_owned())
        );
        assert!(matches!(Location::of("postgresql://h/db").unwrap(), Location::Postgres(_)));
        for (url, word) in [
            ("mysql://h/db", "must begin with sqlite:"),
            ("a.db", "must begin with sqlite:"),
            ("sqlite:", "names no file"),
            ("sqlite::memory:", "names no file"),
        ] {
            let refused = Location::of(url).unwrap_err().to_string();
            assert!(refused.contains(word), "{url}: {refused}");
        }
    }

    #[test]
    fn no_placeholder_is_left_in_the_schema() {
        for migrator in [sqlite_migrator(), postgres_migrator()] {
            for migration in migrator.iter() {
                assert!(!migration.sql.as_str().contains("{ROW_ID}"));
                assert!(!migration.sql.as_str().contains("{BY"));
            }
        }
    }
}

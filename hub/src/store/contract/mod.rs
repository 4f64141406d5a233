//! What every store promises: `reliability-contract` §9, clauses S1 to S11, one named test a clause and
//! backend. A backend joins with its [`Place`] and one line of [`store_contract!`].

use std::path::Path;

use loket_backbone::clock::Clock;

use super::Store;

mod clauses;
mod postgres;

use postgres::PostgresDatabase;

/// A place where a store of one backend can be opened, killed and filled up.
pub(super) trait Place: Sized {
    /// The name of its tests.
    const NAME: &str;

    /// A fresh one, alone; `None` when the test run has no such service, which it has said then.
    async fn fresh() -> Option<Self>;
    /// Its URL, good in the folder [`Self::folder`].
    fn url(&self) -> String;
    /// Where a second process has to run to find it.
    fn folder(&self) -> &Path;
    /// Lets no more than a little more data in; false, told as skipped, when the test run may not do that.
    async fn shrink(&mut self, store: &Store) -> bool;
    /// Takes that back.
    async fn grow(&self, store: &Store);
    /// Whether the backend finds its own data sound.
    async fn is_sound(&self, store: &Store) -> bool;
    /// Throws all away, runs the first `count` statements of the schema in a transaction and is cut off
    /// before its end. False when there are not so many.
    async fn migrate_in_part(&self, count: usize) -> bool;
    /// Makes the schema one of a version to come.
    async fn migrate_beyond(&self);

    /// Opens it.
    async fn open(&self) -> Store {
        Store::open(&self.url(), Clock::system()).await.unwrap()
    }
}

/// A SQLite file.
pub(super) struct SqliteFolder {
    folder: tempfile::TempDir,
}

impl SqliteFolder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions as _;
        let path = self.folder.path().join("loket.db");
        sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap()
    }
}

impl Place for SqliteFolder {
    const NAME: &str = "sqlite";

    async fn fresh() -> Option<Self> {
        Some(Self::new())
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("loket.db").display())
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn shrink(&mut self, store: &Store) -> bool {
        let mut tx = store.begin_for_worker().await.unwrap();
        let pages = super::sql("PRAGMA page_count").first(&mut tx).await.unwrap().unwrap();
        let pages = pages.int("page_count").unwrap();
        // A pragma takes no values; the text is of digits only.
        let text = format!("PRAGMA max_page_count = {}", pages + 20);
        super::sql(text.leak()).all(&mut tx).await.unwrap();
        true
    }

    async fn grow(&self, store: &Store) {
        let mut tx = store.begin_for_worker().await.unwrap();
        super::sql("PRAGMA max_page_count = 1073741823").all(&mut tx).await.unwrap();
    }

    async fn is_sound(&self, store: &Store) -> bool {
        let mut reader = store.read().await.unwrap();
        let row = super::sql("PRAGMA integrity_check").first(&mut reader).await.unwrap().unwrap();
        row.text("integrity_check").unwrap() == "ok"
    }

    async fn migrate_in_part(&self, count: usize) -> bool {
        use sqlx::{Connection as _, Executor as _};
        let migrator = super::dialect::sqlite_migrator();
        let Some(statements) = first_statements(&migrator, count) else { return false };
        for file in ["loket.db", "loket.db-wal", "loket.db-shm"] {
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
        let mut connection = self.connect().await;
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        for statement in &statements {
            connection.execute(sqlx::AssertSqlSafe(statement.clone())).await.unwrap();
        }
        // Closed without a commit, as by a process that ends.
        connection.close().await.unwrap();
        true
    }

    async fn migrate_beyond(&self) {
        use sqlx::Executor as _;
        let mut connection = self.connect().await;
        connection
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'to come', 1, x'00', 0)",
            )
            .await
            .unwrap();
    }
}

/// The first `count` statements of the schema; `None` when there are not so many.
fn first_statements(migrator: &sqlx::migrate::Migrator, count: usize) -> Option<Vec<String>> {
    let schema: String = migrator.iter().map(|migration| migration.sql.as_str()).collect();
    let statements: Vec<&str> = schema.split_inclusive(";\n").collect();
    Some(statements.get(..count)?.iter().map(|statement| (*statement).to_owned()).collect())
}

macro_rules! store_contract {
    ($name:ident, $place:ty) => {
        mod $name {
            use super::*;

            store_contract! { $place:
                s1_what_was_committed_survives_a_kill
                s2_what_was_rolled_back_leaves_nothing
                s3_unique_keys_hold_under_32_parallel_writers
                s4_thread_seq_has_no_gap_under_32_parallel_writers_and_rollbacks
                s5_the_sequencer_skips_nothing_and_is_one
                s6_of_32_parallel_claims_one_wins
                s7_strings_numbers_and_times_come_back_as_they_went_in
                s8_a_timeout_is_passing_and_does_nothing_in_part
                s9_a_full_disk_leaves_the_store_good
                s10_a_schema_of_a_later_version_is_refused
                s11_an_interrupted_migration_goes_on_or_back
            }

            /// The process that S1 kills; it runs when S1 starts it, and never by itself.
            #[test]
            #[ignore = "started and killed by s1"]
            fn the_killed() {
                clauses::run(clauses::commit_until_killed());
            }
        }
    };
    ($place:ty: $($clause:ident)+) => {$(
        #[test]
        fn $clause() {
            clauses::run(clauses::$clause::<$place>());
        }
    )+};
}

store_contract!(sqlite, SqliteFolder);
store_contract!(on_postgres, PostgresDatabase);

/// One process at a time: of SQLite files only, a server takes many.
#[test]
fn a_second_opening_of_the_same_file_is_refused_with_a_sentence() {
    clauses::run(async {
        let place = SqliteFolder::new();
        let store = place.open().await;
        let refused = Store::open(&place.url(), Clock::system()).await.err().unwrap().to_string();
        assert!(refused.contains("is open in another process"), "{refused}");
        store.close().await;
        drop(store);
        place.open().await.close().await;
    });
}

/// After a kill the log is numbered at once, not when the dead process's lease has run out.
#[test]
fn a_new_process_numbers_the_log_at_once() {
    clauses::run(async {
        let place = SqliteFolder::new();
        for holder in ["killed", "next"] {
            let store = place.open().await;
            let mut tx = store.begin().await.unwrap();
            let until = tx.now().plus_millis(60_000);
            assert!(super::sequencer::elect(&mut tx, holder, until).await.unwrap().is_some(), "{holder}");
            tx.commit().await.unwrap();
            store.close().await;
        }
    });
}

/// A file that is something else is refused by its name, and left as it is.
#[test]
fn a_file_that_is_no_store_is_refused_by_its_name() {
    clauses::run(async {
        let place = SqliteFolder::new();
        let path = place.folder().join("loket.db");
        let contents = "not a database, but long enough to be looked at ".repeat(40);
        std::fs::write(&path, &contents).unwrap();
        let refused = Store::open(&place.url(), Clock::system()).await.err().unwrap().to_string();
        assert!(refused.contains("loket.db is not a sound SQLite file"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);
    });
}

/// Nobody else on the machine may read what customers wrote.
#[test]
fn files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    clauses::run(async {
        let place = SqliteFolder::new();
        let folder = place.folder().join("deeper");
        let url = format!("sqlite:{}", folder.join("loket.db").display());
        let store = Store::open(&url, Clock::system()).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let mut files = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
            files += 1;
        }
        assert!(files >= 3, "the file, its log and its lock");
        store.close().await;
    });
}

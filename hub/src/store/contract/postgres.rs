//! A database of a PostgreSQL server as a place of the contract, and what only a server promises.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_backbone::trial::{self, Service};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::{Place, clauses, first_statements};
use crate::store::trial::{Database, SERVICE};
use crate::store::{Store, StoreError, dialect, sql};

/// A database of its own.
pub(super) struct PostgresDatabase {
    database: Database,
    folder: tempfile::TempDir,
    small: Option<SmallDisk>,
}

/// A file system of its own, small, on which some of the database lies.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn resize(&self, options: &str) -> bool {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0).status();
        mounted.is_ok_and(|status| status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl PostgresDatabase {
    async fn run(&self, text: &str) {
        let mut connection = self.database.connect().await;
        connection.execute(AssertSqlSafe(text.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn ask(&self, text: &'static str) -> String {
        let mut connection = self.database.connect().await;
        let answer = sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        answer
    }
}

impl Place for PostgresDatabase {
    const NAME: &str = "on_postgres";

    async fn fresh() -> Option<Self> {
        let database = Database::made().await?;
        Some(Self { database, folder: tempfile::tempdir().unwrap(), small: None })
    }

    fn url(&self) -> String {
        self.database.url()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The log moves to a file system that is nearly full.
    async fn shrink(&mut self, _: &Store) -> bool {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let directory = self.ask("SELECT current_setting('data_directory')").await;
        let disk = SmallDisk(self.folder.path().join("small"));
        std::fs::create_dir(&disk.0).unwrap();
        let owner = std::fs::metadata(&directory).map(|data| (data.uid(), data.gid()));
        let Ok((uid, gid)) = owner else {
            trial::skip("the server of this test runs on another machine: its disk cannot be filled");
            return false;
        };
        if !disk.resize(&format!("size=1m,mode=0700,uid={uid},gid={gid}")) {
            trial::skip(
                "mounting a small file system needs root: a full disk of PostgreSQL's cannot be made",
            );
            return false;
        }
        // The server's own user has to find the way.
        std::fs::set_permissions(self.folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let name =
            self.folder.path().file_name().unwrap().to_string_lossy().replace('.', "small_").to_lowercase();
        self.run(&format!("CREATE TABLESPACE {name} LOCATION '{}'", disk.0.display())).await;
        self.run(&format!("ALTER TABLE log SET TABLESPACE {name}")).await;
        self.small = Some(disk);
        true
    }

    async fn grow(&self, _: &Store) {
        assert!(self.small.as_ref().unwrap().resize("remount,size=64m"));
    }

    /// Every index is whole and knows every row.
    async fn is_sound(&self, _: &Store) -> bool {
        self.run("CREATE EXTENSION IF NOT EXISTS amcheck").await;
        let checked = self
            .ask(
                "SELECT CAST(COUNT(bt_index_check(i.indexrelid, true)) AS TEXT) FROM pg_index i \
                 JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace",
            )
            .await;
        checked.parse::<i64>().unwrap() > 30
    }

    async fn migrate_in_part(&self, count: usize) -> bool {
        let Some(statements) = first_statements(&dialect::postgres_migrator(), count) else { return false };
        let mut connection = self.database.connect().await;
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; BEGIN").await.unwrap();
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        // Closed without a commit, as by a process that ends.
        connection.close().await.unwrap();
        true
    }

    async fn migrate_beyond(&self) {
        self.run(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'to come', true, '\\x00', 0)",
        )
        .await;
    }
}

/// Waits until the store finds its server again, at most 20 s.
async fn back(store: &Store) {
    let back = async {
        let is_there = async || {
            let mut reader = store.read().await?;
            sql("SELECT 1 AS n").all(&mut reader).await?;
            store.begin().await.map(drop)
        };
        while is_there().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), back).await.is_ok(), "the store did not come back");
}

/// S1 with the server itself killed; the store goes on by itself when the server is back.
#[test]
fn what_was_committed_survives_a_kill_of_the_server() {
    clauses::run(async {
        let Some(server) = Service::start(SERVICE).await else { return };
        let database = Database::made_on(server.url()).await;
        let store = Store::open(&database.url(), Clock::system()).await.unwrap();
        let mut committed = 0;
        for round in 0..2 {
            let enough = async {
                while clauses::keys_of(&store).await < committed + 50 + round * 40 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                server.kill().await;
            };
            let ((more, error), ()) = tokio::join!(clauses::commit_until_refused(&store, round), enough);
            assert!(error.is_shared() || error.is_passing(), "nobody is to blame for it: {error:?}");
            server.start_again().await;
            back(&store).await;
            let kept = clauses::keys_of(&store).await;
            // The last one's commit may have happened, although nobody was told.
            assert!(
                (committed + more..=committed + more + 1).contains(&kept),
                "{more} more, and {kept} kept"
            );
            committed = kept;
        }
        store.close().await;
    });
}

/// S8 with a server that keeps its connections and answers nobody: a refusal in time, and nobody waits
/// for what was asked before once it answers again.
#[test]
fn a_server_that_answers_nobody_is_not_waited_for() {
    clauses::run(async {
        let Some(server) = Service::start(SERVICE).await else { return };
        let database = Database::made_on(server.url()).await;
        let store = Store::open(&database.url(), Clock::system()).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        server.freeze().await;
        let refused = tokio::time::timeout(Duration::from_secs(10), async {
            let error = sql("SELECT 1 AS n").all(&mut tx).await.err().unwrap();
            (error, store.begin().await.err().unwrap())
        });
        let (first, second) = refused.await.unwrap();
        assert!(first.is_passing() && (second.is_passing() || second.is_shared()), "{first:?}, {second:?}");
        drop(tx);
        server.thaw().await;
        back(&store).await;
        store.close().await;
    });
}

/// A server takes many processes, and each hears at once what the others have committed.
#[test]
fn processes_share_a_database_and_hear_of_each_other() {
    clauses::run(async {
        let Some(place) = PostgresDatabase::fresh().await else { return };
        let (here, there) = (place.open().await, place.open().await);
        let tasks = loket_backbone::tasks::Tasks::new();
        let (listening, stop) = (here.clone(), tasks.stop_sign());
        tasks.spawn("news", async move { listening.listen(stop).await });
        // Listening begins with a look, because of what was told before.
        here.grown().notified().await;
        here.outgoing().notified().await;
        clauses::append(&there).await;
        let heard = tokio::time::timeout(Duration::from_secs(5), here.grown().notified()).await;
        assert!(heard.is_ok(), "the other's commit was not heard");
        assert!(tasks.stop(Duration::from_secs(5)).await);
        here.close().await;
        there.close().await;
    });
}

/// Nothing is deposed by who comes later: the first may well be alive.
#[test]
fn a_second_process_leaves_the_sequencer_to_the_first() {
    clauses::run(async {
        let Some(place) = PostgresDatabase::fresh().await else { return };
        let first = place.open().await;
        let mut tx = first.begin().await.unwrap();
        let until = tx.now().plus_millis(60_000);
        assert!(crate::store::sequencer::elect(&mut tx, "first", until).await.unwrap().is_some());
        tx.commit().await.unwrap();
        let second = place.open().await;
        let mut tx = second.begin().await.unwrap();
        assert_eq!(crate::store::sequencer::elect(&mut tx, "second", until).await.unwrap(), None);
    });
}

/// The server ends what takes too long, and the connection goes on.
#[test]
fn a_statement_that_takes_too_long_is_ended_by_the_server() {
    clauses::run(async {
        let Some(place) = PostgresDatabase::fresh().await else { return };
        let store = place.open().await;
        let mut tx = store.begin().await.unwrap();
        let error = sql("SELECT CAST(pg_sleep(5) AS TEXT)").all(&mut tx).await.err().unwrap();
        assert!(
            matches!(&error, StoreError::Passing(words) if words.contains("statement timeout")),
            "{error:?}"
        );
        // A commit would be answered with a rollback.
        let refused = tx.commit().await.err().unwrap();
        assert!(matches!(refused, StoreError::Other(_)), "{refused:?}");
    });
}

/// What is acknowledged must be durable.
#[test]
fn settings_that_lose_are_refused_unless_that_is_wanted() {
    clauses::run(async {
        let Some(place) = PostgresDatabase::fresh().await else { return };
        let name = place.ask("SELECT current_database()::text").await;
        place.run(&format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
        let refused = Store::open(&place.url(), Clock::system()).await.err().unwrap().to_string();
        assert!(
            refused.contains("synchronous_commit=off") && refused.contains("durability=relaxed"),
            "{refused}"
        );
        let separator = if place.url().contains('?') { "&" } else { "?" };
        let relaxed = format!("{}{separator}durability=relaxed", place.url());
        Store::open(&relaxed, Clock::system()).await.unwrap().close().await;
    });
}

/// A database that is not there, a server that is not there: a sentence, and no password in it.
#[test]
fn what_cannot_be_opened_is_said_in_a_sentence() {
    clauses::run(async {
        let Some(place) = PostgresDatabase::fresh().await else { return };
        let nowhere = place.url().replace("loket_", "nowhere_");
        let refused = Store::open(&nowhere, Clock::system()).await.err().unwrap().to_string();
        assert!(refused.contains("cannot be opened") && refused.contains("nowhere_"), "{refused}");
    });
}

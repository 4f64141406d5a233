//! PostgreSQL: how it is opened, what is checked first, and a connection with what is known of it.
//!
//! Three pools, so that nobody waits for what another sort of work holds: the hub's workers, callers of
//! the API who write, and whoever reads. All limits of time are set on the server as well, so that it
//! lets go of locks when this process has forgotten about them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, TryStreamExt as _};
use loket_backbone::failpoint;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, Either, Executor as _};

use super::arrays::spelled;
use super::error::StoreError;
use super::news::News;
use super::sql::{Row, STATEMENT_DEADLINE, Statement, Told, took_too_long};

/// Connections of the hub's workers: one for each kind of work that may be under way.
const WORKERS: u32 = 8;
/// Connections of callers who write.
const CALLERS: u32 = 8;
/// Connections that read.
const READERS: u32 = 8;
/// How long the server itself lets a statement run (`reliability-contract` §12).
const STATEMENT_MS: u64 = 2_000;
/// How long a statement waits for a lock.
const LOCK_MS: u64 = 1_000;
/// How long a transaction may stand idle before the server ends it: longer than an item may take.
const IDLE_TRANSACTION_MS: u64 = 10_000;
/// The same for one that only reads: `verify` judges rows between its statements.
const IDLE_READER_MS: u64 = 60_000;
/// How long a check over whole tables may take.
const PATIENT_MS: u64 = 600_000;
/// How much longer than the server we wait for a statement, so that the server is the one who ends it.
const GRACE: Duration = Duration::from_millis(500);
/// How long we wait for a commit. After that nobody knows whether it happened, and the connection is
/// given up; what is done again finds its keys.
const COMMIT_WAIT: Duration = Duration::from_secs(10);
/// How long a server that does not answer yet is waited for at the start.
const START_WAIT: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const START_RETRY: Duration = Duration::from_millis(250);
/// A connection that stood idle so long is asked whether it is still there before it is used.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// How long a connection may take to come back to its pool.
const RETURN_WAIT: Duration = Duration::from_secs(1);
/// How long migrations wait for those of another process.
const MIGRATION_LOCK_MS: u64 = 30_000;

/// How to write the location of a store on PostgreSQL.
const FORM: &str = "write it as postgres://USER:PASSWORD@HOST/DATABASE";

/// A PostgreSQL server's database, as `store.url` names it.
pub(super) struct Address {
    options: PgConnectOptions,
    /// Settings of the server that lose what was acknowledged are accepted.
    relaxed: bool,
    /// What is shown of it: no password.
    shown: String,
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=…`. Beyond what the protocol's URLs may
    /// say there are `durability=relaxed` and `allow_plaintext=true`. Another host is reached with TLS
    /// whose certificate is verified, or not at all (`security` S6).
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut relaxed, mut plaintext) = (false, false);
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part {
                "durability=relaxed" => relaxed = true,
                "allow_plaintext=true" => plaintext = true,
                other => kept.push(other),
            }
        }
        let url = if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) };
        let unreadable =
            |error: sqlx::Error| StoreError::Refused(format!("it cannot be read ({error}); {FORM}"));
        let options: PgConnectOptions = url.parse().map_err(unreadable)?;
        let host = options.get_host().to_owned();
        let here = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull | PgSslMode::VerifyCa);
        if !here && !verified && !plaintext {
            return Err(StoreError::Refused(format!(
                "what customers wrote would travel to {host} for others to read: add sslmode=verify-full to it \
                 (and sslrootcert=FILE for an authority of your own), or allow_plaintext=true where the network \
                 itself is private"
            )));
        }
        let shown = format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default());
        Ok(Self { options, relaxed, shown })
    }

    /// For the work of one pool. Plans are made once for any values: each statement of ours has one text,
    /// and planning lists anew takes longer than carrying them out.
    fn for_pool(&self, idle_ms: u64) -> PgConnectOptions {
        self.options.clone().application_name("loket").disable_statement_logging().options([
            ("statement_timeout", STATEMENT_MS.to_string()),
            ("lock_timeout", LOCK_MS.to_string()),
            ("idle_in_transaction_session_timeout", idle_ms.to_string()),
            // Compiling a plan takes longer than any of ours runs.
            ("jit", "off".to_owned()),
        ])
    }
}

/// What a server must say of itself.
struct Durability {
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
}

impl Durability {
    /// The settings that lose what was acknowledged, by name (`reliability-contract` §1).
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, value) in [("fsync", &self.fsync), ("full_page_writes", &self.full_page_writes)] {
            if value != "on" {
                missing.push(format!("{name}={value}"));
            }
        }
        if !matches!(self.synchronous_commit.as_str(), "on" | "remote_apply") {
            missing.push(format!("synchronous_commit={}", self.synchronous_commit));
        }
        missing
    }
}

/// An opened database.
pub(super) struct Server {
    pub(super) workers: PgPool,
    pub(super) callers: PgPool,
    pub(super) readers: PgPool,
    /// For the one connection that hears of other processes' commits.
    pub(super) listener: PgPool,
    pub(super) news: Arc<News>,
}

impl Server {
    /// Opens it: checks what durability rests on, and brings the schema up to this version.
    pub(super) async fn open(
        url: &str,
        migrator: &Migrator,
        waits: (Duration, Duration),
    ) -> Result<Self, StoreError> {
        let address = Address::of(url)?;
        let mut first = connect(&address).await?;
        check(&mut first, &address).await?;
        failpoint!("migrate.step.before", StoreError::Passing("on purpose".to_owned()));
        migrate(&mut first, migrator).await?;
        failpoint!("migrate.step.after", StoreError::Passing("on purpose".to_owned()));
        // Closing politely is of no use to anybody but the server's log.
        let _ = first.close().await;
        let news = Arc::new(News::new());
        let (worker_wait, caller_wait) = waits;
        // Lists of keys are looked up one by one, in their order, whatever the statistics say of tables
        // that were empty when the plan was made: so locks are taken in that order, too.
        let writing = address.for_pool(IDLE_TRANSACTION_MS).options([
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        let reading = address.for_pool(IDLE_READER_MS).options([("default_transaction_read_only", "on")]);
        let pool = |most: u32, wait: Duration| {
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(wait)
                .test_before_acquire(false)
                .before_acquire(|open, been| {
                    Box::pin(async move { Ok(been.idle_for < IDLE_CHECK || open.ping().await.is_ok()) })
                })
        };
        let telling = |pool: PgPoolOptions| {
            let news = Arc::clone(&news);
            pool.after_release(move |open, _| {
                let news = Arc::clone(&news);
                Box::pin(async move {
                    Ok(tokio::time::timeout(RETURN_WAIT, news.tell(open)).await.unwrap_or(false))
                })
            })
        };
        Ok(Self {
            workers: telling(pool(WORKERS, worker_wait)).connect_lazy_with(writing.clone()),
            callers: telling(pool(CALLERS, caller_wait)).connect_lazy_with(writing),
            readers: pool(READERS, caller_wait).connect_lazy_with(reading.clone()),
            listener: pool(1, caller_wait).connect_lazy_with(reading),
            news,
        })
    }

    /// Closes all connections; whoever is at work is waited for, at most `limit`.
    pub(super) async fn close(&self, limit: Duration) {
        let all = async {
            self.listener.close().await;
            self.callers.close().await;
            self.workers.close().await;
            self.readers.close().await;
        };
        // Whoever holds a connection longer loses it with the process.
        let _ = tokio::time::timeout(limit, all).await;
    }
}

/// The first connection, without limits of time for what it does, because it may migrate. A server that
/// is only just starting is waited for.
async fn connect(address: &Address) -> Result<PgConnection, StoreError> {
    let options = address.options.clone().application_name("loket").disable_statement_logging().options([
        ("lock_timeout", MIGRATION_LOCK_MS.to_string()),
        ("idle_in_transaction_session_timeout", IDLE_READER_MS.to_string()),
    ]);
    let trying = async {
        loop {
            match options.connect().await.map_err(StoreError::from) {
                Ok(open) => return Ok(open),
                Err(StoreError::Away(_)) => tokio::time::sleep(START_RETRY).await,
                Err(error) => return Err(error),
            }
        }
    };
    let shown = &address.shown;
    match tokio::time::timeout(START_WAIT, trying).await {
        Ok(Ok(open)) => Ok(open),
        Ok(Err(error)) => Err(StoreError::Refused(format!("the database {shown} cannot be opened: {error}"))),
        Err(_) => Err(StoreError::Away(format!("nobody answers at {shown}; is PostgreSQL running there?"))),
    }
}

/// What durability rests on, as the server says it, not as we would like it (`reliability-contract` §1).
async fn check(open: &mut PgConnection, address: &Address) -> Result<(), StoreError> {
    use sqlx::Row as _;
    let row = sqlx::query(
        "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes, \
         current_setting('synchronous_commit') AS synchronous_commit, \
         current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby",
    )
    .fetch_one(&mut *open)
    .await?;
    let shown = &address.shown;
    let encoding: String = row.try_get("encoding")?;
    if encoding != "UTF8" {
        return Err(StoreError::Refused(format!(
            "the database {shown} keeps text as {encoding}: make it with ENCODING 'UTF8'"
        )));
    }
    if row.try_get("standby")? {
        return Err(StoreError::Refused(format!(
            "{shown} is a standby, which takes no writes: name its primary"
        )));
    }
    let durability = Durability {
        fsync: row.try_get("fsync")?,
        full_page_writes: row.try_get("full_page_writes")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
    };
    let missing = durability.missing().join(", ");
    metrics::gauge!("loket_store_durability_relaxed").set(if missing.is_empty() { 0.0 } else { 1.0 });
    if missing.is_empty() {
        return Ok(());
    }
    if address.relaxed {
        tracing::warn!(database = %shown, missing, "the store may forget what it acknowledged: durability is relaxed");
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the database {shown} runs with {missing}, which loses what was acknowledged: set it to on, or add \
         ?durability=relaxed to store.url"
    )))
}

/// Each migration is one transaction, under a lock of all processes that would do the same.
async fn migrate(open: &mut PgConnection, migrator: &Migrator) -> Result<(), StoreError> {
    migrator.run_direct(None, open, false).await.map_err(|error| super::migration_error(&error))
}

/// A connection, and what is known of the state that it is in.
pub(crate) struct Session {
    pooled: PoolConnection<Postgres>,
    at: At,
    /// A statement is under way, or ended in a way after which nobody knows what the connection is at.
    unsure: bool,
    /// Its transaction was given the time for checks over whole tables.
    patient: bool,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Outside of any transaction.
    Rest,
    /// In a transaction that sees one moment and writes nothing.
    Snapshot,
    /// In a transaction that writes.
    Work,
    /// In a transaction in which a statement failed: nothing more may be done in it.
    Failed,
}

impl Session {
    /// A connection outside of any transaction.
    pub(super) async fn of(pool: &PgPool) -> Result<Self, StoreError> {
        Ok(Self { pooled: pool.acquire().await?, at: At::Rest, unsure: false, patient: false })
    }

    /// One in a transaction that writes. Each statement sees what is committed when it begins, so that
    /// one that had to wait for a lock sees what the holder of the lock has done.
    pub(super) async fn begin(pool: &PgPool) -> Result<Self, StoreError> {
        let mut session = Self::of(pool).await?;
        session.enter(At::Work, "BEGIN").await?;
        Ok(session)
    }

    /// One in a transaction all of whose statements see the same moment.
    pub(super) async fn snapshot(pool: &PgPool) -> Result<Self, StoreError> {
        let mut session = Self::of(pool).await?;
        session.enter(At::Snapshot, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(session)
    }

    async fn enter(&mut self, at: At, text: &'static str) -> Result<(), StoreError> {
        let begun =
            tokio::time::timeout(Duration::from_millis(STATEMENT_MS), self.open().execute(text)).await;
        begun.map_err(|_| StoreError::Away("it did not answer in time".to_owned()))??;
        (self.unsure, self.at) = (false, at);
        Ok(())
    }

    /// Makes durable what was done in its transaction.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        if self.at == At::Failed {
            // The server would answer a commit with a rollback, and not call it an error.
            return Err(StoreError::Other(
                "a transaction in which a statement failed was committed".to_owned(),
            ));
        }
        match tokio::time::timeout(COMMIT_WAIT, self.open().execute("COMMIT")).await {
            Ok(Ok(_)) => {
                (self.unsure, self.at) = (false, At::Rest);
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::Away("it did not answer a commit in time".to_owned())),
        }
    }

    /// What these answer, one after another.
    pub(super) async fn together(&mut self, steps: Vec<Statement>) -> Result<Vec<Told>, StoreError> {
        let mut all = Vec::with_capacity(steps.len());
        for step in steps {
            all.push(self.told(step).await?);
        }
        Ok(all)
    }

    /// What a statement answers, within its deadline.
    pub(super) async fn told(&mut self, statement: Statement) -> Result<Told, StoreError> {
        let deadline = statement.deadline;
        if deadline > STATEMENT_DEADLINE {
            self.be_patient().await?;
        }
        // Where nobody writes nothing needs to be held.
        let (text, arguments) = spelled(statement, self.at == At::Work)?;
        // Dropped before it has ended, the connection is not used again.
        self.unsure = true;
        let open = &mut *self.pooled;
        let work = async {
            let mut told = Told::default();
            // To the end of its answer, so that a connection never waits with a part of one unread.
            let mut answer = open.fetch_many(sqlx::query_with(text, arguments));
            while let Some(step) = answer.try_next().await? {
                match step {
                    Either::Left(outcome) => told.touched += outcome.rows_affected(),
                    Either::Right(row) => told.rows.push(Row::Postgres(row)),
                }
            }
            Ok(told)
        };
        match tokio::time::timeout(deadline + GRACE, work).await {
            Ok(outcome) => self.ended(outcome).await,
            Err(_) => Err(took_too_long()),
        }
    }

    /// Gives the transaction the time for checks over whole tables.
    async fn be_patient(&mut self) -> Result<(), StoreError> {
        if self.at == At::Rest || std::mem::replace(&mut self.patient, true) {
            return Ok(());
        }
        sqlx::query("SELECT set_config('statement_timeout', $1, true)")
            .bind(PATIENT_MS.to_string())
            .execute(&mut *self.pooled)
            .await?;
        Ok(())
    }

    fn open(&mut self) -> &mut PgConnection {
        self.unsure = true;
        &mut self.pooled
    }

    /// How a statement ended.
    async fn ended<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) => self.unsure = false,
            Err(StoreError::Away(_)) => {}
            Err(_) => {
                if self.at == At::Work {
                    self.at = At::Failed;
                }
                // What the server says behind an error is read now, so that a rollback can be sent at once.
                let ready = tokio::time::timeout(RETURN_WAIT, self.pooled.ping()).await;
                self.unsure = !matches!(ready, Ok(Ok(())));
            }
        }
        outcome
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.unsure {
            self.pooled.close_on_drop();
        } else if self.at != At::Rest {
            // Sent now; its answer is read when the connection comes back to its pool. Transactions are begun
            // and ended in plain SQL, as on SQLite, because the library's own can only be ended by value.
            let _ = self.pooled.execute("ROLLBACK").now_or_never();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_database_that_is_reached_safely_or_is_refused_with_a_sentence() {
        for good in [
            "postgres://loket:hush@localhost/loket",
            "postgres://loket@127.0.0.1:5433/loket?sslmode=disable",
            "postgresql://loket@[::1]/loket",
            "postgres://loket@%2Fvar%2Frun%2Fpostgresql/loket",
            "postgres://loket:hush@db.example.com/loket?sslmode=verify-full",
            "postgres://loket:hush@db/loket?allow_plaintext=true&sslmode=disable",
        ] {
            assert!(Address::of(good).is_ok(), "{good}");
        }
        for (bad, word) in [
            ("postgres://loket:hush@db.example.com/loket", "sslmode=verify-full"),
            ("postgres://loket:hush@db.example.com/loket?sslmode=require", "sslmode=verify-full"),
            ("postgres://loket:hush@10.0.0.7/loket?allow_plaintext=yes", "sslmode=verify-full"),
            ("postgres://loket:hush@localhost:port/loket", "postgres://USER:PASSWORD@HOST/DATABASE"),
            ("postgres://loket@localhost/loket?sslmode=maybe", "postgres://USER:PASSWORD@HOST/DATABASE"),
        ] {
            let refused = Address::of(bad).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains(word), "{bad}: {refused}");
            assert!(!refused.contains("hush"), "{refused}");
        }
    }

    #[test]
    fn every_setting_that_loses_is_named() {
        let of = |fsync: &str, full: &str, synchronous: &str| Durability {
            fsync: fsync.to_owned(),
            full_page_writes: full.to_owned(),
            synchronous_commit: synchronous.to_owned(),
        };
        assert!(of("on", "on", "on").missing().is_empty());
        assert!(of("on", "on", "remote_apply").missing().is_empty());
        assert_eq!(of("off", "off", "local").missing().len(), 3);
        assert_eq!(of("on", "on", "off").missing(), ["synchronous_commit=off"]);
        assert_eq!(of("on", "on", "remote_write").missing(), ["synchronous_commit=remote_write"]);
    }
}

//! The store: state of record. One SQL text meant for SQLite and PostgreSQL; SQLite runs now.
//!
//! SQL is in this folder and nowhere else, one file a noun. All writing goes through one [`Tx`] at a
//! time, begun as a writer (`BEGIN IMMEDIATE`), because a reader that turns into a writer fails at
//! once. Locks are taken in the order inbox, identity, threads by ascending id, conversation, rest
//! (`reliability-contract` §2).

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::ids::Id;
use loket_protocol::time::Timestamp;
use tokio::sync::Notify;

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod channels;
pub(crate) mod contacts;
#[cfg(test)]
mod contract;
pub(crate) mod desk;
pub(crate) mod dialect;
mod error;
pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod installation;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod marks;
pub(crate) mod messages;
pub(crate) mod outbound;
pub(crate) mod parked;
pub(crate) mod sequencer;
pub(crate) mod sessions;
mod sql;
pub(crate) mod statuses;
pub(crate) mod threads;
pub(crate) mod upkeep;
pub(crate) mod verify;
pub(crate) mod visitors;

pub(crate) use error::StoreError;
pub(crate) use sql::{Conn, ROWS_MAX, Row, Statement, Value, json, listed, parts, rows, sql, together};

use dialect::{Location, SqliteFile};
use sql::Ended;

/// How long a caller of the API waits for its turn to write, and for a connection to read
/// (`reliability-contract` §12).
pub(crate) const POOL_WAIT: Duration = Duration::from_secs(1);
/// How long a worker waits for its turn to write: it has nothing better to do, and giving up would
/// only make the queue longer.
const WORKER_WAIT: Duration = Duration::from_secs(30);

/// The store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    file: SqliteFile,
    clock: Clock,
    /// Told after each commit that appended to the log.
    grown: Notify,
    /// When each channel account was heard of last, so that it is written once a second and not with
    /// each batch. What is lost with a rollback is written a second later.
    heard: Mutex<HashMap<ChannelAccount, Timestamp>>,
}

impl Store {
    /// Opens what `url` names and brings its schema up to this version. Refuses a URL that it does
    /// not know, a file that another process has open, a file whose commits would not be durable,
    /// and a schema of a newer version.
    pub(crate) async fn open(url: &str, clock: Clock) -> Result<Self, StoreError> {
        let Location::Sqlite(path) = Location::of(url)?;
        let file = dialect::open_sqlite(&path).await.map_err(|error| match error {
            StoreError::Damaged(words) => {
                StoreError::Refused(format!("{} is not a sound SQLite file: {words}", path.display()))
            }
            other => other,
        })?;
        dialect::sqlite_migrator()
            .run(file.writer.lock().await.open()?)
            .await
            .map_err(|error| migration_error(&error))?;
        let store =
            Self { inner: Arc::new(Inner { file, clock, grown: Notify::new(), heard: Mutex::default() }) };
        // The file is this process's alone: whoever numbered the log before is gone.
        let mut tx = store.begin_for_worker().await?;
        sequencer::depose(&mut tx).await?;
        tx.commit().await?;
        Ok(store)
    }

    /// A transaction for a caller of the API: waits at most [`POOL_WAIT`] for its turn.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        self.begin_within(POOL_WAIT).await
    }

    /// A transaction for a worker, which waits longer.
    pub(crate) async fn begin_for_worker(&self) -> Result<Tx, StoreError> {
        self.begin_within(WORKER_WAIT).await
    }

    async fn turn_within(&self, limit: Duration) -> Result<Conn, StoreError> {
        let turn = Arc::clone(&self.inner.file.writer).lock_owned();
        let mut writer = tokio::time::timeout(limit, turn)
            .await
            .map_err(|_| StoreError::Passing("others were writing for too long".to_owned()))?;
        writer.make_ready().await?;
        Ok(Conn::writer(writer))
    }

    async fn begin_within(&self, limit: Duration) -> Result<Tx, StoreError> {
        let mut conn = self.turn_within(limit).await?;
        sql("BEGIN IMMEDIATE").later(&mut conn).await?;
        Ok(Tx { conn, now: self.inner.clock.now(), appended: false, store: self.clone() })
    }

    /// Runs these in a transaction of their own and answers their rows: for what comes out the same when
    /// it is lost and done again. On SQLite it is not synced by itself, so a loss of power may take it
    /// back; what is committed after it is never on disk without it, because the write-ahead log is
    /// read in order. (On PostgreSQL nothing comes out the same: transactions overlap.)
    pub(crate) async fn repeatable(&self, steps: Vec<Statement>) -> Result<Vec<Row>, StoreError> {
        let mut conn = self.turn_within(WORKER_WAIT).await?;
        let told = conn.run_unsynced(steps).await;
        // Whether the connection syncs again is not known after an error.
        conn.has_ended(if told.is_ok() { Ended::Committed } else { Ended::Broken });
        told
    }

    /// A connection to read with; each statement sees what is committed when it runs.
    pub(crate) async fn read(&self) -> Result<Reader, StoreError> {
        Ok(Reader { conn: Conn::reader(self.inner.file.readers.acquire().await?) })
    }

    /// A connection to read with, all of whose statements see the same moment.
    pub(crate) async fn snapshot(&self) -> Result<Reader, StoreError> {
        let mut reader = Reader { conn: Conn::reader(self.inner.file.snapshots.acquire().await?) };
        sql("BEGIN").run(&mut reader).await?;
        Ok(reader)
    }

    /// Told after each commit in this process that appended to the log.
    pub(crate) fn grown(&self) -> &Notify {
        &self.inner.grown
    }

    /// Closes all connections; whoever writes now finishes first, at most [`POOL_WAIT`].
    pub(crate) async fn close(&self) {
        if let Ok(mut writer) = tokio::time::timeout(POOL_WAIT, self.inner.file.writer.lock()).await {
            writer.close().await;
        }
        self.inner.file.readers.close().await;
        self.inner.file.snapshots.close().await;
    }
}

fn migration_error(error: &sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError;
    match error {
        MigrateError::VersionMissing(version) => StoreError::Refused(format!(
            "the store's schema has migration {version}, which this version of loket does not know: \
             run the version that made it, or a later one"
        )),
        MigrateError::VersionMismatch(version) => StoreError::Refused(format!(
            "migration {version} of the store is not the one that this version of loket has: \
             the file was made by another build"
        )),
        other => StoreError::Refused(format!("the store's schema could not be brought up to date: {other}")),
    }
}

/// A transaction. Dropping it takes everything back.
pub(crate) struct Tx {
    conn: Conn,
    now: Timestamp,
    appended: bool,
    store: Store,
}

impl Tx {
    /// Makes everything durable that was done in it. After an error it is there or not; nothing of
    /// it is there in part.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        // Without a deadline: a disk that is slow now would be found to have committed later.
        if let Err(error) = sql("COMMIT").run_to_the_end(&mut self.conn).await {
            if matches!(error, StoreError::Away(_) | StoreError::Damaged(_)) {
                // A disk that failed once is not asked the same again: opened anew, the file says
                // what it holds (`reliability-contract` §1).
                self.conn.has_ended(Ended::Broken);
            }
            return Err(error);
        }
        self.conn.has_ended(Ended::Committed);
        if self.appended {
            self.store.inner.grown.notify_one();
        }
        Ok(())
    }

    /// The moment at which it began: the time of everything that it writes.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// A new id.
    pub(crate) fn id<T: Id>(&self) -> T {
        self.store.inner.clock.id()
    }

    fn heard_within_the_second(&self, channel: &ChannelAccount) -> bool {
        let mut heard = self.store.inner.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.get(channel).is_some_and(|at| self.now.millis_since(*at).abs() < 1000) {
            return true;
        }
        heard.insert(channel.clone(), self.now);
        false
    }

    fn has_appended(&mut self) {
        self.appended = true;
    }
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

/// A connection that only reads.
pub(crate) struct Reader {
    conn: Conn,
}

impl Deref for Reader {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

//! The store: state of record. One SQL text for SQLite and PostgreSQL.
//!
//! SQL is in this folder and nowhere else, one file a noun. All writing goes through a [`Tx`]. On SQLite
//! there is one at a time, begun as a writer (`BEGIN IMMEDIATE`), because a reader that turns into a
//! writer fails at once. On PostgreSQL there are many, in many processes: what is read in order to be
//! written is locked first (`locks`, `Statement::locking`), and locks are taken in the order inbox,
//! identity, threads by ascending id, conversation, rest (`reliability-contract` §2).

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_backbone::failpoint;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::ids::Id;
use loket_protocol::time::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) mod agents;
mod arrays;
pub(crate) mod audit;
pub(crate) mod channels;
pub(crate) mod claims;
pub(crate) mod contacts;
#[cfg(test)]
mod contract;
pub(crate) mod desk;
pub(crate) mod dialect;
mod error;
pub(crate) mod handoffs;
pub(crate) mod idempotency;
pub(crate) mod inbox;
pub(crate) mod installation;
pub(crate) mod joins;
pub(crate) mod keys;
pub(crate) mod links;
pub(crate) mod locks;
pub(crate) mod log;
pub(crate) mod marks;
pub(crate) mod messages;
mod news;
pub(crate) mod outbound;
pub(crate) mod parked;
mod postgres;
pub(crate) mod sequencer;
pub(crate) mod sessions;
mod sql;
pub(crate) mod stamps;
pub(crate) mod statuses;
pub(crate) mod threads;
#[cfg(test)]
pub(crate) mod trial;
pub(crate) mod upkeep;
pub(crate) mod verify;
pub(crate) mod visitors;

pub(crate) use error::StoreError;
pub(crate) use sql::{Conn, ROWS_MAX, Row, Statement, Value, json, listed, parts, rows, sql, together};

use dialect::{Location, SqliteFile};
use postgres::{Server, Session};
use sql::Ended;

/// How long a caller of the API waits for its turn or a connection to write, and for one to read
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
    backend: Backend,
    clock: Clock,
    /// Told after each commit that appended to the log.
    grown: Notify,
    /// Told after each commit of another process that made something to send.
    outgoing: Notify,
    /// When each channel account was heard of last, so that it is written once a second and not with
    /// each batch. What is lost with a rollback is written a second later.
    heard: Mutex<HashMap<ChannelAccount, Timestamp>>,
}

/// What the store is kept in.
enum Backend {
    /// A file of this process alone.
    Sqlite(SqliteFile),
    /// A server, which others use as well.
    Postgres(Server),
}

impl Inner {
    /// What another process has told.
    fn hear(&self, appended: bool, outgoing: bool) {
        if appended {
            self.grown.notify_one();
        }
        if outgoing {
            self.outgoing.notify_one();
        }
    }
}

impl Store {
    /// Opens what `url` names and brings its schema up to this version. Refuses a URL that it does
    /// not know, a file that another process has open, a file or a server whose commits would not be
    /// durable, and a schema of a newer version.
    pub(crate) async fn open(url: &str, clock: Clock) -> Result<Self, StoreError> {
        let location = Location::of(url)?;
        failpoint!("migrate.step.before", StoreError::Passing("on purpose".to_owned()));
        let backend = match location {
            Location::Sqlite(path) => {
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
                Backend::Sqlite(file)
            }
            Location::Postgres(url) => {
                let migrator = dialect::postgres_migrator();
                Backend::Postgres(Server::open(&url, &migrator, (WORKER_WAIT, POOL_WAIT)).await?)
            }
        };
        failpoint!("migrate.step.after", StoreError::Passing("on purpose".to_owned()));
        let store = Self {
            inner: Arc::new(Inner {
                backend,
                clock,
                grown: Notify::new(),
                outgoing: Notify::new(),
                heard: Mutex::default(),
            }),
        };
        if !store.is_shared() {
            // The file is this process's alone: whoever numbered the log before is gone.
            let mut tx = store.begin_for_worker().await?;
            sequencer::depose(&mut tx).await?;
            tx.commit().await?;
        }
        Ok(store)
    }

    /// A transaction for a caller of the API: waits at most [`POOL_WAIT`] for its turn.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite(file) => self.begin_alone(file, POOL_WAIT).await,
            Backend::Postgres(server) => Ok(self.tx(Conn::Postgres(Session::begin(&server.callers).await?))),
        }
    }

    /// A transaction for a worker, which waits longer.
    pub(crate) async fn begin_for_worker(&self) -> Result<Tx, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite(file) => self.begin_alone(file, WORKER_WAIT).await,
            Backend::Postgres(server) => Ok(self.tx(Conn::Postgres(Session::begin(&server.workers).await?))),
        }
    }

    async fn begin_alone(&self, file: &SqliteFile, limit: Duration) -> Result<Tx, StoreError> {
        let mut conn = turn(file, limit).await?;
        sql("BEGIN IMMEDIATE").later(&mut conn).await?;
        Ok(self.tx(conn))
    }

    fn tx(&self, conn: Conn) -> Tx {
        Tx { conn, now: self.inner.clock.now(), appended: false, outgoing: false, store: self.clone() }
    }

    /// Runs these in a transaction of their own and answers their rows: for what comes out the same when
    /// it is lost and done again. On SQLite it is not synced by itself, so a loss of power may take it
    /// back; what is committed after it is never on disk without it, because the write-ahead log is
    /// read in order. (On PostgreSQL nothing comes out the same: transactions overlap, so it is synced.)
    pub(crate) async fn repeatable(&self, steps: Vec<Statement>) -> Result<Vec<Row>, StoreError> {
        let mut conn = match &self.inner.backend {
            Backend::Sqlite(file) => turn(file, WORKER_WAIT).await?,
            Backend::Postgres(server) => Conn::Postgres(Session::begin(&server.workers).await?),
        };
        let told = conn.run_repeatable(steps).await;
        // Whether the connection syncs again is not known after an error.
        conn.has_ended(if told.is_ok() { Ended::Committed } else { Ended::Broken });
        told
    }

    /// A connection to read with; each statement sees what is committed when it runs.
    pub(crate) async fn read(&self) -> Result<Reader, StoreError> {
        let conn = match &self.inner.backend {
            Backend::Sqlite(file) => Conn::reader(file.readers.acquire().await?),
            Backend::Postgres(server) => Conn::Postgres(Session::of(&server.readers).await?),
        };
        Ok(Reader { conn })
    }

    /// A connection to read with, all of whose statements see the same moment.
    pub(crate) async fn snapshot(&self) -> Result<Reader, StoreError> {
        match &self.inner.backend {
            Backend::Sqlite(file) => {
                let mut reader = Reader { conn: Conn::reader(file.snapshots.acquire().await?) };
                sql("BEGIN").run(&mut reader).await?;
                Ok(reader)
            }
            Backend::Postgres(server) => {
                Ok(Reader { conn: Conn::Postgres(Session::snapshot(&server.readers).await?) })
            }
        }
    }

    /// Told after each commit that appended to the log; of other processes as far as they are heard.
    pub(crate) fn grown(&self) -> &Notify {
        &self.inner.grown
    }

    /// Told after each commit of another process that made something to send, as far as it is heard.
    pub(crate) fn outgoing(&self) -> &Notify {
        &self.inner.outgoing
    }

    /// Whether other processes may have the same store open.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.inner.backend, Backend::Postgres(_))
    }

    /// Hears of other processes' commits until told to stop; ends at once where there are none.
    pub(crate) async fn listen(&self, stop: CancellationToken) {
        if let Backend::Postgres(server) = &self.inner.backend {
            let (pool, news) = (server.listener.clone(), Arc::clone(&server.news));
            news::listen(Arc::clone(&self.inner), pool, news, stop).await;
        }
    }

    /// Closes all connections; whoever writes now finishes first, at most [`POOL_WAIT`].
    pub(crate) async fn close(&self) {
        match &self.inner.backend {
            Backend::Sqlite(file) => {
                if let Ok(mut writer) = tokio::time::timeout(POOL_WAIT, file.writer.lock()).await {
                    writer.close().await;
                }
                file.readers.close().await;
                file.snapshots.close().await;
            }
            Backend::Postgres(server) => server.close(POOL_WAIT).await,
        }
    }
}

/// The turn to write to a file.
async fn turn(file: &SqliteFile, limit: Duration) -> Result<Conn, StoreError> {
    let mut writer = tokio::time::timeout(limit, Arc::clone(&file.writer).lock_owned())
        .await
        .map_err(|_| StoreError::Passing("others were writing for too long".to_owned()))?;
    writer.make_ready().await?;
    Ok(Conn::writer(writer))
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
    outgoing: bool,
    store: Store,
}

impl Tx {
    /// Makes everything durable that was done in it. After an error it is there or not; nothing of
    /// it is there in part.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if let Err(error) = self.conn.commit().await {
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
        if let Backend::Postgres(server) = &self.store.inner.backend {
            server.news.owe(self.appended, self.outgoing);
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

    /// There is something to send once this is committed.
    fn has_queued(&mut self) {
        self.outgoing = true;
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

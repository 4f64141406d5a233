//! The SQLite file of the bus. One connection, held for itself alone: what it commits is on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loket_protocol::time::Timestamp;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::lane::Found;
use crate::bus::Item;
use crate::failpoint;

/// Marks the file as a bus of Loket: "LKTB".
const APPLICATION_ID: i64 = 0x4C4B_5442;
/// The layout that this program writes.
const LAYOUT: i64 = 1;
/// The write-ahead log is folded into the file whenever it has this many pages (8 MiB: folding needs
/// as much room again, which the ballast must be able to give) …
const WAL_PAGES: &str = "2048";
/// … and is cut back to this size when a big commit made it longer.
const WAL_BYTES_MAX: &str = "16777216";
/// Sizes of the prepared statements that take many rows.
const CHUNKS: [usize; 4] = [1, 4, 16, CHUNK_MAX];
const CHUNK_MAX: usize = 64;
/// Free pages that stay in the file for the next items (8 MiB).
const FREE_PAGES_KEPT: i64 = 2048;
/// How many pages one step of tidying gives back.
const FREE_PAGES_STEP: &str = "PRAGMA incremental_vacuum(2048)";

const TABLES: &str = "
    CREATE TABLE lanes (
        lane INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        crew TEXT NOT NULL,
        mark INTEGER NOT NULL,
        opened_at INTEGER NOT NULL,
        UNIQUE (topic, crew)
    ) STRICT;
    CREATE TABLE items (
        seq INTEGER PRIMARY KEY,
        lane INTEGER NOT NULL,
        at INTEGER NOT NULL,
        leased INTEGER NOT NULL DEFAULT 0,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        trace TEXT NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    PRAGMA application_id = 1280005186;
    PRAGMA user_version = 1;
";

/// Why the file did not do as told.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// No room on the disk; nothing was changed.
    #[error("the disk is full")]
    Full,
    /// It cannot be used as it is; the sentence says why.
    #[error("{0}")]
    Refused(String),
    /// Anything else: whether the last change is there cannot be known until it is opened again.
    #[error("its file failed: {0}")]
    Broken(#[source] sqlx::Error),
}

/// SQLite's primary result codes, <https://www.sqlite.org/rescode.html>.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xFF)
}

impl From<sqlx::Error> for FileError {
    fn from(error: sqlx::Error) -> Self {
        if primary_code(&error) == Some(SQLITE_FULL) { Self::Full } else { Self::Broken(error) }
    }
}

#[cfg(feature = "failpoints")]
fn broken_on_purpose() -> FileError {
    FileError::Broken(sqlx::Error::WorkerCrashed)
}

/// A row to write.
pub(super) struct NewRow {
    pub(super) seq: i64,
    pub(super) lane: i64,
    pub(super) at: Timestamp,
    pub(super) item: Arc<Item>,
}

/// A lane as the file knows it.
pub(super) struct FoundLane {
    pub(super) number: i64,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) mark: i64,
}

/// A statement, alone and as the first or last of a transaction: every text that is executed costs
/// two changes of thread, so the beginning and the end ride along.
struct Text {
    alone: Arc<str>,
    first: Arc<str>,
    last: Arc<str>,
}

impl Text {
    fn new(statement: String) -> Self {
        Self {
            first: format!("BEGIN IMMEDIATE; {statement}").into(),
            last: format!("{statement}; COMMIT").into(),
            alone: statement.into(),
        }
    }
}

/// A statement for each of [`CHUNKS`].
struct Chunked([Text; 4]);

impl Chunked {
    fn new(text: impl Fn(usize) -> String) -> Self {
        Self(CHUNKS.map(|size| Text::new(text(size))))
    }

    /// The smallest statement that takes `count` rows, or the largest there is, with its size.
    fn pick(&self, count: usize) -> (&Text, usize) {
        let fits = self.0.iter().zip(CHUNKS).find(|(_, size)| *size >= count);
        let [.., largest] = &self.0;
        fits.unwrap_or((largest, CHUNK_MAX))
    }

    /// Divides `rows` over as few statements as possible.
    fn steps<'a, R>(
        &'a self,
        rows: &[R],
        arguments: impl Fn(&[R], usize) -> Result<SqliteArguments, BoxDynError>,
        steps: &mut Vec<Step<'a>>,
    ) -> Result<(), FileError> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (text, size) = self.pick(rest.len());
            let (now, later) = rest.split_at(size.min(rest.len()));
            steps.push(Step { text, arguments: arguments(now, size).map_err(sqlx::Error::Encode)? });
            rest = later;
        }
        Ok(())
    }
}

/// A statement with its values.
struct Step<'a> {
    text: &'a Text,
    arguments: SqliteArguments,
}

/// Every statement that changes or reads items.
struct Texts {
    insert: Chunked,
    delete: Chunked,
    read: Chunked,
    flag: Chunked,
    unflag: Text,
    mark: Text,
    unmark: Text,
}

/// The open file.
pub(super) struct BusFile {
    connection: SqliteConnection,
    texts: Arc<Texts>,
    /// Whether the disk had room for the first small change.
    pub(super) writable: bool,
}

impl BusFile {
    /// Opens the file, checks it, and declares the lanes; `at` is written beside them, so that a
    /// file that cannot be written is found out now.
    pub(super) async fn open(path: &Path, lanes: &[(&str, &str)], at: Timestamp) -> Result<Self, FileError> {
        let damaged = |error: sqlx::Error| match primary_code(&error) {
            Some(SQLITE_NOTADB | SQLITE_CORRUPT) => FileError::Refused(damage(path, &error.to_string())),
            _ => FileError::from(error),
        };
        let mut options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("wal_autocheckpoint", WAL_PAGES)
            .pragma("journal_size_limit", WAL_BYTES_MAX)
            .thread_name(|_| "bus-file".to_owned())
            .disable_statement_logging();
        if std::fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            // Only for a new file: it would write, also when nothing changes, and a full disk must
            // not keep a bus from being opened.
            options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
        }
        let connection = options.connect().await.map_err(damaged)?;
        let texts = Texts {
            insert: Chunked::new(insert_text),
            delete: Chunked::new(|size| format!("DELETE FROM items WHERE seq IN ({})", values(size))),
            read: Chunked::new(|size| {
                format!("SELECT seq, id, key, trace, payload FROM items WHERE seq IN ({})", values(size))
            }),
            flag: Chunked::new(|size| format!("UPDATE items SET leased = 1 WHERE seq IN ({})", values(size))),
            unflag: Text::new("UPDATE items SET leased = 0 WHERE leased <> 0".to_owned()),
            mark: Text::new("UPDATE lanes SET mark = $2 WHERE lane = $1".to_owned()),
            unmark: Text::new("UPDATE lanes SET mark = 0".to_owned()),
        };
        let mut file = Self { connection, texts: Arc::new(texts), writable: true };
        match file.check(path).await {
            Err(FileError::Broken(error)) => return Err(damaged(error)),
            other => other?,
        }
        match file.declare(lanes, at).await {
            // What was declared before can be used without writing anything.
            Err(FileError::Full) if file.has_all(lanes).await? => file.writable = false,
            other => other?,
        }
        Ok(file)
    }

    async fn number(&mut self, sql: &'static str) -> Result<i64, FileError> {
        Ok(sqlx::query_scalar(sql).fetch_one(&mut self.connection).await?)
    }

    async fn check(&mut self, path: &Path) -> Result<(), FileError> {
        let refuse = |why: String| Err(FileError::Refused(format!("the bus file {} {why}", path.display())));
        let sound: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut self.connection).await?;
        if sound != "ok" {
            return Err(FileError::Refused(damage(path, &sound)));
        }
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut self.connection).await?;
        let synchronous = self.number("PRAGMA synchronous").await?;
        if mode != "wal" || synchronous != 2 {
            return refuse(format!(
                "cannot be made durable: journal_mode is {mode} and synchronous is {synchronous}"
            ));
        }
        let application = self.number("PRAGMA application_id").await?;
        let layout = self.number("PRAGMA user_version").await?;
        let tables = self.number("SELECT count(*) FROM sqlite_schema").await?;
        if application == 0 && layout == 0 && tables == 0 {
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
            sqlx::raw_sql(TABLES).execute(&mut self.connection).await?;
            sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
            return Ok(());
        }
        if application != APPLICATION_ID {
            return refuse("belongs to another program; choose another directory for bus.url".to_owned());
        }
        if layout != LAYOUT {
            return refuse(format!("has layout {layout}, and this version of Loket knows only {LAYOUT}"));
        }
        Ok(())
    }

    async fn declare(&mut self, lanes: &[(&str, &str)], at: Timestamp) -> Result<(), FileError> {
        let text = Text::new(
            "INSERT INTO lanes (topic, crew, mark, opened_at) VALUES ($1, $2, 0, $3) \
             ON CONFLICT (topic, crew) DO UPDATE SET opened_at = excluded.opened_at"
                .to_owned(),
        );
        let mut steps = Vec::new();
        for (topic, group) in lanes {
            let mut arguments = SqliteArguments::default();
            let added = arguments.add(*topic).and_then(|()| arguments.add(*group));
            added.and_then(|()| arguments.add(at.as_millis())).map_err(sqlx::Error::Encode)?;
            steps.push(Step { text: &text, arguments });
        }
        self.run(steps).await
    }

    async fn has_all(&mut self, lanes: &[(&str, &str)]) -> Result<bool, FileError> {
        let found = self.lanes().await?;
        let has =
            |(topic, group): &(&str, &str)| found.iter().any(|l| l.topic == *topic && l.group == *group);
        Ok(lanes.iter().all(has))
    }

    /// All lanes, also those that are no longer declared.
    pub(super) async fn lanes(&mut self) -> Result<Vec<FoundLane>, FileError> {
        let rows =
            sqlx::query("SELECT lane, topic, crew, mark FROM lanes").fetch_all(&mut self.connection).await?;
        let lane = |row: &SqliteRow| -> Result<FoundLane, sqlx::Error> {
            Ok(FoundLane {
                number: row.try_get(0)?,
                topic: row.try_get(1)?,
                group: row.try_get(2)?,
                mark: row.try_get(3)?,
            })
        };
        Ok(rows.iter().map(lane).collect::<Result<_, _>>()?)
    }

    /// Tells of every item in order, without its payload.
    pub(super) async fn items(&mut self, mut tell: impl FnMut(Found)) -> Result<(), FileError> {
        // Pages instead of one long answer: the rows would otherwise all be in memory at once, or
        // cross from the file's thread one by one.
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query(
                "SELECT seq, lane, at, leased, key, length(payload) FROM items WHERE seq > $1 \
                 ORDER BY seq LIMIT 4096",
            )
            .bind(after)
            .fetch_all(&mut self.connection)
            .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get(0)?;
            for row in &rows {
                tell(Found {
                    seq: row.try_get(0)?,
                    lane: row.try_get(1)?,
                    at: Timestamp::from_millis(row.try_get(2)?),
                    before: row.try_get(3)?,
                    key: text_of(row, 4)?,
                    bytes: u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or(0),
                });
            }
        }
    }

    /// Writes, deletes and marks in one transaction: after `Ok` all of it is on disk, after
    /// [`FileError::Full`] none of it is there, after any other error nobody knows.
    pub(super) async fn commit(
        &mut self,
        rows: &[NewRow],
        deletes: &[i64],
        marks: &[(i64, i64)],
    ) -> Result<(), FileError> {
        let texts = Arc::clone(&self.texts);
        let mut steps = Vec::new();
        texts.insert.steps(rows, insert_arguments, &mut steps)?;
        for (lane, mark) in marks {
            let arguments = seq_arguments(&[*lane, *mark], 2).map_err(sqlx::Error::Encode)?;
            steps.push(Step { text: &texts.mark, arguments });
        }
        texts.delete.steps(deletes, seq_arguments, &mut steps)?;
        self.run(steps).await
    }

    /// Runs all steps in one transaction.
    async fn run(&mut self, steps: Vec<Step<'_>>) -> Result<(), FileError> {
        let ran = self.try_run(steps).await;
        if ran.is_err() {
            self.roll_back().await;
        }
        ran
    }

    async fn try_run(&mut self, steps: Vec<Step<'_>>) -> Result<(), FileError> {
        let count = steps.len();
        for (place, Step { text, arguments }) in steps.into_iter().enumerate() {
            let is_last = place + 1 == count;
            failpoint!("bus.embedded.write.before" if place == 0, broken_on_purpose());
            failpoint!("bus.embedded.commit.before" if is_last, broken_on_purpose());
            // A single statement is a transaction by itself.
            let text = match place {
                _ if count == 1 => &text.alone,
                0 => &text.first,
                _ if is_last => &text.last,
                _ => &text.alone,
            };
            let text = AssertSqlSafe(Arc::clone(text));
            sqlx::query_with(text, arguments).execute(&mut self.connection).await?;
            failpoint!("bus.embedded.write.after" if place == 0 && !is_last, broken_on_purpose());
            failpoint!("bus.embedded.commit.after" if is_last, broken_on_purpose());
        }
        Ok(())
    }

    /// The whole items with these numbers, as far as they are there.
    pub(super) async fn read(&mut self, seqs: &[i64]) -> Result<Vec<(i64, Item)>, FileError> {
        let texts = Arc::clone(&self.texts);
        let mut steps = Vec::new();
        texts.read.steps(seqs, seq_arguments, &mut steps)?;
        let mut items = Vec::with_capacity(seqs.len());
        for Step { text, arguments } in steps {
            let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&text.alone)), arguments);
            for row in query.fetch_all(&mut self.connection).await? {
                let payload: Vec<u8> = row.try_get(4)?;
                let item = Item {
                    id: text_of(&row, 1)?,
                    key: text_of(&row, 2)?,
                    payload: Bytes::from(payload),
                    trace: text_of(&row, 3)?,
                };
                items.push((row.try_get(0)?, item));
            }
        }
        Ok(items)
    }

    /// Writes the exact truth before an orderly end: these items were leased, all others never.
    pub(super) async fn settle(&mut self, deletes: &[i64], leased: &[i64]) -> Result<(), FileError> {
        let texts = Arc::clone(&self.texts);
        let mut steps = vec![Step { text: &texts.unmark, arguments: SqliteArguments::default() }];
        texts.delete.steps(deletes, seq_arguments, &mut steps)?;
        steps.push(Step { text: &texts.unflag, arguments: SqliteArguments::default() });
        texts.flag.steps(leased, seq_arguments, &mut steps)?;
        self.run(steps).await
    }

    /// Gives some space of deleted rows back to the disk. True when there is more to give.
    ///
    /// Pages of deleted rows are used again by the next items, so this is only for the end of a
    /// backlog: it runs when nothing else is to do.
    pub(super) async fn tidy(&mut self) -> Result<bool, FileError> {
        if self.number("PRAGMA freelist_count").await? > FREE_PAGES_KEPT {
            sqlx::raw_sql(FREE_PAGES_STEP).execute(&mut self.connection).await?;
            if self.number("PRAGMA freelist_count").await? > FREE_PAGES_KEPT {
                return Ok(true);
            }
        }
        self.fold().await?;
        Ok(false)
    }

    /// Moves everything from the write-ahead log into the file and syncs it.
    pub(super) async fn fold(&mut self) -> Result<(), FileError> {
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut self.connection).await?;
        Ok(())
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the file of the bus did not close cleanly; it is repaired when it is opened");
        }
    }

    async fn roll_back(&mut self) {
        // SQLite rolls back by itself after most errors, and then says that there is nothing to.
        if let Err(error) = sqlx::query("ROLLBACK").execute(&mut self.connection).await {
            tracing::debug!(%error, "nothing to roll back on the bus");
        }
    }
}

/// A text, also when a bit of it has flipped on the disk: one such item must not stop the others.
fn text_of(row: &SqliteRow, column: usize) -> Result<String, sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
}

fn damage(path: &Path, what: &str) -> String {
    let path: PathBuf = path.to_owned();
    format!(
        "the bus file {} is damaged ({what}); restore it from a backup, or move it away to start with an \
         empty bus",
        path.display()
    )
}

fn values(size: usize) -> String {
    vec!["?"; size].join(", ")
}

/// Rows that are not bound are NULL and are left out, so that a few sizes serve every number.
fn insert_text(size: usize) -> String {
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; size].join(", ");
    format!(
        "INSERT INTO items (seq, lane, at, id, key, trace, payload) \
         SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"
    )
}

fn insert_arguments(rows: &[NewRow], size: usize) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(size * 7, 0);
    for row in rows {
        arguments.add(row.seq)?;
        arguments.add(row.lane)?;
        arguments.add(row.at.as_millis())?;
        arguments.add(row.item.id.as_str())?;
        arguments.add(row.item.key.as_str())?;
        arguments.add(row.item.trace.as_str())?;
        arguments.add(&row.item.payload[..])?;
    }
    Ok(arguments)
}

fn seq_arguments(seqs: &[i64], _size: usize) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    for seq in seqs {
        arguments.add(*seq)?;
    }
    Ok(arguments)
}

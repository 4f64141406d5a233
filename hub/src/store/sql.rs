//! The one mechanism by which every statement runs: a text with `$1 …`, its values, and a connection
//! of whatever backend. A backend is an arm of [`Conn`] and of [`Row`]; no call site knows which one it is.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use loket_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Either, Executor as _, Row as _, SqlSafeStr as _, SqlStr, Sqlite};
use tokio::sync::OwnedMutexGuard;

use super::dialect::Writer;
use super::error::StoreError;
use super::postgres::Session;

/// How long one statement may take (`reliability-contract` §12).
pub(super) const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// How long a statement of an operator's check may take, who waits for it and holds nothing up.
const PATIENT_DEADLINE: Duration = Duration::from_mins(10);
/// The longest list of rows or values in one statement; the backends allow some 32,000 values.
pub(crate) const ROWS_MAX: usize = 512;

/// A connection, inside a transaction or not.
pub(crate) enum Conn {
    /// To a SQLite file.
    Sqlite(SqliteConn),
    /// To a PostgreSQL server.
    Postgres(Session),
}

/// A connection to a SQLite file.
pub(crate) struct SqliteConn {
    held: Held,
    /// Statements whose answers nobody waits for; see [`Statement::later`].
    later: Vec<Statement>,
}

/// What a statement answered.
#[derive(Default)]
pub(super) struct Told {
    pub(super) touched: u64,
    pub(super) rows: Vec<Row>,
}

enum Held {
    Reader(PoolConnection<Sqlite>),
    Writer(OwnedMutexGuard<Writer>),
}

impl SqliteConn {
    fn open(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match &mut self.held {
            Held::Reader(pooled) => Ok(&mut *pooled),
            Held::Writer(writer) => writer.open(),
        }
    }

    /// Runs these in a transaction that is not synced by itself. SQLite takes the pragma when it reads
    /// the text, so nothing here is prepared in advance.
    async fn unsynced(&mut self, steps: Vec<Statement>) -> Result<Vec<SqliteRow>, StoreError> {
        let mut text = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE;".to_owned();
        for step in steps {
            step.spell_out(&mut text)?;
            text.push(';');
        }
        text.push_str("COMMIT; PRAGMA synchronous = FULL;");
        // Put together from fixed parts and numbers only.
        let mut told = sqlx::raw_sql(AssertSqlSafe(text)).fetch_many(self.open()?);
        let mut found = Vec::new();
        while let Some(step) = told.try_next().await? {
            found.extend(step.right());
        }
        Ok(found)
    }

    /// The answers of `last`, after whatever was to be done first, by one visit to the file's thread.
    async fn visit(&mut self, last: Vec<Statement>) -> Result<Vec<Told>, StoreError> {
        let mut steps = std::mem::take(&mut self.later);
        let before = steps.len();
        steps.extend(last);
        let query = joined(steps)?;
        let mut told = self.open()?.fetch_many(query);
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        while let Some(step) = told.try_next().await? {
            match step {
                Either::Left(outcome) => {
                    let rows = std::mem::take(&mut rows);
                    all.push(Told { touched: outcome.rows_affected(), rows });
                }
                Either::Right(row) => rows.push(Row::Sqlite(row)),
            }
        }
        Ok(all.split_off(before))
    }

    async fn visit_once(&mut self, last: Statement) -> Result<Told, StoreError> {
        Ok(self.visit(vec![last]).await?.pop().unwrap_or_default())
    }
}

impl Conn {
    /// A pooled one, to read with.
    pub(super) fn reader(pooled: PoolConnection<Sqlite>) -> Self {
        Self::Sqlite(SqliteConn { held: Held::Reader(pooled), later: Vec::new() })
    }

    /// The one that writes.
    pub(super) fn writer(writer: OwnedMutexGuard<Writer>) -> Self {
        Self::Sqlite(SqliteConn { held: Held::Writer(writer), later: Vec::new() })
    }

    /// Runs these in a transaction of their own, on SQLite in one that is not synced by itself; all rows
    /// that they answer.
    pub(super) async fn run_repeatable(&mut self, steps: Vec<Statement>) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(open) => {
                let told = within(STATEMENT_DEADLINE, open.unsynced(steps)).await?;
                Ok(told.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(session) => {
                let told = session.together(steps).await?;
                session.commit().await?;
                Ok(told.into_iter().flat_map(|told| told.rows).collect())
            }
        }
    }

    /// Makes durable what was done in its transaction.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        match self {
            // Without a deadline: a disk that is slow now would be found to have committed later.
            Self::Sqlite(open) => open.visit_once(sql("COMMIT")).await.map(|_| ()),
            Self::Postgres(session) => session.commit().await,
        }
    }

    async fn told(&mut self, statement: Statement) -> Result<Told, StoreError> {
        match self {
            Self::Sqlite(open) => within(statement.deadline, open.visit_once(statement)).await,
            Self::Postgres(session) => session.told(statement).await,
        }
    }

    /// Whether others may be writing while this one does.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Says how a transaction on it ended, which whoever holds it next must know.
    pub(super) fn has_ended(&mut self, how: Ended) {
        let Self::Sqlite(SqliteConn { held: Held::Writer(writer), .. }) = self else { return };
        writer.has_ended(how);
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With `COMMIT`.
    Committed,
    /// The connection cannot be trusted any more.
    Broken,
}

/// A value to bind. A missing one keeps its type, because PostgreSQL asks for it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text, ids and JSON.
    Text(Option<String>),
    /// Numbers, times and booleans.
    Int(Option<i64>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

/// A row of an answer; columns by name.
pub(crate) enum Row {
    /// Of SQLite.
    Sqlite(SqliteRow),
    /// Of PostgreSQL.
    Postgres(PgRow),
}

/// A statement with its values.
pub(crate) struct Statement {
    pub(super) text: Text,
    pub(super) values: Vec<Value>,
    pub(super) deadline: Duration,
    /// The table whose rows stay as they were read, by its name in the statement.
    pub(super) locking: Option<&'static str>,
}

pub(super) enum Text {
    Fixed(&'static str),
    Parts(String),
    /// A list of rows: what stands before it, values in a row, rows, what stands after it.
    Rows(&'static str, usize, usize, &'static str),
    /// A list of values: what stands before it, values, what stands after it.
    List(String, usize, &'static str),
}

/// A statement; its text is fixed, values go in by [`Statement::bind`].
pub(crate) fn sql(text: &'static str) -> Statement {
    Statement::of(Text::Fixed(text), Vec::new())
}

/// `head (…), (…) … tail`: many rows at once, `width` values each; at most [`ROWS_MAX`] rows. The parts
/// are fixed texts, so that nothing from outside can be in a statement. No further value is bound.
pub(crate) fn rows(head: &'static str, width: usize, values: Vec<Value>, tail: &'static str) -> Statement {
    let count = values.len().checked_div(width).unwrap_or(0);
    Statement::of(Text::Rows(head, width, count, tail), values)
}

/// `head (…) tail` with one placeholder a value: `… WHERE id IN (…) …`. Fixed texts, and no further
/// value, as in [`rows`].
pub(crate) fn listed(head: &[&'static str], values: Vec<Value>, tail: &'static str) -> Statement {
    Statement::of(Text::List(head.concat(), values.len(), tail), values)
}

/// A statement put together from fixed parts, for filters: the placeholders are in the parts.
pub(crate) fn parts(parts: &[&'static str]) -> Statement {
    Statement::of(Text::Parts(parts.concat()), Vec::new())
}

impl Text {
    /// In SQLite's words. Placeholders of lists have no number: SQLite looks numbered ones up one
    /// by one at each run, in time that grows with the square of their count.
    fn for_sqlite(self) -> SqlStr {
        let list = |text: &mut String, count: usize| {
            for n in 0..count {
                text.push_str(if n == 0 { "(?" } else { ", ?" });
            }
            text.push(')');
        };
        let text = match self {
            Self::Fixed(text) => return text.into_sql_str(),
            Self::Parts(text) => text,
            Self::Rows(head, width, count, tail) => {
                let mut text = String::with_capacity(head.len() + tail.len() + count * (width * 3 + 3) + 2);
                text.push_str(head);
                for row in 0..count {
                    text.push_str(if row == 0 { " " } else { ", " });
                    list(&mut text, width);
                }
                text.push(' ');
                text.push_str(tail);
                text
            }
            Self::List(mut text, count, tail) => {
                text.push(' ');
                list(&mut text, count);
                text.push(' ');
                text.push_str(tail);
                text
            }
        };
        // Put together from fixed parts only.
        AssertSqlSafe(text).into_sql_str()
    }
}

impl Statement {
    fn of(text: Text, values: Vec<Value>) -> Self {
        Self { text, values, deadline: STATEMENT_DEADLINE, locking: None }
    }

    /// In a transaction that writes, the rows of `table` (by its name in the statement) stay as they
    /// were read until its end; whoever else wants to change them waits. It goes behind the text, which
    /// is a plain `SELECT`. On SQLite it says nothing: nobody else writes there.
    pub(crate) fn locking(mut self, table: &'static str) -> Self {
        self.locking = Some(table);
        self
    }

    /// Binds the next value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Lets it take its time: for checks over whole tables.
    pub(crate) fn patiently(mut self) -> Self {
        self.deadline = PATIENT_DEADLINE;
        self
    }

    /// Runs it with the next statement, or with the commit: for what nobody waits for, because each
    /// visit to a SQLite file costs two changes of thread. What goes wrong with it goes wrong then, and
    /// with the whole transaction. It must not answer with rows. PostgreSQL runs it at once.
    pub(crate) async fn later(self, conn: &mut Conn) -> Result<(), StoreError> {
        match conn {
            Conn::Sqlite(open) => open.later.push(self),
            Conn::Postgres(session) => drop(session.told(self).await?),
        }
        Ok(())
    }

    /// Runs it; answers how many rows it touched.
    pub(crate) async fn run(self, conn: &mut Conn) -> Result<u64, StoreError> {
        Ok(conn.told(self).await?.touched)
    }

    /// All rows of its answer.
    pub(crate) async fn all(self, conn: &mut Conn) -> Result<Vec<Row>, StoreError> {
        Ok(conn.told(self).await?.rows)
    }

    /// The first row of its answer, if there is one.
    pub(crate) async fn first(self, conn: &mut Conn) -> Result<Option<Row>, StoreError> {
        Ok(self.all(conn).await?.into_iter().next())
    }

    /// Appends it with its values in their places, which must be numbers.
    fn spell_out(self, to: &mut String) -> Result<(), StoreError> {
        fill_in(self.text.for_sqlite().as_str(), to, |number, to| {
            match number.checked_sub(1).and_then(|place| self.values.get(place)) {
                Some(Value::Int(Some(value))) => to.push_str(&value.to_string()),
                _ => return Err(StoreError::Other("only numbers can be spelled out".to_owned())),
            }
            Ok(())
        })
    }

    fn is_numbered(&self) -> bool {
        matches!(self.text, Text::Fixed(_) | Text::Parts(_))
    }
}

/// Runs these one after another, as if by themselves; the rows that each answers.
pub(crate) async fn together(conn: &mut Conn, steps: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
    let told = match conn {
        Conn::Sqlite(open) => within(STATEMENT_DEADLINE, open.visit(steps)).await?,
        Conn::Postgres(session) => session.together(steps).await?,
    };
    Ok(told.into_iter().map(|told| told.rows).collect())
}

/// Statements as one text with one list of values. Placeholders without a number take the first values
/// in their order, so those of the numbered ones stand behind them.
fn joined(steps: Vec<Statement>) -> Result<sqlx::query::Query<'static, Sqlite, SqliteArguments>, StoreError> {
    let mut arguments = SqliteArguments::default();
    let mut offset = 0;
    let mut add = |values: Vec<Value>| -> Result<usize, StoreError> {
        let before = offset;
        offset += values.len();
        arguments.reserve(values.len(), 0);
        for value in values {
            match value {
                Value::Text(text) => arguments.add(text),
                Value::Int(number) => arguments.add(number),
                Value::Bytes(bytes) => arguments.add(bytes),
            }
            .map_err(|error| StoreError::Other(error.to_string()))?;
        }
        Ok(before)
    };
    let mut steps = steps;
    for step in steps.iter_mut().filter(|step| !step.is_numbered()) {
        add(std::mem::take(&mut step.values))?;
    }
    let alone = steps.len() == 1;
    let mut texts = String::new();
    for step in steps {
        let first = if step.is_numbered() { add(step.values)? } else { 0 };
        let text = step.text.for_sqlite();
        if alone {
            return Ok(sqlx::query_with(text, arguments));
        }
        fill_in(text.as_str(), &mut texts, |number, to| {
            to.push('$');
            to.push_str(&(first + number).to_string());
            Ok(())
        })?;
        texts.push(';');
    }
    // Put together from fixed parts only.
    Ok(sqlx::query_with(AssertSqlSafe(texts).into_sql_str(), arguments))
}

/// Appends `text`; what stands for each numbered placeholder is written by `fill`.
fn fill_in(
    text: &str,
    to: &mut String,
    fill: impl Fn(usize, &mut String) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut pieces = text.split('$');
    to.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = piece.split_at(digits);
        let number = number.parse().map_err(|_| StoreError::Other(format!("a stray $ in {text}")))?;
        fill(number, to)?;
        to.push_str(rest);
    }
    Ok(())
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(took_too_long()),
    }
}

pub(super) fn took_too_long() -> StoreError {
    StoreError::Passing("a statement took too long".to_owned())
}

impl Row {
    fn get<'r, T>(&'r self, column: &str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A text.
    pub(crate) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.get(column)
    }

    /// A text that may be missing.
    pub(crate) fn text_or_none(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    /// A number.
    pub(crate) fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.int_or_none(column)?.ok_or_else(|| StoreError::unreadable(column, "there is no number"))
    }

    /// A number that may be missing.
    pub(crate) fn int_or_none(&self, column: &str) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::Postgres(row) => match row.try_get::<Option<i64>, _>(column) {
                // Numbers in a statement's own text, and lengths, are narrower there.
                Err(sqlx::Error::ColumnDecode { .. }) => {
                    Ok(row.try_get::<Option<i32>, _>(column)?.map(i64::from))
                }
                read => Ok(read?),
            },
        }
    }

    /// A boolean.
    pub(crate) fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.int(column)? != 0)
    }

    /// A moment.
    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.int(column)?))
    }

    /// A moment that may be missing.
    pub(crate) fn time_or_none(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.int_or_none(column)?.map(Timestamp::from_millis))
    }

    /// Bytes that may be missing.
    pub(crate) fn bytes_or_none(&self, column: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(column)
    }

    /// Bytes.
    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    /// An id, or anything else that is read from its text.
    pub(crate) fn parsed<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text: &str = self.get(column)?;
        text.parse().map_err(|error| StoreError::unreadable(column, error))
    }

    /// An id that may be missing.
    pub(crate) fn parsed_or_none<T>(&self, column: &str) -> Result<Option<T>, StoreError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text: Option<&str> = self.get(column)?;
        text.map(str::parse).transpose().map_err(|error| StoreError::unreadable(column, error))
    }

    /// What a column holds as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| StoreError::unreadable(column, error))
    }

    /// What a column holds as JSON, if it holds anything.
    pub(crate) fn json_or_none<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.get(column)?;
        text.map(serde_json::from_str).transpose().map_err(|error| StoreError::unreadable(column, error))
    }
}

/// JSON of plain data, for a text column.
pub(crate) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Other(error.to_string()))
}

macro_rules! values {
    ($($from:ty => $variant:ident, $value:ident => $to:expr;)+) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant(Some($to))
            }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(|$value| $to))
            }
        }
    )+};
}

values! {
    String => Text, value => value;
    &str => Text, value => value.to_owned();
    &String => Text, value => value.clone();
    i64 => Int, value => value;
    u32 => Int, value => i64::from(value);
    bool => Int, value => i64::from(value);
    Timestamp => Int, value => value.as_millis();
    Vec<u8> => Bytes, value => value;
    loket_protocol::ids::ContactId => Text, value => value.to_string();
    loket_protocol::ids::IdentityId => Text, value => value.to_string();
    loket_protocol::ids::ThreadId => Text, value => value.to_string();
    loket_protocol::ids::CaseId => Text, value => value.to_string();
    loket_protocol::ids::MessageId => Text, value => value.to_string();
    loket_protocol::ids::AgentId => Text, value => value.to_string();
    loket_protocol::ids::KeyId => Text, value => value.to_string();
    loket_protocol::ids::SessionId => Text, value => value.to_string();
    loket_protocol::ids::EventId => Text, value => value.to_string();
    loket_protocol::ids::ParkedId => Text, value => value.to_string();
    loket_protocol::ids::CallbackId => Text, value => value.to_string();
    loket_protocol::ids::MergeId => Text, value => value.to_string();
    loket_protocol::ids::VisitorId => Text, value => value.to_string();
    &loket_protocol::channel::ChannelKind => Text, value => value.as_str().to_owned();
}

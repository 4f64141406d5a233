//! The one mechanism by which every statement runs: a text with `$1 …`, its values, and a connection
//! of whatever backend. A backend is an arm of [`Conn`], of [`Row`] and of `on_backend!`; no call site
//! knows which one it is.

use std::fmt::Write as _;
use std::time::Duration;

use loket_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _, SqlSafeStr as _, SqlStr, Sqlite};

use super::error::StoreError;
use super::postgres::{GRACE, Session};

/// How long one statement may take (`reliability-contract` §12).
const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// How long a statement of an operator's check may take, who waits for it and holds nothing up.
const PATIENT_DEADLINE: Duration = Duration::from_mins(10);
/// The longest list of rows or values in one statement; the backends allow some 32,000 values.
pub(crate) const ROWS_MAX: usize = 512;

/// A connection, inside a transaction or not.
pub(crate) enum Conn {
    /// To a SQLite file.
    Sqlite(PoolConnection<Sqlite>),
    /// To a PostgreSQL server.
    Postgres(Session),
}

impl From<Session> for Conn {
    fn from(session: Session) -> Self {
        Self::Postgres(session)
    }
}

/// Runs a statement as the connection's backend has it: `$query` on `$open`, within its deadline.
macro_rules! on_backend {
    ($statement:expr, $conn:expr, $query:ident, $open:ident => $run:expr) => {{
        let (statement, conn): (Statement, &mut Conn) = ($statement, $conn);
        let deadline = statement.deadline;
        match conn {
            Conn::Sqlite(pooled) => {
                let $query = statement.for_sqlite()?;
                let $open: &mut SqliteConnection = &mut *pooled;
                within(deadline, async { Ok($run) }).await.unwrap_or_else(|| Err(took_too_long()))
            }
            Conn::Postgres(session) => {
                if deadline > STATEMENT_DEADLINE {
                    session.be_patient().await?;
                }
                let $query = statement.for_postgres(session.may_lock())?;
                let $open: &mut PgConnection = session.open();
                match within(deadline + GRACE, async { Ok($run) }).await {
                    Some(outcome) => session.ended(outcome).await,
                    None => Err(took_too_long()),
                }
            }
        }
    }};
}

impl Conn {
    /// Closes it instead of using it again. One to a server sees to that by itself.
    pub(super) fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(pooled) => pooled.close_on_drop(),
            Self::Postgres(_) => {}
        }
    }

    /// Makes durable what was done in its transaction.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        match self {
            // Without a deadline: a disk that is slow now would be found to have committed later.
            Self::Sqlite(pooled) => {
                sqlx::query("COMMIT").execute(&mut **pooled).await?;
                Ok(())
            }
            Self::Postgres(session) => session.commit().await,
        }
    }

    /// Whether others may be writing while this one does.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
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

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

/// A statement with its values.
pub(crate) struct Statement {
    text: Text,
    values: Vec<Value>,
    deadline: Duration,
    /// The table whose rows stay as they were read, by its name in the statement.
    locking: Option<&'static str>,
}

enum Text {
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

impl Text {
    /// In PostgreSQL's words: a list is one array for each of its columns, so that any number of rows
    /// has one text and one plan.
    fn for_postgres(
        self,
        values: Vec<Value>,
        locking: Option<&str>,
    ) -> Result<(SqlStr, PgArguments), StoreError> {
        let mut arguments = PgArguments::default();
        let text = match self {
            Self::Fixed(text) => {
                bind_each(&mut arguments, values)?;
                match locking {
                    None => return Ok((text.into_sql_str(), arguments)),
                    Some(_) => text.to_owned(),
                }
            }
            Self::Parts(text) => {
                bind_each(&mut arguments, values)?;
                text
            }
            Self::Rows(head, width, _, tail) => {
                let head = head.strip_suffix("VALUES").unwrap_or(head);
                let types = bind_columns(&mut arguments, width, values)?;
                format!("{head} SELECT * FROM unnest({types}) {tail}")
            }
            Self::List(head, _, tail) => {
                let head = head.strip_suffix("IN").unwrap_or(&head);
                let types = bind_columns(&mut arguments, 1, values)?;
                format!("{head} = ANY({types}) {tail}")
            }
        };
        let text = match locking {
            Some(table) => format!("{text} FOR NO KEY UPDATE OF {table}"),
            None => text,
        };
        // Put together from fixed parts only.
        Ok((AssertSqlSafe(text).into_sql_str(), arguments))
    }
}

/// A value that the library refuses is a mistake of ours.
fn misfit(error: &(dyn std::error::Error + Send + Sync)) -> StoreError {
    StoreError::Other(error.to_string())
}

fn bind_each(arguments: &mut PgArguments, values: Vec<Value>) -> Result<(), StoreError> {
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text),
            Value::Int(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(|error| misfit(error.as_ref()))?;
    }
    Ok(())
}

/// Binds rows as one array a column; answers the placeholders with their types, which the first row has.
fn bind_columns(arguments: &mut PgArguments, width: usize, values: Vec<Value>) -> Result<String, StoreError> {
    enum Column {
        Text(Vec<Option<String>>),
        Int(Vec<Option<i64>>),
        Bytes(Vec<Option<Vec<u8>>>),
    }
    let count = values.len().checked_div(width).unwrap_or(0);
    let mut columns: Vec<Column> = Vec::with_capacity(width);
    for (n, value) in values.into_iter().enumerate() {
        if n < width {
            columns.push(match value {
                Value::Text(_) => Column::Text(Vec::with_capacity(count)),
                Value::Int(_) => Column::Int(Vec::with_capacity(count)),
                Value::Bytes(_) => Column::Bytes(Vec::with_capacity(count)),
            });
        }
        match (columns.get_mut(n % width.max(1)), value) {
            (Some(Column::Text(column)), Value::Text(text)) => column.push(text),
            (Some(Column::Int(column)), Value::Int(number)) => column.push(number),
            (Some(Column::Bytes(column)), Value::Bytes(bytes)) => column.push(bytes),
            _ => return Err(StoreError::Other("a column of a list has two types".to_owned())),
        }
    }
    let mut types = String::with_capacity(width * 14);
    for (n, column) in columns.into_iter().enumerate() {
        let (added, name) = match column {
            Column::Text(column) => (arguments.add(column), "text"),
            Column::Int(column) => (arguments.add(column), "bigint"),
            Column::Bytes(column) => (arguments.add(column), "bytea"),
        };
        added.map_err(|error| misfit(error.as_ref()))?;
        if n > 0 {
            types.push_str(", ");
        }
        let _ = write!(types, "${}::{name}[]", n + 1);
    }
    Ok(types)
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

    /// Runs it; answers how many rows it touched.
    pub(crate) async fn run(self, conn: &mut Conn) -> Result<u64, StoreError> {
        on_backend!(self, conn, query, open => query.execute(open).await?.rows_affected())
    }

    /// All rows of its answer.
    pub(crate) async fn all(self, conn: &mut Conn) -> Result<Vec<Row>, StoreError> {
        on_backend!(self, conn, query, open => query.fetch_all(open).await?.into_iter().map(Row::from).collect())
    }

    /// The first row of its answer, if there is one.
    pub(crate) async fn first(self, conn: &mut Conn) -> Result<Option<Row>, StoreError> {
        // To the end of its answer, so that a connection never waits with a part of one unread.
        on_backend!(self, conn, query, open => query.fetch_all(open).await?.into_iter().next().map(Row::from))
    }

    fn for_postgres(
        self,
        may_lock: bool,
    ) -> Result<sqlx::query::Query<'static, Postgres, PgArguments>, StoreError> {
        let locking = self.locking.filter(|_| may_lock);
        let (text, arguments) = self.text.for_postgres(self.values, locking)?;
        Ok(sqlx::query_with(text, arguments))
    }

    fn for_sqlite(self) -> Result<sqlx::query::Query<'static, Sqlite, SqliteArguments>, StoreError> {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(self.values.len(), 0);
        for value in self.values {
            match value {
                Value::Text(text) => arguments.add(text),
                Value::Int(number) => arguments.add(number),
                Value::Bytes(bytes) => arguments.add(bytes),
            }
            .map_err(|error| misfit(error.as_ref()))?;
        }
        Ok(sqlx::query_with(self.text.for_sqlite(), arguments))
    }
}

/// `None` when it took longer than it may.
async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Option<Result<T, StoreError>> {
    tokio::time::timeout(deadline, work).await.ok()
}

fn took_too_long() -> StoreError {
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
    loket_protocol::ids::VisitorId => Text, value => value.to_string();
    &loket_protocol::channel::ChannelKind => Text, value => value.as_str().to_owned();
}

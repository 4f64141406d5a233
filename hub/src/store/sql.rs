//! The one mechanism by which every statement runs: a text with `$1 …`, its values, and a connection
//! of whatever backend. A second backend is a second arm of [`Conn`] and of `on_backend!`; no call
//! site changes.

use std::time::Duration;

use loket_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _, Sqlite};

use super::error::StoreError;

/// How long one statement may take (`reliability-contract` §12).
const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// How long a statement of an operator's check may take, who waits for it and holds nothing up.
const PATIENT_DEADLINE: Duration = Duration::from_secs(600);
/// The longest list of rows or values in one statement; the backends allow some 32,000 values.
pub(crate) const ROWS_MAX: usize = 512;

/// A connection, inside a transaction or not.
pub(crate) enum Conn {
    /// To a SQLite file.
    Sqlite(PoolConnection<Sqlite>),
}

macro_rules! on_backend {
    ($conn:expr, $open:ident => $run:expr) => {
        match $conn {
            Conn::Sqlite(pooled) => {
                let $open: &mut SqliteConnection = &mut *pooled;
                $run
            }
        }
    };
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
pub(crate) struct Row(SqliteRow);

/// A statement with its values.
pub(crate) struct Statement {
    text: Text,
    values: Vec<Value>,
    deadline: Duration,
}

enum Text {
    Fixed(&'static str),
    Built(String),
}

/// A statement; its text is fixed, values go in by [`Statement::bind`].
pub(crate) fn sql(text: &'static str) -> Statement {
    Statement { text: Text::Fixed(text), values: Vec::new(), deadline: STATEMENT_DEADLINE }
}

/// `head` and one bracket of placeholders a row and `tail`: an insert of many rows at once. `width`
/// values make a row; at most [`ROWS_MAX`] rows. The parts are fixed texts, so that nothing from
/// outside can be in a statement.
pub(crate) fn rows(head: &'static str, width: usize, values: Vec<Value>, tail: &'static str) -> Statement {
    let count = values.len().checked_div(width).unwrap_or(0);
    let mut text = String::with_capacity(head.len() + tail.len() + values.len() * 6 + count * 3);
    text.push_str(head);
    for row in 0..count {
        text.push_str(if row == 0 { " (" } else { ", (" });
        placeholders(&mut text, row * width + 1, width);
        text.push(')');
    }
    text.push(' ');
    text.push_str(tail);
    Statement { text: Text::Built(text), values, deadline: STATEMENT_DEADLINE }
}

/// `head (…) tail` with one placeholder a value: `… WHERE id IN (…) …`. Fixed texts as in [`rows`].
/// Values bound afterwards have the numbers after the list's.
pub(crate) fn listed(head: &[&'static str], values: Vec<Value>, tail: &'static str) -> Statement {
    let mut text = head.concat();
    text.push_str(" (");
    placeholders(&mut text, 1, values.len());
    text.push_str(") ");
    text.push_str(tail);
    Statement { text: Text::Built(text), values, deadline: STATEMENT_DEADLINE }
}

/// A statement put together from fixed parts, for filters: the placeholders are in the parts.
pub(crate) fn parts(parts: &[&'static str]) -> Statement {
    Statement { text: Text::Built(parts.concat()), values: Vec::new(), deadline: STATEMENT_DEADLINE }
}

fn placeholders(text: &mut String, first: usize, count: usize) {
    use std::fmt::Write as _;
    for number in first..first + count {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}${number}", if number == first { "" } else { ", " });
    }
}

impl Statement {
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
        on_backend!(conn, open => {
            let deadline = self.deadline;
            let query = self.for_sqlite()?;
            within(deadline, async { Ok(query.execute(open).await?.rows_affected()) }).await
        })
    }

    /// Runs it however long it takes.
    pub(crate) async fn run_to_the_end(self, conn: &mut Conn) -> Result<(), StoreError> {
        on_backend!(conn, open => {
            self.for_sqlite()?.execute(open).await?;
            Ok(())
        })
    }

    /// All rows of its answer.
    pub(crate) async fn all(self, conn: &mut Conn) -> Result<Vec<Row>, StoreError> {
        on_backend!(conn, open => {
            let deadline = self.deadline;
            let query = self.for_sqlite()?;
            within(deadline, async { Ok(query.fetch_all(open).await?.into_iter().map(Row).collect()) }).await
        })
    }

    /// The first row of its answer, if there is one.
    pub(crate) async fn first(self, conn: &mut Conn) -> Result<Option<Row>, StoreError> {
        on_backend!(conn, open => {
            let deadline = self.deadline;
            let query = self.for_sqlite()?;
            within(deadline, async { Ok(query.fetch_optional(open).await?.map(Row)) }).await
        })
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
            .map_err(|error| StoreError::Other(error.to_string()))?;
        }
        Ok(match self.text {
            Text::Fixed(text) => sqlx::query_with(text, arguments),
            // Built above from fixed parts and numbers only.
            Text::Built(text) => sqlx::query_with(AssertSqlSafe(text), arguments),
        })
    }
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::Passing("a statement took too long".to_owned())),
    }
}

impl Row {
    fn get<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>>(
        &'r self,
        column: &str,
    ) -> Result<T, StoreError> {
        Ok(self.0.try_get(column)?)
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
        self.get(column)
    }

    /// A number that may be missing.
    pub(crate) fn int_or_none(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.get(column)
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

//! What can go wrong in the store, sorted by what the caller does about it.

use sqlx::error::DatabaseError;

use crate::error::HubError;

/// A failure of the store. No type of the database library goes beyond the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A time-out, a lock, a busy file: nothing was done; at once again, a few times.
    #[error("the store is busy: {0}")]
    Passing(String),
    /// There is no room: reading works, writing does not.
    #[error("there is no room for the store")]
    Full,
    /// A unique key or another rule of the schema was broken by what was written.
    #[error("a rule of the store was broken: {0}")]
    Constraint(String),
    /// The file or the disk is not sound.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A stored value is not what the schema says: it concerns its row only.
    #[error("the store holds something unreadable: {0}")]
    Unreadable(String),
    /// It is away or closed; again when it is back.
    #[error("the store is not available: {0}")]
    Away(String),
    /// It cannot be opened as configured; the sentence says what to change.
    #[error("{0}")]
    Refused(String),
    /// A mistake of ours in a statement or a value.
    #[error("the store refused: {0}")]
    Other(String),
}

impl StoreError {
    /// True when the store itself is in trouble, so that no item may be blamed
    /// (`reliability-contract` §7, first line of the table).
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Full | Self::Away(_) | Self::Damaged(_) | Self::Refused(_))
    }

    /// True when the same work may succeed at once.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Passing(_))
    }

    /// A stored value that is not what the schema says.
    pub(crate) fn unreadable(column: &str, why: impl std::fmt::Display) -> Self {
        Self::Unreadable(format!("column {column}: {why}"))
    }

    fn from_sqlite(error: &dyn DatabaseError) -> Self {
        // The low byte of an extended code is the primary code (sqlite.org/rescode.html).
        let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1) & 0xFF;
        let words = error.to_string();
        match code {
            5 | 6 | 9 | 17 => Self::Passing(words),
            13 => Self::Full,
            19 => Self::Constraint(words),
            11 | 26 => Self::Damaged(words),
            3 | 8 | 10 | 14 => Self::Away(words),
            _ => Self::Other(words),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(inner) => Self::from_sqlite(inner.as_ref()),
            sqlx::Error::PoolTimedOut => Self::Passing("no connection came free in time".to_owned()),
            sqlx::Error::PoolClosed => Self::Away("it is closed".to_owned()),
            sqlx::Error::WorkerCrashed => Self::Away("its worker has ended".to_owned()),
            sqlx::Error::Io(inner) => Self::Away(inner.to_string()),
            sqlx::Error::ColumnDecode { index, source } => Self::unreadable(&index, source),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<StoreError> for HubError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Passing(_) | StoreError::Away(_) => Self::Unavailable(error.to_string()),
            StoreError::Full => Self::DiskFull,
            StoreError::Refused(sentence) => Self::invalid("store.url", sentence),
            StoreError::Constraint(_)
            | StoreError::Damaged(_)
            | StoreError::Unreadable(_)
            | StoreError::Other(_) => Self::Internal(error.to_string()),
        }
    }
}

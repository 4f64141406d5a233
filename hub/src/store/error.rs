//! What can go wrong in the store, sorted by what the caller does about it.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

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

    /// By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html). The words of a broken rule name
    /// the rule and no value: what the server says beside them is not kept.
    fn from_postgres(error: &dyn DatabaseError) -> Self {
        let words = error.message().to_owned();
        let code = error.code().unwrap_or_default();
        let class = code.get(..2).unwrap_or_default();
        match (code.as_ref(), class) {
            // Serialisation, deadlock, a lock that was not free in time, a statement that took too long, a
            // transaction that stood idle for too long: all of it was taken back.
            ("40001" | "40P01" | "55P03" | "57014" | "25P03", _) => Self::Passing(words),
            ("53100", _) => Self::Full,
            (_, "23") => Self::Constraint(words),
            ("XX001" | "XX002", _) => Self::Damaged(words),
            // Connections, who may connect, the server's means and its operator; a primary that became a
            // standby.
            ("25006", _) | (_, "08" | "28" | "53" | "57" | "58") => Self::Away(words),
            _ => Self::Other(words),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(inner) => match inner.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => Self::from_postgres(error),
                None => Self::from_sqlite(inner.as_ref()),
            },
            sqlx::Error::PoolTimedOut => Self::Passing("no connection came free in time".to_owned()),
            sqlx::Error::PoolClosed => Self::Away("it is closed".to_owned()),
            sqlx::Error::WorkerCrashed => Self::Away("its worker has ended".to_owned()),
            sqlx::Error::Io(inner) => Self::Away(inner.to_string()),
            // What the server said made no sense, or nobody may trust what it says: its connection is given up.
            sqlx::Error::Protocol(words) => Self::Away(words),
            sqlx::Error::Tls(inner) => Self::Away(inner.to_string()),
            sqlx::Error::BeginFailed => Self::Away("a transaction could not be begun".to_owned()),
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

//! What the hub says when it cannot do what was asked. `agent-api/src/error.rs` is the only place
//! that turns these into status codes.

use loket_protocol::handoff::Control;
use serde_json::Value;

/// A refusal or a failure, sorted by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no such thing, or the caller has no right to it.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A field of the request cannot be; `field` is its path, the sentence says why and what to do.
    #[error("{field}: {sentence}")]
    Invalid {
        /// Where, as a JSON path such as `content.text`.
        field: String,
        /// What is wrong and what to do.
        sentence: String,
    },
    /// The message cannot be sent like this; `code` is stable (`channel_cannot`, `no_target`,
    /// `window_closed` …) and `options` says what would be possible.
    #[error("{sentence}")]
    Unsendable {
        /// Stable code.
        code: &'static str,
        /// What is wrong and what to do.
        sentence: String,
        /// What would be possible, as JSON.
        options: Value,
    },
    /// Somebody changed it meanwhile: read it again (`If-Match`).
    #[error("it was changed by somebody else meanwhile; read it again")]
    Stale,
    /// Somebody else answers this thread now: who, and at which turn.
    #[error("somebody else answers this thread now (turn {})", .0.epoch)]
    ControlLost(Box<Control>),
    /// The same idempotency key was used for something else.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyMismatch,
    /// The same request is being carried out right now.
    #[error("the same request is being carried out right now")]
    IdempotencyInFlight,
    /// It exists already, such as a login name.
    #[error("{0}")]
    Conflict(String),
    /// Login name or password is wrong; which of them is never told.
    #[error("login name or password is not right")]
    Credentials,
    /// Too many tries; again after so many seconds.
    #[error("too many tries; again in {retry_after_s} s")]
    TooMany {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// The cursor is from before a restore, or too old: start from a snapshot.
    #[error("this cursor is of another log or too old; start again from the present")]
    CursorGone,
    /// The store or the bus is away or busy: again soon. Nothing was done.
    #[error("not available right now: {0}")]
    Unavailable(String),
    /// The disk is full: reading works, writing does not.
    #[error("there is no room on the disk")]
    DiskFull,
    /// A bug or damage; the words are for the log, not for the caller.
    #[error("internal: {0}")]
    Internal(String),
}

impl HubError {
    /// A field that cannot be.
    pub fn invalid(field: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), sentence: sentence.into() }
    }
}

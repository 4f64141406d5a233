//! Threads.

use serde::{Deserialize, Serialize};

use crate::contact::Contact;
use crate::handoff::Control;
use crate::ids::{AgentId, CaseId, ThreadId};
use crate::message::Message;
use crate::time::Timestamp;

/// Whether somebody still has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreadStatus {
    /// There is a case.
    Open,
    /// The last case is closed; the next message opens a new one.
    Resolved,
}

impl ThreadStatus {
    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// A thread as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id.
    pub id: ThreadId,
    /// Whose it is, with all identities and their reply windows.
    pub contact: Contact,
    /// Open or resolved.
    pub status: ThreadStatus,
    /// The case that is open, or the last one.
    pub case_id: Option<CaseId>,
    /// Who looks after it.
    pub assignee: Option<AgentId>,
    /// Who answers now.
    pub control: Control,
    /// Since when the customer waits for an answer; absent when they do not.
    pub waiting_since: Option<Timestamp>,
    /// The number of the last entry of its log.
    pub seq: i64,
    /// The last message or note.
    pub last_message: Option<Message>,
    /// How many of the customer's messages came after the asking agent last marked it read.
    pub unread: i64,
    /// When the last message came; what the inbox is sorted by.
    pub last_message_at: Option<Timestamp>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Raised by every change of assignee or status; the `ETag` for `If-Match`.
    pub version: i64,
}

//! What the hub is asked and what it answers, beyond the nouns of `loket_protocol`.

use loket_protocol::agent::Role;
use loket_protocol::channel::{AccountSettings, ChannelHealth};
use loket_protocol::event::EventType;
use loket_protocol::handoff::{Holder, Successor, Verb};
use loket_protocol::ids::{AgentId, ContactId, IdentityId, KeyId, MessageId, ParkedId, SessionId};
use loket_protocol::message::{Attachment, Content};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The largest page of any list.
pub const PAGE_MAX: u32 = 200;
/// The largest page of events (`outgoing-webhooks` §13).
pub const EVENTS_PAGE_MAX: u32 = 500;

/// Who asks. Made only by the hub, from a session's token or an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What it logged in with.
    pub by: PrincipalBy,
    /// What it may do.
    pub role: Role,
    /// Its name, as author of messages.
    pub name: String,
}

/// What a principal logged in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalBy {
    /// An agent's session.
    Session(SessionId, AgentId),
    /// An API key.
    Key(KeyId),
}

impl Principal {
    /// The id that stands for it in audit, idempotency and authorship: of the agent or of the key.
    pub fn id(&self) -> String {
        match self.by {
            PrincipalBy::Session(_, agent) => agent.to_string(),
            PrincipalBy::Key(key) => key.to_string(),
        }
    }

    /// Whether what they say to a customer is an answer. What a program tells on its own account, such as
    /// that a parcel has left, is none.
    pub fn answers(&self) -> bool {
        self.agent().is_some() || self.role == Role::Bot
    }

    /// The agent, when a person asks.
    pub fn agent(&self) -> Option<AgentId> {
        match self.by {
            PrincipalBy::Session(_, agent) => Some(agent),
            PrincipalBy::Key(_) => None,
        }
    }
}

/// The scope of an idempotent write (`reliability-contract` §10). The answer's status is the
/// route's to choose; its body is the JSON of what the hub returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// The header's value, 1 to 255 visible ASCII characters.
    pub key: String,
    /// SHA-256 of the canonical body, hexadecimal.
    pub fingerprint: String,
    /// The status of a first answer.
    pub status: u16,
}

/// The outcome of a write: done now, or the first answer again.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<T> {
    /// Done now.
    Done(T),
    /// The key was seen before: the first answer, word for word.
    Replayed {
        /// Its status.
        status: u16,
        /// Its JSON body.
        body: String,
    },
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    pub next_cursor: Option<String>,
}

/// Which threads, newest message first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadFilter {
    /// Only of this status.
    pub status: Option<ThreadStatus>,
    /// Only of this assignee; `Some(None)` means nobody's.
    pub assignee: Option<Option<AgentId>>,
    /// Only with an identity on this kind of channel.
    pub channel: Option<String>,
    /// Only with messages that the asking agent has not read.
    pub unread: bool,
    /// Only where such a party answers now.
    pub control: Option<Holder>,
    /// Only where the customer waits for an answer, or only where they do not.
    pub waiting: Option<bool>,
}

/// What is asked of a thread's control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHandoff {
    /// What.
    pub verb: Verb,
    /// To whom, for *pass* and *offer*.
    pub to: Option<Successor>,
    /// The turn that the asking one knows.
    pub epoch: Option<i64>,
    /// Why, as a short word: `[a-z][a-z0-9_]{0,31}`.
    pub reason: Option<String>,
    /// What whoever takes over should know, at most 2,000 characters.
    pub summary: Option<String>,
}

/// Which messages of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagesFrom {
    /// The last ones, in ascending order.
    Last,
    /// Those after a seq, ascending.
    After(i64),
    /// Those before a seq, the nearest ones, ascending.
    Before(i64),
}

/// Where a reply should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The identity of the contact's last message, if it may receive; else the most recently active
    /// one that may (`design.md` §5).
    Auto,
    /// This identity.
    Identity(IdentityId),
}

/// A reply to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReply {
    /// What to say.
    pub content: Content,
    /// With what; at most 30.
    pub attachments: Vec<Attachment>,
    /// To whom.
    pub to: Target,
    /// Our id of the message that it answers.
    pub reply_to: Option<MessageId>,
    /// The client's own id, instead of an idempotency key.
    pub client_message_id: Option<String>,
    /// The turn of control in which it was written: refused when that is over. A bot must say it.
    pub epoch: Option<i64>,
}

/// Two contacts that are one person, by somebody's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMerge {
    /// The other one.
    pub contact: ContactId,
    /// Which of the two survives; the older one when it is not said.
    pub survivor: Option<ContactId>,
    /// Why, at most 500 characters.
    pub why: Option<String>,
}

/// A new agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgent {
    /// What they log in with: 1 to 64 of letters, digits and `.@_+-`, compared without case.
    pub login: String,
    /// What customers and colleagues see, 1 to 80 characters.
    pub name: String,
    /// What they may do: admin, lead or agent.
    pub role: Role,
}

/// A new API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for, 1 to 80 characters; also the author's name on its messages.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Until when; at most a year ahead (`security` K3).
    pub expires_at: Timestamp,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Since when it no longer works.
    pub revoked_at: Option<Timestamp>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// After this log seq.
    pub after: i64,
    /// Only these types; empty means all.
    pub types: Vec<EventType>,
    /// At most so many, 1 to [`EVENTS_PAGE_MAX`].
    pub limit: u32,
}

/// A channel account with its health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelState {
    /// Which, and what can be done with it.
    #[serde(flatten)]
    pub settings: AccountSettings,
    /// How it is doing.
    pub health: ChannelHealth,
    /// What is wrong and how to mend it.
    pub sentence: Option<String>,
    /// Since when; `None` while nothing has happened on it yet.
    pub since: Option<Timestamp>,
    /// When something came in last.
    pub last_inbound_at: Option<Timestamp>,
    /// When something was taken by the provider last.
    pub last_sent_at: Option<Timestamp>,
    /// Replies that wait to be sent.
    pub queued: i64,
    /// Replies whose answer was lost and that are not settled.
    pub unconfirmed: i64,
}

/// An item that was set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParkedItem {
    /// Its id.
    pub id: ParkedId,
    /// Its short name for people, such as `P-12`.
    pub name: String,
    /// Which channel it came in on.
    pub channel_kind: String,
    /// The channel account as the body named it.
    pub account: Option<String>,
    /// Why (`protocol::inbound::ParkReason`, by name).
    pub reason: String,
    /// What was wrong and where.
    pub error: String,
    /// How often it came.
    pub times: i64,
    /// `parked`, `replayed` or `dropped`.
    pub state: String,
    /// The placeholder in the thread, when the sender could be told.
    pub message_id: Option<MessageId>,
    /// When it came first.
    pub first_at: Timestamp,
    /// When it came last.
    pub last_at: Timestamp,
    /// Size of its raw bytes.
    pub size_bytes: i64,
}

/// One thing that `loket verify` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which invariant (`V1` … `V12`).
    pub invariant: String,
    /// What is missing, doubled or wrong, naming the row.
    pub sentence: String,
}

/// What `loket verify` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Everything that is wrong, at most 1,000; empty means clean.
    pub findings: Vec<Finding>,
    /// How many rows were looked at, by noun.
    pub counted: std::collections::BTreeMap<String, i64>,
    /// Invariants that were checked.
    pub checked: Vec<String>,
    /// Invariants about what this version does not have, each with what that is.
    pub nothing_yet: Vec<String>,
}

/// How full a topic is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDepth {
    /// Items that are not acknowledged, leased ones included.
    pub items: u64,
    /// Of these, how many are leased.
    pub leased: u64,
    /// Age of the oldest in milliseconds.
    pub oldest_age_ms: u64,
}

/// What is wrong with the parts of the process, for `/health/ready` and `/health/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubHealth {
    /// The store answers within its time.
    pub store: bool,
    /// The bus answers within its time.
    pub bus: bool,
    /// How full each topic of the bus is; empty when the bus does not answer.
    pub topics: std::collections::BTreeMap<String, TopicDepth>,
    /// Log entries that have no number yet.
    pub unnumbered: i64,
    /// Parked items that wait for a person.
    pub parked: i64,
}

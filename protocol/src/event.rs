//! Public events: entries of the one log, the same on socket, pull and (later) webhooks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::PresenceState;
use crate::ids::{AgentId, EventId, ThreadId};
use crate::time::Timestamp;

/// The version of event bodies; a date (`outgoing-webhooks` §3).
pub const API_VERSION: &str = "2026-11-01";

/// The catalogue as rows: variant, name, belongs to a thread, meaning.
macro_rules! catalogue {
    ($($variant:ident, $name:literal, $thread:literal, $meaning:literal;)+) => {
        /// The catalogue (`outgoing-webhooks` §4): noun first, what happened as a past participle.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType {
            $(#[doc = $meaning] $variant,)+
        }

        impl EventType {
            /// Every type, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in JSON and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// True when such an event belongs to a thread and has a number in its log.
            pub fn is_of_a_thread(self) -> bool {
                match self { $(Self::$variant => $thread,)+ }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

catalogue! {
    MessageReceived, "message.received", true, "A customer's message was appended, once, whatever the provider repeated.";
    MessageQueued, "message.queued", true, "A reply by an agent, bot or API was accepted.";
    MessageEchoed, "message.echoed", true, "A message that the company wrote elsewhere (phone app, Page inbox, another app) was appended.";
    MessageImported, "message.imported", true, "An older message was imported from the provider's history.";
    MessageSent, "message.sent", true, "The provider took a message of ours.";
    MessageDelivered, "message.delivered", true, "A message of ours reached the device.";
    MessageRead, "message.read", true, "A message of ours was read.";
    MessageFailed, "message.failed", true, "A message of ours will not arrive; data.error says why.";
    MessageUnconfirmed, "message.unconfirmed", true, "A message of ours was sent and the answer was lost; it is not settled.";
    MessageEdited, "message.edited", true, "A message was edited.";
    MessageDeleted, "message.deleted", true, "A message was taken back by its author.";
    MessageReacted, "message.reacted", true, "A reaction was added, changed or removed.";
    MessageRated, "message.rated", true, "The customer judged a message.";
    MessageCopied, "message.copied", true, "A merge or its undo showed a message of another thread in this one: nothing arrived.";
    NoteAdded, "note.added", true, "An agent added a note that customers never see.";
    ThreadOpened, "thread.opened", true, "A case began.";
    ThreadResolved, "thread.resolved", true, "A case ended.";
    ThreadAssigned, "thread.assigned", true, "The thread was given to an agent.";
    ThreadUnassigned, "thread.unassigned", true, "The thread was taken from its agent.";
    ControlRequested, "control.requested", true, "A person is wanted: the customer asked, or the bot hands over; data.reason says why and data.summary what it had to say.";
    ControlOffered, "control.offered", true, "A waiting thread was offered to an agent.";
    ControlAccepted, "control.accepted", true, "An agent answers from now on; data.reason tells an accepted offer from a take, a reply and an echo.";
    ControlPassed, "control.passed", true, "Control was handed on to a colleague, the bot, or whoever is free.";
    ControlReleased, "control.released", true, "The holder let go of control.";
    ControlExpired, "control.expired", true, "An offer was not accepted in time; the thread waits again.";
    ThreadReferred, "thread.referred", true, "A link or an ad reopened the conversation without a message.";
    ThreadHandedOver, "thread.handed_over", true, "The platform moved the conversation between apps.";
    ContactCreated, "contact.created", false, "A contact was made.";
    ContactUpdated, "contact.updated", false, "A contact's name, preference or consent changed.";
    ContactMerged, "contact.merged", true, "Two contacts were joined; this thread stands for both.";
    ContactSplit, "contact.split", true, "A merge was taken back; the other thread is its own again.";
    IdentityLinked, "identity.linked", false, "An address was joined to a contact, with how it was proven.";
    IdentityUnlinked, "identity.unlinked", false, "An address was taken from a contact.";
    ChannelConnected, "channel.connected", false, "A channel account works for the first time.";
    ChannelDegraded, "channel.degraded", false, "The provider complains about a channel account.";
    ChannelRecovered, "channel.recovered", false, "A channel account works again.";
    ChannelReauthorise, "channel.reauthorise", false, "The provider refuses a channel account; its replies are held.";
    ChannelNoticed, "channel.noticed", false, "The provider told something about a channel account.";
    StatusOrphaned, "status.orphaned", false, "A status came for a message that we do not know; it waits for the message.";
    ItemParked, "item.parked", false, "An item was set aside for a person.";
}

impl EventType {
    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom("not an event type of this version"))
    }
}

/// Where an event stands in its thread's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadPlace {
    /// The thread.
    pub id: ThreadId,
    /// Its number in the thread's log: 1, 2, 3 … without gap.
    pub seq: i64,
}

/// An event (`outgoing-webhooks` §3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique for ever.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When the fact was committed by us.
    pub timestamp: Timestamp,
    /// [`API_VERSION`].
    pub api_version: String,
    /// The number in the one log: no gap, no repeat.
    pub seq: i64,
    /// Where it stands in its thread; absent when it belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadPlace>,
    /// The object as it was at that moment.
    pub data: Value,
}

/// Typing, looking and presence: on the socket only, in no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveSignal {
    /// The customer or a colleague is writing.
    Typing {
        /// Where.
        thread_id: ThreadId,
        /// The colleague; absent when it is the customer.
        agent_id: Option<AgentId>,
        /// Writing, or no longer.
        on: bool,
    },
    /// A colleague has a thread open before them, or no longer. Said again while it is so.
    Looking {
        /// Which.
        thread_id: ThreadId,
        /// Who.
        agent_id: AgentId,
        /// Looking, or no longer.
        on: bool,
    },
    /// A colleague came, went, or changed what they take.
    Presence {
        /// Who.
        agent_id: AgentId,
        /// How they are now.
        state: PresenceState,
    },
    /// A session ended: sockets that live on it close at once.
    SessionEnded {
        /// Whose sessions or which key; compared with the socket's own.
        principal: String,
    },
    /// A web chat visitor is writing; whoever shows it to agents asks the hub, which turns it into
    /// [`Self::Typing`].
    VisitorTyping {
        /// The site.
        site: String,
        /// The visitor.
        visitor: crate::ids::VisitorId,
        /// Writing, or no longer.
        on: bool,
    },
}

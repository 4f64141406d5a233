//! What the events of ingest carry: the object as it is now, who it is about, and what was told.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::Customer;
use loket_protocol::ids::{ContactId, IdentityId};
use loket_protocol::inbound::{Fact, InboundEvent};
use loket_protocol::message::Message;
use loket_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::people::Person;

/// The lane of a thread on one identity.
#[derive(Serialize)]
pub(super) struct Conversation<'a> {
    identity_id: IdentityId,
    channel: &'a ChannelAccount,
}

#[derive(Serialize)]
pub(super) struct ContactRef {
    id: ContactId,
}

/// The data of an event about a message that came: the message has everything that was told, but
/// for these few.
#[derive(Serialize)]
pub(super) struct Came<'a> {
    pub(super) message: &'a Message,
    conversation: Conversation<'a>,
    contact: ContactRef,
    /// The addresses and the name as they were told then: an identity's may change later.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a Customer>,
    /// The outbox id of an echo, also when it is none of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    standby: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_window: Option<bool>,
    /// A group's message: who of the group wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<&'a Customer>,
    /// How far an import of history is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'a Value>,
}

impl<'a> Came<'a> {
    /// What `event` brought, as `message` stands in the thread now.
    pub(super) fn of(event: &'a InboundEvent, person: &Person, message: &'a Message) -> Self {
        let (said, progress) = match &event.fact {
            Fact::Message(said) | Fact::Echo(said) => (Some(said), None),
            Fact::History(history) => (Some(&history.message), history.progress.as_ref()),
            _ => (None, None),
        };
        Self {
            message,
            conversation: Conversation { identity_id: person.identity, channel: &event.channel },
            contact: ContactRef { id: person.contact },
            customer: event.customer.as_ref(),
            outbox_id: said.and_then(|said| said.outbox_id.as_deref()),
            standby: event.standby,
            opens_window: event.opens_window,
            participant: said.and_then(|said| said.participant.as_ref()),
            progress,
        }
    }
}

/// The data of an event about anything else: the fact word for word, with its provider time and the
/// customer's addresses, so that nothing of what was told is out of reach.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    /// The message that it is about, when we have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a Message>,
    channel: &'a ChannelAccount,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<Conversation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<ContactRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a Customer>,
    at: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    standby: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_window: Option<bool>,
    /// Of a reaction: `add` or `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    fact: &'a Fact,
}

impl<'a> Told<'a> {
    /// What `event` told, about whom and about which message.
    pub(super) fn of(event: &'a InboundEvent, person: Option<&Person>, message: Option<&'a Message>) -> Self {
        Self {
            message,
            channel: &event.channel,
            conversation: person
                .map(|person| Conversation { identity_id: person.identity, channel: &event.channel }),
            contact: person.map(|person| ContactRef { id: person.contact }),
            customer: event.customer.as_ref(),
            at: event.at,
            standby: event.standby,
            opens_window: event.opens_window,
            action: match &event.fact {
                Fact::Reaction(reaction) => Some(if reaction.emoji.is_some() { "add" } else { "remove" }),
                _ => None,
            },
            fact: &event.fact,
        }
    }
}

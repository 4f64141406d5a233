//! What goes to a sender and what comes back (`reliability-contract` §3).

use serde::{Deserialize, Serialize};

use crate::channel::ChannelAccount;
use crate::contact::Handle;
use crate::delivery::SendClass;
use crate::ids::MessageId;
use crate::message::{Attachment, Content};
use crate::time::Timestamp;

/// The version of [`OutboundMessage`] that this build writes.
pub const OUTBOUND_VERSION: u16 = 1;

/// Names one dispatch of one part of a message. A reply of several provider messages (a text and
/// two pictures) has several parts, each settled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dispatch {
    /// The message.
    pub message_id: MessageId,
    /// The part, from 0.
    pub part: u32,
    /// The number of the dispatch, from 1; a repeat is a new dispatch.
    pub number: u32,
}

impl Dispatch {
    /// The outbox id that travels with the send and comes back in statuses and echoes:
    /// `out:<message>:<part>:<number>`.
    pub fn outbox_id(&self) -> String {
        format!("out:{}:{}:{}", self.message_id, self.part, self.number)
    }

    /// The dispatch that an outbox id names; `None` when it is not one of ours.
    pub fn from_outbox_id(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("out:")?.split(':');
        let dispatch = Self {
            message_id: parts.next()?.parse().ok()?,
            part: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(dispatch)
    }
}

/// One provider message to be sent: a part of a message, on the topic `outbound`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// [`OUTBOUND_VERSION`] of the writer.
    pub v: u16,
    /// What it is a part and a dispatch of.
    pub dispatch: Dispatch,
    /// The channel account to send from.
    pub channel: ChannelAccount,
    /// The recipient's addresses in order of preference; never empty.
    pub to: Vec<Handle>,
    /// What to say.
    pub content: Content,
    /// At most one attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// The provider's id of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// A person wrote it (only then Messenger's human-agent tag may be used).
    pub written_by_person: bool,
    /// Until when the ordinary reply window is open; absent where it is closed or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_closes_at: Option<Timestamp>,
}

impl OutboundMessage {
    /// The key of order: the conversation.
    pub fn lane(&self) -> String {
        let user = self.to.first().map_or("-", |handle| handle.value.as_str());
        format!("{}:{user}", self.channel)
    }
}

/// A sender asks leave to send. No claim, no request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it wants to send.
    pub dispatch: Dispatch,
    /// Fresh for every lease, 32 hexadecimal digits.
    pub nonce: String,
}

/// The hub's answer to a [`Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimAnswer {
    /// Send it now.
    Granted,
    /// Somebody else sends or has sent it, or it is settled: forget it.
    Refused,
}

/// What became of a send, on the topic `reports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReport {
    /// What was sent.
    pub dispatch: Dispatch,
    /// From which channel account.
    pub channel: ChannelAccount,
    /// When the outcome was known.
    pub at: Timestamp,
    /// The outcome.
    pub outcome: Outcome,
}

impl SendReport {
    /// The key that a repeat of the report shares with it (`reliability-contract` §5).
    pub fn key(&self) -> String {
        format!("rep|{}|{}", self.dispatch.outbox_id(), self.outcome.name())
    }
}

/// What became of a send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The provider took it.
    Sent {
        /// Its id for the message.
        external_id: String,
        /// The recipient's addresses that the answer told us.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        learnt: Vec<Handle>,
    },
    /// It surely was not sent; it may be tried again.
    NotSent {
        /// What to do about it.
        class: SendClass,
        /// The provider's code, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i64>,
        /// Its sub-code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subcode: Option<i64>,
        /// Not before so many milliseconds, as the provider asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// One sentence for the agent and the operator.
        sentence: String,
    },
    /// It will not be sent.
    Failed {
        /// The provider's code, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i64>,
        /// Its sub-code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subcode: Option<i64>,
        /// One sentence for the agent: what happened and what to do.
        sentence: String,
    },
    /// The request left and the answer was lost or unreadable: nobody can know.
    Unconfirmed {
        /// How it was lost.
        why: String,
    },
}

impl Outcome {
    /// The name in keys and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::NotSent { .. } => "not_sent",
            Self::Failed { .. } => "failed",
            Self::Unconfirmed { .. } => "unconfirmed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Id as _;

    #[test]
    fn an_outbox_id_is_read_back_and_a_foreign_one_is_not() {
        let message_id = MessageId::mint(Timestamp::from_millis(5), [3; 10]);
        let dispatch = Dispatch { message_id, part: 2, number: 7 };
        assert_eq!(Dispatch::from_outbox_id(&dispatch.outbox_id()), Some(dispatch));
        for foreign in ["out:01JD3ZAAAA", "", "out:", "out:x:1:1", &format!("out:{message_id}:1:1:1")] {
            assert_eq!(Dispatch::from_outbox_id(foreign), None, "{foreign}");
        }
    }
}

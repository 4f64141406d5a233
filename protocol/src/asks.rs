//! Questions over the bus that want an answer at once: best effort, never of record
//! (`reliability-contract` §9, `ask`).

use serde::{Deserialize, Serialize};

use crate::channel::ChannelAccount;
use crate::contact::Handle;
use crate::handoff::Holder;
use crate::ids::{ContactId, ThreadId, VisitorId};
use crate::message::Message;
use crate::outbound::{Claim, ClaimAnswer};
use crate::time::Timestamp;

/// A sender's question to the hub.
pub type ClaimAsk = Claim;
/// The hub's answer to it.
pub type ClaimReply = ClaimAnswer;

/// What web chat asks the hub. Connectors own no durable state, so visitors live in the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum WebchatAsk {
    /// A visit begins: resume the visitor of this token, or make a new one.
    Visit {
        /// The site.
        site: String,
        /// SHA-256 of the visitor's token, hexadecimal; absent on a first visit.
        token_hash: Option<String>,
        /// SHA-256 of the token that the connector has just made, for when there is no such visitor.
        new_token_hash: String,
    },
    /// Whose token is it?
    Visitor {
        /// The site.
        site: String,
        /// SHA-256 of the visitor's token, hexadecimal.
        token_hash: String,
    },
    /// What stands in the visitor's thread after a number, and what was edited or taken back after it:
    /// at most 100 messages of each, no notes.
    History {
        /// The site.
        site: String,
        /// The visitor.
        visitor: VisitorId,
        /// Entries after this thread seq; 0 for all.
        after_seq: i64,
        /// The thread whose numbers these are. If another one is the visitor's now, everything is told anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<ThreadId>,
    },
    /// An address by which the visitor can go on elsewhere as the same person.
    Link {
        /// The site.
        site: String,
        /// The visitor.
        visitor: VisitorId,
        /// The kind of channel: `whatsapp`, `messenger`.
        channel: String,
        /// The language of the words in it, such as `nl`.
        language: Option<String>,
    },
    /// What a visitor says of themselves. It is kept with the mark that nobody has proven it.
    Claim {
        /// The site.
        site: String,
        /// The visitor.
        visitor: VisitorId,
        /// Their name.
        name: Option<String>,
        /// Their mail address.
        email: Option<String>,
        /// Their telephone number.
        phone: Option<String>,
    },
    /// Whose conversations have changed since a place in the log, so that one question a process
    /// stands for all its sockets.
    News {
        /// The place of the answer before; absent for the first question, whose answer is only where
        /// the log is now.
        after: Option<i64>,
    },
}

/// Who answers a visitor now, as far as a visitor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    /// A bot, a person, or nobody yet.
    pub holder: Holder,
    /// The person's name, when it is known who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The hub's answer to a [`WebchatAsk`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum WebchatReply {
    /// The visitor.
    Visitor {
        /// Their id; it is also the user id of their identity.
        visitor: VisitorId,
        /// They are new: the token made for them counts from now on.
        is_new: bool,
        /// Their thread, once they have written.
        thread_id: Option<ThreadId>,
        /// The contact, once they have written.
        contact_id: Option<ContactId>,
    },
    /// Messages as the visitor may see them: without notes, and with nothing that is ours alone.
    History {
        /// In order of seq. Those up to the number asked for were edited or taken back since.
        messages: Vec<Message>,
        /// True when there is more after the last one.
        more: bool,
        /// How far this goes: the number to ask after next.
        #[serde(default)]
        up_to_seq: Option<i64>,
        /// The thread whose numbers these are, once the visitor has written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<ThreadId>,
        /// Who answers now; absent before anything was said.
        #[serde(default)]
        answering: Option<Answering>,
    },
    /// The address.
    Link {
        /// What to open.
        address: String,
        /// Until when it counts.
        expires_at: Timestamp,
    },
    /// It is kept.
    Claimed,
    /// This cannot be what it is said to be; nothing was kept.
    BadClaim {
        /// `name`, `email` or `phone`.
        field: String,
    },
    /// No account of that channel can be linked to, or the visitor has said nothing yet.
    NoLink,
    /// Whose conversations have changed.
    News {
        /// The visitors, each once.
        visitors: Vec<VisitorId>,
        /// The place in the log to ask after next.
        up_to: i64,
        /// The log goes on after it: ask again at once.
        more: bool,
    },
    /// There is no such visitor.
    Unknown,
}

/// A passing sign for a provider or a visitor, which may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "signal", rename_all = "snake_case")]
pub enum Signal {
    /// We have read up to this message of the customer's.
    MarkRead {
        /// From which channel account.
        channel: ChannelAccount,
        /// Whose message.
        to: Vec<Handle>,
        /// The provider's id of the message.
        external_id: String,
    },
    /// Somebody of ours is writing.
    Typing {
        /// From which channel account.
        channel: ChannelAccount,
        /// To whom.
        to: Vec<Handle>,
        /// Writing, or no longer.
        on: bool,
        /// The provider's id of the customer's last message, which WhatsApp wants.
        external_id: Option<String>,
    },
}

/// Did the signal go out?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalReply {
    /// It did.
    Done,
    /// The channel has no such sign, or it did not get through.
    NotDone,
}

/// The message of the wake-up [`crate::topics::WAKE_VISITOR`], as JSON: look whether there is
/// something new for this visitor, and perhaps somebody of ours is writing to them. It may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorWake {
    /// Whom it is for.
    pub visitor: VisitorId,
    /// Somebody of ours is writing, or no longer; absent when nothing is said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typing: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Id as _;

    #[test]
    fn a_visitor_wake_without_typing_is_read_back() {
        let visitor = VisitorId::mint(Timestamp::from_millis(5), [3; 10]);
        let wake = VisitorWake { visitor, typing: None };
        let text = serde_json::to_string(&wake).unwrap();
        assert_eq!(text, format!(r#"{{"visitor":"{visitor}"}}"#));
        assert_eq!(serde_json::from_str::<VisitorWake>(&text).unwrap(), wake);
    }
}

//! What a callback or a visitor's frame comes to: events for the hub, and problems for a person.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::channel::ChannelAccount;
use crate::contact::{Customer, Handle};
use crate::delivery::ProviderStatus;
use crate::ids::CallbackId;
use crate::message::{Attachment, Content, ProviderError, Referral, ReplyTo};
use crate::time::Timestamp;

/// The version of [`InboundEvent`] and [`Problem`] that this build writes. One that it does not
/// know is parked, never dropped (`reliability-contract` §13).
pub const INBOUND_VERSION: u16 = 1;

/// One normalised fact, as it rides the bus on the topic `inbound`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboundEvent {
    /// [`INBOUND_VERSION`] of the writer.
    pub v: u16,
    /// The channel account that it came in on.
    pub channel: ChannelAccount,
    /// Who it is from or about; absent on facts about the account itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// The provider's time of the fact; our time of arrival when the provider gave none.
    pub at: Timestamp,
    /// `at` is our own time of arrival, because the provider's was absent or nonsense.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_is_arrival: bool,
    /// When we received it.
    pub received_at: Timestamp,
    /// Another app is in control of the conversation: show, do not answer by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// Starts or restarts the reply window; absent where the platform is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_window: Option<bool>,
    /// The fact.
    pub fact: Fact,
}

/// What happened. The names are those of the fixtures' facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The customer wrote.
    Message(MessageFact),
    /// We wrote: confirmed by the provider, or written elsewhere (phone app, Page inbox, another app).
    Echo(MessageFact),
    /// An older message of either side, imported. Notifies nobody and opens no window.
    History(HistoryFact),
    /// The provider tells where a message of ours stands.
    Status(StatusFact),
    /// Everything of ours up to a moment was delivered or read.
    Watermark(WatermarkFact),
    /// A reaction was added, changed or removed.
    Reaction(ReactionFact),
    /// A message was edited.
    Edit(EditFact),
    /// A message was taken back by its author.
    Revoke(RevokeFact),
    /// The customer's address changed, or we learnt something about it.
    Identity(IdentityFact),
    /// The customer allowed or refused a kind of message.
    Preference(PreferenceFact),
    /// A link or ad reopened the conversation without a message.
    Referral(ReferralFact),
    /// The customer agreed to something.
    Optin(OptinFact),
    /// The platform moved the conversation between apps.
    Handover(HandoverFact),
    /// The customer judged a message.
    Feedback(FeedbackFact),
    /// The company's own address book changed.
    ContactSync(ContactSyncFact),
    /// First sign of life without a message: the contact is made, nothing is shown.
    Arrival(ArrivalFact),
    /// Something is wrong with the channel account.
    ChannelError(ChannelErrorFact),
    /// The platform tells something about the channel account.
    AccountNotice(NoticeFact),
    /// Understood, and of no consequence: acknowledged and counted.
    Ignored(NoticeFact),
}

/// A message in either direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageFact {
    /// The provider's id; absent on a few events, which are then keyed by their contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What it says.
    pub content: Content,
    /// Its attachments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// A group message: which member of the group wrote it. The event's customer is then the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Customer>,
    /// Our own outbox id, returned by the provider (`callback` in the fixtures).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox_id: Option<String>,
    /// For an echo: the app that sent it, when it is not ours; `page_inbox` and `phone_app` for the
    /// platform's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<String>,
    /// Web chat: the widget's own id of the message, a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

/// An imported message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryFact {
    /// True when the company wrote it.
    pub outgoing: bool,
    /// The message. `media_placeholder` as content type: its picture follows in a fact of the same id.
    pub message: MessageFact,
    /// Where it stood, when it was ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProviderStatus>,
    /// Which part of the import: phase, chunk, progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
}

/// Where a message of ours stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusFact {
    /// The provider's id of the message.
    pub target: String,
    /// Where it stands.
    pub status: ProviderStatus,
    /// Our own outbox id, returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox_id: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProviderError>,
    /// Model, type and category of the price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pricing: Vec<String>,
    /// The group it was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The member of the group that the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
}

/// Everything of ours up to a moment, or some messages by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkFact {
    /// Delivered or read.
    pub status: ProviderStatus,
    /// Every message of ours at or before it; absent where only names are given (Instagram).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// Messages by the provider's id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_ids: Vec<String>,
    /// Web chat: everything of ours up to this thread seq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_seq: Option<i64>,
}

/// A reaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactionFact {
    /// The provider's id of the reaction itself, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's id of the message reacted to.
    pub target: String,
    /// The emoji; absent when the reaction was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// The company reacted, in the provider's own app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outgoing: bool,
}

/// An edit. The highest number wins, else the latest time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EditFact {
    /// The provider's id of the edit itself, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's id of the message edited.
    pub target: String,
    /// What it says now: `text`, and `details` where there is more.
    pub content: Content,
    /// Its attachments now; empty when the edit says nothing about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The how-manieth edit it is, where the provider counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit_number: Option<i64>,
    /// The company edited its own message in the provider's app.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outgoing: bool,
}

/// A message taken back. It stays so, also when the original arrives afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeFact {
    /// The provider's id of the act itself, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's id of the message.
    pub target: String,
    /// The company took back its own message in the provider's app. Only the author may revoke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outgoing: bool,
}

/// The customer's address changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFact {
    /// The provider's id of the notice, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// `user_changed_number`, `user_changed_user_id`, `customer_identity_changed`, `user_id_update`.
    pub change: String,
    /// Addresses that no longer hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Handle>,
    /// Addresses that hold from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub current: Vec<Handle>,
    /// The provider's words, and what else it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// A preference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceFact {
    /// About what, such as `marketing_messages`.
    pub category: String,
    /// `stop` or `resume`.
    pub value: String,
    /// What else the provider said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// A conversation reopened by a link or an ad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferralFact {
    /// What brought the customer.
    pub referral: Referral,
}

/// The customer agreed, or stopped agreeing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptinFact {
    /// `notification_messages`, `plugin`, `account_linking`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value that we had given to the button or link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What was agreed to, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `stop` or `resume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preference: Option<String>,
    /// What else the provider gave (frequency, zone, expiry); tokens are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The platform moved the conversation between apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverFact {
    /// `pass_thread_control`, `take_thread_control`, `request_thread_control`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The app that has it, or that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The app that had it.
    #[serde(default)]
    pub previous_owner: Option<String>,
    /// Free text of the app that acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// A judgement of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackFact {
    /// The provider's id of the message.
    pub target: String,
    /// The judgement.
    pub payload: String,
}

/// A change of the company's own address book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactSyncFact {
    /// `add` or `remove`.
    pub action: String,
}

/// A first sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrivalFact {
    /// What the provider calls it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// Something is wrong with the channel account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelErrorFact {
    /// What the provider said.
    pub errors: Vec<ProviderError>,
}

/// The platform tells something about the channel account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeFact {
    /// What the provider calls it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the provider files it when it is not a channel account of ours, such as `waba 2150…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// `block`, `unblock` … where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What the channel account's health becomes by it, when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<crate::channel::ChannelHealth>,
    /// One sentence for the operator.
    pub sentence: String,
    /// What the provider gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Fact {
    /// The name of the kind, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Echo(_) => "echo",
            Self::History(_) => "history",
            Self::Status(_) => "status",
            Self::Watermark(_) => "watermark",
            Self::Reaction(_) => "reaction",
            Self::Edit(_) => "edit",
            Self::Revoke(_) => "revoke",
            Self::Identity(_) => "identity",
            Self::Preference(_) => "preference",
            Self::Referral(_) => "referral",
            Self::Optin(_) => "optin",
            Self::Handover(_) => "handover",
            Self::Feedback(_) => "feedback",
            Self::ContactSync(_) => "contact_sync",
            Self::Arrival(_) => "arrival",
            Self::ChannelError(_) => "channel_error",
            Self::AccountNotice(_) => "account_notice",
            Self::Ignored(_) => "ignored",
        }
    }
}

impl InboundEvent {
    /// The key of order: the conversation, which is channel account plus user id
    /// (`reliability-contract` §6). Facts about the account itself are ordered per account.
    pub fn lane(&self) -> String {
        match self.customer.as_ref().and_then(Customer::user_id) {
            Some(handle) => format!("{}:{}", self.channel, handle.value),
            None => self.channel.to_string(),
        }
    }

    /// The key that a repeat shares with its original (`reliability-contract` §5), unique over the
    /// whole installation. A total function of the event without its time of arrival: the same
    /// item gives the same key on every instance.
    pub fn key(&self) -> String {
        let account = &self.channel;
        let millis = self.at.as_millis();
        match &self.fact {
            Fact::Message(m) | Fact::Echo(m) => match (&m.external_id, &m.client_message_id) {
                (Some(id), _) => format!("m|{account}|{id}"),
                (None, Some(id)) => format!("c|{account}|{}|{id}", self.lane()),
                (None, None) => self.key_by_contents("m"),
            },
            Fact::History(h) => match &h.message.external_id {
                // A placeholder and its picture share an id and are two facts.
                Some(id) if h.message.content.kind == "media_placeholder" => format!("hp|{account}|{id}"),
                Some(id) => format!("h|{account}|{id}"),
                None => self.key_by_contents("h"),
            },
            Fact::Status(s) => format!(
                "s|{account}|{}|{}|{}",
                s.target,
                s.status.as_str(),
                s.participant.as_deref().unwrap_or_default()
            ),
            Fact::Reaction(r) => format!("r|{account}|{}|{}|{}|{millis}", r.target, self.lane(), r.outgoing),
            Fact::Edit(e) => match e.edit_number {
                Some(number) => format!("e|{account}|{}|{}|{}|{number}", e.target, self.lane(), e.outgoing),
                None => format!("e|{account}|{}|{}|{}|{millis}", e.target, self.lane(), e.outgoing),
            },
            // With the actor, or a stranger's attempt would stand in the author's way.
            Fact::Revoke(r) => format!("d|{account}|{}|{}|{}", r.target, self.lane(), r.outgoing),
            Fact::Identity(i) if i.change == "user_id_update" => {
                let values = |handles: &[Handle]| {
                    handles.iter().map(|h| h.value.as_str()).collect::<Vec<_>>().join(",")
                };
                format!("i|{account}|{}|{}", values(&i.previous), values(&i.current))
            }
            Fact::Identity(IdentityFact { external_id: Some(id), .. })
            | Fact::Arrival(ArrivalFact { external_id: Some(id), .. }) => format!("m|{account}|{id}"),
            Fact::Watermark(_)
            | Fact::Identity(_)
            | Fact::Preference(_)
            | Fact::Referral(_)
            | Fact::Optin(_)
            | Fact::Handover(_)
            | Fact::Feedback(_)
            | Fact::ContactSync(_)
            | Fact::Arrival(_)
            | Fact::ChannelError(_)
            | Fact::AccountNotice(_)
            | Fact::Ignored(_) => self.key_by_contents(self.fact.kind()),
        }
    }

    /// For events without an id: a hash of account, person, kind, provider time and contents. The
    /// time of arrival is left out, or a repeat would look new.
    fn key_by_contents(&self, prefix: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.lane().as_bytes());
        if !self.at_is_arrival {
            hash.update(self.at.as_millis().to_be_bytes());
        }
        // Serialising plain data to memory cannot fail; an empty text would only make keys alike.
        hash.update(serde_json::to_vec(&self.fact).unwrap_or_default());
        let digest = hash.finalize();
        format!("x|{prefix}|{}|{}", self.channel, hex(&digest, 16))
    }
}

/// The first `most` bytes in lower-case hexadecimal.
fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why an item was parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// The part could not be read as what it claims to be.
    Unreadable,
    /// A type, field or event that this version does not know.
    Unknown,
    /// A channel account that is not configured (or belongs to another app's secret).
    UnknownAccount,
    /// A message without any sender.
    NoSender,
    /// The hub failed on it five times.
    Poison,
    /// An item of another version.
    Version,
}

impl ParkReason {
    /// The name in JSON, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
            Self::UnknownAccount => "unknown_account",
            Self::NoSender => "no_sender",
            Self::Poison => "poison",
            Self::Version => "version",
        }
    }
}

/// A part of a callback that needs a person: it is parked raw, and shown in the thread as a
/// placeholder when sender and channel account are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// [`INBOUND_VERSION`] of the writer.
    pub v: u16,
    /// Which channel it came in on.
    pub channel_kind: String,
    /// The channel account as named in the body, known to us or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why.
    pub reason: ParkReason,
    /// What was wrong and where, such as `entry[0].changes[0].value.messages[2]: type "x" is unknown`.
    /// Never a text, name or number of the customer's.
    pub error: String,
    /// The sender, when it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// The provider's id of the item, when it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The provider's time, when it could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// When we received it.
    pub received_at: Timestamp,
    /// The raw item, wrapped so that today's or a later `receive` reads it alone: a whole callback
    /// body with just this item in it. Base64 of the bytes, see [`RawPiece`].
    pub raw: RawPiece,
}

/// Raw bytes on the bus, in pieces of at most [`RawPiece::BYTES_MAX`] so that no bus item is too large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawPiece {
    /// Shared by all pieces of one whole: the SHA-256 of the whole, hexadecimal.
    pub key: String,
    /// The number of this piece, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// Standard base64 of the bytes.
    pub base64: String,
}

/// The whole body of a callback, kept for seven days (`reliability-contract` §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawCallback {
    /// Its id.
    pub id: CallbackId,
    /// Which channel it came in on.
    pub channel_kind: String,
    /// When.
    pub received_at: Timestamp,
    /// How many events and problems it came to.
    pub items: u32,
    /// Its bytes, or some of them.
    pub raw: RawPiece,
}

impl RawPiece {
    /// The most raw bytes in one piece: with base64 and its envelope it stays under 1 MiB.
    pub const BYTES_MAX: usize = 600 * 1024;

    /// The pieces of `bytes`; at least one.
    pub fn cut(bytes: &[u8]) -> Vec<Self> {
        use base64::Engine as _;
        let key = hex(&Sha256::digest(bytes), usize::MAX);
        let chunks: Vec<&[u8]> =
            if bytes.is_empty() { vec![bytes] } else { bytes.chunks(Self::BYTES_MAX).collect() };
        let of = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        (0..of)
            .zip(chunks)
            .map(|(number, chunk)| Self {
                key: key.clone(),
                number,
                of,
                base64: base64::engine::general_purpose::STANDARD.encode(chunk),
            })
            .collect()
    }

    /// The bytes of this piece; `None` when it is not base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(&self.base64).ok()
    }
}

impl Problem {
    /// The key that a repeat shares with its original. An item with a provider id shares the key of
    /// the message that it would have become, so that it is in the thread once, parked or read.
    pub fn key(&self) -> String {
        let account = self.account.as_deref().unwrap_or("-");
        match &self.external_id {
            Some(id) => format!("m|{}:{account}|{id}", self.channel_kind),
            None => format!("p|{}:{account}|{}", self.channel_kind, self.raw.key),
        }
    }

    /// The key of order on the bus: as for the message that it would have become.
    pub fn lane(&self) -> String {
        let account = self.account.as_deref().unwrap_or("-");
        match self.customer.as_ref().and_then(Customer::user_id) {
            Some(handle) => format!("{}:{account}:{}", self.channel_kind, handle.value),
            None => format!("{}:{account}", self.channel_kind),
        }
    }
}

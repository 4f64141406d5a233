//! What a callback or a visitor's frame comes to: events for the hub. What could not be read is in
//! [`crate::problem`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::ChannelAccount;
use crate::contact::{Customer, Handle};
use crate::delivery::ProviderStatus;
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

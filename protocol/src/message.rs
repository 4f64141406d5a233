//! Messages: one utterance each, in or out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::ChannelAccount;
use crate::delivery::MessageStatus;
use crate::event::ThreadPlace;
use crate::ids::{AttachmentId, IdentityId, MessageId, ThreadId};
use crate::time::Timestamp;

/// Which way a message goes. A note is ours alone: it never leaves the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the customer.
    In,
    /// From us, also when it was written in the provider's own app (an echo).
    Out,
    /// Among ourselves.
    Note,
}

/// What sort of author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorType {
    /// The customer.
    Contact,
    /// A person of ours.
    Agent,
    /// A program that answers.
    Bot,
    /// Loket itself, or another app or device of the company.
    System,
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// What sort of author.
    #[serde(rename = "type")]
    pub kind: AuthorType,
    /// Their id: contact, agent or key; for an echo the app that sent it, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// What the place is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A shared contact card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContactCard {
    /// The name on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Telephone numbers as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<String>,
    /// Mail addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// The company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Everything else that stood on the card, as the provider gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// How the card came: `contact_request` when it answers our request for the sender's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderItem {
    /// The shop's own id of the product.
    pub product_id: String,
    /// How many.
    pub quantity: i64,
    /// Price of one, a decimal string.
    pub price: String,
    /// ISO currency code.
    pub currency: String,
}

/// An order that the customer sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// The catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_id: Option<String>,
    /// Its lines.
    pub items: Vec<OrderItem>,
}

/// A product that a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Product {
    /// The platform's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog_id: Option<String>,
    /// The shop's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retailer_id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A line under the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtitle: Option<String>,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
}

/// The ad, post, page or link that brought the customer. Field names as in the fixtures' facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Referral {
    /// `ad` or `post` on WhatsApp.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `SHORTLINK`, `ADS` … on Messenger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Id of the ad or post (WhatsApp).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Id of the ad (Messenger).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ad_id: Option<String>,
    /// The text behind a link's `ref`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Headline of the ad (WhatsApp).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    /// Title of the ad (Messenger).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Text of the ad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The click's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// Everything else, as the provider gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// How often a message had been forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// One to five times.
    Yes,
    /// More than five times.
    Often,
}

/// A button that can be tapped; its `id` comes back as the answer's `payload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Button {
    /// What comes back; not for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What stands on it.
    pub title: String,
    /// Where it leads, for a button that opens a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `text` (default), `phone` or `email`: a quick reply that offers the customer's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
}

/// A row of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListRow {
    /// What comes back.
    pub id: String,
    /// What stands in it.
    pub title: String,
    /// A smaller line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListSection {
    /// Its heading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its rows.
    pub rows: Vec<ListRow>,
}

/// A list to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// What stands on the button that opens it.
    pub button: String,
    /// Its parts.
    pub sections: Vec<ListSection>,
}

/// An approved template with its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// Language code such as `nl` or `en_US`.
    pub language: String,
    /// The provider's `components` array, passed on as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Value>,
}

/// A reaction that we send: to which message, and with what. An empty emoji takes it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReactionContent {
    /// Our id of the message reacted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The provider's id of it; filled in by the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The emoji; empty removes.
    pub emoji: String,
}

/// An error that a provider reports. Logic is based on the codes only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderError {
    /// The provider's code.
    pub code: i64,
    /// Its sub-code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subcode: Option<i64>,
    /// The provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// More of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// One sentence for the agent, by the channel's own table of codes: what happened and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

/// What a message says. One flat record for in and out; `type` tells which fields to expect.
///
/// Types that come in: `text image video audio document sticker location contacts button_reply
/// list_reply flow_reply call_permission_reply template_button quick_reply postback attachments
/// order template unsupported media_placeholder` and, for a placeholder of a parked item,
/// `parked`. Types that can be sent: `text image video audio document sticker location contacts
/// buttons list cta_url quick_replies template reaction location_request contact_request`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Content {
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Text to show: body, caption, or title of the choice, code point for code point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Machine value behind a button or quick reply; not for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// A place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Contact cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<ContactCard>,
    /// An order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The product it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// What brought the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral>,
    /// A filled-in flow: the values by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Value>,
    /// Had been forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
    /// A header above the text (buttons, list, `cta_url`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A footer below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer: Option<String>,
    /// Buttons or quick replies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Button>,
    /// A list to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<List>,
    /// A template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// A reaction to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaction: Option<ReactionContent>,
    /// What the provider calls a thing that it could not hand over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_type: Option<String>,
    /// What the provider said about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProviderError>,
    /// Anything else worth keeping, as the provider gave it; shown neutrally.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Content {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: "text".to_owned(), text: Some(text.into()), ..Self::default() }
    }
}

/// How far the bytes of an attachment are. Fetching them is its own stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentState {
    /// The provider has them; we know where.
    #[default]
    Remote,
    /// There are no bytes: a link, a card, a thing that the provider could not describe.
    None,
}

/// An attachment of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attachment {
    /// Its id; given by the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<AttachmentId>,
    /// `image video audio document file sticker link share appointment unsupported` ….
    pub kind: String,
    /// The media type as declared; not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Size in bytes, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How far its bytes are.
    pub state: AttachmentState,
    /// The provider's id to fetch it by; for sending: an uploaded one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_id: Option<String>,
    /// The address given by the provider, or the one to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of the bytes as the provider says, 64 lower-case hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// File name; untrusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Title of a link or share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Recorded in the app, for audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<bool>,
    /// Moves, for a sticker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub animated: Option<bool>,
    /// Which sticker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticker_id: Option<i64>,
    /// Anything else worth keeping (an appointment's times, a story's id).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// What a message answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// Our id of it, when we have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The provider's id of it; it may be unknown to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// A story that is answered (Instagram).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story_id: Option<String>,
}

/// A reaction to a message, the last one per actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// Who reacted.
    pub author: Author,
    /// The provider's time.
    pub at: Timestamp,
}

/// A message as the API shows it (`design.md` §4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its number in the thread's log.
    pub seq: i64,
    /// Its thread.
    pub thread_id: ThreadId,
    /// Where it was appended, when a merge or its undo shows it here: it is the same message, and the
    /// screen sorts by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<ThreadPlace>,
    /// Which way it goes.
    pub direction: Direction,
    /// Who wrote it.
    pub author: Author,
    /// On which channel account; absent on a note.
    pub channel: Option<ChannelAccount>,
    /// From or to which identity; absent on a note.
    pub identity_id: Option<IdentityId>,
    /// What it says. A revoked message says nothing any more.
    pub content: Content,
    /// Its attachments in order.
    pub attachments: Vec<Attachment>,
    /// What it answers.
    pub reply_to: Option<ReplyTo>,
    /// The provider's id of it.
    pub external_id: Option<String>,
    /// Where an outgoing one stands; absent on others.
    pub status: Option<MessageStatus>,
    /// When it got there, and why not.
    pub status_detail: Option<Value>,
    /// Reactions to it.
    pub reactions: Vec<Reaction>,
    /// It came more than five minutes after it was written (`reliability-contract` §2).
    pub late: bool,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// The provider's time.
    pub provider_time: Option<Timestamp>,
    /// When it came into the thread.
    pub created_at: Timestamp,
}

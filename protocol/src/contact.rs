//! Contacts and their identities.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::ChannelAccount;
use crate::ids::{ContactId, IdentityId, LinkRequestId, MergeId, ThreadId};
use crate::message::Author;
use crate::time::Timestamp;

/// What sort of address a handle is. `phone` is digits without `+`; `username` is without `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandleKind {
    /// WhatsApp's business-scoped user id (`whatsapp` §6).
    Bsuid,
    /// A telephone number, digits only.
    Phone,
    /// The id shared by several portfolios of one managed business.
    ParentBsuid,
    /// A name that its owner may change at any time: shown, never used as a key.
    Username,
    /// Messenger's page-scoped id.
    Psid,
    /// Instagram's scoped id.
    Igsid,
    /// A plug-in's stand-in for a page-scoped id, until the person writes.
    UserRef,
    /// A web site's visitor.
    Visitor,
    /// A group of people on WhatsApp; its thread is its own.
    Group,
}

impl HandleKind {
    /// True when the handle tells who somebody is within its channel account. A username and a
    /// parent id do not: the one changes hands, the other is shared.
    pub fn identifies(self) -> bool {
        !matches!(self, Self::Username | Self::ParentBsuid)
    }

    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bsuid => "bsuid",
            Self::Phone => "phone",
            Self::ParentBsuid => "parent_bsuid",
            Self::Username => "username",
            Self::Psid => "psid",
            Self::Igsid => "igsid",
            Self::UserRef => "user_ref",
            Self::Visitor => "visitor",
            Self::Group => "group",
        }
    }
}

/// One spelling of an identity: the kind of address and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle {
    /// What sort of address it is.
    pub kind: HandleKind,
    /// The address.
    pub value: String,
}

impl Handle {
    /// A handle.
    pub fn new(kind: HandleKind, value: impl Into<String>) -> Self {
        Self { kind, value: value.into() }
    }
}

/// The customer as one callback names them. Handles are in order of preference as a key; the first
/// identifying one is the user id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// All addresses that the item gives.
    pub handles: Vec<Handle>,
    /// The name that the customer chose; untrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name comes from the company's own address book and outranks the customer's choice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub name_is_ours: bool,
}

impl Customer {
    /// The handle that keys the identity: the first one that identifies.
    pub fn user_id(&self) -> Option<&Handle> {
        self.handles.iter().find(|handle| handle.kind.identifies())
    }
}

/// An identity as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: IdentityId,
    /// Whose it is.
    pub contact_id: ContactId,
    /// On which channel account.
    pub channel: ChannelAccount,
    /// Its addresses.
    pub handles: Vec<Handle>,
    /// The name given there.
    pub name: Option<String>,
    /// Until when anything may be sent to it; absent where there is no window or none is open.
    pub window_closes_at: Option<Timestamp>,
    /// The provider's time of the contact's last message from it.
    pub last_message_at: Option<Timestamp>,
    /// What its owner says of themselves and nobody has proven; told for one contact, not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
}

/// What somebody may say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// A name.
    Name,
    /// A mail address.
    Email,
    /// A telephone number.
    Phone,
}

impl ClaimKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Name, Self::Email, Self::Phone];

    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Something that somebody said of themselves and nobody has proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it is.
    pub kind: ClaimKind,
    /// In the one spelling that is compared.
    pub value: String,
    /// When it was said.
    pub at: Timestamp,
}

/// A value that two contacts have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub kind: ClaimKind,
    /// The value.
    pub value: String,
    /// This contact has it from their channel, and did not merely say it.
    pub proven_here: bool,
    /// The other one has it from their channel.
    pub proven_there: bool,
}

/// A contact that might be the same person. Nothing follows from it unless an agent decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The other one.
    pub contact: Contact,
    /// What the two have in common.
    pub evidence: Vec<Evidence>,
}

/// A contact as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Its id.
    pub id: ContactId,
    /// The name to show; absent when no channel gave one.
    pub name: Option<String>,
    /// Since when we know them.
    pub created_at: Timestamp,
    /// All their addresses.
    pub identities: Vec<Identity>,
}

/// An address that somebody opens to be proven the same person on another channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRequest {
    /// Its id.
    pub id: LinkRequestId,
    /// Who they are proven to be.
    pub contact_id: ContactId,
    /// Where the address leads.
    pub channel: ChannelAccount,
    /// What to open: a `wa.me` or `m.me` address with the code in it.
    pub address: String,
    /// The one-time code.
    pub code: String,
    /// Until when it counts.
    pub expires_at: Timestamp,
}

/// On what two contacts are joined. Nothing else joins: equal data that nobody has proven only suggests
/// (`design.md` §5, Linking).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A one-time code was carried from one channel to the other.
    LinkCode,
    /// The platform told that two addresses are one person's.
    Platform,
    /// An agent decided.
    Agent,
}

impl Proof {
    /// Every proof.
    pub const ALL: [Self; 3] = [Self::LinkCode, Self::Platform, Self::Agent];

    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinkCode => "link_code",
            Self::Platform => "platform",
            Self::Agent => "agent",
        }
    }

    /// The proof of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.as_str() == name)
    }
}

/// Two contacts that were joined, as the API shows it. Both old ids lead to the survivor until it is
/// undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// Its id.
    pub id: MergeId,
    /// The contact that survives.
    pub contact_id: ContactId,
    /// Their thread, which stands for both.
    pub thread_id: ThreadId,
    /// The contact that was merged into them.
    pub merged_contact_id: ContactId,
    /// That one's own thread.
    pub merged_thread_id: ThreadId,
    /// On what proof.
    pub proof: Proof,
    /// What the proof rests on: the channels that a code went between, the site that signed.
    pub evidence: Value,
    /// Who did it.
    pub by: Author,
    /// Why, in the words of who did it.
    pub why: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Since when it no longer holds.
    pub undone_at: Option<Timestamp>,
    /// Who took it back.
    pub undone_by: Option<Author>,
    /// Why, in their words.
    pub undone_why: Option<String>,
}

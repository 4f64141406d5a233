//! What stands on a phone, and who holds it: plain data.

use std::collections::VecDeque;
use std::time::Instant;

use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// One of the two platforms that are simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// WhatsApp Cloud API.
    Whatsapp,
    /// Messenger Platform.
    Messenger,
}

impl Platform {
    /// Its name in settings, answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Messenger => "messenger",
        }
    }

    /// The value of `object` in its callbacks.
    pub(crate) fn object(self) -> &'static str {
        match self {
            Self::Whatsapp => crate::channels::whatsapp::fake::OBJECT,
            Self::Messenger => crate::channels::messenger::fake::OBJECT,
        }
    }
}

/// A person with one app on one phone.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the page")]
pub(crate) struct Customer {
    /// Names the customer in this simulator only.
    pub(crate) id: String,
    /// The order in which they came.
    pub(crate) position: u64,
    pub(crate) platform: Platform,
    pub(crate) name: String,
    /// WhatsApp: digits. Every user has one; whether businesses see it is `hides_phone`.
    pub(crate) phone: Option<String>,
    /// WhatsApp: the business-scoped user id (`whatsapp` §6).
    pub(crate) bsuid: Option<String>,
    pub(crate) parent_bsuid: Option<String>,
    pub(crate) username: Option<String>,
    /// The phone number is in no callback: a BSUID-only user.
    pub(crate) hides_phone: bool,
    /// Messenger: the Page-scoped id, and the Page it is scoped to.
    pub(crate) psid: Option<String>,
    pub(crate) page: Option<String>,
    /// Messenger: a look-up of the profile is refused.
    pub(crate) hides_profile: bool,
    /// Off: messages stay `sent` until the phone is on again.
    pub(crate) is_online: bool,
    /// The phone reads what comes at once; `None` leaves it to the rules.
    pub(crate) reads_at_once: Option<bool>,
    /// Off: no read receipt ever leaves this phone.
    pub(crate) shows_receipts: bool,
    /// The customer blocked the business.
    pub(crate) is_blocking: bool,
    /// What `recipient_identity_key_hash` has to be, if a send carries one.
    pub(crate) identity_hash: String,
}

impl Customer {
    /// The phone number, if businesses may see it.
    pub(crate) fn visible_phone(&self) -> Option<&str> {
        self.phone.as_deref().filter(|_| !self.hides_phone)
    }
}

/// How far a message of the business came. The order is the order of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Progress {
    Accepted,
    Sent,
    Delivered,
    Read,
    Failed,
}

impl Progress {
    /// The word of a WhatsApp status.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// Who wrote a bubble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Author {
    Customer,
    /// The business by the Graph API.
    Api,
    /// The business from the WhatsApp Business app (coexistence).
    PhoneApp,
    /// The business from the Page's inbox.
    PageInbox,
    /// Another app of the business.
    OtherApp,
}

/// A file of a message: either bytes kept here or a link that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// `image`, `video`, `audio`, `document`, `sticker`.
    pub(crate) kind: String,
    /// The id in the media store.
    pub(crate) media_id: Option<String>,
    /// A link that the business sent instead.
    pub(crate) link: Option<String>,
    pub(crate) mime: Option<String>,
    pub(crate) name: Option<String>,
}

/// A point on the map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Place {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
}

/// Something that the customer can tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Choice {
    pub(crate) id: String,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// `reply`, `row`, `template`, `quick_reply`, `postback`, `link`.
    pub(crate) kind: &'static str,
}

/// How a send named its recipient; statuses answer in the same terms (`whatsapp` §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// As written: digits, perhaps with `+`, spaces, dashes, parentheses.
    Phone(String),
    Bsuid(String),
    Psid(String),
}

/// What has to be true of the conversation for a send to be allowed (`whatsapp` §13, `messenger` §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The 24-hour window.
    Window,
    /// At most 7 days since the customer's last message.
    Week,
    /// Nothing: an approved template.
    Nothing,
}

/// A send that was read and found well formed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) to: To,
    pub(crate) kind: &'static str,
    pub(crate) text: Option<String>,
    pub(crate) files: Vec<File>,
    pub(crate) place: Option<Place>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) reply_to: Option<String>,
    /// Target and emoji (empty removes).
    pub(crate) reaction: Option<(String, String)>,
    /// `biz_opaque_callback_data` or `metadata`.
    pub(crate) outbox_id: Option<String>,
    pub(crate) needs: Needs,
    /// The template cannot go to a BSUID (131062).
    pub(crate) needs_phone: bool,
    pub(crate) identity_hash: Option<String>,
    /// The content as it was sent, for the echo.
    pub(crate) sent: serde_json::Value,
}

impl Draft {
    /// An empty draft of that kind.
    pub(crate) fn new(to: To, kind: &'static str) -> Self {
        Self {
            to,
            kind,
            text: None,
            files: Vec::new(),
            place: None,
            choices: Vec::new(),
            reply_to: None,
            reaction: None,
            outbox_id: None,
            needs: Needs::Window,
            needs_phone: false,
            identity_hash: None,
            sent: serde_json::Value::Null,
        }
    }
}

/// One message, as it stands on the phone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bubble {
    /// `wamid…` or `m_…`.
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) author: Author,
    pub(crate) at: Timestamp,
    pub(crate) kind: &'static str,
    pub(crate) text: Option<String>,
    pub(crate) files: Vec<File>,
    pub(crate) place: Option<Place>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) reply_to: Option<String>,
    /// Of the business's own messages; the customer's are `read` when a read mark came.
    pub(crate) progress: Progress,
    /// Why it failed.
    pub(crate) failure: Option<Refusal>,
    pub(crate) reaction_of_customer: Option<String>,
    pub(crate) reaction_of_business: Option<String>,
    pub(crate) edits: u32,
    pub(crate) is_revoked: bool,
    pub(crate) outbox_id: Option<String>,
    /// Was it addressed by BSUID? Its statuses then name no phone that is hidden.
    #[serde(skip)]
    pub(crate) to_bsuid: bool,
    /// As it was sent, for the echo.
    #[serde(skip)]
    pub(crate) sent: serde_json::Value,
}

/// One customer with one channel account.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    /// Oldest first.
    pub(crate) bubbles: VecDeque<Bubble>,
    /// The last thing that opens the window.
    pub(crate) last_opened: Option<Timestamp>,
    /// The business types until then.
    pub(crate) typing_until: Option<Timestamp>,
    /// Messenger: the app in control, if any took it.
    pub(crate) owner_app: Option<String>,
    /// When the pair's next message is due by its rate, for the burst (`whatsapp` §13).
    pub(crate) pair_due: Option<Instant>,
}

//! What needs a person: parts of a callback that could not be read, and raw bytes on the bus.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contact::Customer;
use crate::ids::CallbackId;
use crate::keys::hex;
use crate::time::Timestamp;

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
    /// [`crate::inbound::INBOUND_VERSION`] of the writer.
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

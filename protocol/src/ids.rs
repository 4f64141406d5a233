//! Ids: `UUIDv7` with the kind in front, the 128 bits as 26 characters of Crockford's base 32 in
//! upper case (`design.md` §4, Ids). The same form in API, events, commands and logs. No full stop
//! occurs in them, and no right rests on one being unknown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 26;

/// Not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadId {
    prefix: &'static str,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an id of the form {} and 26 characters", self.prefix)
    }
}

impl std::error::Error for BadId {}

/// What all ids can do. `mint` is pure: whoever calls it brings the time and the randomness.
pub trait Id: Copy + fmt::Display {
    /// The kind in front, with its underscore.
    const PREFIX: &'static str;
    /// A new id from a moment and 80 random bits, of which 74 are used (RFC 9562, version 7).
    fn mint(at: Timestamp, random: [u8; 10]) -> Self;
}

fn uuid7(at: Timestamp, random: [u8; 10]) -> u128 {
    let millis = u128::from(at.as_millis().unsigned_abs()) & 0xFFFF_FFFF_FFFF;
    let noise = random.iter().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let high = (noise >> 62) & 0xFFF;
    let low = noise & 0x3FFF_FFFF_FFFF_FFFF;
    (millis << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low
}

fn write_bits(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0u8; DIGITS];
    let mut rest = bits;
    for slot in text.iter_mut().rev() {
        let digit = usize::try_from(rest & 31).unwrap_or(0);
        *slot = ALPHABET.get(digit).copied().unwrap_or(b'0');
        rest >>= 5;
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn read_bits(text: &str) -> Option<u128> {
    if text.len() != DIGITS || text.as_bytes().first()? > &b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |bits, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some((bits << 5) | u128::try_from(digit).ok()?)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn mint(at: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid7(at, random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_bits(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix).and_then(read_bits).map(Self).ok_or(BadId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// A contact: the person, across channels.
    ContactId = "con_";
    /// An identity: a contact's address on one channel account.
    IdentityId = "idn_";
    /// A thread: the one timeline of a contact.
    ThreadId = "thr_";
    /// A case: one sitting in a thread, from the message that opens it to `resolved`.
    CaseId = "case_";
    /// A message.
    MessageId = "msg_";
    /// An attachment of a message.
    AttachmentId = "att_";
    /// A person who answers.
    AgentId = "agt_";
    /// An API key.
    KeyId = "key_";
    /// A logged-in session of an agent.
    SessionId = "ses_";
    /// A public event, an entry of the log.
    EventId = "evt_";
    /// A parked item.
    ParkedId = "prk_";
    /// A received callback as a whole, whose raw bytes are kept for a while.
    CallbackId = "cbk_";
    /// A visitor of a web site's chat.
    VisitorId = "vis_";
    /// A merge of two contacts.
    MergeId = "mrg_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_carries_its_time_and_version() {
        let id = MessageId::mint(Timestamp::from_millis(1_795_253_400_000), [0xFF; 10]);
        let text = id.to_string();
        assert_eq!(text.len(), "msg_".len() + 26);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(id.0 >> 80, 1_795_253_400_000);
        assert_eq!((id.0 >> 76) & 0xF, 7);
        assert_eq!((id.0 >> 62) & 0b11, 0b10);
    }

    #[test]
    fn foreign_kinds_and_spellings_are_refused() {
        let text = ThreadId::mint(Timestamp::from_millis(1), [7; 10]).to_string();
        assert!(text.parse::<ThreadId>().is_ok());
        assert!(text.parse::<ContactId>().is_err());
        assert!(text.to_lowercase().parse::<ThreadId>().is_err());
        for bad in ["", "thr_", "thr_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "thr_01M7YQ1WE08E6Q4V9T3B5N7K1U", "thr_é"]
        {
            assert!(bad.parse::<ThreadId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_order_is_time_order() {
        let early = EventId::mint(Timestamp::from_millis(1000), [0xFF; 10]);
        let late = EventId::mint(Timestamp::from_millis(1001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
    }
}

//! Channels and channel accounts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of channel, such as `whatsapp`. A checked string and never an enum: a new channel must
/// not touch this crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelKind(String);

/// Not a channel kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadChannelKind;

impl fmt::Display for BadChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a channel kind is 1 to 32 of a-z, 0-9 and _, and begins with a letter")
    }
}

impl std::error::Error for BadChannelKind {}

impl ChannelKind {
    /// The kind of that name: 1 to 32 of `a-z`, `0-9` and `_`, beginning with a letter.
    pub fn new(name: impl Into<String>) -> Result<Self, BadChannelKind> {
        let name = name.into();
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let fits = name.len() <= 32
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if starts_well && fits { Ok(Self(name)) } else { Err(BadChannelKind) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ChannelKind {
    type Error = BadChannelKind;
    fn try_from(name: String) -> Result<Self, BadChannelKind> {
        Self::new(name)
    }
}

impl From<ChannelKind> for String {
    fn from(kind: ChannelKind) -> Self {
        kind.0
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connected number, page or site. `account` is the provider's own id for it: the phone number
/// id (`whatsapp` §1), the Page id (`messenger` §1), for web chat the name of the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelAccount {
    /// The kind of channel.
    pub kind: ChannelKind,
    /// The provider's id of the account.
    pub account: String,
}

impl fmt::Display for ChannelAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.account)
    }
}

/// What the hub must know of a channel to accept a reply for it, handed over by the front door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// How long after the contact's last message anything may be sent; `None` means always.
    pub window_ms: Option<i64>,
    /// How long after it a person's own words may still be sent (Messenger's human-agent tag).
    pub human_window_ms: Option<i64>,
    /// True when a reply is *sent* as soon as it stands in the thread, because the recipient reads
    /// the thread itself (web chat, `design.md` §3). Such a channel never sees the outbound topic.
    pub reads_the_thread: bool,
    /// The longest text that the channel takes, in characters.
    pub text_chars_max: usize,
    /// The content types that it can send; anything else is refused before it is queued.
    pub content_types: Vec<String>,
    /// Those of them that are a file and take a text under it. To others the text goes as a message of
    /// its own, in front.
    pub captions: Vec<String>,
    /// The longest such text, in characters; a longer one goes in front as well.
    pub caption_chars_max: usize,
    /// True when a reaction can be sent.
    pub reactions: bool,
}

impl Capabilities {
    /// Whether it takes messages of this type.
    pub fn takes(&self, kind: &str) -> bool {
        self.content_types.iter().any(|takes| takes == kind)
    }

    /// Whether a file of this type can carry a text of so many characters.
    pub fn takes_caption(&self, kind: &str, chars: usize) -> bool {
        chars <= self.caption_chars_max && self.captions.iter().any(|takes| takes == kind)
    }
}

/// A configured channel account as the rooms need to know it; secrets are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSettings {
    /// The account.
    pub channel: ChannelAccount,
    /// The name that the operator gave it in the settings.
    pub name: String,
    /// What can be done with it.
    pub capabilities: Capabilities,
}

/// How a channel account is doing (`outgoing-webhooks` §4, `channel.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelHealth {
    /// Nothing is known to be wrong.
    Connected,
    /// The provider complains or is slow; sending goes on.
    Degraded,
    /// The provider refuses our token or has stopped the account: replies are held.
    Reauthorise,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_checked() {
        assert!(ChannelKind::new("whatsapp").is_ok());
        for bad in ["", "Whatsapp", "1abc", "a-b", "a.b", &"a".repeat(33)] {
            assert_eq!(ChannelKind::new(bad), Err(BadChannelKind), "{bad}");
        }
    }
}

//! Where an outgoing message stands. A status only moves forward.

use serde::{Deserialize, Serialize};

use crate::message::ProviderError;
use crate::time::Timestamp;

/// The status of an outgoing message (`style-models.md` §5, delivery status).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Accepted by us.
    Queued,
    /// Claimed by a sender; it may be on its way.
    Sending,
    /// The request left and the answer was lost; not settled.
    Unconfirmed,
    /// The provider took it.
    Sent,
    /// It reached the device.
    Delivered,
    /// It was read.
    Read,
    /// Final; but a later delivery proves otherwise.
    Failed,
}

impl MessageStatus {
    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Unconfirmed => "unconfirmed",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Sending,
            Self::Unconfirmed,
            Self::Sent,
            Self::Delivered,
            Self::Read,
            Self::Failed,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    /// What the message's status is after `news` arrived. Order is by rank, never by arrival:
    /// `sent < delivered < read`; `failed` is final unless a delivery proves otherwise
    /// (`whatsapp` §8). Steps of our own (queued, sending, unconfirmed) are not news.
    #[must_use]
    pub fn advanced_by(self, news: ProviderStatus) -> Self {
        let told = match news {
            ProviderStatus::Sent => Self::Sent,
            ProviderStatus::Delivered => Self::Delivered,
            ProviderStatus::Read | ProviderStatus::Played => Self::Read,
            ProviderStatus::Failed => Self::Failed,
        };
        if told.rank() > self.rank() { told } else { self }
    }

    /// The order of statuses. `failed` stands between sent and delivered: it beats what we only
    /// hoped, and loses against proof of arrival.
    pub fn rank(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Sending => 1,
            Self::Unconfirmed => 2,
            Self::Sent => 3,
            Self::Failed => 4,
            Self::Delivered => 5,
            Self::Read => 6,
        }
    }
}

/// What a provider says about a message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderStatus {
    /// It took it.
    Sent,
    /// It reached the device.
    Delivered,
    /// It was read.
    Read,
    /// A voice message was played.
    Played,
    /// It will not arrive.
    Failed,
}

impl ProviderStatus {
    /// The name in JSON, in keys and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sent, Self::Delivered, Self::Read, Self::Played, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// What to do about a send that did not succeed (`reliability-contract` §7; letters as in the
/// providers' code tables, `whatsapp` §14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendClass {
    /// R: passing; again with backoff.
    Retry,
    /// R (few): again at most three times, then final.
    RetryFew,
    /// P: the whole account must slow down.
    PaceAccount,
    /// P (pair): only this recipient must wait.
    PacePair,
    /// C: the account is not usable; its queue is held, nothing fails.
    Configuration,
    /// T, F, O: final for this message.
    Final,
}

/// Every provider status that is kept with a message, each with its own time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusDetail {
    /// When the provider took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When it reached the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// When it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// When a voice message was played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub played_at: Option<Timestamp>,
    /// When it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// Why it failed or waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProviderError>,
    /// One sentence for the agent: what happened and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The provider's price category: model, type, category.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pricing: Vec<String>,
    /// Provider ids beyond the first, when a message has several parts or was sent twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_ids: Vec<String>,
    /// It was sent again after a lost answer, so that the recipient may have it twice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub possible_duplicate: bool,
}

#[cfg(test)]
mod tests {
    use super::{MessageStatus as M, ProviderStatus as P};

    #[test]
    fn any_order_of_the_same_news_ends_in_the_same_status() {
        let news = [P::Sent, P::Delivered, P::Read, P::Failed, P::Played];
        for start in [M::Queued, M::Sending, M::Unconfirmed] {
            for a in news {
                for b in news {
                    for c in news {
                        let one = start.advanced_by(a).advanced_by(b).advanced_by(c);
                        let two = start.advanced_by(c).advanced_by(a).advanced_by(b);
                        assert_eq!(one, two, "{start:?} {a:?} {b:?} {c:?}");
                        assert!(one.rank() >= start.rank());
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for status in [M::Queued, M::Sending, M::Unconfirmed, M::Sent, M::Delivered, M::Read, M::Failed] {
            assert_eq!(M::from_name(status.as_str()), Some(status));
        }
        assert_eq!(M::from_name("played"), None);
    }
}

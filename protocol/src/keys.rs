//! The keys of inbound events: what a repeat shares with its original, and what keeps its place
//! (`reliability-contract` §5, §6). Each is a total function of what the provider said: the same item
//! gives the same key on every instance and in every version.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::contact::{Customer, Handle};
use crate::inbound::{ArrivalFact, Fact, IdentityFact, InboundEvent};

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
pub(crate) fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{ChannelAccount, ChannelKind};
    use crate::contact::HandleKind;
    use crate::delivery::ProviderStatus;
    use crate::inbound::{EditFact, MessageFact, ReactionFact, StatusFact, WatermarkFact};
    use crate::message::Content;
    use crate::time::Timestamp;

    fn event(account: &str, user: &str, fact: Fact) -> InboundEvent {
        InboundEvent {
            v: 1,
            channel: ChannelAccount {
                kind: ChannelKind::new("whatsapp").unwrap(),
                account: account.to_owned(),
            },
            customer: Some(Customer {
                handles: vec![Handle::new(HandleKind::Username, "u"), Handle::new(HandleKind::Phone, user)],
                ..Customer::default()
            }),
            at: Timestamp::from_millis(1_795_253_400_000),
            at_is_arrival: false,
            received_at: Timestamp::from_millis(1_795_253_401_000),
            standby: false,
            opens_window: None,
            fact,
        }
    }

    fn message(id: Option<&str>) -> Fact {
        Fact::Message(MessageFact {
            external_id: id.map(str::to_owned),
            content: Content::text("hallo"),
            ..MessageFact::default()
        })
    }

    fn status(status: ProviderStatus, participant: Option<&str>) -> Fact {
        Fact::Status(StatusFact {
            target: "w".to_owned(),
            status,
            outbox_id: None,
            errors: Vec::new(),
            pricing: Vec::new(),
            group: None,
            participant: participant.map(str::to_owned),
        })
    }

    #[test]
    fn a_repeat_has_the_key_of_its_original_whenever_it_arrives() {
        let facts = [
            message(Some("w")),
            message(None),
            status(ProviderStatus::Read, None),
            Fact::Watermark(WatermarkFact {
                status: ProviderStatus::Read,
                watermark: Some(Timestamp::from_millis(5)),
                external_ids: Vec::new(),
                up_to_seq: None,
            }),
        ];
        for fact in facts {
            let first = event("1", "31", fact);
            let again =
                InboundEvent { received_at: first.received_at.plus_millis(7_000_000), ..first.clone() };
            assert_eq!(first.key(), again.key(), "{:?}", first.fact);
            assert_eq!(first.lane(), again.lane());
        }
    }

    #[test]
    fn what_is_not_the_same_has_another_key() {
        let reaction = |emoji: &str| {
            Fact::Reaction(ReactionFact {
                external_id: None,
                target: "w".to_owned(),
                emoji: Some(emoji.to_owned()),
                outgoing: false,
            })
        };
        let edit = |number| {
            Fact::Edit(EditFact {
                external_id: None,
                target: "w".to_owned(),
                content: Content::text("x"),
                attachments: Vec::new(),
                edit_number: number,
                outgoing: false,
            })
        };
        let different = vec![
            event("1", "31", message(Some("w"))),
            event("1", "31", message(Some("v"))),
            event("2", "31", message(Some("w"))),
            event("1", "31", message(None)),
            event("1", "32", message(None)),
            event("1", "31", status(ProviderStatus::Read, None)),
            event("1", "31", status(ProviderStatus::Delivered, None)),
            event("1", "31", status(ProviderStatus::Read, Some("p"))),
            event("1", "31", reaction("a")),
            event("1", "32", reaction("a")),
            event("1", "31", edit(Some(1))),
            event("1", "31", edit(Some(2))),
            event("1", "31", edit(None)),
        ];
        for (place, one) in different.iter().enumerate() {
            for other in &different[place + 1..] {
                assert_ne!(one.key(), other.key(), "{:?} and {:?}", one.fact, other.fact);
            }
        }
    }

    #[test]
    fn the_lane_is_account_and_user_and_a_username_is_no_user() {
        assert_eq!(event("1", "31", message(None)).lane(), "whatsapp:1:31");
        let nobody = InboundEvent { customer: None, ..event("1", "31", message(None)) };
        assert_eq!(nobody.lane(), "whatsapp:1");
    }
}

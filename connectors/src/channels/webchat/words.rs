//! What a visitor says and does, as events for the hub.

use loket_backbone::bus::{BusError, Wire};
use loket_backbone::clock::Clock;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::ids::{CallbackId, VisitorId};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact, WatermarkFact};
use loket_protocol::message::{Content, Referral};
use loket_protocol::time::Timestamp;
use loket_protocol::topics::INBOUND;
use serde::Deserialize;

use super::{KIND, TEXT_CHARS_MAX};
use crate::refusal::Refusal;

/// How long a visitor waits before sending again what could not be made safe, in seconds.
const RETRY_AFTER_S: u32 = 2;

/// The longest address of a page, in bytes, and the longest title, in characters.
const PAGE_URL_BYTES_MAX: usize = 2_048;
/// See [`PAGE_URL_BYTES_MAX`].
const PAGE_TITLE_CHARS_MAX: usize = 300;

/// The page from which a visitor writes, as the page itself says: nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) url: String,
    #[serde(default)]
    pub(super) title: String,
}

impl Page {
    /// As the agents see it. What follows the path is cut: it may hold what opens a door.
    fn referral(&self) -> Result<Referral, Refusal> {
        let address = self.url.split(['?', '#']).next().unwrap_or_default();
        let is_page = ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme));
        let is_plain = address.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !is_page || !is_plain || address.len() > PAGE_URL_BYTES_MAX {
            let sentence = "page.url is no http or https address of at most 2,048 bytes";
            return Err(Refusal::Invalid("message.page", sentence));
        }
        let title: String = self
            .title
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(PAGE_TITLE_CHARS_MAX)
            .collect();
        let title = title.trim();
        Ok(Referral {
            kind: Some("page".to_owned()),
            url: Some(address.to_owned()),
            title: (!title.is_empty()).then(|| title.to_owned()),
            ..Referral::default()
        })
    }
}

/// Who speaks, and on which site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speaker {
    pub(super) account: ChannelAccount,
    pub(super) visitor: VisitorId,
}

impl Speaker {
    /// A message. Its id is the page's own, which makes a repeat no second message
    /// (`reliability-contract` §5); it is put under the visitor, so that nobody can take the id of
    /// somebody else's message away.
    pub(super) fn message(
        &self,
        client_message_id: &str,
        text: &str,
        page: Option<&Page>,
        now: Timestamp,
    ) -> Result<InboundEvent, Refusal> {
        let id = uuid(client_message_id)
            .ok_or(Refusal::Invalid("message.client_message_id", "client_message_id is not a UUID"))?;
        if text.trim().is_empty() {
            return Err(Refusal::Invalid("message.empty", "the text is empty"));
        }
        if text.chars().count() > TEXT_CHARS_MAX {
            return Err(Refusal::Invalid("message.too_long", "the text is over 10,000 characters"));
        }
        let referral = page.map(Page::referral).transpose()?;
        let fact = Fact::Message(MessageFact {
            external_id: Some(format!("{}:{id}", self.visitor)),
            content: Content { referral, ..Content::text(text.replace('\0', "\u{FFFD}")) },
            client_message_id: Some(id),
            ..MessageFact::default()
        });
        Ok(InboundEvent { opens_window: Some(true), ..self.event(fact, now) })
    }

    /// Everything of ours up to a thread seq was delivered or read.
    pub(super) fn receipt(&self, status: ProviderStatus, seq: i64, now: Timestamp) -> InboundEvent {
        let (watermark, external_ids) = (None, Vec::new());
        self.event(
            Fact::Watermark(WatermarkFact { status, watermark, external_ids, up_to_seq: Some(seq) }),
            now,
        )
    }

    fn event(&self, fact: Fact, now: Timestamp) -> InboundEvent {
        let handles = vec![Handle::new(HandleKind::Visitor, self.visitor.to_string())];
        InboundEvent {
            v: INBOUND_VERSION,
            channel: self.account.clone(),
            customer: Some(Customer { handles, ..Customer::default() }),
            at: now,
            at_is_arrival: true,
            received_at: now,
            standby: false,
            opens_window: None,
            fact,
        }
    }
}

/// Publishes an event. `Ok`: it is durable, and may be acknowledged.
pub(super) async fn publish(wire: &Wire, clock: &Clock, event: &InboundEvent) -> Result<(), Refusal> {
    let trace = clock.id::<CallbackId>().to_string();
    let published = async {
        let item = Wire::item(event.key(), event.lane(), trace, event)?;
        wire.publish(&INBOUND, &[item]).await
    };
    published.await.map_err(|error: BusError| {
        tracing::warn!(
            channel.kind = KIND, channel.account = %event.channel.account, %error,
            "a visitor's event could not be made safe and was refused"
        );
        Refusal::NotSafe(RETRY_AFTER_S)
    })?;
    metrics::counter!("loket_events_accepted_total", "channel" => KIND).increment(1);
    Ok(())
}

/// The page's own id in the id of a visitor's message.
pub(super) fn client_message_id(external_id: &str) -> Option<&str> {
    external_id.strip_prefix("vis_").and_then(|rest| rest.split_once(':')).map(|(_, id)| id)
}

/// A UUID in its usual form, in lower case.
fn uuid(text: &str) -> Option<String> {
    let dashes = [8, 13, 18, 23];
    let fits = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    fits.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use loket_protocol::channel::ChannelKind;
    use loket_protocol::ids::Id as _;

    const ID: &str = "0f8b4c1e-2c33-4f0e-9d43-6f3a1c5b7e21";

    fn speaker(seed: u8) -> Speaker {
        let kind = ChannelKind::new(KIND).unwrap();
        Speaker {
            account: ChannelAccount { kind, account: "shop".to_owned() },
            visitor: VisitorId::mint(Timestamp::from_millis(1), [seed; 10]),
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_repeat_has_the_same_key_and_another_visitor_another_one() {
        let first = speaker(1).message(ID, "hello", None, at(1000)).unwrap();
        let again = speaker(1).message(&ID.to_uppercase(), "hello", None, at(9000)).unwrap();
        assert_eq!(first.key(), again.key());
        let other = speaker(2).message(ID, "hello", None, at(1000)).unwrap();
        assert_ne!(first.key(), other.key());
        let Fact::Message(message) = &first.fact else { panic!("not a message") };
        assert_eq!(client_message_id(message.external_id.as_deref().unwrap()), Some(ID));
        assert_eq!(message.client_message_id.as_deref(), Some(ID));
        assert_eq!(first.lane(), format!("webchat:shop:{}", speaker(1).visitor));
    }

    #[test]
    fn receipts_are_told_apart_by_what_they_say_and_not_by_when() {
        let read = |seq, millis| speaker(1).receipt(ProviderStatus::Read, seq, at(millis)).key();
        assert_eq!(read(3, 1000), read(3, 2000));
        assert_ne!(read(3, 1000), read(4, 1000));
        assert_ne!(read(3, 1000), speaker(1).receipt(ProviderStatus::Delivered, 3, at(1000)).key());
    }

    #[test]
    fn words_that_cannot_be_taken_are_refused_with_a_code() {
        let refused = |id: &str, text: &str| match speaker(1).message(id, text, None, at(1)) {
            Err(Refusal::Invalid(code, _)) => code,
            other => panic!("{other:?}"),
        };
        for id in ["", "1", "0f8b4c1e2c334f0e9d436f3a1c5b7e21", "0f8b4c1e-2c33-4f0e-9d43-6f3a1c5b7e2g"] {
            assert_eq!(refused(id, "hello"), "message.client_message_id", "{id}");
        }
        for text in ["", " ", "\n\t\u{a0}"] {
            assert_eq!(refused(ID, text), "message.empty");
        }
        assert_eq!(refused(ID, &"é".repeat(TEXT_CHARS_MAX + 1)), "message.too_long");
        assert!(speaker(1).message(ID, &"é".repeat(TEXT_CHARS_MAX), None, at(1)).is_ok());
    }

    #[test]
    fn the_page_is_told_without_what_follows_its_path() {
        let told = |url: &str, title: &str| {
            let page = Page { url: url.to_owned(), title: title.to_owned() };
            let event = speaker(1).message(ID, "hello", Some(&page), at(1));
            event.map(|event| match event.fact {
                Fact::Message(message) => message.content.referral.unwrap(),
                other => panic!("{other:?}"),
            })
        };
        let referral = told("https://shop.example.org/boots?reset=secret#x", " Boots\n").unwrap();
        assert_eq!(referral.url.as_deref(), Some("https://shop.example.org/boots"));
        assert_eq!((referral.kind.as_deref(), referral.title.as_deref()), (Some("page"), Some("Boots")));
        assert_eq!(told("http://a.test/", &"é".repeat(400)).unwrap().title.unwrap().chars().count(), 300);
        assert_eq!(told("http://a.test/", " ").unwrap().title, None);
        let long = format!("https://a.test/{}", "x".repeat(PAGE_URL_BYTES_MAX));
        for url in ["", "javascript:owned()", "//a.test", "https://a.test/a b", "https://a.test/\n", &long] {
            assert!(matches!(told(url, ""), Err(Refusal::Invalid("message.page", _))), "{url}");
        }
    }

    #[test]
    fn a_null_character_is_replaced() {
        let event = speaker(1).message(ID, "a\0b", None, at(1)).unwrap();
        let Fact::Message(message) = event.fact else { panic!("not a message") };
        assert_eq!(message.content.text.as_deref(), Some("a\u{FFFD}b"));
    }
}

//! The channels against the simulator: what they send is taken, and what it tells they understand.

use std::sync::Arc;

use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::ids::MessageId;
use loket_protocol::inbound::{Fact, InboundEvent};
use loket_protocol::outbound::{Dispatch, OUTBOUND_VERSION, OutboundMessage};
use serde_json::{Value, json};

use super::{Bench, NUMBER, PAGE, PAGE_TOKEN, PSID, SANNE, SECRET, WA_TOKEN};
use crate::channel::{Callback, Channel, SendError};
use crate::channels::{CHANNELS, Deps};
use crate::meta::GraphSettings;

fn channel(bench: &Bench, kind: &str) -> Arc<dyn Channel> {
    let section = match kind {
        "whatsapp" => json!({"app_secret": SECRET, "verify_token": "v",
            "accounts": {"one": {"phone_number_id": NUMBER, "access_token": WA_TOKEN}}}),
        _ => json!({"app_secret": SECRET, "verify_token": "v", "app_id": "900000000000001",
            "accounts": {"one": {"page_id": PAGE, "access_token": PAGE_TOKEN}}}),
    };
    let graph = GraphSettings { url: bench.base.clone(), ..GraphSettings::default() };
    let build = CHANNELS.iter().find(|(name, _)| *name == kind).unwrap().1;
    build(section, &Deps { clock: bench.clock.clone(), graph }).unwrap().unwrap()
}

fn outbound(bench: &Bench, kind: &str, content: &Value, attachment: Option<&Value>) -> OutboundMessage {
    let (account, to) = match kind {
        "whatsapp" => (NUMBER, Handle::new(HandleKind::Phone, SANNE)),
        _ => (PAGE, Handle::new(HandleKind::Psid, PSID)),
    };
    OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id: bench.clock.id::<MessageId>(), part: 0, number: 1 },
        channel: ChannelAccount { kind: ChannelKind::new(kind).unwrap(), account: account.to_owned() },
        to: vec![to],
        content: serde_json::from_value(content.clone()).unwrap(),
        attachment: attachment.map(|given| serde_json::from_value(given.clone()).unwrap()),
        reply_to: None,
        written_by_person: true,
        window_closes_at: Some(bench.clock.now().plus_millis(3_600_000)),
    }
}

/// All that the channel reads out of the callbacks so far; a problem fails the test.
fn facts(bench: &Bench, channel: &dyn Channel) -> Vec<InboundEvent> {
    let mut events = Vec::new();
    for got in bench.got() {
        let signatures = got.signature.clone().into_iter().collect();
        let callback = Callback { signatures, body: got.body.clone(), received_at: bench.clock.now() };
        channel.authenticate(&callback).unwrap();
        let received = channel.receive(&callback).unwrap();
        assert!(received.problems.is_empty(), "{:?}", received.problems);
        events.extend(received.events);
    }
    events
}

fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Message(_) => "message",
        Fact::Echo(_) => "echo",
        Fact::Status(_) => "status",
        Fact::Watermark(_) => "watermark",
        Fact::Reaction(_) => "reaction",
        Fact::Edit(_) => "edit",
        Fact::Revoke(_) => "revoke",
        Fact::Identity(_) => "identity",
        _ => "other",
    }
}

async fn everything_sent_is_taken(kind: &str, who: &str, cases: &[(Value, Option<Value>)]) {
    let bench = Bench::start().await;
    bench.say(who, json!({"type": "text", "text": "Dag"})).await;
    let channel = channel(&bench, kind);
    let probed = channel.probe(if kind == "whatsapp" { NUMBER } else { PAGE }).await;
    assert_eq!(probed, Ok(()));
    for (content, attachment) in cases {
        let message = outbound(&bench, kind, content, attachment.as_ref());
        let taken = channel.send(&message).await.unwrap_or_else(|error| panic!("{content}: {error}"));
        let copies = bench.own("GET", "/copies", Value::Null).await;
        assert_eq!(copies["copies"][message.dispatch.outbox_id()], 1, "{content}");
        assert!(bench.bubbles(who).await.iter().any(|own| own["id"] == taken.external_id), "{content}");
    }
}

#[tokio::test]
async fn everything_that_whatsapp_sends_is_taken() {
    let link = |kind: &str| Some(json!({"kind": kind, "state": "remote", "url": "https://shop.example/a"}));
    everything_sent_is_taken(
        "whatsapp",
        "sanne",
        &[
            (json!({"type": "text", "text": "Dag / ë 😀"}), None),
            (json!({"type": "image", "text": "kijk"}), link("image")),
            (json!({"type": "video"}), link("video")),
            (json!({"type": "audio"}), link("audio")),
            (json!({"type": "document", "text": "offerte"}), link("document")),
            (json!({"type": "sticker"}), link("sticker")),
            (json!({"type": "location", "location": {"latitude": 52.1, "longitude": 5.1, "name": "Winkel"}}), None),
            (json!({"type": "contacts", "contacts": [{"name": "Karin", "phones": ["+31600000099"]}]}), None),
            (json!({"type": "buttons", "text": "Wanneer?", "buttons": [
                {"id": "1", "title": "Vandaag"}, {"id": "2", "title": "Morgen"}]}), None),
            (json!({"type": "list", "text": "Kies", "list": {"button": "Opties", "sections": [
                {"title": "Dag", "rows": [{"id": "1", "title": "Ochtend", "description": "8 tot 12"}]}]}}), None),
            (json!({"type": "cta_url", "text": "Kijk", "buttons": [
                {"title": "Site", "url": "https://shop.example/"}]}), None),
            (json!({"type": "location_request", "text": "Waar ben je?"}), None),
            (json!({"type": "contact_request", "text": "Je nummer?"}), None),
            (json!({"type": "template", "template": {"name": "order_update", "language": "nl", "components": [
                {"type": "body", "parameters": [
                    {"type": "text", "text": "Sanne"}, {"type": "text", "text": "48213"}]}]}}), None),
        ],
    )
    .await;
}

#[tokio::test]
async fn everything_that_messenger_sends_is_taken() {
    let link = |kind: &str| Some(json!({"kind": kind, "state": "remote", "url": "https://shop.example/a"}));
    everything_sent_is_taken(
        "messenger",
        "lotte",
        &[
            (json!({"type": "text", "text": "Dag / ë 😀"}), None),
            (json!({"type": "image"}), link("image")),
            (json!({"type": "video"}), link("video")),
            (json!({"type": "audio"}), link("audio")),
            (json!({"type": "document"}), link("document")),
            (
                json!({"type": "quick_replies", "text": "Kies", "buttons": [{"id": "JA", "title": "Ja"}]}),
                None,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn everything_that_the_simulator_tells_is_understood() {
    for (kind, who, wanted) in [
        ("whatsapp", "sanne", &["message", "reaction", "edit", "revoke", "echo", "status", "identity"][..]),
        ("messenger", "lotte", &["message", "reaction", "edit", "revoke", "echo", "watermark"][..]),
    ] {
        let bench = Bench::start().await;
        let channel = channel(&bench, kind);
        let own = bench.say(who, json!({"type": "text", "text": "Dag"})).await;
        for say in [
            json!({"type": "image", "count": 3, "text": "kijk"}),
            json!({"type": "audio"}),
            json!({"type": "document"}),
            json!({"type": "sticker"}),
            json!({"type": "location", "latitude": 52.1, "longitude": 5.1}),
            json!({"type": "text", "text": "en", "reply_to": own}),
            json!({"type": "reaction", "target": own, "emoji": "👍"}),
            json!({"type": "reaction", "target": own}),
            json!({"type": "edit", "target": own, "text": "Dag!"}),
            json!({"type": "revoke", "target": own}),
        ] {
            bench.say(who, say).await;
        }
        bench.own("POST", &format!("/phones/{who}/echoes"), json!({"type": "text", "text": "Karin"})).await;
        let message = outbound(&bench, kind, &json!({"type": "text", "text": "Hallo"}), None);
        let taken = channel.send(&message).await.unwrap();
        if kind == "whatsapp" {
            bench.statuses(&taken.external_id, &["sent", "delivered"]).await;
            bench.own("POST", "/customers/sanne/number", json!({"phone": "31611111111"})).await;
        }
        bench.own("POST", &format!("/phones/{who}/open"), Value::Null).await;
        bench
            .eventually(&format!("all of {wanted:?} on {kind}"), |_| {
                let events = facts(&bench, channel.as_ref());
                let found: Vec<_> = events.iter().map(|event| name(&event.fact)).collect();
                assert!(!found.contains(&"other"), "{events:?}");
                wanted.iter().all(|name| found.contains(name)).then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn what_the_simulator_refuses_is_put_into_the_right_class() {
    let bench = Bench::start().await;
    let text = json!({"type": "text", "text": "Dag"});
    bench.own("PUT", "/phones/sanne/window", json!({"age_ms": 0})).await;
    bench.own("PUT", "/phones/lotte/window", json!({"age_ms": 0})).await;
    for kind in ["whatsapp", "messenger"] {
        let channel = channel(&bench, kind);
        for (fault, is_unconfirmed) in [
            (json!({"drop_connection_after": true}), true),
            (json!({"status_after_acceptance": true}), true),
            (json!({"garble_answer": true}), true),
            (json!({"answer_without_id": true}), true),
            (json!({"status": 500}), true),
            (json!({"status": 503, "retry_after_s": 3}), false),
            (json!({"status": 429}), false),
            (json!({"status": 400, "code": 4}), false),
            (json!({"token_expired": true}), false),
        ] {
            bench.faults(fault.clone()).await;
            let error = channel.send(&outbound(&bench, kind, &text, None)).await.unwrap_err();
            let was = matches!(error, SendError::Unconfirmed(_));
            assert_eq!(was, is_unconfirmed, "{kind} {fault}: {error:?}");
        }
    }
}

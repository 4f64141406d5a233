//! Messages, echoes, postbacks, orders and edits beyond the fixtures.

use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::inbound::{Fact, MessageFact};
use loket_protocol::message::AttachmentState;
use loket_protocol::problem::ParkReason;
use serde_json::{Value, json};

use super::{CUSTOMER, PAGE, body, event, item, message, problem, read};

fn echo(mut value: Value) -> MessageFact {
    value["is_echo"] = json!(true);
    value["mid"] = json!("m_echo");
    let item = json!({"sender": {"id": PAGE}, "recipient": {"id": CUSTOMER}, "timestamp": 1_795_093_500_000_i64, "message": value});
    let received = read(&body(&json!([item])));
    let event = received.events.into_iter().next().unwrap();
    assert_eq!(event.customer.unwrap().handles, [Handle::new(HandleKind::Psid, CUSTOMER)]);
    match event.fact {
        Fact::Echo(fact) => fact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sticker_that_comes_twice_is_one() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "image", "payload": {"url": "https://a.example/1.png", "sticker_id": 369_239_263_222_822_i64}},
        {"type": "sticker", "payload": {"url": "https://a.example/2.png", "sticker_id": "369239263222822"}},
    ]}));
    let [sticker] = &fact.attachments[..] else { panic!("{fact:?}") };
    assert_eq!(sticker.kind, "sticker");
    assert_eq!(sticker.sticker_id, Some(369_239_263_222_822));
    assert_eq!(sticker.url.as_deref(), Some("https://a.example/1.png"));
    let old = message(json!({"mid": "m_1", "sticker_id": 7, "attachments": [
        {"type": "image", "payload": {"url": "https://a.example/1.png"}}]}));
    assert_eq!((old.attachments.len(), old.attachments[0].sticker_id), (1, Some(7)));
    assert_eq!(old.attachments[0].kind, "sticker");
    let alone = message(json!({"mid": "m_1", "sticker_id": 7}));
    assert_eq!((alone.content.kind.as_str(), alone.attachments[0].sticker_id), ("attachments", Some(7)));
    let two = message(json!({"mid": "m_1", "attachments": [
        {"type": "sticker", "payload": {"url": "https://a.example/1.png", "sticker_id": 1}},
        {"type": "sticker", "payload": {"url": "https://a.example/2.png", "sticker_id": 2}},
        {"type": "image", "payload": {"url": "https://a.example/3.png"}},
        {"type": "image", "payload": {"url": "https://a.example/4.png"}},
    ]}));
    assert_eq!(two.attachments.len(), 4);
}

#[test]
fn attachments_that_are_odd_stay_with_their_message() {
    let odd = json!([
        {"type": "hologram", "payload": {"url": "https://a.example/h", "depth": 3}},
        {"type": 5}, "junk", null, 7, {},
        {"type": "location", "payload": {"coordinates": {"lat": 95, "long": 4}}},
        {"type": "fallback", "title": "Kijk", "payload": {"url": "/l.php?u=x", "title": "Kijk"}},
        {"type": "image", "payload": {"url": "file:///etc/passwd"}},
        {"type": "image", "payload": null},
        {"type": "image", "payload": {"url": "https://a.example/ok.jpg"}},
    ]);
    let fact = message(json!({"mid": "m_1", "text": "Zie bijlage", "attachments": odd}));
    assert_eq!(fact.content.kind, "text");
    let kinds: Vec<&str> = fact.attachments.iter().map(|a| a.kind.as_str()).collect();
    let mut expected = vec!["unsupported"; 7];
    expected.extend(["image"; 3]);
    assert_eq!(kinds, expected);
    assert_eq!(fact.attachments[0].details, Some(odd[0].clone()));
    assert_eq!(fact.attachments[0].url.as_deref(), Some("https://a.example/h"));
    assert_eq!(fact.attachments[6].title.as_deref(), Some("Kijk"));
    let states: Vec<AttachmentState> = fact.attachments.iter().map(|a| a.state).collect();
    assert!(states[..9].iter().all(|state| *state == AttachmentState::None));
    assert_eq!(states[9], AttachmentState::Remote);
    assert_eq!(fact.attachments[7].url, None);

    assert_eq!(message(json!({"mid": "m_1", "attachments": "junk"})).attachments[0].kind, "unsupported");
    assert_eq!(message(json!({"mid": "m_1", "attachments": odd[10]})).attachments[0].kind, "image");
}

#[test]
fn shares_keep_a_path_as_words_and_files_get_their_name() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "reel", "payload": {"url": "/reel/88", "reel_video_id": 88}},
        {"type": "ig_reel", "payload": {"url": "/reel/88", "title": "Band plakken"}},
        {"type": "story_mention", "payload": {"url": "https://lookaside.fbsbx.com/x"}},
        {"type": "file", "payload": {"url": "https://cdn.fbsbx.com/v/a%20b%2.pdf?oh=1"}},
        {"type": "file", "payload": {"url": "https://cdn.fbsbx.com"}},
    ]}));
    let titles: Vec<Option<&str>> = fact.attachments.iter().map(|a| a.title.as_deref()).collect();
    assert_eq!(titles, [Some("/reel/88"), Some("Band plakken"), None, None, None]);
    assert!(fact.attachments[..3].iter().all(|a| a.kind == "share" && a.state == AttachmentState::None));
    assert_eq!(fact.attachments[2].url.as_deref(), Some("https://lookaside.fbsbx.com/x"));
    assert_eq!(fact.attachments[3].filename.as_deref(), Some("a b%2.pdf"));
    assert_eq!(fact.attachments[4].filename, None);
}

#[test]
fn several_products_and_a_second_place_are_all_kept() {
    let fact = message(json!({"mid": "m_1", "attachments": [
        {"type": "template", "payload": {"product": {"elements": [{"id": 1, "title": "Een"}, {"id": 2, "title": "Twee"}]}}},
        {"type": "location", "payload": {"coordinates": {"lat": "52.1", "long": 4.5}}},
        {"type": "location", "payload": {"coordinates": {"lat": 53, "long": 4.5}}},
        {"type": "template", "payload": {"template_type": "generic", "elements": [{"title": "Kaart"}]}},
    ]}));
    assert_eq!(fact.content.kind, "attachments");
    assert_eq!(fact.content.product.unwrap().id.as_deref(), Some("1"));
    assert_eq!(fact.content.details.unwrap()["products"][1]["title"], "Twee");
    assert!((fact.content.location.unwrap().latitude - 52.1).abs() < 1e-9);
    let kinds: Vec<&str> = fact.attachments.iter().map(|a| a.kind.as_str()).collect();
    assert_eq!(kinds, ["unsupported", "card"]);
    assert_eq!(fact.attachments[1].title.as_deref(), Some("Kaart"));
}

#[test]
fn echoes_tell_who_sent_them() {
    let ours = echo(json!({"app_id": 900_000_000_000_001_i64, "text": "Dag", "metadata": "out:msg_1:0:1"}));
    assert_eq!((ours.outbox_id.as_deref(), ours.sent_by), (Some("out:msg_1:0:1"), None));
    for inbox in [json!(263_902_037_430_900_i64), json!("26390203743090"), json!("1217981644879628")] {
        assert_eq!(echo(json!({"app_id": inbox, "text": "Dag"})).sent_by.as_deref(), Some("page_inbox"));
    }
    let other = echo(json!({"app_id": "900000000000777", "text": "Dag", "metadata": "campaign 7"}));
    assert_eq!((other.outbox_id, other.sent_by.as_deref()), (None, Some("900000000000777")));
    let untold = echo(json!({"text": "Dag", "metadata": "out:1"}));
    assert_eq!((untold.outbox_id.as_deref(), untold.sent_by), (Some("out:1"), None));
}

#[test]
fn the_template_of_an_echo_is_told_in_words() {
    let generic = echo(json!({"app_id": "1", "attachments": [{"type": "template", "payload": {
        "template_type": "generic", "elements": [
            {"title": "Fiets", "subtitle": "€ 499", "buttons": [{"type": "postback", "title": "Kies", "payload": "F"}]},
            {"title": "Bel"}]}}]}));
    assert_eq!(generic.content.kind, "template");
    assert_eq!(generic.content.text.as_deref(), Some("Fiets\n€ 499\nBel"));
    assert_eq!(
        (generic.content.buttons[0].title.as_str(), generic.content.buttons[0].id.as_deref()),
        ("Kies", Some("F"))
    );
    assert_eq!(generic.content.details.unwrap()["template"]["template_type"], "generic");
    assert!(generic.attachments.is_empty());
}

#[test]
fn messages_of_the_page_itself_without_the_echo_mark_are_echoes() {
    let mut said = item("message", json!({"mid": "m_1", "text": "Dag"}));
    said["sender"]["id"] = json!(PAGE);
    said["recipient"]["id"] = json!(CUSTOMER);
    let mut reacted = item("reaction", json!({"mid": "m_2", "action": "react", "emoji": "🧡"}));
    reacted["sender"]["id"] = json!(PAGE);
    reacted["recipient"]["id"] = json!(CUSTOMER);
    let received = read(&body(&json!([said, reacted])));
    assert!(matches!(&received.events[0].fact, Fact::Echo(_)));
    assert!(matches!(&received.events[1].fact, Fact::Reaction(reaction) if reaction.outgoing));
    assert_eq!(received.events[1].opens_window, Some(false));
    for event in &received.events {
        assert_eq!(event.customer.as_ref().unwrap().handles[0].value, CUSTOMER);
    }
}

#[test]
fn edits_count_in_numbers_or_digits() {
    let number = |num_edit: Value| match event(
        "message_edit",
        json!({"mid": "m", "text": "Nieuw", "num_edit": num_edit}),
    )
    .fact
    {
        Fact::Edit(edit) => edit.edit_number,
        other => panic!("{other:?}"),
    };
    assert_eq!((number(json!(2)), number(json!("3")), number(json!(null))), (Some(2), Some(3), None));
    assert_eq!(problem("message_edit", json!({"mid": "m"})).reason, ParkReason::Unreadable);
}

#[test]
fn an_order_reads_prices_as_they_stand_and_is_keyed_by_its_contents() {
    let order = json!({"products": [
        {"id": 123, "unit_price": "19.95", "currency": "EUR", "quantity": "2"},
        {"retailer_id": "B", "unit_price": 1.5, "currency": "EUR", "quantity": 1},
        "junk"]});
    let first = event("order", order.clone());
    let Fact::Message(fact) = &first.fact else { panic!() };
    let items = &fact.content.order.as_ref().unwrap().items;
    let lines: Vec<_> = items.iter().map(|i| (i.product_id.as_str(), i.quantity, i.price.as_str())).collect();
    assert_eq!(lines, [("123", 2, "19.95"), ("B", 1, "1.5")]);
    assert_eq!(fact.content.details.as_ref().unwrap()["products"][2], "junk");
    assert_eq!(first.key(), event("order", order).key());
    let other = event("order", json!({"note": "x", "products": []}));
    assert_ne!(first.key(), other.key());
    assert_eq!(problem("order", json!({"products": [{}]})).reason, ParkReason::Unreadable);
}

#[test]
fn what_is_new_in_a_message_is_kept_as_it_came() {
    let fact = message(json!({"mid": "m_1", "poll": {"question": "?"}}));
    assert_eq!(fact.content.kind, "unsupported");
    assert_eq!(fact.content.original_type.as_deref(), Some("poll"));
    assert_eq!(fact.content.details, Some(json!({"poll": {"question": "?"}})));
    let unsupported = message(json!({"mid": "m_1", "is_unsupported": true}));
    assert_eq!(unsupported.content.kind, "unsupported");
    let heart = message(json!({"mid": "m_1", "attachments": [{"type": "like_heart"}]}));
    assert_eq!((heart.content.kind.as_str(), heart.content.text.as_deref()), ("text", Some("❤️")));
    for nothing in [json!({}), json!({"text": ""}), json!({"mid": "", "text": null})] {
        assert_eq!(problem("message", nothing).reason, ParkReason::Unreadable);
    }
    assert_eq!(
        problem("message", json!({"mid": "m".repeat(513), "text": "x"})).reason,
        ParkReason::Unreadable
    );
    let nameless = message(json!({"text": "zonder mid"}));
    assert_eq!(nameless.external_id, None);
}

#[test]
fn a_postback_without_anything_is_parked_and_without_an_id_keyed_by_contents() {
    assert_eq!(problem("postback", json!({"referral": {"ref": "x"}})).reason, ParkReason::Unreadable);
    let one = event("postback", json!({"title": "Ja", "payload": "JA"}));
    let other = event("postback", json!({"title": "Nee", "payload": "NEE"}));
    assert_ne!(one.key(), other.key());
}

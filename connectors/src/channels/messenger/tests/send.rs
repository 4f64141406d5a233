//! What is said to the platform for every content, and what is refused beforehand.

use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::message::{Attachment, Button, Content, List, ListRow, ListSection, Template};
use loket_protocol::outbound::OutboundMessage;
use serde_json::{Value, json};

use super::platform::{PROOF, PSID, Platform, account, outbound};
use super::{INSTAGRAM, PAGE};
use crate::channel::{SendError, Taken};

fn content(kind: &str, text: &str) -> Content {
    Content { kind: kind.to_owned(), text: (!text.is_empty()).then(|| text.to_owned()), ..Content::default() }
}

fn button(id: Option<&str>, title: &str) -> Button {
    Button { id: id.map(str::to_owned), title: title.to_owned(), ..Button::default() }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where a message has one or none")]
fn attachment(kind: &str, media_id: Option<&str>, url: Option<&str>) -> Option<Attachment> {
    Some(Attachment {
        kind: kind.to_owned(),
        media_id: media_id.map(str::to_owned),
        url: url.map(str::to_owned),
        ..Attachment::default()
    })
}

/// The `message` that content and attachment come to, without its metadata.
async fn message(content: Content, attachment: Option<Attachment>) -> Value {
    let platform = Platform::taking().await;
    platform.send(&OutboundMessage { attachment, ..outbound(content) }).await.unwrap();
    let mut said = platform.said();
    said["message"].as_object_mut().unwrap().remove("metadata").unwrap();
    said["message"].take()
}

/// The sentence with which something is refused, before anything reached the platform.
async fn refusal(message: OutboundMessage) -> String {
    let platform = Platform::taking().await;
    let error = platform.send(&message).await.unwrap_err();
    assert!(platform.requests().is_empty());
    match error {
        SendError::NotSent { class: SendClass::Final, code: None, sentence, .. } => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_text_is_one_call_with_token_proof_and_our_outbox_id() {
    let platform = Platform::taking().await;
    let message =
        OutboundMessage { reply_to: Some("m_asked".to_owned()), ..outbound(Content::text("Dag! 🧇")) };
    let taken = platform.send(&message).await;
    assert_eq!(taken, Ok(Taken { external_id: "m_new".to_owned(), learnt: Vec::new() }));
    let expected = json!({
        "recipient": {"id": PSID},
        "messaging_type": "RESPONSE",
        "message": {"text": "Dag! 🧇", "metadata": message.dispatch.outbox_id()},
        "reply_to": {"mid": "m_asked"},
    });
    assert_eq!(platform.said(), expected);
    let path = format!("/v26.0/{PAGE}/messages?access_token=token%7Cof%20{PAGE}&appsecret_proof={PROOF}");
    assert_eq!(platform.requests()[0].line, format!("POST {path} HTTP/1.1"));
}

#[tokio::test]
async fn the_window_and_the_author_choose_the_messaging_type() {
    let clock = Clock::movable();
    let platform = Platform::taking().await;
    let channel = platform.channel(&clock);
    let closes_at = Some(clock.now().plus_millis(60_000));
    let template = Content {
        template: Some(Template { name: "afspraak".to_owned(), language: "nl".to_owned(), components: None }),
        ..content("template", "")
    };
    for (content, written_by_person, window_closes_at) in [
        (Content::text("a"), true, closes_at),
        (Content::text("b"), false, closes_at),
        (Content::text("c"), true, None),
        (Content::text("d"), false, None),
        (template, true, None),
    ] {
        let message = OutboundMessage { written_by_person, window_closes_at, ..outbound(content) };
        channel.send(&message).await.unwrap();
    }
    clock.advance(Duration::from_secs(61));
    channel
        .send(&OutboundMessage { window_closes_at: closes_at, ..outbound(Content::text("e")) })
        .await
        .unwrap();
    let chosen: Vec<(Value, Value)> = platform
        .requests()
        .iter()
        .map(|r| (r.body["messaging_type"].clone(), r.body["tag"].clone()))
        .collect();
    let human = (json!("MESSAGE_TAG"), json!("HUMAN_AGENT"));
    let response = (json!("RESPONSE"), Value::Null);
    assert_eq!(
        chosen,
        [response.clone(), response.clone(), human.clone(), response, (json!("UTILITY"), Value::Null), human,]
    );
}

#[tokio::test]
async fn the_recipient_is_the_id_of_that_side_or_its_stand_in() {
    let user_ref = Handle::new(HandleKind::UserRef, "ref-1");
    let platform = Platform::taking().await;
    let taken =
        platform.send(&OutboundMessage { to: vec![user_ref.clone()], ..outbound(Content::text("x")) }).await;
    assert_eq!(platform.said()["recipient"], json!({"user_ref": "ref-1"}));
    assert_eq!(taken.unwrap().learnt, [Handle::new(HandleKind::Psid, PSID)]);

    let platform = Platform::taking().await;
    let to = vec![user_ref, Handle::new(HandleKind::Psid, PSID)];
    platform.send(&OutboundMessage { to, ..outbound(Content::text("x")) }).await.unwrap();
    assert_eq!(platform.said()["recipient"], json!({"id": PSID}));

    let platform = Platform::taking().await;
    let to = vec![Handle::new(HandleKind::Igsid, "8800000000000042")];
    platform
        .send(&OutboundMessage { to, channel: account(INSTAGRAM), ..outbound(Content::text("x")) })
        .await
        .unwrap();
    assert_eq!(platform.said()["recipient"], json!({"id": "8800000000000042"}));
    assert!(platform.requests()[0].line.starts_with(&format!("POST /v26.0/{PAGE}/messages?")));

    let phone = vec![Handle::new(HandleKind::Phone, "31600000077")];
    refusal(OutboundMessage { to: phone, ..outbound(Content::text("x")) }).await;
    refusal(OutboundMessage { channel: account("99"), ..outbound(Content::text("x")) }).await;
}

#[tokio::test]
async fn media_go_by_address_or_by_id() {
    let url = "https://shop.example/a.jpg";
    for (kind, sent) in [("image", "image"), ("video", "video"), ("audio", "audio"), ("document", "file")] {
        let said = message(content(kind, ""), attachment(kind, None, Some(url))).await;
        assert_eq!(
            said,
            json!({"attachment": {"type": sent, "payload": {"url": url, "is_reusable": false}}})
        );
    }
    let said = message(content("document", ""), attachment("file", Some("245"), Some(url))).await;
    assert_eq!(said, json!({"attachment": {"type": "file", "payload": {"attachment_id": "245"}}}));
}

#[tokio::test]
async fn quick_replies_stand_beside_a_text_or_a_picture() {
    let mut choices = content("quick_replies", "Kies:");
    choices.buttons = vec![
        button(Some("JA:88"), "Ja"),
        button(None, "Nee"),
        Button { asks: Some("phone".to_owned()), ..Button::default() },
        Button { asks: Some("email".to_owned()), ..Button::default() },
        Button { asks: Some("text".to_owned()), ..button(Some("M"), "Misschien") },
    ];
    let replies = json!([
        {"content_type": "text", "title": "Ja", "payload": "JA:88"},
        {"content_type": "text", "title": "Nee", "payload": "Nee"},
        {"content_type": "user_phone_number"},
        {"content_type": "user_email"},
        {"content_type": "text", "title": "Misschien", "payload": "M"},
    ]);
    assert_eq!(message(choices.clone(), None).await, json!({"text": "Kies:", "quick_replies": replies}));
    choices.text = None;
    let said = message(choices, attachment("image", Some("245"), None)).await;
    let picture = json!({"type": "image", "payload": {"attachment_id": "245"}});
    assert_eq!(said, json!({"attachment": picture, "quick_replies": replies}));
}

#[tokio::test]
async fn buttons_are_a_button_template() {
    let mut offer = content("buttons", "Wat wilt u doen?");
    offer.header = Some("Proefrit".to_owned());
    offer.footer = Some("Tot 18:00".to_owned());
    offer.buttons = vec![
        Button { url: Some("https://fietsen.example/".to_owned()), ..button(None, "Naar de site") },
        button(Some("BEL"), "Bel mij"),
    ];
    let expected = json!({"attachment": {"type": "template", "payload": {
    "template_type": "button",
    "text": "Proefrit\n\nWat wilt u doen?\n\nTot 18:00",
    "buttons": [
        {"type": "web_url", "title": "Naar de site", "url": "https://fietsen.example/"},
        {"type": "postback", "title": "Bel mij", "payload": "BEL"},
    ]}}});
    assert_eq!(message(offer, None).await, expected);
}

#[tokio::test]
async fn a_list_is_a_text_with_a_quick_reply_per_row() {
    let row = |id: &str, title: &str, description: Option<&str>| ListRow {
        id: id.to_owned(),
        title: title.to_owned(),
        description: description.map(str::to_owned),
    };
    let mut plain = content("list", "Welke winkel?");
    plain.list = Some(List {
        button: "Kies".to_owned(),
        sections: vec![ListSection {
            title: None,
            rows: vec![row("u", "Utrecht", None), row("a", "Almere", None)],
        }],
    });
    let replies = json!([
        {"content_type": "text", "title": "Utrecht", "payload": "u"},
        {"content_type": "text", "title": "Almere", "payload": "a"},
    ]);
    assert_eq!(
        message(plain.clone(), None).await,
        json!({"text": "Welke winkel?", "quick_replies": replies})
    );
    let mut rich = plain;
    rich.footer = Some("Tot ziens".to_owned());
    rich.list = Some(List {
        button: "Kies".to_owned(),
        sections: vec![
            ListSection { title: Some("Midden".to_owned()), rows: vec![row("u", "Utrecht", Some("Balie"))] },
            ListSection { title: None, rows: vec![row("a", "Almere", None)] },
        ],
    });
    let text = "Welke winkel?\n\nMidden\n• Utrecht: Balie\n• Almere\n\nTot ziens";
    assert_eq!(message(rich, None).await, json!({"text": text, "quick_replies": replies}));
}

#[tokio::test]
async fn a_template_is_passed_on_as_it_is() {
    let components = json!([{"type": "body", "parameters": [{"type": "text", "text": "vrijdag"}]}]);
    let mut reminder = content("template", "");
    reminder.template = Some(Template {
        name: "afspraak".to_owned(),
        language: "nl".to_owned(),
        components: Some(components.clone()),
    });
    let expected =
        json!({"template": {"name": "afspraak", "language": {"code": "nl"}, "components": components}});
    assert_eq!(message(reminder, None).await, expected);
}

#[tokio::test]
async fn what_messenger_cannot_say_is_refused_before_it_leaves() {
    let buttons = |kind: &str, text: &str, buttons: Vec<Button>| Content { buttons, ..content(kind, text) };
    let link = |url: &str| Button { url: Some(url.to_owned()), ..button(None, "Site") };
    let asks = Button { asks: Some("shoe size".to_owned()), ..Button::default() };
    let cases = vec![
        (content("text", &"é".repeat(2001)), None, "2001 characters"),
        (content("text", ""), None, "empty"),
        (content("text", "Zie foto"), attachment("image", Some("1"), None), "no captions"),
        (content("image", "Zie foto"), attachment("image", Some("1"), None), "no captions"),
        (content("image", ""), None, "empty"),
        (content("image", "Zie foto"), None, "attachment is missing"),
        (content("image", ""), attachment("image", None, None), "neither an id nor"),
        (content("image", ""), attachment("image", None, Some("file:///etc/passwd")), "neither an id nor"),
        (content("image", ""), attachment("hologram", Some("1"), None), "hologram"),
        (content("location", ""), None, "location"),
        (content("reaction", ""), None, "reaction"),
        (buttons("quick_replies", "Kies", vec![]), None, "1 to 13"),
        (buttons("quick_replies", "Kies", vec![button(None, "x"); 14]), None, "1 to 13"),
        (buttons("quick_replies", "Kies", vec![button(None, &"x".repeat(21))]), None, "21 characters"),
        (
            buttons("quick_replies", "Kies", vec![button(Some(&"x".repeat(1001)), "x")]),
            None,
            "1001 characters",
        ),
        (buttons("quick_replies", "Kies", vec![button(None, "")]), None, "no title"),
        (buttons("quick_replies", "Kies", vec![asks]), None, "shoe size"),
        (buttons("quick_replies", "", vec![button(None, "x")]), None, "empty"),
        (buttons("buttons", "", vec![button(None, "x")]), None, "need a text"),
        (buttons("buttons", &"x".repeat(641), vec![button(None, "x")]), None, "641 characters"),
        (buttons("buttons", "Kies", vec![button(None, "x"); 4]), None, "1 to 3"),
        (buttons("buttons", "Kies", vec![button(None, &"x".repeat(21))]), None, "21 characters"),
        (buttons("buttons", "Kies", vec![button(None, "")]), None, "no title"),
        (buttons("buttons", "Kies", vec![link("javascript:alert(1)")]), None, "https://"),
        (
            buttons("buttons", "Kies", vec![button(None, "x")]),
            attachment("image", Some("1"), None),
            "no attachment",
        ),
        (content("list", "Kies"), None, "1 to 13"),
        (content("list", ""), None, "needs a text"),
        (content("template", ""), None, "its name"),
    ];
    for (content, attachment, words) in cases {
        let sentence = refusal(OutboundMessage { attachment, ..outbound(content.clone()) }).await;
        assert!(sentence.contains(words), "{sentence} for {}", content.kind);
    }
    assert_eq!(
        message(content("text", &"é".repeat(2000)), None).await["text"].as_str().unwrap().chars().count(),
        2000
    );
}

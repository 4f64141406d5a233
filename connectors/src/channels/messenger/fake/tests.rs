//! Every limit of `messenger` §11, just inside and just outside.

use serde_json::{Value, json};

use super::check::{Asked, Facts, check};
use super::{message_id, profile, reaction_word};
use crate::simulator::phone::{File, Needs};
use crate::simulator::refusal::Refusal;

struct Known;

impl Facts for Known {
    fn attachment(&self, id: &str) -> Option<File> {
        (id == "9").then(|| File {
            kind: "image".to_owned(),
            media_id: None,
            link: Some("https://example.org/a.png".to_owned()),
            mime: None,
            name: None,
        })
    }
    fn has_message(&self, psid: &str, mid: &str) -> bool {
        (psid, mid) == ("73", "m_known")
    }
}

fn ask(part: &Value) -> Result<Asked, Refusal> {
    let mut body = json!({"recipient": {"id": "73"}, "messaging_type": "RESPONSE"});
    body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    check(&body, &Known)
}

fn taken(message: &Value) {
    if let Err(refusal) = ask(&json!({ "message": message })) {
        panic!("{message}: {refusal:?}");
    }
}

fn refused(message: &Value, subcode: Option<i64>) {
    refused_whole(&json!({ "message": message }), subcode);
}

fn refused_whole(part: &Value, subcode: Option<i64>) {
    match ask(part) {
        Err(refusal) => assert_eq!((refusal.code, refusal.subcode), (100, subcode), "{part}"),
        Ok(asked) => panic!("{part}: {asked:?}"),
    }
}

#[test]
fn a_text_is_shorter_than_2000_characters_and_stands_alone() {
    taken(&json!({"text": "é".repeat(1_999)}));
    refused(&json!({"text": "é".repeat(2_000)}), None);
    refused(&json!({"text": ""}), None);
    refused(&json!({}), None);
    let picture = json!({"type": "image", "payload": {"url": "https://example.org/a.png"}});
    refused(&json!({"text": "x", "attachment": picture}), None);
    taken(&json!({"text": "x", "metadata": "m".repeat(999)}));
    refused(&json!({"text": "x", "metadata": "m".repeat(1_000)}), None);
}

#[test]
fn the_type_and_the_tag_decide_on_the_window() {
    let needs = |part: Value| {
        let mut body = json!({"message": {"text": "x"}});
        body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        match ask(&body) {
            Ok(Asked::Send { draft, .. }) => Ok(draft.needs),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    };
    assert_eq!(needs(json!({"messaging_type": "RESPONSE"})), Ok(Needs::Window));
    assert_eq!(needs(json!({"messaging_type": "UPDATE"})), Ok(Needs::Window));
    assert_eq!(needs(json!({"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"})), Ok(Needs::Week));
    for dead in ["ACCOUNT_UPDATE", "CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE", "CUSTOMER_FEEDBACK"] {
        assert_eq!(needs(json!({"messaging_type": "MESSAGE_TAG", "tag": dead})), Err(100), "{dead}");
    }
    assert_eq!(needs(json!({"messaging_type": "MESSAGE_TAG"})), Err(100));
    assert_eq!(needs(json!({"messaging_type": "UTILITY"})), Err(100));
    assert_eq!(needs(json!({"messaging_type": "LETTER"})), Err(100));
    assert_eq!(needs(json!({ "messaging_type": null })), Err(100));
    assert_eq!(needs(json!({"notification_type": "NO_PUSH"})), Ok(Needs::Window));
    assert_eq!(needs(json!({"notification_type": "LOUD"})), Err(100));
}

#[test]
fn recipients_and_replies() {
    let text = json!({"text": "x"});
    refused_whole(&json!({"message": text, "recipient": null}), None);
    refused_whole(&json!({"message": text, "recipient": {"user_ref": "u"}}), Some(2_018_001));
    assert!(ask(&json!({"message": text, "reply_to": {"mid": "m_known"}})).is_ok());
    refused_whole(&json!({"message": text, "reply_to": {"mid": "m_other"}}), None);
    refused_whole(&json!({"message": text, "reply_to": {}}), None);
}

#[test]
fn attachments_are_links_or_saved_ones() {
    for kind in ["image", "video", "audio", "file"] {
        taken(&json!({"attachment": {"type": kind, "payload": {"url": "https://example.org/a"}}}));
    }
    taken(&json!({"attachment": {"type": "image", "payload": {"attachment_id": "9"}}}));
    taken(&json!({"attachment": {"type": "image", "payload": {"attachment_id": 9}}}));
    refused(&json!({"attachment": {"type": "image", "payload": {"attachment_id": "8"}}}), Some(2_018_074));
    refused(&json!({"attachment": {"type": "video", "payload": {"attachment_id": "9"}}}), Some(2_018_074));
    refused(&json!({"attachment": {"type": "image", "payload": {"url": "/a.png"}}}), Some(2_018_008));
    refused(&json!({"attachment": {"type": "image", "payload": {}}}), None);
    refused(&json!({"attachment": {"type": "hologram"}}), None);
    let pictures = |count: usize, kind: &str| {
        let one = json!({"type": kind, "payload": {"url": "https://example.org/a.png"}});
        json!({"attachments": vec![one; count]})
    };
    taken(&pictures(30, "image"));
    refused(&pictures(31, "image"), None);
    refused(&pictures(2, "video"), None);
}

#[test]
fn quick_replies_have_their_limits() {
    let one = |title: usize, payload: usize| json!({"content_type": "text", "title": "t".repeat(title), "payload": "p".repeat(payload)});
    let with = |replies: Vec<Value>| json!({"text": "x", "quick_replies": replies});
    taken(&with(vec![one(20, 1_000); 13]));
    refused(&with(vec![one(1, 1); 14]), None);
    refused(&with(vec![one(21, 1)]), None);
    refused(&with(vec![one(1, 1_001)]), None);
    refused(&with(vec![one(0, 1)]), None);
    taken(&with(vec![json!({"content_type": "user_phone_number"}), json!({"content_type": "user_email"})]));
    refused(&with(vec![json!({"content_type": "location"})]), None);
}

#[test]
fn templates_have_their_limits() {
    let of = |payload: Value| json!({"attachment": {"type": "template", "payload": payload}});
    let button = |title: usize| json!({"type": "postback", "title": "t".repeat(title), "payload": "P"});
    let buttons = |text: usize, buttons: Vec<Value>| {
        of(json!({"template_type": "button", "text": "x".repeat(text), "buttons": buttons}))
    };
    taken(&buttons(640, vec![button(20), button(1), button(2)]));
    refused(&buttons(641, vec![button(1)]), None);
    refused(&buttons(1, vec![button(21)]), None);
    refused(&buttons(1, vec![]), None);
    refused(&buttons(1, vec![button(1); 4]), None);
    taken(&buttons(1, vec![json!({"type": "web_url", "title": "x", "url": "https://example.org"})]));
    refused(&buttons(1, vec![json!({"type": "web_url", "title": "x", "url": "example"})]), None);
    refused(&buttons(1, vec![json!({"type": "game", "title": "x"})]), None);
    let generic = |elements: Vec<Value>| of(json!({"template_type": "generic", "elements": elements}));
    let element = |title: usize| json!({"title": "t".repeat(title), "subtitle": "s"});
    taken(&generic(vec![element(80); 10]));
    refused(&generic(vec![element(80); 11]), None);
    refused(&generic(vec![]), None);
    refused(&generic(vec![element(81)]), None);
    refused(&generic(vec![json!({"title": "alone"})]), None);
    refused(&of(json!({"template_type": "receipt"})), None);
}

#[test]
fn small_things() {
    assert_eq!((reaction_word("❤️"), reaction_word("👍"), reaction_word("🧡")), ("love", "like", "other"));
    let ids: std::collections::BTreeSet<_> = (0..100).map(|_| message_id()).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.starts_with("m_") && id.len() < 150));
    assert_eq!(
        profile("73", "Lotte", "p", Some("name, last_name")),
        json!({"id": "73", "name": "Lotte", "last_name": ""})
    );
}

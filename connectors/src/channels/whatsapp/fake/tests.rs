//! Every limit of `whatsapp` §11, just inside and just outside.

use serde_json::{Value, json};

use super::check::{Asked, Facts, check};
use super::{Way, dialled, message_id};
use crate::simulator::Number;
use crate::simulator::phone::{File, Needs, To};
use crate::simulator::refusal::Refusal;
use loket_backbone::secret::Secret;

struct Known;

impl Facts for Known {
    fn file(&self, media_id: &str) -> Option<File> {
        let (kind, mime) = match media_id {
            "10" => ("image", "image/png"),
            "11" => ("audio", "audio/mpeg"),
            "12" => ("audio", "audio/ogg"),
            _ => return None,
        };
        Some(File {
            kind: kind.to_owned(),
            media_id: Some(media_id.to_owned()),
            link: None,
            mime: Some(mime.to_owned()),
            name: None,
        })
    }
    fn has_message(&self, id: &str) -> bool {
        id == "wamid.known"
    }
    fn is_inbound(&self, id: &str) -> bool {
        id == "wamid.known"
    }
}

fn ask(part: &Value) -> Result<Asked, Refusal> {
    let mut body = json!({"messaging_product": "whatsapp", "to": "+31600000042"});
    body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    check(&body, &Known)
}

fn taken(part: &Value) {
    if let Err(refusal) = ask(part) {
        panic!("{part}: {refusal:?}");
    }
}

fn refused(part: &Value, code: i64) {
    match ask(part) {
        Err(refusal) => assert_eq!(refusal.code, code, "{part}: {refusal:?}"),
        Ok(asked) => panic!("{part}: {asked:?}"),
    }
}

fn button(buttons: &Value) -> Value {
    json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "x"},
        "action": {"buttons": buttons}}})
}

fn reply(id: &str, title: &str) -> Value {
    json!({"type": "reply", "reply": {"id": id, "title": title}})
}

fn list(label: &str, sections: &Value) -> Value {
    json!({"type": "interactive", "interactive": {"type": "list", "body": {"text": "x"},
        "action": {"button": label, "sections": sections}}})
}

fn rows(count: usize, from: usize) -> Vec<Value> {
    (from..from + count).map(|number| json!({"id": number.to_string(), "title": "rij"})).collect()
}

#[test]
fn texts_and_captions_are_counted_in_characters() {
    let text = |count: usize| json!({"type": "text", "text": {"body": "é".repeat(count)}});
    taken(&text(4_096));
    refused(&text(4_097), 100);
    refused(&text(0), 100);
    refused(&json!({"type": "text"}), 100);
    let caption =
        |count: usize| json!({"type": "image", "image": {"id": "10", "caption": "😀".repeat(count)}});
    taken(&caption(1_024));
    refused(&caption(1_025), 100);
}

#[test]
fn the_common_part_is_checked() {
    let text = json!({"type": "text", "text": {"body": "x"}});
    let with = |key: &str, value: Value| {
        let mut body = text.clone();
        body[key] = value;
        body
    };
    refused(&with("messaging_product", json!("messenger")), 100);
    refused(&with("to", json!("")), 100);
    refused(&with("to", json!("Sanne")), 131_009);
    refused(&with("to", json!("+-")), 131_009);
    taken(&with("to", json!("+31 (0)6-0000 0042")));
    taken(&with("recipient_type", json!("individual")));
    refused(&with("recipient_type", json!("group")), 131_041);
    refused(&with("recipient_type", json!("crowd")), 100);
    refused(&with("type", json!("poll")), 100);
    taken(&with("biz_opaque_callback_data", json!("o".repeat(512))));
    refused(&with("biz_opaque_callback_data", json!("o".repeat(513))), 100);
    taken(&with("context", json!({"message_id": "wamid.known"})));
    refused(&with("context", json!({"message_id": "wamid.other"})), 131_009);
    let both = ask(&with("recipient", json!("NL.1"))).unwrap();
    assert!(matches!(both, Asked::Send(draft) if draft.to == To::Phone("+31600000042".to_owned())));
}

#[test]
fn media_is_an_id_or_a_link_of_its_own_kind() {
    taken(&json!({"type": "image", "image": {"link": "https://example.org/a.png"}}));
    taken(&json!({"type": "document", "document": {"link": "https://example.org/a", "filename": "a.pdf"}}));
    taken(&json!({"type": "audio", "audio": {"id": "12", "voice": true}}));
    refused(&json!({"type": "audio", "audio": {"id": "11", "voice": true}}), 131_053);
    refused(&json!({"type": "audio", "audio": {"id": "12", "caption": "x"}}), 100);
    refused(&json!({"type": "image", "image": {"id": "11"}}), 131_053);
    refused(&json!({"type": "image", "image": {"id": "99"}}), 100);
    refused(&json!({"type": "image", "image": {"link": "ftp://example.org/a"}}), 100);
    refused(&json!({"type": "image", "image": {"link": "https://example.org/a", "id": "10"}}), 131_009);
    refused(&json!({"type": "image", "image": {}}), 100);
    refused(&json!({"type": "sticker"}), 100);
}

#[test]
fn places_cards_and_reactions() {
    taken(&json!({"type": "location", "location": {"latitude": 52.37, "longitude": "4.89", "name": "x"}}));
    refused(&json!({"type": "location", "location": {"latitude": 91, "longitude": 4}}), 100);
    refused(&json!({"type": "location", "location": {"latitude": 52}}), 100);
    let card = json!({"name": {"formatted_name": "Piet Jansen", "first_name": "Piet"}, "phones": [{"phone": "+31"}]});
    taken(&json!({"type": "contacts", "contacts": [card]}));
    refused(&json!({"type": "contacts", "contacts": []}), 100);
    refused(&json!({"type": "contacts", "contacts": [{"name": {"formatted_name": "Piet"}}]}), 131_008);
    let reaction =
        |id: &str, emoji: &str| json!({"type": "reaction", "reaction": {"message_id": id, "emoji": emoji}});
    taken(&reaction("wamid.known", "👍"));
    taken(&reaction("wamid.known", ""));
    refused(&reaction("wamid.other", "👍"), 131_009);
    refused(&reaction("wamid.known", "ok"), 131_009);
}

#[test]
fn reply_buttons_have_their_limits() {
    taken(&button(&json!([reply("1", &"t".repeat(20)), reply(&"i".repeat(256), "b"), reply("3", "c")])));
    refused(&button(&json!([])), 131_009);
    refused(&button(&json!([reply("1", "a"), reply("2", "b"), reply("3", "c"), reply("4", "d")])), 131_009);
    refused(&button(&json!([reply("1", &"t".repeat(21))])), 131_009);
    refused(&button(&json!([reply("1", "")])), 131_009);
    refused(&button(&json!([reply(&"i".repeat(257), "a")])), 131_009);
    refused(&button(&json!([reply("1", "a"), reply("1", "b")])), 131_009);
    refused(&button(&json!([reply("1", "a"), reply("2", "a")])), 131_009);
    refused(&button(&json!([{"type": "url"}])), 131_009);
}

#[test]
fn lists_have_at_most_ten_rows_in_all() {
    taken(&list("Opties", &json!([{"title": "a", "rows": rows(5, 0)}, {"title": "b", "rows": rows(5, 5)}])));
    taken(&list("Opties", &json!([{"rows": rows(10, 0)}])));
    refused(
        &list("Opties", &json!([{"title": "a", "rows": rows(6, 0)}, {"title": "b", "rows": rows(5, 6)}])),
        131_009,
    );
    refused(&list("Opties", &json!([{"rows": rows(2, 0)}, {"rows": rows(2, 2)}])), 131_008);
    refused(&list("Opties", &json!([{"title": "t".repeat(25), "rows": rows(1, 0)}])), 131_009);
    refused(&list(&"l".repeat(21), &json!([{"rows": rows(1, 0)}])), 131_009);
    refused(&list("Opties", &json!([])), 131_009);
    refused(&list("Opties", &json!([{"rows": []}])), 131_009);
    let row = |key: &str, count: usize| {
        let mut row = json!({"id": "1", "title": "rij"});
        row[key] = json!("x".repeat(count));
        list("Opties", &json!([{ "rows": [row] }]))
    };
    for (key, most) in [("title", 24), ("description", 72), ("id", 200)] {
        taken(&row(key, most));
        refused(&row(key, most + 1), 131_009);
    }
}

#[test]
fn bodies_headers_and_footers_have_their_limits() {
    let with = |kind: &str, part: &str, count: usize| {
        let action = if kind == "list" {
            json!({"button": "x", "sections": [{"rows": rows(1, 0)}]})
        } else {
            json!({"buttons": [reply("1", "a")]})
        };
        let mut own = json!({"type": kind, "body": {"text": "x"}, "action": action});
        own[part] = json!({"type": "text", "text": "x".repeat(count)});
        json!({"type": "interactive", "interactive": own})
    };
    for (kind, part, most) in [
        ("button", "body", 1_024),
        ("list", "body", 4_096),
        ("button", "header", 60),
        ("button", "footer", 60),
    ] {
        taken(&with(kind, part, most));
        refused(&with(kind, part, most + 1), 131_009);
    }
    let picture = json!({"type": "image", "image": {"id": "10"}});
    let mut own = with("button", "header", 1);
    own["interactive"]["header"] = picture.clone();
    taken(&own);
    let mut own = with("list", "header", 1);
    own["interactive"]["header"] = picture;
    refused(&own, 131_009);
}

#[test]
fn the_other_interactive_kinds() {
    let own = |kind: &str, action: Value| json!({"type": "interactive", "interactive": {"type": kind, "body": {"text": "x"}, "action": action}});
    let link = |text: &str, url: &str| {
        own("cta_url", json!({"name": "cta_url", "parameters": {"display_text": text, "url": url}}))
    };
    taken(&link(&"t".repeat(20), "https://example.org"));
    refused(&link(&"t".repeat(21), "https://example.org"), 131_009);
    refused(&link("t", "example"), 131_009);
    taken(&own("location_request_message", json!({"name": "send_location"})));
    taken(&own("request_contact_info", json!({"name": "request_contact_info"})));
    refused(&own("request_contact_info", json!({"name": "contact_request"})), 131_009);
    let flow = |version: &str, label: &str| {
        own(
            "flow",
            json!({"name": "flow", "parameters": {
            "flow_message_version": version, "flow_id": "1", "flow_cta": label, "flow_token": "t"}}),
        )
    };
    taken(&flow("3", &"t".repeat(30)));
    refused(&flow("3", &"t".repeat(31)), 131_009);
    refused(&flow("2", "t"), 131_009);
    refused(&own("carousel", json!({})), 131_009);
}

#[test]
fn a_template_is_known_approved_and_filled_in() {
    let named = |name: &str, language: &str, components: Value| json!({"type": "template", "template": {"name": name, "language": {"code": language}, "components": components}});
    let body = |words: &[&str]| {
        let parameters: Vec<_> = words.iter().map(|text| json!({"type": "text", "text": text})).collect();
        json!([{"type": "body", "parameters": parameters}])
    };
    let Asked::Send(draft) = ask(&named("order_update", "nl", body(&["Sanne", "48213"]))).unwrap() else {
        panic!()
    };
    assert_eq!(draft.text.as_deref(), Some("Dag Sanne, je bestelling 48213 is onderweg."));
    assert_eq!(draft.needs, Needs::Nothing);
    refused(&named("order_update", "nl", body(&["Sanne"])), 132_000);
    refused(&named("order_update", "nl", json!([])), 132_000);
    refused(&named("order_update", "nl", body(&["Sanne", "a\nb"])), 132_018);
    refused(&named("order_update", "fr", body(&["Sanne", "1"])), 132_001);
    refused(&named("nothing", "nl", json!([])), 132_001);
    refused(&named("spring_sale", "nl", body(&["Sanne"])), 132_015);
    refused(&named("survey", "nl", json!([])), 132_001);
    refused(&json!({"type": "template", "template": {"name": "order_update"}}), 131_008);
    let picture = |header: Value| {
        named(
            "parcel_picture",
            "nl",
            json!([
            {"type": "header", "parameters": [header]},
            {"type": "body", "parameters": [{"type": "text", "text": "48213"}]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "48213"}]}]),
        )
    };
    taken(&picture(json!({"type": "image", "image": {"id": "10"}})));
    refused(&picture(json!({"type": "text", "text": "x"})), 132_012);
    let reminder = |name: &str| {
        named(
            "appointment_reminder",
            "nl",
            json!([{"type": "body", "parameters": [
            {"type": "text", "parameter_name": "name", "text": "Sanne"},
            {"type": "text", "parameter_name": name, "text": "vrijdag"}]}]),
        )
    };
    taken(&reminder("moment"));
    refused(&reminder("day"), 132_012);
    let code = named(
        "login_code",
        "nl",
        json!([
        {"type": "body", "parameters": [{"type": "text", "text": "123456"}]},
        {"type": "button", "sub_type": "url", "index": 0, "parameters": [{"type": "text", "text": "123456"}]}]),
    );
    let Asked::Send(draft) = ask(&code).unwrap() else { panic!() };
    assert!(draft.needs_phone);
}

#[test]
fn a_read_mark_names_a_message_of_the_customer() {
    let mark = json!({"status": "read", "message_id": "wamid.known"});
    assert!(matches!(ask(&mark), Ok(Asked::Read { types: false, .. })));
    let typing = json!({"status": "read", "message_id": "wamid.known", "typing_indicator": {"type": "text"}});
    assert!(matches!(ask(&typing), Ok(Asked::Read { types: true, .. })));
    refused(&json!({"status": "read", "message_id": "wamid.other"}), 131_009);
    refused(&json!({"status": "read"}), 100);
    refused(&json!({"status": "seen", "message_id": "wamid.known"}), 100);
    refused(&json!({"status": "read", "message_id": "wamid.known", "typing_indicator": {"type": "x"}}), 100);
}

#[test]
fn without_a_plus_the_own_country_is_put_in_front() {
    let number = |display: &str| Number {
        phone_number_id: "1".to_owned(),
        display: display.to_owned(),
        waba_id: "2".to_owned(),
        token: Secret::new("t"),
    };
    let cases = [
        ("+31 20 123", "+31 6 00", vec!["31600"]),
        ("31201234567", "0600000042", vec!["0600000042", "31600000042"]),
        ("12025550100", "31600000042", vec!["31600000042", "131600000042"]),
        ("+358 9 123", "40 1", vec!["401", "358401"]),
    ];
    for (display, to, wanted) in cases {
        assert_eq!(dialled(to, &number(display)), wanted, "{to} from {display}");
    }
}

#[test]
fn message_ids_are_of_the_platforms_form_and_never_the_same() {
    let ids: std::collections::BTreeSet<_> = (0..100).map(|_| message_id(None, Way::In)).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.starts_with("wamid.HBgL") && (55..=80).contains(&id.len())), "{ids:?}");
}

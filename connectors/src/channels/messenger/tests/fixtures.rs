//! Every fixture yields its expected facts, in whatever form its JSON is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use loket_protocol::contact::Customer;
use loket_protocol::inbound::{Fact, InboundEvent, MessageFact};
use loket_protocol::message::{Attachment, Content};
use loket_protocol::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{Fixture, channel, fixtures, receive};
use crate::channel::{Callback, Received, Rejected};

/// What a mapped fact may say beyond the expected one: the fixtures leave these out where they are
/// of no consequence.
const MAY_BE_MORE: &[&str] = &["at", "opens_window"];

/// How a body may be written without saying anything else.
#[derive(Clone, Copy)]
struct Form {
    keys_turned: bool,
    spaced: bool,
    escaped: bool,
}

fn write(value: &Value, form: Form, out: &mut String) {
    let gap = if form.spaced { " \n\t" } else { "" };
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if form.keys_turned {
                members.reverse();
            }
            out.push('{');
            for (number, (key, value)) in members.into_iter().enumerate() {
                write!(out, "{}{gap}", if number == 0 { "" } else { "," }).unwrap();
                write(&Value::from(key.as_str()), form, out);
                write!(out, "{gap}:{gap}").unwrap();
                write(value, form, out);
            }
            write!(out, "{gap}}}").unwrap();
        }
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                write!(out, "{}{gap}", if number == 0 { "" } else { "," }).unwrap();
                write(item, form, out);
            }
            write!(out, "{gap}]").unwrap();
        }
        Value::String(text) if form.escaped => {
            out.push('"');
            for unit in text.encode_utf16() {
                match char::from_u32(u32::from(unit)) {
                    Some('/') => out.push_str("\\/"),
                    Some(plain @ (' '..='~')) if plain != '"' && plain != '\\' => out.push(plain),
                    _ => write!(out, "\\u{unit:04x}").unwrap(),
                }
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// The body in other words.
fn rewritten(bytes: &[u8], form: Form) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let mut out = String::new();
    write(&value, form, &mut out);
    out
}

/// An event in the fixtures' vocabulary.
fn neutral(event: &InboundEvent) -> Value {
    let mut fact = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fact.insert(key.to_owned(), value);
        }
    };
    put("kind", Some(Value::from(event.fact.kind())));
    put("account", Some(Value::from(event.channel.account.as_str())));
    put("customer", event.customer.as_ref().map(handles));
    put("opens_window", event.opens_window.map(Value::from));
    put("at", (!event.at_is_arrival).then(|| Value::from(event.at.to_string())));
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    match &event.fact {
        Fact::Message(message) | Fact::Echo(message) => {
            let is_echo = matches!(event.fact, Fact::Echo(_));
            put("direction", Some(Value::from(if is_echo { "out" } else { "in" })));
            put("id", text(&message.external_id));
            put("callback", text(&message.outbox_id));
            put("reply_to", reply_to(message));
            for (key, value) in said(&message.content) {
                put(&key, Some(value));
            }
            let attachments: Vec<Value> = message.attachments.iter().map(attachment).collect();
            put("attachments", (!attachments.is_empty()).then_some(Value::Array(attachments)));
        }
        Fact::Watermark(receipt) => {
            put("kind", Some(Value::from("status")));
            put("status", Some(Value::from(receipt.status.as_str())));
            put("watermark", receipt.watermark.map(|at| Value::from(at.to_string())));
            put("mids", (!receipt.external_ids.is_empty()).then(|| json!(receipt.external_ids)));
        }
        Fact::Reaction(reaction) => {
            put("target", Some(Value::from(reaction.target.as_str())));
            put("emoji", text(&reaction.emoji));
            put("action", Some(Value::from(if reaction.emoji.is_some() { "add" } else { "remove" })));
        }
        Fact::Edit(edit) => {
            put("target", Some(Value::from(edit.target.as_str())));
            put("text", text(&edit.content.text));
            put("edit_number", edit.edit_number.map(Value::from));
        }
        Fact::Revoke(revoke) => put("target", Some(Value::from(revoke.target.as_str()))),
        Fact::Referral(fact) => put("referral", Some(referral(&fact.referral))),
        Fact::Optin(optin) => {
            put("type", Some(Value::from(optin.kind.as_str())));
            put("payload", text(&optin.payload));
            put("title", text(&optin.title));
            put("preference", text(&optin.preference));
        }
        Fact::Handover(handover) => {
            put("type", Some(Value::from(handover.kind.as_str())));
            put("owner", text(&handover.owner));
            if handover.kind != "request_thread_control" {
                put("previous_owner", Some(json!(handover.previous_owner)));
            }
        }
        Fact::Feedback(feedback) => {
            put("target", Some(Value::from(feedback.target.as_str())));
            put("payload", Some(Value::from(feedback.payload.as_str())));
        }
        Fact::AccountNotice(notice) | Fact::Ignored(notice) => {
            put("type", Some(Value::from(notice.kind.as_str())));
            put("action", text(&notice.action));
        }
        other => panic!("messenger has no fact {}", other.kind()),
    }
    Value::Object(fact)
}

fn handles(customer: &Customer) -> Value {
    let handles = customer.handles.iter();
    handles.map(|handle| (handle.kind.as_str().to_owned(), Value::from(handle.value.as_str()))).collect()
}

fn reply_to(message: &MessageFact) -> Option<Value> {
    let reply = message.reply_to.as_ref()?;
    let story = reply.story_id.as_ref().map(|id| format!("story {id}"));
    reply.external_id.clone().or(story).map(Value::from)
}

fn said(content: &Content) -> Map<String, Value> {
    let mut said = Map::new();
    said.insert("type".to_owned(), Value::from(content.kind.as_str()));
    for (key, text) in [("text", &content.text), ("payload", &content.payload)] {
        if let Some(text) = text {
            said.insert(key.to_owned(), Value::from(text.as_str()));
        }
    }
    if let Some(place) = &content.location {
        said.insert("location".to_owned(), json!(place));
    }
    if let Some(product) = &content.product {
        said.insert("product".to_owned(), json!(product));
    }
    if let Some(found) = &content.referral {
        said.insert("referral".to_owned(), referral(found));
    }
    if let Some(order) = &content.order {
        let items = order.items.iter();
        let items: Vec<Value> =
            items.map(|item| json!([item.product_id, item.quantity, item.price, item.currency])).collect();
        said.insert("order".to_owned(), json!({ "items": items }));
    }
    said
}

fn referral(referral: &loket_protocol::message::Referral) -> Value {
    let mut value = json!(referral);
    value.as_object_mut().unwrap().remove("details");
    value
}

fn attachment(attachment: &Attachment) -> Value {
    let mut value = json!(attachment);
    let members = value.as_object_mut().unwrap();
    members.remove("state");
    let details = members.remove("details");
    if attachment.kind == "appointment" {
        members.extend(details.unwrap().as_object().unwrap().clone());
    }
    value
}

/// Everything expected is there and equal; what is inside an object may have more to it.
fn has(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| actual.get(key).is_some_and(|found| has(found, value)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| has(a, e))
        }
        (actual, expected) => actual == expected,
    }
}

fn check(fixture: &Fixture, received: &Received, form: &str) {
    let name = &fixture.name;
    assert_eq!(fixture.expected["answer"], 200, "{name}");
    assert!(received.problems.is_empty(), "{name} {form}: {:#?}", received.problems);
    let expected = fixture.expected["facts"].as_array().unwrap();
    assert_eq!(received.events.len(), expected.len(), "{name} {form}: {:#?}", received.events);
    for (event, expected) in received.events.iter().zip(expected) {
        let actual = neutral(event);
        let mut expected = expected.as_object().unwrap().clone();
        expected.remove("note");
        for (key, value) in &expected {
            let found = actual.get(key).unwrap_or(&Value::Null);
            let is_same = if key == "customer" { found == value } else { has(found, value) };
            assert!(is_same, "{name} {form}: {key} is {found}, not {value}\n{event:#?}");
        }
        for (key, value) in actual.as_object().unwrap() {
            let is_expected = expected.contains_key(key) || MAY_BE_MORE.contains(&key.as_str());
            assert!(is_expected, "{name} {form}: {key} {value} is not expected\n{event:#?}");
        }
    }
}

#[test]
fn every_fixture_yields_its_facts_in_every_form() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 61);
    for fixture in &fixtures {
        let as_is = receive(fixture.bytes.clone());
        check(fixture, &as_is, "as is");
        for (name, keys_turned, spaced, escaped) in [
            ("turned and spaced", true, true, false),
            ("wire", false, false, true),
            ("turned wire", true, false, true),
        ] {
            let other = receive(rewritten(&fixture.bytes, Form { keys_turned, spaced, escaped }));
            check(fixture, &other, name);
            assert_eq!(other.events, as_is.events, "{} {name}", fixture.name);
            let keys =
                |received: &Received| received.events.iter().map(InboundEvent::key).collect::<Vec<_>>();
            assert_eq!(keys(&other), keys(&as_is), "{} {name}", fixture.name);
        }
    }
}

#[test]
fn no_two_facts_of_the_fixtures_share_a_key() {
    let mut seen = BTreeMap::new();
    for fixture in fixtures() {
        for event in receive(fixture.bytes).events {
            if let Some(other) = seen.insert(event.key(), fixture.name.clone()) {
                panic!("{} and {other} share {}", fixture.name, event.key());
            }
        }
    }
}

#[test]
fn standby_is_told_and_only_there() {
    for fixture in fixtures() {
        let expected = fixture.name.starts_with("standby_");
        for event in receive(fixture.bytes).events {
            assert_eq!(event.standby, expected, "{}", fixture.name);
        }
    }
}

#[test]
fn every_signature_fits_its_own_bytes_and_no_others() {
    let table = include_str!("../fixtures/signatures.tsv");
    let signatures: BTreeMap<&str, &str> = table.lines().filter_map(|line| line.split_once('\t')).collect();
    let channel = channel();
    let verdict = |signature: &str, body: Vec<u8>| {
        let signatures = vec![signature.to_owned()];
        channel.authenticate(&Callback { signatures, body: body.into(), received_at: Timestamp::default() })
    };
    let fixtures = fixtures();
    assert_eq!(signatures.len(), fixtures.len());
    for fixture in fixtures {
        let signature = signatures[fixture.name.as_str()];
        assert_eq!(verdict(signature, fixture.bytes.clone()), Ok(()), "{}", fixture.name);
        let form = Form { keys_turned: true, spaced: true, escaped: false };
        let other = rewritten(&fixture.bytes, form).into_bytes();
        assert_eq!(verdict(signature, other), Err(Rejected::Signature), "{}", fixture.name);
        let mut shorter = fixture.bytes;
        shorter.pop();
        assert_eq!(verdict(signature, shorter), Err(Rejected::Signature), "{}", fixture.name);
    }
}

//! Every fixture yields the facts beside it, in whatever spelling it comes.

use std::fmt::Write as _;

use base64::Engine as _;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::inbound::{Fact, MessageFact};
use loket_protocol::message::{Attachment, Forwarded};
use serde_json::Map;

use super::*;

#[test]
fn every_fixture_yields_its_facts_as_it_is_and_written_otherwise() {
    let channel = channel();
    for (name, bytes) in all_fixtures() {
        let expected: Value = read_json(&format!("expected/{name}"));
        assert_eq!(expected["answer"], 200, "{name}");
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let mut reordered = String::new();
        write_reordered(&value, &mut reordered);
        let mut escaped = String::new();
        write_escaped(&value, &mut escaped);
        let mut keys: Option<Vec<String>> = None;
        for (form, body) in
            [("as it is", bytes), ("reordered", reordered.into()), ("escaped", escaped.into())]
        {
            let received = channel.receive(&callback(body)).unwrap();
            assert_eq!(received.problems, vec![], "{name}, {form}");
            compare(&format!("{name}, {form}"), &received.events, expected["facts"].as_array().unwrap());
            let these: Vec<String> = received.events.iter().map(InboundEvent::key).collect();
            let distinct: std::collections::BTreeSet<&String> = these.iter().collect();
            assert_eq!(distinct.len(), these.len(), "{name}, {form}");
            assert_eq!(*keys.get_or_insert_with(|| these.clone()), these, "{name}, {form}");
        }
    }
}

#[test]
fn every_fixture_is_signed_and_no_other_signature_is_taken() {
    let channel = channel();
    let table = std::fs::read_to_string(fixtures_folder().join("signatures.tsv")).unwrap();
    let mut signed = 0;
    for (name, bytes) in all_fixtures() {
        let row = table.lines().find_map(|line| {
            let (file, signature) = line.split_once('\t')?;
            (file.trim_start_matches("whatsapp/") == name).then_some(signature)
        });
        let right = row.unwrap_or_else(|| panic!("no signature of {name}")).to_owned();
        let verdict = |signature: String, body: &[u8]| {
            let callback = Callback { signatures: vec![signature], ..callback(body.to_vec()) };
            channel.authenticate(&callback)
        };
        assert_eq!(verdict(right.clone(), &bytes), Ok(()), "{name}");
        let mut longer = bytes.clone();
        longer.push(b'\n');
        assert_eq!(verdict(right.clone(), &longer), Err(Rejected::Signature), "{name}");
        assert_eq!(verdict(right[..right.len() - 1].to_owned(), &bytes), Err(Rejected::Signature), "{name}");
        signed += 1;
    }
    assert_eq!(signed, 70);
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures_folder().join(path)).unwrap()).unwrap()
}

/// Every key of every expected fact, but the notes for people.
fn compare(what: &str, events: &[InboundEvent], expected: &[Value]) {
    assert_eq!(events.len(), expected.len(), "{what}");
    for (event, expected) in events.iter().zip(expected) {
        let actual = neutral(event);
        for (key, wanted) in expected.as_object().unwrap() {
            let found = actual.get(key).cloned().unwrap_or_default();
            match key.as_str() {
                "note" => {}
                "at" => {
                    let wanted: Timestamp = wanted.as_str().unwrap().parse().unwrap();
                    assert_eq!(found, json!(wanted), "{what}: at");
                    assert!(!event.at_is_arrival, "{what}: at");
                }
                "attachments" => {
                    let wanted = wanted.as_array().unwrap();
                    assert_eq!(found.as_array().unwrap().len(), wanted.len(), "{what}: attachments");
                    for (found, wanted) in found.as_array().unwrap().iter().zip(wanted) {
                        holds(what, found, wanted);
                    }
                }
                "referral" => holds(what, &found, wanted),
                _ => assert_eq!(&found, wanted, "{what}: {key}"),
            }
        }
    }
}

fn holds(what: &str, found: &Value, wanted: &Value) {
    for (key, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&found[key], wanted, "{what}: {key}");
    }
}

/// An event in the words of the fixtures' facts.
fn neutral(event: &InboundEvent) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            facts.insert(key.to_owned(), value);
        }
    };
    put("kind", json!(event.fact.kind()));
    put("account", json!(event.channel.account));
    put("at", json!(event.at));
    put("opens_window", event.opens_window.map_or(json!("unspecified"), Value::from));
    let customer = event.customer.clone().unwrap_or_default();
    let group = customer.handles.iter().find(|handle| handle.kind == HandleKind::Group);
    put("group", json!(group.map(|handle| &handle.value)));
    put("customer", person(&customer));
    match &event.fact {
        Fact::Message(message) => {
            put("direction", json!("in"));
            put_message(&mut put, message);
            if let Some(participant) = &message.participant {
                put("customer", person(participant));
            }
            if message.content.contacts.iter().any(|card| card.origin.as_deref() == Some("contact_request")) {
                // The number is of the card; the facts list it there and not with the sender.
                put("customer", person(&without(&customer, HandleKind::Phone)));
            }
        }
        Fact::Echo(message) => {
            put("direction", json!("out"));
            put_message(&mut put, message);
        }
        Fact::History(history) => {
            put("direction", json!(if history.outgoing { "out" } else { "in" }));
            put_message(&mut put, &history.message);
        }
        Fact::Arrival(arrival) => {
            put("kind", json!("message"));
            put("direction", json!("in"));
            put("type", json!(arrival.kind));
            put("id", json!(arrival.external_id));
            put("thread_only", json!(true));
        }
        Fact::Status(status) => {
            put("target", json!(status.target));
            put("status", json!(status.status.as_str()));
            put("callback", json!(status.outbox_id));
            put("group", json!(status.group));
            put("participant", json!(status.participant));
            put("pricing", json!(status.pricing));
            put("errors", codes(&status.errors));
        }
        Fact::Reaction(reaction) => {
            put("id", json!(reaction.external_id));
            put("target", json!(reaction.target));
            put("emoji", json!(reaction.emoji));
            put("action", json!(if reaction.emoji.is_some() { "add" } else { "remove" }));
        }
        Fact::Edit(edit) => {
            put("id", json!(edit.external_id));
            put("target", json!(edit.target));
            put("text", json!(edit.content.text));
            put("attachments", json!(edit.attachments.iter().map(attachment).collect::<Vec<_>>()));
        }
        Fact::Revoke(revoke) => {
            put("id", json!(revoke.external_id));
            put("target", json!(revoke.target));
            put("direction", json!(if revoke.outgoing { "out" } else { "in" }));
        }
        Fact::Identity(identity) => {
            let handles = |handles: &[Handle]| -> Value {
                handles.iter().map(|handle| (handle.kind.as_str().to_owned(), json!(handle.value))).collect()
            };
            put("id", json!(identity.external_id));
            put("previous", handles(&identity.previous));
            put("current", handles(&identity.current));
        }
        Fact::Preference(preference) => {
            put("preference", json!(format!("{}={}", preference.category, preference.value)));
        }
        Fact::ContactSync(sync) => put("action", json!(sync.action)),
        Fact::ChannelError(error) => put("errors", codes(&error.errors)),
        Fact::AccountNotice(notice) => {
            put("type", json!(notice.kind));
            put("account", json!(notice.scope));
        }
        Fact::Ignored(notice) => {
            put("type", json!(notice.kind));
            put(
                "group",
                notice.details.as_ref().map(|details| details["groups"][0].clone()).unwrap_or_default(),
            );
        }
        other => panic!("no fixture is about {}", other.kind()),
    }
    facts
}

fn put_message(put: &mut impl FnMut(&str, Value), message: &MessageFact) {
    let content = &message.content;
    put("id", json!(message.external_id));
    put("type", json!(content.kind));
    put("text", json!(content.text));
    put("payload", json!(content.payload));
    put("flow", json!(content.flow));
    put("errors", codes(&content.errors));
    put("attachments", json!(message.attachments.iter().map(attachment).collect::<Vec<_>>()));
    put("reply_to", json!(message.reply_to.as_ref().and_then(|reply| reply.external_id.clone())));
    put("location", json!(content.location));
    put("referral", json!(content.referral));
    put("forwarded", json!(content.forwarded.map(|f| if f == Forwarded::Often { "often" } else { "yes" })));
    if let Some(product) = &content.product {
        let product = json!({"catalog_id": product.catalog_id, "product_retailer_id": product.retailer_id});
        put("product", product);
    }
    if let Some(order) = &content.order {
        let line = |item: &loket_protocol::message::OrderItem| {
            json!([item.product_id, item.quantity, item.price, item.currency])
        };
        let items: Vec<Value> = order.items.iter().map(line).collect();
        put("order", json!({"catalog_id": order.catalog_id, "items": items}));
    }
    let cards: Vec<Value> = content
        .contacts
        .iter()
        .map(|card| {
            let mut neutral = Map::new();
            if let Some(name) = &card.name {
                neutral.insert("name".to_owned(), json!(name));
            }
            for (key, values) in [("phones", &card.phones), ("emails", &card.emails)] {
                if !values.is_empty() {
                    neutral.insert(key.to_owned(), json!(values));
                }
            }
            Value::Object(neutral)
        })
        .collect();
    put("contacts", json!(cards));
}

fn person(customer: &Customer) -> Value {
    let mut neutral: Map<String, Value> = customer
        .handles
        .iter()
        .map(|handle| (handle.kind.as_str().to_owned(), json!(handle.value)))
        .collect();
    if let Some(name) = &customer.name {
        neutral.insert("name".to_owned(), json!(name));
    }
    Value::Object(neutral)
}

fn without(customer: &Customer, kind: HandleKind) -> Customer {
    let handles = customer.handles.iter().filter(|handle| handle.kind != kind).cloned().collect();
    Customer { handles, ..customer.clone() }
}

fn codes(errors: &[loket_protocol::message::ProviderError]) -> Value {
    errors.iter().map(|error| error.code).collect::<Vec<_>>().into()
}

fn attachment(attachment: &Attachment) -> Value {
    let bytes: Option<Vec<u8>> = attachment.sha256.as_ref().map(|hex| {
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    });
    json!({
        "kind": attachment.kind,
        "media_id": attachment.media_id,
        "mime": attachment.mime,
        "filename": attachment.filename,
        "voice": attachment.voice,
        "animated": attachment.animated,
        "url": attachment.url.as_ref().map(|_| "present"),
        "sha256_hex": attachment.sha256,
        "sha256_base64": bytes.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
    })
}

/// Keys backwards and odd spaces.
fn write_reordered(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push_str("{ \t");
            for (index, (key, value)) in members.iter().rev().enumerate() {
                let comma = if index == 0 { "" } else { "\r\n,  " };
                write!(out, "{comma}{} : ", json!(key)).unwrap();
                write_reordered(value, out);
            }
            out.push_str("\n}");
        }
        Value::Array(items) => {
            out.push_str("[ ");
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " ,\n" });
                write_reordered(item, out);
            }
            out.push(']');
        }
        other => write!(out, "{other}").unwrap(),
    }
}

/// As the platform sends it: compact, with `\uXXXX` and `\/`.
fn write_escaped(value: &Value, out: &mut String) {
    for c in value.to_string().chars() {
        match c {
            '/' => out.push_str("\\/"),
            c if c.is_ascii() => out.push(c),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(out, "\\u{unit:04x}").unwrap()),
        }
    }
}

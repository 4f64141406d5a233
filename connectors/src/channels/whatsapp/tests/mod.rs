//! The channel against the fixtures, against junk and against a provider of our own.

mod fixtures;
mod junk;
mod rules;
mod sending;
mod settings;

use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use loket_protocol::inbound::InboundEvent;
use loket_protocol::problem::Problem;
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "loket-test-secret";
const FIRST: &str = "305000000000201";
const SECOND: &str = "305000000000202";

fn settings() -> Settings {
    serde_json::from_value(json!({
        "app_secret": SECRET,
        "verify_token": "let me in",
        "accounts": {
            "first": {"phone_number_id": FIRST, "access_token": "token-1", "waba_id": "215000000000101"},
            "second": {"phone_number_id": SECOND, "access_token": "token-2", "waba_id": "215000000000102"},
        },
    }))
    .unwrap()
}

/// A channel for reading: nothing answers where it would send to.
fn channel() -> &'static WhatsApp {
    static CHANNEL: OnceLock<WhatsApp> = OnceLock::new();
    CHANNEL.get_or_init(|| channel_at("http://127.0.0.1:9"))
}

fn channel_at(url: &str) -> WhatsApp {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let graph = GraphSettings { url: url.to_owned(), ..GraphSettings::default() };
    WhatsApp::new(settings(), &graph).unwrap()
}

fn callback(body: impl Into<Bytes>) -> Callback {
    let received_at = Timestamp::from_millis(1_795_253_400_000);
    Callback { signatures: Vec::new(), body: body.into(), received_at }
}

fn received(body: &Value) -> Received {
    channel().receive(&callback(body.to_string())).unwrap()
}

/// The only event of a body.
fn only_event(body: &Value) -> InboundEvent {
    let mut received = received(body);
    assert_eq!(received.problems, vec![], "{body}");
    assert_eq!(received.events.len(), 1, "{body}");
    received.events.remove(0)
}

/// The only problem of a body.
fn only_problem(body: &Value) -> Problem {
    let mut received = received(body);
    assert_eq!(received.events, vec![], "{body}");
    assert_eq!(received.problems.len(), 1, "{body}");
    received.problems.remove(0)
}

/// A body of one change in one entry.
fn change(field: &str, value: &Value) -> Value {
    let mut value = value.clone();
    value["metadata"] = json!({"display_phone_number": "12025550100", "phone_number_id": FIRST});
    json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "215000000000101", "changes": [{"field": field, "value": value}]}],
    })
}

/// A body of one message by a known customer.
fn message(item: &Value) -> Value {
    let mut message = json!({"from": "31600000042", "id": "wamid.1", "timestamp": "1794989702"});
    for (key, value) in item.as_object().unwrap() {
        message[key] = value.clone();
    }
    change("messages", &json!({ "messages": [message] }))
}

fn fixtures_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/channels/whatsapp/fixtures")
}

/// Names and bytes of all fixtures, by name.
fn all_fixtures() -> Vec<(String, Vec<u8>)> {
    let mut fixtures: Vec<(String, Vec<u8>)> = std::fs::read_dir(fixtures_folder())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert_eq!(fixtures.len(), 70);
    fixtures
}

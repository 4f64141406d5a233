//! Tests of the channel: what it makes of the fixtures, of everything odd around them, and what it
//! says to the platform. Here is what they share.

mod envelope;
mod events;
mod fixtures;
mod messages;
mod mutation;
mod outcomes;
mod platform;
mod send;
mod setup;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_protocol::inbound::{Fact, InboundEvent, MessageFact};
use loket_protocol::problem::Problem;
use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::{AccountSection, Messenger, Settings};
use crate::channel::{Callback, Channel, Received};
use crate::meta::GraphSettings;

const PAGE: &str = "110000000000501";

const OTHER_PAGE: &str = "110000000000502";

const INSTAGRAM: &str = "178400000000000501";

const CUSTOMER: &str = "7300000000000042";

/// One for all tests of a process: making its client of Graph takes longer than any test.
static CHANNEL: LazyLock<Arc<dyn Channel>> = LazyLock::new(channel);

fn settings() -> Settings {
    let page = |page_id: &str, instagram_id: Option<&str>| AccountSection {
        page_id: page_id.to_owned(),
        access_token: Secret::new(format!("token|of {page_id}")),
        instagram_id: instagram_id.map(str::to_owned),
    };
    Settings {
        app_secret: Secret::new("loket-test-secret"),
        app_secret_previous: None,
        app_secret_previous_until: None,
        verify_token: Secret::new("verify me"),
        app_id: "900000000000001".to_owned(),
        accounts: [
            ("main".to_owned(), page(PAGE, Some(INSTAGRAM))),
            ("other".to_owned(), page(OTHER_PAGE, None)),
        ]
        .into(),
    }
}

fn channel() -> Arc<dyn Channel> {
    built(settings()).unwrap()
}

fn built(settings: Settings) -> Result<Arc<dyn Channel>, String> {
    built_for(settings, &GraphSettings::default(), &Clock::system())
}

fn built_for(settings: Settings, graph: &GraphSettings, clock: &Clock) -> Result<Arc<dyn Channel>, String> {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Arc::new(Messenger::new(settings, graph, clock.clone())?))
}

/// A fixture: name, bytes, and the sidecar.
struct Fixture {
    name: String,
    bytes: Vec<u8>,
    expected: Value,
}

fn fixtures() -> Vec<Fixture> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/channels/messenger/fixtures");
    let mut fixtures = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expected = std::fs::read(folder.join("expected").join(&name)).unwrap();
        fixtures.push(Fixture {
            name,
            bytes: std::fs::read(&path).unwrap(),
            expected: serde_json::from_slice(&expected).unwrap(),
        });
    }
    fixtures.sort_by(|left, right| left.name.cmp(&right.name));
    fixtures
}

fn receive(bytes: impl Into<Bytes>) -> Received {
    let received_at = Timestamp::from_millis(1_795_100_000_000);
    let callback = Callback { signatures: Vec::new(), body: bytes.into(), received_at };
    CHANNEL.receive(&callback).unwrap()
}

fn body(items: &Value) -> Value {
    json!({"object": "page", "entry": [{"id": PAGE, "time": 1_795_093_500_412_i64, "messaging": items}]})
}

#[expect(clippy::needless_pass_by_value, reason = "every caller makes its value in place")]
fn item(event: &str, value: Value) -> Value {
    json!({"sender": {"id": CUSTOMER}, "recipient": {"id": PAGE}, "timestamp": 1_795_093_500_000_i64, event: value})
}

fn read(body: &Value) -> Received {
    receive(body.to_string())
}

/// The one event that an item comes to.
fn event(event: &str, value: Value) -> InboundEvent {
    let received = read(&body(&json!([item(event, value)])));
    assert!(received.problems.is_empty(), "{:#?}", received.problems);
    let [event] = <[_; 1]>::try_from(received.events).unwrap();
    event
}

/// The one problem that an item comes to.
fn problem(event: &str, value: Value) -> Problem {
    let received = read(&body(&json!([item(event, value)])));
    assert!(received.events.is_empty(), "{:#?}", received.events);
    let [problem] = <[_; 1]>::try_from(received.problems).unwrap();
    problem
}

fn message(value: Value) -> MessageFact {
    match event("message", value).fact {
        Fact::Message(fact) | Fact::Echo(fact) => fact,
        other => panic!("{other:?}"),
    }
}

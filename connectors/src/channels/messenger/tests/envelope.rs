//! Who, when and where; junk beside good ones; what is parked and how.

use loket_protocol::inbound::Fact;
use loket_protocol::problem::ParkReason;
use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::{CUSTOMER, INSTAGRAM, OTHER_PAGE, PAGE, body, channel, item, problem, read, receive};
use crate::channel::{Callback, Rejected};

#[test]
fn the_time_of_arrival_stands_in_for_a_missing_one() {
    for timestamp in [json!(null), json!("soon"), json!(0), json!(-5), json!({})] {
        let mut item = item("message", json!({"mid": "m_1", "text": "x"}));
        item["timestamp"] = timestamp;
        let event = read(&body(&json!([item]))).events.remove(0);
        assert!(event.at_is_arrival);
        assert_eq!(event.at, event.received_at);
    }
    let mut seconds = item("message", json!({"mid": "m_1", "text": "x"}));
    seconds["timestamp"] = json!(1_795_093_500);
    assert_eq!(read(&body(&json!([seconds]))).events[0].at.as_millis(), 1_795_093_500_000);
}

#[test]
fn unknown_accounts_and_instagram_of_others_are_parked_item_by_item() {
    let mut unknown = body(&json!([
        item("message", json!({"mid": "m_1", "text": "x"})),
        item("read", json!({"watermark": 5}))
    ]));
    unknown["entry"][0]["id"] = json!("99");
    let received = read(&unknown);
    assert!(received.events.is_empty());
    assert_eq!(received.problems.len(), 2);
    for problem in &received.problems {
        assert_eq!(problem.reason, ParkReason::UnknownAccount);
        assert_eq!(problem.account.as_deref(), Some("99"));
    }
    assert_eq!(received.problems[0].external_id.as_deref(), Some("m_1"));
    assert_eq!(received.problems[0].key(), "m|messenger:99|m_1");
    assert_eq!(received.problems[0].customer.as_ref().unwrap().handles[0].value, CUSTOMER);

    let mut crossed = body(&json!([item("message", json!({"mid": "m_1", "text": "x"}))]));
    crossed["object"] = json!("instagram");
    assert_eq!(read(&crossed).problems[0].reason, ParkReason::UnknownAccount);
}

#[test]
fn an_item_for_another_account_than_its_entry_is_parked_without_a_customer() {
    let mut misrouted = item("message", json!({"mid": "m_1", "text": "x"}));
    misrouted["recipient"]["id"] = json!(OTHER_PAGE);
    let received = read(&body(&json!([misrouted])));
    assert_eq!(received.problems[0].reason, ParkReason::Unreadable);
    assert_eq!(received.problems[0].customer, None);
    let mut untold = item("message", json!({"mid": "m_1", "text": "x"}));
    untold["recipient"] = json!(null);
    assert_eq!(read(&body(&json!([untold]))).events.len(), 1);
}

#[test]
fn an_account_that_writes_to_itself_is_ignored() {
    let mut own = item("message", json!({"mid": "m_1", "text": "test", "is_self": true}));
    own["sender"]["id"] = json!(INSTAGRAM);
    own["recipient"]["id"] = json!(INSTAGRAM);
    let mut whole = body(&json!([own]));
    whole["object"] = json!("instagram");
    whole["entry"][0]["id"] = json!(INSTAGRAM);
    let received = read(&whole);
    assert!(matches!(&received.events[0].fact, Fact::Ignored(notice) if notice.kind == "is_self"));
}

#[test]
fn nobody_is_no_customer() {
    let mut anonymous = item("message", json!({"mid": "m_1", "text": "x"}));
    anonymous["sender"] = json!({});
    let received = read(&body(&json!([anonymous])));
    assert_eq!(received.problems[0].reason, ParkReason::NoSender);
}

#[test]
fn unknown_events_and_fields_are_parked_with_their_sender_and_readable_again() {
    let unknown = problem("telepathy", json!({"thought": "geheim"}));
    assert_eq!(unknown.reason, ParkReason::Unknown);
    assert_eq!(unknown.error, "entry[0].messaging[0]: event \"telepathy\" is unknown");
    assert_eq!(unknown.customer.as_ref().unwrap().handles[0].value, CUSTOMER);
    let raw: Value = serde_json::from_slice(&unknown.raw.bytes().unwrap()).unwrap();
    assert_eq!(raw, body(&json!([item("telepathy", json!({"thought": "geheim"}))])));
    let again = receive(unknown.raw.bytes().unwrap()).problems.remove(0);
    assert_eq!((again.key(), again.reason), (unknown.key(), unknown.reason));

    assert_eq!(
        problem("Wat een raar bericht, zeg!", json!({})).error,
        "entry[0].messaging[0]: event of an unprintable name is unknown"
    );

    let changes = json!({"object": "page", "entry": [{"id": PAGE, "time": 5, "changes": [
        {"field": "moods", "value": {}}, {"field": "feed", "value": {"item": "post"}}, {"value": 1}, 7,
        {"field": "messenger_template_status_update", "value": {"event": "APPROVED"}}]}]});
    let received = read(&changes);
    let kinds: Vec<&str> = received.events.iter().map(|e| e.fact.kind()).collect();
    assert_eq!(kinds, ["ignored", "account_notice"]);
    let reasons: Vec<ParkReason> = received.problems.iter().map(|p| p.reason).collect();
    assert_eq!(reasons, [ParkReason::Unknown, ParkReason::Unreadable, ParkReason::Unreadable]);
}

#[test]
fn an_annotation_beside_a_known_event_is_no_second_one() {
    let mut annotated = item("message", json!({"mid": "m_1", "text": "x"}));
    annotated["prior_message"] = json!({"source": "checkbox_plugin"});
    let received = read(&body(&json!([annotated])));
    assert_eq!((received.events.len(), received.problems.len()), (1, 0));
}

#[test]
fn bodies_that_are_nothing_are_parked_whole() {
    for nothing in [
        json!([]),
        json!(5),
        json!({}),
        json!({"object": "user", "entry": [1]}),
        json!({"object": "page"}),
        json!({"object": "page", "entry": {}}),
    ] {
        let received = read(&nothing);
        assert_eq!((received.events.len(), received.problems.len()), (0, 1), "{nothing}");
        let raw: Value = serde_json::from_slice(&received.problems[0].raw.bytes().unwrap()).unwrap();
        assert_eq!(raw, nothing);
    }
    let callback = |body: &'static str| Callback {
        signatures: Vec::new(),
        body: body.into(),
        received_at: Timestamp::default(),
    };
    assert!(matches!(channel().receive(&callback("{\"object\":")), Err(Rejected::NotJson(_))));
}

#[test]
fn junk_never_costs_its_neighbours() {
    let good = |mid: &str| item("message", json!({"mid": mid, "text": "goed"}));
    let whole = json!({"object": "page", "entry": [
        null, 5, "x", [], {}, {"id": PAGE}, {"id": {"x": 1}, "messaging": [good("m_lost")]},
        {"id": PAGE, "messaging": [null, 5, "x", [], {}, good("m_1"), {"message": 5}, {"message": []}, good("m_2")], "standby": [good("m_3"), 7]},
        {"id": 110_000_000_000_501_i64, "messaging": {"x": 1}, "standby": [good("m_4")]},
    ]});
    let received = read(&whole);
    let ids: Vec<&str> = received
        .events
        .iter()
        .map(|event| match &event.fact {
            Fact::Message(message) => message.external_id.as_deref().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["m_1", "m_2", "m_3", "m_4"]);
    assert!(
        received.problems.iter().any(|p| p.external_id.as_deref() == Some("m_lost") && p.account.is_none())
    );
    assert_eq!(received.problems.len(), 16);
}

#[test]
fn an_event_too_large_for_the_bus_is_parked_in_pieces() {
    let long = "x".repeat(1_200_000);
    let whole = body(&json!([
        item("message", json!({"mid": "m_1", "text": "goed"})),
        item("message", json!({"mid": "m_2", "text": long}))
    ]));
    let received = read(&whole);
    assert_eq!(received.events.len(), 1);
    let pieces: Vec<(u32, u32)> = received.problems.iter().map(|p| (p.raw.number, p.raw.of)).collect();
    assert_eq!(pieces, [(0, 2), (1, 2)]);
    for problem in &received.problems {
        assert!(serde_json::to_vec(problem).unwrap().len() < loket_backbone::bus::PAYLOAD_BYTES_MAX);
    }
}

#[test]
fn more_items_than_a_callback_may_have_are_parked_together_and_can_be_replayed() {
    let good = |number: usize| item("message", json!({"mid": format!("m_{number}"), "text": "x"}));
    let items: Vec<Value> = (0..10_003).map(good).collect();
    let whole = json!({"object": "page", "entry": [
        {"id": PAGE, "messaging": items}, {"id": PAGE, "messaging": [good(10_003)]}, {"id": OTHER_PAGE}]});
    let received = read(&whole);
    assert_eq!(received.events.len(), 10_000);
    let replayed: usize =
        received.problems.iter().map(|problem| receive(problem.raw.bytes().unwrap()).events.len()).sum();
    assert_eq!((received.problems.len(), replayed), (2, 4));
}

#[test]
fn a_heavy_envelope_is_parked_once_and_not_with_every_item() {
    let items = vec![json!({}); 1000];
    let heavy = json!({"object": "page", "entry": [
        {"id": PAGE, "odd": "x".repeat(9000), "messaging": items},
        {"id": PAGE, "messaging": [item("message", json!({"mid": "m_1", "text": "x"}))]}]});
    let received = read(&heavy);
    assert_eq!((received.events.len(), received.problems.len()), (1, 1));
    let mut heavier = heavy;
    heavier["odd"] = json!("x".repeat(9000));
    let received = read(&heavier);
    assert_eq!((received.events.len(), received.problems.len()), (0, 1));
}

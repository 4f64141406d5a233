//! Whatever stands in one place, the neighbours are read.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn junk() -> Vec<Value> {
    let mut deep = json!("bottom");
    for _ in 0..80 {
        deep = json!([deep]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(7),
        json!(-1.5),
        json!(""),
        json!("junk"),
        json!([]),
        json!({}),
        json!([[null]]),
        json!({"id": [], "from": {}, "type": 5, "timestamp": []}),
        json!({"field": "messages", "value": 3}),
        json!({"type": "text", "from": "31600000042"}),
        deep,
    ]
}

fn keys(received: &Received) -> Vec<String> {
    received.events.iter().map(InboundEvent::key).collect()
}

fn read(body: &Value) -> Received {
    channel().receive(&callback(body.to_string())).unwrap()
}

/// The paths of everything inside `value`.
fn paths(value: &Value, here: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                let path = format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(path.clone());
                paths(inner, &path, found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let path = format!("{here}/{index}");
                found.push(path.clone());
                paths(inner, &path, found);
            }
        }
        _ => {}
    }
}

#[test]
fn junk_in_any_array_loses_no_event() {
    for (name, bytes) in all_fixtures() {
        if name == "batch_40_entries.json" {
            continue;
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        let all = keys(&read(&body));
        let mut found = vec![String::new()];
        paths(&body, "", &mut found);
        for path in found.iter().filter(|path| body.pointer(path).unwrap().is_array()) {
            for junk in junk() {
                let mut mutated = body.clone();
                let array = mutated.pointer_mut(path).unwrap().as_array_mut().unwrap();
                array.insert(0, junk.clone());
                array.push(junk);
                let received = read(&mutated);
                let left = keys(&received);
                // Junk inside an item may change what that item says, but not whether it is there.
                let is_there = received.events.len() + received.problems.len() >= all.len();
                assert!(is_there, "{name} {path}");
                let is_envelope = path.rsplit('/').next().is_some_and(|key| {
                    matches!(
                        key,
                        "entry"
                            | "changes"
                            | "messages"
                            | "statuses"
                            | "contacts"
                            | "message_echoes"
                            | "history"
                            | "threads"
                            | "state_sync"
                            | "user_id_update"
                            | "user_preferences"
                    )
                });
                if is_envelope {
                    assert!(all.iter().all(|key| left.contains(key)), "{name} {path}");
                }
            }
        }
    }
}

#[test]
fn a_parked_item_reads_alone_as_it_did_among_others() {
    let value = json!({
        "contacts": [{"wa_id": "31600000042", "user_id": "NL.1", "profile": {"name": "A"}}, {"wa_id": "5"}],
        "messages": [
            {"from": "31600000042", "id": "wamid.1", "timestamp": "1794989702", "type": "hologram", "hologram": {}},
            {"from": "31600000042", "id": "wamid.2", "timestamp": "1794989703", "type": "text", "text": {"body": "x"}},
        ],
    });
    let received = received(&change("messages", &value));
    assert_eq!(received.events.len(), 1);
    let [problem] = &received.problems[..] else { panic!("{:?}", received.problems) };
    let raw = problem.raw.bytes().unwrap();
    let again = channel().receive(&callback(raw.clone())).unwrap();
    assert_eq!(again.events, vec![]);
    assert_eq!(again.problems, vec![Problem { error: again.problems[0].error.clone(), ..problem.clone() }]);
    assert_eq!(problem.customer.as_ref().unwrap().name.as_deref(), Some("A"));
    assert!(!String::from_utf8(raw).unwrap().contains("wamid.2"));
}

#[test]
fn what_is_beyond_the_limit_is_parked_whole_and_can_be_replayed() {
    let message = |n: usize| {
        json!({"from": "31600000042", "id": format!("wamid.{n}"), "timestamp": "1794989702", "type": "text",
               "text": {"body": "x"}})
    };
    let messages: Vec<Value> = (0..10_050).map(message).collect();
    let received = received(&change("messages", &json!({ "messages": messages })));
    assert_eq!(received.events.len(), 10_000);
    let [problem] = &received.problems[..] else { panic!("{} problems", received.problems.len()) };
    let rest = channel().receive(&callback(problem.raw.bytes().unwrap())).unwrap();
    assert_eq!(rest.problems, vec![]);
    assert_eq!(rest.events.len(), 50);
    assert_eq!(rest.events[49].key(), "m|whatsapp:305000000000201|wamid.10049");
}

#[test]
fn an_item_too_large_for_the_bus_is_parked_in_pieces_of_one_key() {
    let long = "x".repeat(1_200_000);
    let item = json!({"from": "31600000042", "id": "wamid.1", "type": "text", "text": {"body": long}});
    let received = received(&change("messages", &json!({ "messages": [item] })));
    assert_eq!(received.events, vec![]);
    assert_eq!(received.problems.len(), 2);
    assert!(received.problems.iter().all(|problem| problem.key() == received.problems[0].key()));
    let whole: Vec<u8> = received.problems.iter().flat_map(|problem| problem.raw.bytes().unwrap()).collect();
    assert_eq!(channel().receive(&callback(whole)).unwrap().problems, received.problems);
}

#[test]
fn a_large_envelope_is_not_copied_for_every_parked_item() {
    let large = "x".repeat(1_000_000);
    let mut body = change(
        "messages",
        &json!({ "messages": vec![7; 2_000], "note": large, "contacts": [{"wa_id": large}] }),
    );
    body["entry"][0]["changes"][0]["value"]["metadata"]["note"] = json!(large);
    let received = received(&body);
    assert_eq!(received.problems.len(), 2_000);
    assert!(received.problems.iter().all(|problem| problem.raw.bytes().unwrap().len() < 1_000));
}

#[test]
fn a_hundred_thousand_arrays_cost_only_themselves() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let good = json!({"from": "31600000042", "id": "wamid.2", "type": "text", "text": {"body": "x"}});
    let body = change("messages", &json!({ "messages": [0, good] })).to_string().replacen(
        "[0,",
        &format!("[{deep},"),
        1,
    );
    let received = channel().receive(&callback(body)).unwrap();
    assert_eq!(received.events.len(), 1);
    assert_eq!(received.problems.len(), 1);
}

fn any_fixture() -> impl Strategy<Value = (String, Vec<u8>)> {
    static FIXTURES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let fixtures = FIXTURES.get_or_init(|| {
        all_fixtures().into_iter().filter(|(name, _)| name != "batch_40_entries.json").collect()
    });
    proptest::sample::select(fixtures.as_slice())
}

/// Five events in two entries.
fn good_body() -> &'static Value {
    static BODY: OnceLock<Value> = OnceLock::new();
    BODY.get_or_init(|| {
        let bytes = std::fs::read(fixtures_folder().join("batch_two_accounts.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    })
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic((_, mut bytes) in any_fixture(), flips in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8)) {
        for (index, byte) in flips {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        match channel().receive(&callback(bytes)) {
            Ok(received) => prop_assert!(received.events.len() < 1_000),
            Err(rejected) => prop_assert!(matches!(rejected, Rejected::NotJson(_))),
        }
    }

    #[test]
    fn junk_anywhere_in_one_entry_spares_the_other_entry(
        (_, bytes) in any_fixture(),
        at in any::<Index>(),
        which in any::<Index>(),
    ) {
        let mut body: Value = serde_json::from_slice(&bytes).unwrap();
        let mut found = Vec::new();
        paths(&body["entry"], "/entry", &mut found);
        let junk = junk();
        *body.pointer_mut(&found[at.index(found.len())]).unwrap() = junk[which.index(junk.len())].clone();
        let good = good_body();
        let expected = keys(&read(good));
        let mut entries = body["entry"].as_array().unwrap().clone();
        entries.extend(good["entry"].as_array().unwrap().clone());
        body["entry"] = Value::Array(entries);
        let left = keys(&read(&body));
        prop_assert!(expected.iter().all(|key| left.contains(key)));
    }

    #[test]
    fn junk_anywhere_in_one_item_spares_its_neighbours(
        (_, bytes) in any_fixture(),
        at in any::<Index>(),
        which in any::<Index>(),
    ) {
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        let value = &body["entry"][0]["changes"][0]["value"];
        let mut mutated = match value["messages"].get(0) {
            Some(item) => json!([item]),
            None => json!([{"from": "31600000042", "id": "wamid.0", "type": "text", "text": {"body": "y"}}]),
        };
        let mut found = Vec::new();
        paths(&mutated, "", &mut found);
        let junk = junk();
        *mutated.pointer_mut(&found[at.index(found.len())]).unwrap() = junk[which.index(junk.len())].clone();
        let neighbour = |id: &str| json!({
            "from": "31600000042", "id": id, "timestamp": "1794989702", "type": "text", "text": {"body": "x"},
        });
        let messages = json!([neighbour("wamid.first"), mutated[0], neighbour("wamid.last")]);
        let received = read(&change("messages", &json!({ "messages": messages })));
        let left = keys(&received);
        for id in ["wamid.first", "wamid.last"] {
            let key = format!("m|whatsapp:{FIRST}|{id}");
            prop_assert!(left.contains(&key));
        }
        prop_assert!(received.events.len() + received.problems.len() >= 3);
    }
}

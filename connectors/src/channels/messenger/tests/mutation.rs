//! Fixtures with junk in any place.

use loket_protocol::inbound::{Fact, InboundEvent};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{INSTAGRAM, PAGE, fixtures, item, read};

/// All paths to values in a tree, as JSON pointers.
fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                pointers(value, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                pointers(item, &format!("{path}/{number}"), found);
            }
        }
        _ => {}
    }
}

fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([[[[null]]]])),
        Just(json!({"id": {"id": []}})),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,12}".prop_map(Value::from),
        Just(json!("\u{0}\u{202e}")),
        Just(json!("x".repeat(600))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Any part of any fixture replaced by junk: no panic, nothing silently gone, and the items
    /// around it come through.
    #[test]
    fn mutated_fixtures_never_cost_a_neighbour(
        which in any::<prop::sample::Index>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), junk()), 1..4),
    ) {
        let fixtures = fixtures();
        let fixture = which.get(&fixtures);
        let whole: Value = serde_json::from_slice(&fixture.bytes).unwrap();
        let object = whole["object"].clone();
        let account = if object == "page" { PAGE } else { INSTAGRAM };
        let mut entry = whole["entry"][0].clone();
        for (hit, junk) in hits {
            let mut paths = Vec::new();
            pointers(&entry, "", &mut paths);
            *entry.pointer_mut(hit.get(paths.as_slice()).as_str()).unwrap() = junk;
        }
        let good = |mid: &str| {
            let mut good = item("message", json!({"mid": mid, "text": "goed"}));
            good["recipient"]["id"] = json!(account);
            good
        };
        let list = |name: &str| entry.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut items = vec![good("m_before")];
        items.extend(list("messaging"));
        items.push(good("m_after"));
        let mixed = json!({"object": object, "entry": [
            {"id": account, "messaging": items, "standby": list("standby"), "changes": list("changes")},
            entry,
            {"id": account, "messaging": [good("m_last")]},
        ]});
        let received = read(&mixed);
        for mid in ["m_before", "m_after", "m_last"] {
            let found = received.events.iter().filter(
                |event| matches!(&event.fact, Fact::Message(m) if m.external_id.as_deref() == Some(mid)),
            );
            prop_assert_eq!(found.count(), 1, "{}", mid);
        }
        prop_assert!(received.events.len() + received.problems.len() >= 4);
        for problem in &received.problems {
            prop_assert!(problem.raw.bytes().is_some());
            prop_assert!(problem.error.chars().all(|c| c.is_ascii() && !c.is_control()));
        }
        for event in &received.events {
            let bytes = serde_json::to_vec(event).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<InboundEvent>(&bytes).unwrap(), event);
            prop_assert!(!event.key().is_empty());
        }
    }
}

//! Facts win by their own time or rank, never by arrival: the same callbacks in any order end in the
//! same state, but for the numbers.

use serde_json::{Value, json};

use crate::fixtures;
use crate::harness::{AgentClient, Kind, Options, World, journeys};

journeys!(any_order_ends_in_the_same_state);

/// How many orders are tried beside the order of the names.
const ORDERS: u64 = 5;

/// The state without what depends on arrival: ids, numbers, and our own times.
async fn end_state(agent: &AgentClient) -> Vec<Value> {
    let mut threads = Vec::new();
    for thread in agent.threads().await {
        let mut handles: Vec<String> = thread["contact"]["identities"]
            .as_array()
            .expect("identities")
            .iter()
            .flat_map(|identity| {
                let account = identity["channel"]["account"].to_string();
                let handles = identity["handles"].as_array().expect("handles").clone();
                handles
                    .into_iter()
                    .map(move |handle| format!("{account} {} {}", handle["kind"], handle["value"]))
            })
            .collect();
        handles.sort();
        let mut messages: Vec<Value> = agent
            .messages(thread["id"].as_str().expect("an id"))
            .await
            .into_iter()
            .map(|message| {
                let mut reactions = message["reactions"].as_array().expect("reactions").clone();
                for reaction in &mut reactions {
                    reaction["author"]["id"] = Value::Null;
                }
                json!({
                    "external_id": message["external_id"],
                    "direction": message["direction"],
                    "content": message["content"],
                    "attachments": message["attachments"].as_array().expect("attachments").iter()
                        .map(|a| { let mut a = a.clone(); a["id"] = Value::Null; a }).collect::<Vec<_>>(),
                    "status": message["status"],
                    "status_detail": message["status_detail"],
                    "reactions": reactions,
                    "edited_at": message["edited_at"],
                    "revoked_at": message["revoked_at"],
                    "provider_time": message["provider_time"],
                    "reply_to": message["reply_to"]["external_id"],
                })
            })
            .collect();
        messages.sort_by_key(|message| message["external_id"].to_string() + &message["content"].to_string());
        threads.push(json!({
            "name": thread["contact"]["name"],
            "handles": handles,
            "messages": messages,
        }));
    }
    threads.sort_by_key(|thread| thread["handles"].to_string());
    threads
}

/// A fixed sequence of numbers for a seed: the same order for the same seed, on every machine.
fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for last in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % (last as u64 + 1)).expect("small");
        items.swap(last, at);
    }
    items
}

async fn any_order_ends_in_the_same_state(kind: Kind) {
    let kinds = [
        "text",
        "image",
        "video",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "status",
        "reaction",
        "edit",
        "revoke",
        "message_",
        "delivery",
        "read",
        "echo",
        "history",
        "smb_message",
        "batch",
        "interactive",
        "button",
    ];
    let chosen: Vec<usize> = fixtures::all()
        .iter()
        .enumerate()
        .filter(|(_, fixture)| kinds.iter().any(|kind| fixture.name.starts_with(kind)))
        .map(|(at, _)| at)
        .collect();
    assert!(chosen.len() > 60, "{}", chosen.len());
    let mut first: Option<Vec<Value>> = None;
    for seed in 0..=ORDERS {
        let order = if seed == 0 { chosen.clone() } else { shuffled(chosen.clone(), seed) };
        let world = World::start(kind, Options::default()).await;
        let agent = world.agent("admin").await;
        let (meta, bodies) = (world.meta(), fixtures::all());
        for at in order {
            assert_eq!(meta.post(bodies[at].channel, bodies[at].body.clone()).await, Some(200));
        }
        world.settled(&agent).await;
        let state = end_state(&agent).await;
        match &first {
            None => first = Some(state),
            Some(first) => {
                for (one, other) in first.iter().zip(&state) {
                    assert_eq!(one, other, "order {seed}");
                }
                assert_eq!(first.len(), state.len(), "order {seed}");
            }
        }
        world.finish().await;
    }
}

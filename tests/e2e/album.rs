//! Thirty pictures of a stranger, at once: one contact, one thread, thirty messages.

use serde_json::json;

use crate::harness::{Kind, Meta, Options, World, journeys};

journeys!(thirty_parallel_pictures_of_a_stranger_make_one_contact_and_one_thread);

async fn thirty_parallel_pictures_of_a_stranger_make_one_contact_and_one_thread(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let mut calls = Vec::new();
    for number in 0..30 {
        let meta = world.meta();
        let picture = json!({"from": "31600000501", "id": format!("wamid.ALBUM{number}"), "timestamp": "1795253400",
            "type": "image", "image": {"id": format!("99{number}"), "mime_type": "image/jpeg", "sha256": "x"}});
        let body = Meta::whatsapp("31600000501", &picture).to_string();
        calls.push(tokio::spawn(async move { meta.post("whatsapp", body).await }));
    }
    for call in calls {
        assert_eq!(call.await.expect("no panic"), Some(200));
    }
    world.settled(&agent).await;
    let threads = agent.threads().await;
    assert_eq!(threads.len(), 1, "one thread");
    let messages = agent.messages(threads[0]["id"].as_str().expect("an id")).await;
    assert_eq!(messages.len(), 30, "thirty messages");
    let created = agent.events().await.into_iter().filter(|event| event["type"] == "contact.created").count();
    assert_eq!(created, 1, "one contact");
    world.finish().await;
}

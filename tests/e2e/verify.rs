//! `loket verify` and the parked list are real: damage is named, and what could not be read waits
//! with a way back.

use serde_json::json;

use crate::harness::{Kind, Meta, Options, World, journeys};

journeys!(a_row_damaged_by_hand_is_named, what_cannot_be_read_is_parked_and_can_be_replayed_or_dropped);

async fn a_row_damaged_by_hand_is_named(kind: Kind) {
    let damages = [
        ("DELETE FROM messages WHERE external_id = 'wamid.V2'", "wamid.V2"),
        ("UPDATE log SET seq = NULL WHERE seq = 2", "V5"),
        (
            "DELETE FROM log WHERE type = 'message.received' AND thread_seq = (SELECT MAX(thread_seq) FROM log)",
            "V3",
        ),
        ("UPDATE threads SET seq = seq + 1", "V3"),
        ("DELETE FROM inbox WHERE key LIKE '%wamid.V1%'", "V1"),
    ];
    for (sql, named) in damages {
        let mut world = World::start(kind, Options::default()).await;
        let agent = world.agent("admin").await;
        for number in 0..4 {
            let body =
                Meta::whatsapp_text("31600000601", &format!("wamid.V{number}"), "hallo", 1_795_253_400);
            assert_eq!(world.meta().post("whatsapp", body.to_string()).await, Some(200));
        }
        world.settled(&agent).await;
        world.stop().await;
        assert!(world.command(&["verify"]).status.success(), "clean before");
        world.damage(sql).await;
        let verdict = world.command(&["verify"]);
        let text = String::from_utf8_lossy(&verdict.stdout).into_owned();
        assert!(!verdict.status.success(), "{sql}: not found");
        assert!(text.contains(named), "{sql}: {named} is not named in\n{text}");
    }
}

async fn what_cannot_be_read_is_parked_and_can_be_replayed_or_dropped(kind: Kind) {
    let mut world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let mystery = json!({"from": "31600000602", "id": "wamid.MYSTERY", "timestamp": "1795253400", "type": "hologram",
        "hologram": {"shape": "cube"}});
    let body = Meta::whatsapp("31600000602", &mystery).to_string();
    assert_eq!(world.meta().post("whatsapp", body.clone()).await, Some(200));
    assert_eq!(world.meta().post("whatsapp", body).await, Some(200));
    world.settled(&agent).await;
    let threads = agent.threads().await;
    assert_eq!(threads.len(), 1, "the sender could be told, so there is a thread");
    let messages = agent.messages(threads[0]["id"].as_str().expect("an id")).await;
    assert_eq!(messages.len(), 1, "a placeholder, once");
    assert_eq!(messages[0]["content"]["type"], "parked");
    world.stop().await;

    let list = world.command(&["parked", "list", "--json"]);
    let text = String::from_utf8(list.stdout).expect("UTF-8");
    let items: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(items.len(), 1, "{text}");
    assert_eq!(items[0]["reason"], "unknown");
    let id = items[0]["id"].as_str().expect("an id");
    let raw = world.command(&["parked", "show", id]);
    assert!(String::from_utf8_lossy(&raw.stdout).contains("hologram"));
    // This version still does not know it: that is said, it stays where it is, and nothing is doubled.
    let replay = world.command(&["parked", "replay", id]);
    let said = String::from_utf8_lossy(&replay.stderr).into_owned();
    assert!(!replay.status.success() && said.contains("hologram"), "{said}");
    assert!(world.command(&["verify"]).status.success());
    let drop = world.command(&["parked", "drop", id, "--reason", "a toy"]);
    assert!(drop.status.success(), "{}", String::from_utf8_lossy(&drop.stderr));
    let list = world.command(&["parked", "list", "--json"]);
    assert_eq!(String::from_utf8_lossy(&list.stdout), "");
    assert!(world.command(&["verify"]).status.success());
}

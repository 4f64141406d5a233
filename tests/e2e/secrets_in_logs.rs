//! Texts, names, numbers, tokens and secrets never reach a log, not even the most talkative one.

use loket_backbone::clock::Clock;
use serde_json::json;

use crate::harness::{APP_SECRET, Kind, Meta, Options, World, journeys};

journeys!(no_word_of_a_customer_and_no_secret_reaches_the_log);

async fn no_word_of_a_customer_and_no_secret_reaches_the_log(kind: Kind) {
    let talkative = "log.level=debug".to_owned();
    let world = World::start(kind, Options { sets: vec![talkative], ..Options::default() }).await;
    let agent = world.agent("admin").await;
    // Today, because an answer goes out only while the reply window is open.
    let now = Clock::system().now().as_millis() / 1000;
    let mut body = Meta::whatsapp_text("31699887766", "wamid.CANARY", "kanarie-in-de-tekst", now);
    body["entry"][0]["changes"][0]["value"]["contacts"][0]["profile"]["name"] = json!("Kanarie Naam");
    assert_eq!(world.meta().post("whatsapp", body.to_string()).await, Some(200));
    let wrong = json!({"object": "whatsapp_business_account", "entry": [{"id": "x", "changes": [{"field": "messages",
        "value": {"metadata": {"phone_number_id": "305000000000201"}, "messages": [
            {"from": "31699887766", "id": "wamid.CANARY2", "type": "kanarie-type", "text": {"body": "kanarie-in-de-tekst"}}]}}]}]});
    assert_eq!(world.meta().post("whatsapp", wrong.to_string()).await, Some(200));
    world.settled(&agent).await;
    let thread = agent.threads().await[0]["id"].as_str().expect("an id").to_owned();
    let reply = json!({"content": {"type": "text", "text": "kanarie-antwoord"}});
    assert_eq!(agent.post(&format!("/v1/threads/{thread}/messages"), "canary", &reply).await.0, 201);
    let note = json!({"text": "kanarie-notitie"});
    assert_eq!(agent.post(&format!("/v1/threads/{thread}/notes"), "canary-2", &note).await.0, 201);
    world.settled(&agent).await;
    let log = world.log();
    assert!(log.lines().count() > 5, "the log is talkative enough to mean something:\n{log}");
    let canaries = [
        "31699887766",
        "kanarie",
        "Kanarie",
        APP_SECRET,
        "wa-token-one",
        "page-token-one",
        "loket-verify",
        agent.token.as_str(),
        "0123456789abcdefghijklmnopqrstuv",
    ];
    for canary in canaries {
        let hit = log.lines().find(|line| line.contains(canary));
        assert!(hit.is_none(), "{canary} stands in the log: {hit:?}");
    }
    world.finish().await;
}

//! What only several processes can show: one of two hubs may go at any moment, and nobody needs kv.

use serde_json::json;

use crate::harness::{AgentClient, Kind, Meta, Options, World, eventually, journeys};

journeys!(in split, Split:
    the_other_hub_has_all_of_the_work_when_one_is_killed,
    hubs_that_are_restarted_in_turn_are_not_missed,
    without_kv_everything_arrives_and_is_answered);

/// How many customers write, in as many partitions as that takes.
const CUSTOMERS: usize = 40;

/// Every customer writes once more.
async fn round(world: &World, number: usize) {
    for customer in 0..CUSTOMERS {
        let phone = format!("3160002{customer:04}");
        let id = format!("wamid.ROLES{number}.{customer}");
        let body = Meta::whatsapp_text(&phone, &id, "hallo", 1_795_253_400).to_string();
        assert_eq!(world.meta().post("whatsapp", body).await, Some(200));
    }
}

/// Each customer has a thread with so many messages, in order.
async fn all_have(agent: &AgentClient, rounds: usize) {
    eventually("every message is in its thread", || async {
        let threads = agent.threads().await;
        let mut found = 0;
        for thread in &threads {
            found += agent.messages(thread["id"].as_str().expect("an id")).await.len();
        }
        (threads.len() == CUSTOMERS && found == CUSTOMERS * rounds).then_some(())
    })
    .await;
    for thread in agent.threads().await {
        let messages = agent.messages(thread["id"].as_str().expect("an id")).await;
        let rounds: Vec<_> = messages
            .iter()
            .map(|message| {
                message["external_id"].as_str().and_then(|id| id.split('.').nth(1)).map(str::to_owned)
            })
            .collect();
        assert!(rounds.is_sorted(), "one conversation keeps its order: {rounds:?}");
    }
}

async fn the_other_hub_has_all_of_the_work_when_one_is_killed(kind: Kind) {
    let mut world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    round(&world, 0).await;
    all_have(&agent, 1).await;
    world.process("hub-1").kill().await;
    round(&world, 1).await;
    all_have(&agent, 2).await;
    // The log is numbered as well: whoever is left took that over.
    world.settled(&agent).await;
    world.run_again("hub-1").await;
    world.process("hub-2").kill().await;
    round(&world, 2).await;
    all_have(&agent, 3).await;
    world.run_again("hub-2").await;
    world.settled(&agent).await;
    world.finish().await;
}

async fn hubs_that_are_restarted_in_turn_are_not_missed(kind: Kind) {
    let mut world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    for number in 0..4 {
        let name = if number % 2 == 0 { "hub-1" } else { "hub-2" };
        round(&world, number).await;
        world.process(name).stop().await;
        world.run_again(name).await;
    }
    all_have(&agent, 4).await;
    world.settled(&agent).await;
    world.finish().await;
}

async fn without_kv_everything_arrives_and_is_answered(kind: Kind) {
    let sets = vec!["kv.url=none:".to_owned()];
    let world = World::start(kind, Options { simulator: true, sets, ..Options::default() }).await;
    let (agent, simulator) = (world.agent("admin").await, world.simulator());
    let mut stream = agent.stream(0).await;
    simulator.types("sanne", "hallo zonder kv").await;
    let heard = stream.event("the question", |event| event["type"] == "message.received").await;
    let thread = heard["thread"]["id"].as_str().expect("an id").to_owned();
    let reply = json!({"content": {"type": "text", "text": "ook zonder"}, "to": "auto"});
    let (status, sent) = agent.post(&format!("/v1/threads/{thread}/messages"), "without-kv", &reply).await;
    assert_eq!(status, 201, "{sent}");
    eventually("the answer on her phone", || async {
        simulator.phone("sanne").await.to_string().contains("ook zonder").then_some(())
    })
    .await;
    stream.event("its status", |event| event["type"] == "message.delivered").await;

    // Web chat has no sockets then, and goes on over REST.
    let (origin, visits) = (world.url(""), world.url("/webchat/v1/visits"));
    let visit = world.http().post(visits).header("Origin", &origin).json(&json!({"site": "shop"}));
    let visit: serde_json::Value = visit.send().await.expect("an answer").json().await.expect("JSON");
    assert!(visit["ticket"].is_null(), "{visit}");
    let token = visit["visitor_token"].as_str().expect("a token");
    let said = json!({"client_message_id": "0b6f2c1e-8d5a-4a53-9a3e-0a4b8f6f2d12", "text": "Is er iemand?"});
    let messages = world.url("/webchat/v1/messages");
    let answer =
        world.http().post(&messages).header("Origin", &origin).bearer_auth(token).json(&said).send().await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 202);
    eventually("it is in the visitor's thread", || async {
        let read =
            world.http().get(&messages).header("Origin", &origin).bearer_auth(token).send().await.ok()?;
        read.text().await.ok()?.contains("Is er iemand?").then_some(())
    })
    .await;
    world.settled(&agent).await;
    world.finish().await;
}

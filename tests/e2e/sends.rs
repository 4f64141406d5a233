//! Many sends, some of whose answers are lost, with a sender that is killed again and again: the platform
//! never gets more copies than one and the recorded decisions to send again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::{AgentClient, Kind, Options, Promised, Talk, World, journeys};

journeys!(lost_answers_and_killed_senders_make_no_copy_that_nobody_decided_on);

/// Sends in the ordinary run; `LOKET_SENDS=10000` is the long one.
const SENDS: usize = 300;
/// How many customers are answered at the same time.
const CUSTOMERS: usize = 50;
/// Between two kills of the process with the sender in it.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// Between two answers to one customer.
const PAUSE: Duration = Duration::from_millis(400);
/// After so long without a status an answer that was lost is left to a person (120 s), and what waited
/// behind it is sent.
const SETTLED: Duration = Duration::from_secs(200);
/// The share of sends whose answer is lost.
const LOST: f64 = 0.01;

fn sends() -> usize {
    let told = std::env::var("LOKET_SENDS");
    told.ok().and_then(|text| text.parse().ok()).unwrap_or(SENDS)
}

/// How many of our messages stand at which status.
async fn standing(agent: &AgentClient) -> BTreeMap<String, usize> {
    let mut standing = BTreeMap::<String, usize>::new();
    for thread in agent.threads().await {
        for message in agent.messages(thread["id"].as_str().expect("an id")).await {
            if let Some(status) = message["status"].as_str() {
                *standing.entry(status.to_owned()).or_default() += 1;
            }
        }
    }
    standing
}

async fn lost_answers_and_killed_senders_make_no_copy_that_nobody_decided_on(kind: Kind) {
    let sets = vec!["whatsapp.accounts.one.messages_per_second=1000".to_owned()];
    let mut world = World::start(kind, Options { simulator: true, sets, ..Options::default() }).await;
    let (agent, phones) = (world.agent("admin").await, world.simulator().clone());
    phones.hurries().await;
    phones.put("/sim/v1/faults", &json!({"share": LOST, "seed": 7, "drop_connection_after": true})).await;
    let stop = CancellationToken::new();
    let talk = Talk { phones: phones.clone(), agent: agent.clone(), pause: PAUSE, stop };
    let mut talks: JoinSet<Promised> = JoinSet::new();
    for customer in 0..CUSTOMERS {
        talks.spawn(talk.clone().hold(format!("klant-{customer}"), sends() / CUSTOMERS));
    }
    let (mut promised, mut kills) = (Promised::default(), 0);
    let mut kill = tokio::time::interval(KILL_EVERY);
    kill.tick().await;
    loop {
        tokio::select! {
            talk = talks.join_next() => match talk {
                Some(talk) => promised.add(talk.expect("no panic")),
                None => break,
            },
            _ = kill.tick() => {
                world.kill_the("connectors").await;
                world.run().await;
                kills += 1;
                println!("kill {kills}, {} sent so far", phones.copies().await.len());
                kill.reset();
            }
        }
    }
    assert_eq!(promised.answers.len(), sends() / CUSTOMERS * CUSTOMERS);
    phones.has_told_all().await;
    world.settled(&agent).await;
    // A kill between claim and answer holds its conversation up for two minutes: the long form waits for
    // what is queued behind, the short one does not.
    let end = tokio::time::Instant::now() + if sends() > SENDS { SETTLED } else { Duration::ZERO };
    let mut look = tokio::time::interval(Duration::from_secs(5));
    let standing = loop {
        look.tick().await;
        let standing = standing(&agent).await;
        let under_way = ["queued", "sending"].iter().any(|status| standing.contains_key(*status));
        if !under_way || tokio::time::Instant::now() > end {
            break standing;
        }
    };
    world.keeps(&agent, &promised).await;
    let copies = phones.copies().await.len();
    println!("{} sends, {kills} kills, {copies} copies, 0 doubled; they stand at {standing:?}", sends());
    assert!(kills > 0, "a sender was killed");
    assert!(copies > sends() / 2, "most are sent by now: {copies}");
    world.finish().await;
}

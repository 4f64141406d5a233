//! `kill -9` at random moments while messages arrive and what was not answered 200 is repeated:
//! nothing lost, nothing doubled.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Kind, Meta, Options, World, journeys};

journeys!(kill_nine_loses_nothing_and_doubles_nothing);

/// Rounds in the ordinary run; `LOKET_KILL_ROUNDS=50` is the long one.
const ROUNDS: u64 = 5;
/// Messages per second.
const RATE: u64 = 200;
/// How many customers write.
const SENDERS: u64 = 20;

fn rounds() -> u64 {
    let told = std::env::var("LOKET_KILL_ROUNDS");
    told.ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Posts message after message at the rate, each again and again until it is answered 200.
async fn traffic(meta: Meta, stop: Arc<AtomicBool>, counter: Arc<AtomicU64>) {
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    let mut underway = tokio::task::JoinSet::new();
    while !stop.load(Ordering::SeqCst) {
        tick.tick().await;
        let number = counter.fetch_add(1, Ordering::SeqCst);
        let meta = meta.clone();
        underway.spawn(async move {
            let phone = format!("3160000{:04}", number % SENDERS);
            let body = Meta::whatsapp_text(&phone, &format!("wamid.KILL{number}"), "hallo", 1_795_253_400)
                .to_string();
            // A platform repeats at once, then ever more slowly; here at most every 50 ms.
            let mut again = tokio::time::interval(Duration::from_millis(50));
            loop {
                again.tick().await;
                if meta.post("whatsapp", body.clone()).await == Some(200) {
                    return;
                }
            }
        });
    }
    while let Some(done) = underway.join_next().await {
        done.expect("no panic");
    }
}

async fn kill_nine_loses_nothing_and_doubles_nothing(kind: Kind) {
    let mut world = World::start(kind, Options::default()).await;
    let (stop, counter) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = tokio::spawn(traffic(world.meta(), stop.clone(), counter.clone()));
    let seed = std::hash::RandomState::new().hash_one(0u8);
    println!("seed {seed}");
    for round in 0..rounds() {
        let wait = 100
            + std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one((seed, round))
                % 900;
        // The moment of the kill is the point of this test, so this wait is for no condition.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        world.kill().await;
        world.run().await;
    }
    stop.store(true, Ordering::SeqCst);
    sender.await.expect("no panic");
    let sent = counter.load(Ordering::SeqCst);
    let agent = world.agent("admin").await;
    world.settled(&agent).await;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let threads = agent.threads().await;
    assert_eq!(threads.len() as u64, SENDERS.min(sent));
    for thread in &threads {
        for message in agent.messages(thread["id"].as_str().expect("an id")).await {
            *found.entry(message["external_id"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    for number in 0..sent {
        assert_eq!(found.get(&format!("wamid.KILL{number}")), Some(&1), "message {number} of {sent}");
    }
    assert_eq!(found.len() as u64, sent);
    println!("{} rounds, {sent} messages", rounds());
    world.finish().await;
}

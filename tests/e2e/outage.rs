//! Broker, database and Redis behind a network that fails: nothing is answered 200 that is not safe,
//! nobody waits for ever, and all goes on by itself when the network is back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use loket_backbone::trial::{Flow, Proxy, service};
use serde_json::json;

use crate::harness::{
    AMQP, AgentClient, Database, Kind, Meta, Options, POSTGRES, REDIS, World, eventually,
    with_names_of_its_own,
};

/// How a network fails: not there, swallowing all, and deaf in one direction.
const FAILURES: [Flow; 4] = [Flow::Away, Flow::Swallow, Flow::ToServer, Flow::ToClient];
/// How long a callback may wait to be refused: 2 s for the bus, and the time of a busy machine.
const REFUSED: Duration = Duration::from_secs(4);
/// How long a request to the API may wait to be answered somehow (`reliability-contract` §12).
const ANSWERED: Duration = Duration::from_secs(11);
/// How long after an outage all must be well again.
const RECOVERED: Duration = Duration::from_secs(30);
/// Callbacks in each outage.
const CALLBACKS: usize = 4;

/// A proxy in front of a service, and the service's address through it.
async fn behind(url: &str) -> (Proxy, String) {
    let mut url = reqwest::Url::parse(url).expect("a URL");
    let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
    let proxy = Proxy::before(server).await.expect("a proxy");
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(proxy.address().port())).expect("a port");
    (proxy, url.into())
}

async fn world_with(setting: &str, url: &str) -> (World, AgentClient) {
    let options = Options { simulator: true, sets: vec![format!("{setting}={url}")], ..Options::default() };
    let world = World::start(Kind::Embedded, options).await;
    let agent = world.agent("admin").await;
    (world, agent)
}

/// The callbacks of one outage, each with one message.
fn callbacks(outage: usize) -> Vec<(String, String)> {
    let one = |number| {
        let id = format!("wamid.OUT{outage}.{number}");
        let body = Meta::whatsapp_text(&format!("3160000{number:04}"), &id, "hallo", 1_795_253_400);
        (id, body.to_string())
    };
    (0..CALLBACKS).map(one).collect()
}

/// Posts all of them at once; what each was answered and after how long.
async fn post_all(meta: &Meta, callbacks: &[(String, String)]) -> Vec<(Option<u16>, Duration)> {
    let posts = callbacks.iter().map(async |(_, body)| {
        let began = Instant::now();
        (meta.post("whatsapp", body.clone()).await, began.elapsed())
    });
    futures_util::future::join_all(posts).await
}

/// Repeats a callback until it is accepted.
async fn until_accepted(meta: &Meta, body: &str) {
    let mut again = tokio::time::interval(Duration::from_millis(50));
    while meta.post("whatsapp", body.to_owned()).await != Some(200) {
        again.tick().await;
    }
}

/// Every message of every outage is in a thread, once.
async fn all_are_there_once(agent: &AgentClient) {
    let mut found = BTreeMap::<String, usize>::new();
    for thread in agent.threads().await {
        for message in agent.messages(thread["id"].as_str().expect("an id")).await {
            *found.entry(message["external_id"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    for outage in 0..FAILURES.len() {
        for (id, _) in callbacks(outage) {
            assert_eq!(found.get(&id), Some(&1), "{id}");
        }
    }
    assert_eq!(found.len(), FAILURES.len() * CALLBACKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_callbacks_are_refused_in_time_and_safe_soon_after() {
    let Some(url) = service(AMQP) else { return };
    let (proxy, url) = behind(&with_names_of_its_own(&url)).await;
    let (world, agent) = world_with("bus.url", &url).await;
    let meta = world.meta();
    for (outage, flow) in FAILURES.into_iter().enumerate() {
        proxy.set(flow).await;
        for (status, took) in post_all(&meta, &callbacks(outage)).await {
            assert_eq!(status, Some(503), "{flow:?}: nothing is confirmed, so nothing is answered 200");
            assert!(took < REFUSED, "{flow:?}: refused after {took:?}");
        }
        proxy.set(Flow::Pass).await;
        let recovered = tokio::time::timeout(RECOVERED, async {
            for (_, body) in callbacks(outage) {
                until_accepted(&meta, &body).await;
            }
        });
        assert!(recovered.await.is_ok(), "{flow:?}: callbacks are not accepted after {RECOVERED:?}");
    }
    world.settled(&agent).await;
    all_are_there_once(&agent).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_callbacks_are_safe_all_the_same_and_in_their_threads_soon_after() {
    let Some(postgres) = service(POSTGRES) else { return };
    let database = Database::new(&postgres).await;
    let (proxy, url) = behind(&database.url).await;
    let (world, agent) = world_with("store.url", &url).await;
    let meta = world.meta();
    for (outage, flow) in FAILURES.into_iter().enumerate() {
        proxy.set(flow).await;
        for (status, took) in post_all(&meta, &callbacks(outage)).await {
            assert_eq!(status, Some(200), "{flow:?}: the bus is well");
            assert!(took < REFUSED, "{flow:?}: answered after {took:?}");
        }
        let began = Instant::now();
        let (status, problem) = agent.look("/v1/threads").await;
        assert!(matches!(status, 500..), "{flow:?}: {status} {problem}");
        assert!(began.elapsed() < ANSWERED, "{flow:?}: answered after {:?}", began.elapsed());
        proxy.set(Flow::Pass).await;
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let recovered = tokio::time::timeout(RECOVERED, async {
            loop {
                look.tick().await;
                let Some((200, health)) = agent.try_look("/health/status").await else { continue };
                if health["hub"]["topics"]["inbound"]["items"] == 0 {
                    return;
                }
            }
        });
        assert!(recovered.await.is_ok(), "{flow:?}: the backlog is not gone after {RECOVERED:?}");
    }
    world.settled(&agent).await;
    all_are_there_once(&agent).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everything_goes_on() {
    let Some(url) = service(REDIS) else { return };
    let (proxy, url) = behind(&with_names_of_its_own(&url)).await;
    let (world, agent) = world_with("kv.url", &url).await;
    let phones = world.simulator();
    let slow = Flow::Slow { latency: Duration::from_millis(200), bytes_per_second: 1_000 };
    for (outage, flow) in FAILURES.into_iter().chain([slow]).enumerate() {
        proxy.set(flow).await;
        let began = Instant::now();
        let (question, answer) = (format!("vraag {outage}"), format!("antwoord {outage}"));
        phones.types("sanne", &question).await;
        let thread = eventually("the question", || async {
            let threads = agent.threads().await;
            threads.into_iter().find(|thread| thread["last_message"]["content"]["text"] == question.as_str())
        })
        .await;
        let path = format!("/v1/threads/{}/messages", thread["id"].as_str().expect("an id"));
        let body = json!({"content": {"type": "text", "text": answer}, "to": "auto"});
        let (status, sent) = agent.post(&path, &format!("key-{outage}"), &body).await;
        assert_eq!(status, 201, "{flow:?}: {sent}");
        eventually("the answer is delivered", || async {
            let messages = agent.messages(thread["id"].as_str().expect("an id")).await;
            messages
                .iter()
                .any(|message| message["id"] == sent["id"] && message["status"] == "delivered")
                .then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(10), "{flow:?}: {:?}", began.elapsed());
    }
    world.settled(&agent).await;
    assert!(phones.copies().await.values().all(|copies| *copies == 1));
    world.finish().await;
}

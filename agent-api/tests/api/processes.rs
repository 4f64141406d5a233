//! Two processes of the agent API, each with its own handle on one Redis (`reliability-contract` §9,
//! K2, and §11): what happens in one is seen in the other at once, and without Redis a second later.

use std::time::Duration;

use loket_agent_api::ApiSettings;
use loket_backbone::clock::Clock;
use loket_backbone::{kv, random, trial};
use loket_protocol::agent::Role;
use loket_protocol::event::LiveSignal;
use loket_protocol::topics::LIVE;
use serde_json::{Value, json};

use crate::harness::{World, eventually, roomy};
use crate::sockets::Socket;

/// What six messages take together, one after the other, with wake-ups, on a machine that is busy with
/// other things, too. Without wake-ups each waits for a look of its own, a second after the last.
const SIX_AT_ONCE: Duration = Duration::from_secs(4);
/// What one message takes at most when it waits for a look.
const BY_LOOKING: Duration = Duration::from_secs(2);

/// Two processes whose handles are connected.
async fn processes(settings: &ApiSettings, url: &str) -> [World; 2] {
    // One that answers shows that Redis is there; the others then connect as quickly.
    let here = World::with(settings.clone(), url).await;
    let there = here.beside(settings.clone(), url);
    let probe = kv::open(url, Clock::system()).unwrap();
    eventually("Redis answers", async || probe.get("").await.ok()).await;
    [here, there]
}

fn apart(url: &str) -> String {
    format!("{url}?prefix=api-{}", random::hex::<8>())
}

/// Messages come in one after the other, each when the one before was seen; how long it took.
async fn conversation(messages: u32, world: &World, seen_by: &mut Socket, place: &World) -> Duration {
    let begun = world.clock.instant();
    for _ in 0..messages {
        let text = random::hex::<8>();
        world.customer_writes("31600000001", &text).await;
        while seen_by.next(place).await["event"]["data"]["message"]["content"]["text"] != text.as_str() {}
    }
    world.clock.instant().duration_since(begun)
}

/// Says something again until it shows on a socket: a sign may be lost, and a socket may not have joined.
async fn shows(socket: &mut Socket, place: &World, kind: &str, say: impl AsyncFn()) -> Value {
    let heard = async {
        loop {
            let frame = socket.next(place).await;
            if frame["type"] == kind {
                return frame;
            }
        }
    };
    tokio::pin!(heard);
    loop {
        say().await;
        if let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), &mut heard).await {
            return frame;
        }
    }
}

#[actix_web::test]
async fn what_happens_in_one_process_is_seen_in_the_other_at_once() {
    let Some(url) = trial::service("LOKET_TEST_REDIS") else { return };
    let url = apart(&url);
    let [here, there] = processes(&roomy(), &url).await;
    let (anna, bram) = (here.person(Role::Agent).await, here.person(Role::Agent).await);
    let thread = here.thread_of("31600000001", "hello").await;
    let mut his = Socket::open(&there, &bram, "").await;
    conversation(1, &here, &mut his, &there).await;
    let took = conversation(6, &here, &mut his, &there).await;
    assert!(took < SIX_AT_ONCE, "{took:?}");

    let path = format!("/v1/threads/{}/typing", thread["id"].as_str().unwrap());
    let types = async || {
        here.post(&path).bearer(&anna).json(&json!({"on": true})).go().await;
    };
    let frame = shows(&mut his, &there, "typing", types).await;
    assert_eq!(frame["thread_id"], thread["id"]);

    let online = json!({"presence": "online", "capacity": 7});
    let arrives = async || {
        here.put("/v1/me/presence").bearer(&anna).json(&online).go().await.good();
    };
    let frame = shows(&mut his, &there, "presence", arrives).await;
    assert_eq!(frame["state"]["capacity"], 7);
    let me = there.get("/v1/me").bearer(&anna).go().await.good();
    assert_eq!(me["presence"]["capacity"], 7, "asked in the other process");

    let begun = here.clock.instant();
    assert_eq!(here.delete("/v1/sessions").bearer(&bram).go().await.status, 204);
    assert_eq!(his.until_closed().await.0, 4401);
    let took = here.clock.instant().duration_since(begun);
    assert!(took < Duration::from_secs(4), "before the socket looks by itself: {took:?}");
    there.end().await;
    here.end().await;
}

#[actix_web::test]
async fn a_visitors_typing_shows_once_in_each_process() {
    let Some(url) = trial::service("LOKET_TEST_REDIS") else { return };
    let url = apart(&url);
    let [here, there] = processes(&roomy(), &url).await;
    let bram = here.person(Role::Agent).await;
    let visitor = here.visitor("Good evening").await;
    let web_chat = kv::open(&url, Clock::system()).unwrap();
    for place in [&here, &there] {
        let mut his = Socket::open(place, &bram, "").await;
        let types = async || {
            let typing = LiveSignal::VisitorTyping { site: "shop".to_owned(), visitor, on: true };
            let _ = web_chat.wake(LIVE, serde_json::to_vec(&typing).unwrap().into()).await;
        };
        let frame = shows(&mut his, place, "typing", types).await;
        assert_eq!((&frame["agent_id"], &frame["on"]), (&Value::Null, &json!(true)));
    }
    there.end().await;
    here.end().await;
}

#[actix_web::test]
async fn a_limit_counts_over_all_processes() {
    let Some(url) = trial::service("LOKET_TEST_REDIS") else { return };
    let settings = ApiSettings { requests_per_minute: 10, burst: 10, ..roomy() };
    let [here, there] = processes(&settings, &apart(&url)).await;
    let token = here.key(Role::Bot).await;
    // The window is a minute long; a count that kv did not take in time lets one more through.
    let (mut let_through, mut refused) = (0, 0);
    for place in [&here, &there].into_iter().cycle().take(30) {
        match place.get("/v1/me").bearer(&token).go().await.status {
            200 => let_through += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!((10..16).contains(&let_through), "{let_through} let through, {refused} refused");
    there.end().await;
    here.end().await;
}

#[actix_web::test]
async fn k2_without_redis_everything_goes_on_a_second_later() {
    let Some(own) = trial::Service::start("LOKET_TEST_REDIS").await else { return };
    let [here, there] = processes(&roomy(), own.url()).await;
    let anna = here.person(Role::Agent).await;
    let mut hers = Socket::open(&there, &anna, "").await;
    conversation(1, &here, &mut hers, &there).await;
    own.freeze().await;
    let took = conversation(2, &here, &mut hers, &there).await;
    assert!(took < BY_LOOKING * 2, "frozen: {took:?}");
    own.kill().await;
    let took = conversation(2, &here, &mut hers, &there).await;
    assert!(took < BY_LOOKING * 2, "killed: {took:?}");
    let begun = here.clock.instant();
    for _ in 0..50 {
        assert_eq!(here.get("/v1/me").bearer(&anna).go().await.status, 200, "counted nowhere, let through");
    }
    let took = here.clock.instant().duration_since(begun);
    assert!(took < Duration::from_millis(50 * 50), "a call of a dead Redis costs next to nothing: {took:?}");
    own.start_again().await;
    eventually("wake-ups are back", async || {
        (conversation(6, &here, &mut hers, &there).await < SIX_AT_ONCE).then_some(())
    })
    .await;
    there.end().await;
    here.end().await;
}

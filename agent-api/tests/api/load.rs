//! Too much, and mistakes of our own (`reliability-contract` §8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loket_agent_api::{ApiSettings, Ready};
use loket_backbone::disk::{Disks, Space};
use loket_protocol::agent::Role;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{World, eventually, roomy, well};

/// A disk with room.
const ROOM: u64 = 1 << 40;

#[actix_web::test]
async fn reads_are_shed_before_writes_and_a_watcher_is_always_answered() {
    let world = World::with(ApiSettings { requests_at_once: 8, ..roomy() }, "memory:").await;
    let token = world.key(Role::Bot).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/notes", thread["id"].as_str().unwrap());
    // Each of these has sent half of its body and is inside.
    let address = world.base.strip_prefix("http://").unwrap();
    let mut halves = Vec::new();
    for _ in 0..7 {
        let mut half = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 20\r\n\r\n{{\"text\":"
        );
        half.write_all(head.as_bytes()).await.unwrap();
        halves.push(half);
    }
    let refused = eventually("reads are shed", async || {
        let answer = world.get("/v1/threads").bearer(&token).go().await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), "overloaded");
    assert!((1..=5).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    let write = world.post(&path).bearer(&token).json(&serde_json::json!({"text": "still"})).go().await;
    assert_eq!(write.status, 201);
    assert_eq!(world.get("/health/live").go().await.status, 200);
    drop(halves);
    eventually("there is room again", async || {
        (world.get("/v1/threads").bearer(&token).go().await.status == 200).then_some(())
    })
    .await;
    world.end().await;
}

#[actix_web::test]
async fn a_nearly_full_disk_refuses_writes_and_lets_reads_and_removals_through() {
    let free = Arc::new(AtomicU64::new(ROOM));
    let told = Arc::clone(&free);
    let disks = Disks::read_by(vec![("store", "/".into())], move |_| {
        Ok(Space { free_bytes: told.load(Ordering::SeqCst), size_bytes: ROOM })
    });
    let world = World::with_disks(disks.clone()).await;
    let (login, admin) = ("anna", world.person(Role::Admin).await);
    let password = world.employ(login, Role::Agent).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let notes = format!("/v1/threads/{}/notes", thread["id"].as_str().unwrap());
    let note = async || world.post(&notes).bearer(&admin).json(&json!({"text": "x"})).go().await;
    let room = async || {
        let status = world.get("/health/status").bearer(&admin).go().await.good();
        (status["disks"][0]["holds"].clone(), status["disks"][0]["room"].clone())
    };
    assert_eq!(room().await, (json!("store"), json!("enough")));

    free.store(100 * 1024 * 1024, Ordering::SeqCst);
    disks.look();
    assert_eq!(room().await.1, "low");
    assert_eq!(note().await.status, 201, "what is said goes on");

    free.store(10 * 1024 * 1024, Ordering::SeqCst);
    disks.look();
    assert_eq!(room().await.1, "full");
    let refused = note().await;
    assert_eq!((refused.status, refused.code()), (507, "disk_full"));
    // Reading goes on, and so does what it needs and what takes rights and space away.
    assert_eq!(world.get("/v1/threads").bearer(&admin).go().await.status, 200);
    assert_eq!(world.get("/health/ready").go().await.status, 200);
    let session = world.log_in(login, &password).await;
    assert_eq!(world.delete("/v1/sessions").bearer(&session).go().await.status, 204);

    free.store(ROOM, Ordering::SeqCst);
    disks.look();
    assert_eq!(note().await.status, 201);
    world.end().await;
}

#[actix_web::test]
async fn a_panic_is_an_answer_that_says_nothing_of_the_inside() {
    let figures = Arc::new(|| panic!("the inside of the house"));
    let world = World::within(roomy(), "memory:", figures, well()).await;
    for _ in 0..3 {
        let answer = world.get("/metrics").go().await;
        assert_eq!((answer.status, answer.code()), (500, "internal"));
        assert!(!answer.body.to_string().contains("inside of the house"));
    }
    assert_eq!(world.get("/health/ready").go().await.status, 200);
    world.end().await;
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_never_by_what_is_in_them() {
    let recorder = PrometheusBuilder::new().install_recorder().expect("this process has no other recorder");
    let world = World::within(roomy(), "memory:", Arc::new(move || recorder.render()), well()).await;
    let token = world.key(Role::Bot).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let id = thread["id"].as_str().unwrap();
    for _ in 0..3 {
        world.get(&format!("/v1/threads/{id}")).bearer(&token).go().await.good();
    }
    assert_eq!(world.get("/v1/me").go().await.status, 401);
    assert_eq!(world.get(&format!("/v1/nothing/{id}")).go().await.status, 404);
    let text = String::from_utf8(world.get("/metrics").go().await.bytes).unwrap();
    let counted = |name: &str, labels: &[&str]| {
        text.lines()
            .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    let total = "loket_api_requests_total";
    assert!(counted(total, &["route=\"/v1/threads/{id}\"", "status=\"200\""]) >= 3.0, "{text}");
    assert!(counted(total, &["route=\"/v1/me\"", "status=\"401\""]) >= 1.0, "{text}");
    assert!(counted(total, &["route=\"none\"", "status=\"404\""]) >= 1.0, "{text}");
    assert!(counted("loket_api_request_duration_seconds", &["route=\"/v1/threads/{id}\""]) > 0.0, "{text}");
    for personal in [id, token.as_str(), "31600000001", "hello"] {
        assert!(!text.contains(personal), "{personal} is in the figures");
    }
    world.end().await;
}

#[actix_web::test]
async fn ready_speaks_for_all_roles_of_the_process() {
    let ready: Ready = Arc::new(|| Box::pin(std::future::ready(Err("The ingress has no bus.".to_owned()))));
    let world = World::within(roomy(), "memory:", Arc::new(String::new), ready).await;
    let answer = world.get("/health/ready").go().await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    assert_eq!(answer.body["detail"], "The ingress has no bus. Durability is relaxed by bus.url.");
    assert_eq!(world.get("/health/live").go().await.status, 200);
    world.end().await;
}

#[actix_web::test]
async fn what_was_parked_is_shown_and_given_up() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    let foreign = br#"{"v":99,"of":"another version"}"#;
    world.something_foreign_comes_in(foreign).await;
    let item = eventually("it is on the list", async || {
        let page = world.get("/v1/parked?state=parked").bearer(&token).go().await.good();
        page["items"].as_array().unwrap().first().cloned()
    })
    .await;
    let path = format!("/v1/parked/{}", item["id"].as_str().unwrap());
    let raw = world.get(&format!("{path}/raw")).bearer(&token).go().await;
    assert_eq!(raw.status, 200);
    assert!(raw.header("content-disposition").starts_with("attachment;"));
    assert_eq!(raw.bytes, foreign);
    let replayed = world.post(&format!("{path}/replay")).bearer(&token).go().await;
    assert_eq!(
        (replayed.status, replayed.code()),
        (409, "conflict"),
        "it is still of another version: {}",
        replayed.body
    );
    let dropped = world
        .post(&format!("{path}/drop"))
        .bearer(&token)
        .json(&serde_json::json!({"why": "a trial"}))
        .go()
        .await;
    assert_eq!(dropped.status, 204);
    let page = world.get("/v1/parked?state=dropped").bearer(&token).go().await.good();
    assert_eq!(page["items"][0]["id"], item["id"]);
    let none = world.get("/v1/parked?state=parked").bearer(&token).go().await.good();
    assert_eq!(none["items"], serde_json::json!([]));
    let refused = world.get("/v1/parked?reason=").bearer(&token).go().await;
    assert_eq!(refused.status, 400);
    world.end().await;
}

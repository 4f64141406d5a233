//! The log, pulled.

use std::time::{Duration, Instant};

use loket_protocol::agent::Role;
use serde_json::{Value, json};

use crate::harness::{World, eventually};

fn seqs(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect()
}

#[actix_web::test]
async fn the_log_is_read_in_pages_without_gap_or_repeat() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    for n in 0..5 {
        world.thread_of(&format!("3160000000{n}"), &format!("line {n}")).await;
    }
    let head = eventually("the log is numbered", async || {
        let page = world.get("/v1/events?limit=500").bearer(&token).go().await.good();
        let received =
            page["items"].as_array().unwrap().iter().filter(|e| e["type"] == "message.received").count();
        (received == 5).then(|| page["head"].as_i64().unwrap())
    })
    .await;
    let mut all = Vec::new();
    let mut after = "0".to_owned();
    while all.last() != Some(&head) {
        let page = world.get(&format!("/v1/events?after={after}&limit=3")).bearer(&token).go().await.good();
        all.extend(seqs(&page));
        page["next_cursor"].as_str().unwrap().clone_into(&mut after);
    }
    assert_eq!(all, (1..=head).collect::<Vec<_>>());
    let end = world.get(&format!("/v1/events?after={after}")).bearer(&token).go().await.good();
    assert_eq!((&end["items"], &end["next_cursor"]), (&json!([]), &json!(after)));

    let some =
        world.get("/v1/events?types=contact.*,message.received&limit=500").bearer(&token).go().await.good();
    for event in some["items"].as_array().unwrap() {
        let kind = event["type"].as_str().unwrap();
        assert!(kind.starts_with("contact.") || kind == "message.received", "{kind}");
    }
    assert_eq!(some["next_cursor"], json!(after), "what the types leave out was seen too");
    let one = &some["items"][0];
    let path = format!("/v1/events/{}", one["id"].as_str().unwrap());
    assert_eq!(&world.get(&path).bearer(&token).go().await.good(), one);
    world.end().await;
}

#[actix_web::test]
async fn a_place_in_another_log_is_gone() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    for after in ["1000000", "otherlog:0"] {
        let answer = world.get(&format!("/v1/events?after={after}")).bearer(&token).go().await;
        assert_eq!((answer.status, answer.code()), (410, "cursor_gone"), "{after}");
        let fresh = answer.body["options"]["cursor"].as_str().unwrap().to_owned();
        assert_eq!(world.get(&format!("/v1/events?after={fresh}")).bearer(&token).go().await.status, 200);
    }
    for bad in ["-1", "x", "1.5", "99999999999999999999"] {
        let answer = world.get(&format!("/v1/events?after={bad}")).bearer(&token).go().await;
        assert_eq!((answer.status, answer.code()), (400, "query_invalid"), "{bad}");
    }
    for bad in ["types=nothing.*", "types=message", "limit=501", "wait=26"] {
        let answer = world.get(&format!("/v1/events?{bad}")).bearer(&token).go().await;
        assert_eq!((answer.status, answer.code()), (400, "query_invalid"), "{bad}");
    }
    world.end().await;
}

#[actix_web::test]
async fn a_long_poll_answers_when_something_happens() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    let path = "/v1/events?after=0&wait=25&types=message.received";
    let began = Instant::now();
    let poll = world.get(path).bearer(&token).go();
    let write = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.customer_writes("31600000001", "hello").await;
    };
    let (answer, ()) = tokio::join!(poll, write);
    let page = answer.good();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Nothing more of this type comes: the poll waits for its time and says where it is.
    let began = Instant::now();
    let after = page["next_cursor"].as_str().unwrap();
    let quiet = world
        .get(&format!("/v1/events?after={after}&wait=1&types=note.added"))
        .bearer(&token)
        .go()
        .await
        .good();
    assert_eq!(quiet["items"], json!([]));
    assert!(began.elapsed() >= Duration::from_secs(1));
    world.end().await;
}

#[actix_web::test]
async fn the_catalogue_and_the_reference_are_for_everybody() {
    let world = World::begin().await;
    let types = world.get("/v1/event-types").go().await.good();
    assert!(types["items"].as_array().unwrap().len() > 20);
    let document = world.get("/openapi.json").go().await.good();
    assert_eq!(document["openapi"], "3.1.0");
    let to = world.get("/docs").go().await;
    assert_eq!((to.status, to.header("location")), (308, "docs/"));
    for (file, kind) in [("", "text/html"), ("page.css", "text/css"), ("page.js", "text/javascript")] {
        let answer = world.get(&format!("/docs/{file}")).go().await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("content-type").starts_with(kind), "{file}: {}", answer.header("content-type"));
        assert!(answer.header("content-security-policy").contains("script-src 'self';"));
        let text = String::from_utf8(answer.bytes).unwrap();
        if file == "page.js" {
            assert!(text.contains("../openapi.json"), "{text}");
        }
        if kind == "text/html" {
            let inline = text.split("<script").skip(1).any(|script| !script.trim_start().starts_with("src="));
            assert!(!inline && !text.contains("https://"), "{text}");
        }
    }
    assert_eq!(world.get("/docs/nothing.js").go().await.status, 404);
    world.end().await;
}

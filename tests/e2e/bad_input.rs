//! Bad input at every door: a clear refusal or a parked item, the good neighbours stored, no panic and
//! no 5xx.

use serde_json::{Value, json};

use crate::harness::{AgentClient, Kind, Meta, Options, PHONE_NUMBER, World, journeys};

journeys!(
    junk_beside_good_items_parks_the_junk_and_keeps_the_good,
    callbacks_that_are_no_callbacks_are_refused_with_a_reason,
    the_api_refuses_what_it_cannot_take_and_says_what_was_wrong
);

async fn one_thread(world: &World, agent: &AgentClient) -> String {
    let body = Meta::whatsapp_text("31600000701", "wamid.GOOD", "hallo", 1_795_253_400);
    assert_eq!(world.meta().post("whatsapp", body.to_string()).await, Some(200));
    world.settled(agent).await;
    agent.threads().await[0]["id"].as_str().expect("an id").to_owned()
}

fn around(items: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215000000000101","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1","phone_number_id":"{PHONE_NUMBER}"}},"messages":[{items}]}}}}]}}]}}"#
    )
}

fn good(number: usize) -> String {
    format!(
        r#"{{"from":"31600000702","id":"wamid.NEIGHBOUR{number}","timestamp":"1795253400","type":"text","text":{{"body":"goed"}}}}"#
    )
}

async fn junk_beside_good_items_parks_the_junk_and_keeps_the_good(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let junk = [
        "null".to_owned(),
        "7".to_owned(),
        "\"text\"".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"id":[],"type":{}}"#.to_owned(),
        r#"{"from":"31600000702","id":"wamid.J1","timestamp":"1795253400","type":"text","text":null}"#
            .to_owned(),
        r#"{"from":"31600000702","id":"wamid.J2","timestamp":[],"type":"text","text":{"body":{"a":1}}}"#
            .to_owned(),
        format!(r#"{{"from":"31600000702","id":"wamid.J3","type":"novel","novel":{deep}}}"#),
        deep,
    ];
    for (number, item) in junk.iter().enumerate() {
        let body = around(&format!("{},{item},{}", good(number * 2), good(number * 2 + 1)));
        let status = world.meta().post("whatsapp", body).await;
        assert_eq!(status, Some(200), "beside {}", item.get(..40).unwrap_or(item));
    }
    // Lone surrogates and U+0000 in the good ones themselves.
    let odd = r#"{"from":"31600000702","id":"wamid.ODD","timestamp":"1795253400","type":"text","text":{"body":"a\ud800b\u0000c"}}"#;
    assert_eq!(world.meta().post("whatsapp", around(odd)).await, Some(200));
    world.settled(&agent).await;
    let threads = agent.threads().await;
    assert_eq!(threads.len(), 1);
    let messages = agent.messages(threads[0]["id"].as_str().expect("an id")).await;
    let stored = |id: &str| messages.iter().find(|message| message["external_id"] == id);
    for number in 0..junk.len() * 2 {
        let id = format!("wamid.NEIGHBOUR{number}");
        assert_eq!(stored(&id).expect(&id)["content"]["text"], "goed");
    }
    let text =
        stored("wamid.ODD").expect("the odd one")["content"]["text"].as_str().expect("text").to_owned();
    assert_eq!(text, "a\u{fffd}b\u{fffd}c");
    assert!(!agent.all("/v1/parked?limit=200").await.is_empty(), "the junk waits for a person");
    world.finish().await;
}

async fn callbacks_that_are_no_callbacks_are_refused_with_a_reason(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let meta = world.meta();
    for body in ["", "{", "nonsense", "\u{feff}{}", "{\"a\":1} x"] {
        assert_eq!(meta.post("whatsapp", body).await, Some(400), "{body:?}");
    }
    assert_eq!(meta.post("whatsapp", vec![b'"', 0xff, b'"']).await, Some(400));
    let large = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    assert_eq!(meta.post("whatsapp", large).await, Some(413));
    assert_eq!(meta.post("telegraph", "{}").await, Some(404));
    for (query, status) in [
        ("hub.mode=subscribe&hub.verify_token=loket-verify&hub.challenge=1158201444", 200),
        ("hub.challenge=1158201444&hub.mode=subscribe&hub.verify_token=loket%2Dverify", 200),
        ("hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1158201444", 403),
        ("hub.mode=subscribe&hub.verify_token=loket-verify&hub.challenge=%3Cscript%3E", 400),
        ("hub.mode=subscribe&hub.challenge=1", 403),
    ] {
        let answer = world
            .http()
            .get(world.url(&format!("/callbacks/whatsapp?{query}")))
            .send()
            .await
            .expect("answer");
        assert_eq!(answer.status().as_u16(), status, "{query}");
        if status == 200 {
            assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
            assert_eq!(answer.text().await.expect("text"), "1158201444");
        }
    }
    world.finish().await;
}

async fn the_api_refuses_what_it_cannot_take_and_says_what_was_wrong(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let thread = one_thread(&world, &agent).await;
    let messages = format!("/v1/threads/{thread}/messages");
    let foreign = "/v1/threads/thr_01M7YQ1WE08E6Q4V9T3B5N7K1Z/messages";
    let text = json!({"content": {"type": "text", "text": "hallo"}});
    let long = json!({"content": {"type": "text", "text": "x".repeat(5000)}});
    let cases: Vec<(&str, String, u16)> = vec![
        (&messages, "{".to_owned(), 400),
        (&messages, "[]".to_owned(), 400),
        (&messages, "null".to_owned(), 400),
        (&messages, r#"{"content":7}"#.to_owned(), 400),
        (&messages, r#"{"content":{"type":"text","text":"a","colour":"red"}}"#.to_owned(), 400),
        (&messages, r#"{"content":{"type":"text","text":"a\u0000b"}}"#.to_owned(), 422),
        (&messages, r#"{"content":{"type":"text","text":"a\ud800b"}}"#.to_owned(), 400),
        (&messages, r#"{"content":{"type":"text","text":""}}"#.to_owned(), 422),
        (&messages, r#"{"content":{"type":"hologram"}}"#.to_owned(), 422),
        (&messages, r#"{"content":{"type":"text","text":"a"},"to":"nobody"}"#.to_owned(), 400),
        (&messages, format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 400),
        (&messages, format!("\"{}\"", "x".repeat(5 * 1024 * 1024)), 413),
        (&messages, long.to_string(), 422),
        (foreign, text.to_string(), 404),
        ("/v1/threads/none/messages", text.to_string(), 404),
        ("/v1/nothing", text.to_string(), 404),
        ("/v1/me", text.to_string(), 405),
    ];
    for (number, (path, body, expected)) in cases.iter().enumerate() {
        let answer = world
            .http()
            .post(world.url(path))
            .bearer_auth(&agent.token)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", format!("bad-{number}"))
            .body(body.clone())
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let problem: Value = answer.json().await.expect("JSON");
        let shown = body.get(..60).unwrap_or(body);
        // 400 and 422 are both refusals of a body; which of them is said in the API's document.
        let fits = status == *expected || (matches!(expected, 400 | 422) && matches!(status, 400 | 422));
        assert!(fits, "{path} {shown}: {status}, not {expected}: {problem}");
        assert_eq!(kind, "application/problem+json", "{path} {shown}");
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{path} {shown}: {problem}");
    }
    for token in ["", "x", "los_", "lok_x", &"a".repeat(9000)] {
        let answer =
            world.http().get(world.url("/v1/threads")).bearer_auth(token).send().await.expect("an answer");
        let status = answer.status().as_u16();
        assert!(matches!(status, 401 | 400 | 431), "{} characters: {status}", token.len());
    }
    for path in [
        "/v1/threads?limit=0",
        "/v1/threads?limit=x",
        "/v1/threads?cursor=%00",
        "/v1/threads?colour=red",
        "/v1/events?after=-1",
        "/v1/events?types=message.*,nonsense.happened",
        "/v1/stream?after=x",
    ] {
        let (status, problem) = agent.look(path).await;
        assert!((400..500).contains(&status), "{path}: {status} {problem}");
    }
    // Nothing of all this has been stored.
    assert_eq!(agent.messages(&thread).await.len(), 1);
    world.finish().await;
}

//! Threads and messages: reading in pages, writing once.

use loket_protocol::agent::Role;
use serde_json::{Value, json};

use crate::harness::{World, eventually};

fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

#[actix_web::test]
async fn a_repeated_message_is_sent_once() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/messages", id(&thread));
    let say = |text: &str| json!({"content": {"type": "text", "text": text}, "to": "auto"});

    let answer = world.post(&path).bearer(&token).json(&say("hi")).go().await;
    assert_eq!((answer.status, answer.code()), (400, "idempotency.required"));

    let first = world.post(&path).bearer(&token).header("idempotency-key", "k1").json(&say("hi")).go().await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_eq!(first.body["status"], "queued");
    assert_eq!(first.body["direction"], "out");
    // The draft's quoted form is the same key; white space and order in the body do not matter.
    let spelt_otherwise = r#"{ "to":"auto", "content": {"text":"\u0068i","type":"text"} }"#;
    let again = world
        .post(&path)
        .bearer(&token)
        .header("idempotency-key", "\"k1\"")
        .header("content-type", "application/json")
        .bytes(spelt_otherwise)
        .go()
        .await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(again.body, first.body);

    let other = world.post(&path).bearer(&token).header("idempotency-key", "k1").json(&say("ho")).go().await;
    assert_eq!((other.status, other.code()), (422, "idempotency.mismatch"));
    // Another person's key of the same name is another key.
    let colleague = world.person(Role::Agent).await;
    let theirs =
        world.post(&path).bearer(&colleague).header("idempotency-key", "k1").json(&say("ho")).go().await;
    assert_eq!((theirs.status, theirs.header("idempotency-replayed")), (201, ""));

    let with_own_id = json!({"content": {"type": "text", "text": "by id"}, "client_message_id": "c-1"});
    let one = world.post(&path).bearer(&token).json(&with_own_id).go().await;
    let two = world.post(&path).bearer(&token).json(&with_own_id).go().await;
    assert_eq!((one.status, two.status), (201, 201));
    assert_eq!((id(&one.body), two.header("idempotency-replayed")), (id(&two.body), "true"));

    let page = world.get(&path).bearer(&token).go().await.good();
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
    world.end().await;
}

#[actix_web::test]
async fn twenty_at_once_with_one_key_are_one_message() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/messages", id(&thread));
    let body = json!({"content": {"type": "text", "text": "once"}});
    let posts =
        (0..20).map(|_| world.post(&path).bearer(&token).header("idempotency-key", "k").json(&body).go());
    let answers = futures_util::future::join_all(posts).await;
    let mut ids = std::collections::HashSet::new();
    for answer in &answers {
        match answer.status {
            201 => drop(ids.insert(id(&answer.body).to_owned())),
            409 => {
                assert_eq!(answer.code(), "idempotency.in_flight");
                assert_eq!(answer.header("retry-after"), "1");
            }
            other => panic!("{other} {}", answer.body),
        }
    }
    assert_eq!(ids.len(), 1);
    let done_now =
        answers.iter().filter(|a| a.status == 201 && a.header("idempotency-replayed").is_empty()).count();
    assert_eq!(done_now, 1);
    world.end().await;
}

#[actix_web::test]
async fn the_inbox_is_read_in_pages_without_gap_or_repeat() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let lines: Vec<_> = (0..7).map(|n| (format!("3160000000{n}"), format!("line {n}"))).collect();
    for (who, text) in &lines {
        world.customer_writes(who, text).await;
    }
    eventually("all threads are there", async || {
        let page = world.get("/v1/threads").bearer(&token).go().await.good();
        (page["items"].as_array().unwrap().len() == 7).then_some(())
    })
    .await;
    let mut seen = Vec::new();
    let mut path = "/v1/threads?limit=3&status=open&unread=true&channel=whatsapp&assignee=none".to_owned();
    let first = path.clone();
    loop {
        let page = world.get(&path).bearer(&token).go().await.good();
        seen.extend(page["items"].as_array().unwrap().iter().map(|thread| id(thread).to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{first}&cursor={cursor}");
    }
    assert_eq!(seen.len(), 7);
    assert_eq!(seen.iter().collect::<std::collections::HashSet<_>>().len(), 7);
    let none = world.get("/v1/threads?channel=messenger").bearer(&token).go().await.good();
    assert_eq!(none["items"], json!([]));
    let bad = world.get("/v1/threads?cursor=nonsense").bearer(&token).go().await;
    assert!([400, 422].contains(&bad.status), "{}", bad.body);
    world.end().await;
}

#[actix_web::test]
async fn messages_are_read_by_seq_in_both_directions() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    let thread = world.thread_of("31600000001", "line 0").await;
    let path = format!("/v1/threads/{}/messages", id(&thread));
    let texts: Vec<_> = (1..=9).map(|n| format!("line {n}")).collect();
    world.customers_write(&texts.iter().map(|text| ("31600000001", text.as_str())).collect::<Vec<_>>()).await;
    let all = eventually("all messages are there", async || {
        let page = world.get(&path).bearer(&token).go().await.good();
        (page["items"].as_array().unwrap().len() == 10).then(|| page["items"].clone())
    })
    .await;
    let read = |direction: &'static str, start: i64| {
        let (world, path, token) = (&world, &path, &token);
        async move {
            let (mut found, mut at) = (Vec::new(), start.to_string());
            loop {
                let page =
                    world.get(&format!("{path}?{direction}={at}&limit=4")).bearer(token).go().await.good();
                let items = page["items"].as_array().unwrap().clone();
                if direction == "after_seq" {
                    found.extend(items);
                } else {
                    found.splice(0..0, items).for_each(drop);
                }
                match page["next_cursor"].as_str() {
                    Some(next) => at = next.to_owned(),
                    None => return Value::Array(found),
                }
            }
        }
    };
    assert_eq!(read("after_seq", 0).await, all);
    assert_eq!(read("before_seq", 1_000_000).await, all);
    let seqs: Vec<_> =
        all.as_array().unwrap().iter().map(|message| message["seq"].as_i64().unwrap()).collect();
    assert!(seqs.is_sorted());
    let both = world.get(&format!("{path}?after_seq=1&before_seq=2")).bearer(&token).go().await;
    assert_eq!(both.status, 400);
    world.end().await;
}

#[actix_web::test]
async fn two_who_change_one_thread_notice_each_other() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let me = world.get("/v1/me").bearer(&token).go().await.good();
    let made = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}", id(&made));
    let seen = world.get(&path).bearer(&token).go().await;
    let etag = seen.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", seen.body["version"]));

    let mine = json!({"agent": id(&me)});
    let taken =
        world.post(&format!("{path}/assign")).bearer(&token).header("if-match", &etag).json(&mine).go().await;
    assert_eq!(taken.status, 200);
    assert_eq!(taken.body["assignee"], me["id"]);
    assert_ne!(taken.header("etag"), etag);
    let late = world.post(&format!("{path}/resolve")).bearer(&token).header("if-match", &etag).go().await;
    assert_eq!((late.status, late.code()), (412, "stale"));
    let page = world.get("/v1/threads?assignee=me").bearer(&token).go().await.good();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);

    let resolve = |key: &'static str| {
        let etag = taken.header("etag").to_owned();
        world
            .post(&format!("{path}/resolve"))
            .bearer(&token)
            .header("if-match", &etag)
            .header("idempotency-key", key)
    };
    let resolved = resolve("r1").go().await;
    assert_eq!(resolved.body["status"], "resolved");
    let again = resolve("r1").go().await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(
        (again.body, again.headers.get("etag")),
        (resolved.body.clone(), resolved.headers.get("etag"))
    );
    let reopened = world.post(&format!("{path}/reopen")).bearer(&token).json(&json!({})).go().await.good();
    assert_eq!(reopened["status"], "open");
    assert_ne!(reopened["case_id"], resolved.body["case_id"]);

    let nobody =
        world.post(&format!("{path}/assign")).bearer(&token).json(&json!({"agent": null})).go().await.good();
    assert_eq!(nobody["assignee"], Value::Null);
    let unnamed = world.post(&format!("{path}/assign")).bearer(&token).json(&json!({})).go().await;
    assert_eq!(unnamed.status, 422);
    let stranger = world
        .post(&format!("{path}/assign"))
        .bearer(&token)
        .json(&json!({"agent": "agt_01M7YQ1WE08E6Q4V9T3B5N7K1Z"}))
        .go()
        .await;
    assert_eq!((stranger.status, stranger.code()), (422, "invalid"));
    world.end().await;
}

#[actix_web::test]
async fn notes_marks_contacts_and_channels() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}", id(&thread));
    let note = world
        .post(&format!("{path}/notes"))
        .bearer(&token)
        .header("idempotency-key", "n1")
        .json(&json!({"text": "among ourselves"}))
        .go()
        .await;
    assert_eq!((note.status, note.body["direction"].as_str()), (201, Some("note")));
    assert_eq!(world.get(&path).bearer(&token).go().await.good()["unread"], 1);
    assert_eq!(world.post(&format!("{path}/read")).bearer(&token).go().await.status, 204);
    assert_eq!(world.get(&path).bearer(&token).go().await.good()["unread"], 0);
    let zero = world.post(&format!("{path}/read")).bearer(&token).json(&json!({"up_to_seq": 0})).go().await;
    assert_eq!((zero.status, zero.code()), (422, "invalid"));
    assert_eq!(
        world.post(&format!("{path}/typing")).bearer(&token).json(&json!({"on": false})).go().await.status,
        204
    );

    let contact = thread["contact"]["id"].as_str().unwrap();
    let contact = world.get(&format!("/v1/contacts/{contact}")).bearer(&token).go().await.good();
    assert_eq!(contact["identities"][0]["handles"][0]["value"], "31600000001");
    let channels = world.get("/v1/channels").bearer(&token).go().await.good();
    let queued = |channels: &Value| {
        let items = channels["items"].as_array().unwrap().clone();
        items.iter().find(|own| own["channel"]["kind"] == "whatsapp").unwrap()["queued"].as_i64().unwrap()
    };
    assert_eq!(queued(&channels), 0);
    world.end().await;
}

#[actix_web::test]
async fn what_cannot_be_sent_is_refused_with_what_could() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/messages", id(&thread));
    let send = |body: Value, key: &'static str| {
        world.post(&path).bearer(&token).header("idempotency-key", key).json(&body).go()
    };
    let sticker =
        json!({"content": {"type": "sticker"}, "attachments": [{"kind": "sticker", "media_id": "1"}]});
    let refused = send(sticker, "a").await;
    assert_eq!(refused.status, 422);
    assert_ne!(refused.code(), "");
    // The customer's window closes after a day.
    world.clock.advance(std::time::Duration::from_hours(25));
    let token = world.person(Role::Agent).await;
    let late = world
        .post(&path)
        .bearer(&token)
        .header("idempotency-key", "b")
        .json(&json!({"content": {"type": "text", "text": "still there?"}}))
        .go()
        .await;
    assert_eq!((late.status, late.code()), (422, "window_closed"));
    assert_eq!(late.body["options"]["when"], "customer_writes", "{}", late.body);
    let path = format!("/v1/threads/{}/sendability", id(&thread));
    let told = world.get(&path).bearer(&token).go().await.good();
    assert_eq!(told["auto"], Value::Null);
    let one = &told["identities"][0];
    assert_eq!((&one["may_send"], &one["code"]), (&json!("nothing"), &json!("window_closed")));
    assert_eq!(one["sentence"], late.body["detail"]);
    assert_eq!(late.body["type"], "urn:loket:problem:window_closed");
    world.end().await;
}

#[actix_web::test]
async fn control_is_taken_and_who_lost_it_is_refused() {
    let world = World::begin().await;
    let (anna, bram) = (world.person(Role::Agent).await, world.person(Role::Agent).await);
    let thread = world.thread_of("31600000001", "hello").await;
    assert_eq!((&thread["control"]["holder"], &thread["control"]["epoch"]), (&json!("waiting"), &json!(1)));
    assert!(thread["waiting_since"].is_string());
    let path = format!("/v1/threads/{}", id(&thread));
    let control = format!("{path}/control");
    let waiting = world.get("/v1/threads?control=waiting&waiting=true").bearer(&anna).go().await.good();
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1);

    let take = json!({"verb": "take", "epoch": 1});
    let hers = world.post(&control).bearer(&anna).json(&take).go().await.good();
    assert_eq!((&hers["control"]["holder"], &hers["control"]["epoch"]), (&json!("agent"), &json!(2)));
    assert_eq!(hers["assignee"], hers["control"]["agent_id"]);
    assert_eq!(world.post(&control).bearer(&anna).json(&take).go().await.good()["control"], hers["control"]);
    let late = world.post(&control).bearer(&bram).json(&take).go().await;
    assert_eq!((late.status, late.code()), (409, "control_lost"));
    assert_eq!(late.body["options"]["control"], hers["control"]);

    let say = |epoch: i64| json!({"content": {"type": "text", "text": "hi"}, "epoch": epoch});
    let messages = format!("{path}/messages");
    for token in [&anna, &bram, &world.key(Role::Bot).await, &world.key(Role::Integrator).await] {
        let old = world.post(&messages).bearer(token).header("idempotency-key", "k").json(&say(1)).go().await;
        assert_eq!((old.status, old.code()), (409, "control_lost"));
    }
    let said = world.post(&messages).bearer(&anna).header("idempotency-key", "k2").json(&say(2)).go().await;
    assert_eq!(said.status, 201);
    assert_eq!(world.get(&path).bearer(&anna).go().await.good()["waiting_since"], Value::Null);
    let none = world.get("/v1/threads?waiting=true").bearer(&anna).go().await.good();
    assert_eq!(none["items"], json!([]));

    let bot = world.key(Role::Bot).await;
    let not_its = json!({"verb": "pass", "epoch": 2, "reason": "unsure"});
    let refused = world.post(&control).bearer(&bot).json(&not_its).go().await;
    assert_eq!((refused.status, refused.code()), (409, "conflict"));
    let integrator = world.key(Role::Integrator).await;
    let forbidden = world.post(&control).bearer(&integrator).json(&take).go().await;
    assert_eq!((forbidden.status, forbidden.code()), (403, "forbidden"));
    for bad in [
        json!({"verb": "seize"}),
        json!({"verb": "pass", "to": "team", "epoch": 2}),
        json!({"verb": "release"}),
        json!({"verb": "take", "to": "bot"}),
        json!({"verb": "take", "reason": "Because I can"}),
    ] {
        let answer = world.post(&control).bearer(&anna).json(&bad).go().await;
        assert_eq!((answer.status, answer.code()), (422, "invalid"), "{bad}");
    }
    let back = json!({"verb": "release", "epoch": 2});
    let back = world.post(&control).bearer(&anna).json(&back).go().await.good();
    assert_eq!((&back["control"]["holder"], &back["control"]["epoch"]), (&json!("waiting"), &json!(3)));
    world.end().await;
}

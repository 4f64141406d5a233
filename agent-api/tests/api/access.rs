//! Every door for every role (`security` Z1, Z2, Z9).

use std::time::Duration;

use loket_agent_api::{Access, AgentApi, DoorInfo};
use loket_protocol::agent::Role;
use loket_protocol::ids::{AgentId, ContactId, EventId, KeyId, MergeId, ParkedId, ThreadId};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, World, eventually};

/// The door's address with an id that is well formed and unknown.
fn address(world: &World, door: &DoorInfo) -> String {
    let clock = &world.clock;
    let kinds = [
        ("/v1/threads/", clock.id::<ThreadId>().to_string()),
        ("/v1/contacts/", clock.id::<ContactId>().to_string()),
        ("/v1/merges/", clock.id::<MergeId>().to_string()),
        ("/v1/events/", clock.id::<EventId>().to_string()),
        ("/v1/agents/", clock.id::<AgentId>().to_string()),
        ("/v1/api-keys/", clock.id::<KeyId>().to_string()),
        ("/v1/parked/", clock.id::<ParkedId>().to_string()),
    ];
    let id = kinds.into_iter().find(|(start, _)| door.path.starts_with(start)).map(|(_, id)| id);
    door.path.replace("{id}", &id.unwrap_or_default()).replace("{file:.*}", "index.html")
}

async fn knock(world: &World, door: &DoorInfo, token: Option<&str>) -> Answer {
    let path = address(world, door);
    let mut asking = world.request(door.method.parse::<Method>().unwrap(), &path);
    if let Some(example) = world.document().example(&door.method, &path) {
        asking = asking.json(&example).header("idempotency-key", "k-1");
    }
    match token {
        Some(token) => asking.bearer(token).go().await,
        None => asking.go().await,
    }
}

#[actix_web::test]
async fn every_door_opens_for_the_roles_it_names_and_for_no_other() {
    let world = World::begin().await;
    let doors = AgentApi::doors();
    for door in &doors {
        let place = format!("{} {}", door.method, door.path);
        for nobody in [None, Some("los_nonsense"), Some("lok_nonsense"), Some("nonsense")] {
            let answer = knock(&world, door, nobody).await;
            if door.access == Access::Public {
                assert_ne!(answer.code(), "unauthenticated", "{place}");
            } else {
                assert_eq!((answer.status, answer.code()), (401, "unauthenticated"), "{place}");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
        }
        for role in Role::ALL {
            let key = world.key(role).await;
            let answer = knock(&world, door, Some(&key)).await;
            let place = format!("{place} for a key of the role {}", role.as_str());
            match door.access {
                Access::Public => assert_ne!(answer.status, 403, "{place}"),
                Access::Scope(scope) | Access::Person(scope) | Access::Fresh(scope)
                    if !scope.allows(role) =>
                {
                    assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{place}");
                    assert!(answer.body["detail"].as_str().unwrap().contains(scope.as_str()), "{place}");
                }
                Access::Person(_) => {
                    assert_eq!((answer.status, answer.code()), (403, "agent_required"), "{place}");
                }
                Access::Scope(_) | Access::Fresh(_) => {
                    assert!(![401, 403].contains(&answer.status), "{place}: {}", answer.body);
                }
            }
        }
    }
    world.end().await;
}

#[actix_web::test]
async fn people_pass_the_doors_for_people() {
    let world = World::begin().await;
    for role in [Role::Admin, Role::Lead, Role::Agent] {
        for door in AgentApi::doors() {
            let Access::Person(scope) = door.access else { continue };
            assert!(scope.allows(role), "people have their own");
            let token = world.person(role).await;
            let answer = knock(&world, &door, Some(&token)).await;
            // A wrong present password is 401 too, with a code of its own.
            assert_ne!(answer.code(), "unauthenticated", "{} {}", door.method, door.path);
            assert_ne!(answer.status, 403, "{} {}", door.method, door.path);
        }
    }
    world.end().await;
}

#[actix_web::test]
async fn weighty_acts_want_a_login_of_the_last_ten_minutes() {
    let world = World::begin().await;
    let password = world.employ("chef", Role::Admin).await;
    let stale = world.log_in("chef", &password).await;
    world.clock.advance(Duration::from_mins(11));
    let fresh = world.log_in("chef", &password).await;
    let mut weighty = Vec::new();
    for door in AgentApi::doors().into_iter().filter(|door| matches!(door.access, Access::Fresh(_))) {
        let place = format!("{} {}", door.method, door.path);
        let answer = knock(&world, &door, Some(&stale)).await;
        assert_eq!((answer.status, answer.code()), (401, "fresh_auth_required"), "{place}");
        let answer = knock(&world, &door, Some(&fresh)).await;
        assert!(![401, 403].contains(&answer.status), "{place}: {}", answer.body);
        weighty.push(place);
    }
    assert_eq!(
        weighty,
        ["POST /v1/agents", "DELETE /v1/agents/{id}", "POST /v1/api-keys", "DELETE /v1/api-keys/{id}"]
    );
    assert_eq!(world.get("/v1/me").bearer(&stale).go().await.status, 200, "for all else it is good");
    world.end().await;
}

#[actix_web::test]
async fn a_token_ends_with_its_reason() {
    let world = World::begin().await;
    let admin = world.person(Role::Admin).await;
    // Logging out.
    let token = world.person(Role::Agent).await;
    assert_eq!(world.get("/v1/me").bearer(&token).go().await.status, 200);
    assert_eq!(world.delete("/v1/sessions").bearer(&token).go().await.status, 204);
    assert_eq!(world.get("/v1/me").bearer(&token).go().await.code(), "unauthenticated");
    // Being disabled.
    let token = world.person(Role::Agent).await;
    let me = world.get("/v1/me").bearer(&token).go().await.good();
    let path = format!("/v1/agents/{}", me["id"].as_str().unwrap());
    assert_eq!(world.delete(&path).bearer(&admin).go().await.status, 204);
    assert_eq!(world.get("/v1/me").bearer(&token).go().await.code(), "unauthenticated");
    // Being revoked.
    let body = json!({"name": "robot", "role": "bot", "expires_at": world.clock.now().plus_millis(60_000)});
    let created = world
        .post("/v1/api-keys")
        .bearer(&admin)
        .header("idempotency-key", "k")
        .json(&body)
        .go()
        .await
        .good();
    let secret = created["secret"].as_str().unwrap();
    assert_eq!(world.get("/v1/me").bearer(secret).go().await.good()["role"], "bot");
    let path = format!("/v1/api-keys/{}", created["key"]["id"].as_str().unwrap());
    assert_eq!(world.delete(&path).bearer(&admin).go().await.status, 204);
    assert_eq!(world.get("/v1/me").bearer(secret).go().await.code(), "unauthenticated");
    // Time.
    let expiring = world.key(Role::Bot).await;
    world.clock.advance(Duration::from_hours(25));
    assert_eq!(world.get("/v1/me").bearer(&expiring).go().await.code(), "unauthenticated");
    world.end().await;
}

#[actix_web::test]
async fn a_new_password_ends_the_other_sessions() {
    let world = World::begin().await;
    let password = world.employ("anna", Role::Agent).await;
    let (here, elsewhere) = (world.log_in("anna", &password).await, world.log_in("Anna", &password).await);
    let change = |old: &str, new: &str| json!({"current_password": old, "new_password": new});
    let wrong = change("not this one at all", "a quite long sentence");
    let answer = world.post("/v1/me/password").bearer(&here).json(&wrong).go().await;
    assert_eq!((answer.status, answer.code()), (401, "credentials"));
    let short = change(&password, "short");
    let answer = world.post("/v1/me/password").bearer(&here).json(&short).go().await;
    assert_eq!((answer.status, answer.code()), (422, "invalid"));
    let right = change(&password, "a quite long sentence");
    assert_eq!(world.post("/v1/me/password").bearer(&here).json(&right).go().await.status, 204);
    assert_eq!(world.get("/v1/me").bearer(&here).go().await.status, 200);
    assert_eq!(world.get("/v1/me").bearer(&elsewhere).go().await.status, 401);
    world.log_in("anna", "a quite long sentence").await;
    world.end().await;
}

#[actix_web::test]
async fn guessing_is_counted_before_the_password_is_looked_at() {
    let world = World::begin().await;
    world.employ("anna", Role::Agent).await;
    let body = json!({"login": "anna", "password": "a wrong password"});
    let guesses = (0..30).map(|_| world.post("/v1/sessions").json(&body).go());
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.code() == "credentials").count();
    let refused = answers.iter().filter(|answer| answer.code() == "too_many").count();
    assert!(looked_at <= 5, "{looked_at} guesses passed");
    assert_eq!(looked_at + refused, 30);
    let told = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(told.header("retry-after").parse::<u64>().unwrap() <= 60);
    world.end().await;
}

#[actix_web::test]
async fn presence_is_shown_to_colleagues() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let me = world.get("/v1/me").bearer(&token).go().await.good();
    assert_eq!(me["presence"]["presence"], "offline");
    let state =
        world.put("/v1/me/presence").bearer(&token).json(&json!({"presence": "online"})).go().await.good();
    assert_eq!(state["accepting"], true);
    let state = world
        .put("/v1/me/presence")
        .bearer(&token)
        .json(&json!({"presence": "away", "capacity": 7}))
        .go()
        .await
        .good();
    assert_eq!(state, json!({"presence": "away", "accepting": false, "capacity": 7}));
    for bad in [json!({"presence": "online", "capacity": 0}), json!({"presence": "busy"})] {
        let answer = world.put("/v1/me/presence").bearer(&token).json(&bad).go().await;
        assert_eq!((answer.status, answer.code()), (422, "invalid"), "{bad}");
    }
    let seen = world.get("/v1/agents").bearer(&token).go().await.good();
    assert_eq!(seen["items"][0]["presence"]["presence"], "away");
    let id = me["id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/agents/{id}")).bearer(&token).go().await.good()["id"], id);
    world.end().await;
}

#[actix_web::test]
async fn a_token_has_a_rate_and_others_are_not_hurt() {
    let settings =
        loket_agent_api::ApiSettings { requests_per_minute: 60, burst: 20, ..crate::harness::roomy() };
    let world = World::with(settings, "memory:").await;
    let (greedy, other) = (world.key(Role::Bot).await, world.key(Role::Bot).await);
    let all = (0..60).map(|_| world.get("/v1/me").bearer(&greedy).go());
    let answers = futures_util::future::join_all(all).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 20);
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.header("retry-after"), "20");
    assert_eq!(world.get("/v1/me").bearer(&other).go().await.status, 200);
    world.end().await;
}

#[actix_web::test]
async fn health_tells_a_watcher_and_details_are_for_operators() {
    let world = World::begin().await;
    // The bus of these tests may forget, and every health page says so.
    let told = |status: &str| json!({"status": status, "durability": "relaxed"});
    assert_eq!(world.get("/health/live").go().await.good(), told("live"));
    assert_eq!(world.get("/health/ready").go().await.good(), told("ready"));
    let lead = world.person(Role::Lead).await;
    let status = world.get("/health/status").bearer(&lead).go().await.good();
    assert_eq!(status["hub"]["store"], true);
    assert_eq!(status["channels"].as_array().unwrap().len(), 2);
    assert_eq!((&status["durability"], &status["relaxed"]), (&json!("relaxed"), &json!(["bus.url"])));
    world.api.drain();
    let stopping = world.get("/health/ready").go().await;
    assert_eq!(stopping.status, 503);
    assert_eq!(stopping.body["detail"], "The process is stopping. Durability is relaxed by bus.url.");
    assert_eq!(world.get("/health/live").go().await.status, 200);
    // Not ready does not refuse work that still arrives.
    assert_eq!(world.get("/v1/me").bearer(&lead).go().await.status, 200);
    eventually("metrics are text", async || {
        let answer = world.get("/metrics").go().await;
        answer.header("content-type").starts_with("text/plain").then_some(())
    })
    .await;
    world.end().await;
}

//! Contacts that are one person: joining them, taking it back, and addresses that prove it.

use loket_protocol::agent::Role;
use serde_json::json;

use crate::harness::World;

#[actix_web::test]
async fn two_contacts_are_joined_and_parted_and_old_ids_lead_on() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let first = world.thread_of("31600000001", "first").await;
    let second = world.thread_of("31600000002", "second").await;
    let of = |thread: &serde_json::Value| thread["contact"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/contacts/{}/merge", of(&second));
    let body = json!({"contact": of(&first), "why": "one telephone"});
    let merged = world.post(&path).bearer(&token).header("idempotency-key", "m").json(&body).go().await;
    assert_eq!((merged.status, merged.body["proof"].as_str()), (200, Some("agent")));
    assert_eq!(merged.body["contact_id"], first["contact"]["id"]);
    let again = world.post(&path).bearer(&token).header("idempotency-key", "m").json(&body).go().await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), ("true", &merged.body));
    let twice = world.post(&path).bearer(&token).json(&body).go().await;
    assert_eq!((twice.status, twice.code()), (409, "conflict"));

    let old = format!("/v1/threads/{}", second["id"].as_str().unwrap());
    let thread = world.get(&old).bearer(&token).go().await.good();
    assert_eq!(thread["id"], first["id"]);
    let contact = world.get(&format!("/v1/contacts/{}", of(&second))).bearer(&token).go().await.good();
    assert_eq!(contact["id"], first["contact"]["id"]);
    let shown = world.get(&format!("{old}/messages")).bearer(&token).go().await.good();
    let copied: Vec<_> =
        shown["items"].as_array().unwrap().iter().map(|m| m["copied_from"]["id"].clone()).collect();
    assert_eq!(copied, [json!(null), second["id"].clone()]);
    assert_eq!(
        world.get("/v1/threads").bearer(&token).go().await.good()["items"].as_array().unwrap().len(),
        1
    );

    let merges = format!("/v1/contacts/{}/merges", of(&first));
    let listed = world.get(&merges).bearer(&token).go().await.good();
    assert_eq!(listed["items"], json!([merged.body]));
    let undo = format!("/v1/merges/{}/undo", merged.body["id"].as_str().unwrap());
    let undone = world.post(&undo).bearer(&token).json(&json!({})).go().await;
    assert_eq!((undone.status, undone.body["undone_by"]["type"].as_str()), (200, Some("agent")));
    let late = world.post(&undo).bearer(&token).go().await;
    assert_eq!((late.status, late.code()), (409, "conflict"));
    assert_eq!(world.get(&old).bearer(&token).go().await.good()["id"], second["id"]);
    for bad in [
        json!({}),
        json!({"contact": "con_1"}),
        json!({"contact": of(&first), "survivor": "con_01KAKB9Q8R0000000000000002"}),
    ] {
        assert_eq!(world.post(&path).bearer(&token).json(&bad).go().await.status, 422, "{bad}");
    }
    world.end().await;
}

#[actix_web::test]
async fn an_address_with_a_code_is_made_for_a_channel_that_has_one() {
    let world = World::begin().await;
    let token = world.key(Role::Bot).await;
    let thread = world.thread_of("31600000001", "first").await;
    let path = format!("/v1/contacts/{}/link-requests", thread["contact"]["id"].as_str().unwrap());
    let made =
        world.post(&path).bearer(&token).json(&json!({"channel": "whatsapp", "language": "en"})).go().await;
    assert_eq!(made.status, 201);
    let address = made.body["address"].as_str().unwrap();
    assert!(address.starts_with("https://wa.me/31600000000?text=Hello"), "{address}");
    assert!(address.ends_with(made.body["code"].as_str().unwrap()));
    let none = world.post(&path).bearer(&token).json(&json!({"channel": "webchat"})).go().await;
    assert_eq!((none.status, none.body["field"].as_str()), (422, Some("channel")));
    world.end().await;
}

//! What is wrong is refused with a problem that says what to do (`security` §11, Z3).

use loket_agent_api::AgentApi;
use loket_protocol::agent::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;

const JSON: (&str, &str) = ("content-type", "application/json");

#[actix_web::test]
async fn bad_bodies_are_named_and_harm_nothing() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/messages", thread["id"].as_str().unwrap());
    let nested = format!("{{\"content\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&[u8], u16, &str, Option<&str>)> = vec![
        (b"{", 400, "body_malformed", None),
        (b"\xff", 400, "body_malformed", None),
        (br#"{"content":{"type":"text","text":"\ud800"}}"#, 400, "body_malformed", None),
        (nested.as_bytes(), 400, "body_malformed", None),
        (b"[]", 422, "invalid", None),
        (b"\"text\"", 422, "invalid", None),
        (b"{}", 422, "invalid", None),
        (br#"{"content":"hello"}"#, 422, "invalid", Some("content")),
        (br#"{"content":{"type":"text","text":7}}"#, 422, "invalid", Some("content.text")),
        (br#"{"content":{"type":"text","text":"a","colour":"red"}}"#, 422, "invalid", Some("content.colour")),
        (br#"{"content":{"type":"text","text":"a"},"thread_id":"x"}"#, 422, "invalid", Some("thread_id")),
        (br#"{"content":{"type":"text","text":"a\u0000b"}}"#, 422, "invalid", Some("content.text")),
        (br#"{"content":{"type":"text","text":"a"},"to":"everybody"}"#, 422, "invalid", Some("to")),
        (br#"{"content":{"type":"text","text":"a"},"reply_to":"con_1"}"#, 422, "invalid", Some("reply_to")),
        (br#"{"content":{"type":"text","text":"a"},"attachments":{}}"#, 422, "invalid", Some("attachments")),
    ];
    for (body, status, code, field) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = world
            .post(&path)
            .bearer(&token)
            .header(JSON.0, JSON.1)
            .header("idempotency-key", "k")
            .bytes(body)
            .go()
            .await;
        assert_eq!((answer.status, answer.code()), (status, code), "{shown}: {}", answer.body);
        assert_eq!(answer.body["field"].as_str(), field, "{shown}: {}", answer.body);
        assert!(!answer.body["detail"].as_str().unwrap().is_empty());
    }
    let page = world.get(&path).bearer(&token).go().await.good();
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "nothing of it was stored");
    world.end().await;
}

#[actix_web::test]
async fn large_bodies_and_other_types_are_refused_with_an_answer() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}/notes", thread["id"].as_str().unwrap());
    for size in [1024 * 1024 + 1, 5 * 1024 * 1024] {
        let body = json!({"text": "x".repeat(size)}).to_string();
        let answer = world.post(&path).bearer(&token).header(JSON.0, JSON.1).bytes(body).go().await;
        assert_eq!((answer.status, answer.code()), (413, "body_too_large"));
    }
    // A stranger's large body is not read into memory either.
    let answer = world.post(&path).header(JSON.0, JSON.1).bytes(vec![b'x'; 5 * 1024 * 1024]).go().await;
    assert_eq!(answer.status, 401);
    let answer = world.post("/v1/sessions").header(JSON.0, JSON.1).bytes(vec![b'x'; 5_000]).go().await;
    assert_eq!(answer.status, 413);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ] {
        let answer =
            world.post(&path).bearer(&token).header(JSON.0, kind).bytes(r#"{"text":"a"}"#).go().await;
        assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type"), "{kind}");
    }
    let answer = world.post(&path).bearer(&token).bytes(r#"{"text":"a"}"#).go().await;
    assert_eq!(answer.status, 415, "a body without a type");
    world.end().await;
}

#[actix_web::test]
async fn unknown_places_methods_and_parameters_are_told_apart() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    for path in [
        "/v1/nothing",
        "/v1",
        "/v1/threads/",
        "/v2/threads",
        "/admin",
        "/.env",
        "/v1/threads/%00",
        "/V1/threads",
    ] {
        let answer = world.get(path).bearer(&token).go().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    for id in ["1", "thr_", "thr_01M7YQ1WE08E6Q4V9T3B5N7K1", "con_01M7YQ1WE08E6Q4V9T3B5N7K1Z", "x'--", "null"]
    {
        let answer = world.get(&format!("/v1/threads/{id}")).bearer(&token).go().await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{id}");
    }
    for query in [
        "?x=1",
        "?limit=0",
        "?limit=201",
        "?limit=ten",
        "?limit=1&limit=2",
        "?status=closed",
        "?cursor=",
        "?cursor=%00",
        "?unread=1",
    ] {
        let answer = world.get(&format!("/v1/threads{query}")).bearer(&token).go().await;
        assert_eq!((answer.status, answer.code()), (400, "query_invalid"), "{query}");
        assert!(answer.body["field"].is_string(), "{query}");
    }
    let answer = world.get("/v1/me?verbose=1").bearer(&token).go().await;
    assert_eq!(answer.status, 400, "a path that takes no parameters");
    let answer = world.get(&format!("/v1/threads?cursor={}", "x".repeat(9_000))).bearer(&token).go().await;
    assert_eq!((answer.status, answer.code()), (414, "uri_too_long"));
    world.end().await;
}

#[actix_web::test]
async fn a_method_that_a_path_does_not_have_lists_those_it_has() {
    let world = World::begin().await;
    let doors = AgentApi::doors();
    for door in &doors {
        let path = door.path.replace("{id}", "x").replace("{file:.*}", "index.html");
        let own: Vec<_> =
            doors.iter().filter(|other| other.path == door.path).map(|other| other.method.as_str()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if own.contains(&method) {
                continue;
            }
            let answer = world.request(method.parse::<Method>().unwrap(), &path).go().await;
            assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"), "{method} {path}");
            assert_eq!(answer.header("allow"), own.join(", "), "{method} {path}");
        }
    }
    world.end().await;
}

#[actix_web::test]
async fn a_token_in_an_address_is_refused_wherever_it_stands() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    for path in [
        format!("/v1/me?token={token}"),
        format!("/v1/me?access_token={token}"),
        format!("/v1/threads?cursor={token}"),
        format!("/v1/stream?after={token}"),
        format!("/nowhere?x={token}"),
        format!("/health/live?api_key={token}"),
    ] {
        for with_header in [false, true] {
            let asking = world.get(&path);
            let asking = if with_header { asking.bearer(&token) } else { asking };
            let answer = asking.go().await;
            assert_eq!((answer.status, answer.code()), (401, "token_in_url"));
            assert!(!answer.body.to_string().contains(&token), "it must not come back");
        }
    }
    world.end().await;
}

#[actix_web::test]
async fn headers_of_a_wrong_form_are_named() {
    let world = World::begin().await;
    let token = world.key(Role::Admin).await;
    let thread = world.thread_of("31600000001", "hello").await;
    let path = format!("/v1/threads/{}", thread["id"].as_str().unwrap());
    let long = "k".repeat(256);
    for key in ["", "a b", "\"open", long.as_str(), "caf\u{e9}"] {
        let answer = world
            .post(&format!("{path}/notes"))
            .bearer(&token)
            .header("idempotency-key", key)
            .json(&json!({"text": "a"}))
            .go()
            .await;
        assert_eq!((answer.status, answer.code()), (400, "header_invalid"), "{key}");
        assert_eq!(answer.body["field"], "Idempotency-Key");
    }
    for etag in ["3", "W/\"3\"", "\"x\""] {
        let answer =
            world.post(&format!("{path}/resolve")).bearer(&token).header("if-match", etag).go().await;
        assert_eq!((answer.status, answer.code()), (400, "header_invalid"), "{etag}");
    }
    world.end().await;
}

/// `security` Z3: every field name of any answer is refused by every write that does not have it.
#[actix_web::test]
async fn no_write_takes_a_field_that_only_answers_have() {
    let world = World::begin().await;
    let token = world.person(Role::Admin).await;
    let mut names = std::collections::BTreeSet::new();
    let document: Value = serde_json::from_str(&AgentApi::openapi()).unwrap();
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        names.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    }
    assert!(names.len() > 60);
    let mut tried = 0;
    for (path, method, operation) in world.document().operations() {
        let body = &operation["requestBody"]["content"]["application/json"];
        let Some(reference) = body["schema"]["$ref"].as_str() else { continue };
        // These have limits of their own in front of the body.
        if ["/v1/sessions", "/v1/me/password"].contains(&path) {
            continue;
        }
        let own = &document["components"]["schemas"][reference.rsplit('/').next().unwrap()]["properties"];
        let id = match path {
            _ if path.starts_with("/v1/parked") => "prk_01M7YQ1WE08E6Q4V9T3B5N7K1Z",
            _ if path.starts_with("/v1/contacts") => "con_01M7YQ1WE08E6Q4V9T3B5N7K1Z",
            _ if path.starts_with("/v1/merges") => "mrg_01M7YQ1WE08E6Q4V9T3B5N7K1Z",
            _ => "thr_01M7YQ1WE08E6Q4V9T3B5N7K1Z",
        };
        for name in names.iter().filter(|name| own.get(name.as_str()).is_none()) {
            let mut with = body["example"].clone();
            with[name] = json!(null);
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let answer =
                world.request(method, &path.replace("{id}", id)).bearer(&token).json(&with).go().await;
            assert_eq!(
                (answer.status, answer.code()),
                (422, "invalid"),
                "{path} with {name}: {}",
                answer.body
            );
            assert_eq!(answer.body["field"].as_str(), Some(name.as_str()), "{path} with {name}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
    world.end().await;
}

//! The doors over HTTP.

use super::*;

#[tokio::test]
async fn a_visitor_comes_back_by_their_token() {
    let world = World::new().await;
    let first = world.post("/visits", None, json!({"site": "shop"})).await;
    assert_eq!(first.status, 200);
    let token = first.body["visitor_token"].as_str().unwrap();
    assert!(token.starts_with("lov_shop.") && token.len() == "lov_shop.".len() + 64);
    assert_eq!(first.body["messages"], json!([]));
    assert_eq!(first.body["more"], false);
    assert_eq!(first.body["socket"], "/webchat/v1/socket?site=shop");
    let again = world.post("/visits", Some(token), json!({"site": "shop"})).await;
    assert_eq!(again.body["visitor_id"], first.body["visitor_id"]);
    assert_eq!(again.body["visitor_token"], Value::Null, "a token is shown once");
    let stranger = world.post("/visits", None, json!({"site": "shop"})).await;
    assert_ne!(stranger.body["visitor_id"], first.body["visitor_id"]);
    let kept = world.hub.lock().unwrap();
    assert!(kept.visitors.keys().all(|(_, hash)| hash.len() == 64 && !token.contains(hash.as_str())));
}

#[tokio::test]
async fn a_nearly_full_disk_takes_nobody_and_nothing_new_and_is_read_from() {
    let (free, disks) = disk();
    let world = World::with_disks(disks.clone()).await;
    let visitor = world.visitor().await;
    world.agent_writes(visitor.id, "hello");
    free.store(0, Ordering::SeqCst);
    disks.look();
    let stranger = world.post("/visits", None, json!({"site": "shop"})).await;
    assert_eq!(stranger.refusal(), (503, "disk_full"));
    let said = json!({"client_message_id": "0b9c1c4e-7e55-4c5a-9d6a-3b1f0a4a6c01", "text": "hi"});
    let refused = world.post("/messages", Some(&visitor.token), said.clone()).await;
    assert_eq!(refused.refusal(), (503, "disk_full"));
    assert_eq!(refused.headers.get("retry-after").unwrap(), "30");
    let known = world.post("/visits", Some(&visitor.token), json!({"site": "shop"})).await;
    assert_eq!(known.body["messages"][0]["text"], "hello");
    free.store(u64::MAX, Ordering::SeqCst);
    disks.look();
    assert_eq!(world.post("/messages", Some(&visitor.token), said).await.status, 202);
}

#[tokio::test]
async fn a_token_counts_at_its_own_site_only() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let request = http().post(world.url("/visits")).header("Origin", OTHER).bearer_auth(&visitor.token);
    let elsewhere = Answer::of(request.json(&json!({"site": "other"}))).await;
    assert_eq!(elsewhere.status, 200);
    assert_ne!(elsewhere.body["visitor_id"], visitor.id.to_string());
    assert!(elsewhere.body["visitor_token"].as_str().unwrap().starts_with("lov_other."));
    // The same secret under the other site's name is nobody's.
    let renamed = visitor.token.replace("lov_shop.", "lov_other.");
    let request = http().get(world.url("/messages")).header("Origin", OTHER).bearer_auth(renamed);
    assert_eq!(Answer::of(request).await.refusal(), (401, "webchat.visitor_token"));
}

#[tokio::test]
async fn only_pages_of_the_site_are_served() {
    let world = World::new().await;
    let visit = |origin: Option<&'static str>| {
        let request = http().post(world.url("/visits")).json(&json!({"site": "shop"}));
        Answer::of(match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        })
    };
    let listed = visit(Some(SHOP)).await;
    assert_eq!((listed.status, listed.allowed_origin()), (200, Some(SHOP)));
    assert!(!listed.headers.contains_key("access-control-allow-credentials"));
    assert!(listed.headers.get_all("vary").iter().any(|value| value == "Origin"));
    for origin in [
        "null",
        "http://shop.example.org",
        "https://shop.example.org:8443",
        "https://shop.example.org.evil.test",
        "https://evilshop.example.org",
        "https://evil.test",
    ] {
        let refused = visit(Some(origin)).await;
        assert_eq!(refused.refusal(), (403, "webchat.origin"), "{origin}");
        assert_eq!(refused.allowed_origin(), None, "{origin} is not reflected");
    }
    // Another site's page may read that it is refused, and no more.
    assert_eq!(visit(Some(OTHER)).await.refusal(), (403, "webchat.origin"));
    let program = visit(None).await;
    assert_eq!((program.status, program.allowed_origin()), (200, None));
}

#[tokio::test]
async fn a_preflight_allows_listed_origins_and_nothing_else() {
    let world = World::new().await;
    let preflight = |origin: &'static str| {
        let request = http().request(Method::OPTIONS, world.url("/messages")).header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        Answer::of(request.header("Access-Control-Request-Headers", "authorization,content-type"))
    };
    for origin in [SHOP, OTHER] {
        let allowed = preflight(origin).await;
        assert_eq!((allowed.status, allowed.allowed_origin()), (204, Some(origin)));
        assert_eq!(allowed.headers.get("access-control-allow-methods").unwrap(), "GET, POST");
        let headers = allowed.headers.get("access-control-allow-headers").unwrap();
        assert_eq!(headers, "authorization, content-type");
    }
    for origin in ["null", "https://evil.test", "https://other.example.org", "https://a.b.other.example.org"]
    {
        let refused = preflight(origin).await;
        assert_eq!((refused.status, refused.allowed_origin()), (403, None), "{origin}");
    }
}

#[tokio::test]
async fn a_message_is_acknowledged_once_safe_and_a_repeat_is_no_second_one() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let said = json!({"client_message_id": uuid(1), "text": "Is het pakket al weg? 📦"});
    for _ in 0..3 {
        let answer = world.post("/messages", Some(&visitor.token), said.clone()).await;
        assert_eq!((answer.status, &answer.body["client_message_id"]), (202, &said["client_message_id"]));
    }
    let other = json!({"client_message_id": uuid(2), "text": "Hallo?"});
    assert_eq!(world.post("/messages", Some(&visitor.token), other).await.status, 202);
    let events = world.ingested(2).await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.channel.to_string() == "webchat:shop"));
    let page = world.get("/messages?after_seq=0", Some(&visitor.token)).await;
    let messages = page.body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["text"], said["text"]);
    assert_eq!(messages[0]["from"], "visitor");
    assert_eq!(messages[0]["client_message_id"], said["client_message_id"]);
    let later = world.get(&format!("/messages?after_seq={}", messages[0]["seq"]), Some(&visitor.token)).await;
    assert_eq!(later.body["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn words_that_cannot_be_taken_are_refused_and_not_stored() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let token = Some(visitor.token.as_str());
    let id = uuid(1);
    let cases = [
        (json!({"client_message_id": "1", "text": "x"}), (422, "message.client_message_id")),
        (json!({"client_message_id": id, "text": "  \n"}), (422, "message.empty")),
        (json!({"client_message_id": id, "text": "x".repeat(10_001)}), (422, "message.too_long")),
        (json!({"client_message_id": id}), (400, "request.malformed")),
        (json!({"client_message_id": id, "text": 7}), (400, "request.malformed")),
        (json!({"client_message_id": id, "text": "x", "thread_id": "thr_1"}), (400, "request.malformed")),
        (json!([]), (400, "request.malformed")),
        (json!({"client_message_id": id, "text": "x".repeat(70_000)}), (413, "request.too_large")),
    ];
    for (body, refusal) in cases {
        let shown = body.to_string().chars().take(80).collect::<String>();
        assert_eq!(world.post("/messages", token, body).await.refusal(), refusal, "{shown}");
    }
    let raw = |kind: &'static str, body: String| {
        let request = world.request(Method::POST, "/messages", token).header("Content-Type", kind);
        Answer::of(request.body(body))
    };
    let good = json!({"client_message_id": id, "text": "x"}).to_string();
    let doubled = format!(r#"{{"client_message_id":"{id}","text":"x","text":"y"}}"#);
    let surrogate = format!(r#"{{"client_message_id":"{id}","text":"\ud800"}}"#);
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    for body in [String::new(), "{".to_owned(), doubled, surrogate, deep] {
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!(raw("application/json", body).await.refusal(), (400, "request.malformed"), "{shown}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        assert_eq!(raw(kind, good.clone()).await.refusal(), (400, "request.malformed"), "{kind}");
    }
    assert_eq!(raw("application/json; charset=utf-8", good).await.status, 202);
    assert_eq!(world.ingested(1).await.len(), 1);
    for query in
        ["?after_seq=x", "?after_seq=1.5", "?after_seq=1&visitor=vis_1", "?after_seq=99999999999999999999"]
    {
        let answer = world.get(&format!("/messages{query}"), token).await;
        assert_eq!(answer.refusal(), (400, "request.malformed"), "{query}");
    }
}

#[tokio::test]
async fn a_null_character_is_replaced() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let said = json!({"client_message_id": uuid(1), "text": "a\u{0}b"});
    assert_eq!(world.post("/messages", Some(&visitor.token), said).await.status, 202);
    world.ingested(1).await;
    let page = world.get("/messages", Some(&visitor.token)).await;
    assert_eq!(page.body["messages"][0]["text"], "a\u{FFFD}b");
}

#[tokio::test]
async fn without_a_good_token_nothing_opens() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let unknown = format!("lov_shop.{}", "0".repeat(64));
    let gone = format!("lov_gone.{}", "0".repeat(64));
    let cut = visitor.token[..visitor.token.len() - 1].to_owned();
    let id = visitor.id.to_string();
    let said = json!({"client_message_id": uuid(1), "text": "x"});
    for token in
        [None, Some(""), Some("null"), Some(&unknown), Some(&gone), Some(&cut), Some(&id), Some("los_x")]
    {
        let tries = [
            world.post("/messages", token, said.clone()).await,
            world.get("/messages", token).await,
            world.post("/tickets", token, json!({})).await,
        ];
        for answer in tries {
            assert_eq!(answer.refusal(), (401, "webchat.visitor_token"), "{token:?}");
        }
    }
    let in_query = world.get(&format!("/messages?token={}", visitor.token), None).await;
    assert!(in_query.status == 400 || in_query.status == 401, "{in_query:?}");
}

#[tokio::test]
async fn nobody_reads_anothers_talk_and_nothing_of_ours_alone_is_shown() {
    let world = World::new().await;
    let (anna, ben) = (world.visitor().await, world.visitor().await);
    let said = json!({"client_message_id": uuid(1), "text": "from anna"});
    world.post("/messages", Some(&anna.token), said).await;
    world.ingested(1).await;
    world.agent_writes(anna.id, "to anna");
    append(&mut world.hub.lock().unwrap(), anna.id, world.ground.clock.id(), |message| {
        message.direction = Direction::Note;
        message.author.kind = AuthorType::Agent;
        message.content = Content::text("difficult customer");
    });
    assert_eq!(world.get("/messages", Some(&ben.token)).await.body["messages"], json!([]));
    let page = world.get("/messages", Some(&anna.token)).await.body;
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{page}");
    assert_eq!((&messages[1]["from"], &messages[1]["name"]), (&json!("agent"), &json!("Noor")));
    let text = page.to_string();
    for secret in ["difficult", "agt_", "con_", "idn_", "thr_", "status_detail", "external_id"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

#[tokio::test]
async fn who_is_too_fast_waits_a_minute() {
    let rates = json!({"visitors_per_address": 3, "messages_per_visitor": 2});
    let world = World::with(rates).await;
    let visitor = world.visitor().await;
    let visits = (0..20).map(|_| world.post("/visits", None, json!({"site": "shop"})));
    let answers = futures_util::future::join_all(visits).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!(refused.refusal(), (429, "rate_limited"));
    assert_eq!(refused.headers.get("retry-after").unwrap(), "60");
    let back = world.post("/visits", Some(&visitor.token), json!({"site": "shop"})).await;
    assert_eq!(back.status, 200, "coming back is not new");
    // A made-up token does not get round it.
    let made_up = format!("lov_shop.{}", "7".repeat(64));
    assert_eq!(world.post("/visits", Some(&made_up), json!({"site": "shop"})).await.status, 429);
    let say = async |number| {
        let said = json!({"client_message_id": uuid(number), "text": "x"});
        world.post("/messages", Some(&visitor.token), said).await.status
    };
    assert_eq!([say(1).await, say(2).await, say(3).await], [202, 202, 429]);
    world.ground.clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(say(3).await, 202);
    assert_eq!(world.post("/visits", None, json!({"site": "shop"})).await.status, 200);
}

#[tokio::test]
async fn what_is_away_is_said_and_nothing_is_pretended() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    world.hub.lock().unwrap().silent = true;
    let said = json!({"client_message_id": uuid(1), "text": "x"});
    for answer in [
        world.post("/visits", None, json!({"site": "shop"})).await,
        world.get("/messages", Some(&visitor.token)).await,
        world.post("/messages", Some(&visitor.token), said).await,
    ] {
        assert_eq!(answer.refusal(), (503, "unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(world.hub.lock().unwrap().events.is_empty());
}

#[tokio::test]
async fn unknown_sites_paths_and_methods_are_problems() {
    let world = World::new().await;
    for site in ["", "shop2", "../shop", "SHOP", "a\nb"] {
        let answer = world.post("/visits", None, json!({"site": site})).await;
        assert_eq!(answer.refusal(), (404, "webchat.unknown_site"), "{site:?}");
    }
    assert_eq!(world.get("/nothing", None).await.refusal(), (404, "request.unknown_path"));
    assert_eq!(world.get("", None).await.refusal(), (404, "request.unknown_path"));
    let method = world.get("/visits", None).await;
    assert_eq!(method.refusal(), (405, "request.method"));
    assert_eq!(method.headers.get("allow").unwrap(), "POST");
    let no_socket = world.get("/socket?site=shop", None).await;
    assert_eq!(no_socket.refusal(), (400, "request.malformed"));
}

#[tokio::test]
async fn a_visitor_gets_an_address_and_its_picture_to_go_on_elsewhere() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let ask = |body: Value| world.post("/links", Some(&visitor.token), body);
    let made = ask(json!({"channel": "whatsapp", "language": "nl"})).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["address"], "https://wa.me/31201234567?text=Hallo");
    assert!(made.body["qr_svg"].as_str().unwrap().contains("<svg"), "{}", made.body);
    assert_eq!(ask(json!({"channel": "telegram"})).await.refusal(), (422, "link.none"));
    assert_eq!(ask(json!({"channel": "whatsapp", "to": "me"})).await.status, 400);
    let nobody = world.post("/links", None, json!({"channel": "whatsapp"})).await;
    assert_eq!(nobody.refusal(), (401, "webchat.visitor_token"));
}

#[tokio::test]
async fn what_a_visitor_says_of_themselves_is_taken_or_refused_by_its_field() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let say = |body: Value| world.post("/claims", Some(&visitor.token), body);
    assert_eq!(say(json!({"name": "Anna", "email": "anna@shop.example"})).await.status, 204);
    assert_eq!(say(json!({"email": "anna"})).await.refusal(), (422, "claim.email"));
    assert_eq!(say(json!({"contact_id": "con_1"})).await.status, 400);
    assert_eq!(world.post("/claims", None, json!({})).await.status, 401);
}

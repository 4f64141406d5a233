//! The inbox's session in its cookie (`security` P7, B3, K4, WS1), and the inbox's own files.

use loket_agent_api::{Access, AgentApi};
use loket_protocol::agent::Role;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Asking, World};
use crate::sockets::Socket;

/// A browser in which somebody is logged in.
struct Browser {
    cookie: String,
    csrf: String,
    origin: String,
}

impl Browser {
    async fn log_in(world: &World, login: &str, password: &str, before: Option<&Self>) -> Self {
        let body = json!({"login": login, "password": password, "cookie": true});
        let mut asking = world.post("/v1/sessions").header("origin", &world.base).json(&body);
        if let Some(before) = before {
            asking = asking.header("cookie", &before.cookie);
        }
        let answer = asking.go().await;
        let line = answer.header("set-cookie").to_owned();
        let (cookie, attributes) = line.split_once("; ").unwrap();
        let mut attributes: Vec<_> = attributes.split("; ").collect();
        attributes.sort_unstable();
        let age: i64 = attributes.remove(1).strip_prefix("Max-Age=").unwrap().parse().unwrap();
        assert!((604_000..=604_800).contains(&age), "as long as the session at the latest: {age}");
        assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
        assert!(cookie.starts_with("__Host-loket=los_"));
        let body = answer.good();
        assert_eq!(body["token"], json!(null), "a script never holds it");
        let csrf = body["csrf_token"].as_str().unwrap().to_owned();
        Self { cookie: cookie.to_owned(), csrf, origin: world.base.clone() }
    }

    async fn of(world: &World, role: Role) -> Self {
        let login = format!("p{}", loket_backbone::random::hex::<6>());
        let password = world.employ(&login, role).await;
        Self::log_in(world, &login, &password, None).await
    }

    /// As our own page asks.
    fn asks<'a>(&self, asking: Asking<'a>) -> Asking<'a> {
        self.bare(asking).header("origin", &self.origin).header("x-csrf-token", &self.csrf)
    }

    /// With nothing but what a browser adds to any page's request.
    fn bare<'a>(&self, asking: Asking<'a>) -> Asking<'a> {
        asking.header("cookie", &self.cookie)
    }
}

#[actix_web::test]
async fn a_session_in_the_cookie_does_what_a_session_does() {
    let world = World::begin().await;
    let browser = Browser::of(&world, Role::Agent).await;
    let me = browser.bare(world.get("/v1/me")).go().await.good();
    assert_eq!(me["csrf_token"], browser.csrf, "a page that was loaded again reads it here");
    let online = json!({"presence": "online"});
    let set = browser.asks(world.put("/v1/me/presence")).json(&online).go().await;
    assert_eq!(set.status, 200);
    let out = browser.asks(world.delete("/v1/sessions")).go().await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").starts_with("__Host-loket=; "), "{}", out.header("set-cookie"));
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(out.header("clear-site-data"), "\"cache\", \"storage\"");
    assert_eq!(browser.bare(world.get("/v1/me")).go().await.code(), "unauthenticated");
    // With a bearer token nothing of the browser's is touched, and nothing is told that it needs.
    let token = world.person(Role::Agent).await;
    assert!(world.get("/v1/me").bearer(&token).go().await.good().get("csrf_token").is_none());
    assert_eq!(world.delete("/v1/sessions").bearer(&token).go().await.header("set-cookie"), "");
    world.end().await;
}

#[actix_web::test]
async fn logging_in_again_ends_the_session_of_that_browser() {
    let world = World::begin().await;
    let password = world.employ("anna", Role::Agent).await;
    let first = Browser::log_in(&world, "anna", &password, None).await;
    let second = Browser::log_in(&world, "anna", &password, Some(&first)).await;
    assert_eq!(first.bare(world.get("/v1/me")).go().await.status, 401);
    assert_eq!(second.bare(world.get("/v1/me")).go().await.status, 200);
    world.end().await;
}

async fn knock(
    world: &World,
    browser: &Browser,
    door: &loket_agent_api::DoorInfo,
    headers: &[(&str, &str)],
) -> Answer {
    let path = crate::access::address(world, door);
    let mut asking = world.request(door.method.parse::<Method>().unwrap(), &path);
    if let Some(example) = world.document().example(&door.method, &path) {
        asking = asking.json(&example).header("idempotency-key", "k-1");
    }
    headers.iter().fold(browser.bare(asking), |asking, (name, value)| asking.header(name, value)).go().await
}

#[actix_web::test]
async fn every_write_of_a_foreign_page_is_refused() {
    let world = World::begin().await;
    let browser = Browser::of(&world, Role::Admin).await;
    let (origin, csrf) = (world.base.as_str(), browser.csrf.as_str());
    let mut writes = 0;
    for door in AgentApi::doors() {
        if door.method == "GET" || door.access == Access::Public {
            continue;
        }
        let place = format!("{} {}", door.method, door.path);
        let forged: &[&[(&str, &str)]] = &[
            &[],
            &[("x-csrf-token", csrf)],
            &[("origin", origin)],
            &[("origin", "https://evil.test"), ("x-csrf-token", csrf)],
            &[("origin", "null"), ("x-csrf-token", csrf)],
            &[("origin", origin), ("x-csrf-token", "0000")],
            &[("origin", origin), ("sec-fetch-site", "cross-site"), ("x-csrf-token", csrf)],
            &[("sec-fetch-site", "same-site"), ("x-csrf-token", csrf)],
        ];
        for headers in forged {
            let answer = knock(&world, &browser, &door, headers).await;
            assert_eq!((answer.status, answer.code()), (403, "forged"), "{place} {headers:?}");
        }
        writes += 1;
    }
    assert!(writes > 15, "{writes}");
    // The login itself: a foreign page must not log somebody in as somebody else.
    let password = world.employ("bram", Role::Agent).await;
    let body = json!({"login": "bram", "password": password, "cookie": true});
    for foreign in [&[][..], &[("origin", "https://evil.test")], &[("sec-fetch-site", "cross-site")]] {
        let asking = world.post("/v1/sessions").json(&body);
        let answer =
            foreign.iter().fold(asking, |asking, (name, value)| asking.header(name, value)).go().await;
        assert_eq!((answer.status, answer.code()), (403, "forged"), "{foreign:?}");
        assert_eq!(answer.header("set-cookie"), "");
    }
    world.end().await;
}

#[actix_web::test]
async fn a_form_cannot_write() {
    let world = World::begin().await;
    let browser = Browser::of(&world, Role::Agent).await;
    let form = browser
        .asks(world.post("/v1/threads/thr_00000000000000000000000000/notes"))
        .header("content-type", "application/x-www-form-urlencoded")
        .bytes("text=x")
        .go()
        .await;
    assert_eq!((form.status, form.code()), (415, "unsupported_media_type"));
    world.end().await;
}

#[actix_web::test]
async fn two_credentials_at_once_are_refused() {
    let world = World::begin().await;
    let browser = Browser::of(&world, Role::Agent).await;
    let token = world.person(Role::Agent).await;
    let both = browser.bare(world.get("/v1/me")).bearer(&token).go().await;
    assert_eq!((both.status, both.code()), (400, "two_credentials"));
    let rubbish = browser.bare(world.get("/v1/me")).header("authorization", "Basic eDp5").go().await;
    assert_eq!(rubbish.code(), "two_credentials");
    let twice = world.get("/v1/me").header("cookie", &format!("{0}; {0}", browser.cookie)).go().await;
    assert_eq!(twice.status, 401);
    // A key is nothing for a cookie.
    let key = world.key(Role::Admin).await;
    let stuffed = world.get("/v1/me").header("cookie", &format!("__Host-loket={key}")).go().await;
    assert_eq!(stuffed.status, 401);
    world.end().await;
}

#[actix_web::test]
async fn a_socket_with_the_cookie_needs_our_own_origin() {
    let world = World::begin().await;
    let browser = Browser::of(&world, Role::Agent).await;
    let host = world.base.strip_prefix("http://").unwrap();
    let other_port = format!("http://127.0.0.1:{}", 1);
    let foreign = [
        None,
        Some("null".to_owned()),
        Some(format!("https://x.{host}")),
        Some(format!("http://{host}.evil.test")),
        Some(format!("http://{host}/")),
        Some("https://evil.test".to_owned()),
        Some(other_port),
    ];
    for origin in foreign {
        let refused = Socket::with_cookie(&world, &browser.cookie, origin.as_deref()).await;
        assert_eq!(refused.err(), Some(403), "{origin:?}");
    }
    for origin in [browser.origin.as_str(), "https://inbox.example"] {
        let mut socket = Socket::with_cookie(&world, &browser.cookie, Some(origin)).await.unwrap();
        assert_eq!(socket.next(&world).await["type"], "hello");
    }
    // It closes with the session.
    let mut socket = Socket::with_cookie(&world, &browser.cookie, Some(&browser.origin)).await.unwrap();
    assert_eq!(browser.asks(world.delete("/v1/sessions")).go().await.status, 204);
    assert_eq!(socket.until_closed().await.0, 4401);
    world.end().await;
}

#[actix_web::test]
async fn the_printed_address_leads_to_the_inbox() {
    let world = World::begin().await;
    for path in ["/", "/inbox"] {
        let to = world.get(path).go().await;
        assert_eq!((to.status, to.header("location")), (303, "/inbox/"), "{path}");
    }
    // With or without the web parts: a page with a strict policy, and nothing by a foreign name.
    let page = world.get("/inbox/").go().await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && policy.contains("require-trusted-types-for 'script'"));
    let text = String::from_utf8(page.bytes).unwrap();
    assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains(" onload="), "{text}");
    for script in text.split("<script").skip(1) {
        assert!(script.contains("src=\"/inbox/"), "{script}");
    }
    for nothing in
        ["nothing.js", "../Cargo.toml", "%2e%2e/%2e%2e/Cargo.toml", "index.html.gz", "x/index.html"]
    {
        assert_eq!(world.get(&format!("/inbox/{nothing}")).go().await.status, 404, "{nothing}");
    }
    world.end().await;
}

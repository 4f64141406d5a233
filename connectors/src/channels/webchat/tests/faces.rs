//! The widget's files, and who may frame the panel. They are built or not built here; what stands
//! around them is the same.

use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use reqwest::Response;

use super::*;

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = http().get(format!("http://{}{path}", world.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_script_is_public_small_on_the_wire_and_its_sites_own() {
    let world = World::new().await;
    let plain = get(&world, "/widget.js?site=shop", &[]).await;
    assert_eq!(plain.status(), 200);
    assert_eq!(header(&plain, "content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header(&plain, "cross-origin-resource-policy"), "cross-origin");
    assert_eq!(header(&plain, "access-control-allow-origin"), "*");
    assert!(header(&plain, "cache-control").starts_with("public, max-age="), "{plain:?}");
    assert_eq!(header(&plain, "vary"), "Accept-Encoding");
    let etag = header(&plain, "etag").to_owned();
    let text = plain.text().await.unwrap();
    assert!(!text.contains(SHOP), "which pages may use it is not told");

    let packed = get(&world, "/widget.js?site=shop", &[("Accept-Encoding", "br, gzip")]).await;
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    let bytes = packed.bytes().await.unwrap();
    let mut unpacked = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut unpacked).unwrap();
    assert_eq!(unpacked, text);
    let known = get(&world, "/widget.js?site=shop", &[("If-None-Match", &etag)]).await;
    assert_eq!((known.status().as_u16(), known.text().await.unwrap().as_str()), (304, ""));

    for path in ["/widget.js?site=no", "/widget.js?site=Shop"] {
        let unknown = Answer::of(http().get(format!("http://{}{path}", world.address))).await;
        assert_eq!(unknown.refusal(), (404, "webchat.unknown_site"));
    }
    for path in ["/widget.js", "/widget.js?site=shop&x=1", "/webchat/test"] {
        let wrong = Answer::of(http().get(format!("http://{}{path}", world.address))).await;
        assert_eq!(wrong.refusal(), (400, "request.malformed"));
    }
    let method = Answer::of(http().post(format!("http://{}/widget.js?site=shop", world.address))).await;
    assert_eq!(method.refusal(), (405, "request.method"));
}

#[tokio::test]
async fn the_panel_is_for_the_frame_of_one_listed_origin() {
    let world = World::new().await;
    let own = format!("http://{}", world.address);
    for (site, origin) in [("shop", SHOP), ("other", OTHER), ("shop", own.as_str())] {
        let panel = get(&world, &format!("/webchat/panel?site={site}&origin={origin}"), &[]).await;
        assert_eq!(panel.status(), 200, "{site} {origin}");
        let policy = header(&panel, "content-security-policy");
        let ancestors = policy.split("; ").find_map(|part| part.strip_prefix("frame-ancestors ")).unwrap();
        assert_eq!(ancestors, origin);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(
            policy.contains("require-trusted-types-for 'script'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(header(&panel, "cache-control"), "no-store");
        let html = panel.text().await.unwrap();
        assert!(html.contains(&format!("data-origin=\"{origin}\"")), "{html}");
        assert!(!html.contains("<script>") && !html.contains("style=") && !html.contains("onload"), "{html}");
    }
    for (site, origin) in [
        ("shop", OTHER),
        ("other", SHOP),
        ("shop", "null"),
        ("shop", "https://shop.example.org.evil.test"),
        ("shop", "https://shop.example.org;script-src *"),
        ("other", "https://*.other.example.org"),
        ("shop", ""),
    ] {
        let refused = http().get(format!("{own}/webchat/panel")).query(&[("site", site), ("origin", origin)]);
        assert_eq!(Answer::of(refused).await.refusal(), (403, "webchat.origin"), "{site} {origin}");
    }
    for file in ["panel.js", "panel.css"] {
        let answer = get(&world, &format!("/webchat/{file}"), &[]).await;
        assert_eq!(answer.status(), 200);
        assert!(header(&answer, "cache-control").ends_with("immutable"));
    }
}

#[tokio::test]
async fn a_page_of_our_own_origin_may_use_the_doors_and_no_other_page_by_that_name() {
    let world = World::new().await;
    let visit = async |origin: &str| {
        let request =
            http().post(world.url("/visits")).header("Origin", origin).json(&json!({"site": "shop"}));
        Answer::of(request).await.status
    };
    assert_eq!(visit(&format!("http://{}", world.address)).await, 200);
    let port = world.address.port();
    for origin in
        [format!("http://localhost:{port}"), "http://127.0.0.1".to_owned(), "https://evil.test".to_owned()]
    {
        assert_eq!(visit(&origin).await, 403, "{origin}");
    }
}

#[tokio::test]
async fn the_page_for_trying_out_holds_the_script_and_nothing_else() {
    let world = World::new().await;
    let page = get(&world, "/webchat/test?site=shop", &[]).await;
    assert_eq!(page.status(), 200);
    let policy = header(&page, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text().await.unwrap().contains("<script async src=\"../widget.js?site=shop\">"));
    let unknown = Answer::of(http().get(format!("http://{}/webchat/test?site=no", world.address))).await;
    assert_eq!(unknown.refusal(), (404, "webchat.unknown_site"));
}

#[tokio::test]
async fn an_agent_is_told_the_page_from_which_a_visitor_writes() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let page = json!({"url": "https://shop.example.org/boots?secret=1", "title": "Boots"});
    let id = "0f8b4c1e-2c33-4f0e-9d43-6f3a1c5b7e21";
    let said = json!({"client_message_id": id, "text": "Do these fit?", "page": page});
    assert_eq!(world.post("/messages", Some(&visitor.token), said).await.status, 202);
    let events = world.ingested(1).await;
    let Fact::Message(message) = &events[0].fact else { panic!("not a message") };
    let referral = message.content.referral.as_ref().unwrap();
    assert_eq!(referral.kind.as_deref(), Some("page"));
    assert_eq!(referral.url.as_deref(), Some("https://shop.example.org/boots"));
    assert_eq!(referral.title.as_deref(), Some("Boots"));
    let bad =
        json!({"client_message_id": id, "text": "x", "page": {"url": "javascript:owned()", "title": ""}});
    assert_eq!(world.post("/messages", Some(&visitor.token), bad).await.refusal(), (422, "message.page"));
}

#[test]
fn the_widgets_source_makes_no_markup_out_of_text() {
    fn walk(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, look);
            } else {
                look(&path, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut files = 0;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/channels/webchat/widget/src");
    walk(&source, &mut |path, text| {
        files += 1;
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "srcdoc",
            "eval(",
            "new Function",
            "document.cookie",
            "createContextualFragment",
            "postMessage(message, \"*\"",
        ] {
            assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
        }
    });
    assert!(files > 20, "{files} files");
}

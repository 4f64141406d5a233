//! Over real TCP and onto a real bus.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact};
use loket_protocol::message::Content;
use loket_protocol::problem::{ParkReason, Problem, RawCallback, RawPiece};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::channels::{CHANNELS, Deps};
use crate::meta::GraphSettings;
use crate::testing::{Ground, Scripted, account, disk, eventually, http, serve, sign, whole};

fn folder(kind: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/channels").join(kind)
}

/// The real channels, with the accounts of their fixtures.
fn real_channels(clock: &Clock) -> Vec<(&'static str, Arc<dyn Channel>)> {
    let deps = Deps { clock: clock.clone(), graph: GraphSettings::default() };
    let channels = CHANNELS.iter().map(|(name, build)| {
        let settings = std::fs::read(folder(name).join("contract.json")).unwrap();
        let settings: Value = serde_json::from_slice(&settings).unwrap();
        (*name, build(settings["section"].clone(), &deps).unwrap().unwrap())
    });
    channels.collect()
}

fn open(ground: &Ground, channels: &[(&'static str, Arc<dyn Channel>)], limits: Limits) -> SocketAddr {
    open_on(ground, channels, Disks::none(), limits)
}

fn open_on(
    ground: &Ground,
    channels: &[(&'static str, Arc<dyn Channel>)],
    disks: Disks,
    limits: Limits,
) -> SocketAddr {
    let ingress = Ingress::new(channels, ground.wire.clone(), ground.clock.clone(), disks, limits);
    let ingress = Data::new(ingress);
    serve(move |service| configure(&ingress, service))
}

fn open_real(ground: &Ground) -> SocketAddr {
    open(ground, &real_channels(&ground.clock), Limits::default())
}

async fn post(address: SocketAddr, kind: &str, body: Vec<u8>, signature: &str) -> reqwest::Response {
    let request = http().post(format!("http://{address}/callbacks/{kind}")).body(body);
    let request = request.header("Content-Type", "application/json");
    request.header("X-Hub-Signature-256", signature).send().await.unwrap()
}

/// Status and code of an answer that must be a whole problem.
async fn problem(response: reqwest::Response) -> (u16, String) {
    let status = response.status().as_u16();
    for (header, value) in [
        ("content-type", "application/problem+json"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(response.headers().get(header).unwrap(), value, "{status}");
    }
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    (status, problem["code"].as_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn nothing_is_stored(ground: &Ground) {
    assert_eq!(ground.depth(&INBOUND).await, 0);
    assert_eq!(ground.depth(&PARKED).await, 0);
    assert_eq!(ground.depth(&CALLBACKS).await, 0);
}

#[tokio::test]
async fn every_fixture_is_taken_and_its_bytes_are_kept() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let (mut fixtures, mut items) = (0, 0);
    for kind in ["whatsapp", "messenger"] {
        for file in std::fs::read_dir(folder(kind).join("fixtures")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let body = std::fs::read(&path).unwrap();
            let response = post(address, kind, body.clone(), &sign(&body)).await;
            assert_eq!(response.status(), 200, "{}", path.display());
            assert_eq!(response.headers().get("x-content-type-options").unwrap(), "nosniff");
            assert_eq!(response.headers().get("content-type").unwrap(), "text/plain; charset=utf-8");
            assert_eq!(response.text().await.unwrap(), EVENT_RECEIVED);
            let raw: Vec<RawCallback> = ground.waiting(&CALLBACKS).await;
            let last = raw.last().unwrap();
            assert_eq!(last.raw.bytes().unwrap(), body, "{}", path.display());
            fixtures += 1;
            items += u64::from(last.items);
        }
    }
    assert_eq!(ground.depth(&CALLBACKS).await, fixtures);
    assert_eq!(ground.depth(&INBOUND).await + ground.depth(&PARKED).await, items);
    assert!(fixtures > 100 && items >= fixtures, "{fixtures} {items}");
}

#[tokio::test]
async fn a_nearly_full_disk_takes_nothing_until_there_is_room() {
    let ground = Ground::new().await;
    let (free, disks) = disk();
    let address = open_on(&ground, &real_channels(&ground.clock), disks.clone(), Limits::default());
    let body = std::fs::read(folder("whatsapp").join("fixtures/text.json")).unwrap();
    free.store(64 * 1024 * 1024 - 1, Ordering::SeqCst);
    disks.look();
    let response = post(address, "whatsapp", body.clone(), &sign(&body)).await;
    assert_eq!(response.headers().get("retry-after").unwrap(), "30");
    assert_eq!(problem(response).await, refused(503, "disk_full"));
    nothing_is_stored(&ground).await;
    let unsigned = post(address, "whatsapp", body.clone(), "sha256=00").await;
    assert_eq!(problem(unsigned).await, refused(401, "callback.signature"), "a stranger learns nothing");
    free.store(64 * 1024 * 1024, Ordering::SeqCst);
    disks.look();
    assert_eq!(post(address, "whatsapp", body.clone(), &sign(&body)).await.status(), 200);
    assert_eq!(ground.depth(&INBOUND).await, 1);
}

#[tokio::test]
async fn what_is_not_signed_is_refused_and_not_stored() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let body = std::fs::read(folder("whatsapp").join("fixtures/text.json")).unwrap();
    let good = sign(&body);
    let bad = [
        "sha256=".to_owned() + &"0".repeat(64),
        good[..good.len() - 1].to_owned(),
        good.to_uppercase(),
        format!("sha1={}", &good[7..47]),
        sign(b"another body"),
        String::new(),
    ];
    for signature in &bad {
        let answer = problem(post(address, "whatsapp", body.clone(), signature).await).await;
        assert_eq!(answer, refused(401, "callback.signature"), "{signature}");
    }
    let path = format!("http://{address}/callbacks/whatsapp");
    let unsigned = http().post(&path).body(body.clone()).send().await.unwrap();
    assert_eq!(problem(unsigned).await, refused(401, "callback.signature"));
    let twice = http().post(&path).body(body.clone()).header(SIGNATURE, &good).header(SIGNATURE, &good);
    assert_eq!(problem(twice.send().await.unwrap()).await, refused(401, "callback.signature"));
    let old = http().post(&path).body(body).header("X-Hub-Signature", &good);
    assert_eq!(problem(old.send().await.unwrap()).await, refused(401, "callback.signature"));
    nothing_is_stored(&ground).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_both_framings() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let body = vec![b' '; 5 * 1024 * 1024];
    let signature = sign(&body);
    let answer = problem(post(address, "whatsapp", body.clone(), &signature).await).await;
    assert_eq!(answer, refused(413, "request.too_large"));
    let chunks =
        body.chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let path = format!("http://{address}/callbacks/whatsapp");
    let chunked = http().post(path).body(streamed).header(SIGNATURE, signature).send().await.unwrap();
    assert_eq!(problem(chunked).await, refused(413, "request.too_large"));
    nothing_is_stored(&ground).await;
}

#[tokio::test]
async fn a_signed_body_of_just_under_the_limit_is_taken_whatever_is_in_it() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let text = std::fs::read_to_string(folder("whatsapp").join("fixtures/text.json")).unwrap();
    let padding = "x".repeat(BODY_BYTES_MAX - text.len() - 20);
    let body = text.replacen('{', &format!(r#"{{"padding":"{padding}","#), 1).into_bytes();
    assert!(body.len() <= BODY_BYTES_MAX && body.len() > BODY_BYTES_MAX - 100);
    assert_eq!(post(address, "whatsapp", body.clone(), &sign(&body)).await.status(), 200);
    let raw: Vec<RawPiece> = ground.waiting(&CALLBACKS).await.into_iter().map(|piece| piece.raw).collect();
    assert!(raw.len() > 1);
    assert_eq!(whole(&raw), body);
    assert_eq!(ground.depth(&INBOUND).await, 1);
}

#[tokio::test]
async fn signed_junk_is_400_or_parked_and_never_5xx() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let message = |text: &str| {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215000000000101","changes":[{{"field":"messages",
            "value":{{"messaging_product":"whatsapp","metadata":{{"phone_number_id":"305000000000201"}},
            "messages":[{{"from":"31600000042","id":"wamid.1","timestamp":"1795253400","type":"text","text":{{"body":{text}}}}},
            17,{{"id":"wamid.2"}}]}}}}]}}]}}"#
        )
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(Vec<u8>, Option<&str>); 10] = [
        (b"".to_vec(), Some("callback.not_json")),
        (b"{\"object\":".to_vec(), Some("callback.not_json")),
        (b"\xff\xfe{}".to_vec(), Some("callback.not_json")),
        (vec![0x1f, 0x8b, 8, 0, 0], Some("callback.not_json")),
        (b"null".to_vec(), None),
        (b"[]".to_vec(), None),
        (deep.clone().into_bytes(), None),
        (message(r#""a\u0000b""#).into_bytes(), None),
        (message(r#""\ud800 alone""#).into_bytes(), None),
        (message(&deep).into_bytes(), None),
    ];
    for (body, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let response = post(address, "whatsapp", body.clone(), &sign(&body)).await;
        match code {
            Some(code) => assert_eq!(problem(response).await, refused(400, code), "{shown}"),
            None => assert_eq!(response.status(), 200, "{shown}"),
        }
    }
    let parked: Vec<Problem> = ground.waiting(&PARKED).await;
    assert!(!parked.is_empty());
    let stored: Vec<InboundEvent> = ground.waiting(&INBOUND).await;
    let texts: Vec<&str> = stored
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Message(message) => message.content.text.as_deref(),
            _ => None,
        })
        .collect();
    assert!(texts.contains(&"a\u{FFFD}b"), "{texts:?}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let path = |rest: &str| format!("http://{address}/callbacks{rest}");
    // Web chat is a channel, but nobody calls it back.
    for rest in ["/telegram", "/webchat", "/whatsapp/x", "/", "", "/WhatsApp"] {
        let answer = problem(http().get(path(rest)).send().await.unwrap()).await;
        assert_eq!(answer, refused(404, "request.unknown_path"), "{rest}");
    }
    let body = http().post(path("/telegram")).body("{}").header(SIGNATURE, sign(b"{}"));
    assert_eq!(problem(body.send().await.unwrap()).await, refused(404, "request.unknown_path"));
    let put = http().put(path("/whatsapp")).body("{}").send().await.unwrap();
    assert_eq!(put.headers().get("allow").unwrap(), "GET, POST");
    assert_eq!(problem(put).await, refused(405, "request.method"));
    nothing_is_stored(&ground).await;
}

#[tokio::test]
async fn the_handshake_echoes_as_plain_text_or_refuses() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let get = async |query: &str| {
        http().get(format!("http://{address}/callbacks/messenger?{query}")).send().await.unwrap()
    };
    let token = "hub.verify_token=loket-verify-token";
    let good = get(&format!("hub.challenge=1158201444&{token}&hub.mode=subscribe")).await;
    assert_eq!(good.status(), 200);
    assert_eq!(good.headers().get("content-type").unwrap(), "text/plain; charset=utf-8");
    assert_eq!(good.headers().get("x-content-type-options").unwrap(), "nosniff");
    assert_eq!(good.text().await.unwrap(), "1158201444");
    let escaped = get("hub.mode=subscribe&hub.verify_token=loket%2Dverify%2Dtoken&hub.challenge=1").await;
    assert_eq!(escaped.status(), 200);
    let wrong = get("hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1").await;
    assert_eq!(problem(wrong).await, refused(403, "callback.verify_token"));
    let missing = get("hub.mode=subscribe&hub.challenge=1").await;
    assert_eq!(problem(missing).await, refused(403, "callback.verify_token"));
    for query in ["", "hub.mode=subscribe", &format!("{token}&hub.challenge=1")] {
        assert_eq!(problem(get(query).await).await, refused(400, "callback.handshake"), "{query}");
    }
    let script = get(&format!("hub.mode=subscribe&{token}&hub.challenge=%3Cscript%3E")).await;
    assert_eq!(problem(script).await, refused(400, "callback.handshake"));
}

/// A request whose body stops after its first bytes.
async fn half_a_callback(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /callbacks/scripted HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: x\r\n\
                Content-Length: 100\r\n\r\n{\"half\":";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_does_not_come_is_timed_out() {
    let ground = Ground::new().await;
    let limits = Limits { body_time: Duration::from_millis(100), ..Limits::default() };
    let address = open(&ground, &Scripted::default().shared().1, limits);
    let mut stream = half_a_callback(address).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""code":"request.slow""#), "{answer}");
    nothing_is_stored(&ground).await;
}

#[tokio::test]
async fn too_much_at_once_is_shed_with_503_and_taken_again_afterwards() {
    let ground = Ground::new().await;
    let limits = Limits { callbacks: 1, ..Limits::default() };
    let address = open(&ground, &Scripted::default().shared().1, limits);
    let hanging = half_a_callback(address).await;
    let shed = eventually("one callback too many", async || {
        let response = post(address, "scripted", b"{}".to_vec(), "x").await;
        (response.status() == 503).then_some(response)
    })
    .await;
    assert_eq!(shed.headers().get("retry-after").unwrap(), "30");
    assert_eq!(problem(shed).await, refused(503, "overloaded"));
    drop(hanging);
    eventually("room again", async || {
        (post(address, "scripted", b"{}".to_vec(), "x").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bodies_in_hand_have_a_limit_of_bytes() {
    let ground = Ground::new().await;
    let limits = Limits { bodies_bytes: 1000, ..Limits::default() };
    let address = open(&ground, &Scripted::default().shared().1, limits);
    assert_eq!(post(address, "scripted", vec![b' '; 900], "x").await.status(), 200);
    let answer = problem(post(address, "scripted", vec![b' '; 1100], "x").await).await;
    assert_eq!(answer, refused(503, "overloaded"));
    assert_eq!(post(address, "scripted", vec![b' '; 900], "x").await.status(), 200, "the room is given back");
}

#[tokio::test]
async fn without_a_bus_nothing_is_acknowledged() {
    let ground = Ground::new().await;
    let address = open(&ground, &Scripted::default().shared().1, Limits::default());
    ground.wire.bus().close().await;
    let response = post(address, "scripted", b"{}".to_vec(), "x").await;
    assert_eq!(response.headers().get("retry-after").unwrap(), "30");
    assert_eq!(problem(response).await, refused(503, "not_safe"));
}

#[tokio::test]
async fn a_panic_parks_the_whole_body_and_is_acknowledged() {
    let ground = Ground::new().await;
    let scripted = Scripted { receive: Box::new(|_| panic!("on purpose")), ..Scripted::default() };
    let address = open(&ground, &scripted.shared().1, Limits::default());
    let body = vec![b'7'; 1_500_000];
    assert_eq!(post(address, "scripted", body.clone(), "x").await.status(), 200);
    let parked: Vec<Problem> = ground.waiting(&PARKED).await;
    assert!(parked.iter().all(|problem| problem.reason == ParkReason::Unreadable));
    let keys: std::collections::BTreeSet<_> = parked.iter().map(Problem::key).collect();
    assert_eq!(keys.len(), 1, "the pieces of one body share a key");
    let pieces: Vec<RawPiece> = parked.into_iter().map(|problem| problem.raw).collect();
    assert_eq!(whole(&pieces), body);
}

fn event(id: usize, channel: ChannelAccount, text: String, callback: &Callback) -> InboundEvent {
    InboundEvent {
        v: INBOUND_VERSION,
        channel,
        customer: Some(Customer {
            handles: vec![Handle::new(HandleKind::Phone, "31600000042")],
            name: Some("n".repeat(text.len())),
            name_is_ours: false,
        }),
        at: callback.received_at,
        at_is_arrival: true,
        received_at: callback.received_at,
        standby: false,
        opens_window: None,
        fact: Fact::Message(MessageFact {
            external_id: Some(format!("id-{id}")),
            content: Content::text(text),
            ..MessageFact::default()
        }),
    }
}

#[tokio::test]
async fn an_item_that_is_too_large_for_the_bus_is_parked_and_its_neighbour_is_not() {
    let ground = Ground::new().await;
    let receive = |callback: &Callback| {
        let large = event(1, account(), "x".repeat(1_200_000), callback);
        let small = event(2, account(), "hello".to_owned(), callback);
        Ok(Received { events: vec![large, small], problems: Vec::new() })
    };
    let scripted = Scripted { receive: Box::new(receive), ..Scripted::default() };
    let address = open(&ground, &scripted.shared().1, Limits::default());
    let body = json!({"large": "y".repeat(2_000_000)}).to_string().into_bytes();
    assert_eq!(post(address, "scripted", body.clone(), "x").await.status(), 200);
    let stored: Vec<InboundEvent> = ground.waiting(&INBOUND).await;
    assert_eq!(stored.iter().map(InboundEvent::key).collect::<Vec<_>>(), ["m|scripted:1|id-2"]);
    let parked: Vec<Problem> = ground.waiting(&PARKED).await;
    for problem in &parked {
        assert_eq!(problem.key(), "m|scripted:1|id-1");
        assert_eq!(problem.lane(), stored[0].lane(), "it keeps its place in its conversation");
        assert!(problem.customer.as_ref().unwrap().name.is_none());
    }
    let pieces: Vec<RawPiece> = parked.into_iter().map(|problem| problem.raw).collect();
    assert_eq!(whole(&pieces), body);
}

#[tokio::test]
async fn a_body_of_too_many_items_is_parked_whole() {
    let ground = Ground::new().await;
    let receive = |callback: &Callback| {
        let events = (0..ITEMS_MAX + 2).map(|id| event(id, account(), "x".to_owned(), callback));
        Ok(Received { events: events.collect(), problems: Vec::new() })
    };
    let scripted = Scripted { receive: Box::new(receive), ..Scripted::default() };
    let address = open(&ground, &scripted.shared().1, Limits::default());
    assert_eq!(post(address, "scripted", b"{}".to_vec(), "x").await.status(), 200);
    assert_eq!(ground.depth(&INBOUND).await, 0);
    assert_eq!(ground.depth(&PARKED).await, 1);
}

#[tokio::test]
async fn thirty_callbacks_at_once_are_all_taken() {
    let ground = Ground::new().await;
    let address = open_real(&ground);
    let text = std::fs::read_to_string(folder("whatsapp").join("fixtures/text.json")).unwrap();
    let id = "wamid.HBgLMzE2MDAwMDAwNDIVAgASGBRDNDQ3QTUyQzdCNUEzRDdCMDcxQQA=";
    assert!(text.contains(id));
    let calls = (0..30).map(|number| {
        let body = text.replace(id, &format!("wamid.{number}")).into_bytes();
        async move { post(address, "whatsapp", body.clone(), &sign(&body)).await.status() }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(ground.depth(&INBOUND).await, 30);
}

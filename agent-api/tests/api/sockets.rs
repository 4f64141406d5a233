//! The log, pushed (`reliability-contract` §11, `security` §5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use loket_agent_api::ApiSettings;
use loket_protocol::agent::Role;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::harness::{World, eventually, roomy};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Socket {
    wire: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    async fn try_open(
        world: &World,
        token: Option<&str>,
        query: &str,
        origin: Option<&str>,
    ) -> Result<Self, Error> {
        let url = format!("{}/v1/stream{query}", world.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert("authorization", value);
        }
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        connect_async(request).await.map(|(wire, _)| Self { wire })
    }

    /// A client that opens a socket with a small window and then never reads.
    async fn open_and_read_nothing(world: &World, token: &str) -> WebSocketStream<TcpStream> {
        let address = world.base.strip_prefix("http://").unwrap().parse().unwrap();
        let plug = TcpSocket::new_v4().unwrap();
        plug.set_recv_buffer_size(4_096).unwrap();
        let stream = plug.connect(address).await.unwrap();
        let mut request = format!("ws://{address}/v1/stream?after=0").into_client_request().unwrap();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", value);
        client_async(request, stream).await.unwrap().0
    }

    /// As a browser opens it; the status when it is refused.
    pub(crate) async fn with_cookie(world: &World, cookie: &str, origin: Option<&str>) -> Result<Self, u16> {
        let url = format!("{}/v1/stream", world.base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("cookie", HeaderValue::from_str(cookie).unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        match connect_async(request).await {
            Ok((wire, _)) => Ok(Self { wire }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) async fn open(world: &World, token: &str, query: &str) -> Self {
        Self::try_open(world, Some(token), query, None).await.unwrap()
    }

    /// The next JSON frame, held against the document.
    pub(crate) async fn next(&mut self, world: &World) -> Value {
        match tokio::time::timeout(PATIENCE, self.frame()).await.expect("no frame came") {
            Ok(frame) => {
                world.document().check_value("ServerFrame", &frame, "a frame");
                frame
            }
            Err((code, reason)) => panic!("closed with {code}: {reason}"),
        }
    }

    async fn frame(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match self.wire.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(close)))) => {
                    return Err((close.code.into(), close.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err((0, "gone".to_owned())),
            }
        }
    }

    /// The next event's seq.
    pub(crate) async fn next_seq(&mut self, world: &World) -> i64 {
        loop {
            let frame = self.next(world).await;
            if frame["type"] == "event" {
                return frame["event"]["seq"].as_i64().unwrap();
            }
        }
    }

    pub(crate) async fn until_closed(&mut self) -> (u16, String) {
        let closed = async {
            loop {
                if let Err(end) = self.frame().await {
                    return end;
                }
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("it stayed open")
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.wire.send(Message::text(frame.to_string())).await.unwrap();
    }
}

#[actix_web::test]
async fn a_socket_greets_and_brings_what_happens() {
    let world = World::begin().await;
    let token = world.person(Role::Agent).await;
    let mut socket = Socket::open(&world, &token, "").await;
    let hello = socket.next(&world).await;
    assert_eq!((&hello["type"], &hello["head"]), (&json!("hello"), &json!(0)));
    assert_eq!(hello["cursor"], format!("{}:0", hello["epoch"].as_str().unwrap()));
    world.customer_writes("31600000001", "hello").await;
    let mut seen = Vec::new();
    while !seen.contains(&"message.received".to_owned()) {
        let frame = socket.next(&world).await;
        assert_eq!(frame["event"]["seq"].as_i64().unwrap(), i64::try_from(seen.len()).unwrap() + 1);
        seen.push(frame["event"]["type"].as_str().unwrap().to_owned());
    }
    socket.say(&json!({"type": "ping"})).await;
    loop {
        if socket.next(&world).await["type"] == "pong" {
            break;
        }
    }
    drop(socket);
    eventually("the socket is off the list", async || (world.api.sockets() == 0).then_some(())).await;
    world.end().await;
}

#[actix_web::test]
async fn a_socket_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    let writing = Arc::new(AtomicBool::new(true));
    let writer = async {
        for round in 0..60 {
            let lines: Vec<_> = (0..10).map(|n| format!("line {round}.{n}")).collect();
            let who = format!("3160000000{}", round % 7);
            world
                .customers_write(&lines.iter().map(|text| (who.as_str(), text.as_str())).collect::<Vec<_>>())
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writing.store(false, Ordering::SeqCst);
    };
    // Each reader leaves after another number of events and comes back with its last number.
    let reader = |stay: usize| {
        let (world, token, writing) = (&world, &token, &writing);
        async move {
            let mut seen: Vec<i64> = Vec::new();
            loop {
                let after = seen.last().copied().unwrap_or(0);
                let mut socket = Socket::open(world, token, &format!("?after={after}")).await;
                for _ in 0..stay {
                    match tokio::time::timeout(Duration::from_secs(2), socket.frame()).await {
                        Ok(Ok(frame)) => seen.extend(frame["event"]["seq"].as_i64()),
                        Ok(Err(end)) => panic!("closed {end:?}"),
                        Err(_) => break,
                    }
                }
                let all_written = !writing.load(Ordering::SeqCst)
                    && world.hub.health().await.unnumbered == 0
                    && received(world).await == 600;
                // After that, because it grows no more then.
                let head = world.hub.log_head().await.unwrap().0;
                if all_written && seen.last() == Some(&head) {
                    return (seen, head);
                }
            }
        }
    };
    let everybody = async { tokio::join!(writer, reader(7), reader(53), reader(400)) };
    let ((), (a, head), (b, _), (c, _)) =
        tokio::time::timeout(Duration::from_mins(2), everybody).await.expect("somebody never saw all");
    let whole: Vec<_> = (1..=head).collect();
    assert!(head > 600);
    for seen in [a, b, c] {
        assert_eq!(seen, whole);
    }
    world.end().await;
}

/// How many messages of customers the log has.
async fn received(world: &World) -> usize {
    let filter = loket_hub::EventFilter {
        after: 0,
        types: vec![loket_protocol::event::EventType::MessageReceived],
        limit: 500,
    };
    let first = world.hub.events(&filter).await.unwrap();
    let after = first.last().map_or(0, |event| event.seq);
    first.len() + world.hub.events(&loket_hub::EventFilter { after, ..filter }).await.unwrap().len()
}

#[actix_web::test]
async fn a_place_in_another_log_gets_a_snapshot_and_goes_on() {
    let world = World::begin().await;
    let token = world.key(Role::Integrator).await;
    world.thread_of("31600000001", "hello").await;
    let mut socket = Socket::open(&world, &token, "?after=otherlog:3").await;
    let hello = socket.next(&world).await;
    let snapshot = socket.next(&world).await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["cursor"], hello["cursor"]);
    let head = snapshot["head"].as_i64().unwrap();
    world.customer_writes("31600000001", "again").await;
    assert_eq!(socket.next_seq(&world).await, head + 1);
    world.end().await;
}

#[actix_web::test]
async fn who_may_open_a_socket() {
    let settings = ApiSettings { sockets_per_session: 2, ..roomy() };
    let world = World::with(settings, "memory:").await;
    let token = world.person(Role::Agent).await;
    let status = |outcome: Result<Socket, Error>| match outcome {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(status(Socket::try_open(&world, None, "", None).await), 401);
    assert_eq!(status(Socket::try_open(&world, Some("los_nonsense"), "", None).await), 401);
    assert_eq!(status(Socket::try_open(&world, Some(&token), &format!("?token={token}"), None).await), 401);
    assert_eq!(status(Socket::try_open(&world, Some(&token), "?after=x", None).await), 400);
    for foreign in ["https://evil.example", "http://inbox.example", "https://inbox.example:8443", "null"] {
        assert_eq!(status(Socket::try_open(&world, Some(&token), "", Some(foreign)).await), 403, "{foreign}");
    }
    let listed = Socket::try_open(&world, Some(&token), "", Some("https://inbox.example")).await.unwrap();
    let program = Socket::open(&world, &token, "").await;
    assert_eq!(status(Socket::try_open(&world, Some(&token), "", None).await), 429);
    let colleague = world.person(Role::Agent).await;
    assert_eq!(status(Socket::try_open(&world, Some(&colleague), "", None).await), 101);
    drop((listed, program));
    let plain = world.get("/v1/stream").bearer(&token).go().await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, "websocket"));
    world.end().await;
}

#[actix_web::test]
async fn handshakes_have_a_rate() {
    let settings = ApiSettings { handshakes_per_minute: 3, ..roomy() };
    let world = World::with(settings, "memory:").await;
    let token = world.key(Role::Bot).await;
    let mut opened = 0;
    for _ in 0..6 {
        opened += usize::from(Socket::try_open(&world, Some(&token), "", None).await.is_ok());
    }
    assert_eq!(opened, 3);
    world.end().await;
}

#[actix_web::test]
async fn a_session_that_ends_closes_its_sockets() {
    // With wake-ups at once, without them within the 5 s of the look-up.
    for (kv_url, within) in [("memory:", Duration::from_secs(2)), ("none:", Duration::from_secs(8))] {
        let world = World::with(roomy(), kv_url).await;
        let (token, colleague) = (world.person(Role::Agent).await, world.person(Role::Agent).await);
        let mut socket = Socket::open(&world, &token, "").await;
        let mut other = Socket::open(&world, &colleague, "").await;
        socket.next(&world).await;
        let began = Instant::now();
        assert_eq!(world.delete("/v1/sessions").bearer(&token).go().await.status, 204);
        assert_eq!(socket.until_closed().await.0, 4401);
        assert!(began.elapsed() < within, "{:?} with {kv_url}", began.elapsed());
        other.say(&json!({"type": "ping"})).await;
        assert_eq!(other.next(&world).await["type"], "hello");
        assert_eq!(other.next(&world).await["type"], "pong");
        world.end().await;
    }
}

#[actix_web::test]
async fn typing_and_presence_travel_between_colleagues() {
    let world = World::begin().await;
    let (anna, bram) = (world.person(Role::Agent).await, world.person(Role::Agent).await);
    let me = world.get("/v1/me").bearer(&anna).go().await.good();
    let thread = world.thread_of("31600000001", "hello").await;
    let (mut hers, mut his) = (Socket::open(&world, &anna, "").await, Socket::open(&world, &bram, "").await);
    hers.next(&world).await;
    his.next(&world).await;
    // He hears signs once his socket has joined: she repeats hers until then.
    let typing = json!({"type": "typing", "thread_id": thread["id"], "on": true});
    let frame = {
        let heard = async {
            loop {
                let frame = his.next(&world).await;
                if frame["type"] == "typing" {
                    return frame;
                }
            }
        };
        tokio::pin!(heard);
        loop {
            hers.say(&typing).await;
            if let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), &mut heard).await {
                break frame;
            }
        }
    };
    assert_eq!(
        (&frame["agent_id"], &frame["thread_id"], &frame["on"]),
        (&me["id"], &thread["id"], &json!(true))
    );
    hers.say(&json!({"type": "presence", "presence": "online"})).await;
    let frame = loop {
        let frame = his.next(&world).await;
        if frame["type"] == "presence" {
            break frame;
        }
    };
    assert_eq!((&frame["agent_id"], &frame["state"]["accepting"]), (&me["id"], &json!(true)));
    hers.say(&json!({"type": "looking", "thread_id": thread["id"]})).await;
    let frame = loop {
        let frame = his.next(&world).await;
        if frame["type"] == "looking" {
            break frame;
        }
    };
    assert_eq!(
        (&frame["agent_id"], &frame["thread_id"], &frame["on"]),
        (&me["id"], &thread["id"], &json!(true))
    );
    // What cannot be done is told and closes nothing.
    hers.say(&json!({"type": "typing", "thread_id": "thr_01M7YQ1WE08E6Q4V9T3B5N7K1Z", "on": true})).await;
    let refused = loop {
        let frame = hers.next(&world).await;
        if frame["type"] == "problem" {
            break frame;
        }
    };
    assert_eq!((&refused["status"], &refused["code"]), (&json!(404), &json!("not_found")));
    world.end().await;
}

#[actix_web::test]
async fn garbage_closes_its_own_socket_only() {
    let world = World::begin().await;
    let token = world.key(Role::Bot).await;
    let mut calm = Socket::open(&world, &token, "").await;
    calm.next(&world).await;

    let mut strange = Socket::open(&world, &token, "").await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for text in ["", "null", "[]", "{}", "nonsense", deep.as_str(), r#"{"type":"run"}"#, r#"{"type":7}"#] {
        strange.wire.send(Message::text(text.to_owned())).await.unwrap();
    }
    strange.wire.send(Message::binary(vec![0, 255, 1])).await.unwrap();
    strange.wire.send(Message::text(r#"{"type":"ping","extra":1}"#)).await.unwrap();
    assert_eq!(strange.until_closed().await.0, 4003);

    let mut flood = Socket::open(&world, &token, "").await;
    for _ in 0..40 {
        if flood.wire.send(Message::text(r#"{"type":"ping"}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(flood.until_closed().await.0, u16::from(CloseCode::Policy));

    let mut large = Socket::open(&world, &token, "").await;
    // The server may hang up before all of it is sent.
    let _ = large.wire.send(Message::text("x".repeat(70_000))).await;
    let (code, _) = large.until_closed().await;
    assert!([0, u16::from(CloseCode::Size)].contains(&code), "{code}");

    world.customer_writes("31600000001", "hello").await;
    assert_eq!(calm.next_seq(&world).await, 1);
    world.end().await;
}

#[actix_web::test]
async fn a_slow_reader_is_cut_and_nobody_waits_for_it() {
    let world = World::begin().await;
    let token = world.key(Role::Bot).await;
    let _slow = Socket::open_and_read_nothing(&world, &token).await;
    let mut quick = Socket::open(&world, &token, "?after=0").await;
    let text = "x".repeat(8_000);
    let mut last = 0;
    for written in 1.. {
        assert!(written < 500, "the slow one is never cut");
        world.customers_write(&[("31600000001", text.as_str()); 10]).await;
        let mut received = 0;
        while received < 10 {
            let frame = quick.next(&world).await;
            let Some(seq) = frame["event"]["seq"].as_i64() else { continue };
            assert_eq!(seq, last + 1);
            last = seq;
            received += usize::from(frame["event"]["type"] == "message.received");
        }
        if world.api.sockets() == 1 {
            break;
        }
    }
    world.end().await;
}

#[actix_web::test]
async fn who_is_sent_away_is_told_when_to_come_back() {
    let world = World::begin().await;
    let token = world.key(Role::Bot).await;
    let mut socket = Socket::open(&world, &token, "").await;
    let hello = socket.next(&world).await;
    assert!(world.api.close_sockets(Duration::from_secs(5)).await);
    let told = socket.next(&world).await;
    assert_eq!((&told["type"], &told["resume"]), (&json!("going_away"), &hello["cursor"]));
    assert_eq!(socket.until_closed().await.0, u16::from(CloseCode::Away));
    assert!(Socket::try_open(&world, Some(&token), "", None).await.is_err());
    world.end().await;
}

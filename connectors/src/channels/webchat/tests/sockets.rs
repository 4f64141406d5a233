//! The socket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use loket_protocol::event::LiveSignal;
use loket_protocol::handoff::Holder;
use loket_protocol::topics::LIVE;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message as Ws};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::socket::{FRAME_BYTES_MAX, FRAMES_PER_SECOND_MAX, UNKNOWN_FRAMES_MAX};
use super::super::sockets::PER_VISITOR_MAX;
use super::*;
use crate::testing::PATIENCE;

/// A page's end of a socket.
struct Page {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Page {
    /// Opens a socket without saying anything yet; the status of the refusal otherwise.
    async fn open(world: &World, site: &str, origin: Option<&str>, token: Option<&str>) -> Result<Self, u16> {
        let url = format!("ws://{}/webchat/v1/socket?site={site}", world.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().unwrap());
        }
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().unwrap());
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Opens one with a ticket and waits until it is let in.
    async fn enter(world: &World, ticket: &str, after_seq: i64) -> Self {
        let mut page = Self::open(world, "shop", Some(SHOP), None).await.unwrap();
        page.say(json!({"type": "hello", "ticket": ticket, "after_seq": after_seq})).await;
        let ready = page.hear().await;
        assert_eq!(ready, json!({"type": "ready", "after_seq": after_seq}));
        page
    }

    async fn say(&mut self, frame: Value) {
        self.send(Ws::text(frame.to_string())).await;
    }

    async fn send(&mut self, message: Ws) {
        self.stream.send(message).await.unwrap();
    }

    /// The next frame of ours.
    async fn hear(&mut self) -> Value {
        match self.next().await {
            Ok(frame) => frame,
            Err(code) => panic!("closed with {code}"),
        }
    }

    /// The next frame, or the code that the socket was closed with (0 without one).
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("nothing came");
            match message {
                Some(Ok(Ws::Text(text))) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
                Some(Ok(Ws::Close(Some(frame)))) => return Err(frame.code.into()),
                Some(Ok(Ws::Close(None)) | Err(_)) | None => return Err(0),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads until a frame of this type.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.hear().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Reads until the end, and says with which code it was closed.
    async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

async fn ticket(world: &World, visitor: &Visitor) -> String {
    let answer = world.post("/tickets", Some(&visitor.token), json!({})).await;
    assert_eq!((answer.status, &answer.body["expires_in_s"]), (201, &json!(30)));
    answer.body["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_conversation_both_ways() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    page.say(json!({"type": "message", "client_message_id": uuid(1), "text": "Hallo"})).await;
    let ack = page.until("ack").await;
    assert_eq!(ack, json!({"type": "ack", "client_message_id": uuid(1)}));
    let own = page.until("message").await;
    assert_eq!(own["message"]["client_message_id"], uuid(1), "the page knows its own message again");
    assert_eq!(own["message"]["from"], "visitor");
    let seq = world.agent_writes(visitor.id, "Goedemiddag");
    world.wake(visitor.id, None).await;
    let ours = page.until("message").await;
    assert_eq!((&ours["message"]["text"], &ours["message"]["seq"]), (&json!("Goedemiddag"), &json!(seq)));
    page.say(json!({"type": "delivered", "seq": seq})).await;
    page.say(json!({"type": "read", "seq": seq})).await;
    let events = world.ingested(3).await;
    let receipts: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::Watermark(mark) => Some((mark.status.as_str(), mark.up_to_seq)),
            _ => None,
        })
        .collect();
    assert_eq!(receipts, [("delivered", Some(seq)), ("read", Some(seq))]);
    page.say(json!({"type": "ping"})).await;
    assert_eq!(page.until("pong").await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_lost_wake_up_costs_a_second_at_most() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    world.agent_writes(visitor.id, "found by the first look");
    page.until("message").await;
    world.agent_writes(visitor.id, "nobody was woken");
    let began = world.ground.clock.instant();
    assert_eq!(page.until("message").await["message"]["text"], "nobody was woken");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_taken_back_is_told_to_the_page_that_has_it() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    let seq = world.agent_writes(visitor.id, "too soon");
    assert_eq!(page.until("message").await["message"]["revoked"], false);
    let last = world.agent_writes(visitor.id, "sorry");
    page.until("message").await;
    revoke(&mut world.hub.lock().unwrap(), visitor.id, seq);
    let told = page.until("message").await;
    assert_eq!((&told["message"]["seq"], &told["message"]["revoked"]), (&json!(seq), &json!(true)));
    assert_eq!(told["message"]["text"], Value::Null);
    // Who was away meanwhile is told when they come back.
    let mut other = Page::enter(&world, &ticket(&world, &visitor).await, last).await;
    assert_eq!(other.until("message").await["message"]["revoked"], true);
    let read = world.get(&format!("/messages?after_seq={last}"), Some(&visitor.token)).await;
    assert_eq!(read.body["messages"][0]["revoked"], true);
}

#[tokio::test]
async fn a_quiet_socket_does_not_ask_for_its_thread() {
    let world = World::new().await;
    let (loud, quiet) = (world.visitor().await, world.visitor().await);
    let mut page = Page::enter(&world, &loud.ticket, 0).await;
    let mut other = Page::enter(&world, &quiet.ticket, 0).await;
    for number in 0..3 {
        world.agent_writes(loud.id, &format!("line {number}"));
        page.until("message").await;
    }
    // By now all of them have looked: at their start, and once when the place of the log was found.
    world.hub.lock().unwrap().looks = 0;
    for number in 0..3 {
        world.agent_writes(loud.id, &format!("another line {number}"));
        page.until("message").await;
    }
    let looks = world.hub.lock().unwrap().looks;
    assert!((1..=3).contains(&looks), "{looks}");
    world.agent_writes(quiet.id, "now you");
    other.until("message").await;
}

#[tokio::test]
async fn a_hub_that_tells_no_news_is_asked_for_every_thread() {
    let world = World::new().await;
    world.hub.lock().unwrap().tells_no_news = true;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    for text in ["one", "two"] {
        world.agent_writes(visitor.id, text);
        assert_eq!(page.until("message").await["message"]["text"], text);
    }
}

#[tokio::test]
async fn typing_goes_both_ways_and_is_kept_nowhere() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    world.wake(visitor.id, Some(true)).await;
    assert_eq!(page.until("typing").await, json!({"type": "typing", "on": true}));
    let mut live = world.ground.kv.listen();
    page.say(json!({"type": "typing", "on": true})).await;
    let heard = tokio::time::timeout(PATIENCE, live.recv()).await.unwrap().unwrap();
    assert_eq!(heard.channel, LIVE);
    let signal: LiveSignal = serde_json::from_slice(&heard.message).unwrap();
    let site = "shop".to_owned();
    assert_eq!(signal, LiveSignal::VisitorTyping { site, visitor: visitor.id, on: true });
    assert!(world.hub.lock().unwrap().events.is_empty());
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_and_gets_nothing_twice() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let texts: Vec<String> = (0..250).map(|number| format!("line {number}")).collect();
    for text in &texts {
        world.agent_writes(visitor.id, text);
    }
    let (mut after, mut heard) = (0, Vec::new());
    // Every reading ends somewhere else; the number of the last one is what the next begins with.
    for reading in [1, 60, 99, 1000] {
        let mut page = Page::enter(&world, &ticket(&world, &visitor).await, after).await;
        for _ in 0..reading.min(texts.len() - heard.len()) {
            let message = page.until("message").await;
            after = message["message"]["seq"].as_i64().unwrap();
            heard.push(message["message"]["text"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, texts);
}

#[tokio::test]
async fn a_ticket_opens_one_socket_of_one_site_for_half_a_minute() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let _page = Page::enter(&world, &visitor.ticket, 0).await;
    let expired = ticket(&world, &visitor).await;
    let elsewhere = ticket(&world, &visitor).await;
    let hello = async |site: &str, origin: &str, hello: Value| {
        let mut page = Page::open(&world, site, Some(origin), None).await.unwrap();
        page.say(hello).await;
        page.closed().await
    };
    let with = |ticket: &str| json!({"type": "hello", "ticket": ticket});
    assert_eq!(hello("other", OTHER, with(&elsewhere)).await, 4001, "another site's ticket");
    assert_eq!(hello("shop", SHOP, with(&elsewhere)).await, 4001, "and it is used up");
    assert_eq!(hello("shop", SHOP, with(&visitor.ticket)).await, 4001, "used");
    for junk in ["", "x", &visitor.token, &format!("lot_{}", "0".repeat(64))] {
        assert_eq!(hello("shop", SHOP, with(junk)).await, 4001, "{junk}");
    }
    assert_eq!(hello("shop", SHOP, json!({"type": "hello"})).await, 4001, "no ticket");
    let early = json!({"type": "message", "client_message_id": uuid(1), "text": "before hello"});
    assert_eq!(hello("shop", SHOP, early).await, 4001);
    world.ground.clock.advance(Duration::from_secs(31));
    assert_eq!(hello("shop", SHOP, with(&expired)).await, 4001, "expired");
    assert!(world.hub.lock().unwrap().events.is_empty());
}

#[tokio::test]
async fn whoever_says_nothing_is_closed_after_five_seconds() {
    let world = World::new().await;
    let mut page = Page::open(&world, "shop", Some(SHOP), None).await.unwrap();
    let began = world.ground.clock.instant();
    assert_eq!(page.closed().await, 4001);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_origin_is_checked_before_the_upgrade() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let bad = [
        "null",
        "http://shop.example.org",
        "https://shop.example.org:8443",
        "https://a.shop.example.org",
        "https://shop.example.org.evil.test",
        OTHER,
    ];
    for origin in bad {
        assert_eq!(Page::open(&world, "shop", Some(origin), None).await.err(), Some(403), "{origin}");
        let token = Some(visitor.token.as_str());
        assert_eq!(Page::open(&world, "shop", Some(origin), token).await.err(), Some(403), "{origin}");
    }
    assert_eq!(Page::open(&world, "shop", None, None).await.err(), Some(403), "no origin, no token");
    assert_eq!(Page::open(&world, "gone", Some(SHOP), None).await.err(), Some(404));
    assert_eq!(Page::open(&world, "shop&token=1", Some(SHOP), None).await.err(), Some(400));
    let unknown = format!("lov_shop.{}", "0".repeat(64));
    assert_eq!(Page::open(&world, "shop", None, Some(&unknown)).await.err(), Some(401));
    assert_eq!(Page::open(&world, "other", None, Some(&visitor.token)).await.err(), Some(401));
    // A program brings its token with the upgrade, and no ticket.
    let mut program = Page::open(&world, "shop", None, Some(&visitor.token)).await.unwrap();
    program.say(json!({"type": "hello", "after_seq": 0})).await;
    assert_eq!(program.hear().await["type"], "ready");
    let mut both = Page::open(&world, "shop", None, Some(&visitor.token)).await.unwrap();
    both.say(json!({"type": "hello", "ticket": visitor.ticket})).await;
    assert_eq!(both.closed().await, 4001, "two principals in one request");
}

#[tokio::test]
async fn junk_is_counted_and_disturbs_nobody_else() {
    let world = World::new().await;
    let (junk, good) = (world.visitor().await, world.visitor().await);
    let mut quiet = Page::enter(&world, &good.ticket, 0).await;
    let mut page = Page::enter(&world, &junk.ticket, 0).await;
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let frames = [
        Ws::binary(vec![0, 159, 146, 150]),
        Ws::text("not json"),
        Ws::text("[]"),
        Ws::text(deep),
        Ws::text(r#"{"type":"subscribe","thread":"thr_1"}"#),
        Ws::text(r#"{"type":"read","seq":"1"}"#),
        Ws::text(r#"{"type":"hello","ticket":"x"}"#),
        Ws::text(r#"{"type":"message","client_message_id":7,"text":null}"#),
        Ws::text("null"),
    ];
    assert_eq!(frames.len() + 1, usize::try_from(UNKNOWN_FRAMES_MAX).unwrap());
    for frame in frames {
        page.send(frame).await;
        let error = page.until("error").await;
        assert_eq!(error["code"], "request.malformed");
    }
    page.send(Ws::text("{}")).await;
    assert_eq!(page.closed().await, 1008);
    quiet.say(json!({"type": "ping"})).await;
    quiet.until("pong").await;
}

#[tokio::test]
async fn a_frame_that_is_refused_says_why_and_the_socket_goes_on() {
    let world = World::with(json!({"messages_per_visitor": 1})).await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    let long = json!({"type": "message", "client_message_id": uuid(1), "text": "é".repeat(10_001)});
    page.say(long).await;
    let error = page.until("error").await;
    assert_eq!((&error["code"], &error["client_message_id"]), (&json!("message.too_long"), &json!(uuid(1))));
    for seq in [0, -1, 7] {
        page.say(json!({"type": "read", "seq": seq})).await;
        assert_eq!(page.until("error").await["code"], "receipt.seq", "{seq}");
    }
    page.say(json!({"type": "message", "client_message_id": uuid(2), "text": "one"})).await;
    page.until("ack").await;
    page.say(json!({"type": "message", "client_message_id": uuid(3), "text": "two"})).await;
    let error = page.until("error").await;
    assert_eq!((&error["code"], &error["retry_after_s"]), (&json!("rate_limited"), &json!(60)));
    assert_eq!(world.ingested(1).await.len(), 1);
}

#[tokio::test]
async fn floods_and_large_frames_are_closed() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    for _ in 0..=FRAMES_PER_SECOND_MAX {
        // The server may close before the last one is written.
        let _ = page.stream.send(Ws::Ping(Bytes::new())).await;
    }
    assert_eq!(page.closed().await, 4029);

    let mut page = Page::enter(&world, &ticket(&world, &visitor).await, 0).await;
    let _ = page.stream.send(Ws::text("x".repeat(FRAME_BYTES_MAX + 1))).await;
    assert_eq!(page.closed().await, 1009);

    let mut page = Page::enter(&world, &ticket(&world, &visitor).await, 0).await;
    let part = |first: bool| {
        let code = if first { Data::Text } else { Data::Continue };
        Ws::Frame(Frame::message(vec![b'x'; FRAME_BYTES_MAX / 2 + 1], OpCode::Data(code), false))
    };
    let _ = page.stream.send(part(true)).await;
    let _ = page.stream.send(part(false)).await;
    assert_eq!(page.closed().await, 1009, "fragments without end");
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    let frame =
        json!({"type": "message", "client_message_id": uuid(1), "text": "in drie stukken"}).to_string();
    let (one, rest) = frame.as_bytes().split_at(20);
    let (two, three) = rest.split_at(30);
    for (bytes, code, is_last) in
        [(one, Data::Text, false), (two, Data::Continue, false), (three, Data::Continue, true)]
    {
        page.send(Ws::Frame(Frame::message(bytes.to_vec(), OpCode::Data(code), is_last))).await;
    }
    page.until("ack").await;
    assert_eq!(page.until("message").await["message"]["text"], "in drie stukken");
}

#[tokio::test]
async fn a_visitor_has_so_many_sockets() {
    let world = World::with(json!({"sockets_per_address": 1000})).await;
    let visitor = world.visitor().await;
    let mut pages = Vec::new();
    for _ in 0..PER_VISITOR_MAX {
        pages.push(Page::enter(&world, &ticket(&world, &visitor).await, 0).await);
    }
    let mut one_more = Page::open(&world, "shop", Some(SHOP), None).await.unwrap();
    one_more.say(json!({"type": "hello", "ticket": ticket(&world, &visitor).await})).await;
    assert_eq!(one_more.closed().await, 4029);
    pages.pop();
    eventually("room again", async || {
        let mut page = Page::open(&world, "shop", Some(SHOP), None).await.unwrap();
        page.say(json!({"type": "hello", "ticket": ticket(&world, &visitor).await})).await;
        page.next().await.ok()
    })
    .await;
}

#[tokio::test]
async fn handshakes_of_one_address_have_a_rate() {
    let world = World::with(json!({"sockets_per_address": 2})).await;
    for expected in [None, None, Some(429)] {
        assert_eq!(Page::open(&world, "shop", Some(SHOP), None).await.err(), expected);
    }
}

#[tokio::test]
async fn when_the_process_stops_pages_are_told_when_to_come_back() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    let seq = world.agent_writes(visitor.id, "last words");
    page.until("message").await;
    assert!(world.tasks.stop(Duration::from_secs(10)).await);
    let bye = page.until("going_away").await;
    assert_eq!(bye["after_seq"], seq);
    let retry_ms = bye["retry_ms"].as_u64().unwrap();
    assert!((1_000..=30_000).contains(&retry_ms), "{retry_ms}");
    assert_eq!(page.closed().await, 1001);
    assert_eq!(Page::open(&world, "shop", Some(SHOP), None).await.err(), Some(503));
}

#[tokio::test]
async fn a_visitor_who_writes_while_the_bus_is_away_is_not_told_that_it_is_safe() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    world.ground.wire.bus().close().await;
    page.say(json!({"type": "message", "client_message_id": uuid(1), "text": "x"})).await;
    let error = page.until("error").await;
    assert_eq!((&error["code"], &error["client_message_id"]), (&json!("not_safe"), &json!(uuid(1))));
    assert_eq!(error["retry_after_s"], 2);
}

#[tokio::test]
async fn without_kv_a_program_still_talks() {
    let world = World::without_kv().await;
    let visit = world.post("/visits", None, json!({"site": "shop"})).await;
    assert_eq!((visit.status, &visit.body["ticket"]), (200, &Value::Null));
    let token = visit.body["visitor_token"].as_str().unwrap();
    let visitor: VisitorId = visit.body["visitor_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(world.post("/tickets", Some(token), json!({})).await.refusal(), (503, "unavailable"));
    let said = json!({"client_message_id": uuid(1), "text": "over REST"});
    assert_eq!(world.post("/messages", Some(token), said).await.status, 202);
    world.ingested(1).await;
    let mut page = Page::open(&world, "shop", None, Some(token)).await.unwrap();
    page.say(json!({"type": "hello"})).await;
    assert_eq!(page.until("message").await["message"]["text"], "over REST");
    page.say(json!({"type": "typing", "on": true})).await;
    page.say(json!({"type": "message", "client_message_id": uuid(2), "text": "over the socket"})).await;
    page.until("ack").await;
    world.ingested(2).await;
    world.agent_writes(visitor, "nobody can be woken");
    while page.until("message").await["message"]["text"] != "nobody can be woken" {}
}

/// A page that does not read holds up nobody and costs a bounded amount of memory.
#[tokio::test]
async fn a_page_that_does_not_read_is_not_waited_for() {
    let world = World::new().await;
    let (slow, quick) = (world.visitor().await, world.visitor().await);
    let long = "x".repeat(10_000);
    for _ in 0..2_000 {
        world.agent_writes(slow.id, &long);
    }
    let mut page = Page::enter(&world, &slow.ticket, 0).await;
    let mut other = Page::enter(&world, &quick.ticket, 0).await;
    let seq = world.agent_writes(quick.id, "for the quick one");
    assert_eq!(other.until("message").await["message"]["seq"], seq);
    // Once it reads again, all of it is there, in order.
    let mut last = 0;
    for _ in 0..2_000 {
        let message = page.until("message").await;
        let seq = message["message"]["seq"].as_i64().unwrap();
        assert!(seq > last);
        last = seq;
    }
}

#[tokio::test]
async fn a_page_is_told_who_answers_and_again_when_that_changes() {
    let world = World::new().await;
    let visitor = world.visitor().await;
    let mut page = Page::enter(&world, &visitor.ticket, 0).await;
    let now = |holder, name: Option<&str>| {
        let answering = Answering { holder, name: name.map(str::to_owned) };
        world.hub.lock().unwrap().answering = Some(answering);
    };
    now(Holder::Waiting, None);
    world.wake(visitor.id, None).await;
    assert_eq!(page.until("answering").await, json!({"type": "answering", "answering": {"kind": "waiting"}}));
    now(Holder::Agent, Some("Noor"));
    world.wake(visitor.id, None).await;
    let noor = json!({"kind": "agent", "name": "Noor"});
    assert_eq!(page.until("answering").await, json!({"type": "answering", "answering": noor}));
    // What did not change is not told again.
    world.wake(visitor.id, None).await;
    world.agent_writes(visitor.id, "Hello");
    world.wake(visitor.id, None).await;
    assert_eq!(page.hear().await["type"], "message");
    let read = world.get("/messages?after_seq=0", Some(&visitor.token)).await;
    assert_eq!(read.body["answering"], noor);
}

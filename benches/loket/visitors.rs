//! T7: ten thousand visitors with an open socket, most of them silent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::process::Loket;
use crate::{TIME, figure, pipeline, progress};

/// Open sockets.
const SOCKETS: usize = 10_000;
/// Those of them that are written to.
const TALKERS: usize = 100;
/// Messages a second to these.
const RATE: u64 = 200;
/// Visitors that come at the same time.
const AT_ONCE: usize = 32;
/// How long the process may take to let memory settle.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a socket may keep a message back before this is given up.
const PATIENCE: Duration = Duration::from_secs(30);

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;
type Sent = Arc<Mutex<HashMap<u64, Instant>>>;

struct Visitor {
    token: String,
    socket: Socket,
}

/// A new visitor with an open socket.
async fn visits(http: &reqwest::Client, port: u16) -> Visitor {
    let visit = http.post(format!("http://127.0.0.1:{port}/webchat/v1/visits"));
    let answer = visit.json(&serde_json::json!({"site": "bench"})).send().await.expect("an answer");
    let body: serde_json::Value = answer.json().await.expect("JSON");
    let token = body["visitor_token"].as_str().unwrap_or_else(|| panic!("a token: {body}")).to_owned();
    let url = format!("ws://127.0.0.1:{port}/webchat/v1/socket?site=bench");
    let mut request = url.into_client_request().expect("a request");
    let bearer = format!("Bearer {token}").parse().expect("a header");
    request.headers_mut().insert("Authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
    socket.send(Message::text(r#"{"type":"hello"}"#)).await.expect("it is open");
    let ready = socket.next().await.expect("a frame").expect("it is open");
    assert!(ready.to_text().expect("text").contains(r#""ready""#), "{ready}");
    Visitor { token, socket }
}

async fn all_visit(http: &reqwest::Client, port: u16) -> Vec<Visitor> {
    let (mut visitors, mut coming) = (Vec::with_capacity(SOCKETS), JoinSet::new());
    for begun in 0..SOCKETS {
        if begun >= AT_ONCE {
            visitors.push(coming.join_next().await.expect("one").expect("no panic"));
        }
        let http = http.clone();
        coming.spawn(async move { visits(&http, port).await });
    }
    visitors.extend(coming.join_all().await);
    visitors
}

/// Prints T7.
pub(crate) async fn t7() {
    progress("T7: ten thousand sockets", 0);
    let sets = [
        "webchat.sites.bench.origins=https://bench.example",
        "webchat.rates.visitors_per_address=1000000",
        "webchat.rates.visitors_per_site=1000000",
        "webchat.rates.messages_per_visitor=1000000",
        "webchat.rates.messages_per_address=1000000",
        "webchat.rates.sockets_per_address=1000000",
    ];
    let loket = Loket::start_with(&sets, &[None]).await;
    let agent = loket.log_in().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    // Buffers and tables that any first visitor brings are not the sockets' own.
    let first = visits(&http, loket.port).await;
    tokio::time::sleep(SETTLE).await;
    let before = loket.resident_mib();
    let mut visitors = all_visit(&http, loket.port).await;
    tokio::time::sleep(SETTLE).await;
    #[expect(clippy::cast_precision_loss, reason = "a count of sockets")]
    let each = (loket.resident_mib() - before) * 1024.0 / SOCKETS as f64;
    figure(
        "T7",
        &format!("memory of each of {SOCKETS} idle sockets"),
        &format!("{each:.1} KiB"),
        "<= 40 KiB",
    );
    drop(first);

    for visitor in &visitors[..TALKERS] {
        let message = http.post(format!("http://127.0.0.1:{}/webchat/v1/messages", loket.port));
        let body = serde_json::json!({"client_message_id": uuid(), "text": "Hallo?"});
        let answer = message.bearer_auth(&visitor.token).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
    }
    agent.until_at_rest(PATIENCE).await;
    let threads: Vec<String> =
        agent.threads().await.iter().map(|thread| thread["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(threads.len(), TALKERS);

    let all = RATE * TIME.as_secs();
    let (sent, arrived) =
        (Sent::default(), Arc::new(Mutex::new(Histogram::<u64>::new(3).expect("a histogram"))));
    let mut readers = JoinSet::new();
    for visitor in visitors.drain(..TALKERS) {
        let (sent, arrived) = (Arc::clone(&sent), Arc::clone(&arrived));
        readers.spawn(async move {
            let mut socket = visitor.socket;
            while let Some(Ok(frame)) = socket.next().await {
                let number = frame.to_text().ok().and_then(pipeline::number);
                let start = number.and_then(|n| sent.lock().expect("not poisoned").remove(&n));
                if let Some(start) = start {
                    let micros = u64::try_from(start.elapsed().as_micros()).expect("short");
                    arrived.lock().expect("not poisoned").record(micros).expect("in range");
                }
            }
        });
    }
    let (start, mut replies) = (tokio::time::Instant::now(), JoinSet::new());
    for n in 0..all {
        let thread = threads[usize::try_from(n).expect("few") % TALKERS].clone();
        let (agent, sent) = (agent.clone(), Arc::clone(&sent));
        replies.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_micros(n * 1_000_000 / RATE)).await;
            sent.lock().expect("not poisoned").insert(n, Instant::now());
            agent.reply(&thread, &format!("n={n}.")).await;
        });
    }
    replies.join_all().await;
    let end = Instant::now() + PATIENCE;
    while arrived.lock().expect("not poisoned").len() < all {
        assert!(Instant::now() < end, "{} of {all} arrived", arrived.lock().expect("not poisoned").len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let ms = |quantile: f64| {
        let micros = arrived.lock().expect("not poisoned").value_at_quantile(quantile);
        format!("{:.1} ms", micros as f64 / 1000.0)
    };
    figure("T7", &format!("reply to {TALKERS} of them, {RATE}/s, p50"), &ms(0.5), "none");
    figure("T7", "  p99", &ms(0.99), "<= 50 ms");
    readers.abort_all();
}

/// An id as a page makes it.
fn uuid() -> String {
    let hex = loket_backbone::random::hex::<16>();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

//! T4 and T13: from the callback to an agent's socket at 500 a second, and the processor time it costs,
//! both against the floor of the same shape in a process of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::load::{Connection, body};
use crate::process::{FloorServer, Loket, cpu_seconds};
use crate::{Figures, RUNS, TIME, WARM_UP, progress};

/// Callbacks a second.
const RATE: u64 = 500;
/// Those that warm up and are not counted.
const WARM: u64 = RATE * WARM_UP.as_secs();
/// All of them.
const ALL: u64 = WARM + RATE * TIME.as_secs();
/// Connections that they come over.
const CONNECTIONS: u64 = 16;

struct Outcome {
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
}

type Sent = Arc<Mutex<HashMap<u64, Instant>>>;

/// The number in `…"text":"n=123."…`, wherever it stands in a frame.
pub(crate) fn number(frame: &str) -> Option<u64> {
    let rest = &frame[frame.find("n=")? + 2..];
    rest[..rest.find('.')?].parse().ok()
}

async fn measure(port: u16, path: &'static str, stream: &str, bearer: Option<&str>, pid: u32) -> Outcome {
    let mut request = stream.into_client_request().expect("a request");
    if let Some(token) = bearer {
        request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().expect("a header"));
    }
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
    let sent: Sent = Sent::default();
    let arrived = {
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            let mut times = Histogram::<u64>::new(3).expect("a histogram");
            while times.len() < ALL - WARM {
                let next = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
                let Ok(Some(Ok(frame))) = next else { panic!("{} of all arrived", times.len()) };
                let Ok(text) = frame.to_text() else { continue };
                let n = number(text);
                let start = n.and_then(|n| sent.lock().expect("not poisoned").remove(&n));
                if let Some(start) = start.filter(|_| n >= Some(WARM)) {
                    times
                        .record(u64::try_from(start.elapsed().as_micros()).expect("small"))
                        .expect("in range");
                }
            }
            times
        })
    };
    let mut senders = tokio::task::JoinSet::new();
    for lane in 0..CONNECTIONS {
        let sent = Arc::clone(&sent);
        senders.spawn(async move {
            let mut connection = Connection::open(port).await;
            let every = Duration::from_micros(1_000_000 * CONNECTIONS / RATE);
            let offset = Duration::from_micros(1_000_000 / RATE * lane);
            let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
            let run = format!("T4{lane:02}");
            for n in (lane..ALL).step_by(usize::try_from(CONNECTIONS).expect("small")) {
                tick.tick().await;
                let text = body(n, &run, &format!("n={n}."));
                sent.lock().expect("not poisoned").insert(n, Instant::now());
                assert_eq!(connection.post(path, &text).await, 200);
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let cpu_before = cpu_seconds(pid);
    while let Some(done) = senders.join_next().await {
        done.expect("no panic");
    }
    let times = arrived.await.expect("no panic");
    let cpu = cpu_seconds(pid) - cpu_before;
    #[expect(clippy::cast_precision_loss, reason = "microseconds and counts")]
    let (ms, count) = (|q: f64| times.value_at_quantile(q) as f64 / 1000.0, (ALL - WARM) as f64);
    Outcome { p50_ms: ms(0.5), p99_ms: ms(0.99), cpu_us: cpu * 1e6 / count }
}

/// Prints T4 and T13.
pub(crate) async fn t4_and_t13() {
    let (mut p50, mut p99, mut cpu) = (Figures::default(), Figures::default(), Figures::default());
    for run in 0..RUNS {
        progress("T4 and T13: from a callback to a socket", run);
        let floor = FloorServer::start().await;
        let stream = format!("ws://127.0.0.1:{}/stream", floor.port);
        let bare = measure(floor.port, "/callback", &stream, None, floor.pid()).await;
        drop(floor);
        let loket = Loket::start().await;
        let agent = loket.log_in().await;
        let (stream, token) = (agent.stream(), Some(agent.token.as_str()));
        let ours = measure(loket.port, "/callbacks/whatsapp", &stream, token, loket.pid()).await;
        drop(loket);
        p50.add(ours.p50_ms, bare.p50_ms);
        p99.add(ours.p99_ms, bare.p99_ms);
        cpu.add(ours.cpu_us, bare.cpu_us);
    }
    let ms = |value: f64| format!("{value:.2} ms");
    let what = format!("callback to socket at {RATE}/s");
    p50.report("T4", &format!("{what}, p50"), ms, "<= 2");
    p99.report("T4", &format!("{what}, p99"), ms, "<= 3");
    cpu.report("T13", "processor time a message, end to end", |us| format!("{us:.0} us"), "<= 3");
}

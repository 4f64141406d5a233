//! The hardest real customer on this machine, which also runs broker, database and load: T5, and what
//! happens beyond it: T14 and T15. All of it on RabbitMQ, PostgreSQL and Redis, one process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::load::{self, Connection, echoes, message, now_seconds, status};
use crate::process::{Agent, Loket};
use crate::rows::per_second;
use crate::services::Services;
use crate::{Figures, RUNS, figure, pipeline, progress};

/// Callbacks a second: 1,000 messages, and three statuses for each of 1,000 that go out.
const RATE: u64 = 4_000;
/// How long.
const TIME: Duration = Duration::from_mins(1);
/// Before it: caches, connections, prepared statements; counted nowhere.
const WARM_UP: Duration = Duration::from_secs(5);
/// Connections that they come over.
const CONNECTIONS: u64 = 64;
/// Customers.
const CUSTOMERS: u64 = 2_000;
/// Messages of ours in one callback of the preparation.
const ECHOES: u64 = 50;
/// How long it may take to come to rest after a load.
const REST: Duration = Duration::from_mins(2);

/// The path of callbacks.
const PATH: &str = "/callbacks/whatsapp";

fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let ms = times.value_at_quantile(quantile) as f64 / 1000.0;
    ms
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("short")
}

/// One on RabbitMQ, PostgreSQL and Redis.
async fn start(services: &Services) -> (Loket, crate::postgres::Database) {
    let database = services.database().await;
    (Loket::start_on(services, &database, &[]).await, database)
}

async fn gone(services: &Services, loket: Loket, database: crate::postgres::Database) {
    drop(loket);
    database.gone().await;
    services.forget_queues().await;
}

/// The body of callback `n`: of four, one message and the three statuses of a message of ours.
fn of_the_mix(n: u64, seconds: u64) -> String {
    let (group, place) = (n / 4, n % 4);
    let who = group % CUSTOMERS;
    let ours = format!("OUT{group:08}");
    match place {
        0 => message(&format!("IN{group:08}"), who, &format!("n={n}."), seconds),
        1 => status(&ours, who, "sent", seconds),
        2 => status(&ours, who, "delivered", seconds),
        _ => status(&ours, who, "read", seconds),
    }
}

/// Puts the messages of ours into the threads to which statuses will come.
async fn prepare(port: u16, agent: &Agent, groups: u64) {
    let seconds = now_seconds();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await;
            loop {
                // Those of one customer: every CUSTOMERS-th group.
                let batch = next.fetch_add(1, Ordering::Relaxed);
                let (who, from) = (batch % CUSTOMERS, batch / CUSTOMERS * ECHOES);
                if from * CUSTOMERS > groups {
                    return;
                }
                let ids: Vec<String> =
                    (from..from + ECHOES).map(|turn| format!("OUT{:08}", turn * CUSTOMERS + who)).collect();
                assert_eq!(connection.post(PATH, &echoes(&ids, who, seconds)).await, 200);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    agent.until_at_rest(REST).await;
}

type Sent = Arc<Mutex<HashMap<u64, Instant>>>;

/// Posts the mix at [`RATE`], and tells the times to the 200: from when each was to be sent, so that a
/// wait for the one before counts too.
async fn post_the_mix(port: u16, sent: Sent) -> Histogram<u64> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let all = RATE * (WARM_UP + TIME).as_secs();
            let warm = RATE * WARM_UP.as_secs();
            let start = tokio::time::Instant::now();
            let mut tasks = JoinSet::new();
            for lane in 0..CONNECTIONS {
                let sent = Arc::clone(&sent);
                tasks.spawn(async move {
                    let mut connection = Connection::open(port).await;
                    let mut times = Histogram::<u64>::new(3).expect("a histogram");
                    let seconds = now_seconds();
                    for n in (lane..all).step_by(usize::try_from(CONNECTIONS).expect("few")) {
                        let due = start + Duration::from_micros(n * 1_000_000 / RATE);
                        tokio::time::sleep_until(due).await;
                        if n % 4 == 0 && n >= warm {
                            sent.lock().expect("not poisoned").insert(n, due.into_std());
                        }
                        assert_eq!(connection.post(PATH, &of_the_mix(n, seconds)).await, 200, "{n}");
                        if n >= warm {
                            times.record(micros(due.elapsed())).expect("in range");
                        }
                    }
                    times
                });
            }
            let mut all = Histogram::<u64>::new(3).expect("a histogram");
            while let Some(times) = tasks.join_next().await {
                all.add(times.expect("no panic")).expect("alike");
            }
            all
        })
    };
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Prints T5.
pub(crate) async fn t5() {
    let Some(services) = Services::named("T5") else { return };
    progress("T5: the yardstick, preparing", 0);
    let (loket, database) = start(&services).await;
    let agent = loket.log_in().await;
    prepare(loket.port, &agent, RATE / 4 * (WARM_UP + TIME).as_secs()).await;
    progress("T5: the yardstick, measuring", 0);
    let last = agent.get("/v1/events?limit=1").await;
    let after = last["last_seq"].as_i64().unwrap_or_default();
    let mut request = format!("{}?after={after}", agent.stream()).into_client_request().expect("a request");
    let bearer = format!("Bearer {}", agent.token).parse().expect("a header");
    request.headers_mut().insert("Authorization", bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("a socket");
    let sent: Sent = Sent::default();
    let messages = RATE / 4 * TIME.as_secs();
    let arrived = {
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            let mut times = Histogram::<u64>::new(3).expect("a histogram");
            while times.len() < messages {
                let next = tokio::time::timeout(REST, socket.next()).await;
                let Ok(Some(Ok(frame))) = next else { panic!("{} of {messages} arrived", times.len()) };
                let Ok(text) = frame.to_text() else { continue };
                let start =
                    pipeline::number(text).and_then(|n| sent.lock().expect("not poisoned").remove(&n));
                if let Some(start) = start {
                    times.record(micros(start.elapsed())).expect("in range");
                }
            }
            times
        })
    };
    let answered = post_the_mix(loket.port, sent).await;
    let backlog = agent.until_at_rest(REST).await;
    let arrived = arrived.await.expect("no panic");
    let what = format!("{RATE} callbacks/s for {} s, all 200", TIME.as_secs());
    figure("T5", &format!("{what}; answered, p50"), &format!("{:.1} ms", ms(&answered, 0.5)), "none");
    figure("T5", "  answered, p99", &format!("{:.1} ms", ms(&answered, 0.99)), "<= 100 ms");
    figure("T5", "  to an agent's socket, p50", &format!("{:.1} ms", ms(&arrived, 0.5)), "none");
    figure("T5", "  to an agent's socket, p99", &format!("{:.1} ms", ms(&arrived, 0.99)), "<= 250 ms");
    figure("T5", "  bus and log empty after the end", &format!("{:.2} s", backlog.as_secs_f64()), "at once");
    gone(&services, loket, database).await;
}

/// What became of a load.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    accepted: u64,
    refused: u64,
}

/// Posts messages for a while: over `connections` as fast as they are answered, or together at a rate; each
/// `times` at once. How many were answered 200, and how many 503.
async fn post_messages(
    port: u16,
    run: &'static str,
    connections: u64,
    rate: Option<u64>,
    times: u64,
    time: Duration,
) -> Taken {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let (next, start) = (Arc::new(AtomicU64::new(0)), tokio::time::Instant::now());
            let mut tasks = JoinSet::new();
            for _ in 0..connections {
                let next = Arc::clone(&next);
                tasks.spawn(async move {
                    let mut own = Vec::new();
                    for _ in 0..times {
                        own.push(Connection::open(port).await);
                    }
                    let (mut taken, seconds) = (Taken::default(), now_seconds());
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if let Some(rate) = rate {
                            tokio::time::sleep_until(start + Duration::from_micros(n * 1_000_000 / rate))
                                .await;
                        }
                        if start.elapsed() > time {
                            return taken;
                        }
                        let text = message(&format!("{run}{n:08}"), n % CUSTOMERS, "Waar is het?", seconds);
                        let all = own.iter_mut().map(|connection| connection.post(PATH, &text));
                        let answers = futures_util::future::join_all(all).await;
                        for answer in &answers {
                            assert!([200, 503].contains(answer), "{answer}");
                        }
                        let is_accepted = answers.contains(&200);
                        taken.accepted += u64::from(is_accepted);
                        taken.refused += u64::from(!is_accepted);
                    }
                });
            }
            let mut all = Taken::default();
            while let Some(taken) = tasks.join_next().await {
                let taken = taken.expect("no panic");
                all.accepted += taken.accepted;
                all.refused += taken.refused;
            }
            all
        })
    };
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Posts, and waits until all of it is in its threads: what is done a second, the waiting included, and
/// whether every message that was answered 200 is there once.
async fn done_per_second(
    loket: &Loket,
    agent: &Agent,
    database: &crate::postgres::Database,
    load: (&'static str, u64, Option<u64>, u64),
    time: Duration,
) -> (f64, Taken) {
    let (run, connections, rate, times) = load;
    let before = database.number("SELECT COUNT(*) FROM messages").await;
    let start = Instant::now();
    let taken = post_messages(loket.port, run, connections, rate, times, time).await;
    agent.until_at_rest(REST).await;
    let took = start.elapsed();
    let there = database.number("SELECT COUNT(*) FROM messages").await - before;
    // What was refused may be there all the same; what was accepted must be.
    let there = u64::try_from(there).expect("they grow");
    assert!(there >= taken.accepted, "{there} of {} that were answered 200 are there", taken.accepted);
    assert!(there <= taken.accepted + taken.refused, "{there} are there, more than were posted");
    (load::rate(taken.accepted, took), taken)
}

/// How long each load of T14 lasts.
const OVERLOAD: Duration = Duration::from_secs(30);
/// How long each load of T15 lasts.
const STORM: Duration = Duration::from_secs(10);

/// Prints T14: twice what can be kept up.
pub(crate) async fn t14() {
    let Some(services) = Services::named("T14") else { return };
    let (loket, database) = start(&services).await;
    let agent = loket.log_in().await;
    progress("T14: what can be kept up", 0);
    let (warm, _) = done_per_second(&loket, &agent, &database, ("W", 64, None, 1), STORM).await;
    let (kept_up, _) = done_per_second(&loket, &agent, &database, ("A", 64, None, 1), OVERLOAD).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
    let twice = (warm.max(kept_up) * 2.0) as u64;
    progress("T14: twice that", 0);
    let load = ("B", 512, Some(twice), 1);
    let (overloaded, taken) = done_per_second(&loket, &agent, &database, load, OVERLOAD).await;
    let mut figures = Figures::default();
    figures.add(overloaded, kept_up);
    figures.report("T14", &format!("done at {twice}/s, all 200s there"), per_second, ">= 0.8");
    figure("T14", "  answered 503", &taken.refused.to_string(), "none");
    gone(&services, loket, database).await;
}

/// Prints T15: each callback three times in parallel.
pub(crate) async fn t15() {
    let mut figures = Figures::default();
    for run in 0..RUNS {
        let Some(services) = Services::named("T15") else { return };
        progress("T15: each callback three times", run);
        let (loket, database) = start(&services).await;
        let agent = loket.log_in().await;
        done_per_second(&loket, &agent, &database, ("W", 64, None, 1), WARM_UP).await;
        let (plain, _) = done_per_second(&loket, &agent, &database, ("A", 64, None, 1), STORM).await;
        let (storm, _) = done_per_second(&loket, &agent, &database, ("B", 22, None, 3), STORM).await;
        // Three callbacks are answered for each message that is done.
        figures.add(storm * 3.0, plain);
        gone(&services, loket, database).await;
    }
    figures.report("T15", "callbacks done, each three times in parallel", per_second, ">= 0.7");
}

//! T6: from a reply that was accepted to the request at the provider. The provider is a bare server that
//! says yes and notes the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::load::{Connection, message, now_seconds};
use crate::process::Loket;
use crate::services::Services;
use crate::{TIME, figure, pipeline, progress};

/// Replies a second.
const RATE: u64 = 100;
/// One for each customer: a pair's own pace is not what is measured.
const CUSTOMERS: u64 = 600;

type Asked = Arc<Mutex<HashMap<u64, Instant>>>;

async fn graph(body: web::Bytes, asked: web::Data<Asked>) -> HttpResponse {
    let text = String::from_utf8_lossy(&body);
    let Some(number) = pipeline::number(&text) else { return HttpResponse::Ok().json(serde_json::json!({})) };
    asked.lock().expect("not poisoned").entry(number).or_insert_with(Instant::now);
    HttpResponse::Ok().json(serde_json::json!({
        "messaging_product": "whatsapp", "contacts": [], "messages": [{"id": format!("wamid.OUT{number}")}],
    }))
}

/// Both on embedded backends and on services.
pub(crate) async fn t6() {
    progress("T6: replies out, embedded", 0);
    let asked = Asked::default();
    let shared = web::Data::new(Arc::clone(&asked));
    let server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(graph)))
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .expect("a port");
    let port = server.addrs().first().expect("an address").port();
    let server = server.run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let graph = format!("graph.url=http://127.0.0.1:{port}");
    let sets = [graph.as_str(), "whatsapp.accounts.bench.messages_per_second=1000"];
    let loket = Loket::start_with(&sets, &[None]).await;
    report("embedded", &measure(&loket, &asked).await);
    drop(loket);
    if let Some(services) = Services::named("T6") {
        progress("T6: replies out, on services", 0);
        asked.lock().expect("not poisoned").clear();
        let database = services.database().await;
        let loket = Loket::start_on(&services, &database, &sets).await;
        report("on services", &measure(&loket, &asked).await);
        drop(loket);
        database.gone().await;
        services.forget_queues().await;
    }
    handle.stop(false).await;
    serving.await.expect("no panic").expect("it served");
}

fn report(world: &str, times: &Histogram<u64>) {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let ms = |quantile: f64| format!("{:.1} ms", times.value_at_quantile(quantile) as f64 / 1000.0);
    figure("T6", &format!("reply accepted to request, {RATE}/s, {world}, p50"), &ms(0.5), "<= 10 ms");
    figure("T6", "  p99", &ms(0.99), "<= 50 ms");
}

async fn measure(loket: &Loket, asked: &Asked) -> Histogram<u64> {
    let agent = loket.log_in().await;
    let (mut connection, seconds) = (Connection::open(loket.port).await, now_seconds());
    for who in 0..CUSTOMERS {
        let text = message(&format!("T6{who}"), who, "Hallo?", seconds);
        assert_eq!(connection.post("/callbacks/whatsapp", &text).await, 200);
    }
    agent.until_at_rest(Duration::from_secs(30)).await;
    let threads = agent.threads().await;
    assert_eq!(threads.len() as u64, CUSTOMERS);
    let all = RATE * TIME.as_secs();
    let (start, mut replies) = (tokio::time::Instant::now(), JoinSet::new());
    for (n, thread) in (0..all).zip(&threads) {
        let thread = thread["id"].as_str().expect("an id").to_owned();
        let agent = agent.clone();
        replies.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_micros(n * 1_000_000 / RATE)).await;
            (n, agent.reply(&thread, &format!("n={n}.")).await)
        });
    }
    let accepted = replies.join_all().await;
    let end = Instant::now() + Duration::from_secs(30);
    let mut times = Histogram::<u64>::new(3).expect("a histogram");
    for (n, accepted) in accepted {
        let at = loop {
            if let Some(at) = asked.lock().expect("not poisoned").get(&n).copied() {
                break at;
            }
            assert!(Instant::now() < end, "reply {n} was not asked for");
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        // The request may leave before the answer to the agent has arrived.
        let took = at.saturating_duration_since(accepted);
        times.record(u64::try_from(took.as_micros()).expect("short")).expect("in range");
    }
    times
}

//! T2 and T3: callbacks made safe, and messages appended, against SQLite's own batched inserts of as many
//! rows and bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use loket_backbone::bus::{self, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::kv;
use loket_backbone::tasks::Tasks;
use loket_connectors::{Connectors, ConnectorsSettings};
use loket_hub::{Hub, HubSettings, MasterKey};
use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};
use sqlx::{Executor as _, Row as _};

use crate::load::{self, APP_SECRET, PHONE_NUMBER, body};
use crate::{SECONDS, raw, report};

/// Connections of T2.
const CONNECTIONS: usize = 64;
/// Rows of a transaction of the floor; the hub's own batches are as large.
const BATCH: usize = 64;
/// Messages of T3.
const MESSAGES: u64 = 40_000;

async fn wire(folder: &Path) -> Wire {
    let url = format!("embedded:{}", folder.join("bus").display());
    Wire::new(bus::open(&url, Clock::system(), TOPICS, SUBJECTS).await.expect("a bus"))
}

fn connectors(wire: &Wire) -> Connectors {
    let whatsapp = serde_json::json!({"app_secret": APP_SECRET, "verify_token": "bench",
        "accounts": {"bench": {"phone_number_id": PHONE_NUMBER, "access_token": "bench"}}});
    let settings = ConnectorsSettings {
        channels: BTreeMap::from([("whatsapp".to_owned(), whatsapp)]),
        ..ConnectorsSettings::default()
    };
    let kv = kv::open("memory:", Clock::system()).expect("kv");
    Connectors::build(&settings, wire.clone(), kv, Clock::system()).expect("channels")
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// Callbacks made safe on the embedded bus and answered 200.
pub(crate) async fn t2() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = wire(folder.path()).await;
    let connectors = connectors(&wire);
    let server = HttpServer::new(move || {
        let connectors = connectors.clone();
        App::new().configure(move |service| connectors.configure(service))
    })
    .workers(2)
    .tcp_nodelay(true)
    .disable_signals()
    .bind("127.0.0.1:0")
    .expect("a port");
    let port = server.addrs().first().expect("an address").port();
    let server = server.run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let time = Duration::from_secs(SECONDS);
    let ours = load::full(port, "/callbacks/whatsapp", CONNECTIONS, time).await;
    handle.stop(false).await;
    serving.await.expect("no panic").expect("it served");
    wire.bus().close().await;
    let payload = body(1, "T2", "Is het pakket al verzonden?");
    let floor = raw::groups_per_second(folder.path(), &[("bus", &payload)], BATCH, time).await;
    report(
        "T2",
        "callbacks made safe, embedded bus",
        &per_second(ours),
        &per_second(floor),
        ours / floor,
        ">= 0.4",
    );
}

/// Messages appended by the hub: inbox key, identity, thread seq, message, log entry, window.
pub(crate) async fn t3() {
    let folder = tempfile::tempdir().expect("a folder");
    let wire = wire(folder.path()).await;
    let connectors = connectors(&wire);
    let mut items = Vec::new();
    for number in 0..MESSAGES {
        let text = body(number, "T3", "Is het pakket al verzonden?");
        let received =
            connectors.reread("whatsapp", text.as_bytes(), Clock::system().now()).expect("a callback");
        for event in received.events {
            items.push(Wire::item(event.key(), event.lane(), String::new(), &event).expect("an item"));
        }
    }
    for part in items.chunks(1000) {
        wire.publish(&INBOUND, part).await.expect("published");
    }
    let mut settings = HubSettings::default();
    let file = folder.path().join("loket.db");
    settings.store.url = format!("sqlite:{}", file.display());
    let key = MasterKey::from_file_contents(b"0123456789abcdefghijklmnopqrstuv").expect("a key");
    let kv = kv::open("memory:", Clock::system()).expect("kv");
    let accounts = connectors.accounts();
    let hub = Hub::open(&settings, key, accounts, wire.clone(), kv, Clock::system()).await.expect("a hub");
    let tasks = Tasks::new();
    let start = Instant::now();
    hub.start(&tasks);
    while wire.bus().depth(INBOUND.name, INBOUND.group).await.expect("a depth").items > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ours = load::rate(MESSAGES, start.elapsed());
    tasks.stop(Duration::from_secs(30)).await;
    hub.close().await;
    wire.bus().close().await;
    let mut store = raw::open(&file).await;
    let mut sizes = Vec::new();
    for (table, columns) in [
        ("inbox", "LENGTH(effect_id) + 20"),
        ("messages", "LENGTH(content) + LENGTH(external_id) + 300"),
        ("log", "LENGTH(data) + 100"),
    ] {
        let text = format!("SELECT CAST(AVG({columns}) AS INTEGER) AS n, COUNT(*) AS c FROM {table}");
        let row = store.fetch_one(sqlx::AssertSqlSafe(text)).await.expect("sizes");
        sizes.push((table, "x".repeat(usize::try_from(row.get::<i64, _>("n")).expect("a size"))));
    }
    let tables: Vec<(&str, &str)> = sizes.iter().map(|(table, text)| (*table, text.as_str())).collect();
    let bare = tempfile::tempdir().expect("a folder");
    let floor = raw::groups_per_second(bare.path(), &tables, BATCH, Duration::from_secs(SECONDS)).await;
    report(
        "T3",
        "messages appended by the hub, SQLite",
        &per_second(ours),
        &per_second(floor),
        ours / floor,
        ">= 0.5",
    );
}

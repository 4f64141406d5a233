//! T2 and T3: callbacks made safe, and messages appended, against SQLite's own batched inserts of as many
//! rows and bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use loket_backbone::bus::{self, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::kv;
use loket_backbone::tasks::Tasks;
use loket_connectors::{Connectors, ConnectorsSettings};
use loket_hub::{Hub, HubSettings, MasterKey};
use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};

use crate::load::{self, APP_SECRET, PHONE_NUMBER, body};
use crate::postgres::Database;
use crate::{Figures, RUNS, TIME, WARM_UP, broker, progress, raw};

/// Rows of a transaction of the floor; the hub's own batches are as large.
const BATCH: usize = 64;
/// Messages of T3: as many as the bus keeps in memory, as when the hub is not behind …
const MESSAGES: u64 = 18_000;
/// … of which these warm up.
const WARM: u64 = 2_000;

async fn wire(folder: &Path) -> Wire {
    let url = format!("embedded:{}", folder.join("bus").display());
    Wire::new(bus::open(&url, Clock::system(), TOPICS, SUBJECTS).await.expect("a bus"))
}

/// The role `connectors` with one number, on this bus.
pub(crate) fn connectors(wire: &Wire) -> Connectors {
    let whatsapp = serde_json::json!({"app_secret": APP_SECRET, "verify_token": "bench",
        "accounts": {"bench": {"phone_number_id": PHONE_NUMBER, "access_token": "bench"}}});
    let settings = ConnectorsSettings {
        channels: BTreeMap::from([("whatsapp".to_owned(), whatsapp)]),
        ..ConnectorsSettings::default()
    };
    let kv = kv::open("memory:", Clock::system()).expect("kv");
    Connectors::build(&settings, wire.clone(), kv, Clock::system(), Disks::none()).expect("channels")
}

/// A rate, as the report has it.
pub(crate) fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

/// Callbacks made safe on the embedded bus and answered 200.
pub(crate) async fn t2() {
    let (mut same, mut bare) = (Figures::default(), Figures::default());
    for run in 0..RUNS {
        progress("T2: callbacks onto the embedded bus", run);
        let folder = tempfile::tempdir().expect("a folder");
        let wire = wire(folder.path()).await;
        let connectors = connectors(&wire);
        let ours = broker::served(move |service| connectors.configure(service)).await;
        let event = wire.bus().peek(INBOUND.name, INBOUND.group, 1).await.expect("items");
        let event = "x".repeat(event.first().expect("an event").payload.len());
        wire.bus().close().await;
        let body = body(1, "FULL", "Is het pakket al verzonden?");
        let floor = async |tables: &[(&str, String)]| {
            let folder = tempfile::tempdir().expect("a folder");
            raw::groups_per_second(folder.path(), tables, BATCH, WARM_UP, TIME).await
        };
        same.add(ours, floor(&[("bus", event), ("bus", body.clone())]).await);
        bare.add(ours, floor(&[("bus", body)]).await);
    }
    same.report("T2", "callbacks made safe: event and body kept", per_second, ">= 0.4");
    bare.report("T2", "  against the body's row alone", per_second, "none");
}

/// Messages appended by the hub: inbox key, identity, thread seq, message, log entry, window.
pub(crate) async fn t3() {
    let (mut same, mut bare) = (Figures::default(), Figures::default());
    for run in 0..RUNS {
        progress("T3: messages into the store", run);
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("sqlite:{}", folder.path().join("loket.db").display());
        let ours = appended(folder.path(), store).await;
        let tables = raw::tables(&folder.path().join("loket.db"), &TABLES).await;
        same.add(ours, raw::copies_per_second(folder.path(), &tables, BATCH).await);
        // The key is in the payload's size already.
        let key = "m|whatsapp:305|wamid.00000.00".len();
        let rows: Vec<(&str, String)> = TABLES
            .iter()
            .zip(&tables)
            .map(|(name, table)| (*name, "x".repeat(table.row_bytes() - key)))
            .collect();
        bare.add(ours, raw::groups_per_second(folder.path(), &rows, BATCH, WARM_UP, TIME).await);
    }
    same.report("T3", "messages appended, against the same rows bare", per_second, ">= 0.5");
    bare.report("T3", "  against tables without keys and indexes", per_second, "none");
}

/// The same on PostgreSQL, where a server is named.
pub(crate) async fn t3_on_postgres() {
    let mut same = Figures::default();
    for run in 0..RUNS {
        let Some(database) = Database::fresh(&format!("bench_{}_{run}", std::process::id())).await else {
            println!("T3   on PostgreSQL: not measured, because LOKET_TEST_POSTGRES names no server");
            return;
        };
        progress("T3: messages into the store on PostgreSQL", run);
        let folder = tempfile::tempdir().expect("a folder");
        let ours = appended(folder.path(), database.url()).await;
        same.add(ours, database.copies_per_second(&TABLES, BATCH).await);
        database.gone().await;
    }
    same.report("T3", "messages appended on PostgreSQL, same rows bare", per_second, ">= 0.5");
}

/// The tables of which every message takes a row.
const TABLES: [&str; 3] = ["inbox", "messages", "log"];

/// How many messages a second the hub takes from the bus into the store.
async fn appended(folder: &Path, store: String) -> f64 {
    let wire = wire(folder).await;
    let connectors = connectors(&wire);
    let mut items = Vec::new();
    for number in 0..MESSAGES {
        let text = body(number, "T3", "Is het pakket al verzonden?");
        let received = connectors
            .channels()
            .reread("whatsapp", text.as_bytes(), Clock::system().now())
            .expect("a callback");
        for event in received.events {
            items.push(Wire::item(event.key(), event.lane(), String::new(), &event).expect("an item"));
        }
    }
    for part in items.chunks(1000) {
        wire.publish(&INBOUND, part).await.expect("published");
    }
    let mut settings = HubSettings::default();
    settings.store.url = store;
    let key = MasterKey::from_file_contents(b"0123456789abcdefghijklmnopqrstuv").expect("a key");
    let kv = kv::open("memory:", Clock::system()).expect("kv");
    let accounts = connectors.channels().accounts();
    let hub = Hub::open(&settings, key, accounts, wire.clone(), kv, Clock::system()).await.expect("a hub");
    let tasks = Tasks::new();
    let left = async || wire.bus().depth(INBOUND.name, INBOUND.group).await.expect("a depth").items;
    hub.start(&tasks);
    while left().await > MESSAGES - WARM {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (start, from) = (Instant::now(), left().await);
    while left().await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ours = load::rate(from, start.elapsed());
    tasks.stop(Duration::from_secs(30)).await;
    hub.close().await;
    wire.bus().close().await;
    ours
}

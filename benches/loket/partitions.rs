//! T10: two hub processes against one, on the same waiting messages.

use std::time::{Duration, Instant};

use loket_backbone::bus::{self, Wire};
use loket_backbone::clock::Clock;
use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};

use crate::load::{self, body};
use crate::process::Loket;
use crate::rows::{connectors, per_second};
use crate::services::Services;
use crate::{Figures, RUNS, progress};

/// Messages that wait when the hubs start.
const MESSAGES: u64 = 30_000;
/// Of these, so many are done before the time is taken.
const WARM: u64 = 5_000;

/// How many messages a second so many hubs take off the broker.
async fn taken_per_second(hubs: usize) -> Option<f64> {
    let services = Services::named("T10")?;
    let database = services.database().await;
    let opened = bus::open(&services.amqp(), Clock::system(), TOPICS, SUBJECTS).await;
    let wire = Wire::new(opened.expect("a bus"));
    let channels = connectors(&wire);
    let mut items = Vec::new();
    for number in 0..MESSAGES {
        let text = body(number, "T10", "Is het pakket al verzonden?");
        let now = Clock::system().now();
        let received = channels.channels().reread("whatsapp", text.as_bytes(), now).expect("a callback");
        for event in received.events {
            items.push(Wire::item(event.key(), event.lane(), String::new(), &event).expect("an item"));
        }
    }
    for part in items.chunks(1000) {
        wire.publish(&INBOUND, part).await.expect("published");
    }
    let roles = vec![Some("hub"); hubs];
    let loket = Loket::start_split(&services, &database, &[], &roles).await;
    // The database says what is done: a hub's acknowledgements come later, in batches.
    let done = async || database.number("SELECT COUNT(*) FROM messages").await.unsigned_abs();
    while done().await < WARM {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (start, from) = (Instant::now(), done().await);
    while done().await < MESSAGES {
        assert!(start.elapsed() < Duration::from_mins(2), "{} of {MESSAGES}", done().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = load::rate(MESSAGES - from, start.elapsed());
    drop(loket);
    wire.bus().close().await;
    database.gone().await;
    services.forget_queues().await;
    Some(rate)
}

/// Prints T10.
pub(crate) async fn t10() {
    let mut figures = Figures::default();
    for run in 0..RUNS {
        progress("T10: two hubs against one", run);
        let Some(two) = taken_per_second(2).await else { return };
        let Some(one) = taken_per_second(1).await else { return };
        figures.add(two, one);
    }
    figures.report("T10", "messages taken by two hub processes", per_second, ">= 1");
}

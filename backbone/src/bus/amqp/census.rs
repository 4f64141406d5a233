//! What the other processes hold: the broker tells how many items wait and how many consumers there
//! are, and not what those consumers have in hand. So whoever wants to know asks all of them, and
//! each answers for itself. Only asked when the broker says that there are others.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use serde::{Deserialize, Serialize};

use super::asks::Answer;
use super::lane::{Lane, Sight};
use super::link::Link;
use super::publisher::{Outlet, Publisher};
use super::{Shared, message};
use crate::bus::{BusError, Item};

/// How long the others may take. A process that is dead but not yet noticed costs so much.
const DEADLINE: Duration = Duration::from_millis(500);
/// What one process shows of its payloads, in bytes, unless a single item is larger.
const SHOWN_BYTES_MAX: usize = 1024 * 1024;

/// The question.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// Who asks; it does not answer itself.
    process: String,
    topic: String,
    group: String,
    /// How many items are to be shown.
    show: usize,
}

/// What one process has.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) sight: Sight,
    shown: Vec<Shown>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    at_ms: i64,
    id: String,
    key: String,
    trace: String,
    /// Base64.
    payload: String,
}

impl Told {
    /// The items that it shows, each with the time of its publish.
    pub(super) fn items(self) -> impl Iterator<Item = (i64, Item)> {
        self.shown.into_iter().filter_map(|Shown { at_ms, id, key, trace, payload }| {
            let payload = STANDARD.decode(payload).ok()?.into();
            Some((at_ms, Item { id, key, payload, trace }))
        })
    }
}

/// Asks the `others` that consume a lane.
pub(super) async fn take(
    shared: &Shared,
    outlet: &Outlet,
    lane: &Lane,
    others: u32,
    show: usize,
) -> Result<Vec<Told>, BusError> {
    let asked =
        Asked { process: shared.process.clone(), topic: lane.name.clone(), group: lane.group.clone(), show };
    let payload = serde_json::to_vec(&asked).map_err(|error| BusError::Unreadable(error.to_string()))?;
    let others = usize::try_from(others).unwrap_or(usize::MAX);
    let told = outlet.asks.ask_all(shared.layout.census.clone(), &payload, others, DEADLINE).await?;
    Ok(told.iter().filter_map(|told| serde_json::from_slice(told).ok()).collect())
}

/// Answers the others until the connection is lost; says why.
pub(super) async fn answer(shared: &Shared, publisher: &Publisher, link: &Link) -> String {
    match answer_on(shared, publisher, link).await {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    }
}

async fn answer_on(
    shared: &Shared,
    publisher: &Publisher,
    link: &Link,
) -> Result<std::convert::Infallible, BusError> {
    let lost = |error: lapin::Error| super::link::lost(&error);
    let channel = link.channel().await?;
    let ours = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(ShortString::default(), ours, FieldTable::default()).await;
    let queue = queue.map_err(lost)?.name().clone();
    let bound = channel.queue_bind(
        queue.clone(),
        shared.layout.census.clone(),
        ShortString::default(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.map_err(lost)?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default()).await;
    let mut consumer = consumer.map_err(lost)?;
    while let Some(came) = consumer.next().await {
        let question = message::read_item(0, came.map_err(lost)?, shared.clock.instant());
        let Ok(asked) = serde_json::from_slice::<Asked>(&question.item.payload) else { continue };
        let Some(reply_to) = question.reply_to.filter(|_| asked.process != shared.process) else { continue };
        let lane = shared.lanes.iter().find(|lane| lane.name == asked.topic && lane.group == asked.group);
        let Some(lane) = lane.filter(|lane| lane.is_attached()) else { continue };
        let told = Told { sight: lane.sight(), shown: shown(lane, asked.show) };
        let payload = serde_json::to_vec(&told).ok().map(Into::into);
        // Who asks has a deadline, and does without.
        let _ = publisher.outlet_now().and_then(|outlet| outlet.asks.answer(Answer { reply_to, payload }));
    }
    Err(BusError::Unavailable("the broker cancelled a consumer".to_owned()))
}

fn shown(lane: &Lane, max: usize) -> Vec<Shown> {
    let mut bytes = 0usize;
    let mut shown = Vec::new();
    for (at_ms, item) in lane.oldest(max) {
        bytes = bytes.saturating_add(item.payload.len());
        if bytes > SHOWN_BYTES_MAX && !shown.is_empty() {
            break;
        }
        let payload = STANDARD.encode(&item.payload);
        let Item { id, key, trace, .. } = (*item).clone();
        shown.push(Shown { at_ms, id, key, trace, payload });
    }
    shown
}

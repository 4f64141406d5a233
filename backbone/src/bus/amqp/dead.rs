//! What the broker gave up on, back into its topic.
//!
//! The broker counts every delivery that was not acknowledged, also of items that nobody had begun
//! with, so its judgement is no reason to set anything aside (M7). An item that really cannot be
//! carried out is found by the hub's own count, which parks it at the fifth turn, long before the
//! broker's limit. So this is a backstop that loses nothing: publish again with confirm, then
//! acknowledge.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lane::{Lane, Taken};
use super::publisher::Publisher;
use super::{Backoff, Shared};
use crate::bus::BusError;

/// So many are taken at a time.
const TAKE_MAX: usize = 64;

/// Empties the dead letters until the bus is closed.
pub(super) async fn empty(
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    lane: Arc<Lane>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    loop {
        let grown = lane.grown.notified();
        tokio::pin!(grown);
        grown.as_mut().enable();
        let taken = lane.take(TAKE_MAX, shared.clock.instant());
        if taken.is_empty() {
            if lane.want() {
                shared.wanted.notify_one();
            }
            tokio::select! {
                () = grown => continue,
                () = stop.cancelled() => return,
            }
        }
        let mut failed = false;
        for taken in taken {
            match give_back(&shared, &publisher, &taken).await {
                // It fails only when the connection is lost, and then the item comes once more.
                Ok(()) => drop(lane.settle(taken.number)),
                Err(error) => {
                    tracing::warn!(%error, "a dead letter waits to go back to its topic");
                    lane.give_back(taken.number);
                    failed = true;
                }
            }
        }
        if !failed {
            backoff = Backoff::default();
        } else if !backoff.wait(&stop).await {
            return;
        }
    }
}

async fn give_back(shared: &Shared, publisher: &Publisher, taken: &Taken) -> Result<(), BusError> {
    let topic = shared.layout.topics.values().find(|topic| Some(&topic.exchange) == taken.origin.as_ref());
    let Some(topic) = topic else {
        let from = taken.origin.as_ref().map_or("nowhere", |exchange| exchange.as_str());
        return Err(BusError::Unroutable(from.to_owned()));
    };
    publisher.publish(topic, std::slice::from_ref(&*taken.item)).await?;
    metrics::counter!("loket_bus_dead_letters_total", "topic" => topic.name.clone()).increment(1);
    tracing::warn!(
        topic = topic.name,
        trace = taken.item.trace,
        "the broker had given up on an item; it is back in its topic"
    );
    Ok(())
}

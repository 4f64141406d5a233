//! The oldest items of queues that nobody consumes: taken on a connection of its own
//! for a moment, whose socket is then dropped, so that they go back to their places.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};

use super::lane::Lane;
use super::link::{Link, lost};
use super::publisher::look;
use super::{Shared, message};
use crate::bus::{BusError, Item};

/// How long it waits for items that the broker says are there.
const WAIT: Duration = Duration::from_secs(1);
/// So many of one queue are looked at.
const LOOK_MAX: u64 = 1000;

/// The oldest items of a lane.
pub(super) async fn oldest(shared: &Shared, lane: &Lane, max: usize) -> Result<Vec<Item>, BusError> {
    let (link, _fate) = Link::connect(&shared.address, "loket: looking").await?;
    let mut found = Vec::new();
    for queue in &lane.queues {
        let channel = link.channel().await?;
        let (ready, _) = look(&channel, queue).await?;
        let wanted = usize::try_from(ready.min(LOOK_MAX)).unwrap_or(0).min(max);
        if wanted == 0 {
            continue;
        }
        let prefetch = u16::try_from(wanted).unwrap_or(u16::MAX);
        let limited = channel.basic_qos(prefetch, BasicQosOptions::default()).await;
        limited.map_err(|error| lost(&error))?;
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(queue.clone(), ShortString::default(), options, FieldTable::default())
            .await;
        let mut consumer = consumer.map_err(|error| lost(&error))?;
        let take = async {
            for _ in 0..wanted {
                let Some(Ok(delivery)) = consumer.next().await else { break };
                let came = message::read_item(0, delivery, shared.clock.instant());
                found.push((came.at_ms, came.item));
            }
        };
        // What another process takes first does not come, and that is no error.
        let _ = tokio::time::timeout(WAIT, take).await;
    }
    link.cut();
    found.sort_by_key(|(at_ms, _)| *at_ms);
    Ok(found.into_iter().take(max).map(|(_, item)| (*item).clone()).collect())
}

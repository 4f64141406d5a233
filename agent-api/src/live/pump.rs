//! The pump: reads what is new in the log once for all sockets of the process.

use std::sync::Arc;
use std::time::Duration;

use loket_backbone::kv::Wake;
use loket_hub::{EVENTS_PAGE_MAX, EventFilter, HubError};
use loket_protocol::topics::WAKE_LOG;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::frames;
use crate::Shared;

/// How long it looks nowhere when no wake-up comes: wake-ups may be lost.
const POLL: Duration = Duration::from_secs(1);

/// Runs until `stop`; then tells every socket to go away.
pub(crate) async fn pump(shared: Arc<Shared>, stop: CancellationToken) {
    let mut wakes = shared.kv.listen();
    let mut position = None;
    loop {
        match forward(&shared, &mut position).await {
            Ok(()) => {}
            Err(error) => {
                metrics::counter!("loket_live_read_failures_total").increment(1);
                tracing::warn!(%error, "the log could not be read; sockets wait");
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = log_may_have_grown(&mut wakes) => {}
        }
    }
    shared.live.go_away();
}

/// Hands everything on that is new.
async fn forward(shared: &Shared, position: &mut Option<i64>) -> Result<(), HubError> {
    let mut at = if let Some(at) = *position {
        at
    } else {
        let (head, _) = shared.hub.log_head().await?;
        shared.live.begin_at(head);
        *position = Some(head);
        head
    };
    loop {
        let filter = EventFilter { after: at, types: Vec::new(), limit: EVENTS_PAGE_MAX };
        let events = shared.hub.events(&filter).await?;
        let frames: Vec<_> = events.iter().map(frames::event).collect();
        let Some(last) = events.last() else { return Ok(()) };
        shared.live.hand_on(&frames);
        at = last.seq;
        *position = Some(at);
        if u32::try_from(events.len()).is_ok_and(|found| found < EVENTS_PAGE_MAX) {
            return Ok(());
        }
    }
}

/// Waits for a wake-up of the log, at most [`POLL`].
async fn log_may_have_grown(wakes: &mut broadcast::Receiver<Wake>) {
    let woken = async {
        loop {
            match wakes.recv().await {
                Ok(wake) if wake.channel == WAKE_LOG => return,
                Ok(_) => {}
                // Some were lost, and one of them may have been the log's.
                Err(broadcast::error::RecvError::Lagged(_)) => return,
                // No more wake-ups: polling is enough.
                Err(broadcast::error::RecvError::Closed) => std::future::pending::<()>().await,
            }
        }
    };
    // Elapsed or not: both mean "look".
    let _ = tokio::time::timeout(POLL, woken).await;
}

//! What may be lost on its way to open sockets: who is writing, who is there, and that a session
//! ended. It comes over kv from every process, and has a task of its own, so that it never holds up the log.

use std::sync::Arc;

use loket_protocol::event::LiveSignal;
use loket_protocol::topics::LIVE;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::frames;
use crate::Shared;

/// Passes signals on until `stop`.
pub(crate) async fn signals(shared: Arc<Shared>, stop: CancellationToken) {
    let mut wakes = shared.kv.listen();
    loop {
        let wake = tokio::select! {
            () = stop.cancelled() => return,
            wake = wakes.recv() => wake,
        };
        match wake {
            Ok(wake) if wake.channel == LIVE => pass_on(&shared, &wake.message).await,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn pass_on(shared: &Shared, message: &[u8]) {
    match serde_json::from_slice::<LiveSignal>(message) {
        Ok(LiveSignal::SessionEnded { principal }) => shared.live.recheck(&principal),
        // Looking a visitor up is for those who see it.
        Ok(LiveSignal::VisitorTyping { .. }) if shared.live.count() == 0 => {}
        Ok(signal) => {
            if let Some(frame) = shared.hub.hear(signal).await.as_ref().and_then(frames::signal) {
                shared.live.pass_on(&frame);
            }
        }
        Err(error) => tracing::debug!(%error, "a live signal of another version"),
    }
}

//! Sweeps: what is kept for a while only, taken away in small portions so that nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use loket_backbone::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::hub::Inner;
use crate::store::stamps::Run;
use crate::store::upkeep::Sweep;
use crate::store::{StoreError, inbox, stamps};

/// How often.
const EVERY: Duration = Duration::from_mins(1);
/// The most rows in one transaction.
const PORTION: u32 = 500;

/// Starts the worker.
pub(crate) fn start(inner: &Arc<Inner>, tasks: &Tasks) {
    let (inner, stop) = (Arc::clone(inner), tasks.stop_sign());
    tasks.spawn("sweeps", async move {
        while !stop.is_cancelled() {
            if let Err(error) = sweep(&inner, &stop).await {
                tracing::warn!(%error, "a sweep was put off");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

/// Takes away everything whose time is over, and puts together what can be told in fewer rows.
pub(crate) async fn sweep(inner: &Inner, stop: &CancellationToken) -> Result<(), StoreError> {
    for what in Sweep::ALL {
        while !stop.is_cancelled() {
            let mut tx = inner.store.begin_for_worker().await?;
            let before = tx.now().plus_millis(-what.keep_ms());
            let gone = what.run(&mut tx, before, PORTION).await?;
            tx.commit().await?;
            if gone < u64::from(PORTION) {
                break;
            }
        }
    }
    while !stop.is_cancelled() {
        let mut tx = inner.store.begin_for_worker().await?;
        let gone = inbox::sweep(&mut tx, PORTION).await?;
        tx.commit().await?;
        if gone < u64::from(PORTION) {
            break;
        }
    }
    let mut from = Some(Run::none());
    while let Some(place) = from.filter(|_| !stop.is_cancelled()) {
        let mut tx = inner.store.begin_for_worker().await?;
        from = stamps::gather(&mut tx, &place, PORTION).await?;
        tx.commit().await?;
    }
    Ok(())
}

//! The sequencer: gives each committed entry of the log its number, in row order, once
//! (`reliability-contract` §4). One in the installation, by a lease with an epoch; kicked after each
//! commit in this process, and looking by itself each second for those of others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use loket_backbone::random;
use loket_backbone::tasks::Tasks;
use loket_protocol::topics::WAKE_LOG;
use tokio_util::sync::CancellationToken;

use crate::hub::Inner;
use crate::store::{StoreError, log, sequencer};
use crate::worker::pause;

/// How long the right to number lasts without being renewed.
const LEASE_MS: i64 = 10_000;
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// How often it looks without being told.
const POLL: Duration = Duration::from_secs(1);
/// The most entries in one transaction.
const PORTION: u32 = 512;

/// Starts the worker.
pub(crate) fn start(inner: &Arc<Inner>, tasks: &Tasks) {
    let sequencer =
        Sequencer { inner: Arc::clone(inner), holder: random::hex::<8>(), stop: tasks.stop_sign() };
    tasks.spawn("sequencer", async move { sequencer.run().await });
}

struct Sequencer {
    inner: Arc<Inner>,
    /// Names this process; fresh at each start.
    holder: String,
    stop: CancellationToken,
}

impl Sequencer {
    async fn run(&self) {
        let mut failures = 0;
        let mut is_told = false;
        let mut elected: Option<(i64, std::time::Instant)> = None;
        while !self.stop.is_cancelled() {
            match self.turn(&mut elected, is_told).await {
                Ok(true) => (failures, is_told) = (0, true),
                Ok(false) => {
                    failures = 0;
                    is_told = tokio::select! {
                        () = self.stop.cancelled() => false,
                        () = self.inner.store.grown().notified() => true,
                        () = tokio::time::sleep(POLL) => false,
                    };
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(%error, "the sequencer waits for the store");
                    }
                    elected = None;
                    pause(&self.stop, failures).await;
                }
            }
        }
    }

    /// Numbers a portion; true when there may be more at once. `is_told`: there is something to number.
    async fn turn(
        &self,
        elected: &mut Option<(i64, std::time::Instant)>,
        is_told: bool,
    ) -> Result<bool, StoreError> {
        // Looking costs nothing; a transaction of its own each idle second would cost a sync of the disk.
        if !is_told && !log::has_unnumbered(&mut *self.inner.store.read().await?).await? {
            return Ok(false);
        }
        let now = self.inner.clock.instant();
        let epoch = match elected {
            Some((epoch, since)) if now.duration_since(*since) < RENEW => *epoch,
            _ => {
                let mut tx = self.inner.store.begin_for_worker().await?;
                let until = tx.now().plus_millis(LEASE_MS);
                let Some(epoch) = sequencer::elect(&mut tx, &self.holder, until).await? else {
                    return Ok(false);
                };
                tx.commit().await?;
                *elected = Some((epoch, now));
                epoch
            }
        };
        let Some(numbered) = sequencer::number(&self.inner.store, epoch, PORTION).await? else {
            *elected = None;
            return Ok(false);
        };
        let numbered = u64::try_from(numbered).unwrap_or_default();
        if numbered == 0 {
            return Ok(false);
        }
        metrics::counter!("loket_log_numbered_total").increment(numbered);
        // A lost wake-up costs its listeners one poll.
        let _ = self.inner.kv.wake(WAKE_LOG, Bytes::new()).await;
        Ok(numbered >= u64::from(PORTION))
    }
}

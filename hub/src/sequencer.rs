//! The sequencer: gives each committed entry of the log its number, in row order, once
//! (`reliability-contract` §4). One in the installation, by a lease with an epoch; kicked after each
//! commit that the store hears of, and looking by itself each second. Whoever stops in order gives the
//! lease up, so that another hub goes on at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loket_backbone::tasks::Tasks;
use loket_backbone::{failpoint, random};
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

/// How a turn ended.
enum Turn {
    /// There may be more at once.
    More,
    /// Everything has its number.
    Idle,
    /// Another process has the right.
    Theirs,
}

impl Sequencer {
    async fn run(&self) {
        let mut failures = 0;
        let mut is_told = false;
        let mut elected: Option<(i64, Instant)> = None;
        while !self.stop.is_cancelled() {
            match self.turn(&mut elected, is_told).await {
                Ok(Turn::More) => (failures, is_told) = (0, true),
                Ok(Turn::Idle) => {
                    failures = 0;
                    is_told = tokio::select! {
                        () = self.stop.cancelled() => false,
                        () = self.inner.store.grown().notified() => true,
                        () = tokio::time::sleep(POLL) => false,
                    };
                }
                Ok(Turn::Theirs) => {
                    (failures, is_told) = (0, false);
                    // Commits are theirs to number: asking for the right at each would only cost.
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
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
        if elected.is_some()
            && let Err(error) = self.resign().await
        {
            tracing::debug!(%error, "the right to number was not given up; it runs out by itself");
        }
    }

    async fn resign(&self) -> Result<(), StoreError> {
        let mut tx = self.inner.store.begin_for_worker().await?;
        sequencer::resign(&mut tx, &self.holder).await?;
        tx.commit().await
    }

    /// Numbers a portion. `is_told`: there is something to number.
    async fn turn(&self, elected: &mut Option<(i64, Instant)>, is_told: bool) -> Result<Turn, StoreError> {
        failpoint!("hub.sequence.select.before", StoreError::Passing("on purpose".to_owned()));
        // Looking costs nothing; a transaction of its own each idle second would cost a sync of the disk.
        if !is_told && !log::has_unnumbered(&mut *self.inner.store.read().await?).await? {
            return Ok(Turn::Idle);
        }
        failpoint!("hub.sequence.select.after", StoreError::Passing("on purpose".to_owned()));
        let now = self.inner.clock.instant();
        let epoch = match elected {
            Some((epoch, since)) if now.duration_since(*since) < RENEW => *epoch,
            _ => {
                let mut tx = self.inner.store.begin_for_worker().await?;
                let until = tx.now().plus_millis(LEASE_MS);
                let Some(epoch) = sequencer::elect(&mut tx, &self.holder, until).await? else {
                    *elected = None;
                    return Ok(Turn::Theirs);
                };
                tx.commit().await?;
                *elected = Some((epoch, now));
                epoch
            }
        };
        failpoint!("hub.sequence.commit.before", StoreError::Passing("on purpose".to_owned()));
        let Some(numbered) = sequencer::number(&self.inner.store, epoch, PORTION).await? else {
            *elected = None;
            return Ok(Turn::Theirs);
        };
        failpoint!("hub.sequence.commit.after", StoreError::Passing("on purpose".to_owned()));
        let numbered = u64::try_from(numbered).unwrap_or_default();
        if numbered == 0 {
            return Ok(Turn::Idle);
        }
        metrics::counter!("loket_log_numbered_total").increment(numbered);
        // A lost wake-up costs its listeners one poll.
        let _ = self.inner.kv.wake(WAKE_LOG, Bytes::new()).await;
        Ok(if numbered >= u64::from(PORTION) { Turn::More } else { Turn::Idle })
    }
}

//! The workers of the outgoing half, and the loop that each runs: take, handle, and after trouble
//! wait a little.

use std::future::Future;
use std::time::Duration;

use loket_backbone::bus::{BusError, Lease};
use loket_backbone::random;
use loket_backbone::tasks::Tasks;
use tokio_util::sync::CancellationToken;

use crate::agents::idle_since;
use crate::store::{idempotency, links, sessions};
use crate::{Hub, HubError};

/// How often what is over is taken away.
const SWEEP: Duration = Duration::from_mins(10);
/// How many rows one commit takes away.
const SWEEP_ROWS: u32 = 500;
/// How long a code that no longer counts is kept.
const CODES_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// The first wait after trouble that all items share; it doubles (`reliability-contract` §7).
const WAIT_MS: u64 = 100;
/// The longest such wait.
const WAIT_MS_MAX: u64 = 10_000;

/// Waits after the `n`-th failure in a row, with full jitter, unless told to stop.
pub(crate) async fn pause(stop: &CancellationToken, failures: u32) {
    let most = WAIT_MS.saturating_mul(2u64.saturating_pow(failures.saturating_sub(1))).min(WAIT_MS_MAX);
    let wait = Duration::from_millis(random::jitter_ms(most));
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// Takes leases and hands them on until told to stop. What is in hand is finished; trouble with the
/// bus or the store blames no item, and is waited out.
pub(crate) async fn run<L, T, H, D>(name: &'static str, stop: CancellationToken, take: L, handle: H)
where
    L: Fn() -> T,
    T: Future<Output = Result<Vec<Box<dyn Lease>>, BusError>>,
    H: Fn(Vec<Box<dyn Lease>>) -> D,
    D: Future<Output = Result<(), HubError>>,
{
    let mut failures = 0;
    loop {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = take() => taken,
        };
        let done = match taken {
            Ok(leases) => handle(leases).await,
            Err(error) => Err(HubError::Unavailable(error.to_string())),
        };
        match done {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if failures == 1 {
                    tracing::warn!(worker = name, %error, "waiting for bus and store");
                }
                metrics::counter!("loket_hub_waits_total", "worker" => name).increment(1);
                pause(&stop, failures).await;
            }
        }
    }
}

impl Hub {
    /// Starts what answers, sends and tidies up.
    pub(crate) fn start_outgoing(&self, tasks: &Tasks) {
        tasks.spawn("claims", self.clone().answer_claims(tasks.stop_sign()));
        tasks.spawn("dispatch", self.clone().dispatch(tasks.stop_sign()));
        tasks.spawn("webchat", self.clone().answer_webchat(tasks.stop_sign()));
        tasks.spawn("joins", self.clone().join_what_is_due(tasks.stop_sign()));
        tasks.spawn("sweep", self.clone().sweep(tasks.stop_sign()));
    }

    async fn sweep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            if let Err(error) = self.sweep_once().await {
                tracing::warn!(%error, "what is over was not taken away; later again");
            }
        }
    }

    /// Takes away answers of idempotent writes after 48 hours, sessions that have ended, and codes a day
    /// after they counted.
    pub(crate) async fn sweep_once(&self) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin_for_worker().await?;
        let ended = tx.now().plus_millis(-CODES_KEPT_MS);
        links::sweep(&mut tx, ended).await?;
        tx.commit().await?;
        loop {
            let mut tx = self.inner().store.begin_for_worker().await?;
            let now = tx.now();
            let gone = idempotency::sweep(&mut tx, now.plus_millis(-crate::idempotency::KEPT_MS), SWEEP_ROWS)
                .await?;
            sessions::sweep(&mut tx, idle_since(now)).await?;
            tx.commit().await?;
            if gone < u64::from(SWEEP_ROWS) {
                return Ok(());
            }
        }
    }
}

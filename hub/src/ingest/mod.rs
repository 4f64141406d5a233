//! Ingest: from the bus into threads, once however often it arrives (`reliability-contract` §2, §7).
//!
//! A batch is one transaction. A batch that fails is done again one by one. An item that was leased
//! before is taken alone, and its turn is counted, committed, before it is touched: so a crash in
//! company costs the others one turn, and only the guilty one reaches the limit and is parked. Alone
//! means alone in the process, whatever its topic: otherwise an item that is taken together with the
//! guilty one each time would share its guilt. While the store itself is in trouble nothing is leased
//! and nobody is blamed.
//!
//! Where the bus itself does not keep the order, it is told in the same transaction which of the items that
//! publishers numbered are done ([`ledger`]), so that it knows what is worth waiting for.

mod batch;
mod carry;
mod ledger;
mod marking;
mod messages;
mod notices;
#[cfg(test)]
mod on_purpose;
mod people;
mod told;

#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "tests/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests on the other store (store/trial.rs)")]
mod tests_on_postgres;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use loket_backbone::bus::{Item, Lease, Stamp, ack_all};
use loket_backbone::tasks::Tasks;
use loket_backbone::{failpoint, random};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::hub::Inner;
use crate::store::stamps::{self, Run};
use crate::store::{StoreError, Tx, upkeep};
use crate::worker::pause;

pub(crate) use batch::{Applied, Replaced, apply, apply_replacing, placeholder};
use carry::Unfit;
pub(crate) use carry::{Kind, read_events};
use ledger::StoreLedger;

/// How long one item may take (`reliability-contract` §12).
const ITEM_DEADLINE: Duration = Duration::from_secs(5);
/// How long a batch may take before it is done again one by one.
const BATCH_DEADLINE: Duration = Duration::from_secs(20);
/// How often trouble that passes by itself is tried again at once.
const PASSING_TRIES: u32 = 5;
/// The turn at which an item is parked.
const TURNS_MAX: i64 = 5;
/// After this turn it is parked without a placeholder in its thread: the process ended twice while one
/// was made.
const PLACEHOLDER_TURNS_MAX: i64 = TURNS_MAX + 1;

/// How long whole callbacks gather on the bus for one commit.
const GATHER: Duration = Duration::from_millis(250);

/// Starts the workers of each topic that is read into the store.
pub(crate) fn start(inner: &Arc<Inner>, tasks: &Tasks) {
    let (bus, inbound) = (inner.wire.bus(), Kind::Inbound);
    bus.keep_order(inbound.topic(), inbound.group(), Arc::new(StoreLedger(inner.store.clone())));
    let suspect = Arc::new(Mutex::new(()));
    for kind in Kind::ALL.into_iter().flat_map(|kind| std::iter::repeat_n(kind, kind.workers())) {
        let (inner, suspect) = (Arc::clone(inner), Arc::clone(&suspect));
        let worker = Worker { inner, kind, suspect, stop: tasks.stop_sign() };
        tasks.spawn(kind.topic(), async move { worker.run().await });
    }
}

struct Worker {
    inner: Arc<Inner>,
    kind: Kind,
    /// Held by the one that has an item in hand which was leased before.
    suspect: Arc<Mutex<()>>,
    stop: CancellationToken,
}

/// How a try of some items ended.
enum Tried {
    Done(Applied),
    /// It is the items' own fault.
    Failed(String),
    /// This cannot be read at all, whoever tries.
    Unfit(Unfit),
    /// The process stops; nothing was done.
    Stopped,
}

impl Worker {
    async fn run(&self) {
        let mut failures = 0;
        let bus = Arc::clone(self.inner.wire.bus());
        loop {
            failpoint!("hub.ingest.lease.before" if self.kind == Kind::Inbound);
            let taken = tokio::select! {
                () = self.stop.cancelled() => return,
                taken = bus.lease(self.kind.topic(), self.kind.group(), self.kind.batch_max()) => taken,
            };
            match taken {
                Ok(leases) => {
                    failpoint!("hub.ingest.lease.after" if self.kind == Kind::Inbound);
                    failures = 0;
                    let is_full = leases.len() >= self.kind.batch_max();
                    self.handle(leases).await;
                    if self.kind == Kind::Callbacks && !is_full {
                        self.gather().await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(topic = self.kind.topic(), %error, "waiting for the bus");
                    }
                    pause(&self.stop, failures).await;
                }
            }
        }
    }

    /// Lets callbacks come together: nobody waits for them in the store, they are as safe on the bus,
    /// and a commit for each would make the messages beside them wait.
    async fn gather(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(GATHER) => {}
        }
    }

    async fn handle(&self, leases: Vec<Box<dyn Lease>>) {
        let (suspects, first): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| lease.leased_before());
        if !first.is_empty() {
            match self.attempt(&first, BATCH_DEADLINE, false).await {
                Tried::Done(applied) => {
                    applied.count();
                    self.acknowledge(first).await;
                }
                Tried::Stopped => return,
                Tried::Failed(_) | Tried::Unfit(_) => {
                    metrics::counter!("loket_ingest_serial_total", "topic" => self.kind.topic()).increment(1);
                    for lease in first {
                        self.alone(lease).await;
                    }
                }
            }
        }
        for lease in suspects {
            self.alone(lease).await;
        }
    }

    /// One item by itself.
    async fn alone(&self, lease: Box<dyn Lease>) {
        let topic = self.kind.topic();
        let is_suspect = lease.leased_before();
        let _alone = if is_suspect { Some(self.suspect.lock().await) } else { None };
        if is_suspect {
            let Some((turns, error)) = self.count_turn(lease.item()).await else { return };
            if turns >= TURNS_MAX {
                let error =
                    error.unwrap_or_else(|| "the process ended while it was at work on it".to_owned());
                let unfit = Unfit::poison(format!("failed {turns} times, the last time: {error}"));
                self.park(lease, unfit, turns <= PLACEHOLDER_TURNS_MAX).await;
                return;
            }
        }
        let mut one = vec![lease];
        let tried = self.attempt(&one, ITEM_DEADLINE, is_suspect).await;
        let Some(lease) = one.pop() else { return };
        match tried {
            Tried::Done(applied) => {
                applied.count();
                self.acknowledge(vec![lease]).await;
            }
            Tried::Unfit(unfit) => self.park(lease, unfit, true).await,
            Tried::Failed(error) => {
                metrics::counter!("loket_ingest_failed_total", "topic" => topic).increment(1);
                // Its id may hold an address of the customer; the trace leads to it as well.
                tracing::warn!(topic, trace = %lease.item().trace, error, "an item failed");
                self.note_error(lease.item(), &error).await;
                if let Err(error) = lease.nack().await {
                    tracing::warn!(topic, %error, "an item could not be given back; it comes back by itself");
                }
            }
            Tried::Stopped => {}
        }
    }

    /// Carries items out in one transaction. Waits while the store is in trouble.
    async fn attempt(&self, leases: &[Box<dyn Lease>], deadline: Duration, acquits: bool) -> Tried {
        let (mut passing, mut waits) = (0, 0);
        loop {
            let work = AssertUnwindSafe(self.once(leases, deadline, acquits)).catch_unwind();
            let error = match work.await {
                Ok(Ok(applied)) => return Tried::Done(applied),
                Ok(Err(Trouble::Unfit(unfit))) => return Tried::Unfit(unfit),
                Ok(Err(Trouble::Late)) => {
                    return Tried::Failed(format!("took over {} s", deadline.as_secs()));
                }
                Ok(Err(Trouble::Store(error))) => error,
                Err(_) => {
                    metrics::counter!("loket_ingest_panics_total", "topic" => self.kind.topic()).increment(1);
                    return Tried::Failed("panicked".to_owned());
                }
            };
            if error.is_passing() && passing < PASSING_TRIES {
                passing += 1;
                let wait = Duration::from_millis(10 + random::jitter_ms(190));
                tokio::time::sleep(wait).await;
            } else if error.is_passing() || error.is_shared() {
                waits += 1;
                self.wait_for_store(&error, waits).await;
            } else {
                return Tried::Failed(error.to_string());
            }
            if self.stop.is_cancelled() {
                return Tried::Stopped;
            }
        }
    }

    async fn once(
        &self,
        leases: &[Box<dyn Lease>],
        deadline: Duration,
        acquits: bool,
    ) -> Result<Applied, Trouble> {
        let items: Vec<&Item> = leases.iter().map(|lease| lease.item()).collect();
        let work = carry::read(self.kind, &items).map_err(Trouble::Unfit)?;
        let may_free = work.may_free();
        #[cfg(test)]
        on_purpose::panic_on_purpose(&items);
        let mut tx = self.inner.store.begin_for_worker().await?;
        let carried = async {
            self.note(&mut tx, leases.iter().filter_map(|lease| lease.stamp())).await?;
            let applied = work.carry_out(&mut tx, &self.inner).await?;
            if acquits {
                for item in items {
                    upkeep::acquit(&mut tx, self.kind.topic(), &item.id).await?;
                }
            }
            Ok::<_, Trouble>(applied)
        };
        let applied = tokio::time::timeout(deadline, carried).await.map_err(|_| Trouble::Late)??;
        failpoint!("hub.ingest.commit.before" if self.kind == Kind::Inbound, Trouble::Late);
        failpoint!("hub.report.commit.before" if self.kind == Kind::Reports, Trouble::Late);
        tx.commit().await?;
        failpoint!("hub.ingest.commit.after" if self.kind == Kind::Inbound, Trouble::Late);
        failpoint!("hub.report.commit.after" if self.kind == Kind::Reports, Trouble::Late);
        if may_free {
            self.inner.kick.notify_one();
        }
        if applied.joins {
            self.inner.joins.notify_one();
        }
        Ok(applied)
    }

    /// Notes with the effect of items that they are done, where the bus asks for that.
    async fn note(&self, tx: &mut Tx, stamps: impl IntoIterator<Item = &Stamp>) -> Result<(), StoreError> {
        if self.kind != Kind::Inbound {
            return Ok(());
        }
        stamps::note(tx, &Run::of(stamps)).await
    }

    /// Takes items off the bus whose effect is committed.
    async fn acknowledge(&self, leases: Vec<Box<dyn Lease>>) {
        failpoint!("hub.ingest.ack.before" if self.kind == Kind::Inbound);
        failpoint!("hub.park.ack.before" if self.kind == Kind::Problems);
        failpoint!("hub.report.ack.before" if self.kind == Kind::Reports);
        ack_all(leases).await;
        failpoint!("hub.ingest.ack.after" if self.kind == Kind::Inbound);
        failpoint!("hub.park.ack.after" if self.kind == Kind::Problems);
        failpoint!("hub.report.ack.after" if self.kind == Kind::Reports);
    }

    async fn wait_for_store(&self, error: &StoreError, waits: u32) {
        if waits == 1 {
            tracing::warn!(topic = self.kind.topic(), %error, "waiting for the store");
        }
        metrics::counter!("loket_hub_waits_total", "worker" => self.kind.topic()).increment(1);
        pause(&self.stop, waits).await;
    }

    /// Counts a turn of an item, committed before the item is touched. `None`: the process stops.
    async fn count_turn(&self, item: &Item) -> Option<(i64, Option<String>)> {
        let mut waits = 0;
        loop {
            let counted = async {
                let mut tx = self.inner.store.begin_for_worker().await?;
                let turns = upkeep::suspect(&mut tx, self.kind.topic(), &item.id).await?;
                tx.commit().await?;
                Ok::<_, StoreError>(turns)
            };
            match counted.await {
                Ok(turns) => return Some(turns),
                Err(error) => {
                    waits += 1;
                    self.wait_for_store(&error, waits).await;
                    if self.stop.is_cancelled() {
                        return None;
                    }
                }
            }
        }
    }

    /// Best effort: it is for the words of a parked item only.
    async fn note_error(&self, item: &Item, error: &str) {
        let noted = async {
            let mut tx = self.inner.store.begin_for_worker().await?;
            upkeep::note_error(&mut tx, self.kind.topic(), &item.id, error).await?;
            tx.commit().await
        };
        if let Err(error) = noted.await {
            tracing::debug!(%error, "how a turn ended could not be noted");
        }
    }

    /// Sets an item aside with its raw payload, and only then acknowledges it. The placeholder in
    /// the thread is left out when making it fails too.
    async fn park(&self, lease: Box<dyn Lease>, unfit: Unfit, mut with_placeholder: bool) {
        let mut waits = 0;
        loop {
            let work = AssertUnwindSafe(self.park_once(&*lease, &unfit, with_placeholder)).catch_unwind();
            match work.await {
                Ok(Ok(())) => break,
                Ok(Err(error)) if error.is_shared() || error.is_passing() || !with_placeholder => {
                    waits += 1;
                    self.wait_for_store(&error, waits).await;
                }
                Ok(Err(_)) | Err(_) => with_placeholder = false,
            }
            if self.stop.is_cancelled() {
                return;
            }
        }
        self.acknowledge(vec![lease]).await;
    }

    async fn park_once(
        &self,
        lease: &dyn Lease,
        unfit: &Unfit,
        with_placeholder: bool,
    ) -> Result<(), StoreError> {
        let item = lease.item();
        let parking = carry::parking(self.kind, item, unfit, with_placeholder);
        let mut tx = self.inner.store.begin_for_worker().await?;
        self.note(&mut tx, lease.stamp()).await?;
        crate::parked::park(&mut tx, &self.inner, parking).await?;
        upkeep::acquit(&mut tx, self.kind.topic(), &item.id).await?;
        tx.commit().await
    }
}

/// Why a transaction of ingest did not commit.
enum Trouble {
    Unfit(Unfit),
    Late,
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

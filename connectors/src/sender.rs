//! Outbound from the bus: pace, claim, send once, report, acknowledge (`reliability-contract` §3).
//!
//! No claim, no request. Whatever happens after the claim is reported; whoever dies without a report
//! leaves a dispatch that the hub calls `unconfirmed`. What must wait longer than `PATIENCE` is
//! given back to the hub, where waiting is a row with a time.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use loket_backbone::bus::{BusError, Lease, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::failpoint;
use loket_backbone::kv::SharedKv;
use loket_backbone::random;
use loket_backbone::tasks::Tasks;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::delivery::SendClass;
use loket_protocol::inbound::INBOUND_VERSION;
use loket_protocol::outbound::{Claim, ClaimAnswer, OUTBOUND_VERSION, OutboundMessage, Outcome, SendReport};
use loket_protocol::problem::{ParkReason, Problem, RawPiece};
use loket_protocol::topics::{CLAIMS, OUTBOUND, PARKED, REPORTS};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::channel::Channel;
use crate::pace::{Pacing, TooSoon};

/// How many messages are held at once, those that wait for their turn included.
const HELD_MAX: usize = 512;
/// How many requests to providers are under way at once.
const IN_FLIGHT_MAX: usize = 64;
/// How many are leased at a time.
const LEASE_MAX: usize = 32;
/// The longest wait for the pace that is waited out here.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a claim may take (`reliability-contract` §3).
const CLAIM_DEADLINE: Duration = Duration::from_secs(2);
/// How long a claim without an answer is asked again. By then the hub calls a dispatch that it granted
/// unconfirmed, and asking has no sense any more.
const CLAIM_TIME: Duration = Duration::from_secs(30);
/// A claim that was asked longer ago than this is not used (`reliability-contract` §3).
const CLAIM_AGE_MAX: Duration = Duration::from_secs(5);
/// No send takes longer: the channel's own limit is 15 s, this one guards against its being wrong.
const SEND_DEADLINE: Duration = Duration::from_secs(20);
/// How long a report that the bus does not take is tried again. After 30 s the hub calls the
/// dispatch unconfirmed; a later report still counts.
const REPORT_TIME: Duration = Duration::from_mins(1);
/// The same once the process stops (`reliability-contract` §8).
const REPORT_TIME_STOPPING: Duration = Duration::from_secs(10);
/// The first and the longest wait after a failure that is ours (`reliability-contract` §7).
const BACKOFF_MS: (u64, u64) = (100, 10_000);
/// How long an account is left alone when the provider does not say how long.
const ACCOUNT_HOLD: Duration = Duration::from_secs(5);

/// The sender of one process.
pub(crate) struct Sender {
    channels: HashMap<&'static str, Arc<dyn Channel>>,
    wire: Wire,
    clock: Clock,
    stop: CancellationToken,
    pacing: Pacing,
    held: Arc<Semaphore>,
    in_flight: Semaphore,
    /// How many failures of ours came one after the other.
    failures: AtomicU32,
}

/// Starts the sender.
pub(crate) fn start(
    channels: &[(&'static str, Arc<dyn Channel>)],
    wire: Wire,
    kv: SharedKv,
    clock: Clock,
    tasks: &Tasks,
) {
    let sender = Arc::new(Sender {
        channels: channels.iter().cloned().collect(),
        wire,
        pacing: Pacing::new(kv, clock.clone()),
        clock,
        stop: tasks.stop_sign(),
        held: Arc::new(Semaphore::new(HELD_MAX)),
        in_flight: Semaphore::new(IN_FLIGHT_MAX),
        failures: AtomicU32::new(0),
    });
    tasks.spawn("sender", sender.run(tasks.clone()));
}

impl Sender {
    async fn run(self: Arc<Self>, tasks: Tasks) {
        loop {
            let leases = tokio::select! {
                () = self.stop.cancelled() => return,
                leases = self.lease() => leases,
            };
            match leases {
                Ok(leases) => {
                    for (lease, permit) in leases {
                        let sender = Arc::clone(&self);
                        tasks.spawn("send", async move {
                            sender.handle(lease).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing can be leased to send; trying again");
                    self.failed();
                    self.back_off().await;
                }
            }
        }
    }

    async fn lease(&self) -> Result<Vec<(Box<dyn Lease>, tokio::sync::OwnedSemaphorePermit)>, BusError> {
        if self.failures.load(Ordering::Relaxed) > 0 {
            // Something of ours is away: no storm of leases, claims and reports.
            self.back_off().await;
        }
        let closed = |_| BusError::Unavailable("the sender stops".to_owned());
        let mut permits = vec![Arc::clone(&self.held).acquire_owned().await.map_err(closed)?];
        while permits.len() < LEASE_MAX {
            let Ok(permit) = Arc::clone(&self.held).try_acquire_owned() else { break };
            permits.push(permit);
        }
        failpoint!("sender.lease.before", BusError::Deadline);
        let leases = self.wire.lease(&OUTBOUND, permits.len()).await?;
        failpoint!("sender.lease.after", BusError::Deadline);
        Ok(leases.into_iter().zip(permits).collect())
    }

    /// One leased message, to its end.
    async fn handle(&self, lease: Box<dyn Lease>) {
        let message = match read(lease.as_ref()) {
            Ok(message) => message,
            Err(reason) => return self.park(lease, reason).await,
        };
        let span = tracing::info_span!(
            "send",
            message.id = %message.dispatch.message_id,
            channel.kind = %message.channel.kind,
            channel.account = message.channel.account,
            trace = lease.item().trace,
        );
        self.carry_out(lease, &message).instrument(span).await;
    }

    /// From the pace to the report.
    async fn carry_out(&self, lease: Box<dyn Lease>, message: &OutboundMessage) {
        let Some(channel) = self.channels.get(message.channel.kind.as_str()).cloned() else {
            return self.give_back(lease, message, not_configured(&message.channel)).await;
        };
        match self.reserve(channel.as_ref(), message).await {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::select! {
                // Nothing is claimed yet: dropping the lease gives it back.
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            },
            Err(too_soon) => {
                metrics::counter!("loket_sends_paced_total", "channel" => message.channel.kind.to_string())
                    .increment(1);
                return self.give_back(lease, message, paced(too_soon)).await;
            }
        }
        let permit = tokio::select! {
            () = self.stop.cancelled() => return,
            permit = self.in_flight.acquire() => permit,
        };
        let asked = self.clock.instant();
        let claimed = self.claim(message).await;
        let Claimed::Granted = claimed else { return let_go(claimed, lease, message).await };
        failpoint!("sender.claim.after");
        let outcome = self.send(channel.as_ref(), message, asked).await;
        drop(permit);
        self.report(lease, message, outcome).await;
    }

    async fn reserve(&self, channel: &dyn Channel, message: &OutboundMessage) -> Result<Duration, TooSoon> {
        let pace = channel.pace(&message.channel.account);
        self.pacing.reserve(&message.channel.to_string(), &message.lane(), pace, PATIENCE).await
    }

    /// Claims, so that the hub knows that somebody has it in hand, and reports why it is not sent.
    async fn give_back(&self, lease: Box<dyn Lease>, message: &OutboundMessage, outcome: Outcome) {
        match self.claim(message).await {
            Claimed::Granted => self.report(lease, message, outcome).await,
            claimed => let_go(claimed, lease, message).await,
        }
    }

    /// Asks the hub for leave. A lost answer is asked again with the same nonce, which the hub grants
    /// again; the nonce is fresh for every lease.
    async fn claim(&self, message: &OutboundMessage) -> Claimed {
        let claim = Claim { dispatch: message.dispatch, nonce: random::hex::<16>() };
        let began = self.clock.instant();
        loop {
            failpoint!("sender.claim.before");
            match self.wire.ask(&CLAIMS, &claim, CLAIM_DEADLINE).await {
                Ok(ClaimAnswer::Granted) => {
                    self.failures.store(0, Ordering::Relaxed);
                    return Claimed::Granted;
                }
                Ok(ClaimAnswer::Refused) => {
                    self.failures.store(0, Ordering::Relaxed);
                    metrics::counter!("loket_claims_refused_total").increment(1);
                    return Claimed::Refused;
                }
                Err(error) => tracing::warn!(
                    message.id = %message.dispatch.message_id, %error, "a claim got no answer"
                ),
            }
            self.failed();
            if self.stop.is_cancelled() || self.clock.instant().duration_since(began) >= CLAIM_TIME {
                return Claimed::Unanswered;
            }
            self.back_off().await;
        }
    }

    /// Sends once, if the claim is still fresh.
    async fn send(&self, channel: &dyn Channel, message: &OutboundMessage, asked: Instant) -> Outcome {
        if self.stop.is_cancelled() || self.clock.instant().duration_since(asked) >= CLAIM_AGE_MAX {
            return too_late();
        }
        let kind = message.channel.kind.to_string();
        let began = self.clock.instant();
        let sending = AssertUnwindSafe(channel.send(message)).catch_unwind();
        let outcome = match tokio::time::timeout(SEND_DEADLINE, sending).await {
            Ok(Ok(Ok(taken))) => Outcome::Sent { external_id: taken.external_id, learnt: taken.learnt },
            Ok(Ok(Err(error))) => error.into(),
            Ok(Err(_)) => {
                tracing::error!(channel.kind = %kind, "sending panicked; nobody knows whether it was sent");
                Outcome::Unconfirmed { why: "sending panicked".to_owned() }
            }
            Err(_) => Outcome::Unconfirmed { why: "no answer within the deadline".to_owned() },
        };
        metrics::histogram!("loket_send_seconds", "channel" => kind.clone())
            .record(began.elapsed().as_secs_f64());
        metrics::counter!("loket_sends_total", "channel" => kind, "outcome" => outcome.name()).increment(1);
        if let Outcome::NotSent { class: SendClass::PaceAccount, retry_after_ms, .. } = &outcome {
            let wait = retry_after_ms.map_or(ACCOUNT_HOLD, Duration::from_millis);
            self.pacing.hold(&message.channel.to_string(), wait);
        }
        outcome
    }

    /// Reports until the bus has it, then acknowledges. Without a report the lease is dropped: it
    /// comes again, and its claim is refused.
    async fn report(&self, lease: Box<dyn Lease>, message: &OutboundMessage, outcome: Outcome) {
        let report = SendReport {
            dispatch: message.dispatch,
            channel: message.channel.clone(),
            at: self.clock.now(),
            outcome,
        };
        let trace = lease.item().trace.clone();
        let item = match Wire::item(report.key(), message.dispatch.message_id.to_string(), trace, &report) {
            Ok(item) => item,
            Err(error) => return tracing::error!(%error, "a report cannot be written"),
        };
        let began = self.clock.instant();
        loop {
            failpoint!("sender.report.before");
            match self.wire.publish(&REPORTS, std::slice::from_ref(&item)).await {
                Ok(()) => {
                    failpoint!("sender.report.after");
                    self.failures.store(0, Ordering::Relaxed);
                    return acknowledge(lease, message).await;
                }
                Err(error) => {
                    tracing::warn!(message.id = %message.dispatch.message_id, %error, "a report is not safe yet");
                    self.failed();
                }
            }
            let most = if self.stop.is_cancelled() { REPORT_TIME_STOPPING } else { REPORT_TIME };
            if began.elapsed() > most {
                return tracing::error!(
                    message.id = %message.dispatch.message_id,
                    "a report was given up; the hub will call the dispatch unconfirmed"
                );
            }
            tokio::time::sleep(self.backoff()).await;
        }
    }

    /// What cannot be read is parked raw and never dropped (`reliability-contract` §13).
    async fn park(&self, lease: Box<dyn Lease>, reason: ParkReason) {
        let item = lease.item();
        let problems = RawPiece::cut(&item.payload).into_iter().map(|raw| Problem {
            v: INBOUND_VERSION,
            channel_kind: OUTBOUND.name.to_owned(),
            account: None,
            reason,
            error: "an item of the topic outbound cannot be read by this version".to_owned(),
            customer: None,
            external_id: None,
            at: None,
            received_at: self.clock.now(),
            raw,
        });
        let items: Result<Vec<_>, _> = problems
            .map(|problem| {
                let id = format!("{}|{}", problem.key(), problem.raw.number);
                Wire::item(id, problem.lane(), item.trace.clone(), &problem)
            })
            .collect();
        let parked = match items {
            Ok(items) => self.wire.publish(&PARKED, &items).await,
            Err(error) => Err(error),
        };
        match parked {
            Ok(()) => {
                metrics::counter!("loket_items_parked_total", "channel" => OUTBOUND.name).increment(1);
                tracing::error!("an item of the topic outbound cannot be read and was parked");
                if let Err(error) = lease.ack().await {
                    tracing::warn!(%error, "an acknowledgement failed; the item will be seen again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an item cannot be parked yet");
                self.failed();
                self.back_off().await;
            }
        }
    }

    fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn backoff(&self) -> Duration {
        let (first, most) = BACKOFF_MS;
        let failures = self.failures.load(Ordering::Relaxed).clamp(1, 10);
        Duration::from_millis(random::jitter_ms(most.min(first << failures)))
    }

    async fn back_off(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(self.backoff()) => {}
        }
    }
}

/// What the hub said to a claim.
enum Claimed {
    Granted,
    Refused,
    Unanswered,
}

/// What was not granted is not sent, and nothing is reported about it: somebody else may have the claim
/// and be sending, and a report that it was not sent would have it sent once more.
async fn let_go(claimed: Claimed, lease: Box<dyn Lease>, message: &OutboundMessage) {
    match claimed {
        Claimed::Refused => acknowledge(lease, message).await,
        // It comes again, with a nonce of its own.
        Claimed::Unanswered | Claimed::Granted => drop(lease),
    }
}

fn read(lease: &dyn Lease) -> Result<OutboundMessage, ParkReason> {
    let message: OutboundMessage = Wire::read(lease).map_err(|_| ParkReason::Unreadable)?;
    if message.v == OUTBOUND_VERSION { Ok(message) } else { Err(ParkReason::Version) }
}

async fn acknowledge(lease: Box<dyn Lease>, message: &OutboundMessage) {
    failpoint!("sender.ack.before");
    if let Err(error) = lease.ack().await {
        tracing::warn!(
            message.id = %message.dispatch.message_id, %error,
            "an acknowledgement failed; the item will be seen again and its claim refused"
        );
    }
    failpoint!("sender.ack.after");
}

fn too_late() -> Outcome {
    Outcome::NotSent {
        class: SendClass::Retry,
        code: None,
        subcode: None,
        retry_after_ms: None,
        sentence: "it was claimed and not sent in time; it will be tried again".to_owned(),
    }
}

fn not_configured(channel: &ChannelAccount) -> Outcome {
    Outcome::NotSent {
        class: SendClass::Configuration,
        code: None,
        subcode: None,
        retry_after_ms: None,
        sentence: format!("the channel {} is not configured; add it to the settings", channel.kind),
    }
}

/// A wait with jitter, so that those who are turned away together do not come back together.
fn paced(too_soon: TooSoon) -> Outcome {
    let wait_ms = u64::try_from(too_soon.wait.as_millis()).unwrap_or(u64::MAX);
    Outcome::NotSent {
        class: too_soon.class,
        code: None,
        subcode: None,
        retry_after_ms: Some(wait_ms.saturating_add(random::jitter_ms(wait_ms / 2))),
        sentence: "it waits for its turn; more is being sent than the provider takes".to_owned(),
    }
}

#[cfg(test)]
mod tests;

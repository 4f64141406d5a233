//! The shared publisher: one connection, one channel, many callers. Nobody waits for another's
//! confirm: a task puts everything on the channel in the order in which it came, and each caller is
//! told when all of its own items are confirmed and none came back (M1, M4).
//!
//! What was on its way when the connection is lost fails with `Unavailable`: the items are there or
//! not, and the caller repeats (B2).

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Confirmation, ExchangeKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::asks::Asks;
use super::lane::Lane;
use super::layout::TopicLayout;
use super::link::{Fate, Link, lost};
use super::{Backoff, Shared, message};
use crate::bus::{BusError, Item, PUBLISH_DEADLINE, Stamp};
use crate::failpoint;
use crate::random;

/// Callers that wait for their turn on the channel.
const JOBS_MAX: usize = 1024;
/// What may be unconfirmed at a time, in KiB of payload, each item counting at least one.
const IN_FLIGHT_KIB: u32 = 64 * 1024;
/// A connection that confirms nothing for so long, with something to confirm, is dropped.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an end waits for what is not confirmed yet.
const LAST_CONFIRMS: Duration = Duration::from_secs(2);

/// The door to the publisher's task.
pub(super) struct Publisher {
    outlet: watch::Receiver<Result<Outlet, String>>,
    in_flight: Arc<Semaphore>,
    closed: CancellationToken,
}

/// A connection that publishes.
#[derive(Clone)]
pub(super) struct Outlet {
    jobs: mpsc::Sender<Job>,
    pub(super) link: Arc<Link>,
    /// For looks at queues and exchanges; nothing is published on it.
    pub(super) control: Channel,
    pub(super) asks: Arc<Asks>,
}

/// One call of publish.
struct Job {
    topic: Arc<TopicLayout>,
    items: Vec<Item>,
    room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Result<(), BusError>>,
}

/// An item that is on the channel.
struct Sent {
    partition: u16,
    confirm: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
}

impl Publisher {
    pub(super) fn new(outlet: watch::Receiver<Result<Outlet, String>>, closed: CancellationToken) -> Self {
        let in_flight = Arc::new(Semaphore::new(usize::try_from(IN_FLIGHT_KIB).unwrap_or(1)));
        Self { outlet, in_flight, closed }
    }

    /// Publishes items that are not too large. Ends within [`PUBLISH_DEADLINE`].
    pub(super) async fn publish(&self, topic: &Arc<TopicLayout>, items: &[Item]) -> Result<(), BusError> {
        let work = async {
            let outlet = self.outlet().await?;
            if outlet.link.is_blocked() {
                return Err(BusError::Unavailable(
                    "the broker takes no publishes: its memory or disk is short".to_owned(),
                ));
            }
            if items.is_empty() {
                return probe(&outlet, topic).await;
            }
            let room = Arc::clone(&self.in_flight).acquire_many_owned(weight(items)).await;
            let room = room.map_err(|_| closed())?;
            let (answer, answered) = oneshot::channel();
            let job = Job { topic: Arc::clone(topic), items: items.to_vec(), room, answer };
            let unsent = || BusError::Unavailable("the connection to the broker is lost".to_owned());
            failpoint!("bus.amqp.publish.before", unsent());
            outlet.jobs.send(job).await.map_err(|_| unsent())?;
            answered.await.map_err(|_| unsent())?
        };
        tokio::select! {
            done = tokio::time::timeout(PUBLISH_DEADLINE, work) => {
                done.unwrap_or_else(|_| Err(self.late()))
            }
            () = self.closed.cancelled() => Err(closed()),
        }
    }

    /// The connection that there is, or that comes back soon.
    pub(super) async fn outlet(&self) -> Result<Outlet, BusError> {
        let mut outlet = self.outlet.clone();
        let found = outlet.wait_for(Result::is_ok).await.map_err(|_| closed())?;
        match &*found {
            Ok(outlet) => Ok(outlet.clone()),
            Err(why) => Err(BusError::Unavailable(why.clone())),
        }
    }

    /// The connection that there is now.
    pub(super) fn outlet_now(&self) -> Result<Outlet, BusError> {
        match &*self.outlet.borrow() {
            Ok(outlet) => Ok(outlet.clone()),
            Err(why) => Err(BusError::Unavailable(why.clone())),
        }
    }

    fn late(&self) -> BusError {
        metrics::counter!("loket_bus_publish_late_total").increment(1);
        self.outlet_now().map_or_else(|unavailable| unavailable, |_| BusError::Deadline)
    }
}

fn closed() -> BusError {
    BusError::Unavailable("it is closed".to_owned())
}

fn weight(items: &[Item]) -> u32 {
    let kib: usize = items.iter().map(|item| item.payload.len() / 1024 + 1).sum();
    u32::try_from(kib).unwrap_or(u32::MAX).min(IN_FLIGHT_KIB)
}

/// Whether one could publish now: the broker answers, and the exchange is there.
async fn probe(outlet: &Outlet, topic: &TopicLayout) -> Result<(), BusError> {
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let asked = outlet.control.exchange_declare(
        topic.exchange.clone(),
        ExchangeKind::Direct,
        passive,
        FieldTable::default(),
    );
    asked.await.map_err(|error| lost(&error))
}

/// How many items of a queue wait, and how many consumers it has.
pub(super) async fn look(channel: &Channel, queue: &ShortString) -> Result<(u64, u32), BusError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.clone(), passive, FieldTable::default()).await;
    let found = found.map_err(|error| lost(&error))?;
    Ok((u64::from(found.message_count()), found.consumer_count()))
}

/// The same for all queues of a lane: the items of all, the consumers of the one that has most.
pub(super) async fn look_all(channel: &Channel, lane: &Lane) -> Result<(u64, u32), BusError> {
    let (mut ready, mut consumers) = (0, 0);
    for seen in join_all(lane.queues.iter().map(|queue| look(channel, queue))).await {
        let seen = seen?;
        ready += seen.0;
        consumers = consumers.max(seen.1);
    }
    Ok((ready, consumers))
}

/// Keeps a publishing connection up until the bus is closed. `first` is there already.
pub(super) async fn keep(
    shared: Arc<Shared>,
    outlet: watch::Sender<Result<Outlet, String>>,
    first: Session,
    stop: CancellationToken,
) {
    let tell = |state| drop(outlet.send_replace(state));
    let mut next = Some(first);
    let mut backoff = Backoff::default();
    loop {
        let session = if let Some(session) = next.take() {
            Ok(session)
        } else {
            tokio::select! {
                session = Session::open(&shared) => session,
                () = stop.cancelled() => return,
            }
        };
        match session {
            Ok(session) => {
                tell(Ok(session.outlet.clone()));
                let begun = shared.clock.instant();
                let why = session.run(&shared, &stop).await;
                backoff.lived(shared.clock.instant().duration_since(begun));
                tell(Err(format!("the connection to the broker is lost: {why}")));
                if !stop.is_cancelled() {
                    metrics::counter!("loket_bus_reconnects_total", "for" => "publishing").increment(1);
                    tracing::warn!(why, "the publishing connection is lost; connecting again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no publishing connection; trying again");
                tell(Err(error.to_string()));
            }
        }
        if !backoff.wait(&stop).await {
            return;
        }
    }
}

/// One publishing connection, ready.
pub(super) struct Session {
    outlet: Outlet,
    channel: Channel,
    fate: Fate,
    jobs: mpsc::Receiver<Job>,
}

impl Session {
    /// Connects, declares the layout and switches confirms on.
    pub(super) async fn open(shared: &Shared) -> Result<Self, BusError> {
        let (link, fate) = Link::connect(&shared.address, "loket: publishing").await?;
        let control = link.channel().await?;
        shared.layout.declare(&control).await?;
        let channel = link.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| lost(&error))?;
        let asks = Arc::new(Asks::open(&link).await?);
        let (sender, jobs) = mpsc::channel(JOBS_MAX);
        let outlet = Outlet { jobs: sender, link: Arc::new(link), control, asks };
        Ok(Self { outlet, channel, fate, jobs })
    }

    pub(super) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Publishes until the connection is lost; says why.
    async fn run(mut self, shared: &Shared, stop: &CancellationToken) -> String {
        let mut numbers = Numbers::default();
        let mut unconfirmed = FuturesUnordered::new();
        let mut moved = shared.clock.instant();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let asks = Arc::clone(&self.outlet.asks);
        let answers = asks.run();
        tokio::pin!(answers);
        let why = loop {
            tokio::select! {
                Some(outcome) = unconfirmed.next(), if !unconfirmed.is_empty() => {
                    moved = shared.clock.instant();
                    numbers.note(&outcome);
                    if outcome.unroutable {
                        // A queue was deleted under us. A new connection declares it again.
                        break "an item was returned: a queue is missing".to_owned();
                    }
                }
                Some(job) = self.jobs.recv() => {
                    if unconfirmed.is_empty() {
                        moved = shared.clock.instant();
                    }
                    unconfirmed.push(put(&self.channel, job, &mut numbers, shared.clock.now().as_millis()));
                    failpoint!("bus.amqp.publish.after");
                }
                _ = looks.tick() => {
                    let since = shared.clock.instant().duration_since(moved);
                    if !unconfirmed.is_empty() && since > STALL_MAX && !self.outlet.link.is_blocked() {
                        break format!("nothing was confirmed for {} s", STALL_MAX.as_secs());
                    }
                }
                why = &mut answers => break why,
                why = self.fate.lost() => break why,
                () = stop.cancelled() => {
                    let last = async { while unconfirmed.next().await.is_some() {} };
                    let _ = tokio::time::timeout(LAST_CONFIRMS, last).await;
                    break "it is closed".to_owned();
                }
            }
        };
        // The callers that still wait hear of it when their answers are dropped.
        self.outlet.link.cut();
        self.outlet.asks.clear();
        why
    }
}

/// What became of one call.
struct Outcome {
    topic: Arc<TopicLayout>,
    failed: Vec<u16>,
    unroutable: bool,
}

/// Puts the items of a call on the channel, in order, before it returns; what it returns waits for
/// their confirms and answers the caller.
fn put(
    channel: &Channel,
    job: Job,
    numbers: &mut Numbers,
    at_ms: i64,
) -> impl Future<Output = Outcome> + Send + use<> {
    let Job { topic, items, room, answer } = job;
    let mut sent: Vec<Sent> = items
        .into_iter()
        .map(|item| {
            let partition = topic.partition(&item.key);
            let stamp = numbers.next(&topic, partition);
            let (channel, exchange) = (channel.clone(), topic.exchange.clone());
            let key = topic.routing_key(partition);
            let confirm = Box::pin(async move {
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let properties = message::of_item(&item, at_ms, &stamp);
                channel.basic_publish(exchange, key, options, &item.payload, properties).await?.await
            });
            Sent { partition, confirm }
        })
        .collect();
    let mut early = Vec::with_capacity(sent.len());
    // The first poll hands the frames to the client: that is what makes the order.
    let mut context = Context::from_waker(Waker::noop());
    for one in &mut sent {
        early.push(match one.confirm.as_mut().poll(&mut context) {
            Poll::Ready(confirmed) => Some(confirmed),
            Poll::Pending => None,
        });
    }
    async move {
        let mut outcome = Outcome { topic, failed: Vec::new(), unroutable: false };
        let mut told = Ok(());
        failpoint!("bus.amqp.confirm.before");
        for (one, early) in sent.into_iter().zip(early) {
            let confirmed = match early {
                Some(confirmed) => confirmed,
                None => one.confirm.await,
            };
            let failure = match confirmed {
                Ok(Confirmation::Ack(None)) => continue,
                Ok(Confirmation::Ack(Some(_)) | Confirmation::NotRequested) => {
                    outcome.unroutable = true;
                    BusError::Unroutable(outcome.topic.name.clone())
                }
                Ok(Confirmation::Nack(_)) => {
                    BusError::Full(format!("the broker refused an item of topic {}", outcome.topic.name))
                }
                Err(error) => lost(&error),
            };
            outcome.failed.push(one.partition);
            told = Err(failure);
        }
        failpoint!("bus.amqp.confirm.after");
        metrics::counter!("loket_bus_published_total", "topic" => outcome.topic.name.clone(),
            "result" => if told.is_ok() { "confirmed" } else { "failed" })
        .increment(1);
        // A caller that has given up repeats, or not; that is its own affair.
        let _ = answer.send(told);
        drop(room);
        outcome
    }
}

/// The stamps of this connection (`reliability-contract` §6): numbers without gap in each partition,
/// and a new epoch after anything that may have made one.
#[derive(Default)]
struct Numbers(HashMap<(String, u16), Stamp>);

impl Numbers {
    fn next(&mut self, topic: &TopicLayout, partition: u16) -> Stamp {
        let at = (topic.name.clone(), partition);
        let stamp =
            self.0.entry(at).or_insert_with(|| Stamp { epoch: random::hex::<8>(), partition, number: 0 });
        stamp.number += 1;
        stamp.clone()
    }

    fn note(&mut self, outcome: &Outcome) {
        for partition in &outcome.failed {
            self.0.remove(&(outcome.topic.name.clone(), *partition));
        }
    }
}

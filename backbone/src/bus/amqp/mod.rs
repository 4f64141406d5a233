//! The bus on RabbitMQ: quorum queues, publisher confirms, every argument said (`reliability-contract`
//! §6), for any number of processes.
//!
//! Who owns what:
//!
//! | Task | Connection | Channels |
//! |---|---|---|
//! | publisher | "loket: publishing" | one for all items of all callers, with confirms; one for looks; one for questions and answers |
//! | consumer | "loket: consuming" | one for each topic, group or subject that somebody leases from, with a consumer for each of its queues; one for the watchdog |
//! | dead letters | both, through the doors of the others | |
//!
//! The two connections are apart because the broker stops reading from one that publishes while its
//! disk or memory is short, and acknowledgements must go on then (M6, B11). Each connects again by
//! itself, after 0.1 to 10 s with jitter, and declares the layout again, so a queue that somebody
//! deleted is back after the first publish that it refused.
//!
//! Publishes that are under way when a connection is lost fail with `Unavailable`, and the caller
//! repeats them: the bus keeps nothing of its own, so a process can be killed at any time. Leases
//! that are out then are void: their acknowledgement is an error, and the items come back marked.
//!
//! Order of a key (B6) holds because its partition is the same for every publisher, each partition
//! has one active consumer, that consumer lets one item of a key out at a time ([`lane`]), and
//! sockets are dropped and never closed, so nothing comes back behind what is newer (M9, M10). Where
//! that fails all the same, the publisher's numbers show it, and the item that came too early waits
//! ([`order`]). What is given back stays in this process; the broker's count of deliveries is a backstop at 1,000, and
//! what it gives up on goes back to its topic ([`dead`]), because that count judges nobody.
//!
//! What AMQP does not tell, and the limits that follow:
//! - An item counts as leased before when it was *delivered* before: a crash marks what was
//!   prefetched too, at most [`Options::prefetch`] a partition.
//! - The broker tells what waits, not what consumers hold: that they tell each other ([`census`]).
//! - [`Depth`] is exact in items when nothing moves. Bytes are exact for what processes hold, and
//!   estimated from the mean for the rest. The age is that of the oldest item that a consumer holds,
//!   which is the oldest there is; when nobody consumes it is how long this process has seen, call
//!   by call, that the queue is not empty.
//! - [`Bus::peek`] shows what consumers hold, the oldest of each partition. When nobody consumes it
//!   takes the oldest for a moment and drops the socket, which marks them as leased before.

mod address;
mod asks;
mod census;
mod consumer;
mod dead;
mod glance;
mod lane;
mod layout;
mod lease;
mod link;
mod message;
mod order;
mod publisher;
#[cfg(test)]
mod tests;
mod version;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::address::Address;
use self::census::Told;
use self::lane::{Lane, Seen, Sight};
use self::layout::{Layout, PARTITIONS, TopicLayout};
use self::lease::{ItemLease, QuestionLease};
use self::publisher::{Outlet, Publisher, look_all};
use super::{Bus, BusError, Depth, Item, Lease, Ledger, PAYLOAD_BYTES_MAX};
use crate::clock::Clock;
use crate::random;
use crate::tasks::Tasks;

/// How long opening waits for a broker that is being started or restarted (M3: 5 to 11 s).
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// How long [`Bus::close`] waits for the last confirms and acknowledgements.
const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// The shortest and the longest wait before connecting again, in milliseconds.
const RECONNECT_MS: (u64, u64) = (100, 10_000);
/// A connection that lived so long was a good one.
const STEADY: Duration = Duration::from_secs(10);
/// How long the broker may take to say how full a topic is.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// The limits of a bus on RabbitMQ.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics whose keys are kept in order over all processes.
    pub ordered: Vec<String>,
    /// Into how many queues such a topic is cut. Part of the layout: all processes agree on it.
    pub partitions: u16,
    /// Items of one queue (`reliability-contract` §6). The broker refuses a little late: publishes
    /// that are under way at the same time may go over it.
    pub items_max: u64,
    /// Bytes of one queue (`reliability-contract` §6).
    pub bytes_max: u64,
    /// Deliveries after which the broker gives up on an item: a backstop.
    pub delivery_limit: i32,
    /// Items of a partition that a process holds at a time.
    pub prefetch: u16,
    /// Items that a process holds at a time of a topic that is not cut, or of a subject.
    pub prefetch_whole: u16,
    /// How often the watchdog looks; three looks in a row end a silent connection (B12).
    pub watch_every: Duration,
    /// How long an item may be held before everything goes back to the broker
    /// (`reliability-contract` §6, `x-consumer-timeout`).
    pub hold_max: Duration,
}

impl Options {
    /// The limits of the contract.
    pub fn new(ordered: &[&str]) -> Self {
        Self {
            ordered: ordered.iter().map(|topic| (*topic).to_owned()).collect(),
            partitions: PARTITIONS,
            items_max: 1_000_000,
            bytes_max: 2 * 1024 * 1024 * 1024,
            delivery_limit: 1000,
            prefetch: 32,
            prefetch_whole: 128,
            watch_every: Duration::from_secs(10),
            hold_max: Duration::from_mins(5),
        }
    }
}

/// What the tasks of a bus share.
struct Shared {
    /// Tells this process from others.
    process: String,
    address: Address,
    layout: Layout,
    options: Options,
    clock: Clock,
    lanes: Vec<Arc<Lane>>,
    /// Told when somebody leases from a lane that nobody leased from.
    wanted: Notify,
}

struct Amqp {
    shared: Arc<Shared>,
    topics: HashMap<String, (Arc<TopicLayout>, Vec<Arc<Lane>>)>,
    subjects: HashMap<String, Arc<Lane>>,
    publisher: Arc<Publisher>,
    closed: CancellationToken,
    tasks: Tasks,
}

/// Opens the bus on the broker at `url`, which is
/// `amqp://USER:PASSWORD@HOST:PORT/VHOST?prefix=NAME&cacertfile=PATH` or the same with `amqps`.
/// Everything on the broker begins with the prefix, `loket` when none is given. Makes what is not
/// there. Waits for a broker that is away, up to half a minute. Refused, with a sentence: a version
/// that is not tested, a user without rights, a queue with other arguments.
pub async fn open(
    url: &str,
    options: Options,
    clock: Clock,
    topics: &[(&str, &str)],
    subjects: &[(&str, &str)],
) -> Result<Arc<dyn Bus>, BusError> {
    let address = Address::read(url)?;
    let layout = Layout::new(&address.prefix, &options, topics, subjects);
    let process = random::hex::<8>();
    let mut shared =
        Shared { process, address, layout, options, clock, lanes: Vec::new(), wanted: Notify::new() };
    let mut by_topic = HashMap::new();
    for (topic, layout) in &shared.layout.topics {
        let prefetch = match layout.routing_keys.len() {
            1 => shared.options.prefetch_whole,
            _ => shared.options.prefetch,
        };
        let lane = |of: &layout::GroupLayout| {
            Arc::new(Lane::new(topic, &of.group, of.queues.clone(), prefetch, true))
        };
        let lanes: Vec<_> = layout.groups.iter().map(lane).collect();
        shared.lanes.extend(lanes.iter().cloned());
        by_topic.insert(topic.clone(), (Arc::clone(layout), lanes));
    }
    let mut by_subject = HashMap::new();
    for (subject, layout) in &shared.layout.subjects {
        let (queues, prefetch) = (vec![layout.queue.clone()], shared.options.prefetch_whole);
        let lane = Arc::new(Lane::new(subject, &layout.group, queues, prefetch, false));
        shared.lanes.push(Arc::clone(&lane));
        by_subject.insert(subject.clone(), lane);
    }
    let dead_queue = vec![shared.layout.dead.clone()];
    let dead = Arc::new(Lane::new("dead letters", "all", dead_queue, shared.options.prefetch_whole, false));
    shared.lanes.push(Arc::clone(&dead));

    let shared = Arc::new(shared);
    let first = first_session(&shared).await?;
    tracing::info!(broker = %shared.address, prefix = shared.address.prefix, "the bus is open");
    let (outlet, watched) = watch::channel(Ok(first.outlet()));
    let (tasks, closed) = (Tasks::new(), CancellationToken::new());
    let publisher = Arc::new(Publisher::new(watched, closed.clone()));
    let stop = tasks.stop_sign();
    tasks.spawn("bus publisher", publisher::keep(Arc::clone(&shared), outlet, first, stop.clone()));
    tasks.spawn("bus consumer", consumer::keep(Arc::clone(&shared), Arc::clone(&publisher), stop.clone()));
    tasks.spawn("bus dead letters", dead::empty(Arc::clone(&shared), Arc::clone(&publisher), dead, stop));
    Ok(Arc::new(Amqp { shared, topics: by_topic, subjects: by_subject, publisher, closed, tasks }))
}

/// The first publishing connection: what is wrong with the address or the layout is said here.
async fn first_session(shared: &Shared) -> Result<publisher::Session, BusError> {
    let begun = shared.clock.instant();
    let mut backoff = Backoff::default();
    loop {
        let opened = async {
            link::check_version(&shared.address).await?;
            publisher::Session::open(shared).await
        };
        match opened.await {
            Err(BusError::Unavailable(why)) if shared.clock.instant().duration_since(begun) < OPEN_WAIT => {
                tracing::warn!(why, "waiting for the broker");
                backoff.wait(&CancellationToken::new()).await;
            }
            opened => return opened,
        }
    }
}

/// Full jitter between tries to connect (`reliability-contract` §12).
#[derive(Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    /// A connection that lived for a while is a new start.
    fn lived(&mut self, time: Duration) {
        if time >= STEADY {
            self.tries = 0;
        }
    }

    /// Waits; false when it is time to stop.
    async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let (least, most) = RECONNECT_MS;
        let reach = least.saturating_mul(1 << self.tries.min(10)).min(most);
        self.tries = self.tries.saturating_add(1);
        let wait = Duration::from_millis(least + random::jitter_ms(reach.saturating_sub(least)));
        tokio::select! {
            () = tokio::time::sleep(wait) => !stop.is_cancelled(),
            () = stop.cancelled() => false,
        }
    }
}

impl Amqp {
    fn topic(&self, topic: &str) -> Result<&(Arc<TopicLayout>, Vec<Arc<Lane>>), BusError> {
        self.topics.get(topic).ok_or_else(|| BusError::Unroutable(topic.to_owned()))
    }

    fn lane(&self, topic: &str, group: &str) -> Result<&Arc<Lane>, BusError> {
        let lane = self.topic(topic)?.1.iter().find(|lane| lane.group == group);
        lane.ok_or_else(|| BusError::Unroutable(format!("{topic} for group {group}")))
    }

    fn closed() -> BusError {
        BusError::Unavailable("it is closed".to_owned())
    }

    /// What the broker says of a lane, and what this process has of it.
    async fn seen(&self, lane: &Lane, outlet: &Outlet) -> Result<Seen, BusError> {
        let Some(reader) = lane.reader() else {
            let (ready, consumers) = look_all(&outlet.control, lane).await?;
            return Ok(Seen { ready, consumers, sight: Sight::default() });
        };
        let (answer, answered) = oneshot::channel();
        let lost = || BusError::Unavailable("the connection to the broker is lost".to_owned());
        reader.send(answer).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())
    }

    /// How full a lane is over all processes, and up to `show` items that the others have.
    async fn look(&self, lane: &Lane, show: usize) -> Result<(Seen, Vec<Told>), BusError> {
        let outlet = self.publisher.outlet().await?;
        let seen = self.seen(lane, &outlet).await?;
        let others = seen.consumers.saturating_sub(u32::from(lane.is_attached()));
        let told = match others {
            0 => Vec::new(),
            others => census::take(&self.shared, &outlet, lane, others, show).await?,
        };
        Ok((seen, told))
    }

    /// Ends what takes too long, and what is cut short by the end of the bus.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
        tokio::select! {
            done = tokio::time::timeout(LOOK_DEADLINE, work) => done.unwrap_or(Err(BusError::Deadline)),
            () = self.closed.cancelled() => Err(Self::closed()),
        }
    }
}

#[async_trait]
impl Bus for Amqp {
    async fn publish(&self, topic: &str, items: &[Item]) -> Result<(), BusError> {
        let (topic, _) = self.topic(topic)?;
        if let Some(large) = items.iter().find(|item| item.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(BusError::TooLarge(large.payload.len()));
        }
        self.publisher.publish(topic, items).await
    }

    async fn lease(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Box<dyn Lease>>, BusError> {
        let subject = self.subjects.get(topic).filter(|lane| lane.group == group);
        let lane = match subject {
            Some(lane) => lane,
            None => self.lane(topic, group)?,
        };
        loop {
            let grown = lane.grown.notified();
            tokio::pin!(grown);
            // From here on a call to everybody is heard, too.
            grown.as_mut().enable();
            if self.closed.is_cancelled() {
                return Err(Self::closed());
            }
            let taken = lane.take(max, self.shared.clock.instant());
            if !taken.is_empty() {
                return Ok(taken
                    .into_iter()
                    .map(|taken| -> Box<dyn Lease> {
                        match subject {
                            Some(_) => Box::new(QuestionLease::new(lane, taken, &self.publisher)),
                            None => Box::new(ItemLease::new(lane, taken)),
                        }
                    })
                    .collect());
            }
            if lane.want() {
                self.shared.wanted.notify_one();
            }
            tokio::select! {
                () = grown => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    async fn ask(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        let layout = self.shared.layout.subjects.get(subject);
        let layout = layout.ok_or_else(|| BusError::Unroutable(subject.to_owned()))?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BusError::TooLarge(payload.len()));
        }
        let asked = async {
            let outlet = self.publisher.outlet().await?;
            outlet.asks.ask(layout, &payload, deadline).await
        };
        tokio::select! {
            asked = tokio::time::timeout(deadline, asked) => asked.unwrap_or(Err(BusError::Deadline)),
            () = self.closed.cancelled() => Err(Self::closed()),
        }
    }

    async fn depth(&self, topic: &str, group: &str) -> Result<Depth, BusError> {
        let lane = self.lane(topic, group)?;
        let (seen, told) = self.in_time(self.look(lane, 0)).await?;
        let mut sights = vec![seen.sight];
        sights.extend(told.iter().map(|told| told.sight));
        let oldest_at_ms = sights.iter().filter_map(|sight| sight.oldest_at_ms).min();
        let mean_bytes = sights.iter().map(|sight| sight.mean_bytes).max().unwrap_or_default();
        let sum = |what: fn(&Sight) -> u64| sights.iter().map(what).sum::<u64>();
        let now_ms = self.shared.clock.now().as_millis();
        let waits = lane.not_empty_since(seen.ready > 0 && oldest_at_ms.is_none(), now_ms);
        let age_ms = oldest_at_ms.or(waits).map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        Ok(Depth {
            items: seen.ready + sum(|sight| sight.items),
            leased: sum(|sight| sight.leased),
            bytes: sum(|sight| sight.bytes) + seen.ready.saturating_mul(mean_bytes),
            oldest_age_ms: u64::try_from(age_ms).unwrap_or(0),
        })
    }

    async fn peek(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Item>, BusError> {
        let lane = self.lane(topic, group)?;
        let (seen, told) = self.in_time(self.look(lane, max)).await?;
        if seen.consumers == 0 {
            return self.in_time(glance::oldest(&self.shared, lane, max)).await;
        }
        let mut found: Vec<_> =
            lane.oldest(max).into_iter().map(|(at_ms, item)| (at_ms, (*item).clone())).collect();
        found.extend(told.into_iter().flat_map(Told::items));
        found.sort_by_key(|(at_ms, _)| *at_ms);
        Ok(found.into_iter().take(max).map(|(_, item)| item).collect())
    }

    fn keep_order(&self, topic: &str, group: &str, ledger: Arc<dyn Ledger>) {
        if let Ok(lane) = self.lane(topic, group) {
            lane.keep_order(ledger);
        }
    }

    async fn close(&self) {
        self.closed.cancel();
        for lane in &self.shared.lanes {
            lane.close();
        }
        if !self.tasks.stop(CLOSE_WAIT).await {
            tracing::warn!("the bus did not end in time; what is unfinished comes back");
        }
    }
}

impl Drop for Amqp {
    fn drop(&mut self) {
        self.tasks.stop_sign().cancel();
    }
}

//! The consuming connection: one channel for each lane that somebody leases from, and on it one
//! consumer for each queue. One task reads them all, acknowledges in batches, and watches.
//!
//! Four things end the connection on purpose, and the socket is dropped each time: a consumer that
//! is silent though its queue is not empty (B12), items that are held for so long that the broker's
//! own limit would come near, items that wait for others that there is no room for, and the end of the
//! process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, FuturesUnordered, SelectAll, select_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lane::{Lane, Look, Seen, Traffic};
use super::link::{Fate, Link, lost};
use super::order::Lineage;
use super::publisher::{Publisher, look, look_all};
use super::{Backoff, Shared, census, message};
use crate::bus::BusError;

/// Acknowledgements gather so long, or until there are [`ACKS_URGENT`].
const ACK_GATHER: Duration = Duration::from_millis(1);
/// So many are told at once.
const ACKS_URGENT: usize = 64;
/// How long an end waits until the broker has heard every acknowledgement.
const LAST_ACKS: Duration = Duration::from_secs(2);
/// How long the broker may take to say how full a queue is.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Callers that may wait for a look.
const LOOKS_MAX: usize = 16;
/// How often a look is repeated while items keep moving.
const LOOKS_UNTIL_STILL: u32 = 8;
/// How soon a ledger that could not tell is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Why a connection is dropped on which the order cannot be restored.
const STUCK: &str = "items came before others that there is no room for; all go back, to come in order";
/// So many looks in a row must find a consumer silent.
const SILENT_LOOKS: u32 = 3;

/// Keeps a consuming connection up while somebody leases, until the bus is closed.
pub(super) async fn keep(shared: Arc<Shared>, publisher: Arc<Publisher>, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        while !shared.lanes.iter().any(|lane| lane.is_wanted()) {
            tokio::select! {
                () = shared.wanted.notified() => {}
                () = stop.cancelled() => return,
            }
        }
        let connecting = Link::connect(&shared.address, "loket: consuming");
        let connected = tokio::select! {
            connected = connecting => connected,
            () = stop.cancelled() => return,
        };
        match connected {
            Ok((link, fate)) => {
                let begun = shared.clock.instant();
                let end = run(&shared, &publisher, &link, fate, &stop).await;
                backoff.lived(shared.clock.instant().duration_since(begun));
                link.cut();
                for lane in &shared.lanes {
                    lane.detach(matches!(end, End::Held(_)));
                }
                match end {
                    End::Closed => return,
                    End::Held(lane) => {
                        metrics::counter!("loket_bus_given_back_total").increment(1);
                        tracing::warn!(
                            topic = lane,
                            "items are held for too long; they go back to the broker until somebody leases again"
                        );
                    }
                    End::Lost(why) => {
                        metrics::counter!("loket_bus_reconnects_total", "for" => "consuming").increment(1);
                        tracing::warn!(why, "the consuming connection is lost; connecting again");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "no consuming connection; trying again"),
        }
        if !backoff.wait(&stop).await {
            return;
        }
    }
}

/// Why a connection ended.
enum End {
    Closed,
    /// Somebody holds items of this lane and says nothing.
    Held(String),
    /// Why.
    Lost(String),
}

async fn run(
    shared: &Shared,
    publisher: &Publisher,
    link: &Link,
    mut fate: Fate,
    stop: &CancellationToken,
) -> End {
    let control = match link.channel().await {
        Ok(control) => control,
        Err(error) => return End::Lost(error.to_string()),
    };
    let census = census::answer(shared, publisher, link);
    tokio::pin!(census);
    let mut pumps = FuturesUnordered::new();
    let mut watches: Vec<Watch> = Vec::new();
    let mut looks = tokio::time::interval(shared.options.watch_every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        for lane in &shared.lanes {
            if lane.is_wanted() && !lane.is_attached() {
                let (reader, looks) = mpsc::channel(LOOKS_MAX);
                lane.attach(reader);
                pumps.push(serve(shared, lane, link, looks, stop));
                watches.push(Watch::new(Arc::clone(lane)));
            }
        }
        let looking = async {
            looks.tick().await;
            for watch in &mut watches {
                if let Some(end) = watch.look(shared, &control).await {
                    return Some(end);
                }
            }
            None
        };
        tokio::select! {
            Some(end) = pumps.next(), if !pumps.is_empty() => match end {
                // Each of them tells the broker its last acknowledgements.
                End::Closed if !pumps.is_empty() => {}
                end => return end,
            },
            end = looking => {
                if let Some(end) = end {
                    return end;
                }
            }
            why = fate.lost() => return End::Lost(why),
            why = &mut census => return End::Lost(why),
            () = shared.wanted.notified() => {}
            () = stop.cancelled(), if pumps.is_empty() => return End::Closed,
        }
    }
}

type Deliveries = SelectAll<BoxStream<'static, (u16, lapin::Result<Delivery>)>>;

/// Reads the channel of one lane.
struct Reader {
    lane: Arc<Lane>,
    channel: Channel,
    deliveries: Deliveries,
    looks: mpsc::Receiver<Look>,
    /// Questions to the ledger that are under way.
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
}

/// What the ledger answered: what is done of an epoch, first and last of each run.
type Answer = (Lineage, Vec<(u64, u64)>);

/// Serves a lane until the connection is lost or the bus closed. Each lane begins by itself: a queue
/// that has just been restarted may take its time, and the others do not wait for it.
async fn serve(
    shared: &Shared,
    lane: &Arc<Lane>,
    link: &Link,
    looks: mpsc::Receiver<Look>,
    stop: &CancellationToken,
) -> End {
    let begun = tokio::select! {
        begun = Reader::begin(lane, link, looks) => begun,
        () = stop.cancelled() => return End::Closed,
    };
    match begun {
        Ok(reader) => reader.run(shared, stop).await,
        Err(error) => End::Lost(error.to_string()),
    }
}

impl Reader {
    /// Opens a channel for a lane and consumes its queues.
    async fn begin(lane: &Arc<Lane>, link: &Link, looks: mpsc::Receiver<Look>) -> Result<Self, BusError> {
        let channel = link.channel().await?;
        let limited = channel.basic_qos(lane.prefetch, BasicQosOptions::default()).await;
        limited.map_err(|error| lost(&error))?;
        let options = BasicConsumeOptions::default();
        let begun = join_all(lane.queues.iter().map(|queue| {
            channel.basic_consume(queue.clone(), ShortString::default(), options, FieldTable::default())
        }));
        let consumers: Result<Vec<Consumer>, _> = begun.await.into_iter().collect();
        let numbered = (0u16..).zip(consumers.map_err(|error| lost(&error))?);
        let deliveries = select_all(
            numbered.map(|(partition, consumer)| consumer.map(move |came| (partition, came)).boxed()),
        );
        Ok(Self { lane: Arc::clone(lane), channel, deliveries, looks, asked: FuturesUnordered::new() })
    }

    /// Takes up what comes, and acknowledges what is done.
    async fn run(mut self, shared: &Shared, stop: &CancellationToken) -> End {
        loop {
            let due = self.lane.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let last = async {
                        acknowledge(&self.lane, &self.channel).await?;
                        // The broker answers in order: once it answers this, it has heard the rest.
                        self.channel.basic_qos(self.lane.prefetch, BasicQosOptions::default()).await
                    };
                    if !matches!(tokio::time::timeout(LAST_ACKS, last).await, Ok(Ok(()))) {
                        tracing::warn!(topic = self.lane.name, "the last acknowledgements may not have arrived");
                    }
                    return End::Closed;
                }
                came = self.deliveries.next() => {
                    if let Err(why) = self.take_up(shared, came) {
                        return End::Lost(why);
                    }
                }
                Some((of, done)) = self.asked.next(), if !self.asked.is_empty() => {
                    let now = shared.clock.instant();
                    self.lane.tell(&of, &done, now);
                    if self.lane.is_stuck(now) {
                        return End::Lost(STUCK.to_owned());
                    }
                }
                () = until(due), if due.is_some() => {
                    let passed = self.lane.pass(shared.clock.instant());
                    if passed > 0 {
                        metrics::counter!("loket_order_gap_total", "topic" => self.lane.name.clone()).increment(passed);
                        tracing::warn!(topic = self.lane.name, passed, "items were missing before others for too long; went on without them");
                    }
                }
                Some(look) = self.looks.recv() => {
                    match self.look(shared).await {
                        // Whoever no longer waits for it is no error.
                        Ok(seen) => drop(look.send(seen)),
                        Err(why) => return End::Lost(why),
                    }
                }
                () = self.lane.settled.notified() => {
                    if !self.lane.has_done(ACKS_URGENT) {
                        tokio::time::sleep(ACK_GATHER).await;
                    }
                    if let Err(error) = acknowledge(&self.lane, &self.channel).await {
                        return End::Lost(error.to_string());
                    }
                }
            }
        }
    }

    fn take_up(&self, shared: &Shared, came: Option<(u16, lapin::Result<Delivery>)>) -> Result<(), String> {
        match came {
            Some((partition, Ok(delivery))) => {
                let now = shared.clock.instant();
                if let Some(of) = self.lane.arrive(message::read_item(partition, delivery, now)) {
                    self.ask(of);
                }
                if self.lane.due().is_some() && self.lane.is_stuck(now) {
                    return Err(STUCK.to_owned());
                }
                Ok(())
            }
            Some((_, Err(error))) => Err(error.to_string()),
            None => Err("the broker cancelled a consumer".to_owned()),
        }
    }

    /// Asks the ledger what is done of an epoch, until it can tell.
    fn ask(&self, of: Lineage) {
        let Some(ledger) = self.lane.ledger().cloned() else { return };
        self.asked.push(Box::pin(async move {
            loop {
                if let Some(done) = ledger.done(&of.epoch, of.partition).await {
                    return (of, done);
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }));
    }

    /// How many items wait at the broker, and what is here. What is between the two is in neither,
    /// so this looks until the broker says the same twice: what it had sent before it first said so
    /// came ahead of its second answer.
    async fn look(&mut self, shared: &Shared) -> Result<Seen, String> {
        let mut before = None;
        for _ in 0..LOOKS_UNTIL_STILL {
            let (ready, consumers) =
                look_all(&self.channel, &self.lane).await.map_err(|error| error.to_string())?;
            while let Some(came) = self.deliveries.next().now_or_never() {
                self.take_up(shared, came)?;
            }
            if before.replace((ready, consumers)) == Some((ready, consumers)) {
                break;
            }
        }
        let (ready, consumers) = before.unwrap_or_default();
        Ok(Seen { ready, consumers, sight: self.lane.sight() })
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

async fn acknowledge(lane: &Lane, channel: &Channel) -> lapin::Result<()> {
    let acks = lane.acks();
    if let Some(tag) = acks.up_to {
        channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
    }
    let single = BasicAckOptions { multiple: false };
    // All are on their way before the first is waited for.
    join_all(acks.single.into_iter().map(|tag| channel.basic_ack(tag, single))).await.into_iter().collect()
}

/// Watches the consumers of a lane (B12), and who holds its items.
struct Watch {
    lane: Arc<Lane>,
    before: Vec<Traffic>,
    silent: Vec<u32>,
}

impl Watch {
    fn new(lane: Arc<Lane>) -> Self {
        let queues = lane.queues.len();
        Self { lane, before: vec![Traffic::default(); queues], silent: vec![0; queues] }
    }

    /// Looks once. An answer ends the connection.
    async fn look(&mut self, shared: &Shared, control: &Channel) -> Option<End> {
        let lane = &self.lane;
        if lane.longest_held(shared.clock.instant()) > shared.options.hold_max {
            return Some(End::Held(lane.name.clone()));
        }
        let looks = join_all(lane.queues.iter().map(|queue| look(control, queue)));
        let Ok(seen) = tokio::time::timeout(LOOK_DEADLINE, looks).await else {
            return Some(End::Lost("the broker does not say how full its queues are".to_owned()));
        };
        let mut ready_in_all = 0;
        let now = lane.traffic();
        let all = seen.into_iter().zip(&lane.queues).zip(now).zip(&mut self.before).zip(&mut self.silent);
        for ((((seen, queue), now), before), silent) in all {
            let (ready, consumers) = match seen {
                Ok(seen) => seen,
                Err(error) => return Some(End::Lost(error.to_string())),
            };
            ready_in_all += ready;
            // One that never got anything may be waiting for its turn behind another process.
            let is_ours = now.received > 0 || consumers <= 1;
            let has_room = now.held < u64::from(lane.prefetch);
            let is_silent = ready > 0 && is_ours && has_room && now.received == before.received;
            *silent = if is_silent { *silent + 1 } else { 0 };
            *before = now;
            if *silent >= SILENT_LOOKS {
                metrics::counter!("loket_bus_silent_consumers_total", "topic" => lane.name.clone())
                    .increment(1);
                return Some(End::Lost(format!("the consumer of {queue} is silent, and {ready} items wait")));
            }
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; queues hold far fewer than 2^52"
        )]
        metrics::gauge!("loket_bus_ready", "topic" => lane.name.clone(), "group" => lane.group.clone())
            .set(ready_in_all as f64);
        None
    }
}

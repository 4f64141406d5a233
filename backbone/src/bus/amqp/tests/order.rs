//! The order of a key over several processes and their ends (B6, M9), and over a lost connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};

use super::fixture::Broker;
use super::own::OwnBroker;
use crate::bus::amqp::order::GAP_WAIT;
use crate::bus::contract::{
    Fixture as _, by_key, drain, eventually, item, items, lanes, lease, lease_many, lease_one,
};
use crate::bus::{BusError, Item, Ledger};
use crate::clock::Clock;

const KEYS: usize = 5;
const EACH: usize = 12;
const ROUNDS: usize = 12;

fn expected(items: &[Item]) -> HashMap<String, Vec<String>> {
    lanes(items)
        .into_iter()
        .map(|(key, items)| (key, items.into_iter().map(|item| item.id).collect()))
        .collect()
}

/// The one that ends holds items, done and not done; the other waits for its turn meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m9_an_orderly_end_leaves_every_key_in_order() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let all = items(KEYS * EACH, KEYS);
    let mut first = broker.open().await;
    for round in 0..ROUNDS {
        first.publish("line", &all).await.unwrap();
        let mut came = Vec::new();
        for lease in lease_many(&*first, "line", "crew", KEYS).await {
            came.push((lease.item().clone(), false));
            lease.ack().await.unwrap();
        }
        let held = lease(&*first, "line", "crew", 3).await;
        let second = broker.open().await;
        let (waited, ()) = tokio::join!(lease_one(&*second, "line", "crew"), async {
            eventually("the other waits", || async { second.depth("line", "crew").await.is_ok() }).await;
            first.close().await;
        });
        came.push((waited.item().clone(), false));
        waited.ack().await.unwrap();
        drop(held);
        came.extend(drain(&*second, "line", "crew").await);
        assert_eq!(by_key(&came), expected(&all), "round {round}");
        first = second;
    }
    first.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b06_two_processes_never_have_two_items_of_a_key() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let (one, other) = (broker.open().await, broker.open().await);
    one.publish("line", &items(60, 20)).await.unwrap();
    let mut out: HashMap<String, String> = HashMap::new();
    let mut leases = lease_many(&*one, "line", "crew", 20).await;
    let more = tokio::time::timeout(Duration::from_millis(300), other.lease("line", "crew", 20)).await;
    leases.extend(more.map(Result::unwrap).unwrap_or_default());
    for lease in &leases {
        let Item { id, key, .. } = lease.item().clone();
        assert_eq!(out.insert(key, id), None, "two of a key are out at a time");
    }
    assert_eq!(out.len(), 20);
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_what_another_process_holds_is_counted_and_shown() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let (one, other) = (broker.open().await, broker.open().await);
    let all = items(20, 5);
    one.publish("line", &all).await.unwrap();
    let held = lease_many(&*one, "line", "crew", 3).await;
    let bytes: usize = all.iter().map(|item| item.payload.len()).sum();
    for bus in [&one, &other] {
        eventually("the depth is right", || async {
            let depth = bus.depth("line", "crew").await.unwrap();
            (depth.items, depth.leased, depth.bytes) == (20, 3, bytes as u64) && depth.oldest_age_ms > 0
        })
        .await;
        assert_eq!(lanes(&bus.peek("line", "crew", 100).await.unwrap()), lanes(&all));
    }
    drop(held);
    let again = lease_many(&*one, "line", "crew", 5).await;
    assert_eq!(again.iter().filter(|lease| lease.leased_before()).count(), 3, "looking marks nothing");
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_voids_its_leases_and_keeps_their_keys_closed() {
    let Some(own) = OwnBroker::start().await else { return };
    let broker = own.corner();
    let bus = broker.open().await;
    bus.publish("line", &[item(1, "key"), item(2, "key"), item(3, "other")]).await.unwrap();
    let mut both = lease_many(&*bus, "line", "crew", 2).await;
    both.sort_by(|one, other| one.item().id.cmp(&other.item().id));
    let (held, elsewhere) = (both.remove(0), both.remove(0));
    assert_eq!(held.item().id, "1");
    own.control(&["close_all_connections", "a trial"]).await;
    drop(elsewhere);
    let again = lease_one(&*bus, "line", "crew").await;
    assert_eq!((again.item().id.as_str(), again.leased_before()), ("3", true));
    again.ack().await.unwrap();
    let soon = Duration::from_millis(500);
    let early = tokio::time::timeout(soon, bus.lease("line", "crew", 9)).await;
    assert!(early.is_err(), "the holder of the key has not said anything yet");
    let void = held.ack().await;
    assert!(matches!(void, Err(BusError::Unavailable(_))), "{void:?}");
    let rest = drain(&*bus, "line", "crew").await;
    let seen: Vec<_> = rest.iter().map(|(item, before)| (item.id.as_str(), *before)).collect();
    assert_eq!(seen, [("1", true), ("2", true)], "what was prefetched is marked as well");
    bus.close().await;
    own.stop().await;
}

/// What a consumer before this one has done.
struct Done(Vec<(u64, u64)>);

#[async_trait::async_trait]
impl Ledger for Done {
    async fn done(&self, _: &str, _: u16) -> Option<Vec<(u64, u64)>> {
        Some(self.0.clone())
    }
}

/// Takes so many items away that wait in a topic's queues, in order.
async fn take_away(broker: &Broker, count: usize) -> Vec<(ShortString, Delivery)> {
    let (connection, channel) = broker.outsider().await;
    let mut found = Vec::new();
    for queue in &broker.layout().topics["line"].groups[0].queues {
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let mut coming =
            channel.basic_consume(queue.clone(), tag, options, FieldTable::default()).await.unwrap();
        while let Ok(Some(came)) = tokio::time::timeout(Duration::from_millis(300), coming.next()).await {
            let came = came.unwrap();
            came.ack(BasicAckOptions::default()).await.unwrap();
            found.push((queue.clone(), came));
        }
    }
    assert_eq!(found.len(), count);
    // Answered when the broker has heard the rest.
    channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    drop(connection);
    found
}

/// Lays items down again, as they were.
async fn lay_down<'a>(broker: &Broker, items: impl Iterator<Item = &'a (ShortString, Delivery)>) {
    let (_connection, channel) = broker.outsider().await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    for (queue, item) in items {
        let (options, properties) = (BasicPublishOptions::default(), item.properties.clone());
        let sent = channel.basic_publish("".into(), queue.clone(), options, &item.data, properties).await;
        sent.unwrap().await.unwrap();
    }
}

/// The broker hands over in a wrong order; of each key the items come in the right one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_turned_around_is_turned_back() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let bus = broker.open().await;
    // Fewer than a process holds of a partition.
    let all = items(30, KEYS);
    bus.publish("line", &all).await.unwrap();
    lay_down(&broker, take_away(&broker, all.len()).await.iter().rev()).await;
    bus.keep_order("line", "crew", Arc::new(Done(Vec::new())));
    let came = drain(&*bus, "line", "crew").await;
    assert_eq!(by_key(&came), expected(&all));
    bus.close().await;
}

/// One that is missing is not waited for when it is known as done, and otherwise for two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_waited_for_at_most_two_seconds() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    for (done, waits) in [(vec![(1, 1)], false), (vec![], true)] {
        let bus = broker.open().await;
        bus.publish("line", &[item(1, 7), item(2, 7)]).await.unwrap();
        lay_down(&broker, take_away(&broker, 2).await.iter().skip(1)).await;
        bus.keep_order("line", "crew", Arc::new(Done(done)));
        let begun = Clock::system().instant();
        let lease = lease_one(&*bus, "line", "crew").await;
        assert_eq!(lease.item().id, "2");
        assert_eq!(begun.elapsed() >= GAP_WAIT, waits, "{:?}", begun.elapsed());
        lease.ack().await.unwrap();
        bus.close().await;
    }
}

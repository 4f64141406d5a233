//! A broker that is killed, frozen, full, short of memory, or misses a queue.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use tokio::task::JoinSet;

use super::fixture::Broker;
use super::own::OwnBroker;
use crate::bus::contract::{
    Fixture as _, PATIENCE, by_key, drain, eventually, ids, item, items, lease_many, lease_one,
};
use crate::bus::{Bus, BusError, PUBLISH_DEADLINE};
use crate::clock::Clock;

/// A little more than a publish may take.
const IN_TIME: Duration = Duration::from_secs(3);

/// Publishes an item until the bus says that it is there.
async fn insist(bus: &dyn Bus, number: u64) {
    let insist = async { while bus.publish("line", &[item(number, number % 5)]).await.is_err() {} };
    tokio::time::timeout(PATIENCE * 3, insist).await.expect("the bus never takes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m1_a_killed_broker_loses_nothing_and_its_leases_come_back_marked() {
    let Some(own) = OwnBroker::start().await else { return };
    let broker = own.corner();
    let bus = broker.open().await;
    let mut came = Vec::new();
    let mut next = 0;
    for _ in 0..2 {
        for _ in 0..100 {
            insist(&*bus, next).await;
            next += 1;
        }
        let held = lease_many(&*bus, "line", "crew", 3).await;
        let mut were_out: HashSet<String> = held.iter().map(|lease| lease.item().id.clone()).collect();
        own.kill().await;
        let begun = Clock::system().instant();
        let refused = bus.publish("line", &[item(next, 0)]).await;
        assert!(matches!(refused, Err(BusError::Unavailable(_) | BusError::Deadline)), "{refused:?}");
        assert!(begun.elapsed() < IN_TIME);
        assert!(bus.publish("line", &[]).await.is_err(), "a probe says so, too");
        own.start_again().await;
        for lease in held {
            assert!(lease.ack().await.is_err(), "it is void");
        }
        for _ in 0..50 {
            insist(&*bus, next).await;
            next += 1;
        }
        let again = drain(&*bus, "line", "crew").await;
        for (item, before) in &again {
            assert!(*before || !were_out.contains(&item.id), "{} is not marked", item.id);
            were_out.remove(&item.id);
        }
        assert_eq!(were_out, HashSet::new(), "these never came back");
        came.extend(again);
    }
    let found: HashSet<String> = ids(&came).into_iter().collect();
    assert_eq!(found, (0..next).map(|number| number.to_string()).collect());
    for (key, came) in by_key(&came) {
        let numbers: Vec<u64> = came.iter().map(|id| id.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
    }
    bus.close().await;
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m4_a_publish_to_a_missing_queue_is_an_error_and_the_queue_comes_back() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let bus = broker.open().await;
    let (_connection, outsider) = broker.outsider().await;
    let layout = broker.layout();
    let aside = &layout.topics["aside"];
    let delete = QueueDeleteOptions::default();
    outsider.queue_delete(aside.groups[0].queues[0].clone(), delete).await.unwrap();
    let refused = bus.publish("aside", &[item(1, "key")]).await;
    assert!(matches!(&refused, Err(BusError::Unroutable(topic)) if topic == "aside"), "{refused:?}");
    eventually("the queue is back", || async { bus.publish("aside", &[item(2, "key")]).await.is_ok() }).await;
    assert_eq!(lease_one(&*bus, "aside", "crew").await.item().id, "2");

    // Without the exchange the broker closes the channel.
    outsider.exchange_delete(aside.exchange.clone(), ExchangeDeleteOptions::default()).await.unwrap();
    let refused = tokio::time::timeout(IN_TIME, bus.publish("aside", &[item(3, "key")])).await.unwrap();
    assert!(refused.is_err(), "{refused:?}");
    eventually("the exchange is back", || async { bus.publish("aside", &[item(4, "key")]).await.is_ok() })
        .await;
    // A queue that is consumed comes back as well.
    outsider.queue_delete(aside.groups[0].queues[0].clone(), delete).await.unwrap();
    eventually("it is consumed again", || async {
        let published = bus.publish("aside", &[item(5, "key")]).await.is_ok();
        let leased = tokio::time::timeout(Duration::from_millis(500), bus.lease("aside", "crew", 1)).await;
        published && leased.is_ok()
    })
    .await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m5_what_overflows_is_refused_and_what_was_confirmed_is_there() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let options = crate::bus::amqp::Options { items_max: 100, ..Broker::options() };
    let bus = broker.open_as(options).await.unwrap();
    let mut confirmed = HashSet::new();
    let mut refused = 0;
    // The broker counts a little behind what is under way at the same time.
    for round in 0..10 {
        let mut publishing = JoinSet::new();
        for number in round * 100..(round + 1) * 100 {
            let bus = Arc::clone(&bus);
            publishing.spawn(async move { (number, bus.publish("aside", &[item(number, number)]).await) });
        }
        for done in publishing.join_all().await {
            match done {
                (number, Ok(())) => drop(confirmed.insert(number.to_string())),
                (_, Err(BusError::Full(_))) => refused += 1,
                (_, Err(error)) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 500, "{refused} of 1000 were refused where 100 fit");
    let found: HashSet<String> = ids(&drain(&*bus, "aside", "crew").await).into_iter().collect();
    let lost: Vec<_> = confirmed.difference(&found).collect();
    assert_eq!(lost, Vec::<&String>::new());
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m6_an_alarm_refuses_publishes_in_time_and_consuming_goes_on() {
    let Some(own) = OwnBroker::start().await else { return };
    let broker = own.corner();
    let bus = broker.open().await;
    bus.publish("line", &items(20, 20)).await.unwrap();
    own.control(&["set_vm_memory_high_watermark", "0"]).await;
    let begun = Clock::system().instant();
    for _ in 0..3 {
        let refused = bus.publish("line", &[item("more", "key")]).await;
        assert!(matches!(refused, Err(BusError::Deadline | BusError::Unavailable(_))), "{refused:?}");
    }
    assert!(begun.elapsed() < PUBLISH_DEADLINE * 2, "only the first has to wait");
    for lease in lease_many(&*bus, "line", "crew", 10).await {
        lease.ack().await.unwrap();
    }
    eventually("acknowledging goes on", || async { bus.depth("line", "crew").await.unwrap().items == 10 })
        .await;
    own.control(&["set_vm_memory_high_watermark", "0.6"]).await;
    eventually("publishing goes on", || async { bus.publish("line", &[item("after", "key")]).await.is_ok() })
        .await;
    let came = ids(&drain(&*bus, "line", "crew").await);
    assert!(came.iter().any(|id| id == "after"), "{came:?}");
    assert!(came.iter().filter(|id| *id == "more").count() <= 3, "{came:?}");
    bus.close().await;
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b03_a_frozen_broker_is_an_error_in_time_and_all_goes_on_when_it_wakes() {
    let Some(own) = OwnBroker::start().await else { return };
    let broker = own.corner();
    let bus = broker.open().await;
    bus.publish("line", &[item("before", "key")]).await.unwrap();
    own.freeze().await;
    for _ in 0..2 {
        let late =
            tokio::time::timeout(IN_TIME, bus.publish("line", &[item("during", "key")])).await.unwrap();
        assert!(late.is_err(), "{late:?}");
        let probe = tokio::time::timeout(IN_TIME, bus.publish("line", &[])).await.unwrap();
        assert!(probe.is_err(), "{probe:?}");
    }
    let asked = bus.ask("counter", "?".into(), Duration::from_millis(100)).await;
    assert!(matches!(asked, Err(BusError::Deadline | BusError::Unavailable(_))), "{asked:?}");
    own.thaw().await;
    insist(&*bus, 7).await;
    let came = ids(&drain(&*bus, "line", "crew").await);
    assert!(["before", "7"].iter().all(|id| came.iter().any(|came| came == id)), "{came:?}");
    bus.close().await;
    own.stop().await;
}

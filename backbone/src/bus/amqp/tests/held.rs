//! What is held for too long, delivered too often, or declared by somebody else.

use std::collections::HashSet;
use std::time::Duration;

use super::fixture::Broker;
use crate::bus::amqp::{Options, open};
use crate::bus::contract::{
    Fixture as _, Process, Role, SUBJECTS, TOPICS, drain, eventually, ids, item, items, lease_one,
};
use crate::bus::{BusError, open as open_bus};
use crate::clock::Clock;

/// One process after the other dies with a poisonous item in hand and many innocent ones prefetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m7_the_brokers_count_of_deliveries_costs_nobody_anything() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await.with_delivery_limit(2);
    let bus = broker.open().await;
    bus.publish("line", &items(40, 40)).await.unwrap();
    for _ in 0..6 {
        let mut process = Process::start(&broker, Role::Lease);
        process.hear_many(10).await;
        process.kill().await;
    }
    let mut left: HashSet<String> = (0..40).map(|number| number.to_string()).collect();
    while !left.is_empty() {
        let lease = lease_one(&*bus, "line", "crew").await;
        left.remove(&lease.item().id);
        lease.ack().await.unwrap();
    }
    let (_connection, outsider) = broker.outsider().await;
    let dead = broker.layout().dead;
    eventually("the dead letters are empty", || async {
        crate::bus::amqp::publisher::look(&outsider, &dead).await.unwrap().0 == 0
    })
    .await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_too_long_goes_back_until_somebody_leases_again() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let short = Duration::from_millis(300);
    let options = Options { hold_max: short, watch_every: Duration::from_millis(50), ..Broker::options() };
    let stuck = broker.open_as(options).await.unwrap();
    let healthy = broker.open().await;
    healthy.publish("line", &items(5, 1)).await.unwrap();
    let held = lease_one(&*stuck, "line", "crew").await;
    assert_eq!(held.item().id, "0");
    // The other one leased later, so that it got nothing until now.
    let next = lease_one(&*healthy, "line", "crew").await;
    assert_eq!((next.item().id.as_str(), next.leased_before()), ("0", true));
    assert!(held.ack().await.is_err(), "the other has it");
    next.ack().await.unwrap();
    assert_eq!(ids(&drain(&*healthy, "line", "crew").await), ["1", "2", "3", "4"]);
    healthy.close().await;
    // It takes part again as soon as it leases.
    stuck.publish("line", &[item("late", "key")]).await.unwrap();
    let late = lease_one(&*stuck, "line", "crew").await;
    assert_eq!(late.item().id, "late");
    late.ack().await.unwrap();
    stuck.close().await;
}

#[tokio::test]
async fn other_arguments_are_refused_with_the_queue_and_the_argument() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    broker.open().await.close().await;
    let same = || Options { partitions: 1, ..Broker::options() };
    let changes = [
        ("x-max-length", Options { items_max: 7, ..same() }),
        ("x-max-length-bytes", Options { bytes_max: 7, ..same() }),
        ("x-delivery-limit", Options { delivery_limit: 7, ..same() }),
    ];
    for (argument, options) in changes {
        let Err(refused) = broker.open_as(options).await else { panic!("another {argument} is taken") };
        let said = refused.to_string();
        assert!(matches!(refused, BusError::Refused(_)), "{said}");
        assert!(said.contains(argument) && said.contains(".v1."), "{argument}: {said}");
        assert!(said.contains("delete it"), "{said}");
    }
    // The same once more is welcome.
    broker.open().await.close().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once_and_not_repeated() {
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await;
    let (_, place) = broker.url.split_once('@').unwrap();
    let url = format!("amqp://guest:hunter2@{place}");
    let opening = open(&url, Broker::options(), Clock::system(), TOPICS, SUBJECTS);
    let opened = tokio::time::timeout(Duration::from_secs(15), opening).await.expect("it does not wait");
    let Err(refused) = opened else { panic!("it is let in") };
    let said = refused.to_string();
    assert!(matches!(refused, BusError::Refused(_)), "{said}");
    assert!(said.contains("the user \"guest\"") && !said.contains("hunter2"), "{said}");
    let url = format!("amqp://guest:guest@{}", place.replacen("%2f", "no-such-vhost", 1));
    let Err(refused) = open(&url, Broker::options(), Clock::system(), TOPICS, SUBJECTS).await else {
        panic!("a vhost that is not there is there")
    };
    assert!(matches!(refused, BusError::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_url_alone_opens_it_with_the_layout_of_the_product() {
    use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};
    if !Broker::is_here() {
        return;
    }
    let broker = Broker::new().await.with_product_layout();
    let bus = open_bus(&broker.url, Clock::system(), TOPICS, SUBJECTS).await.unwrap();
    bus.publish(INBOUND.name, &items(100, 50)).await.unwrap();
    let (_connection, outsider) = broker.outsider().await;
    let mut waiting = 0;
    for queue in &broker.layout().topics[INBOUND.name].groups[0].queues {
        waiting += crate::bus::amqp::publisher::look(&outsider, queue).await.unwrap().0;
    }
    assert_eq!(waiting, 100, "over all partitions");
    let lease = lease_one(&*bus, INBOUND.name, INBOUND.group).await;
    let stamp = lease.stamp().unwrap().clone();
    assert_eq!((stamp.number, stamp.epoch.len()), (1, 16));
    lease.ack().await.unwrap();
    assert_eq!(drain(&*bus, INBOUND.name, INBOUND.group).await.len(), 99);
    bus.close().await;
}

//! B1, B2, B4, B5, B10: what a killed process, a cancelled call and a restart leave behind.

use std::collections::HashSet;
use std::time::Duration;

use super::{
    Fixture, Process, Role, assert_none_ready, by_key, drain, ids, item, items, lease_many, lease_one, pass,
};

pub(crate) async fn b01_what_was_confirmed_survives_kill_and_restart<F: Fixture>() {
    let fixture = F::new().await;
    let mut confirmed: Vec<String> = Vec::new();
    for _ in 0..3 {
        let mut process = Process::start(&fixture, Role::Publish);
        confirmed.extend(process.hear_many(60).await);
        confirmed.extend(process.kill().await);
    }
    // A restart in order, with nothing done, changes nothing.
    fixture.open().await.close().await;

    let bus = fixture.open().await;
    let came = drain(&*bus, "line", "crew").await;
    let found: HashSet<String> = ids(&came).into_iter().collect();
    let lost: Vec<_> = confirmed.iter().filter(|id| !found.contains(*id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
    assert!(came.len() <= confirmed.len() + 3, "one publish of each process was unconfirmed at most");
    for (key, came) in by_key(&came) {
        let numbers: Vec<u64> = came.iter().map(|id| id.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
    }
    bus.close().await;
}

pub(crate) async fn b02_a_cancelled_publish_is_there_once_or_not_at_all<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let mut repeated = HashSet::new();
    for number in 0..200 {
        let publish = [item(number, "key")];
        tokio::select! {
            biased;
            confirmed = bus.publish("line", &publish) => confirmed.unwrap(),
            () = tokio::task::yield_now() => {}
        }
        if number % 2 == 0 {
            bus.publish("line", &publish).await.unwrap();
            repeated.insert(number.to_string());
        }
    }
    let came = ids(&drain(&*bus, "line", "crew").await);
    for number in 0..200 {
        let id = number.to_string();
        let times = came.iter().filter(|came| **came == id).count();
        let (least, most) = if repeated.contains(&id) { (1, 2) } else { (0, 1) };
        assert!((least..=most).contains(&times), "item {id} came {times} times");
    }
    bus.close().await;
}

pub(crate) async fn b04_a_dropped_lease_goes_back_marked_and_keeps_its_place<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item("first", "key"), item("second", "key")]).await.unwrap();
    let held = lease_one(&*bus, "line", "crew").await;
    assert!(!held.leased_before());
    drop(held);
    let again = lease_one(&*bus, "line", "crew").await;
    assert_eq!(again.item(), &item("first", "key"));
    assert!(again.leased_before());
    again.ack().await.unwrap();
    let next = lease_one(&*bus, "line", "crew").await;
    assert_eq!(next.item().id, "second");
    assert!(!next.leased_before(), "only the one that was out is marked");
    next.ack().await.unwrap();
    bus.close().await;
}

pub(crate) async fn b04_what_a_killed_process_held_is_leased_again_and_marked<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(500, 500)).await.unwrap();
    bus.close().await;
    drop(bus);
    let mut held = HashSet::new();
    for _ in 0..2 {
        let mut process = Process::start(&fixture, Role::Lease);
        held.extend(process.hear_many(10).await);
        process.kill().await;
    }
    let bus = fixture.open().await;
    let came = drain(&*bus, "line", "crew").await;
    assert_eq!(came.len(), 500);
    let marked: HashSet<String> =
        came.iter().filter(|(_, before)| *before).map(|(i, _)| i.id.clone()).collect();
    let unmarked: Vec<_> = held.difference(&marked).collect();
    assert_eq!(unmarked, Vec::<&String>::new());
    assert!(marked.len() < 500, "not everything is marked");
    bus.close().await;
}

pub(crate) async fn b05_what_is_acknowledged_is_not_leased_again<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(20, 20)).await.unwrap();
    let mut expected: HashSet<String> = (0..20).map(|number| number.to_string()).collect();
    for lease in lease_many(&*bus, "line", "crew", 12).await {
        assert!(expected.remove(&lease.item().id));
        lease.ack().await.unwrap();
    }
    bus.close().await;
    drop(bus);
    let bus = fixture.open().await;
    let left = ids(&drain(&*bus, "line", "crew").await);
    assert_eq!(left.len(), 8);
    assert_eq!(HashSet::from_iter(left), expected);
    assert_none_ready(&*bus, "line", "crew").await;
    bus.close().await;
}

pub(crate) async fn b05_what_was_acknowledged_a_second_before_a_kill_is_gone<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &items(20, 20)).await.unwrap();
    bus.close().await;
    drop(bus);
    let mut process = Process::start(&fixture, Role::Acknowledge);
    let acknowledged = process.hear_many(10).await;
    pass(Duration::from_secs(1)).await;
    process.kill().await;
    let bus = fixture.open().await;
    let left = ids(&drain(&*bus, "line", "crew").await);
    let again: Vec<_> = acknowledged.iter().filter(|id| left.contains(id)).collect();
    assert_eq!(again, Vec::<&String>::new());
    assert_eq!(left.len(), 10);
    bus.close().await;
}

pub(crate) async fn b10_what_is_set_aside_is_durable_before_the_original_is_gone<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item("bad", "key")]).await.unwrap();
    bus.close().await;
    drop(bus);
    let mut process = Process::start(&fixture, Role::SetAside);
    assert_eq!(process.hear().await, "bad");
    process.kill().await;
    let bus = fixture.open().await;
    assert_eq!(ids(&drain(&*bus, "aside", "crew").await), ["bad"], "set aside");
    assert_eq!(ids(&drain(&*bus, "line", "crew").await), ["bad"], "and not yet acknowledged");
    bus.close().await;
}

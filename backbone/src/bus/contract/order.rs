//! B6, B7, B9: order within a key, and independence of keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::{Fixture, PATIENCE, assert_none_ready, by_key, drain, item, items, lease, lease_many, lease_one};
use crate::bus::Item;

const KEYS: usize = 7;
const EACH: usize = 30;

fn expected_order(items: &[Item]) -> HashMap<String, Vec<String>> {
    by_key(&items.iter().map(|item| (item.clone(), false)).collect::<Vec<_>>())
}

/// What a consumer saw of every key: whether one is out, and which are done.
#[derive(Default)]
struct Seen {
    out: HashMap<String, String>,
    done: HashMap<String, Vec<String>>,
}

pub(crate) async fn b06_one_item_of_a_key_is_out_and_in_order<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let all = items(KEYS * EACH, KEYS);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut consumers = JoinSet::new();
    for consumer in 0..6 {
        let (bus, seen) = (Arc::clone(&bus), Arc::clone(&seen));
        consumers.spawn(async move {
            let mut turn = consumer;
            while seen.lock().unwrap().done.values().map(Vec::len).sum::<usize>() < KEYS * EACH {
                // The last consumers wait for items that never come.
                let wait = tokio::time::timeout(PATIENCE / 40, bus.lease("line", "crew", 3));
                let Ok(leases) = wait.await else { continue };
                for lease in leases.unwrap() {
                    let Item { id, key, .. } = lease.item().clone();
                    let other = seen.lock().unwrap().out.insert(key.clone(), id.clone());
                    assert_eq!(other, None, "two of key {key} are out");
                    tokio::task::yield_now().await;
                    turn += 1;
                    let give_back = turn % 3 == 0;
                    {
                        let mut seen = seen.lock().unwrap();
                        seen.out.remove(&key);
                        if !give_back {
                            seen.done.entry(key).or_default().push(id);
                        }
                    }
                    if give_back {
                        drop(lease);
                    } else {
                        lease.ack().await.unwrap();
                    }
                }
            }
        });
    }
    for few in all.chunks(11) {
        bus.publish("line", few).await.unwrap();
    }
    consumers.join_all().await;
    assert_eq!(seen.lock().unwrap().done, expected_order(&all));
    bus.close().await;
}

pub(crate) async fn b06_order_outlives_an_orderly_stop<F: Fixture>() {
    let fixture = F::new().await;
    let all = items(KEYS * EACH, KEYS);
    let mut came = Vec::new();
    for part in all.chunks(all.len() / 3) {
        let bus = fixture.open().await;
        bus.publish("line", part).await.unwrap();
        for lease in lease(&*bus, "line", "crew", KEYS).await {
            came.push((lease.item().clone(), false));
            lease.ack().await.unwrap();
        }
        let held = lease(&*bus, "line", "crew", 2).await;
        bus.close().await;
        drop(held);
    }
    let bus = fixture.open().await;
    let rest = drain(&*bus, "line", "crew").await;
    assert!(rest.iter().any(|(_, before)| *before), "what was out at the stop is marked");
    assert!(rest.iter().any(|(_, before)| !*before), "and nothing else is");
    came.extend(rest);
    assert_eq!(by_key(&came), expected_order(&all));
    bus.close().await;
}

pub(crate) async fn b07_a_stuck_key_blocks_no_other<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item("stuck", "a"), item("behind", "a")]).await.unwrap();
    let stuck = lease_one(&*bus, "line", "crew").await;
    assert_eq!(stuck.item().id, "stuck");
    let others: Vec<_> = (0..300).map(|number| item(number, number % 9)).collect();
    bus.publish("line", &others).await.unwrap();
    let mut came = 0;
    while came < others.len() {
        for lease in lease(&*bus, "line", "crew", 64).await {
            assert_ne!(lease.item().key, "a");
            lease.ack().await.unwrap();
            came += 1;
        }
    }
    assert_none_ready(&*bus, "line", "crew").await;
    stuck.ack().await.unwrap();
    assert_eq!(lease_one(&*bus, "line", "crew").await.item().id, "behind");
    bus.close().await;
}

pub(crate) async fn b09_a_nack_gives_back_now_and_keeps_the_place<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item(1, "key"), item(2, "key"), item(3, "other")]).await.unwrap();
    for round in 0..5 {
        let mut both = lease_many(&*bus, "line", "crew", 2).await;
        assert_none_ready(&*bus, "line", "crew").await;
        both.sort_by(|one, other| one.item().id.cmp(&other.item().id));
        let ids: Vec<_> = both.iter().map(|lease| lease.item().id.as_str()).collect();
        assert_eq!(ids, ["1", "3"]);
        assert_eq!(both[0].leased_before(), round > 0);
        both.remove(0).nack().await.unwrap();
        both.remove(0).nack().await.unwrap();
    }
    let came: Vec<_> = drain(&*bus, "line", "crew").await;
    assert_eq!(by_key(&came)["key"], ["1", "2"]);
    bus.close().await;
}

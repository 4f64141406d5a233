//! B8, B12, B13, B14: groups, wake-ups, what can be seen from outside, and payloads.

use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, assert_none_ready, drain, eventually, ids, item, items, lanes, lease_many, lease_one};
use crate::bus::{BusError, Depth, Item, PAYLOAD_BYTES_MAX};

pub(crate) async fn b08_members_share_and_groups_see_all<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let all = items(20, 20);
    bus.publish("wide", &all).await.unwrap();
    let expected: Vec<_> = all.iter().map(|item| item.id.clone()).collect();

    let one = lease_many(&*bus, "wide", "left", 10).await;
    let other = lease_many(&*bus, "wide", "left", 10).await;
    let mut shared: Vec<_> = one.iter().chain(&other).map(|lease| lease.item().id.clone()).collect();
    shared.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(shared, expected, "each member has its own");
    assert_none_ready(&*bus, "wide", "left").await;
    crate::bus::ack_all(one.into_iter().chain(other).collect()).await;

    let depth = bus.depth("wide", "right").await.unwrap();
    assert_eq!((depth.items, depth.leased), (20, 0), "the other group is untouched");
    assert_eq!(ids(&drain(&*bus, "wide", "right").await), expected);
    bus.close().await;
}

pub(crate) async fn b12_a_waiting_member_is_woken<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    for number in 0..20 {
        // Waits that are given up must not swallow the wake-up of those that stay.
        for _ in 0..5 {
            let given_up = tokio::time::timeout(Duration::ZERO, bus.lease("line", "crew", 1)).await;
            assert!(given_up.is_err());
        }
        let waiting =
            tokio::join!(lease_one(&*bus, "line", "crew"), lease_one(&*bus, "line", "crew"), async {
                tokio::task::yield_now().await;
                bus.publish("line", &[item(number, "one"), item(number, "other")]).await.unwrap();
            });
        waiting.0.ack().await.unwrap();
        waiting.1.ack().await.unwrap();
    }
    bus.close().await;
}

pub(crate) async fn b13_depth_and_peek_are_right_and_take_nothing<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    assert_eq!(bus.depth("line", "crew").await.unwrap(), Depth::default());
    assert_eq!(bus.peek("line", "crew", 5).await.unwrap(), Vec::<Item>::new());
    let all = items(30, 3);
    let bytes: usize = all.iter().map(|item| item.payload.len()).sum();
    bus.publish("line", &all).await.unwrap();
    let held = lease_many(&*bus, "line", "crew", 2).await;
    eventually("the depth is right", || async {
        let depth = bus.depth("line", "crew").await.unwrap();
        (depth.items, depth.leased, depth.bytes) == (30, 2, bytes as u64)
    })
    .await;
    for _ in 0..3 {
        let depth = bus.depth("line", "crew").await.unwrap();
        assert_eq!((depth.items, depth.leased, depth.bytes), (30, 2, bytes as u64), "looking takes nothing");
        assert_eq!(lanes(&bus.peek("line", "crew", 100).await.unwrap()), lanes(&all));
        let few = bus.peek("line", "crew", 5).await.unwrap();
        assert_eq!(few.len(), 5);
        for (key, few) in lanes(&few) {
            assert_eq!(few, lanes(&all)[&key][..few.len()], "the oldest of key {key}");
        }
    }
    eventually("the oldest gets older", || async {
        (1..60_000).contains(&bus.depth("line", "crew").await.unwrap().oldest_age_ms)
    })
    .await;
    let mut left = all;
    left.retain(|item| !held.iter().any(|lease| lease.item() == item));
    crate::bus::ack_all(held).await;
    let depth = bus.depth("line", "crew").await.unwrap();
    assert_eq!((depth.items, depth.leased), (28, 0));
    bus.close().await;
    drop(bus);
    let bus = fixture.open().await;
    eventually("the depth is right after a restart", || async {
        let depth = bus.depth("line", "crew").await.unwrap();
        (depth.items, depth.leased) == (28, 0)
    })
    .await;
    if F::WEIGHS_AT_REST {
        let bytes: usize = left.iter().map(|item| item.payload.len()).sum();
        assert_eq!(bus.depth("line", "crew").await.unwrap().bytes, bytes as u64, "and so are the bytes");
    }
    assert_eq!(lanes(&bus.peek("line", "crew", 100).await.unwrap()), lanes(&left));
    eventually("what was looked at is all there", || async {
        bus.depth("line", "crew").await.unwrap().items == 28
    })
    .await;
    assert_eq!(drain(&*bus, "line", "crew").await.len(), 28, "nothing was taken");
    bus.close().await;
}

pub(crate) async fn b14_payloads_come_back_equal<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let every_byte: Bytes = (0..=255u8).cycle().take(1000).collect();
    let payloads = [Bytes::new(), every_byte, vec![0xFF; PAYLOAD_BYTES_MAX].into(), "\u{0}ü€😀".into()];
    let all: Vec<_> =
        payloads.into_iter().map(|payload| Item { payload, ..item("sent\u{0}ü", "key 'x' \u{0}") }).collect();
    bus.publish("line", &all).await.unwrap();
    let too_large = Item { payload: vec![0; PAYLOAD_BYTES_MAX + 1].into(), ..item("large", "key") };
    let refused = bus.publish("line", &[item("good", "key"), too_large]).await;
    assert!(matches!(refused, Err(BusError::TooLarge(size)) if size == PAYLOAD_BYTES_MAX + 1), "{refused:?}");
    assert_eq!(bus.peek("line", "crew", 9).await.unwrap(), all, "nothing of the refused publish is there");
    bus.close().await;
    drop(bus);
    let bus = fixture.open().await;
    let came: Vec<_> = drain(&*bus, "line", "crew").await.into_iter().map(|(item, _)| item).collect();
    assert_eq!(came, all);
    bus.close().await;
}

pub(crate) async fn a_trace_passes_through<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let traced = Item { trace: "4bf92f3577b34da6".to_owned(), ..item(1, "key") };
    bus.publish("wide", std::slice::from_ref(&traced)).await.unwrap();
    assert_eq!(lease_one(&*bus, "wide", "left").await.item(), &traced);
    bus.close().await;
    drop(bus);
    let bus = fixture.open().await;
    assert_eq!(lease_one(&*bus, "wide", "right").await.item(), &traced);
    bus.close().await;
}

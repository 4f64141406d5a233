//! B3 and B11: what cannot be done is said at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, Limits, drain, eventually, item, lease_one};
use crate::bus::{Bus, BusError, Item, PUBLISH_DEADLINE};

pub(crate) async fn b03_what_cannot_be_published_is_an_error_in_time<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    let in_time = PUBLISH_DEADLINE + Duration::from_secs(1);
    let refused = tokio::time::timeout(in_time, bus.publish("nowhere", &[item(1, "key")])).await.unwrap();
    assert!(matches!(refused, Err(BusError::Unroutable(_))), "{refused:?}");
    // A subject is no topic.
    let refused = tokio::time::timeout(in_time, bus.publish("counter", &[item(1, "key")])).await.unwrap();
    assert!(matches!(refused, Err(BusError::Unroutable(_))), "{refused:?}");
    for (topic, group) in [("nowhere", "crew"), ("line", "strangers"), ("counter", "strangers")] {
        let refused = bus.lease(topic, group, 1).await.map(|leases| leases.len());
        assert!(matches!(refused, Err(BusError::Unroutable(_))), "{refused:?}");
        assert!(matches!(bus.depth(topic, group).await, Err(BusError::Unroutable(_))));
        assert!(matches!(bus.peek(topic, group, 1).await, Err(BusError::Unroutable(_))));
    }
    bus.publish("line", &[]).await.unwrap();
    assert_eq!(bus.depth("line", "crew").await.unwrap().items, 0);
    bus.close().await;
}

pub(crate) async fn b11_beyond_a_limit_publishing_is_refused_and_consuming_goes_on<F: Fixture>() {
    beyond::<F>(Limits { items_max: Some(10), ..Limits::default() }).await;
    beyond::<F>(Limits { bytes_max: Some(1000), ..Limits::default() }).await;
}

async fn beyond<F: Fixture>(limits: Limits) {
    let fixture = F::new().await;
    let bus = fixture.open_with(limits).await.unwrap();
    let held = fill(&*bus).await;
    refused(&bus, &large("more")).await;
    bus.publish("aside", &[large("elsewhere")]).await.unwrap();
    let lease = lease_one(&*bus, "line", "crew").await;
    lease.ack().await.unwrap();
    eventually("there is room again", || async { bus.publish("line", &[large("more")]).await.is_ok() }).await;
    bus.close().await;
    drop(bus);

    let bus = fixture.open_with(limits).await.unwrap();
    fill(&*bus).await;
    assert!(drain(&*bus, "line", "crew").await.len() >= held);
    eventually("it is empty again", || async { bus.publish("line", &[large("more")]).await.is_ok() }).await;
    bus.close().await;
}

/// 100 bytes, so that ten of them are 1000.
fn large(id: &'static str) -> Item {
    Item { payload: vec![7; 100].into(), ..item(id, "key") }
}

/// Publishes until the bus refuses; how many it took. A backend may refuse a little late, not never.
async fn fill(bus: &dyn Bus) -> usize {
    for held in 0..20 {
        match bus.publish("line", &[large("filling")]).await {
            Ok(()) => {}
            Err(BusError::Full(_)) => return held,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it takes twice as much as it should");
}

async fn refused(bus: &Arc<dyn Bus>, item: &Item) {
    let refused = bus.publish("line", std::slice::from_ref(item)).await;
    assert!(matches!(refused, Err(BusError::Full(_))), "{refused:?}");
}

pub(crate) async fn a_closed_bus_says_so<F: Fixture>() {
    let fixture = F::new().await;
    let bus = fixture.open().await;
    bus.publish("line", &[item(1, "key")]).await.unwrap();
    let held = lease_one(&*bus, "line", "crew").await;
    let waiting = bus.lease("aside", "crew", 1);
    let question = bus.ask("counter", Bytes::new(), Duration::from_mins(1));
    let (waited, asked, ()) = tokio::join!(waiting, question, async {
        tokio::task::yield_now().await;
        bus.close().await;
    });
    assert!(matches!(waited.map(|leases| leases.len()), Err(BusError::Unavailable(_))));
    assert!(matches!(asked, Err(BusError::Unavailable(_))), "{asked:?}");
    let published = bus.publish("line", &[item(2, "key")]).await;
    assert!(matches!(published, Err(BusError::Unavailable(_))), "{published:?}");
    assert!(held.ack().await.is_err(), "an acknowledgement that cannot be kept is not taken");
    // Closing again is no harm.
    bus.close().await;
    drop(bus);
    let bus = fixture.open().await;
    let came = drain(&*bus, "line", "crew").await;
    assert_eq!(came, [(item(1, "key"), true)]);
    bus.close().await;
}

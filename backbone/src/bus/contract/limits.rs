//! B3 and B11: what cannot be done is said at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Fixture, Limits, drain, item, items, lease, lease_one};
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

pub(crate) async fn b11_beyond_a_limit_publishing_is_refused_and_acknowledging_goes_on<F: Fixture>() {
    let by_count = Limits { items_max: Some(10), ..Limits::default() };
    beyond::<F>(by_count, items(10, 10), item("more", "key")).await;
    let by_bytes = Limits { bytes_max: Some(1000), ..Limits::default() };
    let large = |item| Item { payload: vec![7; 100].into(), ..item };
    beyond::<F>(by_bytes, (0..10).map(|n| large(item(n, n))).collect(), large(item("more", "key"))).await;
}

async fn beyond<F: Fixture>(limits: Limits, filling: Vec<Item>, more: Item) {
    let fixture = F::new().await;
    let bus = fixture.open_with(limits).await.unwrap();
    // A batch that does not fit as a whole leaves nothing.
    let too_many = [filling.clone(), vec![more.clone()]].concat();
    refused(&bus, &too_many).await;
    assert_eq!(bus.depth("line", "crew").await.unwrap().items, 0);

    bus.publish("line", &filling).await.unwrap();
    refused(&bus, std::slice::from_ref(&more)).await;
    let lease = lease(&*bus, "line", "crew", 1).await.pop().unwrap();
    refused(&bus, std::slice::from_ref(&more)).await;
    lease.ack().await.unwrap();
    bus.publish("line", std::slice::from_ref(&more)).await.unwrap();
    refused(&bus, std::slice::from_ref(&more)).await;
    bus.publish("aside", std::slice::from_ref(&more)).await.unwrap();
    bus.close().await;
    drop(bus);

    let bus = fixture.open_with(limits).await.unwrap();
    refused(&bus, std::slice::from_ref(&more)).await;
    assert_eq!(drain(&*bus, "line", "crew").await.len(), filling.len());
    bus.publish("line", &filling).await.unwrap();
    bus.close().await;
}

async fn refused(bus: &Arc<dyn Bus>, items: &[Item]) {
    let refused = bus.publish("line", items).await;
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

//! The embedded bus counts exactly: a publish that does not fit as a whole leaves nothing (B11).

use std::sync::Arc;

use super::Directory;
use crate::bus::contract::{Fixture as _, Limits, drain, item, items, lease};
use crate::bus::{Bus, BusError, Item};

#[tokio::test]
async fn what_does_not_fit_as_a_whole_leaves_nothing() {
    let by_count = Limits { items_max: Some(10), ..Limits::default() };
    beyond(by_count, items(10, 10), item("more", "key")).await;
    let by_bytes = Limits { bytes_max: Some(1000), ..Limits::default() };
    let large = |item| Item { payload: vec![7; 100].into(), ..item };
    beyond(by_bytes, (0..10).map(|n| large(item(n, n))).collect(), large(item("more", "key"))).await;
}

async fn beyond(limits: Limits, filling: Vec<Item>, more: Item) {
    let fixture = Directory::new().await;
    let bus = fixture.open_with(limits).await.unwrap();
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

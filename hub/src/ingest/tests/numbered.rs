//! What the hub tells a bus whose items are numbered: which of them are done, in the transaction of
//! their effect.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use loket_backbone::bus::{Bus, BusError, Depth, Item, Lease, Ledger, Stamp};
use loket_protocol::topics::INBOUND;

use super::worker::AtWork;
use super::*;
use crate::store::stamps;

const EPOCH: &str = "0011223344556677";

/// Numbers what is published on the bus underneath by the ids of its items: an id ends in its number.
pub(super) struct Numbering {
    under: Arc<dyn Bus>,
    ledger: Mutex<Option<Arc<dyn Ledger>>>,
}

struct Numbered {
    lease: Box<dyn Lease>,
    stamp: Stamp,
}

impl Numbering {
    pub(super) fn over(under: Arc<dyn Bus>) -> Self {
        Self { under, ledger: Mutex::default() }
    }

    async fn done(&self) -> Vec<(u64, u64)> {
        let ledger = self.ledger.lock().unwrap().clone().expect("the hub keeps one");
        ledger.done(EPOCH, 5).await.expect("the store answers")
    }
}

#[async_trait]
impl Bus for Numbering {
    async fn publish(&self, topic: &str, items: &[Item]) -> Result<(), BusError> {
        self.under.publish(topic, items).await
    }

    async fn lease(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Box<dyn Lease>>, BusError> {
        let leases = self.under.lease(topic, group, max).await?;
        let number = |lease: Box<dyn Lease>| -> Box<dyn Lease> {
            let id = &lease.item().id;
            let digits = id.len() - id.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let number = id[id.len() - digits..].parse().unwrap_or(0);
            Box::new(Numbered { stamp: Stamp { epoch: EPOCH.to_owned(), partition: 5, number }, lease })
        };
        Ok(leases.into_iter().map(number).collect())
    }

    async fn ask(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        self.under.ask(subject, payload, deadline).await
    }

    async fn depth(&self, topic: &str, group: &str) -> Result<Depth, BusError> {
        self.under.depth(topic, group).await
    }

    async fn peek(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Item>, BusError> {
        self.under.peek(topic, group, max).await
    }

    fn keep_order(&self, topic: &str, group: &str, ledger: Arc<dyn Ledger>) {
        assert_eq!((topic, group), (INBOUND.name, INBOUND.group));
        *self.ledger.lock().unwrap() = Some(ledger);
    }

    async fn close(&self) {
        self.under.close().await;
    }
}

#[async_trait]
impl Lease for Numbered {
    fn item(&self) -> &Item {
        self.lease.item()
    }

    fn leased_before(&self) -> bool {
        self.lease.leased_before()
    }

    fn stamp(&self) -> Option<&Stamp> {
        Some(&self.stamp)
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        self.lease.ack().await
    }

    async fn nack(self: Box<Self>) -> Result<(), BusError> {
        self.lease.nack().await
    }

    async fn reply(self: Box<Self>, payload: Bytes) -> Result<(), BusError> {
        self.lease.reply(payload).await
    }
}

/// Runs put together that follow each other.
fn folded(runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut folded: Vec<(u64, u64)> = Vec::new();
    for (first, last) in runs {
        match folded.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => folded.push((first, last)),
        }
    }
    folded
}

fn events(numbers: impl IntoIterator<Item = u32>) -> Vec<InboundEvent> {
    numbers.into_iter().map(|number| message(number % 3, i64::from(number), &format!("w{number}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_noted_with_its_effect_and_a_repeat_moves_nothing_back() {
    let (here, bus) = AtWork::numbered().await;
    here.publish(&events(1..=20)).await;
    here.publish(&events(23..=25)).await;
    here.at_rest().await;
    assert_eq!(folded(bus.done().await), [(1, 20), (23, 25)]);
    here.publish(&events([7, 24])).await;
    here.at_rest().await;
    assert_eq!(folded(bus.done().await), [(1, 20), (23, 25)]);
    // What was missing comes late, and one that is parked is done as well.
    let mut bad = message(9, 0, "bad22");
    bad.customer = Some(Customer { handles: Vec::new(), name: None, name_is_ours: false });
    here.publish(&[bad]).await;
    here.publish(&events([21])).await;
    here.at_rest().await;
    assert_eq!(folded(bus.done().await), [(1, 25)]);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_takes_one_row_in_the_end_and_none_once_its_epoch_is_over() {
    let (here, bus) = AtWork::numbered().await;
    let inner = Arc::clone(here.hub.inner());
    let never = tokio_util::sync::CancellationToken::new();
    for numbers in [2..=3, 5..=9, 4..=4, 11..=12] {
        here.publish(&events(numbers)).await;
        here.at_rest().await;
    }
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    assert_eq!(bus.done().await, [(2, 9), (11, 12)]);
    // In portions it comes to the same.
    here.publish(&events([13, 14, 16])).await;
    here.at_rest().await;
    let mut from = Some(stamps::Run::none());
    while let Some(place) = from {
        let mut tx = inner.store.begin_for_worker().await.unwrap();
        from = stamps::gather(&mut tx, &place, 2).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(bus.done().await, [(2, 9), (11, 14), (16, 16)]);
    // What is missing for ten minutes is given up.
    here.clock.advance(Duration::from_mins(11));
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    assert_eq!(bus.done().await, [(1, 16)]);
    here.clock.advance(Duration::from_hours(7 * 24));
    crate::sweeps::sweep(&inner, &never).await.unwrap();
    assert_eq!(bus.done().await, []);
    drop(inner);
    here.stop().await;
}

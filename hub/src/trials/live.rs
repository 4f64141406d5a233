//! With the workers running: from reply to status over the real bus, with a sender that behaves as
//! senders do, is killed, and is doubled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loket_backbone::bus::{Lease, Wire};
use loket_backbone::random;
use loket_backbone::tasks::Tasks;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::MessageStatus;
use loket_protocol::outbound::{Claim, ClaimAnswer, OutboundMessage, Outcome, SendReport};
use loket_protocol::topics::{CLAIMS, OUTBOUND, REPORTS};
use tokio_util::sync::CancellationToken;

use super::world::{World, eventually, whatsapp};
use crate::UnconfirmedPolicy;
use crate::store::sequencer;

/// What the provider took.
#[derive(Default)]
struct Provider {
    taken: AtomicUsize,
}

/// Takes one item as a sender does: claim, request, report, acknowledge.
async fn send(wire: &Wire, provider: &Provider, lease: Box<dyn Lease>) {
    let message: OutboundMessage = Wire::read(lease.as_ref()).expect("readable");
    let claim = Claim { dispatch: message.dispatch, nonce: random::hex::<16>() };
    match wire.ask(&CLAIMS, &claim, Duration::from_secs(2)).await {
        Ok(ClaimAnswer::Granted) => {
            let number = provider.taken.fetch_add(1, Ordering::SeqCst);
            let report = SendReport {
                dispatch: message.dispatch,
                channel: message.channel,
                at: loket_protocol::time::Timestamp::from_millis(1_795_253_400_000),
                outcome: Outcome::Sent { external_id: format!("wamid.{number}"), learnt: vec![] },
            };
            let item = Wire::item(report.key(), lease.item().key.clone(), String::new(), &report);
            wire.publish(&REPORTS, &[item.expect("an item")]).await.expect("reported");
            lease.ack().await.expect("acked");
        }
        Ok(ClaimAnswer::Refused) => lease.ack().await.expect("acked"),
        Err(_) => drop(lease),
    }
}

fn sender(tasks: &Tasks, world: &World, provider: &Arc<Provider>) {
    let (wire, provider, stop) = (world.wire.clone(), Arc::clone(provider), tasks.stop_sign());
    tasks.spawn("sender", async move {
        loop {
            let leases = tokio::select! {
                () = stop.cancelled() => return,
                leases = wire.lease(&OUTBOUND, 4) => leases.expect("leased"),
            };
            for lease in leases {
                send(&wire, &provider, lease).await;
            }
        }
    });
}

#[tokio::test]
async fn a_reply_is_sent_in_order_with_and_without_kv() {
    for kv in ["memory:", "none:"] {
        let world = World::with(kv, UnconfirmedPolicy::Hold).await;
        let tasks = Tasks::new();
        world.hub.start(&tasks);
        let provider = Arc::new(Provider::default());
        // Two senders share the work.
        sender(&tasks, &world, &provider);
        sender(&tasks, &world, &provider);
        let anna = world.anna().await;
        let bert = world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000009")).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(world.says(&world.agent(), anna, &format!("Anna {n}")).await.id);
            ids.push(world.says(&world.agent(), bert, &format!("Bert {n}")).await.id);
        }
        let all_sent = || async {
            for id in &ids {
                if world.message(*id).await.status != Some(MessageStatus::Sent) {
                    return false;
                }
            }
            true
        };
        eventually("all are sent", all_sent).await;
        assert_eq!(provider.taken.load(Ordering::SeqCst), ids.len(), "each once");
        // Within one conversation the provider's numbers rise.
        let mut last = 0;
        for id in ids.iter().step_by(2) {
            let name = world.message(*id).await.external_id.expect("sent");
            let number: usize = name.trim_start_matches("wamid.").parse::<usize>().expect("a number") + 1;
            assert!(number > last, "{name} after {last}");
            last = number;
        }
        assert!(tasks.stop(Duration::from_secs(10)).await);
    }
}

#[tokio::test]
async fn a_sender_that_dies_before_its_request_costs_nothing() {
    let world = World::new().await;
    let tasks = Tasks::new();
    world.hub.start(&tasks);
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    // It takes the item and dies before it asks.
    let died = world.wire.lease(&OUTBOUND, 1).await.expect("leased");
    drop(died);
    let provider = Arc::new(Provider::default());
    sender(&tasks, &world, &provider);
    let sent = || async { world.message(message.id).await.status == Some(MessageStatus::Sent) };
    eventually("the next sender sends it", sent).await;
    assert_eq!(provider.taken.load(Ordering::SeqCst), 1);
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_sender_that_dies_after_its_claim_leaves_it_unconfirmed_and_sends_nothing_twice() {
    let world = World::new().await;
    let tasks = Tasks::new();
    world.hub.start(&tasks);
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let mut leases = world.wire.lease(&OUTBOUND, 1).await.expect("leased");
    let lease = leases.remove(0);
    let held: OutboundMessage = Wire::read(lease.as_ref()).expect("readable");
    let claim = Claim { dispatch: held.dispatch, nonce: random::hex::<16>() };
    let answer: ClaimAnswer =
        world.wire.ask(&CLAIMS, &claim, Duration::from_secs(5)).await.expect("answered");
    assert_eq!(answer, ClaimAnswer::Granted);
    drop(lease);
    let provider = Arc::new(Provider::default());
    sender(&tasks, &world, &provider);
    // The copy goes back to the bus, and the second sender's claim is refused.
    let empty = || async { world.bus.depth("outbound", "senders").await.expect("a depth").items == 0 };
    eventually("the copy is gone", empty).await;
    assert_eq!(provider.taken.load(Ordering::SeqCst), 0);
    world.later(31_000);
    world.hub.kick();
    let lost = || async { world.message(message.id).await.status == Some(MessageStatus::Unconfirmed) };
    eventually("it is unconfirmed", lost).await;
    world.later(120_000);
    world.hub.kick();
    let held = || async { world.hub.unconfirmed().await.expect("read").iter().any(|one| one.held) };
    eventually("it waits for a person", held).await;
    assert_eq!(provider.taken.load(Ordering::SeqCst), 0);
    assert!(tasks.stop(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn doubled_publishing_and_unreadable_reports_hurt_nobody() {
    let world = World::new().await;
    let tasks = Tasks::new();
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    // Two dispatchers, or one that died between publishing and noting it.
    world.dispatch().await;
    world.run("UPDATE outbound SET due_at = 0, published_times = 0").await;
    world.dispatch().await;
    assert_eq!(world.bus.depth("outbound", "senders").await.expect("a depth").items, 2);
    let rubbish = loket_backbone::bus::Item {
        id: "rubbish".into(),
        key: "x".into(),
        payload: b"{\"not\": \"a report\"}".as_slice().into(),
        trace: String::new(),
    };
    world.wire.publish(&REPORTS, &[rubbish]).await.expect("published");
    world.hub.start(&tasks);
    let provider = Arc::new(Provider::default());
    sender(&tasks, &world, &provider);
    let sent = || async { world.message(message.id).await.status == Some(MessageStatus::Sent) };
    eventually("it is sent", sent).await;
    let empty = || async {
        let out = world.bus.depth("outbound", "senders").await.expect("a depth").items;
        let reports = world.bus.depth("reports", "hub").await.expect("a depth").items;
        out + reports == 0
    };
    eventually("nothing is left", empty).await;
    assert_eq!(provider.taken.load(Ordering::SeqCst), 1);
    let parked = world.hub.parked(None, None, None, 10).await.expect("read").items;
    assert_eq!(parked.iter().map(|item| item.channel_kind.as_str()).collect::<Vec<_>>(), ["reports"]);
    assert!(tasks.stop(Duration::from_secs(10)).await);
    world.is_sound().await;
}

#[tokio::test]
async fn the_dispatcher_stops_when_it_is_told_to() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let done = tokio::time::timeout(Duration::from_secs(5), world.hub.clone().dispatch(stop)).await;
    assert!(done.is_ok());
}

#[tokio::test]
async fn a_hub_that_stops_leaves_the_numbering_to_another_at_once() {
    let world = World::new().await;
    let tasks = Tasks::new();
    world.hub.start(&tasks);
    let anna = world.anna().await;
    world.says(&world.agent(), anna, "Dag!").await;
    let numbered = || async { world.hub.health().await.unnumbered == 0 };
    eventually("all is numbered", numbered).await;
    let elects = async |holder: &str| {
        let mut tx = world.hub.inner().store.begin().await.expect("a turn");
        let until = tx.now().plus_millis(10_000);
        let epoch = sequencer::elect(&mut tx, holder, until).await.expect("asked");
        tx.commit().await.expect("committed");
        epoch.is_some()
    };
    assert!(!elects("another").await, "while it runs the right is its own");
    assert!(tasks.stop(Duration::from_secs(10)).await);
    assert!(elects("another").await, "and then anybody's, without waiting for the lease to run out");
}

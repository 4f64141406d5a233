//! Statuses and watermarks: any order of arrival ends in the same state.

use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::{MessageStatus, ProviderStatus};
use loket_protocol::event::EventType;
use loket_protocol::ids::MessageId;
use loket_protocol::inbound::{StatusFact, WatermarkFact};
use loket_protocol::message::{Message, ProviderError};
use loket_protocol::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::world::{Customer, World, messenger, status, whatsapp};
use crate::delivery;

async fn a_sent_message(world: &World, anna: Customer, external_id: &str) -> MessageId {
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    world.sent(dispatch, external_id).await;
    message.id
}

impl World {
    async fn watermark(&self, who: Customer, fact: &WatermarkFact, at: i64) {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let at = Timestamp::from_millis(at);
        let channel = messenger();
        delivery::apply_watermark(&mut tx, &channel, who.identity, fact, at, at).await.expect("applied");
        tx.commit().await.expect("committed");
    }
}

fn mark(status: ProviderStatus, up_to: i64) -> WatermarkFact {
    WatermarkFact {
        status,
        watermark: Some(Timestamp::from_millis(up_to)),
        external_ids: vec![],
        up_to_seq: None,
    }
}

#[tokio::test]
async fn statuses_move_forward_keep_their_times_and_tell_each_step_once() {
    let world = World::new().await;
    let anna = world.anna().await;
    let id = a_sent_message(&world, anna, "wamid.1").await;
    let pricing = StatusFact { pricing: vec!["PMP".into()], ..status("wamid.1", ProviderStatus::Sent) };
    for (fact, at) in [
        (status("wamid.1", ProviderStatus::Read), 3_000),
        (status("wamid.1", ProviderStatus::Delivered), 2_000),
        (pricing, 1_000),
        (status("wamid.1", ProviderStatus::Read), 3_000),
    ] {
        assert_eq!(world.status(&fact, at).await, Some(id));
    }
    let message = world.message(id).await;
    assert_eq!(message.status, Some(MessageStatus::Read));
    assert_eq!(
        message.status_detail,
        Some(serde_json::json!({
            "sent_at": "1970-01-01T00:00:01.000Z",
            "delivered_at": "1970-01-01T00:00:02.000Z",
            "read_at": "1970-01-01T00:00:03.000Z",
            "pricing": ["PMP"],
        }))
    );
    let told = world.told(anna.thread).await;
    let expected = [
        EventType::ControlAccepted,
        EventType::MessageQueued,
        EventType::ChannelConnected,
        EventType::MessageSent,
        EventType::MessageRead,
    ];
    assert_eq!(told, expected, "nothing is told twice, and no step back");
}

#[tokio::test]
async fn a_refusal_afterwards_fails_unless_it_arrived_after_all() {
    let world = World::new().await;
    let anna = world.anna().await;
    let id = a_sent_message(&world, anna, "wamid.1").await;
    let error =
        ProviderError { code: 131_026, title: Some("Undeliverable".into()), ..ProviderError::default() };
    let failed = StatusFact { errors: vec![error], ..status("wamid.1", ProviderStatus::Failed) };
    world.status(&failed, 5_000).await;
    let message = world.message(id).await;
    assert_eq!(message.status, Some(MessageStatus::Failed));
    let detail = message.status_detail.expect("a detail");
    assert_eq!(detail["errors"][0]["code"], 131_026);
    assert!(detail["sentence"].as_str().expect("a sentence").ends_with("Undeliverable"));
    world.status(&status("wamid.1", ProviderStatus::Delivered), 6_000).await;
    assert_eq!(world.message(id).await.status, Some(MessageStatus::Delivered));
}

#[tokio::test]
async fn a_status_before_its_message_waits_for_it() {
    let world = World::new().await;
    let anna = world.anna().await;
    assert_eq!(world.status(&status("wamid.1", ProviderStatus::Delivered), 9_000).await, None);
    assert_eq!(world.status(&status("wamid.other", ProviderStatus::Read), 9_000).await, None);
    let id = a_sent_message(&world, anna, "wamid.1").await;
    let message = world.message(id).await;
    assert_eq!(message.status, Some(MessageStatus::Delivered));
    assert_eq!(message.status_detail.expect("a detail")["delivered_at"], "1970-01-01T00:00:09.000Z");
}

#[tokio::test]
async fn a_forged_outbox_id_settles_nothing() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let id = message.id;
    for outbox_id in
        [format!("out:{id}:0:2"), format!("out:{id}:0:0"), format!("out:{id}:7:1"), "out:x".into()]
    {
        let fact = StatusFact { outbox_id: Some(outbox_id), ..status("wamid.1", ProviderStatus::Sent) };
        assert_eq!(world.status(&fact, 1_000).await, None);
    }
    assert_eq!(world.message(id).await.status, Some(MessageStatus::Queued));
}

#[tokio::test]
async fn members_of_a_group_are_told_apart() {
    let world = World::new().await;
    let anna = world.anna().await;
    let id = a_sent_message(&world, anna, "wamid.1").await;
    for (participant, at) in [("31600000002", 4_000), ("31600000003", 2_000)] {
        let fact = StatusFact {
            participant: Some(participant.into()),
            ..status("wamid.1", ProviderStatus::Delivered)
        };
        world.status(&fact, at).await;
    }
    let detail = world.message(id).await.status_detail.expect("a detail");
    assert_eq!(detail["delivered_at"], "1970-01-01T00:00:02.000Z", "the first member");
}

#[tokio::test]
async fn a_watermark_covers_what_was_sent_before_it_and_waits_for_what_is_sent_later() {
    let world = World::new().await;
    let page = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7001")).await;
    let first = a_sent_message(&world, page, "m_1").await;
    world.later(10_000);
    let between = world.clock.now().as_millis() - 5_000;
    let second = a_sent_message(&world, page, "m_2").await;
    world.watermark(page, &mark(ProviderStatus::Delivered, between), between).await;
    assert_eq!(world.message(first).await.status, Some(MessageStatus::Delivered));
    assert_eq!(world.message(second).await.status, Some(MessageStatus::Sent));
    // The mark comes before our report of the third.
    let message = world.says(&world.agent(), page, "Drie").await;
    let dispatch = world.claimed().await;
    let at = world.clock.now().as_millis() + 60_000;
    world.watermark(page, &mark(ProviderStatus::Read, at), at).await;
    assert_eq!(world.message(second).await.status, Some(MessageStatus::Read));
    assert_eq!(world.message(message.id).await.status, Some(MessageStatus::Sending));
    world.sent(dispatch, "m_3").await;
    assert_eq!(world.message(message.id).await.status, Some(MessageStatus::Read));
    // An older one changes nothing but the time of what it covers.
    world.watermark(page, &mark(ProviderStatus::Read, 5), 5).await;
    assert_eq!(world.message(first).await.status, Some(MessageStatus::Read));
}

#[tokio::test]
async fn watermarks_in_any_order_give_the_same_times() {
    let mut shown = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let world = World::new().await;
        let page = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7001")).await;
        let id = a_sent_message(&world, page, "m_1").await;
        let sent = world.message(id).await.provider_time.expect("sent").as_millis();
        let marks = [
            mark(ProviderStatus::Delivered, sent + 1_000),
            mark(ProviderStatus::Read, sent + 2_000),
            mark(ProviderStatus::Read, sent + 9_000),
        ];
        for at in order {
            let up_to = marks[at].watermark.expect("a moment").as_millis();
            world.watermark(page, &marks[at], up_to).await;
        }
        let message = world.message(id).await;
        let detail = message.status_detail.expect("a detail");
        let since = |field: &str| {
            let at: Timestamp = serde_json::from_value(detail[field].clone()).expect("a time");
            at.as_millis() - sent
        };
        shown.push((message.status, since("delivered_at"), since("read_at")));
    }
    assert!(shown.iter().all(|one| *one == (Some(MessageStatus::Read), 1_000, 2_000)), "{shown:?}");
}

#[tokio::test]
async fn a_visitors_mark_goes_by_seq_and_never_beyond_what_there_is() {
    let world = World::new().await;
    let visitor: loket_protocol::ids::VisitorId = world.clock.id();
    let handle = Handle::new(HandleKind::Visitor, visitor.to_string());
    let gast = world.customer(&super::world::site(), handle).await;
    let first = world.says(&world.agent(), gast, "Een").await;
    let seen = WatermarkFact {
        status: ProviderStatus::Read,
        watermark: None,
        external_ids: vec![],
        up_to_seq: Some(1_000_000),
    };
    world.watermark(gast, &seen, 7_000).await;
    assert_eq!(world.message(first.id).await.status, Some(MessageStatus::Read));
    let second = world.says(&world.agent(), gast, "Twee").await;
    let mut tx = world.hub.inner().store.begin().await.expect("a transaction");
    delivery::refresh(&mut tx, second.id).await.expect("refreshed");
    tx.commit().await.expect("committed");
    assert_eq!(world.message(second.id).await.status, Some(MessageStatus::Sent));
}

/// One thing that can be told about the message `wamid.1` of Anna's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum News {
    Report,
    Status(ProviderStatus, i64),
}

fn shown(mut message: Message) -> (Option<MessageStatus>, serde_json::Value) {
    let detail = message.status_detail.take().unwrap_or_default();
    (message.status, detail)
}

async fn after(news: &[News]) -> (Option<MessageStatus>, serde_json::Value) {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    for one in news {
        match one {
            News::Report => world.sent(dispatch, "wamid.1").await,
            News::Status(kind, at) => {
                let fact = StatusFact { outbox_id: Some(dispatch.outbox_id()), ..status("wamid.1", *kind) };
                world.status(&fact, *at).await;
            }
        }
    }
    shown(world.message(message.id).await)
}

const ALL: [News; 5] = [
    News::Report,
    News::Status(ProviderStatus::Sent, 1_000),
    News::Status(ProviderStatus::Delivered, 2_000),
    News::Status(ProviderStatus::Read, 3_000),
    News::Status(ProviderStatus::Failed, 2_500),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn news_in_any_order_end_in_the_same_state(
        (order, shuffled) in subsequence(ALL.to_vec(), 2..=5)
            .prop_flat_map(|some| (Just(some.clone()), Just(some).prop_shuffle()))
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (one, two) = runtime.block_on(async { (after(&order).await, after(&shuffled).await) });
        // Without a status of its own the time of sending is our clock's, which is another one each time.
        let timed = order.iter().any(|news| matches!(news, News::Status(ProviderStatus::Sent, _)));
        prop_assert_eq!(one.0, two.0);
        if timed {
            prop_assert_eq!(one.1, two.1, "{:?} {:?}", order, shuffled);
        }
    }
}

#[tokio::test]
async fn an_id_that_another_message_has_is_not_taken_from_it() {
    let world = World::new().await;
    let anna = world.anna().await;
    let first = a_sent_message(&world, anna, "wamid.1").await;
    let second = world.says(&world.agent(), anna, "Twee").await;
    let dispatch = world.claimed().await;
    world.sent(dispatch, "wamid.1").await;
    assert_eq!(world.message(first).await.external_id.as_deref(), Some("wamid.1"));
    assert_eq!(world.message(second.id).await.external_id, None);
    assert_eq!(world.part(dispatch).await.channel, whatsapp());
}

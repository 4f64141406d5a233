//! Any order of arrival ends the same.

use proptest::prelude::*;

use super::*;

/// Everything that may be compared after different orders: all but ids, numbers and our own times.
async fn end_state(here: &Here) -> Value {
    let mut reader = here.store.read().await.unwrap();
    let conn: &mut Conn = &mut reader;
    let entries =
        sql("SELECT type, COUNT(*) AS n FROM log WHERE type IN ('message.reacted', 'message.edited', \
         'message.deleted', 'contact.created') GROUP BY type ORDER BY type")
        .all(conn)
        .await
        .unwrap();
    let entries: Vec<Value> =
        entries.iter().map(|row| json!([row.text("type").unwrap(), row.int("n").unwrap()])).collect();
    drop(reader);
    let mut shown = here.all_messages().await;
    shown.sort_by(|a, b| a.external_id.cmp(&b.external_id));
    let shown: Vec<Value> = shown
        .into_iter()
        .map(|mut message| {
            message.seq = 0;
            message.created_at = Timestamp::default();
            let mut value = serde_json::to_value(&message).unwrap();
            for field in ["id", "thread_id", "identity_id"] {
                value[field] = Value::Null;
            }
            value["author"]["id"] = json!(message.author.id.map(|id| id.chars().take(4).collect::<String>()));
            for reaction in value["reactions"].as_array_mut().unwrap() {
                reaction["author"]["id"] = Value::Null;
            }
            value
        })
        .collect();
    let mut people: Vec<Value> = here
        .identities()
        .await
        .into_iter()
        .map(|i| {
            json!([i.handles, i.name, i.name_at, i.last_message_at, i.window_opened_at, i.last_external_id])
        })
        .collect();
    people.sort_by_key(Value::to_string);
    json!({ "messages": shown, "people": people, "entries": entries })
}

/// The import of an echo, which knows that it was read.
fn read_history(who: u32, second: i64, id: &str) -> InboundEvent {
    let mut event = history(who, second, id, true, Content::text(format!("our words {id}")));
    if let Fact::History(old) = &mut event.fact {
        old.status = Some(ProviderStatus::Read);
        old.message.sent_by = Some("phone_app".to_owned());
    }
    event
}

fn a_busy_day() -> Vec<InboundEvent> {
    let mut mark = event(
        1,
        50,
        Fact::Watermark(WatermarkFact {
            status: ProviderStatus::Read,
            watermark: Some(Timestamp::from_millis(START + 21_000)),
            external_ids: Vec::new(),
            up_to_seq: None,
        }),
    );
    mark.customer.as_mut().unwrap().name = None;
    vec![
        message(1, 0, "in-1"),
        message(1, 10, "in-2"),
        message(2, 11, "in-3"),
        echo(1, 20, "out-1"),
        echo(1, 30, "out-2"),
        echo(2, 31, "out-3"),
        status(1, 21, "out-1", ProviderStatus::Sent),
        status(1, 22, "out-1", ProviderStatus::Delivered),
        status(1, 32, "out-2", ProviderStatus::Delivered),
        status(2, 33, "out-3", ProviderStatus::Failed),
        status(2, 34, "out-3", ProviderStatus::Read),
        mark,
        reaction(1, 40, "out-1", Some("👍"), false),
        reaction(1, 41, "out-1", Some("🎉"), false),
        reaction(1, 42, "out-2", Some("😕"), false),
        reaction(1, 43, "out-2", None, false),
        reaction(1, 44, "in-1", Some("❤"), true),
        edit(1, 12, "in-1", "first correction", None, false),
        edit(1, 13, "in-1", "second correction", None, false),
        edit(1, 23, "out-1", "forged", None, false),
        edit(2, 35, "out-3", "ours", Some(2), true),
        edit(2, 36, "out-3", "ours before", Some(1), true),
        revoke(1, 14, "in-2", false),
        revoke(2, 15, "in-1", false),
        revoke(2, 13, "in-2", false),
        history(1, -900, "old-1", true, Content::text("long ago")),
        read_history(1, 30, "out-2"),
        history(1, 10, "in-2", false, Content::text("words of in-2")),
        history(2, -800, "old-2", false, Content { kind: "media_placeholder".into(), ..Content::default() }),
        history(2, -800, "old-2", false, Content { kind: "image".into(), ..Content::default() }),
    ]
}

/// Where the day ends when everything arrives as it was written.
async fn in_order() -> Value {
    static KNOWN: tokio::sync::OnceCell<Value> = tokio::sync::OnceCell::const_new();
    let make = async || {
        let here = Here::new().await;
        here.take(&a_busy_day()).await;
        end_state(&here).await
    };
    KNOWN.get_or_init(make).await.clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_any_repeats_ends_the_same(
        order in Just((0..a_busy_day().len()).collect::<Vec<usize>>()).prop_shuffle(),
        repeats in proptest::collection::vec(0..a_busy_day().len(), 0..6),
        portion in 1usize..9,
    ) {
        let day = a_busy_day();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (expected, got) = runtime.block_on(async {
            let other = Here::new().await;
            let mut shuffled: Vec<InboundEvent> = order.iter().map(|at| day[*at].clone()).collect();
            shuffled.extend(repeats.iter().map(|at| day[*at].clone()));
            for some in shuffled.chunks(portion) {
                other.take(some).await;
            }
            (in_order().await, end_state(&other).await)
        });
        prop_assert_eq!(expected, got);
    }
}

#[tokio::test]
async fn numbers_of_a_thread_have_no_gap_and_the_log_is_numbered_in_row_order() {
    let here = Here::new().await;
    let day = a_busy_day();
    for some in day.chunks(5) {
        here.take(some).await;
    }
    let mut tx = here.store.begin().await.unwrap();
    let until = tx.now().plus_millis(1000);
    let epoch = crate::store::sequencer::elect(&mut tx, "me", until).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    while crate::store::sequencer::number(&here.store, epoch, 7).await.unwrap().unwrap() > 0 {}
    let mut reader = here.store.read().await.unwrap();
    let all = log::after(&mut reader, 0, &[], 500).await.unwrap();
    let seqs: Vec<i64> = all.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let mut next = std::collections::HashMap::new();
    for event in all {
        assert_eq!(event.thread.is_some(), event.kind.is_of_a_thread(), "{:?}", event.kind);
        if let Some(place) = event.thread {
            let next = next.entry(place.id).or_insert(1);
            assert_eq!(place.seq, *next);
            *next += 1;
        }
    }
}

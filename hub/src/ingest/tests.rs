//! What ingest promises: once however often, one contact and one thread for each person, and the same
//! end in whatever order things arrive.

use loket_backbone::clock::Clock;
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::event::EventType;
use loket_protocol::inbound::{
    ContactSyncFact, EditFact, Fact, HistoryFact, INBOUND_VERSION, IdentityFact, InboundEvent, MessageFact,
    NoticeFact, OptinFact, PreferenceFact, ReactionFact, RevokeFact, StatusFact, WatermarkFact,
};
use loket_protocol::message::{Attachment, ContactCard, Content, Direction, Message, ReplyTo};
use loket_protocol::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::apply;
use crate::store::contacts::IdentityRow;
use crate::store::{Conn, Store, contacts, log, messages, sql};

/// A store in a folder that is gone with it.
struct Here {
    store: Store,
    _folder: tempfile::TempDir,
}

impl Here {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("loket.db").display());
        Self { store: Store::open(&url, Clock::system()).await.unwrap(), _folder: folder }
    }

    /// Carries events out in one transaction; answers how many were absorbed.
    async fn take(&self, events: &[InboundEvent]) -> u64 {
        let mut tx = self.store.begin_for_worker().await.unwrap();
        let applied = apply(&mut tx, events).await.unwrap();
        tx.commit().await.unwrap();
        applied.absorbed.values().sum()
    }

    async fn all_messages(&self) -> Vec<Message> {
        let mut reader = self.store.read().await.unwrap();
        let threads = sql("SELECT id FROM threads ORDER BY id").all(&mut reader).await.unwrap();
        let mut all = Vec::new();
        for thread in threads {
            let thread = thread.parsed("id").unwrap();
            all.extend(messages::after(&mut reader, thread, 0, 1000).await.unwrap());
        }
        all
    }

    async fn message(&self, external_id: &str) -> Message {
        let found = self.all_messages().await;
        found.into_iter().find(|m| m.external_id.as_deref() == Some(external_id)).unwrap()
    }

    async fn count(&self, table: &'static str) -> i64 {
        let mut reader = self.store.read().await.unwrap();
        let text: &'static [&'static str] = match table {
            "contacts" => &["SELECT COUNT(*) AS n FROM contacts"],
            "threads" => &["SELECT COUNT(*) AS n FROM threads"],
            "messages" => &["SELECT COUNT(*) AS n FROM messages"],
            "log" => &["SELECT COUNT(*) AS n FROM log"],
            "inbox" => &["SELECT COUNT(*) AS n FROM inbox"],
            other => panic!("{other}"),
        };
        crate::store::parts(text).first(&mut reader).await.unwrap().unwrap().int("n").unwrap()
    }

    async fn logged(&self, kind: EventType) -> Vec<Value> {
        let mut reader = self.store.read().await.unwrap();
        let rows = sql("SELECT data FROM log WHERE type = $1 ORDER BY row_id").bind(kind.as_str());
        let rows = rows.all(&mut reader).await.unwrap();
        rows.iter().map(|row| row.json("data").unwrap()).collect()
    }

    async fn identities(&self) -> Vec<IdentityRow> {
        let mut reader = self.store.read().await.unwrap();
        let ids = sql("SELECT id FROM contacts ORDER BY id").all(&mut reader).await.unwrap();
        let ids: Vec<_> = ids.iter().map(|row| row.parsed("id").unwrap()).collect();
        contacts::identities_of(&mut reader, &ids).await.unwrap()
    }
}

fn number_201() -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new("whatsapp").unwrap(), account: "201".to_owned() }
}

fn person(number: u32) -> Customer {
    Customer {
        handles: vec![
            Handle::new(HandleKind::Bsuid, format!("NL.{number}")),
            Handle::new(HandleKind::Phone, format!("3160000{number:04}")),
        ],
        name: Some(format!("Person {number}")),
        name_is_ours: false,
    }
}

const START: i64 = 1_795_253_400_000;

fn event(who: u32, second: i64, fact: Fact) -> InboundEvent {
    let at = Timestamp::from_millis(START + second * 1000);
    InboundEvent {
        v: INBOUND_VERSION,
        channel: number_201(),
        customer: Some(person(who)),
        at,
        at_is_arrival: false,
        received_at: at.plus_millis(700),
        standby: false,
        opens_window: matches!(fact, Fact::Message(_)).then_some(true),
        fact,
    }
}

fn said(id: &str, text: &str) -> MessageFact {
    MessageFact { external_id: Some(id.to_owned()), content: Content::text(text), ..MessageFact::default() }
}

fn message(who: u32, second: i64, id: &str) -> InboundEvent {
    event(who, second, Fact::Message(said(id, &format!("words of {id}"))))
}

fn echo(who: u32, second: i64, id: &str) -> InboundEvent {
    let mut said = said(id, &format!("our words {id}"));
    said.sent_by = Some("phone_app".to_owned());
    event(who, second, Fact::Echo(said))
}

fn history(who: u32, second: i64, id: &str, outgoing: bool, content: Content) -> InboundEvent {
    let message = MessageFact { external_id: Some(id.to_owned()), content, ..MessageFact::default() };
    event(who, second, Fact::History(HistoryFact { outgoing, message, status: None, progress: None }))
}

fn status(who: u32, second: i64, target: &str, status: ProviderStatus) -> InboundEvent {
    let fact = StatusFact {
        target: target.to_owned(),
        status,
        outbox_id: None,
        errors: Vec::new(),
        pricing: Vec::new(),
        group: None,
        participant: None,
    };
    event(who, second, Fact::Status(fact))
}

fn reaction(who: u32, second: i64, target: &str, emoji: Option<&str>, outgoing: bool) -> InboundEvent {
    let emoji = emoji.map(str::to_owned);
    event(
        who,
        second,
        Fact::Reaction(ReactionFact { external_id: None, target: target.to_owned(), emoji, outgoing }),
    )
}

fn edit(
    who: u32,
    second: i64,
    target: &str,
    text: &str,
    number: Option<i64>,
    outgoing: bool,
) -> InboundEvent {
    let fact = EditFact {
        external_id: None,
        target: target.to_owned(),
        content: Content::text(text),
        attachments: Vec::new(),
        edit_number: number,
        outgoing,
    };
    event(who, second, Fact::Edit(fact))
}

fn revoke(who: u32, second: i64, target: &str, outgoing: bool) -> InboundEvent {
    event(who, second, Fact::Revoke(RevokeFact { external_id: None, target: target.to_owned(), outgoing }))
}

#[tokio::test]
async fn a_stranger_becomes_a_contact_with_one_thread_and_a_case() {
    let here = Here::new().await;
    assert_eq!(here.take(&[message(1, 0, "a")]).await, 0);
    let shown = here.message("a").await;
    assert_eq!(shown.direction, Direction::In);
    assert_eq!(shown.content.text.as_deref(), Some("words of a"));
    assert_eq!(shown.author.name.as_deref(), Some("Person 1"));
    assert_eq!(shown.seq, 2, "the case that it opens stands before it");
    assert!(!shown.late);
    assert_eq!(here.logged(EventType::ContactCreated).await.len(), 1);
    let opened = here.logged(EventType::ThreadOpened).await;
    assert_eq!(opened.len(), 1);
    assert!(opened[0]["case_id"].as_str().unwrap().starts_with("case_"));
    let received = here.logged(EventType::MessageReceived).await;
    assert_eq!(received[0]["message"]["id"], json!(shown.id));
    assert_eq!(received[0]["conversation"]["channel"]["account"], "201");
    assert_eq!(received[0]["contact"]["id"], json!(shown.author.id));
    let identities = here.identities().await;
    assert_eq!(identities[0].window_opened_at, Some(Timestamp::from_millis(START)));
    assert_eq!(identities[0].last_external_id.as_deref(), Some("a"));
    assert_eq!(identities[0].handles, person(1).handles);
}

#[tokio::test]
async fn a_repeat_changes_nothing() {
    let here = Here::new().await;
    let events = [
        message(1, 0, "a"),
        echo(1, 1, "b"),
        status(1, 2, "b", ProviderStatus::Read),
        reaction(1, 3, "b", Some("👍"), false),
        edit(1, 4, "a", "better", None, false),
        revoke(1, 5, "a", false),
        history(1, -900, "old", true, Content::text("long ago")),
        status(1, 6, "unknown", ProviderStatus::Sent),
    ];
    here.take(&events).await;
    let (before, entries) = (here.all_messages().await, here.count("log").await);
    assert_eq!(here.take(&events).await, 8);
    for event in &events {
        assert_eq!(here.take(std::slice::from_ref(event)).await, 1);
    }
    assert_eq!(here.all_messages().await, before);
    assert_eq!(here.count("log").await, entries);
    // Twice in one batch is once, too.
    assert_eq!(here.take(&[message(1, 9, "z"), message(1, 9, "z")]).await, 1);
    assert_eq!(here.count("messages").await, 4);
}

#[tokio::test]
async fn thirty_pictures_of_a_stranger_at_once_are_one_contact_and_one_thread() {
    let here = std::sync::Arc::new(Here::new().await);
    let pictures: Vec<_> = (0..30)
        .map(|n| {
            let here = std::sync::Arc::clone(&here);
            let mut picture = said(&format!("p{n}"), "");
            picture.attachments = vec![Attachment { kind: "image".to_owned(), ..Attachment::default() }];
            let event = event(7, 0, Fact::Message(picture));
            async move { here.take(&[event]).await }
        })
        .collect();
    futures_util::future::join_all(pictures).await;
    assert_eq!(here.count("contacts").await, 1);
    assert_eq!(here.count("threads").await, 1);
    let shown = here.all_messages().await;
    assert_eq!(shown.len(), 30);
    let seqs: Vec<i64> = shown.iter().map(|m| m.seq).collect();
    assert_eq!(seqs, (2..=31).collect::<Vec<i64>>());
    assert!(shown.iter().all(|m| m.attachments[0].id.is_some()));
}

#[tokio::test]
async fn a_late_message_is_marked_and_a_clock_that_runs_ahead_opens_no_longer_window() {
    let here = Here::new().await;
    let mut late = message(1, 0, "late");
    late.received_at = late.at.plus_millis(5 * 60 * 1000 + 1);
    let mut ahead = message(2, 0, "ahead");
    ahead.received_at = ahead.at.plus_millis(-10 * 60 * 60 * 1000);
    here.take(&[late, ahead.clone()]).await;
    assert!(here.message("late").await.late);
    let shown = here.message("ahead").await;
    assert!(!shown.late);
    let identities = here.identities().await;
    let identity = identities.iter().find(|i| Some(i.id) == shown.identity_id).unwrap();
    assert_eq!(identity.window_opened_at, Some(ahead.received_at));
}

#[tokio::test]
async fn only_the_author_edits_and_revokes() {
    let here = Here::new().await;
    here.take(&[
        message(1, 0, "in"),
        echo(1, 1, "out"),
        edit(1, 2, "out", "forged", None, false),
        revoke(1, 3, "out", false),
        edit(2, 2, "in", "forged", None, false),
        revoke(2, 3, "in", false),
        revoke(1, 3, "in", true),
    ])
    .await;
    for id in ["in", "out"] {
        let shown = here.message(id).await;
        assert_eq!((shown.edited_at, shown.revoked_at), (None, None), "{id}");
        assert_ne!(shown.content.text.as_deref(), Some("forged"));
    }
    here.take(&[edit(1, 9, "out", "ours", None, true), revoke(1, 9, "in", false)]).await;
    assert_eq!(here.message("out").await.content.text.as_deref(), Some("ours"));
    let gone = here.message("in").await;
    assert!(gone.revoked_at.is_some());
    assert_eq!(gone.content, Content { kind: "text".to_owned(), ..Content::default() });
    let mut reader = here.store.read().await.unwrap();
    let kept = sql("SELECT content FROM messages WHERE external_id = 'in'").first(&mut reader).await.unwrap();
    assert!(!kept.unwrap().text("content").unwrap().contains("words of in"), "taken back is taken back");
}

#[tokio::test]
async fn a_placeholder_of_history_is_completed_by_its_picture_in_either_order() {
    for picture_first in [false, true] {
        let here = Here::new().await;
        let placeholder = history(
            1,
            -900,
            "pic",
            false,
            Content { kind: "media_placeholder".into(), ..Content::default() },
        );
        let mut picture =
            history(1, -900, "pic", false, Content { kind: "image".into(), ..Content::default() });
        if let Fact::History(old) = &mut picture.fact {
            old.message.attachments = vec![Attachment { kind: "image".into(), ..Attachment::default() }];
        }
        let mut both = vec![placeholder, picture];
        if picture_first {
            both.reverse();
        }
        for event in &both {
            here.take(std::slice::from_ref(event)).await;
        }
        let shown = here.message("pic").await;
        assert_eq!(shown.content.kind, "image");
        assert_eq!(shown.attachments.len(), 1);
        assert!(shown.late);
        assert_eq!(here.count("messages").await, 1);
        assert!(here.logged(EventType::ThreadOpened).await.is_empty(), "it notifies nobody");
        assert_eq!(here.identities().await[0].window_opened_at, None);
    }
}

#[tokio::test]
async fn a_reply_names_what_it_answers_also_when_that_comes_later() {
    let here = Here::new().await;
    let mut answer = said("answer", "yes");
    answer.reply_to = Some(ReplyTo { external_id: Some("question".to_owned()), ..ReplyTo::default() });
    here.take(&[event(1, 5, Fact::Message(answer))]).await;
    assert_eq!(here.message("answer").await.reply_to.unwrap().message_id, None);
    here.take(&[echo(1, 0, "question")]).await;
    let question = here.message("question").await;
    assert_eq!(here.message("answer").await.reply_to.unwrap().message_id, Some(question.id));
}

#[tokio::test]
async fn a_changed_number_and_a_changed_id_make_no_second_contact_in_any_order() {
    let phone = |value: &str| Handle::new(HandleKind::Phone, value);
    let bsuid = |value: &str| Handle::new(HandleKind::Bsuid, value);
    let with = |handles: Vec<Handle>, mut event: InboundEvent| {
        event.customer = Some(Customer { handles, name: None, name_is_ours: false });
        event
    };
    let first = with(vec![bsuid("NL.old"), phone("31600000042")], message(1, 0, "first"));
    let mut number = event(
        1,
        10,
        Fact::Identity(IdentityFact {
            external_id: Some("n1".into()),
            change: "user_changed_number".into(),
            previous: vec![phone("31600000042")],
            current: vec![phone("31600000043")],
            details: None,
        }),
    );
    number.customer = None;
    let id = with(
        vec![phone("31600000043")],
        event(
            1,
            11,
            Fact::Identity(IdentityFact {
                external_id: None,
                change: "user_id_update".into(),
                previous: vec![bsuid("NL.old")],
                current: vec![bsuid("NL.new")],
                details: None,
            }),
        ),
    );
    let after = with(vec![bsuid("NL.new"), phone("31600000043")], message(1, 20, "after"));
    let all = [first, number, id, after];
    for order in permutations(4) {
        // The first message from the new address alone cannot tell whose it is; two contacts that
        // exist already are joined by a later verb.
        let place = |n: usize| order.iter().position(|at| *at == n).unwrap();
        let told_before = place(1) < place(3) || place(2) < place(3);
        let linked = place(1).max(place(2)) < place(3) || place(0) < place(1).max(place(2));
        if !(told_before && linked) {
            continue;
        }
        let here = Here::new().await;
        for at in &order {
            here.take(std::slice::from_ref(&all[*at])).await;
            here.take(std::slice::from_ref(&all[*at])).await;
        }
        assert_eq!(here.count("contacts").await, 1, "{order:?}");
        let identities = here.identities().await;
        assert_eq!(identities[0].handles, [bsuid("NL.new"), phone("31600000043")], "{order:?}");
        // Somebody else has the old number today.
        here.take(&[with(vec![bsuid("NL.other"), phone("31600000042")], message(1, 99, "other"))]).await;
        assert_eq!(here.count("contacts").await, 2, "{order:?}");
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

#[tokio::test]
async fn two_people_named_by_one_event_stay_two_until_somebody_joins_them() {
    let here = Here::new().await;
    let only = |handle: Handle, mut event: InboundEvent| {
        event.customer = Some(Customer { handles: vec![handle], name: None, name_is_ours: false });
        event
    };
    here.take(&[only(Handle::new(HandleKind::Bsuid, "NL.1"), message(1, 0, "a"))]).await;
    here.take(&[only(Handle::new(HandleKind::Phone, "31600000001"), message(1, 1, "b"))]).await;
    let mut both = message(1, 2, "c");
    both.customer = Some(Customer {
        handles: vec![Handle::new(HandleKind::Bsuid, "NL.1"), Handle::new(HandleKind::Phone, "31600000001")],
        name: None,
        name_is_ours: false,
    });
    here.take(&[both]).await;
    assert_eq!(here.count("contacts").await, 2);
    assert_eq!(here.message("c").await.thread_id, here.message("a").await.thread_id);
}

#[tokio::test]
async fn a_card_that_answers_our_request_proves_the_number() {
    let here = Here::new().await;
    let mut card = said("card", "");
    card.content = Content { kind: "contacts".into(), ..Content::default() };
    card.content.contacts = vec![ContactCard {
        phones: vec!["+31 600000088".into()],
        origin: Some("contact_request".into()),
        ..ContactCard::default()
    }];
    let mut event = event(1, 0, Fact::Message(card));
    event.customer = Some(Customer {
        handles: vec![Handle::new(HandleKind::Bsuid, "NL.9"), Handle::new(HandleKind::Username, "mila.bakt")],
        name: None,
        name_is_ours: false,
    });
    here.take(&[event]).await;
    assert!(here.identities().await[0].handles.contains(&Handle::new(HandleKind::Phone, "31600000088")));
    let linked = here.logged(EventType::IdentityLinked).await;
    assert_eq!(linked[0]["proof"], "contact_request");
}

#[tokio::test]
async fn names_the_latest_wins_and_ours_outranks() {
    let named = |second: i64, id: &str, name: &str| {
        let mut event = message(1, second, id);
        event.customer.as_mut().unwrap().name = Some(name.to_owned());
        event
    };
    let sync = |second: i64, action: &str, name: Option<&str>| {
        let mut event = event(1, second, Fact::ContactSync(ContactSyncFact { action: action.to_owned() }));
        let customer = event.customer.as_mut().unwrap();
        customer.name = name.map(str::to_owned);
        customer.name_is_ours = true;
        event
    };
    let here = Here::new().await;
    let shown = async || {
        let identities = here.identities().await;
        let mut reader = here.store.read().await.unwrap();
        let contact = contacts::contact(&mut reader, identities[0].contact_id).await.unwrap().unwrap();
        contacts::shown_name(&contact, &identities)
    };
    here.take(&[named(10, "a", "Newer"), named(5, "b", "Older")]).await;
    assert_eq!(shown().await.as_deref(), Some("Newer"));
    here.take(&[sync(3, "add", Some("Ours"))]).await;
    assert_eq!(shown().await.as_deref(), Some("Ours"));
    here.take(&[sync(4, "remove", None), sync(2, "add", Some("Ours before"))]).await;
    assert_eq!(shown().await.as_deref(), Some("Newer"));
    here.take(&[named(20, "c", "Newest")]).await;
    assert_eq!(shown().await.as_deref(), Some("Newest"));
    assert_eq!(here.logged(EventType::ContactUpdated).await.len(), 4, "three of the book, one new name");
}

#[tokio::test]
async fn what_has_no_message_is_in_the_log_word_for_word() {
    let here = Here::new().await;
    let optin = event(
        1,
        1,
        Fact::Optin(OptinFact { kind: "plugin".into(), payload: Some("x:1".into()), ..OptinFact::default() }),
    );
    let preference = event(
        1,
        2,
        Fact::Preference(PreferenceFact {
            category: "marketing_messages".into(),
            value: "stop".into(),
            details: None,
        }),
    );
    let mut notice = event(
        1,
        3,
        Fact::AccountNotice(NoticeFact {
            kind: "account_update".into(),
            scope: Some("waba 1".into()),
            action: None,
            health: None,
            sentence: "announced".into(),
            details: None,
        }),
    );
    notice.customer = None;
    let orphan = status(1, 4, "nobody's", ProviderStatus::Failed);
    here.take(&[optin.clone(), preference.clone(), notice.clone(), orphan.clone()]).await;
    for (kind, event) in [
        (EventType::ContactUpdated, &optin),
        (EventType::ContactUpdated, &preference),
        (EventType::ChannelNoticed, &notice),
        (EventType::StatusOrphaned, &orphan),
    ] {
        let logged = here.logged(kind).await;
        let found = logged.iter().find(|data| data["fact"] == serde_json::to_value(&event.fact).unwrap());
        let data = found.unwrap_or_else(|| panic!("{kind:?}: {logged:?}"));
        assert_eq!(data["at"], json!(event.at));
        assert_eq!(data["channel"]["account"], "201");
        if let Some(customer) = &event.customer {
            assert_eq!(data["customer"]["handles"], json!(customer.handles));
        }
    }
}

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
    while crate::store::sequencer::number(&mut tx, epoch, 7).await.unwrap().unwrap() > 0 {}
    tx.commit().await.unwrap();
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

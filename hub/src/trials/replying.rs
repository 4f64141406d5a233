//! From a reply to rows that wait.

use loket_protocol::agent::Role;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::MessageStatus;
use loket_protocol::event::EventType;
use loket_protocol::message::{Content, Direction, ReactionContent};
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::thread::ThreadStatus;
use serde_json::json;

use super::world::{Customer, DAY_MS, World, messenger, picture, says, site, whatsapp};
use crate::requests::{Idempotency, NewReply, Principal, Target, Written};
use crate::{HubError, MaySend};

fn idem(key: &str, fingerprint: &str) -> Idempotency {
    Idempotency {
        method: "POST".into(),
        path: "/v1/threads/x/messages".into(),
        key: key.into(),
        fingerprint: fingerprint.into(),
        status: 201,
    }
}

fn code(error: &HubError) -> &'static str {
    match error {
        HubError::Unsendable { code, .. } => code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_reply_is_queued_with_its_event_and_its_row() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag Anna!").await;
    assert_eq!((message.status, message.seq), (Some(MessageStatus::Queued), 2));
    assert_eq!(message.direction, Direction::Out);
    let events = world.events(anna.thread).await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].kind, EventType::ControlAccepted, "who answers has control");
    assert_eq!(events[1].kind, EventType::MessageQueued);
    assert_eq!(events[1].thread.expect("of a thread").seq, message.seq);
    assert_eq!(events[1].data["message"]["content"]["text"], "Dag Anna!");
    world.dispatch().await;
    let published = world.published().await;
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].to, [Handle::new(HandleKind::Phone, "31600000001")]);
    assert_eq!((published[0].dispatch.part, published[0].dispatch.number), (0, 1));
    assert!(published[0].written_by_person && published[0].window_closes_at.is_some());
    let thread = world.hub.thread(&world.agent(), anna.thread).await.expect("a thread");
    assert_eq!(thread.last_message.map(|last| last.id), Some(message.id));
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_request_is_refused() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let first = world.hub.reply(&agent, anna.thread, says("Dag!"), Some(idem("k", "f"))).await.expect("done");
    let Written::Done(message) = first else { panic!("replayed") };
    let again = world.hub.reply(&agent, anna.thread, says("Dag!"), Some(idem("k", "f"))).await.expect("done");
    let body = serde_json::to_string(&message).expect("JSON");
    assert_eq!(again, Written::Replayed { status: 201, body });
    let other = world.hub.reply(&agent, anna.thread, says("Doei!"), Some(idem("k", "g"))).await;
    assert!(matches!(other, Err(HubError::IdempotencyMismatch)), "{other:?}");
    // Another principal has keys of its own.
    let colleague = world.hub.reply(&world.agent(), anna.thread, says("Dag!"), Some(idem("k", "f"))).await;
    assert!(matches!(colleague, Ok(Written::Done(_))));
    // What is refused keeps no key.
    let refused = world.hub.reply(&agent, anna.thread, says(" "), Some(idem("k2", "f"))).await;
    assert!(matches!(refused, Err(HubError::Invalid { .. })));
    assert!(matches!(
        world.hub.reply(&agent, anna.thread, says("Zo"), Some(idem("k2", "h"))).await,
        Ok(Written::Done(_))
    ));
    let mut reader = world.hub.inner().store.read().await.expect("a reader");
    let row = crate::store::sql("SELECT answer FROM idempotency").first(&mut reader).await.expect("read");
    let sealed = row.expect("kept").bytes("answer").expect("bytes");
    drop(reader);
    assert!(!sealed.is_empty() && !sealed.windows(4).any(|part| part == b"Dag!"), "the answer is sealed");
    world.later(49 * 3_600_000);
    world.hub.sweep_once().await.expect("swept");
    assert!(matches!(
        world.hub.reply(&agent, anna.thread, says("Later"), Some(idem("k", "z"))).await,
        Err(HubError::Unsendable { .. })
    ));
}

#[tokio::test]
async fn many_at_once_with_one_key_say_it_once() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let one = || async {
        match world
            .hub
            .reply(&agent, anna.thread, says("Dag!"), Some(idem("k", "f")))
            .await
            .expect("answered")
        {
            Written::Done(message) => (true, message.id.to_string()),
            Written::Replayed { body, .. } => {
                let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                (false, body["id"].as_str().expect("an id").to_owned())
            }
        }
    };
    let answers = futures_util::future::join_all((0..16).map(|_| one())).await;
    assert_eq!(answers.iter().filter(|(done, _)| *done).count(), 1);
    assert!(answers.iter().all(|(_, id)| *id == answers[0].1));
    assert_eq!(world.told(anna.thread).await, [EventType::ControlAccepted, EventType::MessageQueued]);
}

#[tokio::test]
async fn the_same_client_message_id_is_the_same_reply() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let new = || NewReply { client_message_id: Some("c-1".into()), ..says("Dag!") };
    let Written::Done(first) = world.hub.reply(&agent, anna.thread, new(), None).await.expect("done") else {
        panic!("replayed")
    };
    match world.hub.reply(&agent, anna.thread, new(), None).await.expect("done") {
        Written::Replayed { body, .. } => assert!(body.contains(&first.id.to_string())),
        Written::Done(_) => panic!("said twice"),
    }
    let stranger = world.hub.reply(&world.agent(), anna.thread, new(), None).await;
    assert!(matches!(stranger, Err(HubError::Conflict(_))));
    let neither = world.hub.reply(&agent, anna.thread, says("Dag!"), None).await;
    assert!(matches!(neither, Err(HubError::Invalid { .. })));
}

#[tokio::test]
async fn text_and_pictures_are_parts_in_order_in_one_lane() {
    let world = World::new().await;
    let anna = world.anna().await;
    let new = NewReply { attachments: vec![picture("a"), picture("b")], ..says("Kijk") };
    let message = world.reply(&world.agent(), anna, new).await.expect("accepted");
    assert_eq!(message.attachments.len(), 2);
    assert!(message.attachments.iter().all(|attachment| attachment.id.is_some()));
    let mut kinds = Vec::new();
    for _ in 0..3 {
        // Only the head is on the bus.
        let dispatch = world.claimed().await;
        kinds.push(world.part(dispatch).await.payload.expect("readable").content.kind);
        world.sent(dispatch, &format!("wamid.{}", dispatch.part)).await;
    }
    assert_eq!(kinds, ["text", "image", "image"]);
    let message = world.message(message.id).await;
    assert_eq!(message.status, Some(MessageStatus::Sent));
    assert_eq!(message.external_id.as_deref(), Some("wamid.0"));
    let detail = message.status_detail.expect("a detail");
    assert_eq!(detail["external_ids"], json!(["wamid.1", "wamid.2"]));
}

#[tokio::test]
async fn a_caption_goes_in_front_where_the_channel_has_none() {
    let world = World::new().await;
    let agent = world.agent();
    let page = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7003")).await;
    let caption = || NewReply {
        content: Content { kind: "image".into(), ..Content::text("Kijk") },
        attachments: vec![picture("a")],
        ..says("")
    };
    let said = |part: &OutboundMessage| {
        (part.content.kind.clone(), part.content.text.clone(), part.attachment.is_some())
    };
    let message = world.reply(&agent, page, caption()).await.expect("accepted");
    assert_eq!((message.content.kind.as_str(), message.content.text.as_deref()), ("image", Some("Kijk")));
    world.dispatch().await;
    let first = world.published().await.remove(0);
    assert_eq!(said(&first), ("text".into(), Some("Kijk".into()), false));
    world.claim(first.dispatch, "nonce").await;
    world.sent(first.dispatch, "mid.1").await;
    world.dispatch().await;
    let second = world.published().await.remove(0);
    assert_eq!(said(&second), ("image".into(), None, true));

    let anna = world.anna().await;
    world.reply(&agent, anna, caption()).await.expect("accepted");
    world.dispatch().await;
    let parts: Vec<_> = world.published().await.iter().map(said).collect();
    assert_eq!(parts, [("image".into(), Some("Kijk".into()), true)], "WhatsApp has captions");
}

/// Gives Anna a second address on another channel.
async fn also_on_messenger(world: &World, anna: Customer, wrote_at: i64) -> Customer {
    let other = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7001")).await;
    let mut tx = world.hub.inner().store.begin().await.expect("a transaction");
    crate::store::sql(
        "UPDATE identities SET contact_id = (SELECT contact_id FROM identities WHERE id = $1), \
         last_message_at = $3, window_opened_at = $3 WHERE id = $2",
    )
    .bind(anna.identity)
    .bind(other.identity)
    .bind(wrote_at)
    .run(&mut tx)
    .await
    .expect("moved");
    tx.commit().await.expect("committed");
    Customer { thread: anna.thread, identity: other.identity }
}

#[tokio::test]
async fn auto_goes_to_the_most_recent_address_that_takes_it() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let now = world.clock.now().as_millis();
    let page = also_on_messenger(&world, anna, now + 5).await;
    let message = world.says(&agent, anna, "Dag!").await;
    assert_eq!(message.identity_id, Some(page.identity));
    // Messenger takes no list: the next one that does gets it.
    let mut list = says("Kies");
    list.content.kind = "list".into();
    list.content.list = Some(loket_protocol::message::List {
        button: "Menu".into(),
        sections: vec![loket_protocol::message::ListSection {
            title: None,
            rows: vec![loket_protocol::message::ListRow {
                id: "1".into(),
                title: "Een".into(),
                description: None,
            }],
        }],
    });
    let message = world.reply(&agent, anna, list.clone()).await.expect("accepted");
    assert_eq!(message.identity_id, Some(anna.identity));
    let bound = NewReply { to: Target::Identity(page.identity), ..list };
    let refused = world.reply(&agent, anna, bound).await.expect_err("refused");
    assert_eq!(code(&refused), "channel_cannot");
    let HubError::Unsendable { options, .. } = refused else { panic!("unsendable") };
    assert_eq!(options["identities"], json!([anna.identity]));
    let long = world.reply(&agent, anna, says(&"x".repeat(3000))).await.expect("accepted");
    assert_eq!(long.identity_id, Some(anna.identity));
    let longer = world.reply(&agent, anna, says(&"x".repeat(5000))).await.expect_err("refused");
    assert_eq!(code(&longer), "text_too_long");
    let stranger = world.anna_two().await;
    let foreign = NewReply { to: Target::Identity(stranger.identity), ..says("Dag!") };
    assert!(matches!(world.reply(&agent, anna, foreign).await, Err(HubError::Invalid { .. })));
}

impl World {
    async fn anna_two(&self) -> Customer {
        self.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000002")).await
    }
}

#[tokio::test]
async fn a_closed_window_is_refused_with_what_is_possible() {
    let world = World::new().await;
    let anna = world.anna().await;
    world.later(u64::try_from(DAY_MS).expect("positive") + 1);
    let refused = world.reply(&world.agent(), anna, says("Te laat")).await.expect_err("refused");
    assert_eq!(code(&refused), "window_closed");
    let HubError::Unsendable { options, .. } = refused else { panic!("unsendable") };
    assert_eq!(options["template"], json!([anna.identity]));
    assert_eq!((&options["identities"], &options["when"]), (&json!([]), &json!("customer_writes")));
    assert!(world.told(anna.thread).await.is_empty(), "nothing was queued");
    // A person may still write to Messenger, a bot may not.
    let page = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7002")).await;
    world.later(u64::try_from(DAY_MS).expect("positive") + 1);
    assert!(world.reply(&world.agent(), page, says("Sorry")).await.is_ok());
    world.bot_answers(page).await;
    assert_eq!(
        code(&world.reply(&world.bot(), page, says("Sorry")).await.expect_err("refused")),
        "window_closed"
    );
}

#[tokio::test]
async fn what_may_be_sent_is_told_by_the_decision_that_refuses() {
    let world = World::new().await;
    let anna = world.anna().await;
    // A program's words are nobody's own, and it answers whoever has control.
    let (agent, program) = (world.agent(), Principal { role: Role::Integrator, ..world.bot() });
    let now = world.clock.now();
    let page = also_on_messenger(&world, anna, now.as_millis()).await;
    let told = async |by| {
        let told = world.hub.sendability(by, anna.thread).await.expect("told");
        let each: Vec<_> = told.identities.iter().map(|one| (one.identity_id, one.may_send)).collect();
        (told.auto, each, told.identities)
    };
    let (auto, each, all) = told(&agent).await;
    assert_eq!(auto, Some(page.identity));
    assert_eq!(each, [(page.identity, MaySend::Anything), (anna.identity, MaySend::Anything)]);
    assert_eq!(all[0].until, Some(now.plus_millis(DAY_MS)));
    assert!(all[1].content_types.contains(&"list".to_owned()));
    world.later(u64::try_from(DAY_MS).expect("positive") + 1_000);
    let (auto, each, all) = told(&agent).await;
    assert_eq!(auto, Some(page.identity), "a person may still write there");
    assert_eq!(each, [(page.identity, MaySend::HumanAgent), (anna.identity, MaySend::Template)]);
    assert_eq!(all[0].until, Some(now.plus_millis(7 * DAY_MS)));
    assert_eq!(
        (all[1].code.as_deref(), &all[1].content_types[..]),
        (Some("window_closed"), &["template".to_owned()][..])
    );
    assert_eq!(world.says(&agent, anna, "Sorry").await.identity_id, Some(page.identity));
    let (auto, each, _) = told(&program).await;
    assert_eq!(auto, None);
    assert_eq!(each, [(page.identity, MaySend::Nothing), (anna.identity, MaySend::Template)]);
    let refused = world.reply(&program, anna, says("Te laat")).await.expect_err("refused");
    assert_eq!(code(&refused), "window_closed");
    let HubError::Unsendable { options, .. } = refused else { panic!("unsendable") };
    assert_eq!(options["template"], json!([anna.identity]));
}

#[tokio::test]
async fn quotes_and_reactions_name_what_the_provider_knows() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    let first = world.says(&agent, anna, "Dag!").await;
    let quoting = NewReply { reply_to: Some(first.id), ..says("Nog iets") };
    // The provider has not told its id yet.
    assert!(matches!(world.reply(&agent, anna, quoting.clone()).await, Err(HubError::Invalid { .. })));
    let dispatch = world.claimed().await;
    world.sent(dispatch, "wamid.1").await;
    let quote = world.reply(&agent, anna, quoting).await.expect("accepted");
    let dispatch = world.claimed().await;
    assert_eq!(world.part(dispatch).await.payload.expect("readable").reply_to.as_deref(), Some("wamid.1"));
    assert_eq!(quote.reply_to.and_then(|to| to.message_id), Some(first.id));
    world.sent(dispatch, "wamid.2").await;

    let heart = |emoji: &str| NewReply {
        content: Content {
            kind: "reaction".into(),
            reaction: Some(ReactionContent {
                message_id: Some(first.id),
                external_id: None,
                emoji: emoji.into(),
            }),
            ..Content::default()
        },
        ..says("")
    };
    world.reply(&agent, anna, heart("❤️")).await.expect("accepted");
    let dispatch = world.claimed().await;
    let payload = world.part(dispatch).await.payload.expect("readable");
    assert_eq!(payload.content.reaction.and_then(|r| r.external_id).as_deref(), Some("wamid.1"));
    assert!(world.message(first.id).await.reactions.is_empty(), "not before it was taken");
    world.sent(dispatch, "wamid.3").await;
    let reactions = world.message(first.id).await.reactions;
    assert_eq!(reactions.iter().map(|r| r.emoji.as_str()).collect::<Vec<_>>(), ["❤️"]);
    world.later(1000);
    world.reply(&agent, anna, heart("")).await.expect("accepted");
    let dispatch = world.claimed().await;
    world.sent(dispatch, "wamid.4").await;
    assert!(world.message(first.id).await.reactions.is_empty(), "taken back");
    let stranger = world.anna_two().await;
    let foreign = NewReply { reply_to: Some(first.id), ..says("Nee") };
    assert!(matches!(world.reply(&agent, stranger, foreign).await, Err(HubError::Invalid { .. })));
}

#[tokio::test]
async fn a_reply_to_web_chat_is_sent_at_once_and_wakes_the_visitor() {
    let world = World::new().await;
    let visitor: loket_protocol::ids::VisitorId = world.clock.id();
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    let mut wakes = world.hub.inner().kv.listen();
    let message = world.says(&world.agent(), gast, "Dag bezoeker!").await;
    assert_eq!(message.status, Some(MessageStatus::Sent));
    let wake = wakes.recv().await.expect("a wake-up");
    assert_eq!(wake.channel, loket_protocol::topics::WAKE_VISITOR);
    let wake: loket_protocol::asks::VisitorWake = serde_json::from_slice(&wake.message).expect("readable");
    assert_eq!(wake.visitor, visitor);
    let told = [EventType::ControlAccepted, EventType::MessageQueued, EventType::MessageSent];
    assert_eq!(world.told(gast.thread).await, told);
    world.dispatch().await;
    assert!(world.published().await.is_empty(), "web chat never sees the outbound topic");
}

#[tokio::test]
async fn a_reply_to_a_resolved_thread_begins_a_case() {
    let world = World::new().await;
    let anna = world.anna().await;
    let agent = world.agent();
    world.hub.resolve(&agent, anna.thread, None, None).await.expect("resolved");
    let message = world.says(&agent, anna, "Nog iets").await;
    let thread = world.hub.thread(&agent, anna.thread).await.expect("a thread");
    assert_eq!(thread.status, ThreadStatus::Open);
    assert!(thread.case_id.is_some());
    let told = world.told(anna.thread).await;
    assert_eq!(told, [EventType::ThreadResolved, EventType::ThreadOpened, EventType::MessageQueued]);
    assert_eq!(message.seq, 3);
}

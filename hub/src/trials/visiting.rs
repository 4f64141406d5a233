//! Visitors of a web site.

use loket_protocol::agent::Role;
use loket_protocol::asks::{Answering, WebchatAsk, WebchatReply};
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::event::LiveSignal;
use loket_protocol::handoff::Holder;
use loket_protocol::ids::VisitorId;
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, RevokeFact};
use loket_protocol::topics::WEBCHAT;

use super::world::{World, site, whatsapp};

fn hash(of: &str) -> String {
    crate::tokens::sha256(of)
}

async fn visit(world: &World, token: Option<&str>, new: &str) -> (VisitorId, bool) {
    let ask =
        WebchatAsk::Visit { site: "shop".into(), token_hash: token.map(hash), new_token_hash: hash(new) };
    match world.hub.webchat(ask).await.expect("answered") {
        WebchatReply::Visitor { visitor, is_new, .. } => (visitor, is_new),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_visitor_is_known_by_their_token_and_by_nothing_else() {
    let world = World::new().await;
    let (anna, is_new) = visit(&world, None, "first").await;
    assert!(is_new);
    assert_eq!(visit(&world, Some("first"), "second").await, (anna, false));
    assert_eq!(visit(&world, None, "first").await, (anna, true), "the same question again");
    let (other, is_new) = visit(&world, Some("unknown"), "third").await;
    assert!(is_new && other != anna);
    let of = |site: &str, token: &str| WebchatAsk::Visitor { site: site.into(), token_hash: hash(token) };
    let known = world.hub.webchat(of("shop", "first")).await.expect("answered");
    assert!(matches!(known, WebchatReply::Visitor { visitor, is_new: false, .. } if visitor == anna));
    for (site, token) in [("shop", "second"), ("elsewhere", "first"), ("shop", "")] {
        let answer = world.hub.webchat(of(site, token)).await.expect("answered");
        assert_eq!(answer, WebchatReply::Unknown, "{site} {token}");
    }
    let bad = WebchatAsk::Visit { site: "shop".into(), token_hash: None, new_token_hash: "plain".into() };
    assert_eq!(world.hub.webchat(bad).await.expect("answered"), WebchatReply::Unknown);
}

#[tokio::test]
async fn history_is_the_visitors_own_conversation_without_notes() {
    let world = World::new().await;
    let (visitor, _) = visit(&world, None, "first").await;
    let ask =
        |visitor, after_seq| WebchatAsk::History { site: "shop".into(), visitor, after_seq, thread: None };
    let empty = world.hub.webchat(ask(visitor, 0)).await.expect("answered");
    assert_eq!(
        empty,
        WebchatReply::History {
            messages: vec![],
            more: false,
            up_to_seq: None,
            thread: None,
            answering: None
        }
    );
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    let agent = world.employed("Bram", Role::Agent).await;
    world.hub.note(&agent, gast.thread, "Geheim", None).await.expect("noted");
    for n in 0..101 {
        world.says(&agent, gast, &format!("Dag {n}")).await;
    }
    let WebchatReply::History { messages, more, up_to_seq, answering, .. } =
        world.hub.webchat(ask(visitor, 0)).await.expect("answered")
    else {
        panic!("no history")
    };
    assert_eq!((messages.len(), more), (100, true));
    let json = serde_json::to_string(&messages).expect("JSON");
    assert!(!json.contains("Geheim"));
    assert!(!json.contains(&agent.id()), "who of us wrote it is shown by name only");
    assert_eq!(messages[0].author.name.as_deref(), Some("Bram"));
    let last = messages[99].seq;
    assert_eq!(up_to_seq, Some(last));
    assert_eq!(answering, Some(Answering { holder: Holder::Agent, name: Some("Bram".to_owned()) }));
    let WebchatReply::History { messages, more, .. } =
        world.hub.webchat(ask(visitor, last)).await.expect("answered")
    else {
        panic!("no history")
    };
    assert_eq!((messages.len(), more), (1, false));
    assert!(messages[0].seq > last);
    let stranger = world.hub.webchat(ask(world.clock.id(), 0)).await.expect("answered");
    assert_eq!(stranger, WebchatReply::Unknown);
    // Somebody of another channel is nobody's visitor.
    world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000005")).await;
}

#[tokio::test]
async fn news_name_the_visitors_in_whose_threads_something_changed() {
    let world = World::new().await;
    let agent = world.agent();
    let ask = async |after| match world.hub.webchat(WebchatAsk::News { after }).await.expect("answered") {
        WebchatReply::News { visitors, up_to, more } => (visitors, up_to, more),
        other => panic!("{other:?}"),
    };
    let mut guests = Vec::new();
    for token in ["first", "second"] {
        let (visitor, _) = visit(&world, None, token).await;
        let handle = Handle::new(HandleKind::Visitor, visitor.to_string());
        guests.push((visitor, world.customer(&site(), handle).await));
    }
    world.number().await;
    let (visitors, head, more) = ask(None).await;
    assert_eq!((visitors, more), (vec![], false), "the first question only tells where the log is");
    assert_eq!(ask(Some(head)).await, (vec![], head, false));
    world.hub.note(&agent, guests[0].1.thread, "Geheim", None).await.expect("noted");
    world.says(&agent, guests[1].1, "Dag").await;
    world.says(&agent, guests[1].1, "Nog eens").await;
    world.number().await;
    let (visitors, up_to, more) = ask(Some(head)).await;
    assert_eq!((visitors, more), (vec![guests[1].0], false), "a note is no news for a visitor");
    assert!(up_to > head);
    assert_eq!(ask(Some(up_to + 7)).await, (vec![], up_to, false), "a place of another log");
}

#[tokio::test]
async fn a_message_that_was_taken_back_is_told_again_to_who_has_it() {
    let world = World::new().await;
    let (visitor, _) = visit(&world, None, "first").await;
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    let message = world.says(&world.agent(), gast, "Te snel").await;
    world.says(&world.agent(), gast, "Sorry").await;
    let history = async |after_seq| {
        let ask = WebchatAsk::History { site: "shop".into(), visitor, after_seq, thread: None };
        match world.hub.webchat(ask).await.expect("answered") {
            WebchatReply::History { messages, up_to_seq, .. } => (messages, up_to_seq.expect("told")),
            other => panic!("{other:?}"),
        }
    };
    let (_, shown) = history(0).await;
    assert_eq!(history(shown).await, (vec![], shown));
    world.run("UPDATE messages SET external_id = 'ours' WHERE content LIKE '%Te snel%'").await;
    let fact = RevokeFact { external_id: None, target: "ours".into(), outgoing: true };
    let now = world.clock.now();
    let customer = Customer {
        handles: vec![Handle::new(HandleKind::Visitor, visitor.to_string())],
        ..Customer::default()
    };
    let event = InboundEvent {
        v: INBOUND_VERSION,
        channel: site(),
        customer: Some(customer),
        at: now,
        at_is_arrival: false,
        received_at: now,
        standby: false,
        opens_window: None,
        fact: Fact::Revoke(fact),
    };
    let mut tx = world.hub.inner().store.begin().await.expect("a transaction");
    crate::ingest::apply(&mut tx, &world.hub.inner().house, &[event]).await.expect("applied");
    tx.commit().await.expect("committed");
    let (messages, after) = history(shown).await;
    assert_eq!(messages.iter().map(|message| message.id).collect::<Vec<_>>(), [message.id]);
    assert!(messages[0].revoked_at.is_some() && messages[0].content.text.is_none());
    assert!(after > shown);
    assert_eq!(history(after).await, (vec![], after), "once");
}

#[tokio::test]
async fn a_visitors_typing_is_somebodys_in_a_thread() {
    let world = World::new().await;
    let (visitor, _) = visit(&world, None, "first").await;
    let typing = |site: &str| LiveSignal::VisitorTyping { site: site.into(), visitor, on: true };
    assert_eq!(world.hub.hear(typing("shop")).await, None, "they wrote nothing yet");
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    let shown = LiveSignal::Typing { thread_id: gast.thread, agent_id: None, on: true };
    assert_eq!(world.hub.hear(typing("shop")).await, Some(shown));
    assert_eq!(world.hub.hear(typing("elsewhere")).await, None);
}

#[tokio::test]
async fn a_visitor_is_answered_over_the_bus() {
    let world = World::new().await;
    let tasks = loket_backbone::tasks::Tasks::new();
    world.hub.start(&tasks);
    let (visitor, _) = visit(&world, None, "first").await;
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    let asked = WebchatAsk::Visitor { site: "shop".into(), token_hash: hash("first") };
    let answer: WebchatReply =
        world.wire.ask(&WEBCHAT, &asked, std::time::Duration::from_secs(5)).await.expect("answered");
    assert!(matches!(answer, WebchatReply::Visitor { thread_id: Some(id), .. } if id == gast.thread));
    assert!(tasks.stop(std::time::Duration::from_secs(10)).await);
}

//! What becomes of a send: claims, reports, lost answers, retries, held accounts.

use loket_protocol::channel::ChannelHealth;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::{MessageStatus, ProviderStatus, SendClass};
use loket_protocol::event::EventType;
use loket_protocol::ids::MessageId;
use loket_protocol::inbound::StatusFact;
use loket_protocol::outbound::{ClaimAnswer, Dispatch, Outcome};

use super::world::{DAY_MS, World, messenger, picture, says, status, whatsapp};
use crate::requests::NewReply;
use crate::settings::UnconfirmedPolicy;
use crate::standing::PartState;
use crate::{Decision, HubError};

fn lost() -> Outcome {
    Outcome::Unconfirmed { why: "the connection broke".to_owned() }
}

async fn shown(world: &World, id: MessageId) -> MessageStatus {
    world.message(id).await.status.expect("an outgoing message has one")
}

#[tokio::test]
async fn sent_tells_once_and_a_repeat_changes_nothing() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    assert_eq!(shown(&world, message.id).await, MessageStatus::Sending);
    for _ in 0..3 {
        world.sent(dispatch, "wamid.1").await;
    }
    assert_eq!(shown(&world, message.id).await, MessageStatus::Sent);
    assert_eq!(world.told(anna.thread).await.iter().filter(|k| **k == EventType::MessageSent).count(), 1);
    assert_eq!(world.claim(dispatch, "a lease").await, ClaimAnswer::Refused);
    world.later(700_000);
    world.dispatch().await;
    assert!(world.published().await.is_empty());
    world.is_sound().await;
}

#[tokio::test]
async fn a_claim_is_one_leases_and_survives_a_lost_answer() {
    let world = World::new().await;
    let anna = world.anna().await;
    world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.next().await;
    let parallel = futures_util::future::join_all((0..32).map(|n| {
        let world = &world;
        async move { world.claim(dispatch, &format!("lease {n}")).await }
    }));
    let granted: Vec<usize> = parallel
        .await
        .into_iter()
        .enumerate()
        .filter(|(_, answer)| *answer == ClaimAnswer::Granted)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(granted.len(), 1);
    let winner = format!("lease {}", granted[0]);
    assert_eq!(world.claim(dispatch, &winner).await, ClaimAnswer::Granted);
    for other in [Dispatch { number: 2, ..dispatch }, Dispatch { part: 1, ..dispatch }] {
        assert_eq!(world.claim(other, &winner).await, ClaimAnswer::Refused);
    }
    assert_eq!(world.claim(dispatch, "").await, ClaimAnswer::Refused);
    world.is_sound().await;
}

#[tokio::test]
async fn what_nobody_claims_is_published_again_and_only_heads_are() {
    let world = World::new().await;
    let anna = world.anna().await;
    let first = world.says(&world.agent(), anna, "Een").await;
    let second = world.says(&world.agent(), anna, "Twee").await;
    let dispatch = world.next().await;
    assert_eq!(dispatch.message_id, first.id);
    world.later(59_000);
    world.dispatch().await;
    assert!(world.published().await.is_empty());
    world.later(2_000);
    assert_eq!(world.next().await, dispatch, "the same dispatch again");
    world.later(61_000);
    world.dispatch().await;
    assert!(world.published().await.is_empty(), "the second wait is twice as long");
    assert_eq!(world.claim(dispatch, "a lease").await, ClaimAnswer::Granted);
    world.sent(dispatch, "wamid.1").await;
    assert_eq!(world.next().await.message_id, second.id);
    world.is_sound().await;
}

#[tokio::test]
async fn other_conversations_never_wait() {
    let world = World::new().await;
    let anna = world.anna().await;
    let bert = world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000009")).await;
    world.says(&world.agent(), anna, "Een").await;
    let stuck = world.claimed().await;
    world.says(&world.agent(), bert, "Twee").await;
    world.says(&world.agent(), anna, "Drie").await;
    let other = world.claimed().await;
    assert_ne!(other.message_id, stuck.message_id);
    world.sent(other, "wamid.2").await;
    world.dispatch().await;
    assert!(world.published().await.is_empty(), "Anna's second waits for her first");
    world.is_sound().await;
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_as_a_new_dispatch_and_never_after_its_time() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let first = world.claimed().await;
    world.not_sent(first, SendClass::Retry).await;
    let shown_now = world.message(message.id).await;
    assert_eq!(shown_now.status, Some(MessageStatus::Sending), "what is shown does not step back");
    assert_eq!(shown_now.status_detail.expect("a detail")["sentence"], "The provider is busy.");
    world.later(301_000);
    let second = world.claimed().await;
    assert_eq!(second, Dispatch { number: 2, ..first });
    // A late word about the first dispatch.
    world.report(first, Outcome::Failed { code: None, subcode: None, sentence: "Old".into() }).await;
    assert_eq!(world.part(first).await.standing.state, PartState::Sending);
    world.later(u64::try_from(DAY_MS).expect("positive"));
    world.not_sent(second, SendClass::Retry).await;
    let message = world.message(message.id).await;
    assert_eq!(message.status, Some(MessageStatus::Failed));
    let events = world.events(anna.thread).await;
    let failed = events.iter().find(|event| event.kind == EventType::MessageFailed).expect("told");
    assert_eq!(failed.data["error"]["provider_code"], 2);
    assert!(
        failed.data["error"]["sentence"].as_str().expect("a sentence").starts_with("The provider is busy.")
    );
    world.is_sound().await;
}

#[tokio::test]
async fn a_few_tries_are_three_and_a_final_refusal_is_at_once() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    for n in 1..=4 {
        assert_ne!(shown(&world, message.id).await, MessageStatus::Failed, "try {n}");
        let dispatch = world.claimed().await;
        world.not_sent(dispatch, SendClass::RetryFew).await;
        world.later(301_000);
    }
    assert_eq!(shown(&world, message.id).await, MessageStatus::Failed);
    let next = world.says(&world.agent(), anna, "Nog eens").await;
    let dispatch = world.claimed().await;
    let sentence = "This number is not on WhatsApp.".to_owned();
    world.report(dispatch, Outcome::Failed { code: Some(131_026), subcode: None, sentence }).await;
    let next = world.message(next.id).await;
    assert_eq!(next.status, Some(MessageStatus::Failed));
    let detail = next.status_detail.expect("a detail");
    assert_eq!(detail["sentence"], "This number is not on WhatsApp.");
    assert_eq!(detail["errors"][0]["code"], 131_026);
    // The conversation goes on.
    world.says(&world.agent(), anna, "En nu").await;
    world.claimed().await;
    world.is_sound().await;
}

#[tokio::test]
async fn a_recipient_waits_alone_and_an_account_waits_as_a_whole() {
    let world = World::new().await;
    let anna = world.anna().await;
    let bert = world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000009")).await;
    world.says(&world.agent(), anna, "Een").await;
    let to_anna = world.claimed().await;
    world.not_sent(to_anna, SendClass::PacePair).await;
    world.says(&world.agent(), bert, "Twee").await;
    let to_bert = world.claimed().await;
    let asked = Outcome::NotSent {
        class: SendClass::PaceAccount,
        code: Some(130_429),
        subcode: None,
        retry_after_ms: Some(20_000),
        sentence: "Too fast.".into(),
    };
    world.report(to_bert, asked).await;
    world.later(5_000);
    let page = world.customer(&messenger(), Handle::new(HandleKind::Psid, "7001")).await;
    world.says(&world.agent(), page, "Elders").await;
    let elsewhere = world.claimed().await;
    assert_eq!(world.part(elsewhere).await.channel, messenger(), "only the other account goes on");
    world.later(16_000);
    world.dispatch().await;
    assert_eq!(world.published().await.len(), 2, "both wait no longer");
    world.is_sound().await;
}

#[tokio::test]
async fn a_broken_account_holds_its_queue_fails_nothing_and_recovers_by_itself() {
    let world = World::new().await;
    let anna = world.anna().await;
    let bert = world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000009")).await;
    let first = world.says(&world.agent(), anna, "Een").await;
    let dispatch = world.claimed().await;
    world.says(&world.agent(), bert, "Twee").await;
    world.not_sent(dispatch, SendClass::Configuration).await;
    let channel = &world.hub.channels().await.expect("channels")[2];
    assert_eq!((channel.health, channel.queued), (ChannelHealth::Reauthorise, 2));
    assert_eq!(channel.sentence.as_deref(), Some("The provider is busy."));
    assert!(world.told(anna.thread).await.contains(&EventType::ChannelReauthorise));
    world.later(1_000);
    world.dispatch().await;
    assert!(world.published().await.is_empty(), "held");
    // Days later, still nothing has failed; one message at a time tries.
    for _ in 0..4 {
        world.later(24 * 3_600_000);
        let trial = world.claimed().await;
        world.not_sent(trial, SendClass::Configuration).await;
    }
    assert_eq!(shown(&world, first.id).await, MessageStatus::Sending);
    world.later(301_000);
    let trial = world.claimed().await;
    world.sent(trial, "wamid.1").await;
    let channel = &world.hub.channels().await.expect("channels")[2];
    assert_eq!((channel.health, channel.sentence.as_deref()), (ChannelHealth::Connected, None));
    assert!(world.told(anna.thread).await.contains(&EventType::ChannelRecovered));
    world.claimed().await;
    world.is_sound().await;
}

#[tokio::test]
async fn a_silent_sender_leaves_a_message_unconfirmed_and_a_status_settles_it() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    world.later(31_000);
    world.dispatch().await;
    assert_eq!(shown(&world, message.id).await, MessageStatus::Unconfirmed);
    assert!(!world.told(anna.thread).await.contains(&EventType::MessageUnconfirmed), "it may still settle");
    let fact =
        StatusFact { outbox_id: Some(dispatch.outbox_id()), ..status("wamid.1", ProviderStatus::Delivered) };
    let at = world.clock.now().as_millis();
    assert_eq!(world.status(&fact, at).await, Some(message.id));
    let message = world.message(message.id).await;
    assert_eq!(message.status, Some(MessageStatus::Delivered));
    assert_eq!(message.external_id.as_deref(), Some("wamid.1"));
    assert_eq!(message.status_detail.as_ref().and_then(|d| d.get("sentence")), None);
    world.later(200_000);
    world.dispatch().await;
    assert_eq!(world.hub.unconfirmed().await.expect("read"), []);
    world.is_sound().await;
}

#[tokio::test]
async fn what_a_person_wrote_is_held_and_the_conversation_flows_on_after_two_minutes() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    let next = world.says(&world.agent(), anna, "Bent u daar?").await;
    world.report(dispatch, lost()).await;
    world.later(119_000);
    world.dispatch().await;
    assert!(world.published().await.is_empty(), "it may settle within two minutes");
    world.later(2_000);
    world.dispatch().await;
    assert_eq!(world.next().await.message_id, next.id);
    assert_eq!(shown(&world, message.id).await, MessageStatus::Unconfirmed);
    let told = world.told(anna.thread).await;
    assert_eq!(told.iter().filter(|kind| **kind == EventType::MessageUnconfirmed).count(), 1);
    let held = world.hub.unconfirmed().await.expect("read");
    assert_eq!((held.len(), held[0].message_id, held[0].held), (1, message.id, true));
    // A late report still counts.
    world.sent(dispatch, "wamid.1").await;
    assert_eq!(shown(&world, message.id).await, MessageStatus::Sent);
    world.is_sound().await;
}

#[tokio::test]
async fn what_a_bot_wrote_is_sent_once_more_and_marked() {
    let world = World::new().await;
    let anna = world.anna().await;
    world.bot_answers(anna).await;
    let message = world.says(&world.bot(), anna, "Piep").await;
    let first = world.claimed().await;
    world.report(first, lost()).await;
    world.later(121_000);
    world.dispatch().await;
    let second = world.claimed().await;
    assert_eq!(second, Dispatch { number: 2, ..first });
    let events = world.events(anna.thread).await;
    let told = events.iter().find(|e| e.kind == EventType::MessageUnconfirmed).expect("told");
    assert_eq!(told.data["message"]["status_detail"]["possible_duplicate"], true);
    // Both copies arrive: both ids hang on the one message.
    world.sent(first, "wamid.1").await;
    world.sent(second, "wamid.2").await;
    let message = world.message(message.id).await;
    assert_eq!(message.status, Some(MessageStatus::Sent));
    assert_eq!(message.external_id.as_deref(), Some("wamid.1"));
    let detail = message.status_detail.expect("a detail");
    assert_eq!(
        (&detail["external_ids"][0], &detail["possible_duplicate"]),
        (&"wamid.2".into(), &true.into())
    );
    let read = world.status(&status("wamid.2", ProviderStatus::Read), 5).await;
    assert_eq!(read, Some(message.id));
    assert_eq!(shown(&world, message.id).await, MessageStatus::Read);
    world.is_sound().await;
}

#[tokio::test]
async fn a_bots_copy_goes_out_once_more_only() {
    let world = World::new().await;
    let anna = world.anna().await;
    world.bot_answers(anna).await;
    world.says(&world.bot(), anna, "Piep").await;
    for _ in 0..2 {
        let dispatch = world.claimed().await;
        world.report(dispatch, lost()).await;
        world.later(121_000);
        world.dispatch().await;
    }
    assert!(world.published().await.is_empty());
    assert!(world.hub.unconfirmed().await.expect("read")[0].held);
    world.is_sound().await;
}

#[tokio::test]
async fn the_setting_can_let_a_persons_words_go_out_again() {
    let world = World::with("memory:", UnconfirmedPolicy::ResendOnce).await;
    let anna = world.anna().await;
    world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    world.report(dispatch, lost()).await;
    world.later(121_000);
    world.dispatch().await;
    assert_eq!(world.next().await.number, 2);
    world.is_sound().await;
}

#[tokio::test]
async fn a_repeat_never_sends_the_part_that_arrived() {
    let world = World::new().await;
    let anna = world.anna().await;
    let new = NewReply { attachments: vec![picture("a")], ..says("Kijk") };
    world.bot_answers(anna).await;
    let message = world.reply(&world.bot(), anna, new).await.expect("accepted");
    let text = world.claimed().await;
    world.sent(text, "wamid.1").await;
    let file = world.claimed().await;
    assert_eq!((text.part, file.part), (0, 1));
    world.report(file, lost()).await;
    assert_eq!(shown(&world, message.id).await, MessageStatus::Unconfirmed);
    world.later(121_000);
    world.dispatch().await;
    let again = world.claimed().await;
    assert_eq!((again.part, again.number), (1, 2));
    world.sent(again, "wamid.2").await;
    assert_eq!(shown(&world, message.id).await, MessageStatus::Sent);
    world.is_sound().await;
}

#[tokio::test]
async fn a_person_decides_what_nobody_knows() {
    for decision in [Decision::Sent("wamid.9".into()), Decision::Resend, Decision::Failed] {
        let world = World::new().await;
        let anna = world.anna().await;
        let agent = world.agent();
        let message = world.says(&agent, anna, "Dag!").await;
        let early = world.hub.resolve_unconfirmed(Some(&agent), message.id, decision.clone()).await;
        assert!(matches!(early, Err(HubError::Conflict(_))));
        let dispatch = world.claimed().await;
        world.report(dispatch, lost()).await;
        world.later(121_000);
        world.dispatch().await;
        world.hub.resolve_unconfirmed(Some(&agent), message.id, decision.clone()).await.expect("decided");
        let now = world.message(message.id).await;
        match decision {
            Decision::Sent(id) => {
                assert_eq!(now.status, Some(MessageStatus::Sent));
                assert_eq!(now.external_id, Some(id));
            }
            Decision::Resend => {
                assert_eq!(world.next().await.number, 2);
                assert_eq!(now.status_detail.expect("a detail")["possible_duplicate"], true);
            }
            Decision::Failed => assert_eq!(now.status, Some(MessageStatus::Failed)),
        }
    }
    let world = World::new().await;
    let unknown = world.hub.resolve_unconfirmed(None, world.clock.id(), Decision::Resend).await;
    assert!(matches!(unknown, Err(HubError::NotFound(_))));
    world.is_sound().await;
}

#[tokio::test]
async fn an_address_that_the_provider_told_is_learnt_unless_it_is_somebodys() {
    let world = World::new().await;
    let anna = world.anna().await;
    let theirs = Handle::new(HandleKind::Bsuid, "NL.1");
    world.customer(&whatsapp(), theirs.clone()).await;
    world.says(&world.agent(), anna, "Dag!").await;
    let dispatch = world.claimed().await;
    let learnt = vec![Handle::new(HandleKind::Bsuid, "NL.2"), theirs];
    world.report(dispatch, Outcome::Sent { external_id: "wamid.1".into(), learnt }).await;
    world.says(&world.agent(), anna, "Nog iets").await;
    world.dispatch().await;
    let to = world.published().await.remove(0).to;
    assert_eq!(to, [Handle::new(HandleKind::Bsuid, "NL.2"), Handle::new(HandleKind::Phone, "31600000001")]);
    world.is_sound().await;
}

#[tokio::test]
async fn a_damaged_row_fails_alone_and_the_others_go_on() {
    let world = World::new().await;
    let anna = world.anna().await;
    let message = world.says(&world.agent(), anna, "Stuk").await;
    world.run("UPDATE outbound SET payload = '{'").await;
    let bert = world.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000009")).await;
    let next = world.says(&world.agent(), bert, "Heel").await;
    let dispatch = world.claimed().await;
    assert_eq!(dispatch.message_id, next.id);
    let broken = world.message(message.id).await;
    assert_eq!(broken.status, Some(MessageStatus::Failed));
    assert!(broken.status_detail.expect("a detail")["sentence"].as_str().expect("words").contains("damaged"));
    let verdict = world.hub.verify().await.expect("verified");
    assert!(verdict.findings.iter().any(|finding| finding.sentence.contains(&message.id.to_string())));
}

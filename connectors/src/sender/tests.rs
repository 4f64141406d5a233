//! On a real bus, with the hub's side of claims scripted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::ids::MessageId;
use loket_protocol::message::Content;
use loket_protocol::outbound::Dispatch;

use super::*;
use crate::channel::{Pace, SendError, Taken};
use crate::testing::{Ground, Scripted, account, eventually};

/// The hub's side: answers claims as told and remembers them.
struct Claims {
    asked: Arc<Mutex<Vec<Claim>>>,
}

impl Claims {
    fn answer(
        ground: &Ground,
        tasks: &Tasks,
        verdict: impl Fn(usize) -> Option<ClaimAnswer> + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Claim>>> = Arc::default();
        let (wire, seen, stop) = (ground.wire.clone(), Arc::clone(&asked), tasks.stop_sign());
        tasks.spawn("hub", async move {
            loop {
                let questions = tokio::select! {
                    () = stop.cancelled() => return,
                    questions = wire.questions(&CLAIMS, 16) => questions.unwrap(),
                };
                for question in questions {
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(Wire::read(question.as_ref()).unwrap());
                        seen.len()
                    };
                    if let Some(answer) = verdict(number) {
                        Wire::reply(question, &answer).await.unwrap();
                    }
                }
            }
        });
        Self { asked }
    }

    fn grant_all(ground: &Ground, tasks: &Tasks) -> Self {
        Self::answer(ground, tasks, |_| Some(ClaimAnswer::Granted))
    }

    fn asked(&self) -> Vec<Claim> {
        self.asked.lock().unwrap().clone()
    }
}

fn message(ground: &Ground, to: &str) -> OutboundMessage {
    OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id: ground.clock.id::<MessageId>(), part: 0, number: 1 },
        channel: account(),
        to: vec![Handle::new(HandleKind::Phone, to)],
        content: Content::text("hello"),
        attachment: None,
        reply_to: None,
        written_by_person: true,
        window_closes_at: None,
    }
}

async fn publish(ground: &Ground, message: &OutboundMessage) {
    let id = message.dispatch.outbox_id();
    let item = Wire::item(id.clone(), message.lane(), id, message).unwrap();
    ground.wire.publish(&OUTBOUND, &[item]).await.unwrap();
}

async fn reports(ground: &Ground, many: usize) -> Vec<SendReport> {
    let reports = eventually("reports", async || {
        let reports: Vec<SendReport> = ground.waiting(&REPORTS).await;
        (reports.len() >= many).then_some(reports)
    })
    .await;
    assert_eq!(reports.len(), many);
    reports
}

async fn all_acknowledged(ground: &Ground) {
    eventually("the acknowledgement", async || (ground.depth(&OUTBOUND).await == 0).then_some(())).await;
}

/// Sends one message and answers its report.
async fn outcome_of(scripted: Scripted) -> Outcome {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    start(&scripted.shared().1, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    let report = reports(&ground, 1).await.remove(0);
    all_acknowledged(&ground).await;
    assert!(tasks.stop(Duration::from_secs(5)).await);
    report.outcome
}

#[tokio::test]
async fn a_claimed_message_is_sent_once_and_reported() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    let claims = Claims::grant_all(&ground, &tasks);
    let (channel, channels) = Scripted::default().shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    let message = message(&ground, "31600000042");
    publish(&ground, &message).await;
    let report = reports(&ground, 1).await.remove(0);
    assert_eq!(report.dispatch, message.dispatch);
    let external_id = format!("sent:{}", message.dispatch.outbox_id());
    assert_eq!(report.outcome, Outcome::Sent { external_id, learnt: Vec::new() });
    all_acknowledged(&ground).await;
    assert_eq!(*channel.sent.lock().unwrap(), std::slice::from_ref(&message));
    let asked = claims.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].dispatch, message.dispatch);
    assert!(asked[0].nonce.len() == 32 && asked[0].nonce.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[tokio::test]
async fn a_refused_claim_is_forgotten_and_every_lease_has_its_own_nonce() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    let claims = Claims::answer(&ground, &tasks, |number| {
        Some(if number == 1 { ClaimAnswer::Granted } else { ClaimAnswer::Refused })
    });
    let (channel, channels) = Scripted::default().shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    let message = message(&ground, "31600000042");
    // The dispatcher may publish the same dispatch twice after a crash.
    publish(&ground, &message).await;
    publish(&ground, &message).await;
    eventually("two claims", async || (claims.asked().len() == 2).then_some(())).await;
    all_acknowledged(&ground).await;
    assert_eq!(channel.sent.lock().unwrap().len(), 1);
    reports(&ground, 1).await;
    let nonces: BTreeSet<String> = claims.asked().into_iter().map(|claim| claim.nonce).collect();
    assert_eq!(nonces.len(), 2);
}

#[tokio::test]
async fn a_lost_answer_is_asked_again_with_the_same_nonce() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    let claims = Claims::answer(&ground, &tasks, |number| (number > 1).then_some(ClaimAnswer::Granted));
    let (channel, channels) = Scripted::default().shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    reports(&ground, 1).await;
    let asked = claims.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
    assert_eq!(channel.sent.lock().unwrap().len(), 1);
}

/// Somebody else may have the claim: whoever got no answer can say nothing about the dispatch.
#[tokio::test]
async fn without_an_answer_nothing_is_sent_and_nothing_reported() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    let claims = Claims::answer(&ground, &tasks, |_| None);
    let (channel, channels) = Scripted::default().shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    let asked = eventually("three claims", async || {
        let asked = claims.asked();
        (asked.len() >= 3).then_some(asked)
    })
    .await;
    assert!(asked.iter().all(|claim| *claim == asked[0]), "it is asked with the same nonce: {asked:?}");
    assert!(channel.sent.lock().unwrap().is_empty());
    assert_eq!(ground.depth(&REPORTS).await, 0);
    assert_eq!(ground.depth(&OUTBOUND).await, 1);
}

#[tokio::test]
async fn each_way_of_failing_is_reported_as_what_it_is() {
    let failing =
        |error: SendError| Scripted { send: Box::new(move |_| Err(error.clone())), ..Scripted::default() };
    let not_sent = |class| SendError::NotSent {
        class,
        code: Some(131_056),
        subcode: None,
        retry_after_ms: Some(7),
        sentence: "wait".to_owned(),
    };
    let outcome = outcome_of(failing(not_sent(SendClass::PacePair))).await;
    assert!(matches!(
        outcome,
        Outcome::NotSent { class: SendClass::PacePair, code: Some(131_056), retry_after_ms: Some(7), .. }
    ));
    let outcome = outcome_of(failing(not_sent(SendClass::Final))).await;
    assert!(matches!(outcome, Outcome::Failed { code: Some(131_056), .. }), "{outcome:?}");
    let outcome = outcome_of(failing(SendError::Unconfirmed("reset".to_owned()))).await;
    assert_eq!(outcome, Outcome::Unconfirmed { why: "reset".to_owned() });
    let panicking = Scripted { send: Box::new(|_| panic!("on purpose")), ..Scripted::default() };
    let outcome = outcome_of(panicking).await;
    assert!(matches!(outcome, Outcome::Unconfirmed { .. }), "{outcome:?}");
}

#[tokio::test]
async fn who_is_too_fast_is_given_back_with_a_time_and_blocks_nobody() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    let pace = Pace { account_per_second: 1000.0, pair_burst: 1, pair_per_second: 0.01 };
    let (channel, channels) = Scripted { pace, ..Scripted::default() }.shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    for _ in 0..2 {
        publish(&ground, &message(&ground, "31600000042")).await;
    }
    publish(&ground, &message(&ground, "31600000043")).await;
    let reports = reports(&ground, 3).await;
    let waits: Vec<u64> = reports
        .iter()
        .filter_map(|report| match &report.outcome {
            Outcome::NotSent { class: SendClass::PacePair, retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 1, "{reports:?}");
    assert!((90_000..=150_000).contains(&waits[0]), "{waits:?}");
    assert_eq!(channel.sent.lock().unwrap().len(), 2);
    all_acknowledged(&ground).await;
}

#[tokio::test]
async fn a_provider_that_asks_to_slow_down_holds_its_account() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    let busy = |_: &OutboundMessage| -> Result<Taken, SendError> {
        Err(SendError::NotSent {
            class: SendClass::PaceAccount,
            code: Some(130_429),
            subcode: None,
            retry_after_ms: Some(60_000),
            sentence: "busy".to_owned(),
        })
    };
    let (channel, channels) = Scripted { send: Box::new(busy), ..Scripted::default() }.shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    reports(&ground, 1).await;
    publish(&ground, &message(&ground, "31600000043")).await;
    let second = reports(&ground, 2).await.remove(1);
    let Outcome::NotSent { class: SendClass::PaceAccount, retry_after_ms: Some(wait), code: None, .. } =
        second.outcome
    else {
        panic!("{second:?}")
    };
    assert!((50_000..=95_000).contains(&wait), "{wait}");
    assert_eq!(channel.sent.lock().unwrap().len(), 1, "the provider is left alone");
}

#[tokio::test]
async fn a_send_under_way_is_finished_and_reported_when_the_process_stops() {
    let ground = Ground::new().await;
    let (tasks, hub) = (Tasks::new(), Tasks::new());
    Claims::grant_all(&ground, &hub);
    let scripted = Scripted { send_time: Duration::from_millis(300), ..Scripted::default() };
    let (channel, channels) = scripted.shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    eventually("the request", async || (!channel.sent.lock().unwrap().is_empty()).then_some(())).await;
    assert!(tasks.stop(Duration::from_secs(15)).await);
    let reports = reports(&ground, 1).await;
    assert!(matches!(reports[0].outcome, Outcome::Sent { .. }), "{reports:?}");
    publish(&ground, &message(&ground, "31600000043")).await;
    assert_eq!(ground.depth(&OUTBOUND).await, 1, "nothing is leased any more");
}

#[tokio::test]
async fn a_channel_that_is_not_configured_holds_its_queue() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    start(&[], ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    publish(&ground, &message(&ground, "31600000042")).await;
    let report = reports(&ground, 1).await.remove(0);
    assert!(matches!(report.outcome, Outcome::NotSent { class: SendClass::Configuration, .. }), "{report:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_parked_and_the_next_one_is_sent() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    let (channel, channels) = Scripted::default().shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    let junk = Wire::item("1".to_owned(), "a".to_owned(), "t".to_owned(), &"junk").unwrap();
    ground.wire.publish(&OUTBOUND, &[junk]).await.unwrap();
    let newer = OutboundMessage { v: OUTBOUND_VERSION + 1, ..message(&ground, "31600000042") };
    publish(&ground, &newer).await;
    publish(&ground, &message(&ground, "31600000042")).await;
    reports(&ground, 1).await;
    all_acknowledged(&ground).await;
    let parked: Vec<Problem> = ground.waiting(&PARKED).await;
    let reasons: BTreeSet<&str> = parked.iter().map(|problem| problem.reason.as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["unreadable", "version"]));
    assert_eq!(channel.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn hundreds_of_messages_are_each_sent_once() {
    let ground = Ground::new().await;
    let tasks = Tasks::new();
    Claims::grant_all(&ground, &tasks);
    let scripted = Scripted { send_time: Duration::from_millis(5), ..Scripted::default() };
    let (channel, channels) = scripted.shared();
    start(&channels, ground.wire.clone(), ground.kv.clone(), ground.clock.clone(), &tasks);
    let messages: Vec<_> = (0..300).map(|number| message(&ground, &format!("316{number}"))).collect();
    futures_util::future::join_all(messages.iter().map(|message| publish(&ground, message))).await;
    reports(&ground, 300).await;
    let sent: BTreeSet<String> =
        channel.sent.lock().unwrap().iter().map(|message| message.dispatch.outbox_id()).collect();
    assert_eq!(sent.len(), 300);
    assert_eq!(channel.sent.lock().unwrap().len(), 300);
    all_acknowledged(&ground).await;
}

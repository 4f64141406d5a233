//! Who answers: control is handed over, and whoever lost it says nothing more.

use loket_protocol::contact::{Customer as Named, Handle, HandleKind};
use loket_protocol::event::EventType;
use loket_protocol::handoff::{Holder, Successor, Verb, reason};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact};
use loket_protocol::message::Content;
use loket_protocol::thread::{Thread, ThreadStatus};

use super::world::{Customer, World, says, whatsapp};
use crate::requests::{NewHandoff, NewReply, Principal, Written};
use crate::{HandoffSettings, HubError, ingest};

pub(super) fn asks(verb: Verb, epoch: Option<i64>) -> NewHandoff {
    NewHandoff { verb, to: None, epoch, reason: None, summary: None }
}

pub(super) fn bot_first() -> HandoffSettings {
    HandoffSettings { bot_first: true, ..HandoffSettings::default() }
}

impl World {
    pub(super) async fn hands(
        &self,
        by: &Principal,
        of: Customer,
        new: NewHandoff,
    ) -> Result<Thread, HubError> {
        match self.hub.hand_over(by, of.thread, new, None).await? {
            Written::Done(thread) => Ok(thread),
            Written::Replayed { body, .. } => panic!("replayed {body}"),
        }
    }

    pub(super) fn event_of(&self, phone: &str, fact: Fact) -> InboundEvent {
        let now = self.clock.now();
        InboundEvent {
            v: INBOUND_VERSION,
            channel: whatsapp(),
            customer: Some(Named {
                handles: vec![Handle::new(HandleKind::Phone, phone)],
                name: Some("Cas".into()),
                name_is_ours: false,
            }),
            at: now,
            at_is_arrival: false,
            received_at: now,
            standby: false,
            opens_window: Some(true),
            fact,
        }
    }

    pub(super) async fn takes_in(&self, event: InboundEvent) {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        ingest::apply(&mut tx, &self.hub.inner().house, &[event]).await.expect("carried out");
        tx.commit().await.expect("committed");
    }

    /// Somebody writes; the thread is theirs.
    pub(super) async fn writes(&self, phone: &str, text: &str) -> Thread {
        let event = self.event_of(phone, Fact::Message(Self::words(text)));
        self.takes_in(event).await;
        self.thread_of_phone(phone).await
    }

    pub(super) fn words(text: &str) -> MessageFact {
        MessageFact {
            external_id: Some(format!("wamid.{}", loket_backbone::random::hex::<8>())),
            content: Content::text(text),
            ..MessageFact::default()
        }
    }

    pub(super) async fn thread_of_phone(&self, phone: &str) -> Thread {
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        let row = crate::store::sql(
            "SELECT t.id AS thread FROM handles h JOIN identities i ON i.id = h.identity_id \
             JOIN threads t ON t.contact_id = i.contact_id WHERE h.value = $1",
        )
        .bind(phone)
        .first(&mut reader)
        .await
        .expect("read")
        .expect("there");
        let id = row.parsed("thread").expect("an id");
        drop(reader);
        self.hub.thread(&self.agent(), id).await.expect("a thread")
    }
}

fn lost<T: std::fmt::Debug>(outcome: Result<T, HubError>) -> i64 {
    match outcome {
        Err(HubError::ControlLost(control)) => control.epoch,
        other => panic!("not refused as lost: {other:?}"),
    }
}

const CAS: &str = "31600000077";

fn of(thread: &Thread) -> Customer {
    Customer { thread: thread.id, identity: thread.contact.identities[0].id }
}

#[tokio::test]
async fn a_case_begins_with_who_answers_first() {
    let world = World::new().await;
    let thread = world.writes(CAS, "Hoi").await;
    assert_eq!((thread.control.holder, thread.control.epoch), (Holder::Waiting, 1));
    assert_eq!(thread.control.reason, reason::OPENED);
    assert!(thread.waiting_since.is_some());
    let events = world.events(thread.id).await;
    let opened = events.iter().find(|event| event.kind == EventType::ThreadOpened).expect("told");
    assert_eq!(opened.data["control"]["holder"], "waiting");
    // The next message begins nothing anew.
    world.later(4_000);
    let again = world.writes(CAS, "Hallo?").await;
    assert_eq!((again.control.epoch, again.waiting_since), (1, thread.waiting_since));
    world.is_sound().await;

    let world = World::handing(bot_first()).await;
    let thread = world.writes(CAS, "Hoi").await;
    assert_eq!((thread.control.holder, thread.control.epoch), (Holder::Bot, 1));
    let by = world.agent();
    world.hub.resolve(&by, thread.id, None, None).await.expect("resolved");
    assert_eq!(world.thread_of_phone(CAS).await.waiting_since, None, "nobody waits in what is resolved");
    let next = world.writes(CAS, "Nog iets").await;
    assert_eq!((next.control.holder, next.control.epoch), (Holder::Bot, 2), "each case begins anew");
    // What comes late is for a person: nobody answers it by itself.
    world.hub.resolve(&by, thread.id, None, None).await.expect("resolved");
    let mut late = world.event_of(CAS, Fact::Message(World::words("Van gisteren")));
    late.received_at = late.at.plus_millis(6 * 60_000);
    world.takes_in(late).await;
    let late = world.thread_of_phone(CAS).await;
    assert_eq!((late.status, late.control.holder), (ThreadStatus::Open, Holder::Waiting));
    assert_eq!(late.waiting_since, None, "and starts no clock");
    world.is_sound().await;
}

#[tokio::test]
async fn control_goes_round_and_every_step_is_told_and_repeats_are_known() {
    let world = World::handing(bot_first()).await;
    let bram = world.employed("Bram", loket_protocol::agent::Role::Agent).await;
    let carla = world.employed("Carla", loket_protocol::agent::Role::Agent).await;
    let cas = of(&world.writes(CAS, "Hoi").await);
    let bot = world.bot();
    world.says(&bot, cas, "Dag! Ik ben een bot.").await;
    assert_eq!(world.thread_of_phone(CAS).await.waiting_since, None, "the bot has answered");
    let handing = NewHandoff {
        reason: Some("unsure".into()),
        summary: Some("Vraagt naar pakket 3S42.".into()),
        ..asks(Verb::Pass, Some(1))
    };
    let thread = world.hands(&bot, cas, handing.clone()).await.expect("passed");
    assert_eq!((thread.control.holder, thread.control.epoch), (Holder::Waiting, 2));
    assert_eq!(thread.control.summary.as_deref(), Some("Vraagt naar pakket 3S42."));
    assert!(thread.waiting_since.is_some(), "from now on they wait for a person");
    // The same again, as after a lost answer.
    assert_eq!(world.hands(&bot, cas, handing).await.expect("known").control, thread.control);
    assert_eq!(lost(world.reply(&bot, cas, NewReply { epoch: Some(1), ..says("Nog iets") }).await), 2);

    // Bram takes it and passes it to Carla, who accepts.
    let taken = world.hands(&bram, cas, asks(Verb::Take, None)).await.expect("taken");
    assert_eq!((taken.control.agent_id, taken.control.epoch), (bram.agent(), 3));
    assert_eq!(taken.assignee, bram.agent());
    assert_eq!(taken.control.summary, thread.control.summary, "what the bot said stays with it");
    let to_carla = NewHandoff { to: carla.agent().map(Successor::Agent), ..asks(Verb::Pass, Some(3)) };
    let passed = world.hands(&bram, cas, to_carla).await.expect("passed");
    assert_eq!((passed.control.holder, passed.control.offered_to), (Holder::Waiting, carla.agent()));
    let not_his = world.hands(&bram, cas, asks(Verb::Accept, Some(4))).await;
    assert!(matches!(not_his, Err(HubError::Conflict(_))), "{not_his:?}");
    for _ in 0..2 {
        let hers = world.hands(&carla, cas, asks(Verb::Accept, Some(4))).await.expect("accepted");
        assert_eq!((hers.control.agent_id, hers.control.epoch), (carla.agent(), 5));
        assert_eq!((hers.control.offered_to, hers.assignee), (None, carla.agent()));
    }
    assert_eq!(lost(world.hands(&bram, cas, asks(Verb::Release, Some(3))).await), 5);
    let back = world.hands(&carla, cas, asks(Verb::Release, Some(5))).await.expect("released");
    assert_eq!((back.control.holder, back.control.epoch), (Holder::Bot, 6));
    assert_eq!(back.control.summary, None);
    let told: Vec<EventType> = world.told(cas.thread).await;
    let control: Vec<&str> =
        told.iter().map(|kind| kind.as_str()).filter(|name| name.starts_with("control.")).collect();
    assert_eq!(
        control,
        ["control.requested", "control.accepted", "control.passed", "control.accepted", "control.released"]
    );
    let requested = world.events(cas.thread).await;
    let requested = requested.iter().find(|event| event.kind == EventType::ControlRequested).expect("told");
    assert_eq!(requested.data["from"]["holder"], "bot");
    assert_eq!(requested.data["to"]["holder"], "waiting");
    assert_eq!((&requested.data["epoch"], &requested.data["reason"]), (&2.into(), &"unsure".into()));
    assert_eq!(requested.data["by"]["type"], "bot");
    world.is_sound().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_a_reason() {
    let world = World::new().await;
    let cas = of(&world.writes(CAS, "Hoi").await);
    let bram = world.agent();
    let nobody = NewHandoff { to: Some(Successor::Agent(world.clock.id())), ..asks(Verb::Pass, Some(1)) };
    assert!(matches!(world.hands(&bram, cas, nobody).await, Err(HubError::Invalid { .. })));
    let no_bot = NewHandoff { to: Some(Successor::Bot), ..asks(Verb::Pass, Some(1)) };
    assert!(matches!(world.hands(&bram, cas, no_bot).await, Err(HubError::Invalid { .. })));
    let no_number = world.hands(&bram, cas, asks(Verb::Pass, None)).await;
    assert!(matches!(no_number, Err(HubError::Invalid { ref field, .. }) if field == "epoch"));
    for reason in ["", "Because!", "x".repeat(33).as_str()] {
        let new = NewHandoff { reason: Some(reason.to_owned()), ..asks(Verb::Take, None) };
        assert!(matches!(world.hands(&bram, cas, new).await, Err(HubError::Invalid { .. })), "{reason}");
    }
    let new = NewHandoff { summary: Some("x".repeat(2_001)), ..asks(Verb::Take, None) };
    assert!(matches!(world.hands(&bram, cas, new).await, Err(HubError::Invalid { .. })));
    let bot = world.bot();
    assert!(matches!(world.hands(&bot, cas, asks(Verb::Take, Some(1))).await, Err(HubError::Conflict(_))));
    let silent = world.hub.reply(
        &bot,
        cas.thread,
        NewReply { client_message_id: Some("c".into()), ..says("x") },
        None,
    );
    assert!(matches!(silent.await, Err(HubError::Invalid { ref field, .. }) if field == "epoch"));
    assert_eq!(lost(world.reply(&bot, cas, says("Ik mag niet")).await), 1, "it waits for a person");
}

#[tokio::test]
async fn a_reply_takes_control_and_an_old_number_sends_nothing() {
    let world = World::new().await;
    let cas = of(&world.writes(CAS, "Hoi").await);
    let (bram, carla) = (world.agent(), world.agent());
    world.reply(&bram, cas, NewReply { epoch: Some(1), ..says("Dag") }).await.expect("accepted");
    let thread = world.thread_of_phone(CAS).await;
    assert_eq!((thread.control.agent_id, thread.control.epoch), (bram.agent(), 2));
    assert_eq!((thread.control.reason.as_str(), thread.waiting_since), (reason::REPLIED, None));
    assert_eq!(lost(world.reply(&carla, cas, NewReply { epoch: Some(1), ..says("Ook dag") }).await), 2);
    assert_eq!(world.thread_of_phone(CAS).await.control, thread.control, "refused is refused");
    // Who holds it goes on without a new turn; a colleague who answers takes over.
    world.reply(&bram, cas, NewReply { epoch: Some(2), ..says("Ik kijk") }).await.expect("accepted");
    assert_eq!(world.control(cas).await.epoch, 2);
    world.says(&carla, cas, "Ik weet het").await;
    assert_eq!(world.control(cas).await.agent_id, carla.agent());
    // A program that tells something is no answer.
    let mut program = world.bot();
    program.role = loket_protocol::agent::Role::Integrator;
    world.writes(CAS, "Waar is het?").await;
    world.says(&program, cas, "Uw pakket is verzonden").await;
    let thread = world.thread_of_phone(CAS).await;
    assert_eq!(thread.control.agent_id, carla.agent());
    assert!(thread.waiting_since.is_some());
    assert_eq!(lost(world.reply(&program, cas, NewReply { epoch: Some(1), ..says("x") }).await), 3);
    world.is_sound().await;
}

#[tokio::test]
async fn an_echo_takes_control_unless_it_is_of_long_ago() {
    let world = World::handing(bot_first()).await;
    let cas = of(&world.writes(CAS, "Hoi").await);
    let mut old = world.event_of(CAS, Fact::Echo(World::words("Van vanmorgen")));
    old.at = old.at.plus_millis(-61 * 60_000);
    world.takes_in(old).await;
    assert_eq!(world.control(cas).await.holder, Holder::Bot);
    world.takes_in(world.event_of(CAS, Fact::Echo(World::words("Ik app je even zelf")))).await;
    let thread = world.thread_of_phone(CAS).await;
    assert_eq!((thread.control.holder, thread.control.agent_id), (Holder::Agent, None));
    assert_eq!((thread.control.reason.as_str(), thread.waiting_since), (reason::ECHOED, None));
    assert_eq!(lost(world.reply(&world.bot(), cas, NewReply { epoch: Some(1), ..says("Te laat") }).await), 2);
    // And from there to a colleague here.
    let bram = world.employed("Bram", loket_protocol::agent::Role::Agent).await;
    let taken = world.hands(&bram, cas, asks(Verb::Take, Some(2))).await.expect("taken");
    assert_eq!((taken.control.agent_id, taken.control.epoch), (bram.agent(), 3));
    world.is_sound().await;
}

#[tokio::test]
async fn who_asks_for_a_person_gets_one() {
    let phrases = vec!["bel me terug".to_owned()];
    let world = World::handing(HandoffSettings { phrases, ..bot_first() }).await;
    let button = Content { payload: Some("loket:person".into()), ..Content::text("👤") };
    for (n, content) in [
        Content::text("Kan ik iemand spreken?"),
        Content::text("I want to talk to a human"),
        Content::text("Bel me terug!"),
        button,
    ]
    .into_iter()
    .enumerate()
    {
        let phone = format!("3160000010{n}");
        let cas = of(&world.writes(&phone, "Hoi").await);
        world.says(&world.bot(), cas, "Waarmee kan ik helpen?").await;
        let asks = MessageFact { content, ..World::words("") };
        world.takes_in(world.event_of(&phone, Fact::Message(asks.clone()))).await;
        let thread = world.thread_of_phone(&phone).await;
        assert_eq!((thread.control.holder, thread.control.epoch), (Holder::Waiting, 2), "{n}");
        assert_eq!(thread.control.reason, reason::ASKED);
        assert!(thread.waiting_since.is_some());
        assert_eq!(lost(world.reply(&world.bot(), cas, NewReply { epoch: Some(1), ..says("Eh") }).await), 2);
        // A repeat of the callback, and asking again, change nothing.
        world.takes_in(world.event_of(&phone, Fact::Message(asks))).await;
        assert_eq!(world.writes(&phone, "Mens!").await.control, thread.control);
        let requested = world.told(thread.id).await;
        assert_eq!(requested.iter().filter(|kind| **kind == EventType::ControlRequested).count(), 1);
    }
    // In the very first words; and what is an hour old calls nobody.
    assert_eq!(world.writes("31600000110", "medewerker").await.control.reason, reason::ASKED);
    let cas = of(&world.writes(CAS, "Hoi").await);
    let mut old = world.event_of(CAS, Fact::Message(World::words("medewerker")));
    old.at = old.at.plus_millis(-61 * 60_000);
    world.takes_in(old).await;
    assert_eq!(world.control(cas).await.holder, Holder::Bot);
    world.is_sound().await;
}

/// How often, unless `LOKET_RACES` says otherwise.
fn races() -> u32 {
    std::env::var_os("LOKET_RACES").and_then(|text| text.to_str()?.parse().ok()).unwrap_or(200)
}

/// A bot that answers late against a person who takes over: 10,000 times with `LOKET_RACES=10000`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_and_a_person_never_speak_at_once() {
    let world = World::handing(bot_first()).await;
    let bram = world.employed("Bram", loket_protocol::agent::Role::Agent).await;
    let bot = world.bot();
    let cas = of(&world.writes(CAS, "Hoi").await);
    let (mut before, mut refused) = (0, 0);
    for round in 0..races() {
        let epoch = world.control(cas).await.epoch;
        let speaks = world.reply(&bot, cas, NewReply { epoch: Some(epoch), ..says("Piep") });
        let person = world.hands(&bram, cas, asks(Verb::Take, None));
        let (said, taken) = if round % 2 == 0 {
            tokio::join!(speaks, person)
        } else {
            let (taken, said) = tokio::join!(person, speaks);
            (said, taken)
        };
        let taken = taken.expect("a take wins at once");
        assert_eq!((taken.control.agent_id, taken.control.epoch), (bram.agent(), epoch + 1));
        match said {
            Ok(_) => before += 1,
            Err(HubError::ControlLost(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        // Later still it says nothing, and what it said stands before the turn of the person.
        assert_eq!(
            lost(world.reply(&bot, cas, NewReply { epoch: Some(epoch), ..says("Piep") }).await),
            epoch + 1
        );
        world.hands(&bram, cas, asks(Verb::Release, Some(epoch + 1))).await.expect("given back");
    }
    assert!(before > 0 && refused > 0, "one always won: {before} and {refused}");
    world.is_sound().await;
}

//! `verify`: clean on an installation with one of everything, and each row that is damaged by hand is
//! named.

use loket_backbone::clock::Clock;
use loket_backbone::{bus, kv};
use loket_protocol::contact::{Customer as Named, Handle, HandleKind};
use loket_protocol::delivery::{ProviderStatus, SendClass};
use loket_protocol::ids::VisitorId;
use loket_protocol::inbound::{
    EditFact, Fact, INBOUND_VERSION, InboundEvent, MessageFact, ReactionFact, RevokeFact, StatusFact,
    WatermarkFact,
};
use loket_protocol::message::Content;
use loket_protocol::outbound::Outcome;
use loket_protocol::problem::ParkReason;
use loket_protocol::time::Timestamp;
use loket_protocol::topics::{SUBJECTS, TOPICS};

use super::world::{Customer, World, accounts, picture, says, site, status, whatsapp};
use crate::parked::{Parking, Placeholder, park};
use crate::requests::{Finding, Idempotency, NewAgent, NewReply};
use crate::store::sequencer;
use crate::store::trial::Home;
use crate::{Hub, HubSettings, MasterKey, StoreSettings, Target, ingest};

fn event(world: &World, fact: Fact) -> InboundEvent {
    let handle = Handle::new(HandleKind::Phone, "31600000077");
    let now = world.clock.now();
    InboundEvent {
        v: INBOUND_VERSION,
        channel: whatsapp(),
        customer: Some(Named { handles: vec![handle], name: Some("Cas".into()), name_is_ours: false }),
        at: now,
        at_is_arrival: false,
        received_at: now,
        standby: false,
        opens_window: Some(true),
        fact,
    }
}

fn said(id: &str) -> MessageFact {
    MessageFact { external_id: Some(id.into()), content: Content::text("Hoi"), ..MessageFact::default() }
}

impl World {
    async fn comes(&self, fact: Fact) {
        let events = [event(self, fact)];
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        ingest::apply(&mut tx, &self.hub.inner().house, &events).await.expect("carried out");
        tx.commit().await.expect("committed");
    }

    pub(super) async fn number(&self) {
        // A sequencer that ran here may have the right for ten seconds more.
        self.later(11_000);
        let store = &self.hub.inner().store;
        let mut tx = store.begin().await.expect("a transaction");
        let until = tx.now().plus_millis(1_000);
        let epoch = sequencer::elect(&mut tx, "test", until).await.expect("elected").expect("free");
        tx.commit().await.expect("committed");
        while sequencer::number(store, epoch, 500).await.expect("numbered") != Some(0) {}
    }

    /// Numbers the log and finds nothing wrong.
    pub(super) async fn is_sound(&self) {
        self.number().await;
        let verdict = self.hub.verify().await.expect("verified");
        assert_eq!(verdict.findings, []);
    }

    async fn the_customer(&self) -> Customer {
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        let row = crate::store::sql(
            "SELECT t.id AS thread, i.id AS identity FROM handles h JOIN identities i ON i.id = h.identity_id \
             JOIN threads t ON t.contact_id = i.contact_id WHERE h.value = '31600000077'",
        )
        .first(&mut reader)
        .await
        .expect("read")
        .expect("there");
        Customer {
            thread: row.parsed("thread").expect("an id"),
            identity: row.parsed("identity").expect("an id"),
        }
    }

    async fn parks(&self, key: &str, from: Option<Placeholder>) {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let item = Parking {
            key: key.to_owned(),
            channel_kind: "whatsapp".into(),
            account: Some(whatsapp().account),
            reason: ParkReason::Unknown,
            error: "messages[0]: type \"x\" is unknown".into(),
            source: "callback",
            raw: Some(b"{}".to_vec()),
            received_at: Some(self.clock.now()),
            from,
        };
        park(&mut tx, self.hub.inner(), item).await.expect("parked");
        tx.commit().await.expect("committed");
    }
}

/// One of everything.
async fn full() -> World {
    let world = World::new().await;
    let agent = world.agent();
    world.comes(Fact::Message(said("wamid.in.1"))).await;
    world.comes(Fact::Message(said("wamid.in.1"))).await;
    let mut echo = said("wamid.echo");
    echo.sent_by = Some("phone_app".into());
    world.comes(Fact::Echo(echo)).await;
    let cas = world.the_customer().await;
    let reaction = |target: &str| ReactionFact {
        external_id: None,
        target: target.into(),
        emoji: Some("👍".into()),
        outgoing: false,
    };
    world.comes(Fact::Reaction(reaction("wamid.echo"))).await;
    world
        .comes(Fact::Edit(EditFact {
            external_id: None,
            target: "wamid.in.1".into(),
            content: Content::text("Hallo"),
            attachments: vec![],
            edit_number: Some(1),
            outgoing: false,
        }))
        .await;
    world.comes(Fact::Message(said("wamid.in.2"))).await;
    let revoke = RevokeFact { external_id: None, target: "wamid.in.2".into(), outgoing: false };
    world.comes(Fact::Revoke(revoke)).await;
    world.comes(Fact::Status(status("wamid.unknown", ProviderStatus::Read))).await;

    let pictures = NewReply { attachments: vec![picture("a")], ..says("Kijk") };
    world.reply(&agent, cas, pictures).await.expect("accepted");
    for n in 0..2 {
        let dispatch = world.claimed().await;
        world.sent(dispatch, &format!("wamid.out.{n}")).await;
    }
    for (kind, n) in
        [(ProviderStatus::Sent, 0), (ProviderStatus::Delivered, 0), (ProviderStatus::Delivered, 1)]
    {
        let fact = StatusFact { pricing: vec!["PMP".into()], ..status(&format!("wamid.out.{n}"), kind) };
        world.comes(Fact::Status(fact)).await;
    }
    let answering = NewReply { to: Target::Identity(cas.identity), ..says("Mislukt") };
    world.reply(&agent, cas, answering).await.expect("accepted");
    let dispatch = world.claimed().await;
    world.not_sent(dispatch, SendClass::Final).await;
    world.bot_answers(cas).await;
    world.says(&world.bot(), cas, "Kwijt").await;
    let dispatch = world.claimed().await;
    world.report(dispatch, Outcome::Unconfirmed { why: "reset".into() }).await;
    world.says(&agent, cas, "Wacht").await;
    world.hub.note(&agent, cas.thread, "Let op", None).await.expect("noted");
    let idem = Idempotency {
        method: "POST".into(),
        path: "/v1/notes".into(),
        key: "k".into(),
        fingerprint: "f".into(),
        status: 201,
    };
    world.hub.note(&agent, cas.thread, "Beloofd", Some(idem)).await.expect("noted");
    world.hub.mark_read(&agent, cas.thread, 3).await.expect("marked");

    let visitor: VisitorId = world.clock.id();
    let gast = world.customer(&site(), Handle::new(HandleKind::Visitor, visitor.to_string())).await;
    world.says(&agent, gast, "Dag bezoeker").await;
    let read = WatermarkFact {
        status: ProviderStatus::Read,
        watermark: None,
        external_ids: vec![],
        up_to_seq: Some(2),
    };
    let mut tx = world.hub.inner().store.begin().await.expect("a transaction");
    let at = Timestamp::from_millis(9);
    crate::delivery::apply_watermark(&mut tx, &site(), gast.identity, &read, at, at).await.expect("applied");
    tx.commit().await.expect("committed");

    let from = Placeholder {
        channel: whatsapp(),
        customer: event(&world, Fact::Message(said("x"))).customer.expect("a customer"),
        external_id: Some("wamid.odd".into()),
        at: Some(world.clock.now()),
        received_at: world.clock.now(),
    };
    world.parks("m|whatsapp:15550001|wamid.odd", Some(from)).await;
    world.parks("p|whatsapp:15550001|hash", None).await;
    let new =
        NewAgent { login: "bram".into(), name: "Bram".into(), role: loket_protocol::agent::Role::Agent };
    let created = world.hub.create_agent(None, new, None).await.expect("made");
    let crate::Written::Done(created) = created else { panic!("replayed") };
    world.hub.assign(&agent, cas.thread, Some(created.agent.id), None, None).await.expect("assigned");
    let here = std::net::IpAddr::from([10, 0, 0, 1]);
    world.hub.log_in("bram", &created.password, here).await.expect("logged in");
    world
}

/// What `verify` says of `home` after `damage` was done to it; everything is as it was then.
async fn after(home: &Home, damage: &str, clock: &Clock) -> Vec<Finding> {
    let done = home.damage(damage).await;
    assert!(done > 0 || damage.starts_with("DROP"), "nothing was damaged by {damage}");
    let dir = tempfile::tempdir().expect("a directory");
    let bus_url = format!("embedded:{}?durability=relaxed", dir.path().join("bus").display());
    let bus = bus::open(&bus_url, clock.clone(), TOPICS, SUBJECTS).await.expect("a bus");
    let kv = kv::open("memory:", clock.clone()).expect("a kv");
    let settings = HubSettings { store: StoreSettings { url: home.url() }, ..HubSettings::default() };
    let key = MasterKey::from_bytes(&[7; 32]);
    let wire = bus::Wire::new(bus);
    let hub = Hub::open(&settings, key, accounts(), wire, kv, clock.clone()).await.expect("a hub");
    let verdict = hub.verify().await.expect("verified");
    hub.close().await;
    home.restore().await;
    verdict.findings
}

/// What is done by hand, which invariant it breaks, and a word of the sentence that names it.
const DAMAGES: &[(&str, &str, &str)] = &[
    ("DELETE FROM messages WHERE external_id = 'wamid.in.1'", "V1", "says message msg_"),
    ("DELETE FROM messages WHERE direction = 'note'", "V1", "tells of message msg_"),
    ("DELETE FROM messages WHERE status = 'queued'", "V6", "is not there"),
    ("UPDATE inbox SET effect_id = 'msg_x' WHERE key LIKE '%wamid.in.2'", "V1", "says message msg_x"),
    ("DELETE FROM inbox WHERE key LIKE 'm|%wamid.in.1'", "V1", "a repeat would double it"),
    ("DELETE FROM inbox WHERE key LIKE 'm|%wamid.echo'", "V1", "echo msg_"),
    ("DELETE FROM statuses WHERE external_id = 'wamid.unknown'", "V1", "|wamid.unknown|read|"),
    ("DELETE FROM reactions", "V1", "provider id wamid.echo, which is not kept: reaction"),
    ("DELETE FROM edits", "V1", "provider id wamid.in.1, which is not kept: edit"),
    ("DELETE FROM revokes", "V1", "provider id wamid.in.2, which is not kept: revoke"),
    (
        "DROP INDEX messages_by_external_id; UPDATE messages SET external_id = 'wamid.in.1' WHERE external_id = 'wamid.in.2'",
        "V2",
        "wamid.in.1",
    ),
    (
        "UPDATE external_ids SET message_id = (SELECT id FROM messages WHERE external_id = 'wamid.echo') WHERE part = 0",
        "V2",
        "wamid.out.0",
    ),
    (
        "DROP INDEX handles_identify; INSERT INTO handles (identity_id, channel_kind, account, kind, value, \
         identifies, created_at) SELECT 'idn_x', channel_kind, account, kind, value, 1, 1 FROM handles LIMIT 1",
        "V2",
        "2 identities at once",
    ),
    ("DELETE FROM log WHERE type = 'message.queued' AND thread_seq < 10", "V3", "has no such entry"),
    ("DELETE FROM log WHERE type = 'note.added'", "V3", "has no entry"),
    ("UPDATE threads SET seq = seq + 1", "V3", "has counted to"),
    ("UPDATE log SET thread_seq = thread_seq + 100 WHERE type = 'note.added'", "V3", "which no number gives"),
    ("UPDATE messages SET seq = 90 WHERE content LIKE '%Let op%'", "V3", "has seq 90"),
    (
        "UPDATE messages SET seq = -seq WHERE external_id IN ('wamid.in.1', 'wamid.echo'); \
         UPDATE messages SET seq = (SELECT -SUM(seq) FROM messages WHERE seq < 0) + seq WHERE seq < 0",
        "V3",
        "told it as",
    ),
    ("UPDATE log SET thread_id = 'thr_x' WHERE type = 'note.added'", "V3", "is of thread thr_x"),
    (
        "UPDATE log SET thread_id = NULL, thread_seq = NULL WHERE type = 'note.added'",
        "V3",
        "no place of a thread",
    ),
    (
        "UPDATE inbox SET received_at = received_at + 9000 WHERE key LIKE 'm|%wamid.in.1'",
        "V4",
        "of its conversation, and came in",
    ),
    ("DELETE FROM log WHERE seq = 3", "V5", "has no number 3"),
    ("UPDATE log SET seq = NULL, at = 1 WHERE seq = 3", "V5", "waits for its number"),
    (
        "UPDATE log SET seq = seq + 1000 WHERE seq = (SELECT MAX(seq) FROM log)",
        "V5",
        "the highest in the log",
    ),
    ("UPDATE log SET type = 'message.sung' WHERE seq = 2", "V5", "message.sung"),
    (
        "UPDATE log SET seq = -seq WHERE thread_seq IN (1, 2) AND thread_id = (SELECT id FROM threads WHERE assignee IS NOT NULL); \
         UPDATE log SET seq = (SELECT -SUM(seq) FROM log WHERE seq < 0) + seq WHERE seq < 0",
        "V5",
        "higher number in the log",
    ),
    ("UPDATE log SET data = '{' WHERE seq = 4", "readable", "cannot be read"),
    ("DELETE FROM outbound WHERE state = 'queued'", "V6", "nothing will send it"),
    ("DELETE FROM outbound WHERE part = 0 AND external_id = 'wamid.out.0'", "V6", "without part 0"),
    ("UPDATE outbound SET due_at = 5 WHERE state = 'unconfirmed'", "V6", "longer than anything takes"),
    (
        "UPDATE outbound SET due_at = 5 WHERE state = 'queued'; DELETE FROM outbound WHERE state = 'unconfirmed'",
        "V6",
        "nobody publishes it",
    ),
    (
        "UPDATE outbound SET external_id = NULL WHERE external_id = 'wamid.out.1'",
        "V6",
        "without a provider's id",
    ),
    ("DELETE FROM external_ids WHERE external_id = 'wamid.out.1'", "V6", "would be orphans"),
    ("UPDATE outbound SET claim = NULL WHERE state = 'unconfirmed'", "V6", "has no claim"),
    ("UPDATE outbound SET resends = 2 WHERE state = 'unconfirmed'", "V6", "sent again 2 times"),
    (
        "DELETE FROM messages WHERE content LIKE '%Beloofd%'",
        "V1",
        "POST /v1/notes was answered with message msg_",
    ),
    ("UPDATE idempotency SET answer = x'00'", "V1", "POST /v1/notes by"),
    ("UPDATE outbound SET payload = '{}' WHERE state = 'queued'", "readable", "of message msg_"),
    ("UPDATE outbound SET error = '{' WHERE state = 'unconfirmed'", "readable", "outgoing part of msg_"),
    (
        "UPDATE outbound SET payload = (SELECT payload FROM outbound WHERE external_id = 'wamid.out.0') WHERE state = 'queued'",
        "V6",
        "would send something else",
    ),
    ("UPDATE outbound SET state = 'queued' WHERE external_id = 'wamid.out.0'", "V6", "would go out again"),
    ("UPDATE messages SET status = 'read' WHERE status = 'delivered'", "V8", "makes it delivered"),
    ("UPDATE messages SET status = 'sent' WHERE status = 'delivered'", "V8", "makes it delivered"),
    ("UPDATE messages SET status = 'sent' WHERE status = 'failed'", "V8", "makes it failed"),
    ("UPDATE messages SET status = 'sung' WHERE status = 'failed'", "readable", "cannot be read"),
    ("UPDATE messages SET status = NULL WHERE status = 'failed'", "V8", "has no status"),
    (
        "UPDATE messages SET status_detail = '{}' WHERE status = 'delivered'",
        "V8",
        "status_detail of message msg_",
    ),
    ("UPDATE messages SET provider_time = 5 WHERE status = 'delivered'", "V8", "another time of sending"),
    (
        "DELETE FROM statuses WHERE status = 'delivered' AND external_id = 'wamid.out.1'",
        "V8",
        "makes it sent",
    ),
    ("DELETE FROM watermarks", "V8", "makes it sent"),
    (
        "UPDATE statuses SET message_id = NULL WHERE external_id = 'wamid.out.0'",
        "V8",
        "is an orphan, and message",
    ),
    (
        "UPDATE statuses SET message_id = 'msg_x' WHERE external_id = 'wamid.out.1'",
        "V8",
        "belongs to message msg_x",
    ),
    ("UPDATE statuses SET pricing = '7' WHERE external_id = 'wamid.out.0'", "readable", "wamid.out.0"),
    ("DELETE FROM parked WHERE number = 1", "V1", "says parked item prk_"),
    ("UPDATE statuses SET received_at = 5 WHERE message_id IS NULL", "V12", "1 statuses of unknown messages"),
    ("UPDATE idempotency SET at = 5", "V12", "1 kept answers"),
    ("UPDATE inbox SET keep_until = 5 WHERE key LIKE 's|%wamid.unknown%'", "V12", "1 inbox keys"),
    (
        "INSERT INTO suspects (topic, item_id, turns, at) VALUES ('inbound', 'x', 1, 5)",
        "V12",
        "1 counts of suspects",
    ),
    ("UPDATE threads SET control_epoch = control_epoch + 1", "V9", "the last one that was written down"),
    ("UPDATE threads SET control_holder = 'bot'", "V9", "turn of now was given to agent"),
    ("UPDATE threads SET control_agent = 'agt_x'", "V9", "is held by agent agt_x"),
    ("DELETE FROM handoffs WHERE epoch = 2", "V9", "without the one before it"),
    ("UPDATE handoffs SET seq = 2 WHERE epoch = 2", "V9", "tells of no control"),
    ("DELETE FROM handoffs WHERE holder = 'agent'", "V9", "no turn began with it"),
    ("UPDATE threads SET offered_to = 'agt_x'", "V9", "is offered to agt_x"),
    ("UPDATE handoffs SET holder = 'agent' WHERE holder = 'bot'", "V9", "while control was with: agent"),
    ("UPDATE parked SET raw = NULL WHERE number = 2", "V10", "(P-2) has no raw bytes"),
    ("UPDATE parked SET raw = x'00' WHERE number = 1", "V10", "(P-1) cannot be opened"),
    (
        "UPDATE parked SET raw = (SELECT raw FROM parked WHERE number = 1) WHERE number = 2",
        "V10",
        "(P-2) cannot be opened",
    ),
    ("DELETE FROM messages WHERE content LIKE '%P-1%'", "V10", "has a placeholder msg_"),
    ("DELETE FROM inbox WHERE effect = 'parked' AND key LIKE 'p|%'", "V10", "would park it again"),
    (
        "DELETE FROM contacts WHERE id = (SELECT contact_id FROM threads WHERE assignee IS NOT NULL)",
        "references",
        "of contact con_",
    ),
    ("DELETE FROM threads WHERE assignee IS NOT NULL", "references", "has no thread"),
    ("DELETE FROM identities WHERE channel_kind = 'whatsapp'", "references", "has no identity"),
    ("DELETE FROM handles WHERE kind = 'visitor'", "references", "has no handle"),
    ("UPDATE handles SET identity_id = 'idn_x' WHERE kind = 'visitor'", "references", "of identity idn_x"),
    ("UPDATE messages SET identity_id = 'idn_x' WHERE external_id = 'wamid.in.1'", "references", "idn_x"),
    ("UPDATE messages SET identity_id = NULL WHERE external_id = 'wamid.in.1'", "references", "is no note"),
    (
        "UPDATE messages SET reply_to_message_id = 'msg_x' WHERE direction = 'in'",
        "references",
        "answers message msg_x",
    ),
    ("UPDATE threads SET last_message_id = 'msg_x' WHERE assignee IS NOT NULL", "references", "is msg_x"),
    ("DELETE FROM agents", "references", "assigned to agt_"),
    ("UPDATE external_ids SET message_id = 'msg_x' WHERE part = 1", "references", "msg_x"),
    ("UPDATE sessions SET agent_id = 'agt_x'", "references", "agt_x"),
    ("UPDATE watermarks SET identity_id = 'idn_x'", "references", "idn_x"),
    ("UPDATE read_marks SET thread_id = 'thr_x'", "references", "thr_x"),
    ("UPDATE messages SET content = '{' WHERE external_id = 'wamid.in.1'", "readable", "message msg_"),
    ("UPDATE messages SET attachments = '{}' WHERE external_id = 'wamid.in.1'", "readable", "message msg_"),
    ("UPDATE identities SET preferences = '[]'", "readable", "identity idn_"),
    ("UPDATE edits SET content = 'x'", "readable", "wamid.in.1"),
];

#[tokio::test]
async fn an_installation_with_one_of_everything_is_sound() {
    let world = full().await;
    world.is_sound().await;
    let verdict = world.hub.verify().await.expect("verified");
    for invariant in ["V1", "V2", "V3", "V4", "V5", "V6", "V8", "V9", "V10", "V12"] {
        assert!(verdict.checked.iter().any(|checked| checked == invariant), "{invariant}");
    }
    assert_eq!(verdict.counted["parked items"], 2);
    assert_eq!(verdict.counted["on the bus: outbound"], 0);
    assert!(verdict.counted["messages"] >= 9);
}

#[tokio::test]
async fn each_damaged_row_is_named() {
    let world = full().await;
    world.is_sound().await;
    let World { hub, home, clock, .. } = world;
    hub.close().await;
    // A file is one process's as long as anybody holds it.
    drop(hub);
    home.keep().await;
    let mut silent = Vec::new();
    for (damage, invariant, word) in DAMAGES {
        let findings = after(&home, damage, &clock).await;
        let named = findings.iter().any(|f| f.invariant == *invariant && f.sentence.contains(word));
        if !named {
            silent.push(format!("{damage}\n  wanted {invariant} … {word}\n  found {findings:?}"));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

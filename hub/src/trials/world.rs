//! A hub with three channel accounts, customers, and a sender played by hand.

use std::sync::Arc;
use std::time::Duration;

use loket_backbone::bus::{self, Bus, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::kv::{self, SharedKv};
use loket_protocol::agent::Role;
use loket_protocol::channel::{AccountSettings, Capabilities, ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::{ProviderStatus, SendClass};
use loket_protocol::event::{Event, EventType};
use loket_protocol::handoff::{Actor, Asked, Control, Holder, Successor, Turn, Verb};
use loket_protocol::ids::{IdentityId, MessageId, ThreadId};
use loket_protocol::inbound::StatusFact;
use loket_protocol::message::{Attachment, Content, Message};
use loket_protocol::outbound::{Claim, ClaimAnswer, Dispatch, OutboundMessage, Outcome, SendReport};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;
use loket_protocol::topics::{OUTBOUND, SUBJECTS, TOPICS};

use crate::handoff::{self, Change};
use crate::requests::{NewAgent, NewReply, Principal, PrincipalBy, Target, Written};
use crate::settings::UnconfirmedPolicy;
use crate::store::contacts::{self, Known, Touch};
use crate::store::outbound::{self, Part};
use crate::store::trial::{Home, On};
use crate::store::{log, sql, threads};
use crate::{HandoffSettings, Hub, HubError, HubSettings, MasterKey, StoreSettings, delivery};

pub(super) const DAY_MS: i64 = 86_400_000;

pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    pub(super) wire: Wire,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) home: Home,
}

pub(super) fn account(kind: &str, account: &str) -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new(kind).expect("a kind"), account: account.to_owned() }
}

pub(super) fn whatsapp() -> ChannelAccount {
    account("whatsapp", "15550001")
}

pub(super) fn messenger() -> ChannelAccount {
    account("messenger", "90001")
}

pub(super) fn site() -> ChannelAccount {
    account("webchat", "shop")
}

fn types(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(super) fn accounts() -> Vec<AccountSettings> {
    let plain = Capabilities {
        window_ms: Some(DAY_MS),
        human_window_ms: None,
        reads_the_thread: false,
        text_chars_max: 4096,
        content_types: types(&["text", "image", "document", "template", "buttons", "list"]),
        captions: types(&["image", "document"]),
        caption_chars_max: 1024,
        reactions: true,
    };
    vec![
        AccountSettings { channel: whatsapp(), name: "main".to_owned(), capabilities: plain.clone() },
        AccountSettings {
            channel: messenger(),
            name: "page".to_owned(),
            capabilities: Capabilities {
                human_window_ms: Some(7 * DAY_MS),
                text_chars_max: 2000,
                content_types: types(&["text", "image", "document"]),
                captions: Vec::new(),
                reactions: false,
                ..plain.clone()
            },
        },
        AccountSettings {
            channel: site(),
            name: "shop".to_owned(),
            capabilities: Capabilities {
                window_ms: None,
                reads_the_thread: true,
                content_types: types(&["text", "image"]),
                reactions: false,
                ..plain
            },
        },
    ]
}

/// Somebody who wrote: their thread and the identity that they wrote from.
#[derive(Clone, Copy)]
pub(super) struct Customer {
    pub(super) thread: ThreadId,
    pub(super) identity: IdentityId,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with("memory:", UnconfirmedPolicy::Hold).await
    }

    pub(super) async fn with(kv_url: &str, unconfirmed: UnconfirmedPolicy) -> Self {
        let clock = Clock::movable();
        let kv = kv::open(kv_url, clock.clone()).expect("a kv");
        Self::on(kv, clock, unconfirmed).await
    }

    /// With such settings of who answers.
    pub(super) async fn handing(handoff: HandoffSettings) -> Self {
        let clock = Clock::movable();
        let kv = kv::open("memory:", clock.clone()).expect("a kv");
        Self::set(kv, clock, HubSettings { handoff, ..HubSettings::default() }).await
    }

    /// On a kv that others may share.
    pub(super) async fn on(kv: SharedKv, clock: Clock, unconfirmed: UnconfirmedPolicy) -> Self {
        let mut settings = HubSettings::default();
        settings.outbound.unconfirmed = unconfirmed;
        Self::set(kv, clock, settings).await
    }

    async fn set(kv: SharedKv, clock: Clock, settings: HubSettings) -> Self {
        let home = Home::fresh(On::of(module_path!())).await;
        let bus_url = format!("embedded:{}?durability=relaxed", home.folder.path().join("bus").display());
        let bus = bus::open(&bus_url, clock.clone(), TOPICS, SUBJECTS).await.expect("a bus");
        let wire = Wire::new(Arc::clone(&bus));
        let settings = HubSettings { store: StoreSettings { url: home.url() }, ..settings };
        let key = MasterKey::from_bytes(&[7; 32]);
        let hub =
            Hub::open(&settings, key, accounts(), wire.clone(), kv, clock.clone()).await.expect("a hub");
        Self { hub, clock, wire, bus, home }
    }

    /// A customer who wrote just now.
    pub(super) async fn customer(&self, channel: &ChannelAccount, handle: Handle) -> Customer {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let now = tx.now();
        let known = Known {
            identity: tx.id(),
            contact: tx.id(),
            thread: tx.id(),
            name: Some("Anna".to_owned()),
            name_at: now,
            status: ThreadStatus::Open,
            joins: 0,
        };
        contacts::make(&mut tx, &known, channel).await.expect("made");
        contacts::add_handles(&mut tx, channel, known.identity, &[handle]).await.expect("named");
        let touch = Touch {
            identity: known.identity,
            last_message_at: Some(now),
            window_opened_at: Some(now),
            last_external_id: Some("wamid.in".to_owned()),
            name: None,
        };
        contacts::touch(&mut tx, &[touch]).await.expect("touched");
        tx.commit().await.expect("committed");
        Customer { thread: known.thread, identity: known.identity }
    }

    pub(super) async fn anna(&self) -> Customer {
        self.customer(&whatsapp(), Handle::new(HandleKind::Phone, "31600000001")).await
    }

    pub(super) fn agent(&self) -> Principal {
        Principal {
            by: PrincipalBy::Session(self.clock.id(), self.clock.id()),
            role: Role::Agent,
            name: "Bram".to_owned(),
        }
    }

    pub(super) fn bot(&self) -> Principal {
        Principal { by: PrincipalBy::Key(self.clock.id()), role: Role::Bot, name: "Robo".to_owned() }
    }

    /// A person who may be asked for: in the store, and logged in.
    pub(super) async fn employed(&self, name: &str, role: Role) -> Principal {
        let new = NewAgent { login: name.to_lowercase(), name: name.to_owned(), role };
        let created = self.hub.create_agent(None, new, None).await.expect("made");
        let Written::Done(created) = created else { panic!("replayed") };
        Principal { by: PrincipalBy::Session(self.clock.id(), created.agent.id), role, name: name.to_owned() }
    }

    /// A bot answers this customer from now on; at which turn.
    pub(super) async fn bot_answers(&self, to: Customer) -> i64 {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let row = threads::row(&mut tx, to.thread).await.expect("read").expect("there");
        let turn = Turn::of(&row.control).next(Holder::Bot, None, None);
        let asked = Asked { actor: Actor::House, verb: Verb::Pass, to: Successor::Bot, epoch: None };
        let reason = "trial".to_owned();
        let change = Change { asked, to: turn, reason, summary: None, by: handoff::house() };
        handoff::carry(&mut tx, &row, &change).await.expect("carried");
        tx.commit().await.expect("committed");
        turn.epoch
    }

    /// How control of a thread stands.
    pub(super) async fn control(&self, of: Customer) -> Control {
        self.hub.thread(&self.agent(), of.thread).await.expect("a thread").control
    }

    pub(super) async fn says(&self, by: &Principal, to: Customer, text: &str) -> Message {
        self.reply(by, to, says(text)).await.expect("accepted")
    }

    pub(super) async fn reply(
        &self,
        by: &Principal,
        to: Customer,
        new: NewReply,
    ) -> Result<Message, HubError> {
        let mut new = NewReply { client_message_id: Some(self.clock.id::<MessageId>().to_string()), ..new };
        if by.role == Role::Bot && new.epoch.is_none() {
            new.epoch = Some(self.control(to).await.epoch);
        }
        match self.hub.reply(by, to.thread, new, None).await? {
            Written::Done(message) => Ok(message),
            Written::Replayed { body, .. } => panic!("replayed {body}"),
        }
    }

    /// Lets the dispatcher look once.
    pub(super) async fn dispatch(&self) {
        self.hub.dispatch_round().await.expect("dispatched");
    }

    /// What is on the bus for senders, taken away.
    pub(super) async fn published(&self) -> Vec<OutboundMessage> {
        let depth = self.bus.depth(OUTBOUND.name, OUTBOUND.group).await.expect("a depth");
        let mut out = Vec::new();
        while out.len() < usize::try_from(depth.items).expect("few") {
            for lease in self.wire.lease(&OUTBOUND, 16).await.expect("leases") {
                out.push(Wire::read(lease.as_ref()).expect("readable"));
                lease.ack().await.expect("acked");
            }
        }
        out
    }

    /// Dispatches and takes the only message that comes of it.
    pub(super) async fn next(&self) -> Dispatch {
        self.dispatch().await;
        let mut published = self.published().await;
        assert_eq!(published.len(), 1, "{published:?}");
        published.remove(0).dispatch
    }

    pub(super) async fn claim(&self, dispatch: Dispatch, nonce: &str) -> ClaimAnswer {
        self.hub.claim(&Claim { dispatch, nonce: nonce.to_owned() }).await.expect("answered")
    }

    /// Dispatches, and claims what comes of it.
    pub(super) async fn claimed(&self) -> Dispatch {
        let dispatch = self.next().await;
        assert_eq!(self.claim(dispatch, "a lease").await, ClaimAnswer::Granted);
        dispatch
    }

    pub(super) async fn report(&self, dispatch: Dispatch, outcome: Outcome) {
        let report = SendReport { dispatch, channel: whatsapp(), at: self.clock.now(), outcome };
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        self.hub.inner().apply_report(&mut tx, &report).await.expect("taken");
        tx.commit().await.expect("committed");
    }

    pub(super) async fn sent(&self, dispatch: Dispatch, external_id: &str) {
        self.report(dispatch, Outcome::Sent { external_id: external_id.to_owned(), learnt: vec![] }).await;
    }

    pub(super) async fn not_sent(&self, dispatch: Dispatch, class: SendClass) {
        let outcome = Outcome::NotSent {
            class,
            code: Some(2),
            subcode: None,
            retry_after_ms: None,
            sentence: "The provider is busy.".to_owned(),
        };
        self.report(dispatch, outcome).await;
    }

    pub(super) async fn status(&self, fact: &StatusFact, at: i64) -> Option<MessageId> {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let at = Timestamp::from_millis(at);
        let received_at = self.clock.now();
        let found = delivery::apply_status(&mut tx, &whatsapp(), fact, at, received_at).await.expect("kept");
        tx.commit().await.expect("committed");
        found
    }

    pub(super) async fn message(&self, id: MessageId) -> Message {
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        crate::store::messages::by_id(&mut reader, id).await.expect("read").expect("there")
    }

    pub(super) async fn part(&self, dispatch: Dispatch) -> Part {
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        outbound::part(&mut reader, dispatch.message_id, dispatch.part).await.expect("read").expect("there")
    }

    /// The events of a message, numbered here because no sequencer runs.
    pub(super) async fn told(&self, thread: ThreadId) -> Vec<EventType> {
        self.events(thread).await.into_iter().map(|event| event.kind).collect()
    }

    pub(super) async fn events(&self, thread: ThreadId) -> Vec<Event> {
        self.run("UPDATE log SET seq = row_id").await;
        let mut reader = self.hub.inner().store.read().await.expect("a reader");
        let events = log::after(&mut reader, 0, &[], 1000).await.expect("read");
        events.into_iter().filter(|e| e.thread.is_none_or(|place| place.id == thread)).collect()
    }

    /// A statement by hand.
    pub(super) async fn run(&self, text: &'static str) -> u64 {
        let mut tx = self.hub.inner().store.begin().await.expect("a transaction");
        let touched = sql(text).run(&mut tx).await.expect("run");
        tx.commit().await.expect("committed");
        touched
    }

    pub(super) fn later(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

pub(super) fn says(text: &str) -> NewReply {
    NewReply {
        content: Content::text(text),
        attachments: vec![],
        to: Target::Auto,
        reply_to: None,
        client_message_id: None,
        epoch: None,
    }
}

pub(super) fn picture(name: &str) -> Attachment {
    Attachment {
        kind: "image".to_owned(),
        url: Some(format!("https://shop.example/{name}.png")),
        ..Attachment::default()
    }
}

pub(super) fn status(target: &str, status: ProviderStatus) -> StatusFact {
    StatusFact {
        target: target.to_owned(),
        status,
        outbox_id: None,
        errors: vec![],
        pricing: vec![],
        group: None,
        participant: None,
    }
}

/// Waits until something is so, at most ten seconds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let waited = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waited).await.is_ok(), "never so: {what}");
}

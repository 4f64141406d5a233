//! What ingest promises: once however often, one contact and one thread for each person, and the same
//! end in whatever order things arrive.

mod appending;
mod numbered;
mod orders;
mod people;
mod reading;
mod worker;

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
use serde_json::{Value, json};

use super::apply;
use super::on_purpose::PANICS;
use crate::handoff::House;
use crate::settings::HandoffSettings;
use crate::store::contacts::IdentityRow;
use crate::store::trial::{Home, On};
use crate::store::{Conn, Store, contacts, log, messages, sql};

/// A store that is gone with this.
struct Here {
    store: Store,
    house: House,
    _home: Home,
}

impl Here {
    async fn new() -> Self {
        Self::with(&HandoffSettings::default()).await
    }

    async fn with(settings: &HandoffSettings) -> Self {
        let home = Home::fresh(On::of(module_path!())).await;
        let store = Store::open(&home.url(), Clock::system()).await.unwrap();
        Self { store, house: House::new(settings), _home: home }
    }

    /// Carries events out in one transaction; answers how many were absorbed.
    async fn take(&self, events: &[InboundEvent]) -> u64 {
        let mut tx = self.store.begin_for_worker().await.unwrap();
        let applied = apply(&mut tx, &self.house, events).await.unwrap();
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

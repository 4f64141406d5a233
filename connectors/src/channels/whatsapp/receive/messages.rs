//! Messages of either side: `messages[]`, `message_echoes[]` and `history[]` (`whatsapp` §7, §10).

use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::inbound::{
    ArrivalFact, EditFact, Fact, HistoryFact, IdentityFact, InboundEvent, MessageFact, ReactionFact,
    RevokeFact,
};
use loket_protocol::message::{ContactCard, Content};
use loket_protocol::problem::ParkReason;
use serde_json::{Value, json};

use super::content::{self, Said};
use super::customer::{self, FROM, PLAIN, Person, TO};
use super::place::Place;
use super::{About, Change, Trouble, Walk};
use crate::meta;

/// What `sent_by` says of a message that was written in the business's own phone app.
const PHONE_APP: &str = "phone_app";
/// How a card says that it answers our request for the sender's number (`whatsapp` §6).
const ANSWERS_OUR_REQUEST: &str = "contact_request";

impl Walk<'_> {
    /// The fields `messages` and `smb_message_echoes`: every array that is there is read.
    pub(super) fn conversation(&mut self, inside: &Place<'_>, change: &Change<'_>) -> Result<(), Trouble> {
        let (value, account) = (change.value, change.account.as_str());
        let has_messages = self.each_in(inside, value, "messages", account, |walk, place, item| {
            walk.message(place, change, item, false);
        });
        let has_statuses = self.each_in(inside, value, "statuses", account, |walk, place, item| {
            walk.status(place, change, item);
        });
        let has_echoes = self.each_in(inside, value, "message_echoes", account, |walk, place, item| {
            walk.message(place, change, item, true);
        });
        let has_errors = meta::field(value, "errors").is_some();
        if has_errors {
            self.channel_error(change, value)?;
        }
        if has_messages || has_statuses || has_echoes || has_errors {
            return Ok(());
        }
        Err(Trouble {
            reason: ParkReason::Unknown,
            why: "the value has nothing in it that is known".to_owned(),
        })
    }

    fn message(&mut self, place: &Place<'_>, change: &Change<'_>, item: &Value, outgoing: bool) {
        let named = Person::named_in(item, if outgoing { TO } else { FROM });
        let contact = change.contacts.of_person(&named);
        let person = named.clone().completed_by(contact);
        let read = self.message_event(change, item, &named, &person, outgoing);
        if let Err(trouble) = read.and_then(|event| self.push(event)) {
            let about = About {
                customer: match meta::id(item, "group_id") {
                    Some(group) => Some(customer::group(&group)),
                    None => person.customer(),
                },
                external_id: meta::id(item, "id"),
                at: meta::time(item, "timestamp"),
            };
            self.park_item(place, Some(&change.account), &trouble, &about, item, contact);
        }
    }

    fn message_event(
        &self,
        change: &Change<'_>,
        item: &Value,
        named: &Person,
        person: &Person,
        outgoing: bool,
    ) -> Result<InboundEvent, Trouble> {
        if !item.is_object() {
            return Err(Trouble::unreadable("not an object"));
        }
        let group = meta::id(item, "group_id");
        let has_other_side = person.is_known() || (outgoing && group.is_some());
        if !has_other_side {
            let why = "nobody is named as the other side".to_owned();
            return Err(Trouble { reason: ParkReason::NoSender, why });
        }
        let (mut fact, mut opens_window) = match meta::text(item, "type").as_deref() {
            Some("system") if !outgoing => (address_change(item, named)?, Some(false)),
            _ => fact(item, outgoing)?,
        };
        let mut customer = person.customer();
        if let Fact::Message(message) = &mut fact {
            link_number(customer.as_mut(), &message.content.contacts);
        }
        if let Some(group) = group {
            let writer = customer.replace(customer::group(&group));
            opens_window = Some(false);
            if let Fact::Message(message) = &mut fact {
                message.participant = writer;
            }
        }
        Ok(self.event(&change.account, customer, meta::time(item, "timestamp"), opens_window, fact))
    }

    /// The field `history`: chunks of threads, and pictures that complete earlier placeholders.
    pub(super) fn history(&mut self, inside: &Place<'_>, change: &Change<'_>) -> Result<(), Trouble> {
        let (value, account) = (change.value, change.account.as_str());
        let has_chunks = self.each_in(inside, value, "history", account, |walk, place, chunk| {
            if let Err(trouble) = walk.chunk(place, change, chunk) {
                walk.park_item(place, Some(account), &trouble, &About::default(), chunk, None);
            }
        });
        let mut has_pictures = false;
        for key in ["messages", "message_echoes"] {
            has_pictures |= self.each_in(inside, value, key, account, |walk, place, item| {
                walk.imported(place, change, item, None, None);
            });
        }
        if has_chunks || has_pictures {
            return Ok(());
        }
        Err(Trouble {
            reason: ParkReason::Unknown,
            why: "the value has nothing in it that is known".to_owned(),
        })
    }

    fn chunk(&mut self, place: &Place<'_>, change: &Change<'_>, chunk: &Value) -> Result<(), Trouble> {
        let has_errors = meta::field(chunk, "errors").is_some();
        if has_errors {
            self.channel_error(change, chunk)?;
        }
        let progress = chunk.get("metadata").map(|progress| Value::Object(meta::scalars(progress)));
        let has_threads = self.each_in(place, chunk, "threads", &change.account, |walk, place, thread| {
            let person = person_of_thread(thread);
            let has_messages =
                walk.each_in(place, thread, "messages", &change.account, |walk, place, item| {
                    walk.imported(place, change, item, Some(&person), progress.as_ref());
                });
            if !has_messages {
                let trouble = Trouble::unreadable("the thread has no messages");
                walk.park_item(place, Some(&change.account), &trouble, &About::default(), thread, None);
            }
        });
        if has_threads || has_errors {
            return Ok(());
        }
        Err(Trouble::unreadable("the chunk has no threads"))
    }

    fn imported(
        &mut self,
        place: &Place<'_>,
        change: &Change<'_>,
        item: &Value,
        thread: Option<&Person>,
        progress: Option<&Value>,
    ) {
        let read = self.imported_event(change, item, thread, progress);
        if let Err(trouble) = read.and_then(|event| self.push(event)) {
            // Without the customer: a message of long ago gets no placeholder among today's.
            let about = About {
                customer: None,
                external_id: meta::id(item, "id"),
                at: meta::time(item, "timestamp"),
            };
            let contact = thread.and_then(|person| change.contacts.of_person(person));
            self.park_item(place, Some(&change.account), &trouble, &about, item, contact);
        }
    }

    fn imported_event(
        &self,
        change: &Change<'_>,
        item: &Value,
        thread: Option<&Person>,
        progress: Option<&Value>,
    ) -> Result<InboundEvent, Trouble> {
        if !item.is_object() {
            return Err(Trouble::unreadable("not an object"));
        }
        let outgoing = TO.iter().any(|key| meta::field(item, key).is_some()) || is_ours(change, item);
        let named = match thread {
            Some(person) if person.is_known() => person.clone(),
            _ => Person::named_in(item, if outgoing { TO } else { FROM }),
        };
        let contact = change.contacts.of_person(&named);
        let person = named.completed_by(contact);
        if !person.is_known() {
            let why = "nobody is named as the other side".to_owned();
            return Err(Trouble { reason: ParkReason::NoSender, why });
        }
        let fact = match meta::text(item, "type").as_deref() {
            Some("media_placeholder") => {
                let content = Content { kind: "media_placeholder".to_owned(), ..Content::default() };
                Fact::Message(MessageFact {
                    external_id: meta::id(item, "id"),
                    content,
                    ..MessageFact::default()
                })
            }
            _ => fact(item, outgoing)?.0,
        };
        let fact = match fact {
            Fact::Message(message) | Fact::Echo(message) => {
                let status = item.get("history_context").and_then(|context| meta::text(context, "status"));
                Fact::History(HistoryFact {
                    outgoing,
                    message: MessageFact { sent_by: None, ..message },
                    status: status.filter(|_| outgoing).and_then(|status| status_in_history(&status)),
                    progress: progress.cloned(),
                })
            }
            other => other,
        };
        let at = meta::time(item, "timestamp");
        Ok(self.event(&change.account, person.customer(), at, Some(false), fact))
    }
}

/// The fact of one item and whether it opens the window. `outgoing`: the business wrote it.
fn fact(item: &Value, outgoing: bool) -> Result<(Fact, Option<bool>), Trouble> {
    let kind = meta::text(item, "type").ok_or_else(|| Trouble::unreadable("type is missing"))?;
    let external_id = meta::id(item, "id");
    let payload = item.get(&kind).unwrap_or(&Value::Null);
    let target =
        |key: &str| meta::id(payload, key).ok_or_else(|| Trouble::unreadable(format!("{kind} has no {key}")));
    Ok(match kind.as_str() {
        "reaction" => {
            let emoji = match meta::field(payload, "emoji") {
                Some(Value::String(emoji)) => Some(emoji.clone()),
                Some(_) => return Err(Trouble::unreadable("reaction.emoji is no text")),
                None => None,
            };
            let fact = ReactionFact { external_id, target: target("message_id")?, emoji, outgoing };
            (Fact::Reaction(fact), None)
        }
        "edit" => {
            let message = payload.get("message").unwrap_or(&Value::Null);
            let inner =
                meta::text(message, "type").ok_or_else(|| Trouble::unreadable("edit.message has no type"))?;
            let Said { content, attachments, .. } = content::of(message, &inner)?;
            let target = target("original_message_id")?;
            let fact = EditFact { external_id, target, content, attachments, edit_number: None, outgoing };
            (Fact::Edit(fact), Some(false))
        }
        "revoke" => {
            let fact = RevokeFact { external_id, target: target("original_message_id")?, outgoing };
            (Fact::Revoke(fact), Some(false))
        }
        "request_welcome" if !outgoing => {
            (Fact::Arrival(ArrivalFact { kind: kind.clone(), external_id }), Some(true))
        }
        _ => {
            let Said { content, attachments, reply_to } = content::of(item, &kind)?;
            // The platform hides edits as unsupported, and is silent on whether they open a window.
            let is_hidden_edit = content.original_type.as_deref() == Some("edit");
            let message =
                MessageFact { external_id, content, attachments, reply_to, ..MessageFact::default() };
            if outgoing {
                let sent_by = Some(PHONE_APP.to_owned());
                (Fact::Echo(MessageFact { sent_by, ..message }), Some(false))
            } else {
                (Fact::Message(message), (!is_hidden_edit).then_some(true))
            }
        }
    })
}

/// A `system` message (`whatsapp` §6, §7). The words in `body` are for people and are not taken
/// apart, though an old user id may stand in them.
fn address_change(item: &Value, named: &Person) -> Result<Fact, Trouble> {
    let system = item.get("system").unwrap_or(&Value::Null);
    let change = meta::text(system, "type").ok_or_else(|| Trouble::unreadable("system.type is missing"))?;
    let (previous, current) = match change.as_str() {
        "user_changed_number" | "user_changed_user_id" => {
            (named.handles(), Person::named_in(system, PLAIN).handles())
        }
        "customer_identity_changed" => (Vec::new(), Vec::new()),
        _ => return Err(Trouble::unknown("system type", &change)),
    };
    let details = json!({
        "body": meta::text(system, "body"),
        "identity": item.get("identity").filter(|identity| identity.is_object()),
    });
    let external_id = meta::id(item, "id");
    Ok(Fact::Identity(IdentityFact { external_id, change, previous, current, details: Some(details) }))
}

/// A card that answers our request holds the sender's own number: one handle more of the same
/// identity (`whatsapp` §6).
fn link_number(customer: Option<&mut Customer>, cards: &[ContactCard]) {
    let (Some(customer), Some(card)) = (customer, cards.first()) else { return };
    if card.origin.as_deref() != Some(ANSWERS_OUR_REQUEST) {
        return;
    }
    let details = card.details.as_ref().unwrap_or(&Value::Null);
    let first = meta::list(details, "phones").first().unwrap_or(&Value::Null);
    let number = ["wa_id", "phone"].iter().find_map(|key| customer::phone(&meta::id(first, key)?));
    if let Some(number) = number {
        let handle = Handle::new(HandleKind::Phone, number);
        if !customer.handles.contains(&handle) {
            customer.handles.push(handle);
        }
    }
}

fn person_of_thread(thread: &Value) -> Person {
    let context = thread.get("context").unwrap_or(&Value::Null);
    let mut person = Person::named_in(context, PLAIN);
    if let Some(handle) = meta::id(thread, "id").and_then(|id| customer::sorted(&id)) {
        person.take(handle);
    }
    person.username = customer::username(context);
    person
}

/// True when the item comes from the business's own number.
fn is_ours(change: &Change<'_>, item: &Value) -> bool {
    let metadata = change.value.get("metadata").unwrap_or(&Value::Null);
    let digits = |holder: &Value, key: &str| customer::phone(&meta::id(holder, key)?);
    let ours = digits(metadata, "display_phone_number");
    ours.is_some() && digits(item, "from") == ours
}

fn status_in_history(status: &str) -> Option<ProviderStatus> {
    match status {
        "ERROR" => Some(ProviderStatus::Failed),
        other => ProviderStatus::from_name(&other.to_ascii_lowercase()),
    }
}

//! One transaction of ingest: from leased events to rows, once however often they arrive.
//!
//! First all inbox keys are claimed in one statement; what was there before is absorbed. Then
//! everybody named is looked up in one statement. Consecutive messages are appended together, all
//! other facts one by one in their order, because each may rest on the one before.

use std::collections::{BTreeSet, HashMap, HashSet};

use loket_backbone::failpoint;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{HandleKind, Proof};
use loket_protocol::event::EventType;
use loket_protocol::ids::{IdentityId, MessageId, ParkedId, ThreadId};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact};
use loket_protocol::message::{Content, Message};
use loket_protocol::outbound::Dispatch;
use loket_protocol::time::Timestamp;
use serde_json::json;

use super::people::People;
use super::told::Told;
use crate::handoff::House;
use crate::linking;
use crate::parked::Placeholder;
use crate::store::contacts::{self, Touch};
use crate::store::inbox::{self, Claim, Effect};
use crate::store::messages::About;
use crate::store::{ROWS_MAX, StoreError, Tx, channels, links, locks, log, messages, parked, together};

/// How long keys are kept whose effect is no message (`reliability-contract` §5).
const KEEP_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// What became of the events of a transaction, by channel kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// How many had an effect, by channel kind and fact.
    pub(crate) done: HashMap<(String, &'static str), u64>,
    /// How many were there before, by channel kind.
    pub(crate) absorbed: HashMap<String, u64>,
    /// Somebody was proven to be somebody: there is something to join.
    pub(crate) joins: bool,
}

impl Applied {
    /// Counts them; called after the commit only.
    pub(crate) fn count(&self) {
        for ((channel, fact), n) in &self.done {
            metrics::counter!("loket_inbound_appended_total", "channel" => channel.clone(), "fact" => *fact)
                .increment(*n);
        }
        for (channel, n) in &self.absorbed {
            metrics::counter!("loket_inbound_absorbed_total", "channel" => channel.clone()).increment(*n);
        }
    }
}

/// An event to be carried out.
pub(super) struct Work<'a> {
    pub(super) event: &'a InboundEvent,
    pub(super) key: String,
    /// The id of the message that it makes, if it makes one.
    pub(super) message: MessageId,
    /// It was parked before and can be read now.
    pub(super) parked: Option<Replaced>,
}

/// A transaction at work.
pub(super) struct Batch<'t> {
    pub(super) tx: &'t mut Tx,
    /// Who answers, as it is set.
    pub(super) house: &'t House,
    pub(super) people: People,
    touches: HashMap<IdentityId, Touch>,
    /// What was known of the messages' provider ids before anything was done.
    known: Option<About>,
    /// Somebody was proven to be somebody.
    joins: bool,
}

/// A parked item that is read after all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) parked: ParkedId,
    /// What stands for it in the thread.
    pub(crate) placeholder: Option<MessageId>,
}

/// Carries out events in their order, in one transaction that the caller commits. Everything or, with
/// an error, nothing that may be kept.
pub(crate) async fn apply(
    tx: &mut Tx,
    house: &House,
    events: &[InboundEvent],
) -> Result<Applied, StoreError> {
    let mut before = Before::default();
    let claimed = claim(tx, events, &mut before).await?;
    carry_out(tx, house, claimed, before).await
}

/// The same for the events of a parked item: the first message among them takes the place of the
/// item's placeholder.
pub(crate) async fn apply_replacing(
    tx: &mut Tx,
    house: &House,
    events: &[InboundEvent],
    replaced: Replaced,
) -> Result<Applied, StoreError> {
    let mut before = Before::default();
    let mut claimed = claim(tx, events, &mut before).await?;
    if claimed.iter().all(|work| work.parked.is_none()) {
        let first = claimed.iter_mut().find(|work| effect_of(&work.event.fact) == Effect::Message);
        if let Some(first) = first {
            first.parked = Some(replaced);
        }
    }
    carry_out(tx, house, claimed, before).await
}

/// What is found out before anything is done.
#[derive(Default)]
struct Before {
    applied: Applied,
    people: People,
    known: Option<About>,
}

async fn carry_out(
    tx: &mut Tx,
    house: &House,
    works: Vec<Work<'_>>,
    before: Before,
) -> Result<Applied, StoreError> {
    let Before { mut applied, people, known } = before;
    let mut batch = Batch { tx, house, people, touches: HashMap::new(), known, joins: false };
    // On the heap: one fact of many kinds is a large future to carry about.
    Box::pin(batch.carry_out(&works)).await?;
    applied.joins = batch.joins;
    for work in &works {
        let channel = work.event.channel.kind.to_string();
        *applied.done.entry((channel, work.event.fact.kind())).or_default() += 1;
    }
    Ok(applied)
}

/// Puts a placeholder for a parked item into the thread of its sender. `None` when what it stands for
/// is there already.
pub(crate) async fn placeholder(
    tx: &mut Tx,
    house: &House,
    from: &Placeholder,
    key: &str,
    words: &str,
) -> Result<Option<MessageId>, StoreError> {
    let said = MessageFact {
        external_id: from.external_id.clone(),
        content: Content { kind: "parked".to_owned(), text: Some(words.to_owned()), ..Content::default() },
        ..MessageFact::default()
    };
    let event = InboundEvent {
        v: INBOUND_VERSION,
        channel: from.channel.clone(),
        customer: Some(from.customer.clone()),
        at: from.at.unwrap_or(from.received_at),
        at_is_arrival: from.at.is_none(),
        received_at: from.received_at,
        standby: false,
        opens_window: None,
        fact: Fact::Message(said),
    };
    let id = tx.id();
    let one = vec![Work { event: &event, key: key.to_owned(), message: id, parked: None }];
    carry_out(tx, house, one, Before::default()).await?;
    Ok(messages::standing(tx, id).await?.map(|_| id))
}

/// The events whose keys are new, or whose item was parked. All others are absorbed.
async fn claim<'a>(
    tx: &mut Tx,
    events: &'a [InboundEvent],
    before: &mut Before,
) -> Result<Vec<Work<'a>>, StoreError> {
    let mut seen = HashSet::with_capacity(events.len());
    let mut claimed = Vec::with_capacity(events.len());
    for event in events {
        let key = event.key();
        if seen.insert(key.clone()) {
            claimed.push(Work { event, key, message: tx.id(), parked: None });
        } else {
            *before.applied.absorbed.entry(event.channel.kind.to_string()).or_default() += 1;
        }
    }
    failpoint!("hub.ingest.inbox.before", StoreError::Passing("on purpose".to_owned()));
    let fresh: HashSet<String> = look(tx, &claimed, before).await?.into_iter().collect();
    failpoint!("hub.ingest.inbox.after", StoreError::Passing("on purpose".to_owned()));
    if fresh.len() == claimed.len() {
        return Ok(claimed);
    }
    let known: Vec<&str> =
        claimed.iter().map(|w| w.key.as_str()).filter(|key| !fresh.contains(*key)).collect();
    let mut waiting = HashMap::new();
    for chunk in known.chunks(ROWS_MAX) {
        for (key, id) in inbox::parked_among(tx, chunk).await? {
            if let Some((parked, placeholder)) = parked::open_item(tx, &id).await? {
                waiting.insert(key, Replaced { parked, placeholder });
            }
        }
    }
    claimed.retain_mut(|work| {
        work.parked = waiting.remove(&work.key);
        let stays = work.parked.is_some() || fresh.contains(&work.key);
        if !stays {
            *before.applied.absorbed.entry(work.event.channel.kind.to_string()).or_default() += 1;
        }
        stays
    });
    Ok(claimed)
}

/// Claims the keys, and asks in the same breath who everybody is and which messages are there already:
/// the answers of those that are absorbed are not missed.
async fn look(tx: &mut Tx, works: &[Work<'_>], before: &mut Before) -> Result<Vec<String>, StoreError> {
    let keys: Vec<Claim> = works.iter().map(key_of).collect();
    let named = before.people.named_by(works.iter().map(|work| work.event));
    let ids: Vec<(&ChannelAccount, &str)> = works
        .iter()
        .filter_map(|work| match &work.event.fact {
            Fact::Message(said) => Some((&work.event.channel, said.external_id.as_deref()?)),
            _ => None,
        })
        .collect();
    if [keys.len(), named.len(), ids.len()].into_iter().any(|count| count == 0 || count > ROWS_MAX) {
        let fresh = inbox::claim(tx, &keys).await?;
        before.people.look_up(tx, &named).await?;
        return Ok(fresh);
    }
    let steps = vec![inbox::claiming(&keys), contacts::leading(&named), messages::asking(&ids)];
    let told = together(tx, steps).await?;
    let [fresh, people, known] = told.as_slice() else {
        return Err(StoreError::Other("three statements did not have three answers".to_owned()));
    };
    before.people.meet(&named, contacts::led(people)?)?;
    before.known = Some(messages::told(known)?);
    inbox::new(fresh)
}

/// Provider ids of messages that a fact is about.
fn targets(fact: &Fact) -> Vec<&str> {
    match fact {
        Fact::Status(status) => vec![&status.target],
        Fact::Watermark(watermark) => watermark.external_ids.iter().map(String::as_str).collect(),
        Fact::Reaction(reaction) => vec![&reaction.target],
        Fact::Edit(edit) => vec![&edit.target],
        Fact::Revoke(revoke) => vec![&revoke.target],
        Fact::Feedback(feedback) => vec![&feedback.target],
        _ => Vec::new(),
    }
}

/// The message of ours that a fact names by our own id.
fn sent_here(fact: &Fact) -> Option<MessageId> {
    let outbox_id = match fact {
        Fact::Status(status) => status.outbox_id.as_deref(),
        Fact::Echo(said) => said.outbox_id.as_deref(),
        _ => None,
    };
    Some(Dispatch::from_outbox_id(outbox_id?)?.message_id)
}

fn effect_of(fact: &Fact) -> Effect {
    match fact {
        Fact::Message(_) | Fact::Echo(_) | Fact::History(_) => Effect::Message,
        Fact::Status(_) => Effect::Status,
        Fact::Ignored(_) => Effect::None,
        _ => Effect::Log,
    }
}

fn key_of(work: &Work<'_>) -> Claim {
    let effect = effect_of(&work.event.fact);
    let is_message = effect == Effect::Message;
    Claim {
        key: work.key.clone(),
        effect,
        effect_id: is_message.then(|| work.message.to_string()),
        received_at: work.event.received_at,
        keep_until: (!is_message).then(|| work.event.received_at.plus_millis(KEEP_MS)),
    }
}

impl Batch<'_> {
    async fn carry_out(&mut self, works: &[Work<'_>]) -> Result<(), StoreError> {
        let events: Vec<&InboundEvent> = works.iter().map(|work| work.event).collect();
        self.people.load(self.tx, &events).await?;
        self.lock(&events).await?;
        for work in works.iter().filter(|work| work.parked.is_some()) {
            let effect = effect_of(&work.event.fact);
            let id = (effect == Effect::Message).then(|| work.message.to_string());
            inbox::redirect(self.tx, &work.key, effect, id.as_deref()).await?;
        }
        let together = |a: &Work<'_>, b: &Work<'_>| {
            [a, b].iter().all(|work| matches!(work.event.fact, Fact::Message(_)))
        };
        for run in works.chunk_by(together) {
            self.carry_out_run(run).await?;
        }
        self.prove(works).await?;
        for work in works {
            if let Some(replaced) = work.parked {
                parked::was_read(self.tx, replaced.parked).await?;
            }
        }
        self.move_forward(works).await
    }

    /// Locks all threads that the events may touch, at once and in order, and reads again how they stand.
    async fn lock(&mut self, events: &[&InboundEvent]) -> Result<(), StoreError> {
        if !self.tx.is_shared() {
            return Ok(());
        }
        let named: Vec<(&ChannelAccount, &str)> = events
            .iter()
            .flat_map(|event| targets(&event.fact).into_iter().map(|id| (&event.channel, id)))
            .collect();
        let sent: Vec<MessageId> = events.iter().filter_map(|event| sent_here(&event.fact)).collect();
        let mut threads = locks::threads_named(self.tx, &named).await?;
        threads.extend(locks::threads_of(self.tx, &sent).await?);
        threads.extend(self.people.threads());
        for (thread, status) in locks::of_threads(self.tx, threads).await? {
            self.people.stands(thread, status);
        }
        Ok(())
    }

    async fn carry_out_run(&mut self, run: &[Work<'_>]) -> Result<(), StoreError> {
        let Some(work) = run.first() else { return Ok(()) };
        let event = work.event;
        // Of later messages it may be out of date by what is done now.
        let known = self.known.take();
        match &event.fact {
            Fact::Message(_) => self.messages(run, known).await,
            Fact::Echo(said) => self.echo(work, said).await,
            Fact::History(history) => self.history(work, history).await,
            Fact::Status(status) => self.status(event, status).await,
            Fact::Watermark(watermark) => self.watermark(event, watermark).await,
            Fact::Reaction(reaction) => self.reaction(event, reaction).await,
            Fact::Edit(edit) => self.edit(event, edit).await,
            Fact::Revoke(revoke) => self.revoke(event, revoke).await,
            Fact::Identity(notice) => self.identity(event, notice).await,
            Fact::Preference(preference) => self.preference(event, preference).await,
            Fact::ContactSync(sync) => self.contact_sync(event, sync).await,
            Fact::Feedback(feedback) => self.feedback(event, feedback).await,
            Fact::Referral(_) => self.of_thread(event, EventType::ThreadReferred).await,
            Fact::Handover(_) => self.of_thread(event, EventType::ThreadHandedOver).await,
            Fact::Optin(_) | Fact::Arrival(_) => self.of_contact(event).await,
            Fact::AccountNotice(notice) => self.account_notice(event, notice).await,
            Fact::ChannelError(_) | Fact::Ignored(_) => {
                self.tell(None, EventType::ChannelNoticed, event, None, None).await
            }
        }
    }

    /// What the events prove of who is who: a code that was carried here, and two that the platform names as
    /// one person.
    async fn prove(&mut self, works: &[Work<'_>]) -> Result<(), StoreError> {
        for work in works {
            for digits in linking::codes_in(&work.event.fact) {
                let place = self.person(work.event).await?;
                let identity = self.people.get(place)?.identity;
                let (channel, at) = (&work.event.channel, work.event.received_at);
                self.joins |=
                    links::carry(self.tx, channel, &linking::hash_of(&digits), identity, at).await?;
            }
        }
        for same in self.people.named_as_one() {
            // Whoever has an id of their own is somebody else who had that number before.
            let held = contacts::held_by(self.tx, &[same.other]).await?;
            if !same.told && held.iter().any(|(_, handle)| handle.kind == HandleKind::Bsuid) {
                continue;
            }
            let evidence = json!({ "channel": same.channel, "told": same.proof });
            links::make_due(self.tx, same.contact, same.other, Proof::Platform, &evidence, None).await?;
            self.joins = true;
        }
        Ok(())
    }

    /// What moves forward by any event: names, windows, and when a channel account was last heard of.
    async fn move_forward(&mut self, works: &[Work<'_>]) -> Result<(), StoreError> {
        let touches: Vec<Touch> = self.touches.drain().map(|(_, touch)| touch).collect();
        contacts::touch(self.tx, &touches).await?;
        let heard: BTreeSet<&ChannelAccount> =
            works.iter().filter(|w| w.event.customer.is_some()).map(|w| &w.event.channel).collect();
        for channel in heard {
            channels::has_received(self.tx, channel).await?;
        }
        Ok(())
    }

    /// The customer of an event, made if need be, with the name that it tells.
    pub(super) async fn person(&mut self, event: &InboundEvent) -> Result<usize, StoreError> {
        let customer = event
            .customer
            .as_ref()
            .ok_or_else(|| StoreError::Constraint("the event names nobody".to_owned()))?;
        let place = self.people.find_or_make(self.tx, &event.channel, customer, event.at).await?;
        if let Some(name) = customer.name.as_deref().filter(|_| !customer.name_is_ours) {
            self.named(event, place, name).await?;
        }
        if event.opens_window == Some(true) {
            // A clock that runs ahead at the provider's must not open a window beyond its length.
            let at = event.at.min(event.received_at);
            let touch = self.touch(place)?;
            touch.window_opened_at = touch.window_opened_at.max(Some(at));
        }
        Ok(place)
    }

    /// The name that a channel tells of somebody: the latest stays.
    pub(super) async fn named(
        &mut self,
        event: &InboundEvent,
        place: usize,
        name: &str,
    ) -> Result<(), StoreError> {
        let person = self.people.get_mut(place)?;
        let is_later =
            person.name.is_none() || (event.at, Some(name)) > (person.name_at, person.name.as_deref());
        if !is_later {
            return Ok(());
        }
        let changed = person.name.as_deref() != Some(name);
        person.name = Some(name.to_owned());
        person.name_at = event.at;
        self.touch(place)?.name = Some((name.to_owned(), event.at));
        if changed {
            self.tell(None, EventType::ContactUpdated, event, Some(place), None).await?;
        }
        Ok(())
    }

    /// What will be written of somebody's identity at the end of the transaction.
    pub(super) fn touch(&mut self, place: usize) -> Result<&mut Touch, StoreError> {
        let identity = self.people.get(place)?.identity;
        Ok(self.touches.entry(identity).or_insert_with(|| Touch {
            identity,
            last_message_at: None,
            last_external_id: None,
            window_opened_at: None,
            name: None,
        }))
    }

    /// Logs what an event told, whole.
    pub(super) async fn tell(
        &mut self,
        thread: Option<ThreadId>,
        kind: EventType,
        event: &InboundEvent,
        person: Option<usize>,
        message: Option<&Message>,
    ) -> Result<(), StoreError> {
        let person = person.map(|place| self.people.get(place)).transpose()?;
        log::append(self.tx, thread, kind, &Told::of(event, person, message)).await?;
        Ok(())
    }
}

/// More than this between being written and being received, and a message is late
/// (`reliability-contract` §2).
const LATE_MS: i64 = 5 * 60 * 1000;

/// True for a message that comes long after it was written.
pub(super) fn is_late(event: &InboundEvent) -> bool {
    !event.at_is_arrival && event.received_at.millis_since(event.at) > LATE_MS
}

/// More than this, and it hands nothing over any more.
const LONG_AGO_MS: i64 = 60 * 60 * 1000;

/// True for what comes so long after it happened that nobody should be called for it.
pub(super) fn began_long_ago(event: &InboundEvent) -> bool {
    !event.at_is_arrival && event.received_at.millis_since(event.at) > LONG_AGO_MS
}

/// The provider's time of a fact, if it gave one.
pub(super) fn provider_time(event: &InboundEvent) -> Option<Timestamp> {
    (!event.at_is_arrival).then_some(event.at)
}

//! Messages that come: the customer's, the company's own from elsewhere (echoes), and old ones that
//! are imported.

use std::collections::{BTreeMap, HashMap};

use loket_backbone::failpoint;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::MessageStatus;
use loket_protocol::event::EventType;
use loket_protocol::handoff::Turn;
use loket_protocol::ids::{MessageId, ThreadId};
use loket_protocol::inbound::{Fact, HistoryFact, MessageFact, StatusFact};
use loket_protocol::message::{Author, AuthorType, Direction, Message};
use loket_protocol::outbound::Dispatch;
use loket_protocol::time::Timestamp;
use serde_json::json;

use super::batch::{Batch, Work, began_long_ago, is_late, provider_time};
use super::told::Came;
use crate::delivery;
use crate::handoff;
use crate::store::handoffs::{self, Began, Opening};
use crate::store::inbox::{self, Effect};
use crate::store::log::Entry;
use crate::store::messages::{About, NewMessage};
use crate::store::threads::{Drawn, Growth, Waiting};
use crate::store::{ROWS_MAX, StoreError, json as to_json, log, marks, messages, threads};

/// Content types that stand for something that is still to come.
const PLACEHOLDERS: [&str; 2] = ["media_placeholder", "parked"];

/// A message about to be appended.
struct Draft<'a> {
    work: &'a Work<'a>,
    place: usize,
    kind: EventType,
    new: NewMessage,
    /// It is in the thread already, as a placeholder or as an import, and is completed.
    completes: bool,
    /// The case that begins with it, and who answers in it.
    opens: Option<Opening>,
    /// What it does to the customer's waiting.
    waiting: Waiting,
    /// Its place among the thread's messages.
    last_at: Timestamp,
}

impl Batch<'_> {
    /// Consecutive messages of customers.
    pub(super) async fn messages(
        &mut self,
        run: &[Work<'_>],
        known: Option<About>,
    ) -> Result<(), StoreError> {
        let said: Vec<(&Work<'_>, &MessageFact)> = run
            .iter()
            .filter_map(|work| match &work.event.fact {
                Fact::Message(said) => Some((work, said)),
                _ => None,
            })
            .collect();
        let known = match known {
            Some(known) => known,
            None => self.known(said.iter().map(|(work, said)| (&work.event.channel, *said))).await?,
        };
        let mut drafts = Vec::with_capacity(said.len());
        let mut asking = Vec::new();
        for (work, said) in said {
            let place = self.person(work.event).await?;
            self.heard_from(work, said, place)?;
            let mut draft = self.draft(work, said, place, Direction::In)?;
            draft.kind = EventType::MessageReceived;
            draft.new.message.late = is_late(work.event);
            if let Some(existing) = existing(work, said, &known)
                && !self.completes(&mut draft, existing).await?
            {
                continue;
            }
            let is_late = draft.new.message.late;
            draft.opens =
                self.people.open_case(self.tx, place)?.map(|case| self.house.opening(case, is_late));
            // What came late is past promising, and in standby another app answers.
            if !is_late && !work.event.standby {
                draft.waiting = Waiting::Begins(work.event.received_at);
            }
            if self.house.is_asked_for_a_person(&said.content) && !began_long_ago(work.event) {
                asking.push((draft.new.message.thread_id, draft.new.message.author.clone()));
            }
            drafts.push(draft);
        }
        self.append(drafts, known.marked).await?;
        for (thread, author) in asking {
            handoff::asked_for(self.tx, thread, &author).await?;
        }
        for work in run {
            self.told_their_number(work).await?;
        }
        Ok(())
    }

    /// A message of the company's: one of ours confirmed, or written in another app.
    pub(super) async fn echo(&mut self, work: &Work<'_>, said: &MessageFact) -> Result<(), StoreError> {
        let place = self.person(work.event).await?;
        let dispatch = said.outbox_id.as_deref().and_then(Dispatch::from_outbox_id);
        if let (Some(dispatch), Some(external_id)) = (dispatch, &said.external_id) {
            let settled = delivery::settle_sent(self.tx, &dispatch, external_id, work.event.at).await?;
            if let Some(message) = settled {
                return self.is_already(work, message).await;
            }
        }
        let known = self.known(std::iter::once((&work.event.channel, said))).await?;
        let mut draft = self.draft(work, said, place, Direction::Out)?;
        draft.kind = EventType::MessageEchoed;
        if let Some(existing) = existing(work, said, &known)
            && !self.completes(&mut draft, existing).await?
        {
            return Ok(());
        }
        if !began_long_ago(work.event) {
            handoff::echoed(self.tx, draft.new.message.thread_id, said.sent_by.as_deref()).await?;
            draft.waiting = Waiting::Ends;
        }
        self.append(vec![draft], known.marked).await
    }

    /// An old message of either side. It opens no window and no case and is nobody's unread one.
    pub(super) async fn history(&mut self, work: &Work<'_>, old: &HistoryFact) -> Result<(), StoreError> {
        let place = self.person(work.event).await?;
        let direction = if old.outgoing { Direction::Out } else { Direction::In };
        let known = self.known(std::iter::once((&work.event.channel, &old.message))).await?;
        let mut draft = self.draft(work, &old.message, place, direction)?;
        draft.kind = EventType::MessageImported;
        draft.new.imported = true;
        draft.new.message.late = true;
        draft.last_at = work.event.at.min(work.event.received_at);
        let is_news = match existing(work, &old.message, &known) {
            Some(existing) => self.completes(&mut draft, existing).await?,
            None => true,
        };
        if is_news {
            self.append(vec![draft], known.marked).await?;
        }
        if let (true, Some(status), Some(target)) = (old.outgoing, old.status, &old.message.external_id) {
            let status = StatusFact {
                target: target.clone(),
                status,
                outbox_id: None,
                errors: Vec::new(),
                pricing: Vec::new(),
                group: None,
                participant: None,
            };
            let event = work.event;
            delivery::apply_status(self.tx, &event.channel, &status, event.at, event.received_at).await?;
        }
        Ok(())
    }

    /// What the store knows of the provider's ids.
    async fn known<'a>(
        &mut self,
        said: impl Iterator<Item = (&'a ChannelAccount, &'a MessageFact)>,
    ) -> Result<About, StoreError> {
        let wanted: Vec<(&ChannelAccount, &str)> =
            said.filter_map(|(channel, said)| said.external_id.as_deref().map(|id| (channel, id))).collect();
        messages::about(self.tx, &wanted).await
    }

    /// Whether a draft completes the message that is there: a placeholder becomes what it stood for,
    /// an imported one becomes the customer's own. Otherwise it is there already and nothing is done.
    async fn completes(&mut self, draft: &mut Draft<'_>, existing: MessageId) -> Result<bool, StoreError> {
        let Some((kind, imported)) = messages::standing(self.tx, existing).await? else {
            return Err(StoreError::Constraint("the message it completes is not there".to_owned()));
        };
        let was_placeholder = PLACEHOLDERS.contains(&kind.as_str());
        let is_placeholder = PLACEHOLDERS.contains(&draft.new.message.content.kind.as_str());
        let is_better = (was_placeholder && !is_placeholder) || (imported && !draft.new.imported);
        self.is_already(draft.work, existing).await?;
        draft.completes = true;
        draft.new.message.id = existing;
        Ok(is_better)
    }

    /// The effect of a key is a message that was there before.
    async fn is_already(&mut self, work: &Work<'_>, message: MessageId) -> Result<(), StoreError> {
        inbox::redirect(self.tx, &work.key, Effect::Message, Some(&message.to_string())).await
    }

    fn heard_from(&mut self, work: &Work<'_>, said: &MessageFact, place: usize) -> Result<(), StoreError> {
        let at = work.event.at.min(work.event.received_at);
        let touch = self.touch(place)?;
        if touch.last_message_at.is_none_or(|last| at >= last) {
            touch.last_message_at = Some(at);
            if said.external_id.is_some() {
                touch.last_external_id.clone_from(&said.external_id);
            }
        }
        Ok(())
    }

    fn draft<'w>(
        &mut self,
        work: &'w Work<'w>,
        said: &MessageFact,
        place: usize,
        direction: Direction,
    ) -> Result<Draft<'w>, StoreError> {
        let event = work.event;
        let person = self.people.get(place)?;
        let author = if direction == Direction::In {
            // In a group it is one of its members who speaks.
            let name = said.participant.as_ref().map_or_else(|| person.name.clone(), |who| who.name.clone());
            Author { kind: AuthorType::Contact, id: Some(person.contact.to_string()), name }
        } else {
            Author { kind: AuthorType::System, id: said.sent_by.clone(), name: None }
        };
        let mut attachments = said.attachments.clone();
        messages::name_attachments(self.tx, &mut attachments);
        let message = Message {
            id: work.message,
            seq: 0,
            thread_id: person.thread,
            copied_from: None,
            direction,
            author,
            channel: Some(event.channel.clone()),
            identity_id: Some(person.identity),
            content: said.content.clone(),
            attachments,
            reply_to: said.reply_to.clone(),
            external_id: said.external_id.clone(),
            status: (direction == Direction::Out).then_some(MessageStatus::Sent),
            status_detail: None,
            reactions: Vec::new(),
            late: false,
            edited_at: None,
            revoked_at: None,
            provider_time: provider_time(event),
            created_at: self.tx.now(),
        };
        let new = NewMessage { message, client_message_id: said.client_message_id.clone(), imported: false };
        Ok(Draft {
            work,
            place,
            kind: EventType::MessageEchoed,
            new,
            completes: false,
            opens: None,
            waiting: Waiting::Same,
            last_at: self.tx.now(),
        })
    }

    /// Appends drafts in their order: numbers of all threads in one statement, messages in one, log
    /// entries in one. `marked`: something was said about one of them before it came.
    async fn append(&mut self, mut drafts: Vec<Draft<'_>>, marked: bool) -> Result<(), StoreError> {
        if drafts.is_empty() {
            return Ok(());
        }
        failpoint!("hub.ingest.thread.before", StoreError::Passing("on purpose".to_owned()));
        let mut numbers = self.draw(&drafts).await?;
        failpoint!("hub.ingest.thread.after", StoreError::Passing("on purpose".to_owned()));
        let mut opened = HashMap::new();
        let mut began = Vec::new();
        let now = self.tx.now();
        let mut places = Vec::with_capacity(drafts.len());
        for draft in &mut drafts {
            let thread = draft.new.message.thread_id;
            let Drawn { first: next, epoch, .. } = numbers
                .get_mut(&thread)
                .ok_or_else(|| StoreError::Other("a thread drew no number".to_owned()))?;
            if let Some(opening) = draft.opens {
                let control = opening.control(*epoch, now);
                began.push(Began { thread, turn: Turn::of(&control), asked: None, seq: *next });
                opened.insert(draft.work.message, (*next, opening.case, control));
                *next += 1;
            }
            places.push(*next);
            if !draft.completes {
                draft.new.message.seq = *next;
            }
            *next += 1;
        }
        handoffs::began(self.tx, &began).await?;
        failpoint!("hub.ingest.message.before", StoreError::Passing("on purpose".to_owned()));
        let shown = self.write(&drafts, marked).await?;
        failpoint!("hub.ingest.message.after", StoreError::Passing("on purpose".to_owned()));
        let mut entries = Vec::with_capacity(drafts.len() + opened.len());
        for ((draft, seq), message) in drafts.iter().zip(places).zip(&shown) {
            let thread = message.thread_id;
            let person = self.people.get(draft.place)?;
            if let Some((seq, case, control)) = opened.get(&draft.work.message) {
                let data = json!({
                    "case_id": case, "thread_id": thread, "contact": { "id": person.contact },
                    "message_id": message.id, "control": control,
                });
                entries.push(Entry {
                    place: Some((thread, *seq)),
                    kind: EventType::ThreadOpened,
                    data: data.to_string(),
                });
            }
            let data = to_json(&Came::of(draft.work.event, person, message))?;
            entries.push(Entry { place: Some((thread, seq)), kind: draft.kind, data });
        }
        log::write(self.tx, entries).await?;
        for message in shown.iter().filter(|message| message.direction == Direction::Out) {
            delivery::catch_up(self.tx, message.id).await?;
        }
        Ok(())
    }

    async fn draw(&mut self, drafts: &[Draft<'_>]) -> Result<HashMap<ThreadId, Drawn>, StoreError> {
        // By ascending id: the order in which all lock threads.
        let mut growths: BTreeMap<ThreadId, Growth> = BTreeMap::new();
        for draft in drafts {
            let thread = draft.new.message.thread_id;
            let growth = growths.entry(thread).or_insert(Growth {
                thread,
                entries: 0,
                last_message: None,
                opens: None,
                waiting: Waiting::Same,
            });
            growth.entries += 1 + i64::from(draft.opens.is_some());
            growth.opens = growth.opens.or(draft.opens);
            if growth.waiting == Waiting::Same {
                growth.waiting = draft.waiting;
            }
            if growth.last_message.is_none_or(|(_, at)| draft.last_at >= at) {
                growth.last_message = Some((draft.new.message.id, draft.last_at));
            }
        }
        let growths: Vec<Growth> = growths.into_values().collect();
        let drawn = threads::grow(self.tx, &growths).await?;
        Ok(drawn.into_iter().map(|drawn| (drawn.thread, drawn)).collect())
    }

    /// Writes what drafts say and answers the messages as they are shown now.
    async fn write(&mut self, drafts: &[Draft<'_>], marked: bool) -> Result<Vec<Message>, StoreError> {
        let new = drafts.iter().filter(|draft| !draft.completes).map(|draft| &draft.new);
        messages::insert(self.tx, new).await?;
        for draft in drafts.iter().filter(|draft| draft.completes) {
            messages::complete(self.tx, draft.new.message.id, &draft.new).await?;
        }
        let mut shown = Vec::with_capacity(drafts.len());
        for draft in drafts {
            if draft.completes {
                let whole = messages::by_id(self.tx, draft.new.message.id).await?;
                shown.push(whole.ok_or_else(|| StoreError::Other("a message went away".to_owned()))?);
            } else {
                shown.push(draft.new.message.clone());
            }
        }
        for chunk in shown.chunks_mut(ROWS_MAX) {
            if marked {
                marks::dress(self.tx, chunk).await?;
            }
            messages::answer(self.tx, chunk).await?;
        }
        for message in &shown {
            marks::empty_if_revoked(self.tx, message).await?;
        }
        Ok(shown)
    }

    /// A card that answers our request for the sender's number proves that the number is theirs
    /// (`whatsapp` §6).
    async fn told_their_number(&mut self, work: &Work<'_>) -> Result<(), StoreError> {
        let Fact::Message(said) = &work.event.fact else { return Ok(()) };
        let asked =
            said.content.contacts.iter().filter(|card| card.origin.as_deref() == Some("contact_request"));
        let numbers: Vec<Handle> = asked
            .flat_map(|card| &card.phones)
            .map(|phone| phone.chars().filter(char::is_ascii_digit).collect::<String>())
            .filter(|digits| !digits.is_empty())
            .map(|digits| Handle::new(HandleKind::Phone, digits))
            .collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let event = work.event;
        let place = self.person(event).await?;
        self.people.find(self.tx, &event.channel, &numbers, event.at).await?;
        self.people.learn(self.tx, place, &event.channel, &numbers, event.at, "contact_request").await
    }
}

/// The message in the thread that an event is about, if it is there already.
fn existing(work: &Work<'_>, said: &MessageFact, known: &About) -> Option<MessageId> {
    if let Some(placeholder) = work.parked.and_then(|replaced| replaced.placeholder) {
        return Some(placeholder);
    }
    known.messages.get(&(work.event.channel.clone(), said.external_id.clone()?)).copied()
}

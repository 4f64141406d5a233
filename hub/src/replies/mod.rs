//! Replies: from what an agent, a bot or a program wants to say to rows that wait to be sent, in one
//! transaction (`reliability-contract` §3, step 1).

use loket_backbone::failpoint;
use loket_protocol::agent::Role;
use loket_protocol::asks::VisitorWake;
use loket_protocol::channel::AccountSettings;
use loket_protocol::contact::HandleKind;
use loket_protocol::delivery::MessageStatus;
use loket_protocol::event::EventType;
use loket_protocol::handoff::{Holder, Turn, reason};
use loket_protocol::ids::{CaseId, IdentityId, MessageId, ThreadId};
use loket_protocol::message::{Author, AuthorType, Content, Direction, Message, ReactionContent, ReplyTo};
use loket_protocol::outbound::{Dispatch, OUTBOUND_VERSION, OutboundMessage};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::topics::WAKE_VISITOR;
use serde_json::{Value, json};

use crate::handoff;
use crate::idempotency::Begun;
use crate::requests::{Idempotency, NewReply, Principal, Target, Written};
use crate::sendability::MaySend;
use crate::store::contacts::IdentityRow;
use crate::store::handoffs::{self, Began, Opening};
use crate::store::log::{self, Entry};
use crate::store::messages::{self, NewMessage};
use crate::store::threads::{self, Growth, ThreadRow, Waiting};
use crate::store::{Tx, contacts, json as text_of, outbound};
use crate::{Hub, HubError};

pub(crate) mod check;
pub(crate) mod sendable;

use sendable::{Recipient, Refusal};

/// A conversation that was found to take a reply.
struct Chosen {
    identity: IdentityRow,
    account: AccountSettings,
}

/// The messages that a reply points at, as this conversation's provider knows them.
struct Pointed {
    /// The message that is answered, and the provider's id of it.
    answers: Option<(Message, Option<String>)>,
    /// The content, with a reaction's target filled in.
    content: Content,
}

/// Who asks, as an author.
pub(crate) fn author(by: &Principal) -> Author {
    let kind = match (by.agent(), by.role) {
        (Some(_), _) => AuthorType::Agent,
        (None, Role::Bot) => AuthorType::Bot,
        (None, _) => AuthorType::System,
    };
    Author { kind, id: Some(by.id()), name: Some(by.name.clone()) }
}

impl Hub {
    /// Queues a reply: idempotency key, message, log entries and rows to be sent in one transaction.
    /// On a channel whose recipient reads the thread itself it is *sent* at once. Refuses what cannot
    /// be sent, and says what could.
    pub async fn reply(
        &self,
        by: &Principal,
        thread: ThreadId,
        new: NewReply,
        idem: Option<Idempotency>,
    ) -> Result<Written<Message>, HubError> {
        // Large, and asked for from deep inside other futures.
        Box::pin(self.accept(by, thread, new, idem)).await
    }

    async fn accept(
        &self,
        by: &Principal,
        thread: ThreadId,
        new: NewReply,
        idem: Option<Idempotency>,
    ) -> Result<Written<Message>, HubError> {
        check::shape(&new)?;
        if idem.is_none() && new.client_message_id.is_none() {
            return Err(HubError::invalid(
                "Idempotency-Key",
                "a message needs this header or client_message_id, so that a repeat is not sent twice",
            ));
        }
        let status = idem.as_ref().map_or(201, |idem| idem.status);
        failpoint!("api.begin.before", HubError::Unavailable("on purpose".to_owned()));
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        failpoint!("api.begin.after", HubError::Unavailable("on purpose".to_owned()));
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?;
        if let Some(before) = said_before(&mut tx, &row, by, &new).await? {
            return Ok(Written::Replayed { status, body: text_of(&before)? });
        }
        let takes = handoff::reply_takes(by, &row.control, new.epoch)?;
        let (chosen, pointed) = self.choose(&mut tx, by, &row, &new).await?;
        let visitor = visitor_of(&chosen);
        // A case that begins with a reply begins with who replies; in one that is open they take over.
        if let Some(change) = takes.filter(|_| row.status == ThreadStatus::Open) {
            handoff::carry(&mut tx, &row, &change).await?;
        }
        let message = self.write_reply(&mut tx, by, &row, &new, &chosen, pointed).await?;
        self.done(&mut tx, once, &message).await?;
        failpoint!("api.commit.before", HubError::Unavailable("on purpose".to_owned()));
        tx.commit().await?;
        failpoint!("api.commit.after", HubError::Unavailable("on purpose".to_owned()));
        metrics::counter!("loket_reply_accepted_total", "channel" => chosen.account.channel.kind.to_string())
            .increment(1);
        match visitor {
            Some(wake) => self.wake_visitor(&wake).await,
            None => self.kick_everywhere().await,
        }
        Ok(Written::Done(message))
    }

    /// Finds the conversation for a reply, or says why there is none.
    async fn choose(
        &self,
        tx: &mut Tx,
        by: &Principal,
        row: &ThreadRow,
        new: &NewReply,
    ) -> Result<(Chosen, Pointed), HubError> {
        let identities = contacts::identities_of(tx, &[row.contact_id]).await?;
        let answered = target_message(tx, row.id, new.reply_to, "reply_to").await?;
        let reacted = new.content.reaction.as_ref().and_then(|reaction| reaction.message_id);
        let reacted = target_message(tx, row.id, reacted, "content.reaction.message_id").await?;
        let bound = reacted.as_ref().or(answered.as_ref());
        let candidates = match new.to {
            Target::Identity(id) => {
                let found = identities.iter().find(|identity| identity.id == id);
                vec![found.ok_or_else(|| HubError::invalid("to", "this contact has no such identity"))?]
            }
            Target::Auto => in_order(&identities, bound, outbound::last_heard(tx, row.id).await?),
        };
        let mut first: Option<Refusal> = None;
        for identity in candidates {
            let refused = match self.refused(by, identity, new) {
                None => points_elsewhere(identity, answered.as_ref(), reacted.as_ref()),
                refused => refused,
            };
            let account = self.inner().accounts.get(&identity.channel);
            match (refused, account) {
                (None, Some(account)) => {
                    let chosen = Chosen { identity: identity.clone(), account: account.clone() };
                    let pointed = point(&chosen, new, answered, reacted.as_ref())?;
                    return Ok((chosen, pointed));
                }
                (refused, _) => first = first.or(refused),
            }
        }
        let Refusal { code, sentence } = first.unwrap_or(Refusal {
            code: "no_target",
            sentence: "This contact has no address to answer to yet.".to_owned(),
        });
        let options = self.options(by, &identities, new, code);
        Err(HubError::Unsendable { code, sentence, options })
    }

    /// A conversation as the decision about it sees it; `name` is that of its channel account.
    pub(crate) fn recipient<'a>(&'a self, name: &'a str, identity: &IdentityRow) -> Recipient<'a> {
        Recipient {
            channel: name,
            capabilities: self.inner().accounts.get(&identity.channel).map(|account| &account.capabilities),
            has_address: identity.handles.iter().any(|handle| handle.kind.identifies()),
            window_opened_at: identity.window_opened_at,
        }
    }

    fn refused(&self, by: &Principal, identity: &IdentityRow, new: &NewReply) -> Option<Refusal> {
        let name = identity.channel.to_string();
        let to = self.recipient(&name, identity);
        sendable::refusal(&to, new, by.agent().is_some(), self.inner().clock.now())
    }

    /// What would be possible instead: the identities that take this as it is, those that take a
    /// template, and what to wait for.
    fn options(&self, by: &Principal, identities: &[IdentityRow], new: &NewReply, code: &str) -> Value {
        let now = self.inner().clock.now();
        let takes = |identity: &&IdentityRow| self.refused(by, identity, new).is_none();
        let others: Vec<IdentityId> = identities.iter().filter(takes).map(|identity| identity.id).collect();
        let takes_templates = |identity: &&IdentityRow| {
            let name = identity.channel.to_string();
            let to = self.recipient(&name, identity);
            let has = to.capabilities.is_some_and(|can| can.takes("template"));
            has && sendable::standing(&to, by.agent().is_some(), now).may_send != MaySend::Nothing
        };
        let templates: Vec<IdentityId> =
            identities.iter().filter(takes_templates).map(|identity| identity.id).collect();
        let when = (code == "window_closed").then_some("customer_writes");
        json!({ "identities": others, "template": templates, "when": when })
    }

    async fn write_reply(
        &self,
        tx: &mut Tx,
        by: &Principal,
        row: &ThreadRow,
        new: &NewReply,
        chosen: &Chosen,
        pointed: Pointed,
    ) -> Result<Message, HubError> {
        let now = tx.now();
        let at_once = chosen.account.capabilities.reads_the_thread;
        let mut attachments = new.attachments.clone();
        messages::name_attachments(tx, &mut attachments);
        let opens = (row.status == ThreadStatus::Resolved).then(|| self.opening(by, tx.id()));
        let id: MessageId = tx.id();
        let growth = Growth {
            thread: row.id,
            entries: 1 + i64::from(opens.is_some()) + i64::from(at_once),
            last_message: Some((id, now)),
            opens,
            waiting: if by.answers() { Waiting::Ends } else { Waiting::Same },
        };
        let drawn = threads::grow(tx, std::slice::from_ref(&growth)).await?;
        let (first, epoch) = drawn.first().map_or((1, 1), |drawn| (drawn.first, drawn.epoch));
        let seq = first + i64::from(opens.is_some());
        let (answers, external) = pointed.answers.unzip();
        let reply_to = answers.map(|answered| ReplyTo {
            message_id: Some(answered.id),
            external_id: external.flatten(),
            story_id: None,
        });
        let message = Message {
            id,
            seq,
            thread_id: row.id,
            copied_from: None,
            direction: Direction::Out,
            author: author(by),
            channel: Some(chosen.account.channel.clone()),
            identity_id: Some(chosen.identity.id),
            content: pointed.content,
            attachments,
            reply_to,
            external_id: None,
            status: Some(if at_once { MessageStatus::Sent } else { MessageStatus::Queued }),
            status_detail: at_once.then(|| json!({ "sent_at": now })),
            reactions: Vec::new(),
            late: false,
            edited_at: None,
            revoked_at: None,
            provider_time: at_once.then_some(now),
            created_at: now,
        };
        let client_message_id = new.client_message_id.clone();
        messages::insert(tx, &[NewMessage { message: message.clone(), client_message_id, imported: false }])
            .await?;
        let mut entries = Vec::new();
        if let Some(opening) = opens {
            let control = opening.control(epoch, now);
            let began = Began { thread: row.id, turn: Turn::of(&control), asked: None, seq: first };
            handoffs::began(tx, &[began]).await?;
            let data = text_of(&json!({
                "case_id": opening.case, "thread_id": row.id, "contact": { "id": row.contact_id },
                "message_id": id, "control": control,
            }))?;
            entries.push(Entry { place: Some((row.id, first)), kind: EventType::ThreadOpened, data });
        }
        let data = text_of(&json!({
            "message": message,
            "conversation": { "identity_id": message.identity_id, "channel": message.channel },
            "contact": { "id": row.contact_id },
        }))?;
        entries.push(Entry {
            place: Some((row.id, seq)),
            kind: EventType::MessageQueued,
            data: data.clone(),
        });
        if at_once {
            entries.push(Entry { place: Some((row.id, seq + 1)), kind: EventType::MessageSent, data });
        } else {
            self.queue(tx, by, chosen, &message).await?;
        }
        log::write(tx, entries).await?;
        Ok(message)
    }

    /// A case that begins with a reply: an agent answers in it; what a program tells leaves it to whoever
    /// answers first.
    fn opening(&self, by: &Principal, case: CaseId) -> Opening {
        match by.agent() {
            Some(agent) => {
                Opening { case, holder: Holder::Agent, agent_id: Some(agent), reason: reason::REPLIED }
            }
            None => self.inner().house.opening(case, false),
        }
    }

    /// Puts the provider messages of a reply into the conversation's lane.
    async fn queue(
        &self,
        tx: &mut Tx,
        by: &Principal,
        chosen: &Chosen,
        message: &Message,
    ) -> Result<(), HubError> {
        let identity = &chosen.identity;
        let lane = format!("{}:{}", identity.channel, identity.id);
        let to: Vec<_> = identity.handles.iter().filter(|handle| handle.kind.identifies()).cloned().collect();
        let reply_to = message.reply_to.as_ref().and_then(|to| to.external_id.clone());
        let closes_at =
            self.inner().window_closes_at(identity).filter(|closes_at| *closes_at > message.created_at);
        let payloads: Vec<OutboundMessage> = (0..)
            .zip(check::split(&message.content, &message.attachments, &chosen.account.capabilities))
            .map(|(part, (content, attachment))| OutboundMessage {
                v: OUTBOUND_VERSION,
                dispatch: Dispatch { message_id: message.id, part, number: 1 },
                channel: identity.channel.clone(),
                to: to.clone(),
                content,
                attachment,
                // Only the first part quotes; the others follow it.
                reply_to: reply_to.clone().filter(|_| part == 0),
                written_by_person: by.agent().is_some(),
                window_closes_at: closes_at,
            })
            .collect();
        outbound::insert(tx, &lane, identity.id, &payloads).await?;
        Ok(())
    }

    /// Tells web chat that there is something to see.
    pub(crate) async fn wake_visitor(&self, wake: &VisitorWake) {
        let bytes = serde_json::to_vec(wake).unwrap_or_default();
        if let Err(error) = self.inner().kv.wake(WAKE_VISITOR, bytes.into()).await {
            tracing::debug!(%error, "a visitor's wake-up was lost; web chat looks by itself");
        }
    }
}

fn visitor_of(chosen: &Chosen) -> Option<VisitorWake> {
    if !chosen.account.capabilities.reads_the_thread {
        return None;
    }
    let handle = chosen.identity.handles.iter().find(|handle| handle.kind == HandleKind::Visitor)?;
    Some(VisitorWake { visitor: handle.value.parse().ok()?, typing: None })
}

/// A reply with the same client's id is the same reply, wherever *auto* would lead today.
async fn said_before(
    tx: &mut Tx,
    row: &ThreadRow,
    by: &Principal,
    new: &NewReply,
) -> Result<Option<Message>, HubError> {
    let Some(client_id) = &new.client_message_id else { return Ok(None) };
    let Some(before) = outbound::of_client(tx, row.contact_id, client_id).await? else { return Ok(None) };
    let message = messages::by_id(tx, before).await?;
    let same = |message: &Message| {
        message.direction == Direction::Out && message.author.id.as_deref() == Some(by.id().as_str())
    };
    match message {
        Some(message) if same(&message) => Ok(Some(message)),
        _ => Err(HubError::Conflict("client_message_id: another message of this thread has it".to_owned())),
    }
}

/// A message of this thread that a reply points at.
async fn target_message(
    tx: &mut Tx,
    thread: ThreadId,
    id: Option<MessageId>,
    field: &str,
) -> Result<Option<Message>, HubError> {
    let Some(id) = id else { return Ok(None) };
    let found = messages::by_id(tx, id).await?.filter(|message| message.thread_id == thread);
    match found {
        Some(message) if message.direction != Direction::Note => Ok(Some(message)),
        _ => Err(HubError::invalid(field, "there is no such message in this thread")),
    }
}

/// Candidates for *auto*: that of the message pointed at, that of the contact's last message, then
/// the most recently active ones (`design.md` §5).
pub(crate) fn in_order<'a>(
    identities: &'a [IdentityRow],
    bound: Option<&Message>,
    last: Option<IdentityId>,
) -> Vec<&'a IdentityRow> {
    let bound = bound.and_then(|message| message.identity_id);
    let mut order: Vec<&IdentityRow> = identities.iter().collect();
    order.sort_by_key(|identity| {
        (
            Some(identity.id) != bound,
            Some(identity.id) != last,
            std::cmp::Reverse(identity.last_message_at),
            std::cmp::Reverse(identity.created_at),
        )
    });
    order
}

/// A quote or a reaction stays in its own conversation.
fn points_elsewhere(
    identity: &IdentityRow,
    answered: Option<&Message>,
    reacted: Option<&Message>,
) -> Option<Refusal> {
    let elsewhere = |message: &Message| message.identity_id != Some(identity.id);
    let sentence = if reacted.is_some_and(elsewhere) {
        "A reaction goes to the conversation of its message; send it there."
    } else if answered.is_some_and(elsewhere) {
        "The message that is answered is in another conversation; send it there, or leave reply_to out."
    } else {
        return None;
    };
    Some(Refusal { code: "other_conversation", sentence: sentence.to_owned() })
}

/// Fills in the provider's ids of what a reply points at.
fn point(
    chosen: &Chosen,
    new: &NewReply,
    answered: Option<Message>,
    reacted: Option<&Message>,
) -> Result<Pointed, HubError> {
    let unknown = |field: &str| {
        HubError::invalid(
            field,
            "the provider has not told its id of that message yet; try again in a moment",
        )
    };
    let mut content = new.content.clone();
    if let (Some(reaction), Some(message)) = (&new.content.reaction, reacted) {
        let external_id = message.external_id.clone();
        content.reaction = Some(ReactionContent {
            external_id: Some(external_id.ok_or_else(|| unknown("content.reaction.message_id"))?),
            ..reaction.clone()
        });
    }
    let answers = match answered {
        None => None,
        Some(message) if chosen.account.capabilities.reads_the_thread => Some((message, None)),
        Some(message) => {
            let external_id = message.external_id.clone().ok_or_else(|| unknown("reply_to"))?;
            Some((message, Some(external_id)))
        }
    };
    Ok(Pointed { answers, content })
}

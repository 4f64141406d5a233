//! Handing over: who answers a thread now. `loket_protocol::handoff` decides; what it decides is written
//! here, under the thread's row, in one transaction with its entry in the log.

use loket_protocol::agent::Role;
use loket_protocol::event::EventType;
use loket_protocol::handoff::{
    Actor, Asked, Control, Holder, Refusal, Successor, Turn, Verb, decide, reason,
};
use loket_protocol::ids::{AgentId, CaseId, ThreadId};
use loket_protocol::message::{Author, AuthorType, Content};
use loket_protocol::thread::{Thread, ThreadStatus};
use serde_json::json;

use crate::desk;
use crate::idempotency::Begun;
use crate::replies::author;
use crate::requests::{Idempotency, NewHandoff, Principal, Written};
use crate::settings::HandoffSettings;
use crate::store::handoffs::{self, Began, Opening};
use crate::store::threads::{self, ThreadRow};
use crate::store::{StoreError, Tx, agents, log};
use crate::{Hub, HubError};

mod words;

/// The longest summary, in characters.
const SUMMARY_CHARS_MAX: usize = 2_000;
/// What a button that asks for a person carries, on any channel.
const PERSON_PAYLOAD: &str = "loket:person";
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 32;

/// What the house does with conversations, as it is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct House {
    settings: HandoffSettings,
}

impl House {
    pub(crate) fn new(settings: &HandoffSettings) -> Self {
        Self { settings: settings.clone() }
    }

    /// Whether a bot answers first, and takes back what is released.
    pub(crate) fn has_bot(&self) -> bool {
        self.settings.bot_first
    }

    /// Whether a customer asks for a person, in their words or by a button.
    pub(crate) fn is_asked_for_a_person(&self, content: &Content) -> bool {
        content.payload.as_deref() == Some(PERSON_PAYLOAD)
            || content
                .text
                .as_deref()
                .is_some_and(|text| words::ask_for_a_person(text, &self.settings.phrases))
    }

    /// A case that a customer's message begins. Nobody answers a late one by itself.
    pub(crate) fn opening(&self, case: CaseId, is_late: bool) -> Opening {
        let holder = if self.has_bot() && !is_late { Holder::Bot } else { Holder::Waiting };
        Opening { case, holder, agent_id: None, reason: reason::OPENED }
    }
}

/// A change of control that was decided on.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) asked: Asked,
    pub(crate) to: Turn,
    pub(crate) reason: String,
    pub(crate) summary: Option<String>,
    pub(crate) by: Author,
}

impl Change {
    /// How control stands after it.
    fn control(&self, before: &Control, tx: &Tx) -> Control {
        let moves = self.to.epoch != before.epoch;
        Control {
            holder: self.to.holder,
            agent_id: self.to.agent_id,
            offered_to: self.to.offered_to,
            offered_until: None,
            epoch: self.to.epoch,
            since: if moves { tx.now() } else { before.since },
            reason: if moves { self.reason.clone() } else { before.reason.clone() },
            // What was said on handing over stays for whoever takes over.
            summary: match (&self.summary, self.to.holder) {
                (Some(summary), _) => Some(summary.clone()),
                (None, Holder::Bot) => None,
                (None, _) => before.summary.clone(),
            },
        }
    }

    fn event(&self, before: &Control) -> EventType {
        match (self.asked.verb, self.to.holder) {
            (_, Holder::Agent) => EventType::ControlAccepted,
            (Verb::Offer, _) => EventType::ControlOffered,
            (Verb::Release, _) => EventType::ControlReleased,
            (_, Holder::Waiting) if before.holder == Holder::Bot => EventType::ControlRequested,
            (_, Holder::Waiting) if before.offered_to.is_some() && self.to.offered_to.is_none() => {
                EventType::ControlExpired
            }
            _ => EventType::ControlPassed,
        }
    }
}

/// The house as an author.
pub(crate) fn house() -> Author {
    Author { kind: AuthorType::System, id: None, name: None }
}

/// Who asks, as one who may hand over.
fn actor(by: &Principal) -> Result<Actor, HubError> {
    let leads = matches!(by.role, Role::Admin | Role::Lead);
    match by.agent() {
        Some(id) => Ok(Actor::Agent { id, leads }),
        None if by.role == Role::Bot => Ok(Actor::Bot),
        None if leads => Ok(Actor::House),
        None => Err(HubError::Conflict("a key of this role has no part in handing over".to_owned())),
    }
}

fn refused(refusal: Refusal, control: &Control) -> HubError {
    match refusal {
        Refusal::Lost => HubError::ControlLost(Box::new(control.clone())),
        Refusal::EpochMissing => HubError::invalid("epoch", refusal.sentence()),
        Refusal::NoSuccessor => HubError::invalid("to", refusal.sentence()),
        other => HubError::Conflict(other.sentence().to_owned()),
    }
}

/// Writes a change of control and its entry in the log, whose number it is.
pub(crate) async fn carry(tx: &mut Tx, row: &ThreadRow, change: &Change) -> Result<Control, StoreError> {
    let before = &row.control;
    let control = change.control(before, tx);
    handoffs::set(tx, row.id, &control).await?;
    let data = json!({
        "thread_id": row.id,
        "contact": { "id": row.contact_id },
        "epoch": control.epoch,
        "from": { "holder": before.holder, "agent_id": before.agent_id, "offered_to": before.offered_to },
        "to": { "holder": control.holder, "agent_id": control.agent_id, "offered_to": control.offered_to },
        "reason": &change.reason,
        "summary": &change.summary,
        "by": &change.by,
        "control": &control,
    });
    let seq = log::append(tx, Some(row.id), change.event(before), &data).await?.unwrap_or_default();
    if control.epoch != before.epoch {
        let began = Began { thread: row.id, turn: change.to, asked: Some(change.asked), seq };
        handoffs::began(tx, &[began]).await?;
    }
    if control.holder == Holder::Waiting
        && change.asked.verb == Verb::Pass
        && row.status == ThreadStatus::Open
    {
        handoffs::waits(tx, row.id).await?;
    }
    metrics::counter!("loket_handoffs_total", "to" => control.holder.as_str()).increment(1);
    Ok(control)
}

/// What a reply does to control: `None` when it changes nothing. Refuses whom it is not the turn of.
pub(crate) fn reply_takes(
    by: &Principal,
    control: &Control,
    epoch: Option<i64>,
) -> Result<Option<Change>, HubError> {
    if epoch.is_some_and(|epoch| epoch != control.epoch) {
        return Err(refused(Refusal::Lost, control));
    }
    let now = Turn::of(control);
    match (by.agent(), by.role) {
        (Some(id), role) => {
            let leads = matches!(role, Role::Admin | Role::Lead);
            let asked = take(Actor::Agent { id, leads });
            let to = now.next(Holder::Agent, Some(id), None);
            Ok((to != now).then(|| Change {
                asked,
                to,
                reason: reason::REPLIED.to_owned(),
                summary: None,
                by: author(by),
            }))
        }
        (None, Role::Bot) => match epoch {
            None => Err(refused(Refusal::EpochMissing, control)),
            Some(epoch) if now.lets_a_bot_speak(epoch) => Ok(None),
            Some(_) => Err(refused(Refusal::Lost, control)),
        },
        // A program that tells something takes no turn.
        (None, _) => Ok(None),
    }
}

fn take(actor: Actor) -> Asked {
    Asked { actor, verb: Verb::Take, to: Successor::Queue, epoch: None }
}

/// Somebody answered in another app: they hold it from now on, whoever it was.
pub(crate) async fn echoed(tx: &mut Tx, thread: ThreadId, by: Option<&str>) -> Result<(), StoreError> {
    let row = threads::row(tx, thread)
        .await?
        .ok_or_else(|| StoreError::Constraint("there is no such thread".to_owned()))?;
    let now = Turn::of(&row.control);
    if now.holder == Holder::Agent {
        return Ok(());
    }
    let change = Change {
        asked: take(Actor::House),
        to: now.next(Holder::Agent, None, None),
        reason: reason::ECHOED.to_owned(),
        summary: None,
        by: Author { id: by.map(str::to_owned), ..house() },
    };
    carry(tx, &row, &change).await?;
    Ok(())
}

/// The customer asks for a person: a bot answers no longer. With a person, or waiting for one, they have
/// what they ask for.
pub(crate) async fn asked_for(tx: &mut Tx, thread: ThreadId, by: &Author) -> Result<(), StoreError> {
    let row = threads::row(tx, thread)
        .await?
        .ok_or_else(|| StoreError::Constraint("there is no such thread".to_owned()))?;
    let now = Turn::of(&row.control);
    if now.holder != Holder::Bot {
        return Ok(());
    }
    let change = Change {
        asked: Asked { actor: Actor::House, verb: Verb::Pass, to: Successor::Queue, epoch: None },
        to: now.next(Holder::Waiting, None, None),
        reason: reason::ASKED.to_owned(),
        summary: None,
        by: by.clone(),
    };
    carry(tx, &row, &change).await?;
    Ok(())
}

impl Hub {
    /// Hands a thread over, takes it, or gives it back. Idempotent by the turn: the same request again,
    /// with the number that it was made with, changes nothing.
    pub async fn hand_over(
        &self,
        by: &Principal,
        thread: ThreadId,
        new: NewHandoff,
        idem: Option<Idempotency>,
    ) -> Result<Written<Thread>, HubError> {
        shape(&new)?;
        let actor = actor(by)?;
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?;
        let asked = Asked { actor, verb: new.verb, to: new.to.unwrap_or(Successor::Queue), epoch: new.epoch };
        let now = Turn::of(&row.control);
        let made = match new.epoch {
            Some(epoch) if epoch != now.epoch => handoffs::made(&mut tx, thread, now.epoch, &asked).await?,
            _ => None,
        };
        let has_bot = self.inner().house.has_bot();
        let next = decide(now, made, asked, has_bot).map_err(|refusal| refused(refusal, &row.control))?;
        if let Some(to) = next {
            if let Some(agent) = to.offered_to {
                self.is_an_agent(&mut tx, agent).await?;
            }
            let reason = new.reason.unwrap_or_else(|| reason_of(asked).to_owned());
            let change = Change { asked, to, reason, summary: new.summary, by: author(by) };
            carry(&mut tx, &row, &change).await?;
            if let Some(agent) = to.agent_id {
                desk::give(&mut tx, by, &row, Some(agent)).await?;
            }
        }
        self.finish(tx, by, thread, once).await
    }

    async fn is_an_agent(&self, tx: &mut Tx, agent: AgentId) -> Result<(), HubError> {
        if agents::by_id(tx, agent).await?.is_none_or(|agent| agent.disabled_at.is_some()) {
            return Err(HubError::invalid("to", "there is no such agent"));
        }
        Ok(())
    }
}

fn reason_of(asked: Asked) -> &'static str {
    match asked.verb {
        Verb::Take => reason::TAKEN,
        Verb::Accept => reason::ACCEPTED,
        Verb::Pass | Verb::Offer => reason::PASSED,
        Verb::Release => reason::RELEASED,
    }
}

fn shape(new: &NewHandoff) -> Result<(), HubError> {
    if let Some(word) = &new.reason {
        let fits = (1..=REASON_BYTES_MAX).contains(&word.len())
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !fits {
            return Err(HubError::invalid(
                "reason",
                "one short word, such as unsure: a-z, 0-9 and _, at most 32",
            ));
        }
    }
    if let Some(text) = &new.summary
        && (text.trim().is_empty() || text.chars().count() > SUMMARY_CHARS_MAX || text.contains('\0'))
    {
        return Err(HubError::invalid("summary", "1 to 2,000 characters without U+0000"));
    }
    if new.to.is_some() && !matches!(new.verb, Verb::Pass | Verb::Offer) {
        return Err(HubError::invalid("to", "only pass and offer go to somebody"));
    }
    Ok(())
}

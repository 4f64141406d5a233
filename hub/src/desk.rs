//! What agents do with a thread beside answering: notes, who looks after it, whether it is done.

use loket_protocol::event::EventType;
use loket_protocol::ids::{AgentId, CaseId, MessageId, ThreadId};
use loket_protocol::message::{Content, Direction, Message};
use loket_protocol::thread::{Thread, ThreadStatus};
use serde_json::json;

use crate::idempotency::Begun;
use crate::replies::author;
use crate::requests::{Idempotency, Principal, Written};
use crate::store::log::{self, Entry};
use crate::store::messages::{self, NewMessage};
use crate::store::threads::{self, Growth, ThreadRow, Waiting};
use crate::store::{Tx, agents, desk, json as text_of};
use crate::{Hub, HubError};

/// The longest note, in characters.
const NOTE_CHARS_MAX: usize = 10_000;

/// A change of a thread's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Resolve,
    Reopen,
}

impl Hub {
    /// Adds a note, which never leaves the house: 1 to 10,000 characters.
    pub async fn note(
        &self,
        by: &Principal,
        thread: ThreadId,
        text: &str,
        idem: Option<Idempotency>,
    ) -> Result<Written<Message>, HubError> {
        let chars = text.chars().count();
        if text.trim().is_empty() || chars > NOTE_CHARS_MAX || text.contains('\0') {
            return Err(HubError::invalid("text", "1 to 10,000 characters without U+0000"));
        }
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let thread = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?.id;
        let id: MessageId = tx.id();
        let now = tx.now();
        // A note is the last thing said, but it does not lift the thread in the inbox.
        let growth = Growth { thread, entries: 1, last_message: None, opens: None, waiting: Waiting::Same };
        let drawn = threads::grow(&mut tx, &[growth]).await?;
        let seq = drawn.first().map_or(1, |drawn| drawn.first);
        let message = Message {
            id,
            seq,
            thread_id: thread,
            copied_from: None,
            direction: Direction::Note,
            author: author(by),
            channel: None,
            identity_id: None,
            content: Content::text(text),
            attachments: Vec::new(),
            reply_to: None,
            external_id: None,
            status: None,
            status_detail: None,
            reactions: Vec::new(),
            late: false,
            edited_at: None,
            revoked_at: None,
            provider_time: None,
            created_at: now,
        };
        let new = NewMessage { message: message.clone(), client_message_id: None, imported: false };
        messages::insert(&mut tx, &[new]).await?;
        desk::set_last_message(&mut tx, thread, id).await?;
        let data = text_of(&json!({ "message": message }))?;
        log::write(&mut tx, vec![Entry { place: Some((thread, seq)), kind: EventType::NoteAdded, data }])
            .await?;
        self.done(&mut tx, once, &message).await?;
        tx.commit().await?;
        Ok(Written::Done(message))
    }

    /// Gives a thread to an agent, or to nobody. `if_version` is the version that the caller saw.
    pub async fn assign(
        &self,
        by: &Principal,
        thread: ThreadId,
        to: Option<AgentId>,
        if_version: Option<i64>,
        idem: Option<Idempotency>,
    ) -> Result<Written<Thread>, HubError> {
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?;
        let thread = row.id;
        unchanged(row.version, if_version)?;
        if let Some(agent) = to
            && agents::by_id(&mut tx, agent).await?.is_none_or(|agent| agent.disabled_at.is_some())
        {
            return Err(HubError::invalid("agent", "there is no such agent"));
        }
        give(&mut tx, by, &row, to).await?;
        self.finish(tx, by, thread, once).await
    }

    /// Ends the case of a thread; the next message begins a new one. Nothing when it is resolved.
    pub async fn resolve(
        &self,
        by: &Principal,
        thread: ThreadId,
        if_version: Option<i64>,
        idem: Option<Idempotency>,
    ) -> Result<Written<Thread>, HubError> {
        self.turn(by, thread, Turn::Resolve, if_version, idem).await
    }

    /// Begins a new case in a resolved thread. Nothing when it is open.
    pub async fn reopen(
        &self,
        by: &Principal,
        thread: ThreadId,
        if_version: Option<i64>,
        idem: Option<Idempotency>,
    ) -> Result<Written<Thread>, HubError> {
        self.turn(by, thread, Turn::Reopen, if_version, idem).await
    }

    async fn turn(
        &self,
        by: &Principal,
        thread: ThreadId,
        turn: Turn,
        if_version: Option<i64>,
        idem: Option<Idempotency>,
    ) -> Result<Written<Thread>, HubError> {
        let mut tx = self.inner().store.begin().await?;
        let once = match self.begin_once(&mut tx, &by.id(), idem).await? {
            Begun::Fresh(once) => once,
            Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
        };
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?;
        let thread = row.id;
        unchanged(row.version, if_version)?;
        let change = match (turn, row.status) {
            (Turn::Resolve, ThreadStatus::Open) => {
                Some((ThreadStatus::Resolved, row.case_id, EventType::ThreadResolved))
            }
            (Turn::Reopen, ThreadStatus::Resolved) => {
                Some((ThreadStatus::Open, Some(tx.id::<CaseId>()), EventType::ThreadOpened))
            }
            _ => None,
        };
        if let Some((status, case_id, kind)) = change {
            desk::set_status(&mut tx, thread, status, case_id).await?;
            let data = json!({ "thread_id": thread, "case_id": case_id, "by": author(by) });
            log::append(&mut tx, Some(thread), kind, &data).await?;
        }
        self.finish(tx, by, thread, once).await
    }

    pub(crate) async fn finish(
        &self,
        mut tx: Tx,
        by: &Principal,
        thread: ThreadId,
        once: crate::idempotency::Once,
    ) -> Result<Written<Thread>, HubError> {
        let view = self.inner().thread_view(&mut tx, thread, &by.id()).await?;
        let view = view.ok_or(HubError::NotFound("thread"))?;
        self.done(&mut tx, once, &view).await?;
        tx.commit().await?;
        Ok(Written::Done(view))
    }

    /// Marks what an agent has read, forward only, and tells the provider, best effort.
    pub async fn mark_read(&self, by: &Principal, thread: ThreadId, up_to_seq: i64) -> Result<(), HubError> {
        let mut tx = self.inner().store.begin().await?;
        let row = threads::row(&mut tx, thread).await?.ok_or(HubError::NotFound("thread"))?;
        let thread = row.id;
        if up_to_seq < 1 {
            return Err(HubError::invalid("up_to_seq", "a number of the thread, from 1"));
        }
        let up_to = up_to_seq.min(row.seq);
        let moved = desk::mark_read(&mut tx, thread, &by.id(), up_to).await?;
        let seen = if moved { desk::last_heard_before(&mut tx, thread, up_to).await? } else { None };
        tx.commit().await?;
        if let Some(seen) = seen {
            self.signal_read(seen).await;
        }
        Ok(())
    }
}

/// Makes somebody look after a thread, or nobody; nothing when they do already.
pub(crate) async fn give(
    tx: &mut Tx,
    by: &Principal,
    row: &ThreadRow,
    to: Option<AgentId>,
) -> Result<(), HubError> {
    if row.assignee == to {
        return Ok(());
    }
    desk::set_assignee(tx, row.id, to).await?;
    let kind = if to.is_some() { EventType::ThreadAssigned } else { EventType::ThreadUnassigned };
    let data = json!({
        "thread_id": row.id, "agent_id": to, "previous_agent_id": row.assignee, "by": author(by),
    });
    log::append(tx, Some(row.id), kind, &data).await?;
    Ok(())
}

fn unchanged(version: i64, seen: Option<i64>) -> Result<(), HubError> {
    if seen.is_none_or(|seen| seen == version) { Ok(()) } else { Err(HubError::Stale) }
}

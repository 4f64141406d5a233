//! Control of threads: who answers now, in the thread's row, and every turn that there was, a row each.
//! The key of those rows says that a number is nobody else's.

use loket_protocol::handoff::{Asked, Control, Holder, Made, Turn};
use loket_protocol::ids::{AgentId, CaseId, ThreadId};
use loket_protocol::time::Timestamp;

use super::{Conn, ROWS_MAX, Row, StoreError, Tx, rows, sql};

/// A case that begins, with who answers in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) case: CaseId,
    pub(crate) holder: Holder,
    pub(crate) agent_id: Option<AgentId>,
    pub(crate) reason: &'static str,
}

impl Opening {
    /// How control stands in a case that began at this turn.
    pub(crate) fn control(&self, epoch: i64, since: Timestamp) -> Control {
        Control {
            holder: self.holder,
            agent_id: self.agent_id,
            offered_to: None,
            offered_until: None,
            epoch,
            since,
            reason: self.reason.to_owned(),
            summary: None,
        }
    }
}

/// Control in a thread's row.
pub(crate) fn control(row: &Row) -> Result<Control, StoreError> {
    let name = row.text("control_holder")?;
    let holder = Holder::from_name(&name).ok_or_else(|| StoreError::unreadable("control_holder", name))?;
    Ok(Control {
        holder,
        agent_id: row.parsed_or_none("control_agent")?,
        offered_to: row.parsed_or_none("offered_to")?,
        offered_until: row.time_or_none("offered_until")?,
        epoch: row.int("control_epoch")?,
        since: row.time("control_since")?,
        reason: row.text("control_reason")?,
        summary: row.text_or_none("control_summary")?,
    })
}

/// Writes how control of a thread stands from now on.
pub(crate) async fn set(tx: &mut Tx, thread: ThreadId, control: &Control) -> Result<(), StoreError> {
    sql(
        "UPDATE threads SET control_holder = $2, control_agent = $3, control_epoch = $4, control_since = $5, \
         control_reason = $6, control_summary = $7, offered_to = $8, offered_until = $9 WHERE id = $1",
    )
    .bind(thread)
    .bind(control.holder.as_str())
    .bind(control.agent_id)
    .bind(control.epoch)
    .bind(control.since)
    .bind(&control.reason)
    .bind(control.summary.as_ref())
    .bind(control.offered_to)
    .bind(control.offered_until)
    .later(tx)
    .await
}

/// A turn that begins, told by the entry `seq` of the thread's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began {
    pub(crate) thread: ThreadId,
    pub(crate) turn: Turn,
    /// What made it; `None` when a case began.
    pub(crate) asked: Option<Asked>,
    pub(crate) seq: i64,
}

/// Writes down turns that begin.
pub(crate) async fn began(tx: &mut Tx, turns: &[Began]) -> Result<(), StoreError> {
    let now = tx.now();
    for chunk in turns.chunks(ROWS_MAX) {
        let mut values = Vec::with_capacity(chunk.len() * 9);
        for began in chunk {
            let asked = began.asked;
            values.extend([
                began.thread.into(),
                began.turn.epoch.into(),
                began.turn.holder.as_str().into(),
                began.turn.agent_id.into(),
                asked.map(|asked| asked.actor.to_string()).into(),
                asked.map(|asked| asked.verb.as_str()).into(),
                asked.map(|asked| asked.to.to_string()).into(),
                began.seq.into(),
                now.into(),
            ]);
        }
        rows(
            "INSERT INTO handoffs (thread_id, epoch, holder, agent_id, actor, verb, successor, seq, at) VALUES",
            9,
            values,
            "",
        )
        .later(tx)
        .await?;
    }
    Ok(())
}

/// Whether it was this request that made a turn; nothing is answered when it was another.
pub(crate) async fn made(
    conn: &mut Conn,
    thread: ThreadId,
    epoch: i64,
    asked: &Asked,
) -> Result<Option<Made>, StoreError> {
    let found = sql("SELECT epoch FROM handoffs WHERE thread_id = $1 AND epoch = $2 AND actor = $3 \
         AND verb = $4 AND successor = $5")
    .bind(thread)
    .bind(epoch)
    .bind(asked.actor.to_string())
    .bind(asked.verb.as_str())
    .bind(asked.to.to_string())
    .first(conn)
    .await?;
    Ok(found.map(|_| Made { actor: asked.actor, verb: asked.verb, to: asked.to }))
}

/// The customer waits for an answer from now on, unless they did already or nothing is open.
pub(crate) async fn waits(tx: &mut Tx, thread: ThreadId) -> Result<(), StoreError> {
    let now = tx.now();
    sql("UPDATE threads SET waiting_since = COALESCE(waiting_since, $2) WHERE id = $1 AND status = 'open'")
        .bind(thread)
        .bind(now)
        .later(tx)
        .await
}

/// Who waited in a thread that is merged away waits in the one that stands for it, and is offered there.
pub(crate) async fn wait_together(
    tx: &mut Tx,
    merged: ThreadId,
    survivor: ThreadId,
) -> Result<(), StoreError> {
    sql("UPDATE threads SET waiting_since = (SELECT MIN(w.waiting_since) FROM threads w WHERE w.id IN ($1, $2)) \
         WHERE id = $2")
    .bind(merged)
    .bind(survivor)
    .later(tx)
    .await?;
    sql("UPDATE threads SET waiting_since = NULL, offered_to = NULL, offered_until = NULL WHERE id = $1")
        .bind(merged)
        .later(tx)
        .await
}

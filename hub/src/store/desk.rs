//! What agents change in a thread.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::ids::{AgentId, CaseId, IdentityId, MessageId, ThreadId};
use loket_protocol::thread::ThreadStatus;

use super::outbound::channel as channel_of;
use super::{Conn, StoreError, Tx, sql};

/// Makes a message the last thing said, without lifting the thread in the inbox.
pub(crate) async fn set_last_message(
    tx: &mut Tx,
    thread: ThreadId,
    message: MessageId,
) -> Result<(), StoreError> {
    sql("UPDATE threads SET last_message_id = $2 WHERE id = $1").bind(thread).bind(message).later(tx).await
}

/// Gives a thread to an agent or to nobody.
pub(crate) async fn set_assignee(
    tx: &mut Tx,
    thread: ThreadId,
    to: Option<AgentId>,
) -> Result<(), StoreError> {
    sql("UPDATE threads SET assignee = $2, version = version + 1 WHERE id = $1")
        .bind(thread)
        .bind(to)
        .later(tx)
        .await
}

/// Opens or resolves a thread; nobody waits in it from then on.
pub(crate) async fn set_status(
    tx: &mut Tx,
    thread: ThreadId,
    status: ThreadStatus,
    case: Option<CaseId>,
) -> Result<(), StoreError> {
    sql("UPDATE threads SET status = $2, case_id = $3, version = version + 1, waiting_since = NULL, \
         offered_to = NULL, offered_until = NULL WHERE id = $1")
    .bind(thread)
    .bind(status.as_str())
    .bind(case)
    .later(tx)
    .await
}

/// Moves somebody's read mark forward. False when it stood there or further already.
pub(crate) async fn mark_read(
    tx: &mut Tx,
    thread: ThreadId,
    reader: &str,
    up_to: i64,
) -> Result<bool, StoreError> {
    let touched = sql(
        "INSERT INTO read_marks (agent_id, thread_id, seq) VALUES ($1, $2, $3) \
         ON CONFLICT (agent_id, thread_id) DO UPDATE SET seq = excluded.seq WHERE read_marks.seq < excluded.seq",
    )
    .bind(reader)
    .bind(thread)
    .bind(up_to)
    .run(tx)
    .await?;
    Ok(touched == 1)
}

/// A message of the customer's that a provider knows.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) identity: IdentityId,
    pub(crate) channel: ChannelAccount,
    pub(crate) external_id: String,
}

/// The customer's last message at or before a seq.
pub(crate) async fn last_heard_before(
    conn: &mut Conn,
    thread: ThreadId,
    up_to: i64,
) -> Result<Option<Heard>, StoreError> {
    let row =
        sql("SELECT identity_id, channel_kind, account, external_id FROM messages WHERE thread_id = $1 \
         AND seq <= $2 AND direction = 'in' ORDER BY seq DESC LIMIT 1")
        .bind(thread)
        .bind(up_to)
        .first(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (identity, external_id) = (row.parsed_or_none("identity_id")?, row.text_or_none("external_id")?);
    let (Some(identity), Some(external_id)) = (identity, external_id) else { return Ok(None) };
    Ok(Some(Heard { identity, channel: channel_of(&row)?, external_id }))
}

//! Threads: one per contact, with the counter of its log.

use std::collections::HashMap;

use loket_protocol::handoff::{Control, Holder};
use loket_protocol::ids::{AgentId, CaseId, ContactId, MessageId, ThreadId};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;

use super::handoffs::{self, Opening};
use super::{Conn, Row, StoreError, Tx, Value, listed, parts, rows, sql};
use crate::requests::ThreadFilter;

/// A thread's row.
#[derive(Clone, Debug)]
pub(crate) struct ThreadRow {
    pub(crate) id: ThreadId,
    pub(crate) contact_id: ContactId,
    pub(crate) status: ThreadStatus,
    pub(crate) case_id: Option<CaseId>,
    pub(crate) assignee: Option<AgentId>,
    pub(crate) control: Control,
    pub(crate) waiting_since: Option<Timestamp>,
    pub(crate) seq: i64,
    pub(crate) last_message_id: Option<MessageId>,
    /// Zero when nothing was said yet.
    pub(crate) last_message_at: Timestamp,
    pub(crate) version: i64,
    pub(crate) created_at: Timestamp,
    /// The thread that stands for it, once it was merged away.
    pub(crate) merged_into: Option<ThreadId>,
}

const SELECT: &str = "SELECT t.id, t.contact_id, t.status, t.case_id, t.assignee, t.seq, \
    t.last_message_id, t.last_message_at, t.version, t.created_at, t.control_holder, t.control_agent, \
    t.control_epoch, t.control_since, t.control_reason, t.control_summary, t.offered_to, t.offered_until, \
    t.waiting_since, t.merged_into FROM threads t ";

/// A status by its name in a column.
pub(crate) fn status(row: &Row, column: &str) -> Result<ThreadStatus, StoreError> {
    let name = row.text(column)?;
    [ThreadStatus::Open, ThreadStatus::Resolved]
        .into_iter()
        .find(|status| status.as_str() == name)
        .ok_or_else(|| StoreError::unreadable(column, name))
}

fn thread(row: &Row) -> Result<ThreadRow, StoreError> {
    Ok(ThreadRow {
        id: row.parsed("id")?,
        contact_id: row.parsed("contact_id")?,
        status: status(row, "status")?,
        case_id: row.parsed_or_none("case_id")?,
        assignee: row.parsed_or_none("assignee")?,
        control: handoffs::control(row)?,
        waiting_since: row.time_or_none("waiting_since")?,
        seq: row.int("seq")?,
        last_message_id: row.parsed_or_none("last_message_id")?,
        last_message_at: row.time("last_message_at")?,
        version: row.int("version")?,
        created_at: row.time("created_at")?,
        merged_into: row.parsed_or_none("merged_into")?,
    })
}

/// The longest way from a merged thread to the one that stands for it.
const WAY_MAX: usize = 10_000;

/// A thread by its id, or the one that stands for it once it was merged away; in a transaction that writes
/// it stays as it is until the end. One that stands for itself only is locked, so that nobody waits for
/// two threads in an order of their own.
pub(crate) async fn row(conn: &mut Conn, asked: ThreadId) -> Result<Option<ThreadRow>, StoreError> {
    let mut id = asked;
    for _ in 0..WAY_MAX {
        let living = parts(&[SELECT, "WHERE t.id = $1 AND t.merged_into IS NULL"]);
        if let Some(found) = living.bind(id).locking("t").first(conn).await? {
            // The way here may have been taken back while the end of it was waited for.
            if id == asked || super::joins::root_of(conn, asked).await? == Some(id) {
                return thread(&found).map(Some);
            }
            id = asked;
            continue;
        }
        let away = sql("SELECT merged_into FROM threads WHERE id = $1").bind(id).first(conn).await?;
        let Some(away) = away else { return Ok(None) };
        // None: it was taken back just now, and is found the next time.
        id = away.parsed_or_none("merged_into")?.unwrap_or(id);
    }
    Err(StoreError::Damaged(format!(
        "thread {asked} is merged into one that is merged, and so on without end"
    )))
}

/// Threads as they are, merged away or not, in the order of their ids; in a transaction that writes they
/// are locked in that order.
pub(crate) async fn as_they_are(
    conn: &mut Conn,
    ids: impl IntoIterator<Item = ThreadId>,
) -> Result<Vec<ThreadRow>, StoreError> {
    let values = ids.into_iter().map(Into::into).collect();
    let found = listed(&[SELECT, "WHERE t.id IN"], values, "ORDER BY t.id").locking("t").all(conn).await?;
    found.iter().map(thread).collect()
}

/// Where a page of threads goes on: after this time and id, downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) at: i64,
    pub(crate) id: ThreadId,
}

/// Threads in which something was said, newest first. `reader` is whose read marks count.
pub(crate) async fn list(
    conn: &mut Conn,
    filter: &ThreadFilter,
    reader: &str,
    before: Option<Before>,
    limit: u32,
) -> Result<Vec<ThreadRow>, StoreError> {
    let before = before.map(|before| (before.at, before.id.to_string()));
    let (at, id) = before.unwrap_or((i64::MAX, String::new()));
    // Each filter is a fixed text, so that the planner sees only those that are asked for; a number
    // whose filter is not asked for is bound all the same, with its type, and unused.
    let mut text = vec![SELECT, "WHERE t.last_message_at > 0 AND (t.last_message_at, t.id) < ($1, $2) "];
    // A fixed word and no value, so that the planner sees the index of open ones.
    match filter.status {
        Some(ThreadStatus::Open) => text.push("AND t.status = 'open' "),
        Some(ThreadStatus::Resolved) => text.push("AND t.status = 'resolved' "),
        None => {}
    }
    match filter.assignee {
        Some(Some(_)) => text.push("AND t.assignee = $4 "),
        Some(None) => text.push("AND t.assignee IS NULL "),
        None => {}
    }
    match filter.control {
        Some(Holder::Bot) => text.push("AND t.control_holder = 'bot' "),
        Some(Holder::Waiting) => text.push("AND t.control_holder = 'waiting' "),
        Some(Holder::Agent) => text.push("AND t.control_holder = 'agent' "),
        None => {}
    }
    match filter.waiting {
        Some(true) => text.push("AND t.waiting_since IS NOT NULL "),
        Some(false) => text.push("AND t.waiting_since IS NULL "),
        None => {}
    }
    if filter.channel.is_some() {
        text.push(
            "AND EXISTS (SELECT 1 FROM identities i WHERE i.contact_id = t.contact_id AND i.channel_kind = $5) ",
        );
    }
    if filter.unread {
        text.push(
            "AND EXISTS (SELECT 1 FROM messages m WHERE m.thread_id = t.id AND m.direction = 'in' \
             AND m.imported = 0 AND m.seq > COALESCE((SELECT r.seq FROM read_marks r \
             WHERE r.agent_id = $3 AND r.thread_id = t.id), 0) AND (m.first_seq IS NULL OR m.first_seq > \
             COALESCE((SELECT r.seq FROM read_marks r WHERE r.agent_id = $3 \
             AND r.thread_id = m.first_thread_id), 0))) ",
        );
    }
    text.push("ORDER BY t.last_message_at DESC, t.id DESC LIMIT $6");
    let statement = parts(&text)
        .bind(at)
        .bind(id)
        .bind(reader)
        .bind(filter.assignee.flatten())
        .bind(filter.channel.as_ref())
        .bind(limit);
    statement.all(conn).await?.iter().map(thread).collect()
}

/// The most messages that are counted as unread; an inbox shows no more.
pub(crate) const UNREAD_MAX: i64 = 1000;

/// How many of the customer's messages came after a reader's mark, at most [`UNREAD_MAX`]. One that a
/// merge shows here is read when it was read where it came from.
pub(crate) async fn unread(conn: &mut Conn, thread: ThreadId, reader: &str) -> Result<i64, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM (SELECT 1 FROM messages m WHERE m.thread_id = $1 \
         AND m.direction = 'in' AND m.imported = 0 AND m.seq > COALESCE((SELECT r.seq FROM read_marks r \
         WHERE r.agent_id = $2 AND r.thread_id = $1), 0) AND (m.first_seq IS NULL OR m.first_seq > \
         COALESCE((SELECT r.seq FROM read_marks r WHERE r.agent_id = $2 \
         AND r.thread_id = m.first_thread_id), 0)) LIMIT $3) c")
    .bind(thread)
    .bind(reader)
    .bind(UNREAD_MAX)
    .first(conn)
    .await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// What appending changes in a thread.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    pub(crate) thread: ThreadId,
    /// How many entries its log gets.
    pub(crate) entries: i64,
    /// A new message and its time; the last message is the one of the latest time.
    pub(crate) last_message: Option<(MessageId, Timestamp)>,
    /// The case that begins with it, and who answers in it.
    pub(crate) opens: Option<Opening>,
    /// What it does to the customer's waiting.
    pub(crate) waiting: Waiting,
}

/// What is said does this to the customer's waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing.
    Same,
    /// They wait from then on, unless they did already.
    Begins(Timestamp),
    /// They were answered.
    Ends,
}

impl Waiting {
    /// As a value: a moment, less than that for an end, nothing for nothing.
    fn value(self) -> Value {
        match self {
            Self::Same => Value::Int(None),
            Self::Begins(at) => at.into(),
            Self::Ends => (-1_i64).into(),
        }
    }
}

/// What [`grow`] answers of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) thread: ThreadId,
    /// The first number of its log that was drawn.
    pub(crate) first: i64,
    /// The turn of control that it is now.
    pub(crate) epoch: i64,
}

/// Draws numbers for many threads at once and moves them forward; each thread at most once.
pub(crate) async fn grow(tx: &mut Tx, growths: &[Growth]) -> Result<Vec<Drawn>, StoreError> {
    let now = tx.now();
    let mut drawn = Vec::with_capacity(growths.len());
    for chunk in growths.chunks(super::ROWS_MAX) {
        let values = chunk
            .iter()
            .flat_map(|growth| -> [Value; 10] {
                let (message, at) = growth.last_message.unzip();
                [
                    growth.thread.into(),
                    growth.entries.into(),
                    message.into(),
                    at.into(),
                    growth.opens.map(|opens| opens.case).into(),
                    growth.opens.map(|opens| opens.holder.as_str()).into(),
                    growth.opens.and_then(|opens| opens.agent_id).into(),
                    growth.opens.map(|opens| opens.reason).into(),
                    growth.waiting.value(),
                    now.into(),
                ]
            })
            .collect();
        let found = rows(
            "WITH g (thread, entries, message_id, message_at, case_id, holder, agent, reason, waits, now) \
             AS (VALUES",
            10,
            values,
            ") UPDATE threads SET seq = threads.seq + g.entries, \
             last_message_id = CASE WHEN g.message_at >= threads.last_message_at THEN g.message_id \
             ELSE threads.last_message_id END, \
             last_message_at = CASE WHEN g.message_at > threads.last_message_at THEN g.message_at \
             ELSE threads.last_message_at END, \
             case_id = COALESCE(g.case_id, threads.case_id), \
             status = CASE WHEN g.case_id IS NULL THEN threads.status ELSE 'open' END, \
             control_holder = COALESCE(g.holder, threads.control_holder), \
             control_agent = CASE WHEN g.case_id IS NULL THEN threads.control_agent ELSE g.agent END, \
             control_epoch = threads.control_epoch + CASE WHEN g.case_id IS NULL THEN 0 ELSE 1 END, \
             control_since = CASE WHEN g.case_id IS NULL THEN threads.control_since ELSE g.now END, \
             control_reason = COALESCE(g.reason, threads.control_reason), \
             control_summary = CASE WHEN g.case_id IS NULL THEN threads.control_summary END, \
             offered_to = CASE WHEN g.case_id IS NULL THEN threads.offered_to END, \
             offered_until = CASE WHEN g.case_id IS NULL THEN threads.offered_until END, \
             waiting_since = CASE WHEN g.waits IS NULL THEN threads.waiting_since \
             WHEN g.waits < 0 THEN NULL ELSE COALESCE(threads.waiting_since, g.waits) END, \
             version = threads.version + CASE WHEN g.case_id IS NULL THEN 0 ELSE 1 END \
             FROM g WHERE threads.id = g.thread RETURNING id, seq, control_epoch",
        )
        .all(tx)
        .await?;
        // SQLite answers with columns of the table itself only.
        let entries: HashMap<ThreadId, i64> =
            chunk.iter().map(|growth| (growth.thread, growth.entries)).collect();
        for row in &found {
            let thread = row.parsed("id")?;
            let entries = entries.get(&thread).copied().unwrap_or_default();
            let (first, epoch) = (row.int("seq")? - entries + 1, row.int("control_epoch")?);
            drawn.push(Drawn { thread, first, epoch });
        }
    }
    if drawn.len() != growths.len() {
        return Err(StoreError::Constraint("there is no such thread".to_owned()));
    }
    Ok(drawn)
}

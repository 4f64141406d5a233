//! Outgoing parts: one row for each provider message, with the lane it waits in.

use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::ids::{ContactId, IdentityId, MessageId, ThreadId};
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::verify::of_ids;
use super::{Conn, ROWS_MAX, Row, Statement, StoreError, Tx, json, parts as text_of, rows, sql};
use crate::standing::{PartState, Standing};

/// `due_at` of an unconfirmed part that waits for a person and no longer for a moment.
pub(crate) fn held() -> Timestamp {
    Timestamp::from_millis(i64::MAX)
}

/// Why a part waits or failed, as the last report told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartError {
    /// When.
    pub(crate) at: Timestamp,
    /// What was to be done about it; absent for a lost answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<SendClass>,
    /// The provider's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i64>,
    /// Its sub-code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subcode: Option<i64>,
    /// For the agent.
    pub(crate) sentence: String,
}

/// A part as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The message.
    pub(crate) message: MessageId,
    /// The number of the part, from 0.
    pub(crate) index: u32,
    /// The conversation.
    pub(crate) lane: String,
    /// The channel account.
    pub(crate) channel: ChannelAccount,
    /// To whom.
    pub(crate) identity: IdentityId,
    /// What to send; `None` when its row is damaged and it cannot be read any more.
    pub(crate) payload: Option<OutboundMessage>,
    /// Where it stands.
    pub(crate) standing: Standing<String>,
    /// When the present or last claim was given.
    pub(crate) claimed_at: Option<Timestamp>,
    /// When it is looked at again.
    pub(crate) due_at: Timestamp,
    /// How often the present dispatch was published.
    pub(crate) published_times: i64,
    /// How often it came back not sent.
    pub(crate) tries: u32,
    /// The provider's first id of it.
    pub(crate) external_id: Option<String>,
    /// The earliest time that anybody gave for its sending.
    pub(crate) sent_at: Option<Timestamp>,
    /// Why it waits or failed.
    pub(crate) error: Option<PartError>,
}

const COLUMNS: &str = "SELECT o.message_id, o.part, o.lane, o.channel_kind, o.account, o.identity_id, \
     o.payload, o.state, o.dispatch_no, o.claim, o.claimed_at, o.due_at, o.published_times, o.tries, \
     o.resends, o.external_id, o.sent_at, o.error FROM outbound o ";

/// Open parts that stand in front of `o` in its lane. An unconfirmed part that waits for a person
/// holds nobody up any more.
const BLOCKED: &str = "EXISTS (SELECT 1 FROM outbound e WHERE e.lane = o.lane AND e.position < o.position \
     AND e.state IN ('queued', 'sending', 'unconfirmed') \
     AND (e.state <> 'unconfirmed' OR e.due_at < 253402300799999)) ";

/// The channel account of a row.
pub(crate) fn channel(row: &Row) -> Result<ChannelAccount, StoreError> {
    let kind = ChannelKind::new(row.text("channel_kind")?)
        .map_err(|error| StoreError::unreadable("channel_kind", error))?;
    Ok(ChannelAccount { kind, account: row.text("account")? })
}

/// A number that is never negative and never large.
pub(crate) fn small(row: &Row, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.int(column)?).map_err(|error| StoreError::unreadable(column, error))
}

fn part_of(row: &Row) -> Result<Part, StoreError> {
    let state = row.text("state")?;
    let state = PartState::from_name(&state).ok_or_else(|| StoreError::unreadable("state", &state))?;
    Ok(Part {
        message: row.parsed("message_id")?,
        index: small(row, "part")?,
        lane: row.text("lane")?,
        channel: channel(row)?,
        identity: row.parsed("identity_id")?,
        payload: row.json("payload").ok(),
        standing: Standing {
            state,
            number: small(row, "dispatch_no")?,
            claim: row.text_or_none("claim")?,
            resends: small(row, "resends")?,
        },
        claimed_at: row.time_or_none("claimed_at")?,
        due_at: row.time("due_at")?,
        published_times: row.int("published_times")?,
        tries: small(row, "tries")?,
        external_id: row.text_or_none("external_id")?,
        sent_at: row.time_or_none("sent_at")?,
        // Only words: a damaged text must not stop what it is about.
        error: row.json_or_none("error").unwrap_or_default(),
    })
}

/// The rows that can be read. One that cannot must not stop the others; `verify` names it.
fn readable(found: &[Row]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(found.len());
    for row in found {
        match part_of(row) {
            Ok(part) => parts.push(part),
            Err(error) => {
                metrics::counter!("loket_outbound_unreadable_total").increment(1);
                tracing::error!(%error, "an outgoing part cannot be read; run loket verify");
            }
        }
    }
    parts
}

/// One part; in a transaction that writes it stays as it is until the end.
pub(crate) async fn part(conn: &mut Conn, message: MessageId, part: u32) -> Result<Option<Part>, StoreError> {
    let row = text_of(&[COLUMNS, "WHERE o.message_id = $1 AND o.part = $2"])
        .bind(message)
        .bind(part)
        .locking("o")
        .first(conn)
        .await?;
    row.as_ref().map(part_of).transpose()
}

/// All parts of a message, in order; none for what does not go over the bus.
pub(crate) async fn of_message(conn: &mut Conn, message: MessageId) -> Result<Vec<Part>, StoreError> {
    let found = text_of(&[COLUMNS, "WHERE o.message_id = $1 ORDER BY o.part"])
        .bind(message)
        .locking("o")
        .all(conn)
        .await?;
    found.iter().map(part_of).collect()
}

/// All parts of some messages, in order; at most `ROWS_MAX`. One that cannot be read is an error of its
/// message.
pub(crate) async fn of_many(
    conn: &mut Conn,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Result<Part, StoreError>)>, StoreError> {
    let ids = messages.iter().copied();
    let found = of_ids(conn, &[COLUMNS, "WHERE o.message_id IN"], ids, "ORDER BY o.part").await?;
    found.iter().map(|row| Ok((row.parsed("message_id")?, part_of(row)))).collect()
}

/// The next free place in a lane; the thread's row is locked by now.
pub(crate) async fn next_position(tx: &mut Tx, lane: &str) -> Result<i64, StoreError> {
    let row = sql("SELECT COALESCE(MAX(position), 0) + 1 AS next FROM outbound WHERE lane = $1")
        .bind(lane)
        .first(tx)
        .await?;
    row.map_or(Ok(1), |row| row.int("next"))
}

/// Queues the parts of a message, one behind the other.
pub(crate) async fn insert(
    tx: &mut Tx,
    lane: &str,
    identity: IdentityId,
    payloads: &[OutboundMessage],
) -> Result<(), StoreError> {
    let mut position = next_position(tx, lane).await?;
    let due = tx.now();
    for block in payloads.chunks(ROWS_MAX) {
        let mut values = Vec::with_capacity(block.len() * 11);
        for payload in block {
            values.push(payload.dispatch.message_id.into());
            values.push(payload.dispatch.part.into());
            values.push(lane.into());
            values.push((&payload.channel.kind).into());
            values.push(payload.channel.account.as_str().into());
            values.push(identity.into());
            values.push(position.into());
            values.push(json(payload)?.into());
            values.push(PartState::Queued.as_str().into());
            values.push(payload.dispatch.number.into());
            values.push(due.into());
            position += 1;
        }
        rows(
            "INSERT INTO outbound (message_id, part, lane, channel_kind, account, identity_id, position, \
             payload, state, dispatch_no, due_at) VALUES",
            11,
            values,
            "",
        )
        .run(tx)
        .await?;
    }
    tx.has_queued();
    Ok(())
}

/// Writes where a part stands now, if it still stood as `was`. Nobody else can have moved it since it was
/// read in the same transaction; this is what would refuse the second one.
pub(crate) async fn save(tx: &mut Tx, part: &Part, was: &Standing<String>) -> Result<(), StoreError> {
    let error = part.error.as_ref().map(json).transpose()?;
    let touched =
        sql("UPDATE outbound SET state = $1, dispatch_no = $2, claim = $3, resends = $4, claimed_at = $5, \
         due_at = $6, published_times = $7, tries = $8, external_id = $9, sent_at = $10, error = $11 \
         WHERE message_id = $12 AND part = $13 AND state = $14 AND dispatch_no = $15")
        .bind(part.standing.state.as_str())
        .bind(part.standing.number)
        .bind(part.standing.claim.clone())
        .bind(part.standing.resends)
        .bind(part.claimed_at)
        .bind(part.due_at)
        .bind(part.published_times)
        .bind(part.tries)
        .bind(part.external_id.clone())
        .bind(part.sent_at)
        .bind(error)
        .bind(part.message)
        .bind(part.index)
        .bind(was.state.as_str())
        .bind(was.number)
        .run(tx)
        .await?;
    if touched == 1 {
        Ok(())
    } else {
        Err(StoreError::Passing("somebody else moved this part meanwhile".to_owned()))
    }
}

/// The heads that are due: of each conversation the first open part, when it is queued and its
/// channel account is not held.
pub(crate) async fn due_heads(conn: &mut Conn, now: Timestamp, most: u32) -> Result<Vec<Part>, StoreError> {
    let found = heads(now, most).all(conn).await?;
    Ok(readable(&found))
}

fn heads(now: Timestamp, most: u32) -> Statement {
    text_of(&[
        COLUMNS,
        "WHERE o.state = 'queued' AND o.due_at <= $1 AND NOT ",
        BLOCKED,
        "AND NOT EXISTS (SELECT 1 FROM channels c WHERE c.channel_kind = o.channel_kind \
         AND c.account = o.account AND c.held_until > $1) ORDER BY o.due_at, o.lane LIMIT $2",
    ])
    .bind(now)
    .bind(most)
}

/// The same for one of several dispatchers: those that no other has just taken, and nobody else finds
/// them before `until`. One that cannot be read is left as it is.
pub(crate) async fn take_due_heads(
    tx: &mut Tx,
    now: Timestamp,
    until: Timestamp,
    most: u32,
) -> Result<Vec<Part>, StoreError> {
    let found = heads(now, most).locking("o SKIP LOCKED").all(tx).await?;
    let mut taken = readable(&found);
    let mut values = Vec::new();
    for part in taken.iter_mut().filter(|part| part.payload.is_some()) {
        part.due_at = until;
        values.extend([part.message.into(), part.index.into(), until.into()]);
    }
    if !values.is_empty() {
        rows(
            "WITH taken (message, number, until) AS (VALUES",
            3,
            values,
            ") UPDATE outbound SET due_at = taken.until FROM taken \
             WHERE outbound.message_id = taken.message AND outbound.part = taken.number",
        )
        .run(tx)
        .await?;
    }
    Ok(taken)
}

/// Notes that a dispatch was published, unless it moved meanwhile.
pub(crate) async fn published(tx: &mut Tx, part: &Part, due_at: Timestamp) -> Result<(), StoreError> {
    sql("UPDATE outbound SET published_times = published_times + 1, due_at = $1 \
         WHERE message_id = $2 AND part = $3 AND state = 'queued' AND dispatch_no = $4 AND due_at = $5")
    .bind(due_at)
    .bind(part.message)
    .bind(part.index)
    .bind(part.standing.number)
    .bind(part.due_at)
    .later(tx)
    .await
}

/// Parts whose report or settlement is overdue.
pub(crate) async fn overdue(conn: &mut Conn, now: Timestamp, most: u32) -> Result<Vec<Part>, StoreError> {
    let found = text_of(&[
        COLUMNS,
        "WHERE o.state IN ('sending', 'unconfirmed') AND o.due_at <= $1 ORDER BY o.due_at LIMIT $2",
    ])
    .bind(now)
    .bind(most)
    .all(conn)
    .await?;
    Ok(readable(&found))
}

/// All unconfirmed parts, oldest claim first.
pub(crate) async fn unconfirmed(conn: &mut Conn, most: u32) -> Result<Vec<Part>, StoreError> {
    let found = text_of(&[
        COLUMNS,
        "WHERE o.state = 'unconfirmed' ORDER BY o.claimed_at, o.message_id, o.part LIMIT $1",
    ])
    .bind(most)
    .all(conn)
    .await?;
    found.iter().map(part_of).collect()
}

/// Makes what waits on a channel account due now: it works again.
pub(crate) async fn hurry(tx: &mut Tx, channel: &ChannelAccount) -> Result<(), StoreError> {
    let now = tx.now();
    sql("UPDATE outbound SET due_at = $1 WHERE channel_kind = $2 AND account = $3 AND state = 'queued' \
         AND due_at > $1 AND published_times = 0")
    .bind(now)
    .bind(&channel.kind)
    .bind(channel.account.as_str())
    .later(tx)
    .await
}

/// How many parts of each channel account are queued or under way, and how many unconfirmed.
pub(crate) async fn counts(conn: &mut Conn) -> Result<Vec<(ChannelAccount, i64, i64)>, StoreError> {
    let found = sql(
        "SELECT channel_kind, account, SUM(CASE WHEN state = 'unconfirmed' THEN 0 ELSE 1 END) AS queued, \
         SUM(CASE WHEN state = 'unconfirmed' THEN 1 ELSE 0 END) AS unconfirmed FROM outbound \
         WHERE state IN ('queued', 'sending', 'unconfirmed') GROUP BY channel_kind, account",
    )
    .all(conn)
    .await?;
    found.iter().map(|row| Ok((channel(row)?, row.int("queued")?, row.int("unconfirmed")?))).collect()
}

/// Shows a message as *sending* when its first part was claimed.
pub(crate) async fn now_sending(tx: &mut Tx, message: MessageId) -> Result<(), StoreError> {
    sql("UPDATE messages SET status = 'sending' WHERE id = $1 AND status = 'queued'")
        .bind(message)
        .later(tx)
        .await
}

/// What decides how long and how a message is tried.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// When it was accepted.
    pub(crate) created_at: Timestamp,
    /// A program wrote it.
    pub(crate) by_bot: bool,
    /// Since when the reply window of its recipient runs.
    pub(crate) window_opened_at: Option<Timestamp>,
    /// Since when its channel account is as it is.
    pub(crate) channel_since: Option<Timestamp>,
}

/// The terms of a part.
pub(crate) async fn terms(conn: &mut Conn, part: &Part) -> Result<Terms, StoreError> {
    let row = sql("SELECT m.created_at, m.author_type, i.window_opened_at, c.since FROM messages m \
         LEFT JOIN identities i ON i.id = $2 \
         LEFT JOIN channels c ON c.channel_kind = m.channel_kind AND c.account = m.account WHERE m.id = $1")
    .bind(part.message)
    .bind(part.identity)
    .first(conn)
    .await?
    .ok_or_else(|| StoreError::Damaged(format!("outbound part of {} has no message", part.message)))?;
    Ok(Terms {
        created_at: row.time("created_at")?,
        by_bot: row.text("author_type")? == "bot",
        window_opened_at: row.time_or_none("window_opened_at")?,
        channel_since: row.time_or_none("since")?,
    })
}

/// The message of a contact's thread that has a client's own id.
pub(crate) async fn of_client(
    conn: &mut Conn,
    contact: ContactId,
    client_message_id: &str,
) -> Result<Option<MessageId>, StoreError> {
    let row =
        sql("SELECT m.id FROM identities i JOIN messages m ON m.identity_id = i.id WHERE i.contact_id = $1 \
         AND m.client_message_id = $2 LIMIT 1")
        .bind(contact)
        .bind(client_message_id)
        .first(conn)
        .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// The identity that the contact wrote from last.
pub(crate) async fn last_heard(conn: &mut Conn, thread: ThreadId) -> Result<Option<IdentityId>, StoreError> {
    let last = sql("SELECT identity_id, first_seq FROM messages WHERE thread_id = $1 AND direction = 'in' \
         ORDER BY seq DESC LIMIT 1");
    let Some(mut row) = last.bind(thread).first(conn).await? else { return Ok(None) };
    if row.int_or_none("first_seq")?.is_some() {
        // A merge showed it here, later than it was said: until the contact writes again, time decides.
        let last = sql("SELECT identity_id FROM messages WHERE thread_id = $1 AND direction = 'in' \
             ORDER BY created_at DESC, seq DESC LIMIT 1");
        row = last.bind(thread).first(conn).await?.unwrap_or(row);
    }
    row.parsed_or_none("identity_id")
}

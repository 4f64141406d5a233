//! What providers say about messages of ours: ids, statuses and watermarks, each with its own time,
//! so that any order of arrival ends in the same state.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::delivery::{MessageStatus, ProviderStatus, StatusDetail};
use loket_protocol::ids::{ContactId, IdentityId, MessageId, ThreadId};
use loket_protocol::inbound::StatusFact;
use loket_protocol::message::ProviderError;
use loket_protocol::time::Timestamp;

use super::outbound::{channel as channel_of, small};
use super::verify::of_ids;
use super::{Conn, Row, StoreError, Tx, json, parts, sql};

/// An outgoing message, as far as its status goes.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: MessageId,
    pub(crate) thread: ThreadId,
    pub(crate) contact: ContactId,
    pub(crate) seq: i64,
    pub(crate) identity: Option<IdentityId>,
    pub(crate) channel: Option<ChannelAccount>,
    pub(crate) status: MessageStatus,
    pub(crate) detail: StatusDetail,
    pub(crate) external_id: Option<String>,
    pub(crate) provider_time: Option<Timestamp>,
}

/// One status of one part.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) part: u32,
    pub(crate) status: ProviderStatus,
    pub(crate) errors: Vec<ProviderError>,
    pub(crate) pricing: Vec<String>,
    pub(crate) at: Timestamp,
}

fn provider_status(row: &Row) -> Result<ProviderStatus, StoreError> {
    let name = row.text("status")?;
    ProviderStatus::from_name(&name).ok_or_else(|| StoreError::unreadable("status", name))
}

const OUTGOING: &str = "SELECT m.id, m.thread_id, m.seq, m.identity_id, m.channel_kind, m.account, m.status, \
     m.status_detail, m.external_id, m.provider_time, t.contact_id FROM messages m \
     JOIN threads t ON t.id = m.thread_id ";

fn outgoing_of(row: &Row) -> Result<Outgoing, StoreError> {
    let status = row.text_or_none("status")?.unwrap_or_default();
    let has_channel = row.text_or_none("channel_kind")?.is_some();
    Ok(Outgoing {
        id: row.parsed("id")?,
        thread: row.parsed("thread_id")?,
        contact: row.parsed("contact_id")?,
        seq: row.int("seq")?,
        identity: row.parsed_or_none("identity_id")?,
        channel: has_channel.then(|| channel_of(row)).transpose()?,
        status: MessageStatus::from_name(&status).ok_or_else(|| StoreError::unreadable("status", status))?,
        detail: row.json_or_none("status_detail")?.unwrap_or_default(),
        external_id: row.text_or_none("external_id")?,
        provider_time: row.time_or_none("provider_time")?,
    })
}

/// An outgoing message; `None` for an unknown one and for one that is not ours.
pub(crate) async fn outgoing(conn: &mut Conn, id: MessageId) -> Result<Option<Outgoing>, StoreError> {
    let row = parts(&[OUTGOING, "WHERE m.id = $1 AND m.direction = 'out'"]).bind(id).first(conn).await?;
    row.as_ref().map(outgoing_of).transpose()
}

/// A page of outgoing messages by id; one that cannot be read is named with its error.
pub(crate) async fn outgoing_page(
    conn: &mut Conn,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, Result<Outgoing, StoreError>)>, StoreError> {
    let found = parts(&[OUTGOING, "WHERE m.id > $1 AND m.direction = 'out' ORDER BY m.id LIMIT $2"])
        .bind(after)
        .bind(limit)
        .patiently()
        .all(conn)
        .await?;
    found.iter().map(|row| Ok((row.text("id")?, outgoing_of(row)))).collect()
}

/// The message of ours that a provider's id names.
pub(crate) async fn named(
    conn: &mut Conn,
    channel: &ChannelAccount,
    external_id: &str,
) -> Result<Option<MessageId>, StoreError> {
    let row = sql(
        "SELECT message_id FROM external_ids WHERE channel_kind = $1 AND account = $2 AND external_id = $3 \
         UNION SELECT id FROM messages WHERE channel_kind = $1 AND account = $2 AND external_id = $3 \
         AND direction = 'out'",
    )
    .bind(&channel.kind)
    .bind(channel.account.as_str())
    .bind(external_id)
    .first(conn)
    .await?;
    row.map(|row| row.parsed("message_id")).transpose()
}

/// Notes a provider's id of a part. The message's own id is the first one, unless another message
/// has it already.
pub(crate) async fn name(
    tx: &mut Tx,
    channel: &ChannelAccount,
    external_id: &str,
    message: MessageId,
    part: u32,
) -> Result<(), StoreError> {
    sql("INSERT INTO external_ids (channel_kind, account, external_id, message_id, part) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
    .bind(&channel.kind)
    .bind(channel.account.as_str())
    .bind(external_id)
    .bind(message)
    .bind(part)
    .run(tx)
    .await?;
    sql("UPDATE messages SET external_id = $3 WHERE id = $4 AND external_id IS NULL AND NOT EXISTS \
         (SELECT 1 FROM messages other WHERE other.channel_kind = $1 AND other.account = $2 \
         AND other.external_id = $3)")
    .bind(&channel.kind)
    .bind(channel.account.as_str())
    .bind(external_id)
    .bind(message)
    .later(tx)
    .await
}

/// Gives statuses that waited for this provider id to its message.
pub(crate) async fn adopt(
    tx: &mut Tx,
    channel: &ChannelAccount,
    external_id: &str,
    message: MessageId,
) -> Result<(), StoreError> {
    sql("UPDATE statuses SET message_id = $4 WHERE channel_kind = $1 AND account = $2 AND external_id = $3 \
         AND message_id IS NULL")
    .bind(&channel.kind)
    .bind(channel.account.as_str())
    .bind(external_id)
    .bind(message)
    .later(tx)
    .await
}

/// Keeps a status. A repeat keeps the earlier time. True when it was not there.
pub(crate) async fn keep(
    tx: &mut Tx,
    channel: &ChannelAccount,
    fact: &StatusFact,
    message: Option<MessageId>,
    at: Timestamp,
    received_at: Timestamp,
) -> Result<bool, StoreError> {
    let participant = fact.participant.as_deref().unwrap_or_default();
    let inserted =
        sql("INSERT INTO statuses (channel_kind, account, external_id, status, participant, message_id, \
         outbox_id, errors, pricing, at, received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT DO NOTHING")
        .bind(&channel.kind)
        .bind(channel.account.as_str())
        .bind(fact.target.as_str())
        .bind(fact.status.as_str())
        .bind(participant)
        .bind(message)
        .bind(fact.outbox_id.clone())
        .bind(json(&fact.errors)?)
        .bind(json(&fact.pricing)?)
        .bind(at)
        .bind(received_at)
        .run(tx)
        .await?;
    if inserted == 0 {
        sql("UPDATE statuses SET at = $6 WHERE channel_kind = $1 AND account = $2 AND external_id = $3 \
             AND status = $4 AND participant = $5 AND at > $6")
        .bind(&channel.kind)
        .bind(channel.account.as_str())
        .bind(fact.target.as_str())
        .bind(fact.status.as_str())
        .bind(participant)
        .bind(at)
        .run(tx)
        .await?;
    }
    Ok(inserted == 1)
}

const TOLD: &str = "SELECT s.message_id, COALESCE(e.part, 0) AS part, s.status, s.errors, s.pricing, s.at \
     FROM statuses s LEFT JOIN external_ids e ON e.channel_kind = s.channel_kind AND e.account = s.account \
     AND e.external_id = s.external_id ";
const IN_ORDER: &str = "ORDER BY s.at, s.status, s.external_id, s.participant";

fn told_of(row: &Row) -> Result<Told, StoreError> {
    Ok(Told {
        part: small(row, "part")?,
        status: provider_status(row)?,
        errors: row.json("errors")?,
        pricing: row.json("pricing")?,
        at: row.time("at")?,
    })
}

/// All statuses of a message, in a fixed order.
pub(crate) async fn told(conn: &mut Conn, message: MessageId) -> Result<Vec<Told>, StoreError> {
    let found = parts(&[TOLD, "WHERE s.message_id = $1 ", IN_ORDER]).bind(message).all(conn).await?;
    found.iter().map(told_of).collect()
}

/// All statuses of some messages; at most `ROWS_MAX`. One that cannot be read is an error of its
/// message.
pub(crate) async fn told_of_many(
    conn: &mut Conn,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Result<Told, StoreError>)>, StoreError> {
    let found = of_ids(conn, &[TOLD, "WHERE s.message_id IN"], messages.iter().copied(), IN_ORDER).await?;
    found.iter().map(|row| Ok((row.parsed("message_id")?, told_of(row)))).collect()
}

/// Provider ids of some messages in the order of their parts; at most `ROWS_MAX`.
pub(crate) async fn names_of_many(
    conn: &mut Conn,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, String)>, StoreError> {
    let head = &["SELECT message_id, external_id FROM external_ids WHERE message_id IN"];
    let found = of_ids(conn, head, messages.iter().copied(), "ORDER BY part, external_id").await?;
    found.iter().map(|row| Ok((row.parsed("message_id")?, row.text("external_id")?))).collect()
}

/// All watermarks of some identities, with their times, ascending; at most `ROWS_MAX` identities.
pub(crate) async fn watermarks_of_many(
    conn: &mut Conn,
    identities: &[IdentityId],
) -> Result<Vec<(Watermark, Timestamp)>, StoreError> {
    let head = &["SELECT identity_id, status, by_seq, up_to, at FROM watermarks WHERE identity_id IN"];
    let found = of_ids(conn, head, identities.iter().copied(), "ORDER BY up_to").await?;
    let read = |row: &Row| {
        let mark = Watermark {
            identity: row.parsed("identity_id")?,
            status: provider_status(row)?,
            by_seq: row.flag("by_seq")?,
            up_to: row.int("up_to")?,
        };
        Ok((mark, row.time("at")?))
    };
    found.iter().map(read).collect()
}

/// Provider ids of a message in the order of its parts.
pub(crate) async fn names(conn: &mut Conn, message: MessageId) -> Result<Vec<String>, StoreError> {
    let found = sql("SELECT external_id FROM external_ids WHERE message_id = $1 ORDER BY part, external_id")
        .bind(message)
        .all(conn)
        .await?;
    found.iter().map(|row| row.text("external_id")).collect()
}

/// Writes where a message stands.
pub(crate) async fn set(tx: &mut Tx, message: &Outgoing) -> Result<(), StoreError> {
    sql("UPDATE messages SET status = $1, status_detail = $2, provider_time = $3 WHERE id = $4")
        .bind(message.status.as_str())
        .bind(json(&message.detail)?)
        .bind(message.provider_time)
        .bind(message.id)
        .later(tx)
        .await
}

/// A watermark: everything of ours up to a moment, or up to a number of the thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermark {
    pub(crate) identity: IdentityId,
    pub(crate) status: ProviderStatus,
    pub(crate) by_seq: bool,
    pub(crate) up_to: i64,
}

/// Keeps a watermark and answers the next lower one of its sort, 0 when there is none: only messages
/// between the two can learn something from it.
pub(crate) async fn keep_watermark(tx: &mut Tx, mark: Watermark, at: Timestamp) -> Result<i64, StoreError> {
    sql("INSERT INTO watermarks (identity_id, status, by_seq, up_to, at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (identity_id, status, by_seq, up_to) DO UPDATE SET \
         at = CASE WHEN excluded.at < watermarks.at THEN excluded.at ELSE watermarks.at END")
    .bind(mark.identity)
    .bind(mark.status.as_str())
    .bind(mark.by_seq)
    .bind(mark.up_to)
    .bind(at)
    .run(tx)
    .await?;
    let highest = match (mark.status, mark.by_seq) {
        (ProviderStatus::Delivered, false) => {
            "UPDATE identities SET delivered_up_to = $2 WHERE id = $1 AND delivered_up_to < $2"
        }
        (ProviderStatus::Delivered, true) => {
            "UPDATE identities SET delivered_up_to_seq = $2 WHERE id = $1 AND delivered_up_to_seq < $2"
        }
        (_, false) => "UPDATE identities SET read_up_to = $2 WHERE id = $1 AND read_up_to < $2",
        (_, true) => "UPDATE identities SET read_up_to_seq = $2 WHERE id = $1 AND read_up_to_seq < $2",
    };
    sql(highest).bind(mark.identity).bind(mark.up_to).run(tx).await?;
    let row = sql("SELECT COALESCE(MAX(up_to), 0) AS below FROM watermarks \
         WHERE identity_id = $1 AND status = $2 AND by_seq = $3 AND up_to < $4")
    .bind(mark.identity)
    .bind(mark.status.as_str())
    .bind(mark.by_seq)
    .bind(mark.up_to)
    .first(tx)
    .await?;
    row.map_or(Ok(0), |row| row.int("below"))
}

/// Messages of ours to this identity between two watermarks.
pub(crate) async fn between(
    conn: &mut Conn,
    mark: Watermark,
    below: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let text = if mark.by_seq {
        "SELECT m.id FROM messages m JOIN threads t ON t.id = m.thread_id \
         JOIN identities i ON i.contact_id = t.contact_id WHERE i.id = $1 AND m.seq > $2 AND m.seq <= $3 \
         AND m.identity_id = $1 AND m.direction = 'out' ORDER BY m.seq"
    } else {
        "SELECT id FROM messages WHERE identity_id = $1 AND provider_time > $2 AND provider_time <= $3 \
         AND direction = 'out' ORDER BY provider_time, seq"
    };
    let found = sql(text).bind(mark.identity).bind(below).bind(mark.up_to).all(conn).await?;
    found.iter().map(|row| row.parsed("id")).collect()
}

/// The lowest watermark of an identity that fits, as a part of a union.
macro_rules! nearest {
    ($name:literal, $fits:literal) => {
        concat!(
            "SELECT * FROM (SELECT status, at FROM watermarks WHERE identity_id = $1 AND ",
            $fits,
            " ORDER BY up_to LIMIT 1) AS ",
            $name
        )
    };
}

/// The nearest watermarks at or above a message, by status.
pub(crate) async fn marks_above(
    conn: &mut Conn,
    identity: IdentityId,
    provider_time: Option<Timestamp>,
    seq: i64,
) -> Result<Vec<(ProviderStatus, Timestamp)>, StoreError> {
    let found = sql(concat!(
        nearest!("a", "status = 'delivered' AND by_seq = 0 AND up_to >= $2"),
        " UNION ALL ",
        nearest!("b", "status = 'read' AND by_seq = 0 AND up_to >= $2"),
        " UNION ALL ",
        nearest!("c", "status = 'delivered' AND by_seq = 1 AND up_to >= $3"),
        " UNION ALL ",
        nearest!("d", "status = 'read' AND by_seq = 1 AND up_to >= $3"),
    ))
    .bind(identity)
    .bind(provider_time.map_or(i64::MAX, Timestamp::as_millis))
    .bind(seq)
    .all(conn)
    .await?;
    found.iter().map(|row| Ok((provider_status(row)?, row.time("at")?))).collect()
}

/// The number of the last entry in the thread of an identity.
pub(crate) async fn thread_head(conn: &mut Conn, identity: IdentityId) -> Result<i64, StoreError> {
    let row =
        sql("SELECT t.seq FROM threads t JOIN identities i ON i.contact_id = t.contact_id WHERE i.id = $1")
            .bind(identity)
            .first(conn)
            .await?;
    row.map_or(Ok(0), |row| row.int("seq"))
}

//! Visitors of web sites. Their token is known by its hash only.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::HandleKind;
use loket_protocol::ids::{ContactId, IdentityId, MessageId, ThreadId, VisitorId};
use loket_protocol::time::Timestamp;
use serde::Deserialize;

use super::{Conn, StoreError, Tx, sql};

/// How exact the time of the last visit is: it is not written more often.
const SEEN_GRAIN_MS: i64 = 60_000;

/// A visitor's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VisitorRow {
    pub(crate) id: VisitorId,
    pub(crate) last_seen_at: Timestamp,
}

/// The visitor whose token has this hash.
pub(crate) async fn by_token(
    conn: &mut Conn,
    site: &str,
    token_hash: &str,
) -> Result<Option<VisitorRow>, StoreError> {
    let row = sql("SELECT id, last_seen_at FROM visitors WHERE site = $1 AND token_hash = $2")
        .bind(site)
        .bind(token_hash)
        .first(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(VisitorRow { id: row.parsed("id")?, last_seen_at: row.time("last_seen_at")? }))
}

/// Makes a visitor. False when the hash is somebody's already.
pub(crate) async fn make(
    tx: &mut Tx,
    id: VisitorId,
    site: &str,
    token_hash: &str,
) -> Result<bool, StoreError> {
    let now = tx.now();
    let made = sql(
        "INSERT INTO visitors (id, site, token_hash, created_at, last_seen_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(site)
    .bind(token_hash)
    .bind(now)
    .run(tx)
    .await?;
    Ok(made == 1)
}

/// True when the last visit is long enough ago to be written again.
pub(crate) fn is_stale(visitor: &VisitorRow, now: Timestamp) -> bool {
    now.millis_since(visitor.last_seen_at) >= SEEN_GRAIN_MS
}

/// Notes a visit.
pub(crate) async fn seen(tx: &mut Tx, id: VisitorId) -> Result<(), StoreError> {
    let now = tx.now();
    sql("UPDATE visitors SET last_seen_at = $2 WHERE id = $1").bind(id).bind(now).later(tx).await
}

/// Where a visitor's words are, once they have written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) identity: IdentityId,
    pub(crate) thread: ThreadId,
    pub(crate) contact: ContactId,
}

/// The conversation of a visitor of a site, once they have written.
pub(crate) async fn place(
    conn: &mut Conn,
    site: &ChannelAccount,
    visitor: VisitorId,
) -> Result<Option<Place>, StoreError> {
    let row = sql("SELECT i.id AS identity_id, t.id AS thread_id, t.contact_id FROM handles h \
         JOIN identities i ON i.id = h.identity_id JOIN threads t ON t.contact_id = i.contact_id \
         WHERE h.channel_kind = $1 AND h.account = $2 AND h.kind = $3 AND h.value = $4 AND h.identifies = 1")
    .bind(&site.kind)
    .bind(&site.account)
    .bind(HandleKind::Visitor.as_str())
    .bind(visitor)
    .first(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Place {
        identity: row.parsed("identity_id")?,
        thread: row.parsed("thread_id")?,
        contact: row.parsed("contact_id")?,
    }))
}

/// What was said in a visitor's conversation after a seq, ascending, and what we answered where they carried
/// a code to; no notes, and nothing else of other conversations of the same person.
pub(crate) async fn said_after(
    conn: &mut Conn,
    place: Place,
    seq: i64,
    limit: u32,
) -> Result<Vec<MessageId>, StoreError> {
    let found = sql("SELECT m.id FROM messages m WHERE m.thread_id = $1 AND m.seq > $3 \
         AND m.direction IN ('in', 'out') AND (m.identity_id = $2 OR (m.direction = 'out' AND EXISTS \
         (SELECT 1 FROM views v WHERE v.identity_id = $2 AND v.of_identity_id = m.identity_id \
         AND m.created_at >= v.since AND m.created_at < v.until))) ORDER BY m.seq LIMIT $4")
    .bind(place.thread)
    .bind(place.identity)
    .bind(seq)
    .bind(limit)
    .all(conn)
    .await?;
    found.iter().map(|row| row.parsed("id")).collect()
}

/// What entries of the log say about the message that they are about.
#[derive(Deserialize)]
struct About {
    message: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: MessageId,
}

/// Messages of a thread that were edited or taken back after a seq and up to another: the last `limit`
/// of them, with repeats.
pub(crate) async fn changed_after(
    conn: &mut Conn,
    thread: ThreadId,
    after: i64,
    up_to: i64,
    limit: u32,
) -> Result<Vec<MessageId>, StoreError> {
    let found = sql("SELECT data FROM log WHERE thread_id = $1 AND thread_seq > $2 AND thread_seq <= $3 \
         AND type IN ('message.edited', 'message.deleted') ORDER BY thread_seq DESC LIMIT $4")
    .bind(thread)
    .bind(after)
    .bind(up_to)
    .bind(limit)
    .all(conn)
    .await?;
    let mut ids = Vec::with_capacity(found.len());
    for row in &found {
        // An edit of a message that is not there yet names none.
        ids.extend(row.json::<About>("data")?.message.map(|message| message.id));
    }
    Ok(ids)
}

/// Visitors in whose threads something changed that they may see, after a number of the log and up to
/// another.
pub(crate) async fn with_news(conn: &mut Conn, after: i64, up_to: i64) -> Result<Vec<VisitorId>, StoreError> {
    let found = sql("SELECT DISTINCT h.value FROM log l JOIN threads t ON t.id = l.thread_id \
         JOIN identities i ON i.contact_id = t.contact_id JOIN handles h ON h.identity_id = i.id \
         WHERE l.seq > $1 AND l.seq <= $2 AND h.kind = $3 AND h.identifies = 1 AND l.type IN \
         ('message.received', 'message.queued', 'message.echoed', 'message.edited', 'message.deleted', \
         'message.copied', 'contact.merged', 'contact.split', \
         'control.requested', 'control.accepted', 'control.passed', 'control.released', 'control.expired')")
    .bind(after)
    .bind(up_to)
    .bind(HandleKind::Visitor.as_str())
    .all(conn)
    .await?;
    found.iter().map(|row| row.parsed("value")).collect()
}

/// True when this site has this visitor.
pub(crate) async fn is_known(conn: &mut Conn, site: &str, visitor: VisitorId) -> Result<bool, StoreError> {
    let row = sql("SELECT 1 AS one FROM visitors WHERE site = $1 AND id = $2")
        .bind(site)
        .bind(visitor)
        .first(conn)
        .await?;
    Ok(row.is_some())
}

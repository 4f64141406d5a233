//! Parked items: set aside visibly, with their raw bytes sealed and a way back.

use loket_protocol::ids::{MessageId, ParkedId};
use loket_protocol::time::Timestamp;

use super::{Conn, Row, StoreError, Tx, parts, sql};
use crate::requests::ParkedItem;

/// An item to be parked.
#[derive(Clone, Debug)]
pub(crate) struct NewParked {
    pub(crate) id: ParkedId,
    /// The key that a repeat shares.
    pub(crate) key: String,
    pub(crate) channel_kind: String,
    pub(crate) account: Option<String>,
    pub(crate) reason: String,
    pub(crate) error: String,
    /// What the raw bytes are: `callback` for a body that a channel reads, or the name of a topic.
    pub(crate) source: String,
    /// Sealed; absent while pieces are missing.
    pub(crate) raw: Option<Vec<u8>>,
    /// The placeholder in the thread.
    pub(crate) message: Option<MessageId>,
    pub(crate) at: Timestamp,
}

/// A parked item with what only the hub needs.
#[derive(Clone, Debug)]
pub(crate) struct ParkedRow {
    pub(crate) item: ParkedItem,
    pub(crate) source: String,
    pub(crate) raw: Option<Vec<u8>>,
}

/// Where the sealed bytes of a parked item belong, for the seal.
pub(crate) fn place(id: ParkedId) -> String {
    format!("parked:{id}")
}

/// How many wait for a person.
pub(crate) async fn waiting(conn: &mut Conn) -> Result<i64, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM parked WHERE state = 'parked'").first(conn).await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// The number that the next parked item gets.
pub(crate) async fn next_number(conn: &mut Conn) -> Result<i64, StoreError> {
    let row = sql("SELECT COALESCE(MAX(number), 0) + 1 AS n FROM parked").first(conn).await?;
    row.map_or(Ok(1), |row| row.int("n"))
}

/// Parks an item under a number that [`next_number`] gave in the same transaction.
pub(crate) async fn insert(tx: &mut Tx, new: &NewParked, number: i64) -> Result<(), StoreError> {
    sql("INSERT INTO parked (id, number, key, channel_kind, account, reason, error, source, raw, complete, \
         message_id, state, first_at, last_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'parked', $12, $12)")
    .bind(new.id)
    .bind(number)
    .bind(&new.key)
    .bind(&new.channel_kind)
    .bind(new.account.as_ref())
    .bind(&new.reason)
    .bind(&new.error)
    .bind(&new.source)
    .bind(new.raw.clone())
    .bind(new.raw.is_some())
    .bind(new.message)
    .bind(new.at)
    .later(tx)
    .await
}

/// Counts a repeat of a parked item. `None`: there is none of that key.
pub(crate) async fn came_again(
    tx: &mut Tx,
    key: &str,
    at: Timestamp,
) -> Result<Option<ParkedId>, StoreError> {
    let row =
        sql("UPDATE parked SET times = times + 1, last_at = CASE WHEN $2 > last_at THEN $2 ELSE last_at \
         END WHERE key = $1 RETURNING id")
        .bind(key)
        .bind(at)
        .first(tx)
        .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// The parked item of a key, and whether all its raw bytes are there.
pub(crate) async fn of_key(conn: &mut Conn, key: &str) -> Result<Option<(ParkedId, bool)>, StoreError> {
    let row = sql("SELECT id, complete FROM parked WHERE key = $1").bind(key).first(conn).await?;
    row.map(|row| Ok((row.parsed("id")?, row.flag("complete")?))).transpose()
}

/// Writes the raw bytes, sealed, once all pieces were there.
pub(crate) async fn complete(tx: &mut Tx, id: ParkedId, sealed: Vec<u8>) -> Result<(), StoreError> {
    sql("UPDATE parked SET raw = $2, complete = 1 WHERE id = $1").bind(id).bind(sealed).later(tx).await
}

/// An item that waits for a person, with its placeholder; `None` when it waits no longer.
pub(crate) async fn open_item(
    conn: &mut Conn,
    id: &str,
) -> Result<Option<(ParkedId, Option<MessageId>)>, StoreError> {
    let row = sql("SELECT id, message_id FROM parked WHERE id = $1 AND state = 'parked'")
        .bind(id)
        .first(conn)
        .await?;
    row.map(|row| Ok((row.parsed("id")?, row.parsed_or_none("message_id")?))).transpose()
}

/// It was read after all: by a replay, or because the provider repeated it to a version that can.
pub(crate) async fn was_read(tx: &mut Tx, id: ParkedId) -> Result<(), StoreError> {
    sql("UPDATE parked SET state = 'replayed', state_reason = NULL WHERE id = $1").bind(id).later(tx).await
}

/// Why it still cannot be read.
pub(crate) async fn still_unread(tx: &mut Tx, id: ParkedId, error: &str) -> Result<(), StoreError> {
    sql("UPDATE parked SET error = $2 WHERE id = $1").bind(id).bind(error).later(tx).await
}

/// A person gave it up. False when it waits no longer.
pub(crate) async fn drop_item(tx: &mut Tx, id: ParkedId, why: &str) -> Result<bool, StoreError> {
    let touched =
        sql("UPDATE parked SET state = 'dropped', state_reason = $2 WHERE id = $1 AND state = 'parked'")
            .bind(id)
            .bind(why)
            .run(tx)
            .await?;
    Ok(touched > 0)
}

const SELECT: &str = "SELECT id, number, key, channel_kind, account, reason, error, source, times, state, \
    message_id, first_at, last_at, LENGTH(raw) AS size_bytes FROM parked ";

fn item(row: &Row) -> Result<ParkedItem, StoreError> {
    Ok(ParkedItem {
        id: row.parsed("id")?,
        name: format!("P-{}", row.int("number")?),
        channel_kind: row.text("channel_kind")?,
        account: row.text_or_none("account")?,
        reason: row.text("reason")?,
        error: row.text("error")?,
        times: row.int("times")?,
        state: row.text("state")?,
        message_id: row.parsed_or_none("message_id")?,
        first_at: row.time("first_at")?,
        last_at: row.time("last_at")?,
        size_bytes: row.int_or_none("size_bytes")?.unwrap_or_default(),
    })
}

/// Parked items after a number, ascending; only of a state and a reason when they are given.
pub(crate) async fn list(
    conn: &mut Conn,
    state: Option<&str>,
    reason: Option<&str>,
    after: i64,
    limit: u32,
) -> Result<Vec<ParkedItem>, StoreError> {
    let found = parts(&[
        SELECT,
        "WHERE number > $1 AND ($2 = '' OR state = $2) AND ($3 = '' OR reason = $3) ORDER BY number LIMIT $4",
    ])
    .bind(after)
    .bind(state.unwrap_or_default())
    .bind(reason.unwrap_or_default())
    .bind(limit)
    .all(conn)
    .await?;
    found.iter().map(item).collect()
}

/// An item, without its raw bytes.
pub(crate) async fn view(conn: &mut Conn, id: ParkedId) -> Result<Option<ParkedItem>, StoreError> {
    let row = parts(&[SELECT, "WHERE id = $1"]).bind(id).first(conn).await?;
    row.as_ref().map(item).transpose()
}

/// An item with its raw bytes, still sealed.
pub(crate) async fn whole(conn: &mut Conn, id: ParkedId) -> Result<Option<ParkedRow>, StoreError> {
    let Some(found) = parts(&[SELECT, "WHERE id = $1"]).bind(id).first(conn).await? else { return Ok(None) };
    let raw = sql("SELECT raw FROM parked WHERE id = $1").bind(id).first(conn).await?;
    Ok(Some(ParkedRow {
        item: item(&found)?,
        source: found.text("source")?,
        raw: match raw {
            Some(row) => row.bytes_or_none("raw")?,
            None => None,
        },
    }))
}

/// Keeps one sealed piece of something that came in several.
pub(crate) async fn keep_piece(
    tx: &mut Tx,
    key: &str,
    number: u32,
    of: u32,
    sealed: Vec<u8>,
    received_at: Timestamp,
) -> Result<(), StoreError> {
    sql("INSERT INTO raw_pieces (key, number, count, sealed, received_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT DO NOTHING")
    .bind(key)
    .bind(number)
    .bind(of)
    .bind(sealed)
    .bind(received_at)
    .later(tx)
    .await
}

/// All sealed pieces of one key in their order, once all `of` are there.
pub(crate) async fn all_pieces(
    conn: &mut Conn,
    key: &str,
    of: u32,
) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM raw_pieces WHERE key = $1").bind(key).first(conn).await?;
    let there = row.map_or(Ok(0), |row| row.int("n"))?;
    if there < i64::from(of) {
        return Ok(None);
    }
    let found =
        sql("SELECT sealed FROM raw_pieces WHERE key = $1 ORDER BY number").bind(key).all(conn).await?;
    found.iter().map(|row| row.bytes("sealed")).collect::<Result<_, _>>().map(Some)
}

/// Forgets the pieces of a key.
pub(crate) async fn forget_pieces(tx: &mut Tx, key: &str) -> Result<(), StoreError> {
    sql("DELETE FROM raw_pieces WHERE key = $1").bind(key).later(tx).await
}

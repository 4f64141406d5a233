//! Channel accounts: how they are doing and whether sending is held.

use loket_protocol::channel::{ChannelAccount, ChannelHealth};
use loket_protocol::event::EventType;
use loket_protocol::time::Timestamp;
use serde_json::json;

use super::outbound::channel as channel_of;
use super::{Conn, Row, StoreError, Tx, log, sql};

/// How exact the time of the last sending is: it is not written more often.
const SENT_GRAIN_MS: i64 = 1_000;

/// A channel account's row.
#[derive(Clone, Debug)]
pub(crate) struct ChannelRow {
    pub(crate) channel: ChannelAccount,
    pub(crate) health: ChannelHealth,
    pub(crate) sentence: Option<String>,
    pub(crate) since: Timestamp,
    pub(crate) last_inbound_at: Option<Timestamp>,
    pub(crate) last_sent_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT channel_kind, account, health, sentence, since, last_inbound_at, \
     last_sent_at FROM channels ";

fn health_name(health: ChannelHealth) -> &'static str {
    match health {
        ChannelHealth::Connected => "connected",
        ChannelHealth::Degraded => "degraded",
        ChannelHealth::Reauthorise => "reauthorise",
    }
}

fn row_of(row: &Row) -> Result<ChannelRow, StoreError> {
    let name = row.text("health")?;
    let health = [ChannelHealth::Connected, ChannelHealth::Degraded, ChannelHealth::Reauthorise]
        .into_iter()
        .find(|health| health_name(*health) == name)
        .ok_or_else(|| StoreError::unreadable("health", name))?;
    Ok(ChannelRow {
        channel: channel_of(row)?,
        health,
        sentence: row.text_or_none("sentence")?,
        since: row.time("since")?,
        last_inbound_at: row.time_or_none("last_inbound_at")?,
        last_sent_at: row.time_or_none("last_sent_at")?,
    })
}

/// One channel account; `None` before anything is known of it.
pub(crate) async fn one(conn: &mut Conn, channel: &ChannelAccount) -> Result<Option<ChannelRow>, StoreError> {
    let row = super::parts(&[SELECT, "WHERE channel_kind = $1 AND account = $2"])
        .bind(&channel.kind)
        .bind(&channel.account)
        .first(conn)
        .await?;
    row.as_ref().map(row_of).transpose()
}

/// All that anything is known of.
pub(crate) async fn all(conn: &mut Conn) -> Result<Vec<ChannelRow>, StoreError> {
    let found = super::parts(&[SELECT, "ORDER BY channel_kind, account"]).all(conn).await?;
    found.iter().map(row_of).collect()
}

/// Makes the row of a channel account that is connected as far as anybody knows.
async fn ensure(tx: &mut Tx, channel: &ChannelAccount) -> Result<bool, StoreError> {
    let now = tx.now();
    let made =
        sql("INSERT INTO channels (channel_kind, account, health, since) VALUES ($1, $2, 'connected', $3) \
         ON CONFLICT DO NOTHING")
        .bind(&channel.kind)
        .bind(&channel.account)
        .bind(now)
        .run(tx)
        .await?;
    Ok(made == 1)
}

/// Writes how a channel account is doing, and logs it when that changes.
pub(crate) async fn set_health(
    tx: &mut Tx,
    channel: &ChannelAccount,
    health: ChannelHealth,
    sentence: Option<&str>,
) -> Result<(), StoreError> {
    let before = one(tx, channel).await?;
    ensure(tx, channel).await?;
    let known = before.as_ref().map(|row| row.health);
    let now = tx.now();
    if before.as_ref().is_some_and(|row| row.health == health && row.sentence.as_deref() == sentence) {
        return Ok(());
    }
    let changed = known.unwrap_or(ChannelHealth::Connected) != health;
    sql("UPDATE channels SET health = $3, sentence = $4, since = CASE WHEN $5 = 1 THEN $6 ELSE since END \
         WHERE channel_kind = $1 AND account = $2")
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(health_name(health))
    .bind(sentence)
    .bind(changed)
    .bind(now)
    .run(tx)
    .await?;
    if changed {
        let kind = match health {
            ChannelHealth::Connected => EventType::ChannelRecovered,
            ChannelHealth::Degraded => EventType::ChannelDegraded,
            ChannelHealth::Reauthorise => EventType::ChannelReauthorise,
        };
        let data = json!({ "channel": channel, "health": health, "sentence": sentence });
        log::append(tx, None, kind, &data).await?;
    }
    Ok(())
}

/// Nothing is sent on a channel account before `until`; a later moment that stands already stays.
pub(crate) async fn hold(tx: &mut Tx, channel: &ChannelAccount, until: Timestamp) -> Result<(), StoreError> {
    ensure(tx, channel).await?;
    sql("UPDATE channels SET held_until = $3 WHERE channel_kind = $1 AND account = $2 AND held_until < $3")
        .bind(&channel.kind)
        .bind(&channel.account)
        .bind(until)
        .later(tx)
        .await
}

/// Sending goes on at once.
pub(crate) async fn release(tx: &mut Tx, channel: &ChannelAccount) -> Result<(), StoreError> {
    sql("UPDATE channels SET held_until = 0 WHERE channel_kind = $1 AND account = $2")
        .bind(&channel.kind)
        .bind(&channel.account)
        .later(tx)
        .await
}

/// After a start the settings may be other ones: what needed a person is tried at once.
pub(crate) async fn try_all_again(tx: &mut Tx) -> Result<(), StoreError> {
    sql("UPDATE channels SET held_until = 0 WHERE health = 'reauthorise'").later(tx).await
}

/// Notes that something came in just now, to the second.
pub(crate) async fn has_received(tx: &mut Tx, channel: &ChannelAccount) -> Result<(), StoreError> {
    if tx.heard_within_the_second(channel) {
        return Ok(());
    }
    let now = tx.now();
    let touched = sql("UPDATE channels SET last_inbound_at = $3 WHERE channel_kind = $1 AND account = $2")
        .bind(&channel.kind)
        .bind(&channel.account)
        .bind(now)
        .run(tx)
        .await?;
    if touched == 0 {
        ensure(tx, channel).await?;
        sql("UPDATE channels SET last_inbound_at = $3 WHERE channel_kind = $1 AND account = $2")
            .bind(&channel.kind)
            .bind(&channel.account)
            .bind(now)
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Notes that the provider took something just now, to the second. The first time is logged.
pub(crate) async fn has_sent(tx: &mut Tx, channel: &ChannelAccount) -> Result<(), StoreError> {
    let first = ensure(tx, channel).await?;
    let now = tx.now();
    sql("UPDATE channels SET last_sent_at = $3 WHERE channel_kind = $1 AND account = $2 \
         AND (last_sent_at IS NULL OR last_sent_at <= $4)")
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(now)
    .bind(now.plus_millis(-SENT_GRAIN_MS))
    .run(tx)
    .await?;
    if first {
        let data = json!({ "channel": channel, "health": ChannelHealth::Connected });
        log::append(tx, None, EventType::ChannelConnected, &data).await?;
    }
    Ok(())
}

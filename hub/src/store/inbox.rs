//! The keys of everything that may repeat: a unique row each, written in the transaction of its
//! effect (`reliability-contract` §5).

use loket_protocol::time::Timestamp;

use super::verify::count_before;
use super::{Conn, Row, Statement, StoreError, Tx, Value, listed, rows, sql};

/// Where the effect of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A message; the key is kept as long.
    Message,
    /// A parked item.
    Parked,
    /// An entry of the log, or a mark.
    Log,
    /// A status of a message; kept as long as that.
    Status,
    /// Nothing but a count.
    None,
}

impl Effect {
    /// The name in the store.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Parked => "parked",
            Self::Log => "log",
            Self::Status => "status",
            Self::None => "none",
        }
    }
}

/// A key to be written.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) key: String,
    pub(crate) effect: Effect,
    /// The id of the message or of the parked item.
    pub(crate) effect_id: Option<String>,
    pub(crate) received_at: Timestamp,
    /// When it may be swept; `None`: never before its message.
    pub(crate) keep_until: Option<Timestamp>,
}

/// Writes keys and answers those that are new, to be read by [`new`]; at most `ROWS_MAX`. One that was
/// there before is absorbed: its effect must not be done again. The keys of one call differ.
pub(crate) fn claiming(keys: &[Claim]) -> Statement {
    let values = keys
        .iter()
        .flat_map(|key| -> [Value; 5] {
            [
                (&key.key).into(),
                key.effect.as_str().into(),
                key.effect_id.as_ref().into(),
                key.received_at.into(),
                key.keep_until.into(),
            ]
        })
        .collect();
    rows(
        "INSERT INTO inbox (key, effect, effect_id, received_at, keep_until) VALUES",
        5,
        values,
        "ON CONFLICT (key) DO NOTHING RETURNING key",
    )
}

/// The keys that [`claiming`] answered.
pub(crate) fn new(found: &[Row]) -> Result<Vec<String>, StoreError> {
    found.iter().map(|row| row.text("key")).collect()
}

/// [`claiming`], of any number of keys.
pub(crate) async fn claim(tx: &mut Tx, keys: &[Claim]) -> Result<Vec<String>, StoreError> {
    let mut fresh = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(super::ROWS_MAX) {
        fresh.extend(new(&claiming(chunk).all(tx).await?)?);
    }
    Ok(fresh)
}

/// Of keys that are there, those whose item was parked, with the parked item's id; at most
/// `ROWS_MAX` keys.
pub(crate) async fn parked_among(
    conn: &mut Conn,
    keys: &[&str],
) -> Result<Vec<(String, String)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let values = keys.iter().map(|key| (*key).into()).collect();
    let found = listed(
        &["SELECT key, effect_id FROM inbox WHERE effect = 'parked' AND effect_id IS NOT NULL AND key IN"],
        values,
        "",
    )
    .all(conn)
    .await?;
    found.iter().map(|row| Ok((row.text("key")?, row.text("effect_id")?))).collect()
}

/// Says that a key's effect is somewhere else now.
pub(crate) async fn redirect(
    tx: &mut Tx,
    key: &str,
    effect: Effect,
    effect_id: Option<&str>,
) -> Result<(), StoreError> {
    sql("UPDATE inbox SET effect = $2, effect_id = $3 WHERE key = $1")
        .bind(key)
        .bind(effect.as_str())
        .bind(effect_id)
        .later(tx)
        .await
}

/// How many keys were to be kept until before `moment` only.
pub(crate) async fn left(conn: &mut Conn, moment: Timestamp) -> Result<i64, StoreError> {
    let text = "SELECT COUNT(*) AS n FROM inbox WHERE keep_until IS NOT NULL AND keep_until < $1";
    count_before(conn, text, moment).await
}

/// Removes up to `limit` keys that were to be kept until before `now`; answers how many.
pub(crate) async fn sweep(tx: &mut Tx, limit: u32) -> Result<u64, StoreError> {
    let now = tx.now();
    sql("DELETE FROM inbox WHERE key IN (SELECT key FROM inbox WHERE keep_until IS NOT NULL \
         AND keep_until < $1 ORDER BY keep_until LIMIT $2)")
    .bind(now)
    .bind(limit)
    .run(tx)
    .await
}

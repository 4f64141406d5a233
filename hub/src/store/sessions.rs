//! Sessions of agents; only the hash of a token is here.

use loket_protocol::ids::{AgentId, SessionId};
use loket_protocol::time::Timestamp;

use super::agents::role;
use super::{Conn, StoreError, Tx, sql};
use crate::requests::{Principal, PrincipalBy};

/// A session with its agent.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) principal: Principal,
    pub(crate) last_used_at: Timestamp,
}

/// Begins a session.
pub(crate) async fn make(
    tx: &mut Tx,
    id: SessionId,
    agent: AgentId,
    token_hash: &str,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO sessions (id, agent_id, token_hash, created_at, last_used_at, expires_at) \
         VALUES ($1, $2, $3, $4, $4, $5)")
    .bind(id)
    .bind(agent)
    .bind(token_hash)
    .bind(now)
    .bind(expires_at)
    .later(tx)
    .await
}

/// The session whose token has this hash, while it lasts and its agent may log in.
pub(crate) async fn by_token(
    conn: &mut Conn,
    token_hash: &str,
    now: Timestamp,
    used_since: Timestamp,
) -> Result<Option<SessionRow>, StoreError> {
    let row = sql("SELECT s.id, s.agent_id, s.last_used_at, a.name, a.role FROM sessions s \
         JOIN agents a ON a.id = s.agent_id WHERE s.token_hash = $1 AND s.expires_at > $2 \
         AND s.last_used_at > $3 AND a.disabled_at IS NULL")
    .bind(token_hash)
    .bind(now)
    .bind(used_since)
    .first(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(SessionRow {
        principal: Principal {
            by: PrincipalBy::Session(row.parsed("id")?, row.parsed("agent_id")?),
            role: role(&row)?,
            name: row.text("name")?,
        },
        last_used_at: row.time("last_used_at")?,
    }))
}

/// When a session began.
pub(crate) async fn began(conn: &mut Conn, id: SessionId) -> Result<Option<Timestamp>, StoreError> {
    let row = sql("SELECT created_at FROM sessions WHERE id = $1").bind(id).first(conn).await?;
    row.map(|row| row.time("created_at")).transpose()
}

/// Notes that a session was used.
pub(crate) async fn used(tx: &mut Tx, id: SessionId) -> Result<(), StoreError> {
    let now = tx.now();
    sql("UPDATE sessions SET last_used_at = $2 WHERE id = $1").bind(id).bind(now).later(tx).await
}

/// Ends one session.
pub(crate) async fn end(tx: &mut Tx, id: SessionId) -> Result<(), StoreError> {
    sql("DELETE FROM sessions WHERE id = $1").bind(id).later(tx).await
}

/// Ends all sessions of an agent but one; answers which.
pub(crate) async fn end_all(
    tx: &mut Tx,
    agent: AgentId,
    but: Option<SessionId>,
) -> Result<Vec<SessionId>, StoreError> {
    let found = sql("DELETE FROM sessions WHERE agent_id = $1 AND id <> $2 RETURNING id")
        .bind(agent)
        .bind(but.map_or_else(String::new, |id| id.to_string()))
        .all(tx)
        .await?;
    found.iter().map(|row| row.parsed("id")).collect()
}

/// Forgets sessions that have ended.
pub(crate) async fn sweep(tx: &mut Tx, unused_since: Timestamp) -> Result<u64, StoreError> {
    let now = tx.now();
    sql("DELETE FROM sessions WHERE expires_at <= $1 OR last_used_at <= $2")
        .bind(now)
        .bind(unused_since)
        .run(tx)
        .await
}

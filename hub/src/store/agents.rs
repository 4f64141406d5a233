//! Agents and the attempts to log in.

use loket_protocol::agent::{Agent, Role};
use loket_protocol::ids::AgentId;
use loket_protocol::time::Timestamp;

use super::{Conn, Row, StoreError, Tx, parts, sql};

/// An agent's row.
#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    pub(crate) agent: Agent,
    pub(crate) password_hash: String,
    pub(crate) disabled_at: Option<Timestamp>,
}

const SELECT: &str = "SELECT id, login, name, role, password_hash, disabled_at, created_at FROM agents ";

/// A role in a column.
pub(crate) fn role(row: &Row) -> Result<Role, StoreError> {
    let name = row.text("role")?;
    Role::from_name(&name).ok_or_else(|| StoreError::unreadable("role", name))
}

fn agent(row: &Row) -> Result<AgentRow, StoreError> {
    Ok(AgentRow {
        agent: Agent {
            id: row.parsed("id")?,
            login: row.text("login")?,
            name: row.text("name")?,
            role: role(row)?,
            created_at: row.time("created_at")?,
        },
        password_hash: row.text("password_hash")?,
        disabled_at: row.time_or_none("disabled_at")?,
    })
}

/// Makes an agent. False when the login is somebody's already.
pub(crate) async fn make(tx: &mut Tx, agent: &Agent, password_hash: &str) -> Result<bool, StoreError> {
    let made = sql("INSERT INTO agents (id, login, name, role, password_hash, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING")
    .bind(agent.id)
    .bind(&agent.login)
    .bind(&agent.name)
    .bind(agent.role.as_str())
    .bind(password_hash)
    .bind(agent.created_at)
    .run(tx)
    .await?;
    Ok(made == 1)
}

/// An agent by their id.
pub(crate) async fn by_id(conn: &mut Conn, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
    let row = parts(&[SELECT, "WHERE id = $1"]).bind(id).first(conn).await?;
    row.as_ref().map(agent).transpose()
}

/// An agent by what they log in with.
pub(crate) async fn by_login(conn: &mut Conn, login: &str) -> Result<Option<AgentRow>, StoreError> {
    let row = parts(&[SELECT, "WHERE login = $1"]).bind(login).first(conn).await?;
    row.as_ref().map(agent).transpose()
}

/// Agents who may log in, by id, after `after`.
pub(crate) async fn list(conn: &mut Conn, after: &str, limit: u32) -> Result<Vec<AgentRow>, StoreError> {
    let found = parts(&[SELECT, "WHERE id > $1 AND disabled_at IS NULL ORDER BY id LIMIT $2"])
        .bind(after)
        .bind(limit)
        .all(conn)
        .await?;
    found.iter().map(agent).collect()
}

/// Disables an agent. False when they are unknown or disabled already.
pub(crate) async fn disable(tx: &mut Tx, id: AgentId) -> Result<bool, StoreError> {
    let now = tx.now();
    let touched = sql("UPDATE agents SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL")
        .bind(id)
        .bind(now)
        .run(tx)
        .await?;
    Ok(touched == 1)
}

/// How many admins may log in.
pub(crate) async fn admins(conn: &mut Conn) -> Result<i64, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM agents WHERE role = 'admin' AND disabled_at IS NULL")
        .first(conn)
        .await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// Writes a new password's hash, if the old one still is `was`.
pub(crate) async fn set_password(
    tx: &mut Tx,
    id: AgentId,
    was: &str,
    hash: &str,
) -> Result<bool, StoreError> {
    let touched = sql("UPDATE agents SET password_hash = $3 WHERE id = $1 AND password_hash = $2")
        .bind(id)
        .bind(was)
        .bind(hash)
        .run(tx)
        .await?;
    Ok(touched == 1)
}

/// What stands in the place of an attempt's name when it was a good one.
const WELL: i64 = 0;

/// Writes down an attempt to log in, by login and by address. `one` names it.
pub(crate) async fn attempt(tx: &mut Tx, keys: &[String], one: i64) -> Result<(), StoreError> {
    let now = tx.now();
    for key in keys {
        sql("INSERT INTO login_attempts (key, at, one) VALUES ($1, $2, $3)")
            .bind(key)
            .bind(now)
            .bind(one)
            .run(tx)
            .await?;
    }
    Ok(())
}

/// How many attempts there are since `since`.
pub(crate) async fn attempts(conn: &mut Conn, key: &str, since: Timestamp) -> Result<i64, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM login_attempts WHERE key = $1 AND at > $2")
        .bind(key)
        .bind(since)
        .first(conn)
        .await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// When the attempt was made that `newer` others came after; `None` when there are not so many.
pub(crate) async fn attempt_before(
    conn: &mut Conn,
    key: &str,
    newer: i64,
) -> Result<Option<Timestamp>, StoreError> {
    let row = sql("SELECT at FROM login_attempts WHERE key = $1 ORDER BY at DESC LIMIT 1 OFFSET $2")
        .bind(key)
        .bind(newer)
        .first(conn)
        .await?;
    row.map(|row| row.time("at")).transpose()
}

/// Takes an attempt back: it was refused before any check, or it succeeded.
pub(crate) async fn forget_attempt(tx: &mut Tx, keys: &[String], one: i64) -> Result<(), StoreError> {
    for key in keys {
        sql("DELETE FROM login_attempts WHERE key = $1 AND one = $2").bind(key).bind(one).run(tx).await?;
    }
    Ok(())
}

/// Remembers under `known` that somebody logged in well, once and with the latest time.
pub(crate) async fn remember(tx: &mut Tx, known: &str) -> Result<(), StoreError> {
    forget_attempt(tx, &[known.to_owned()], WELL).await?;
    attempt(tx, &[known.to_owned()], WELL).await
}

/// Forgets attempts from before `before`, and good ones from before `well_before`.
pub(crate) async fn sweep_attempts(
    tx: &mut Tx,
    before: Timestamp,
    well_before: Timestamp,
) -> Result<u64, StoreError> {
    sql("DELETE FROM login_attempts WHERE at < CASE WHEN one = $1 AND key LIKE 'known:%' THEN $3 ELSE $2 END")
        .bind(WELL)
        .bind(before)
        .bind(well_before)
        .run(tx)
        .await
}

//! API keys; only the hash of a key is here.

use loket_protocol::ids::KeyId;
use loket_protocol::time::Timestamp;

use super::agents::role;
use super::{Conn, Row, StoreError, Tx, parts, sql};
use crate::requests::ApiKey;

/// A key with the hash of its secret.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) key: ApiKey,
    pub(crate) secret_hash: String,
}

const SELECT: &str =
    "SELECT id, name, role, secret_hash, created_at, expires_at, last_used_at, revoked_at FROM api_keys ";

fn key(row: &Row) -> Result<KeyRow, StoreError> {
    Ok(KeyRow {
        key: ApiKey {
            id: row.parsed("id")?,
            name: row.text("name")?,
            role: role(row)?,
            created_at: row.time("created_at")?,
            expires_at: row.time("expires_at")?,
            last_used_at: row.time_or_none("last_used_at")?,
            revoked_at: row.time_or_none("revoked_at")?,
        },
        secret_hash: row.text("secret_hash")?,
    })
}

/// Makes a key.
pub(crate) async fn make(
    tx: &mut Tx,
    key: &ApiKey,
    secret_hash: &str,
    created_by: Option<&str>,
) -> Result<(), StoreError> {
    sql("INSERT INTO api_keys (id, name, role, secret_hash, created_by, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
    .bind(key.id)
    .bind(&key.name)
    .bind(key.role.as_str())
    .bind(secret_hash)
    .bind(created_by)
    .bind(key.created_at)
    .bind(key.expires_at)
    .later(tx)
    .await
}

/// A key by its id.
pub(crate) async fn by_id(conn: &mut Conn, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
    let row = parts(&[SELECT, "WHERE id = $1"]).bind(id).first(conn).await?;
    row.as_ref().map(key).transpose()
}

/// All keys by id, after `after`.
pub(crate) async fn list(conn: &mut Conn, after: &str, limit: u32) -> Result<Vec<ApiKey>, StoreError> {
    let found =
        parts(&[SELECT, "WHERE id > $1 ORDER BY id LIMIT $2"]).bind(after).bind(limit).all(conn).await?;
    found.iter().map(|row| Ok(key(row)?.key)).collect()
}

/// Revokes a key. False when it is unknown or revoked already.
pub(crate) async fn revoke(tx: &mut Tx, id: KeyId) -> Result<bool, StoreError> {
    let now = tx.now();
    let touched = sql("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now)
        .run(tx)
        .await?;
    Ok(touched == 1)
}

/// Revokes all keys that somebody made; answers which.
pub(crate) async fn revoke_made_by(tx: &mut Tx, maker: &str) -> Result<Vec<KeyId>, StoreError> {
    let now = tx.now();
    let found =
        sql("UPDATE api_keys SET revoked_at = $2 WHERE created_by = $1 AND revoked_at IS NULL RETURNING id")
            .bind(maker)
            .bind(now)
            .all(tx)
            .await?;
    found.iter().map(|row| row.parsed("id")).collect()
}

/// Notes that a key was used.
pub(crate) async fn used(tx: &mut Tx, id: KeyId, at: Timestamp) -> Result<(), StoreError> {
    sql("UPDATE api_keys SET last_used_at = $2 WHERE id = $1").bind(id).bind(at).later(tx).await
}

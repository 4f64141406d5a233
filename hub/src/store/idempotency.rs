//! Answers of idempotent writes, kept with their effect (`reliability-contract` §10).

use loket_protocol::time::Timestamp;

use super::verify::count_before;
use super::{Conn, StoreError, Tx, sql};
use crate::requests::Idempotency;

/// A write that was done.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) fingerprint: String,
    pub(crate) status: i64,
    /// Sealed; empty while the write is being done.
    pub(crate) answer: Vec<u8>,
}

/// Takes the key for this transaction. False when it is somebody's already.
pub(crate) async fn take(tx: &mut Tx, principal: &str, idem: &Idempotency) -> Result<bool, StoreError> {
    let now = tx.now();
    let taken =
        sql("INSERT INTO idempotency (principal, method, path, key, fingerprint, status, answer, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING")
        .bind(principal)
        .bind(&idem.method)
        .bind(&idem.path)
        .bind(&idem.key)
        .bind(&idem.fingerprint)
        .bind(u32::from(idem.status))
        .bind(Vec::<u8>::new())
        .bind(now)
        .run(tx)
        .await?;
    Ok(taken == 1)
}

/// What is kept under a key.
pub(crate) async fn kept(
    conn: &mut Conn,
    principal: &str,
    idem: &Idempotency,
) -> Result<Option<Kept>, StoreError> {
    let row = sql("SELECT fingerprint, status, answer FROM idempotency \
         WHERE principal = $1 AND method = $2 AND path = $3 AND key = $4")
    .bind(principal)
    .bind(&idem.method)
    .bind(&idem.path)
    .bind(&idem.key)
    .first(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Kept {
        fingerprint: row.text("fingerprint")?,
        status: row.int("status")?,
        answer: row.bytes("answer")?,
    }))
}

/// Writes the answer beside the key.
pub(crate) async fn answer(
    tx: &mut Tx,
    principal: &str,
    idem: &Idempotency,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    sql("UPDATE idempotency SET answer = $5 WHERE principal = $1 AND method = $2 AND path = $3 AND key = $4")
        .bind(principal)
        .bind(&idem.method)
        .bind(&idem.path)
        .bind(&idem.key)
        .bind(sealed)
        .later(tx)
        .await
}

/// How many answers are from before `before`.
pub(crate) async fn left(conn: &mut Conn, before: Timestamp) -> Result<i64, StoreError> {
    count_before(conn, "SELECT COUNT(*) AS n FROM idempotency WHERE at < $1", before).await
}

/// Forgets answers from before `before`, some at a time.
pub(crate) async fn sweep(tx: &mut Tx, before: Timestamp, most: u32) -> Result<u64, StoreError> {
    sql("DELETE FROM idempotency WHERE (principal, method, path, key) IN \
         (SELECT principal, method, path, key FROM idempotency WHERE at < $1 LIMIT $2)")
    .bind(before)
    .bind(most)
    .run(tx)
    .await
}

//! The right to number the log, and the numbering itself.

use loket_protocol::time::Timestamp;

use super::{StoreError, Tx, sql};

/// Takes or renews the right to number until `until`. Answers its epoch, or `None` while somebody
/// else has it.
pub(crate) async fn elect(tx: &mut Tx, holder: &str, until: Timestamp) -> Result<Option<i64>, StoreError> {
    let now = tx.now();
    // The head of the log is read once in a lifetime: from then on this row knows it.
    let row = sql("INSERT INTO sequencer (one, holder, epoch, expires_at, last_seq) \
         VALUES (1, $1, 1, $2, (SELECT COALESCE(MAX(seq), 0) FROM log)) \
         ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
         epoch = sequencer.epoch + CASE WHEN sequencer.holder = excluded.holder THEN 0 ELSE 1 END \
         WHERE sequencer.holder = excluded.holder OR sequencer.expires_at <= $3 RETURNING epoch")
    .bind(holder)
    .bind(until)
    .bind(now)
    .first(tx)
    .await?;
    row.map(|row| row.int("epoch")).transpose()
}

/// Ends the right of whoever has it: for a backend that one process has to itself, where whoever had it
/// is gone. Without this a restart would wait for the lease to run out.
pub(crate) async fn depose(tx: &mut Tx) -> Result<(), StoreError> {
    sql("UPDATE sequencer SET expires_at = 0").later(tx).await
}

/// Gives the right up, so that another process takes it over at once.
pub(crate) async fn resign(tx: &mut Tx, holder: &str) -> Result<(), StoreError> {
    sql("UPDATE sequencer SET expires_at = 0 WHERE holder = $1").bind(holder).run(tx).await?;
    Ok(())
}

/// Numbers up to `limit` entries that have no number yet, in the order of their rows. Answers how
/// many; `None` when the epoch is over and somebody else numbers now.
pub(crate) async fn number(tx: &mut Tx, epoch: i64, limit: u32) -> Result<Option<u64>, StoreError> {
    // The row is locked first, so that two who both believe in their right number one after another.
    let row = sql("UPDATE sequencer SET epoch = epoch WHERE one = 1 AND epoch = $1 RETURNING last_seq")
        .bind(epoch)
        .first(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let last = row.int("last_seq")?;
    let numbered = sql("UPDATE log SET seq = $1 + u.place FROM (SELECT row_id, ROW_NUMBER() OVER \
         (ORDER BY row_id) AS place FROM log WHERE seq IS NULL ORDER BY row_id LIMIT $2) u \
         WHERE log.row_id = u.row_id")
    .bind(last)
    .bind(limit)
    .run(tx)
    .await?;
    if numbered > 0 {
        let count = i64::try_from(numbered).unwrap_or(i64::MAX);
        sql("UPDATE sequencer SET last_seq = last_seq + $1 WHERE one = 1").bind(count).later(tx).await?;
    }
    Ok(Some(numbered))
}

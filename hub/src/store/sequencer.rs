//! The right to number the log, and the numbering itself.

use loket_protocol::time::Timestamp;

use super::{Store, StoreError, Tx, sql};

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

/// Numbers up to `limit` entries that have no number yet, in the order of their rows, in a transaction
/// of its own. Answers how many; `None` when the epoch is over and somebody else numbers now.
pub(crate) async fn number(store: &Store, epoch: i64, limit: u32) -> Result<Option<i64>, StoreError> {
    let told = store
        .repeatable(vec![
            // The row is locked first, so that two who both believe in their right number one after another.
            sql("UPDATE sequencer SET epoch = epoch WHERE one = 1 AND epoch = $1 RETURNING last_seq")
                .bind(epoch),
            sql("UPDATE log SET seq = s.last_seq + u.place FROM (SELECT row_id, ROW_NUMBER() OVER \
                 (ORDER BY row_id) AS place FROM log WHERE seq IS NULL ORDER BY row_id LIMIT $2) u, \
                 sequencer s WHERE log.row_id = u.row_id AND s.one = 1 AND s.epoch = $1")
            .bind(epoch)
            .bind(limit),
            sql("UPDATE sequencer SET last_seq = last_seq + (SELECT COUNT(*) FROM log \
                 WHERE log.seq > sequencer.last_seq) WHERE one = 1 AND epoch = $1 RETURNING last_seq")
            .bind(epoch),
        ])
        .await?;
    let [before, after] = told.as_slice() else { return Ok(None) };
    Ok(Some(after.int("last_seq")? - before.int("last_seq")?))
}

//! Locks that a transaction takes before it reads what it will change. SQLite has one writer, so there is
//! nothing to lock and nothing is asked; with a server's many, who is first goes first.
//!
//! A thread's row is the lock of everything in it: its messages, what was said about them, what waits to
//! be sent. A batch locks all its threads at once, by ascending id, before it locks anything in them
//! (`reliability-contract` §2), so that two of them wait for each other in one direction only.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::ids::{MessageId, ThreadId};
use loket_protocol::thread::ThreadStatus;

use super::{ROWS_MAX, Row, StoreError, Tx, Value, listed, rows, sql, threads};

/// Locks threads until the end of the transaction and answers how they stand: nobody changes that from
/// here on. Each comes with how often it was merged and split when it was found; if that has changed, what
/// was found there may be elsewhere now, and the whole transaction must be done again. Nothing is asked,
/// and nothing answered, where there is one writer.
pub(crate) async fn of_threads(
    tx: &mut Tx,
    found_in: impl IntoIterator<Item = (ThreadId, i64)>,
) -> Result<Vec<(ThreadId, ThreadStatus)>, StoreError> {
    if !tx.is_shared() {
        return Ok(Vec::new());
    }
    let mut found_in: Vec<(ThreadId, i64)> = found_in.into_iter().collect();
    found_in.sort_unstable();
    found_in.dedup();
    let mut ids: Vec<ThreadId> = found_in.iter().map(|(id, _)| *id).collect();
    ids.dedup();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(ROWS_MAX) {
        let values = chunk.iter().map(|id| (*id).into()).collect();
        let locked = listed(&["SELECT id, status, joins FROM threads WHERE id IN"], values, "ORDER BY id")
            .locking("threads")
            .all(tx)
            .await?;
        for row in &locked {
            let (id, joins): (ThreadId, i64) = (row.parsed("id")?, row.int("joins")?);
            if found_in.iter().any(|(known, then)| *known == id && *then != joins) {
                return Err(StoreError::Passing("a merge or an undo came between".to_owned()));
            }
            found.push((id, threads::status(row, "status")?));
        }
    }
    Ok(found)
}

/// Locks the threads of some messages.
pub(crate) async fn of_messages(tx: &mut Tx, messages: &[MessageId]) -> Result<(), StoreError> {
    let found = threads_of(tx, messages).await?;
    of_threads(tx, found).await?;
    Ok(())
}

/// The threads of the messages that have these provider ids, as far as they are known, for [`of_threads`];
/// none are looked for where there is one writer.
pub(crate) async fn threads_named(
    tx: &mut Tx,
    names: &[(&ChannelAccount, &str)],
) -> Result<Vec<(ThreadId, i64)>, StoreError> {
    if !tx.is_shared() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for chunk in names.chunks(ROWS_MAX) {
        let values = chunk
            .iter()
            .flat_map(|(channel, id)| -> [Value; 3] {
                [(&channel.kind).into(), (&channel.account).into(), (*id).into()]
            })
            .collect();
        let rows = rows(
            "WITH wanted (kind, account, id) AS (VALUES",
            3,
            values,
            ") SELECT t.id, t.joins FROM wanted w CROSS JOIN messages m CROSS JOIN threads t \
             WHERE m.channel_kind = w.kind AND m.account = w.account AND m.external_id = w.id \
             AND t.id = m.thread_id \
             UNION SELECT t.id, t.joins FROM wanted w CROSS JOIN external_ids e CROSS JOIN messages m \
             CROSS JOIN threads t WHERE e.channel_kind = w.kind AND e.account = w.account \
             AND e.external_id = w.id AND m.id = e.message_id AND t.id = m.thread_id",
        )
        .all(tx)
        .await?;
        found.extend(rows.iter().map(thread).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

/// The threads of some messages; none are looked for where there is one writer.
pub(crate) async fn threads_of(
    tx: &mut Tx,
    messages: &[MessageId],
) -> Result<Vec<(ThreadId, i64)>, StoreError> {
    if !tx.is_shared() || messages.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for chunk in messages.chunks(ROWS_MAX) {
        let values = chunk.iter().map(|id| (*id).into()).collect();
        let rows = listed(
            &["SELECT DISTINCT t.id, t.joins FROM messages m JOIN threads t ON t.id = m.thread_id WHERE m.id IN"],
            values,
            "",
        )
        .all(tx)
        .await?;
        found.extend(rows.iter().map(thread).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

fn thread(row: &Row) -> Result<(ThreadId, i64), StoreError> {
    Ok((row.parsed("id")?, row.int("joins")?))
}

/// Locks something that has no row yet, by its names, until the end of the transaction: whoever else
/// wants one of them waits, and finds the row then. Different names may, rarely, stand for one lock.
pub(crate) async fn of_names(tx: &mut Tx, names: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
    if !tx.is_shared() {
        return Ok(());
    }
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    for chunk in names.chunks(ROWS_MAX) {
        let values = chunk.iter().map(|name| name.as_str().into()).collect();
        // The server locks in the order in which its rows come, which is that of the list.
        rows(
            "WITH wanted (name) AS (VALUES",
            1,
            values,
            ") SELECT COUNT(pg_advisory_xact_lock(hashtextextended(w.name, 0))) AS n FROM wanted w",
        )
        .all(tx)
        .await?;
    }
    Ok(())
}

/// The same for one name.
pub(crate) async fn of_name(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    if tx.is_shared() {
        sql("SELECT COUNT(pg_advisory_xact_lock(hashtextextended($1, 0))) AS n").bind(name).all(tx).await?;
    }
    Ok(())
}

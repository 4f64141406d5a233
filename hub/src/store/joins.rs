//! Joining contacts and taking it back: who stands for whom, where messages are shown, and the record of
//! it. Entries of the log are never touched; a message's row says where it is shown now.

use std::collections::{HashMap, HashSet};

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Merge, Proof};
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::ids::{ContactId, IdentityId, MergeId, MessageId, ThreadId};
use loket_protocol::message::Author;
use loket_protocol::time::Timestamp;

use super::outbound::channel as channel_of;
use super::{Conn, ROWS_MAX, Row, StoreError, Tx, Value, json, listed, parts, rows, sql};

/// The thread that stands for a contact: their own, or the one that theirs was merged into.
pub(crate) async fn thread_of_contact(
    conn: &mut Conn,
    contact: ContactId,
) -> Result<Option<ThreadId>, StoreError> {
    let row = sql("SELECT id FROM threads WHERE contact_id = $1").bind(contact).first(conn).await?;
    let Some(own) = row.map(|row| row.parsed("id")).transpose()? else { return Ok(None) };
    root_of(conn, own).await
}

/// The thread that stands for a thread.
pub(crate) async fn root_of(conn: &mut Conn, thread: ThreadId) -> Result<Option<ThreadId>, StoreError> {
    let row = sql("WITH RECURSIVE way (id, further) AS (SELECT id, merged_into FROM threads WHERE id = $1 \
         UNION SELECT t.id, t.merged_into FROM way w JOIN threads t ON t.id = w.further) \
         SELECT id FROM way WHERE further IS NULL")
    .bind(thread)
    .first(conn)
    .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// The contacts whose ids lead to some contact's today, themselves among them.
const BELOW: &str = "WITH RECURSIVE below (thread, contact) AS (SELECT id, contact_id FROM threads \
    WHERE id = $1 UNION SELECT t.id, t.contact_id FROM below b JOIN threads t ON t.merged_into = b.thread) ";

/// The threads that lead to this one today, itself among them.
pub(crate) async fn below(conn: &mut Conn, thread: ThreadId) -> Result<HashSet<ThreadId>, StoreError> {
    let found = parts(&[BELOW, "SELECT thread FROM below"]).bind(thread).all(conn).await?;
    found.iter().map(|row| row.parsed("thread")).collect()
}

/// Merges a thread away: from here on `to` stands for it.
pub(crate) async fn attach(tx: &mut Tx, thread: ThreadId, to: ThreadId) -> Result<(), StoreError> {
    sql("UPDATE threads SET merged_into = $2 WHERE id = $1").bind(thread).bind(to).run(tx).await.map(|_| ())
}

/// Makes a thread its own again.
pub(crate) async fn detach(tx: &mut Tx, thread: ThreadId) -> Result<(), StoreError> {
    sql("UPDATE threads SET merged_into = NULL WHERE id = $1").bind(thread).run(tx).await.map(|_| ())
}

/// An identity that went over from one contact to another.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) identity: IdentityId,
    pub(crate) channel: ChannelAccount,
}

fn moved(found: &[Row]) -> Result<Vec<Moved>, StoreError> {
    let mut all = Vec::with_capacity(found.len());
    for row in found {
        all.push(Moved { identity: row.parsed("id")?, channel: channel_of(row)? });
    }
    all.sort_by_key(|moved| moved.identity);
    Ok(all)
}

/// Gives all identities of a contact to another.
pub(crate) async fn hand_over(tx: &mut Tx, from: ContactId, to: ContactId) -> Result<Vec<Moved>, StoreError> {
    let found = sql("UPDATE identities SET made_with = COALESCE(made_with, contact_id), contact_id = $2 \
         WHERE contact_id = $1 RETURNING id, channel_kind, account")
    .bind(from)
    .bind(to)
    .all(tx)
    .await?;
    moved(&found)
}

/// Gives back to a contact what was made with them or with a contact that leads to them, and is another's.
pub(crate) async fn hand_back(
    tx: &mut Tx,
    thread: ThreadId,
    to: ContactId,
) -> Result<Vec<Moved>, StoreError> {
    let found = parts(&[
        BELOW,
        "UPDATE identities SET contact_id = $2 WHERE made_with IN (SELECT contact FROM below) \
         AND contact_id <> $2 RETURNING id, channel_kind, account",
    ])
    .bind(thread)
    .bind(to)
    .all(tx)
    .await?;
    moved(&found)
}

/// A message where it is shown, as far as moving it goes.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) id: MessageId,
    pub(crate) seq: i64,
    /// Where it was appended.
    pub(crate) first: (ThreadId, i64),
    pub(crate) identity: Option<IdentityId>,
    pub(crate) incoming: bool,
    pub(crate) created_at: Timestamp,
}

/// All messages that a thread shows, in the order of their numbers; `None` when there are more than `most`.
pub(crate) async fn shown(
    conn: &mut Conn,
    thread: ThreadId,
    most: usize,
) -> Result<Option<Vec<Shown>>, StoreError> {
    let mut all: Vec<Shown> = Vec::new();
    let page = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
    loop {
        let found = sql("SELECT id, seq, first_thread_id, first_seq, identity_id, direction, created_at \
             FROM messages WHERE thread_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
        .bind(thread)
        .bind(all.last().map_or(0, |shown| shown.seq))
        .bind(page)
        .all(conn)
        .await?;
        for row in &found {
            let seq = row.int("seq")?;
            let first = match row.parsed_or_none("first_thread_id")? {
                Some(first) => (first, row.int("first_seq")?),
                None => (thread, seq),
            };
            all.push(Shown {
                id: row.parsed("id")?,
                seq,
                first,
                identity: row.parsed_or_none("identity_id")?,
                incoming: row.text("direction")? == "in",
                created_at: row.time("created_at")?,
            });
        }
        if all.len() > most {
            return Ok(None);
        }
        if found.len() < ROWS_MAX {
            return Ok(Some(all));
        }
    }
}

/// The last places that copies gave messages in a thread.
pub(crate) async fn copied_into(
    conn: &mut Conn,
    thread: ThreadId,
) -> Result<HashMap<MessageId, i64>, StoreError> {
    let found =
        sql("SELECT message_id, MAX(seq) AS seq FROM copies WHERE thread_id = $1 GROUP BY message_id")
            .bind(thread)
            .all(conn)
            .await?;
    found.iter().map(|row| Ok((row.parsed("message_id")?, row.int("seq")?))).collect()
}

/// A place that a message gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) message: MessageId,
    pub(crate) seq: i64,
    /// Where it was appended.
    pub(crate) first: (ThreadId, i64),
}

/// Shows messages in a thread from now on, and nowhere else.
pub(crate) async fn show(tx: &mut Tx, thread: ThreadId, placed: &[Placed]) -> Result<(), StoreError> {
    for chunk in placed.chunks(ROWS_MAX) {
        let values = chunk
            .iter()
            .flat_map(|placed| -> [Value; 5] {
                let first = Some(placed.first).filter(|first| *first != (thread, placed.seq));
                let (first_thread, first_seq) = first.unzip();
                [
                    placed.message.into(),
                    thread.into(),
                    placed.seq.into(),
                    first_thread.into(),
                    first_seq.into(),
                ]
            })
            .collect();
        rows(
            "WITH p (id, thread, seq, first_thread, first_seq) AS (VALUES",
            5,
            values,
            ") UPDATE messages SET thread_id = p.thread, seq = p.seq, first_thread_id = p.first_thread, \
             first_seq = p.first_seq FROM p WHERE messages.id = p.id",
        )
        .run(tx)
        .await?;
    }
    Ok(())
}

/// Writes down the places that copies give.
pub(crate) async fn keep_copies(
    tx: &mut Tx,
    thread: ThreadId,
    merge: MergeId,
    placed: &[Placed],
) -> Result<(), StoreError> {
    for chunk in placed.chunks(ROWS_MAX) {
        let values = chunk
            .iter()
            .flat_map(|placed| -> [Value; 4] {
                [thread.into(), placed.seq.into(), placed.message.into(), merge.into()]
            })
            .collect();
        rows("INSERT INTO copies (thread_id, seq, message_id, merge_id) VALUES", 4, values, "")
            .run(tx)
            .await?;
    }
    Ok(())
}

/// After messages came or went: the last thing said in a thread, and that what was read of it before is
/// out of date.
pub(crate) async fn settle(tx: &mut Tx, thread: ThreadId) -> Result<(), StoreError> {
    sql("WITH said AS (SELECT id, seq, direction, CASE WHEN imported = 1 AND provider_time < created_at \
         THEN provider_time ELSE created_at END AS at FROM messages WHERE thread_id = $1) \
         UPDATE threads SET joins = joins + 1, version = version + 1, \
         last_message_id = (SELECT id FROM said ORDER BY at DESC, seq DESC LIMIT 1), \
         last_message_at = COALESCE((SELECT MAX(at) FROM said WHERE direction <> 'note'), 0) WHERE id = $1")
    .bind(thread)
    .run(tx)
    .await?;
    Ok(())
}

/// A visitor's word that everything up to a number of the thread was delivered or read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeqMark {
    pub(crate) status: ProviderStatus,
    pub(crate) up_to: i64,
    pub(crate) at: Timestamp,
}

/// What an identity said by numbers of its thread.
pub(crate) async fn seq_marks(conn: &mut Conn, identity: IdentityId) -> Result<Vec<SeqMark>, StoreError> {
    let found = sql("SELECT status, up_to, at FROM watermarks WHERE identity_id = $1 AND by_seq = 1")
        .bind(identity)
        .all(conn)
        .await?;
    found
        .iter()
        .map(|row| {
            let name = row.text("status")?;
            let status =
                ProviderStatus::from_name(&name).ok_or_else(|| StoreError::unreadable("status", name))?;
            Ok(SeqMark { status, up_to: row.int("up_to")?, at: row.time("at")? })
        })
        .collect()
}

/// Says the same in the numbers of another thread.
pub(crate) async fn set_seq_marks(
    tx: &mut Tx,
    identity: IdentityId,
    marks: &[SeqMark],
) -> Result<(), StoreError> {
    sql("DELETE FROM watermarks WHERE identity_id = $1 AND by_seq = 1").bind(identity).run(tx).await?;
    for mark in marks {
        sql("INSERT INTO watermarks (identity_id, status, by_seq, up_to, at) VALUES ($1, $2, 1, $3, $4)")
            .bind(identity)
            .bind(mark.status.as_str())
            .bind(mark.up_to)
            .bind(mark.at)
            .run(tx)
            .await?;
    }
    let highest =
        |status| marks.iter().filter(|mark| mark.status == status).map(|mark| mark.up_to).max().unwrap_or(0);
    sql("UPDATE identities SET delivered_up_to_seq = $2, read_up_to_seq = $3 WHERE id = $1")
        .bind(identity)
        .bind(highest(ProviderStatus::Delivered))
        .bind(highest(ProviderStatus::Read))
        .run(tx)
        .await?;
    Ok(())
}

/// Writes down a merge.
pub(crate) async fn keep(tx: &mut Tx, merge: &Merge) -> Result<(), StoreError> {
    sql("INSERT INTO merges (id, contact_id, thread_id, merged_contact_id, merged_thread_id, proof, evidence, \
         done_by, why, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
    .bind(merge.id)
    .bind(merge.contact_id)
    .bind(merge.thread_id)
    .bind(merge.merged_contact_id)
    .bind(merge.merged_thread_id)
    .bind(merge.proof.as_str())
    .bind(json(&merge.evidence)?)
    .bind(json(&merge.by)?)
    .bind(merge.why.as_ref())
    .bind(merge.at)
    .run(tx)
    .await?;
    Ok(())
}

/// Writes down that a merge was taken back.
pub(crate) async fn undo(tx: &mut Tx, merge: &Merge) -> Result<(), StoreError> {
    sql("UPDATE merges SET undone_at = $2, undone_by = $3, undone_why = $4 WHERE id = $1")
        .bind(merge.id)
        .bind(merge.undone_at)
        .bind(merge.undone_by.as_ref().map(json).transpose()?)
        .bind(merge.undone_why.as_ref())
        .run(tx)
        .await?;
    Ok(())
}

const MERGE: &str = "SELECT m.id, m.contact_id, m.thread_id, m.merged_contact_id, m.merged_thread_id, m.proof, \
    m.evidence, m.done_by, m.why, m.at, m.undone_at, m.undone_by, m.undone_why FROM merges m ";

fn merge(row: &Row) -> Result<Merge, StoreError> {
    let proof = row.text("proof")?;
    Ok(Merge {
        id: row.parsed("id")?,
        contact_id: row.parsed("contact_id")?,
        thread_id: row.parsed("thread_id")?,
        merged_contact_id: row.parsed("merged_contact_id")?,
        merged_thread_id: row.parsed("merged_thread_id")?,
        proof: Proof::from_name(&proof).ok_or_else(|| StoreError::unreadable("proof", proof))?,
        evidence: row.json("evidence")?,
        by: row.json::<Author>("done_by")?,
        why: row.text_or_none("why")?,
        at: row.time("at")?,
        undone_at: row.time_or_none("undone_at")?,
        undone_by: row.json_or_none("undone_by")?,
        undone_why: row.text_or_none("undone_why")?,
    })
}

/// A merge by its id; in a transaction that writes it stays as it is until the end.
pub(crate) async fn by_id(conn: &mut Conn, id: MergeId) -> Result<Option<Merge>, StoreError> {
    let row = parts(&[MERGE, "WHERE m.id = $1"]).bind(id).locking("m").first(conn).await?;
    row.as_ref().map(merge).transpose()
}

/// The merges that made a contact what they are, and those that were taken back, newest first.
pub(crate) async fn of_thread(
    conn: &mut Conn,
    thread: ThreadId,
    limit: u32,
) -> Result<Vec<Merge>, StoreError> {
    let found = parts(&[
        BELOW,
        MERGE,
        "WHERE m.contact_id IN (SELECT contact FROM below) \
         OR m.merged_contact_id IN (SELECT contact FROM below) ORDER BY m.at DESC, m.id DESC LIMIT $2",
    ])
    .bind(thread)
    .bind(limit)
    .all(conn)
    .await?;
    found.iter().map(merge).collect()
}

/// Since when contacts are known, by id.
pub(crate) async fn since(
    conn: &mut Conn,
    contacts: &[ContactId],
) -> Result<HashMap<ContactId, Timestamp>, StoreError> {
    let values = contacts.iter().map(|id| (*id).into()).collect();
    let found = listed(&["SELECT id, created_at FROM contacts WHERE id IN"], values, "").all(conn).await?;
    found.iter().map(|row| Ok((row.parsed("id")?, row.time("created_at")?))).collect()
}

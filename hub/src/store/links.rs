//! Codes that are carried from one channel to another, what is due to be joined, and what a visitor may see
//! by it.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::Proof;
use loket_protocol::ids::{ContactId, IdentityId, LinkRequestId, MessageId, ThreadId};
use loket_protocol::time::Timestamp;
use serde_json::Value;

use super::outbound::channel as channel_of;
use super::{Conn, StoreError, Tx, json, listed, sql};

/// A new request for a link.
#[derive(Clone, Debug)]
pub(crate) struct NewLink<'a> {
    pub(crate) id: LinkRequestId,
    pub(crate) code_hash: &'a str,
    pub(crate) contact: ContactId,
    /// The visitor who asks; `None` when somebody of ours does.
    pub(crate) visitor: Option<IdentityId>,
    pub(crate) channel: &'a ChannelAccount,
    pub(crate) expires_at: Timestamp,
}

/// Writes a request down.
pub(crate) async fn make(tx: &mut Tx, new: &NewLink<'_>) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO link_requests (id, code_hash, contact_id, identity_id, channel_kind, account, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
    .bind(new.id)
    .bind(new.code_hash)
    .bind(new.contact)
    .bind(new.visitor)
    .bind(&new.channel.kind)
    .bind(&new.channel.account)
    .bind(now)
    .bind(new.expires_at)
    .run(tx)
    .await?;
    Ok(())
}

/// Uses up a code that came in on a channel account, and makes the join due that it proves. False: it is
/// none, of another account, used or too old.
pub(crate) async fn carry(
    tx: &mut Tx,
    channel: &ChannelAccount,
    code_hash: &str,
    identity: IdentityId,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let used = sql("UPDATE link_requests SET used_at = $4 WHERE code_hash = $1 AND channel_kind = $2 \
         AND account = $3 AND used_at IS NULL AND expires_at > $4 RETURNING contact_id, identity_id")
    .bind(code_hash)
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(at)
    .first(tx)
    .await?;
    let Some(used) = used else { return Ok(false) };
    let viewer: Option<IdentityId> = used.parsed_or_none("identity_id")?;
    let from = match viewer {
        Some(viewer) => sql("SELECT channel_kind, account FROM identities WHERE id = $1")
            .bind(viewer)
            .first(tx)
            .await?
            .map(|row| channel_of(&row))
            .transpose()?,
        None => None,
    };
    let evidence = serde_json::json!({ "from": from, "to": channel });
    make_due(tx, used.parsed("contact_id")?, identity, Proof::LinkCode, &evidence, viewer).await?;
    Ok(true)
}

/// Notes that an identity is proven to be a contact's.
pub(crate) async fn make_due(
    tx: &mut Tx,
    contact: ContactId,
    identity: IdentityId,
    proof: Proof,
    evidence: &Value,
    viewer: Option<IdentityId>,
) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO due_merges (contact_id, identity_id, proof, evidence, viewer_id, at) \
         VALUES ($1, $2, $3, $4, $5, $6)")
    .bind(contact)
    .bind(identity)
    .bind(proof.as_str())
    .bind(json(evidence)?)
    .bind(viewer)
    .bind(now)
    .run(tx)
    .await?;
    Ok(())
}

/// A join that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) row_id: i64,
    pub(crate) contact: ContactId,
    pub(crate) identity: IdentityId,
    pub(crate) proof: Proof,
    pub(crate) evidence: Value,
    pub(crate) viewer: Option<IdentityId>,
}

/// The joins that are due, oldest first.
pub(crate) async fn due(conn: &mut Conn, limit: u32) -> Result<Vec<Due>, StoreError> {
    let found = sql("SELECT row_id, contact_id, identity_id, proof, evidence, viewer_id FROM due_merges \
         ORDER BY row_id LIMIT $1")
    .bind(limit)
    .all(conn)
    .await?;
    found
        .iter()
        .map(|row| {
            let proof = row.text("proof")?;
            Ok(Due {
                row_id: row.int("row_id")?,
                contact: row.parsed("contact_id")?,
                identity: row.parsed("identity_id")?,
                proof: Proof::from_name(&proof).ok_or_else(|| StoreError::unreadable("proof", proof))?,
                evidence: row.json("evidence")?,
                viewer: row.parsed_or_none("viewer_id")?,
            })
        })
        .collect()
}

/// Takes a join off the list; false when another process has done it.
pub(crate) async fn take(tx: &mut Tx, row_id: i64) -> Result<bool, StoreError> {
    Ok(sql("DELETE FROM due_merges WHERE row_id = $1").bind(row_id).run(tx).await? == 1)
}

/// The thread in which an identity is heard.
pub(crate) async fn thread_of(conn: &mut Conn, identity: IdentityId) -> Result<Option<ThreadId>, StoreError> {
    let row =
        sql("SELECT t.id FROM identities i JOIN threads t ON t.contact_id = i.contact_id WHERE i.id = $1")
            .bind(identity)
            .first(conn)
            .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// Lets a visitor see what we answer to another identity of theirs from now on, until a moment at the most.
pub(crate) async fn let_see(
    tx: &mut Tx,
    viewer: IdentityId,
    of: IdentityId,
    until: Timestamp,
) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO views (identity_id, of_identity_id, since, until) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (identity_id, of_identity_id) DO UPDATE SET since = excluded.since, until = excluded.until")
    .bind(viewer)
    .bind(of)
    .bind(now)
    .bind(until)
    .run(tx)
    .await?;
    Ok(())
}

/// Ends what visitors see by codes: the case is over.
pub(crate) async fn end_views(tx: &mut Tx, contact: ContactId) -> Result<(), StoreError> {
    let now = tx.now();
    sql("UPDATE views SET until = $2 WHERE until > $2 AND identity_id IN \
         (SELECT id FROM identities WHERE contact_id = $1)")
    .bind(contact)
    .bind(now)
    .later(tx)
    .await
}

/// Ends what was seen by codes between these identities and those of others: they were parted.
pub(crate) async fn end_views_of(tx: &mut Tx, identities: &[IdentityId]) -> Result<(), StoreError> {
    for chunk in identities.chunks(super::ROWS_MAX) {
        let ids = || -> Vec<super::Value> { chunk.iter().map(|id| (*id).into()).collect() };
        listed(&["DELETE FROM views WHERE identity_id IN"], ids(), "").run(tx).await?;
        listed(&["DELETE FROM views WHERE of_identity_id IN"], ids(), "").run(tx).await?;
    }
    Ok(())
}

/// Which of these messages are answers that a visitor may see by a code.
pub(crate) async fn seen_by_code(
    conn: &mut Conn,
    viewer: IdentityId,
    messages: &[MessageId],
) -> Result<Vec<MessageId>, StoreError> {
    let mut all = Vec::new();
    for id in messages {
        let row = sql("SELECT m.id FROM messages m JOIN views v ON v.of_identity_id = m.identity_id \
             WHERE m.id = $1 AND v.identity_id = $2 AND m.direction = 'out' AND m.created_at >= v.since \
             AND m.created_at < v.until")
        .bind(*id)
        .bind(viewer)
        .first(conn)
        .await?;
        let seen: Option<MessageId> = row.map(|row| row.parsed("id")).transpose()?;
        all.extend(seen);
    }
    Ok(all)
}

/// Takes away requests that ended before a moment.
pub(crate) async fn sweep(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    sql("DELETE FROM link_requests WHERE expires_at < $1").bind(before).run(tx).await.map(|_| ())
}

//! What was said about messages: reactions, edits, revokes. Each is a row keyed by its target and
//! its actor, also before the target is there, and is laid over the message when it is read. So any
//! order of arrival ends in the same state, and only the author's edit or revoke counts.

use std::collections::HashMap;

use loket_protocol::channel::ChannelAccount;
use loket_protocol::ids::{IdentityId, MessageId};
use loket_protocol::message::{Attachment, Author, AuthorType, Content, Direction, Message, Reaction};
use loket_protocol::time::Timestamp;

use super::{Conn, Row, StoreError, Tx, Value, json, rows, sql};

/// Who said something about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// The company.
    Us,
    /// A customer.
    Identity(IdentityId),
}

impl Actor {
    /// As in the store.
    fn name(self) -> String {
        match self {
            Self::Us => "us".to_owned(),
            Self::Identity(id) => id.to_string(),
        }
    }
}

/// A mark's target: the provider's id of a message, known to us or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) channel: &'a ChannelAccount,
    pub(crate) external_id: &'a str,
}

/// Keeps a reaction unless a later one of the same actor is there; `None` takes it back. True when
/// it is the last one now.
pub(crate) async fn react(
    tx: &mut Tx,
    target: Target<'_>,
    actor: Actor,
    name: Option<&str>,
    emoji: Option<&str>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    // Two of one moment: the greater emoji wins, and taking back wins over both, whatever came first.
    let touched = sql("INSERT INTO reactions (channel_kind, account, target, actor, actor_name, emoji, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (channel_kind, account, target, actor) \
         DO UPDATE SET actor_name = excluded.actor_name, emoji = excluded.emoji, at = excluded.at \
         WHERE excluded.at > reactions.at OR (excluded.at = reactions.at AND reactions.emoji IS NOT NULL \
         AND (excluded.emoji IS NULL OR excluded.emoji > reactions.emoji))")
    .bind(&target.channel.kind)
    .bind(&target.channel.account)
    .bind(target.external_id)
    .bind(actor.name())
    .bind(name)
    .bind(emoji)
    .bind(at)
    .run(tx)
    .await?;
    Ok(touched > 0)
}

/// Keeps an edit unless one of a higher rank is there. True when it is the last one now.
pub(crate) async fn edit(
    tx: &mut Tx,
    target: Target<'_>,
    actor: Actor,
    rank: i64,
    said: (&Content, &[Attachment]),
    at: Timestamp,
) -> Result<bool, StoreError> {
    let touched = sql("INSERT INTO edits (channel_kind, account, target, actor, rank, content, attachments, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (channel_kind, account, target, actor) \
         DO UPDATE SET rank = excluded.rank, content = excluded.content, \
         attachments = excluded.attachments, at = excluded.at \
         WHERE excluded.rank > edits.rank OR (excluded.rank = edits.rank AND excluded.content > edits.content)")
    .bind(&target.channel.kind)
    .bind(&target.channel.account)
    .bind(target.external_id)
    .bind(actor.name())
    .bind(rank)
    .bind(json(said.0)?)
    .bind(json(&said.1)?)
    .bind(at)
    .run(tx)
    .await?;
    Ok(touched > 0)
}

/// Keeps a revoke; of several of the same actor the earliest counts.
pub(crate) async fn revoke(
    tx: &mut Tx,
    target: Target<'_>,
    actor: Actor,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql("INSERT INTO revokes (channel_kind, account, target, actor, at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (channel_kind, account, target, actor) DO UPDATE SET at = excluded.at \
         WHERE excluded.at < revokes.at")
    .bind(&target.channel.kind)
    .bind(&target.channel.account)
    .bind(target.external_id)
    .bind(actor.name())
    .bind(at)
    .later(tx)
    .await
}

/// Empties a message that its author has taken back: its words are kept nowhere but in the entries
/// of the log that told of them at the time.
pub(crate) async fn empty_if_revoked(tx: &mut Tx, message: &Message) -> Result<(), StoreError> {
    if message.revoked_at.is_some() {
        sql("UPDATE messages SET content = $2, attachments = '[]' WHERE id = $1")
            .bind(message.id)
            .bind(json(&message.content)?)
            .run(tx)
            .await?;
    }
    Ok(())
}

/// Everything said about some messages, under any of their provider ids.
const MARKS: &str = "), named AS (SELECT m.id, m.channel_kind, m.account, m.external_id \
    FROM wanted w CROSS JOIN messages m WHERE m.id = w.id AND m.external_id IS NOT NULL \
    UNION SELECT x.message_id, x.channel_kind, x.account, x.external_id \
    FROM wanted w CROSS JOIN external_ids x WHERE x.message_id = w.id) \
    SELECT 'reaction' AS mark, n.id, k.actor, k.actor_name, i.contact_id, k.emoji AS said, \
    NULL AS attachments, 0 AS rank, k.at FROM named n CROSS JOIN reactions k \
    LEFT JOIN identities i ON i.id = k.actor WHERE k.channel_kind = n.channel_kind \
    AND k.account = n.account AND k.target = n.external_id AND k.emoji IS NOT NULL \
    UNION ALL SELECT 'edit', n.id, k.actor, NULL, NULL, k.content, k.attachments, k.rank, k.at \
    FROM named n CROSS JOIN edits k WHERE k.channel_kind = n.channel_kind \
    AND k.account = n.account AND k.target = n.external_id \
    UNION ALL SELECT 'revoke', n.id, k.actor, NULL, NULL, NULL, NULL, 0, k.at \
    FROM named n CROSS JOIN revokes k WHERE k.channel_kind = n.channel_kind \
    AND k.account = n.account AND k.target = n.external_id";

/// Lays edits, revokes and reactions over messages that are in the store; at most `ROWS_MAX` of them.
pub(crate) async fn dress(conn: &mut Conn, messages: &mut [Message]) -> Result<(), StoreError> {
    let ids: Vec<Value> = messages.iter().filter(|m| m.channel.is_some()).map(|m| m.id.into()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let found = rows("WITH wanted (id) AS (VALUES", 1, ids, MARKS).all(conn).await?;
    let mut by_message: HashMap<MessageId, Vec<&Row>> = HashMap::new();
    for row in &found {
        by_message.entry(row.parsed("id")?).or_default().push(row);
    }
    for message in messages {
        if let Some(marks) = by_message.remove(&message.id) {
            lay_over(message, &marks)?;
        }
    }
    Ok(())
}

fn lay_over(message: &mut Message, marks: &[&Row]) -> Result<(), StoreError> {
    let author = match (message.direction, message.identity_id) {
        (Direction::In, Some(identity)) => Actor::Identity(identity),
        _ => Actor::Us,
    }
    .name();
    let mut edited: Option<(i64, Timestamp, Content, Vec<Attachment>)> = None;
    let mut reactions = Vec::new();
    for row in marks {
        let at = row.time("at")?;
        let actor = row.text("actor")?;
        match row.text("mark")?.as_str() {
            "reaction" => reactions.push((at, actor, reaction(row, at)?)),
            "edit" if actor == author => {
                let rank = row.int("rank")?;
                if edited.as_ref().is_none_or(|(highest, ..)| rank > *highest) {
                    edited = Some((rank, at, row.json("said")?, row.json("attachments")?));
                }
            }
            "revoke" if actor == author => {
                message.revoked_at = Some(message.revoked_at.map_or(at, |earlier| earlier.min(at)));
            }
            _ => {}
        }
    }
    if let Some((_, at, content, attachments)) = edited {
        message.edited_at = Some(at);
        message.content.text = content.text.or_else(|| message.content.text.take());
        message.content.details = content.details.or_else(|| message.content.details.take());
        if !attachments.is_empty() {
            message.attachments = attachments;
        }
    }
    if message.revoked_at.is_some() {
        message.content = Content { kind: std::mem::take(&mut message.content.kind), ..Content::default() };
        message.attachments = Vec::new();
    }
    reactions.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    message.reactions = reactions.into_iter().map(|(.., reaction)| reaction).collect();
    Ok(())
}

fn reaction(row: &Row, at: Timestamp) -> Result<Reaction, StoreError> {
    let kind = if row.text("actor")? == Actor::Us.name() { AuthorType::System } else { AuthorType::Contact };
    let author = Author { kind, id: row.text_or_none("contact_id")?, name: row.text_or_none("actor_name")? };
    Ok(Reaction { emoji: row.text("said")?, author, at })
}

//! Messages: appending them, finding them by the provider's id, and reading them as the API shows
//! them, with what was said about them since laid over.

use std::collections::HashMap;

use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::delivery::MessageStatus;
use loket_protocol::event::ThreadPlace;
use loket_protocol::ids::{AttachmentId, MessageId, ThreadId};
use loket_protocol::message::{Attachment, Author, AuthorType, Content, Direction, Message, ReplyTo};

use super::{Conn, ROWS_MAX, Row, Statement, StoreError, Tx, Value, json, listed, marks, parts, rows, sql};

/// A message with what only the store needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct NewMessage {
    /// The message; its thread seq is drawn already.
    pub(crate) message: Message,
    /// The web chat widget's own id of it.
    pub(crate) client_message_id: Option<String>,
    /// It came with the provider's history only.
    pub(crate) imported: bool,
}

/// Writes messages in this order. One with a provider id or a client's id that is there already
/// breaks a unique key.
pub(crate) async fn insert<'a>(
    tx: &mut Tx,
    messages: impl IntoIterator<Item = &'a NewMessage>,
) -> Result<(), StoreError> {
    const WIDTH: usize = 23;
    const HEAD: &str = "INSERT INTO messages (id, thread_id, seq, direction, author_type, author_id, \
        author_name, identity_id, channel_kind, account, external_id, client_message_id, content, \
        attachments, reply_to_external_id, reply_to_message_id, reply_to_story_id, status, status_detail, \
        late, imported, provider_time, created_at) VALUES";
    let messages: Vec<&NewMessage> = messages.into_iter().collect();
    for chunk in messages.chunks(ROWS_MAX) {
        let mut values = Vec::with_capacity(chunk.len() * WIDTH);
        for new in chunk {
            row_of(new, &mut values)?;
        }
        rows(HEAD, WIDTH, values, "").later(tx).await?;
    }
    Ok(())
}

fn row_of(new: &NewMessage, values: &mut Vec<Value>) -> Result<(), StoreError> {
    let m = &new.message;
    let reply_to = m.reply_to.as_ref();
    values.extend([
        m.id.into(),
        m.thread_id.into(),
        m.seq.into(),
        direction_name(m.direction).into(),
        author_type_name(m.author.kind).into(),
        m.author.id.as_ref().into(),
        m.author.name.as_ref().into(),
        m.identity_id.into(),
        m.channel.as_ref().map(|channel| &channel.kind).into(),
        m.channel.as_ref().map(|channel| &channel.account).into(),
        m.external_id.as_ref().into(),
        new.client_message_id.as_ref().into(),
        json(&m.content)?.into(),
        json(&m.attachments)?.into(),
        reply_to.and_then(|to| to.external_id.as_ref()).into(),
        reply_to.and_then(|to| to.message_id).into(),
        reply_to.and_then(|to| to.story_id.as_ref()).into(),
        m.status.map(MessageStatus::as_str).into(),
        m.status_detail.as_ref().map(json).transpose()?.into(),
        m.late.into(),
        new.imported.into(),
        m.provider_time.into(),
        m.created_at.into(),
    ]);
    Ok(())
}

/// Gives ids to those attachments that have none.
pub(crate) fn name_attachments(tx: &Tx, attachments: &mut [Attachment]) {
    for attachment in attachments {
        attachment.id.get_or_insert_with(|| tx.id::<AttachmentId>());
    }
}

/// The columns of a message, and which of ours it answers.
const SELECT: &str = "SELECT m.id, m.thread_id, m.seq, m.first_thread_id, m.first_seq, m.direction, m.author_type, m.author_id, \
    m.author_name, m.identity_id, m.channel_kind, m.account, m.external_id, m.content, m.attachments, \
    m.reply_to_external_id, m.reply_to_story_id, m.status, m.status_detail, m.late, m.provider_time, \
    m.created_at, COALESCE(m.reply_to_message_id, a.id, x.message_id) AS answers FROM messages m \
    LEFT JOIN messages a ON a.channel_kind = m.channel_kind AND a.account = m.account \
    AND a.external_id = m.reply_to_external_id \
    LEFT JOIN external_ids x ON x.channel_kind = m.channel_kind AND x.account = m.account \
    AND x.external_id = m.reply_to_external_id ";

fn message(row: &Row) -> Result<Message, StoreError> {
    let unreadable = |column: &'static str| move |text: String| StoreError::unreadable(column, text);
    let direction = row.text("direction")?;
    let author_type = row.text("author_type")?;
    let channel = match row.text_or_none("channel_kind")? {
        Some(kind) => Some(ChannelAccount {
            kind: ChannelKind::new(kind).map_err(|error| StoreError::unreadable("channel_kind", error))?,
            account: row.text("account")?,
        }),
        None => None,
    };
    let reply_to = ReplyTo {
        message_id: row.parsed_or_none("answers")?,
        external_id: row.text_or_none("reply_to_external_id")?,
        story_id: row.text_or_none("reply_to_story_id")?,
    };
    let status = row
        .text_or_none("status")?
        .map(|name| MessageStatus::from_name(&name).ok_or_else(|| unreadable("status")(name)))
        .transpose()?;
    Ok(Message {
        id: row.parsed("id")?,
        seq: row.int("seq")?,
        thread_id: row.parsed("thread_id")?,
        copied_from: match row.parsed_or_none("first_thread_id")? {
            Some(id) => Some(ThreadPlace { id, seq: row.int("first_seq")? }),
            None => None,
        },
        direction: direction_of(&direction).ok_or_else(|| unreadable("direction")(direction))?,
        author: Author {
            kind: author_type_of(&author_type).ok_or_else(|| unreadable("author_type")(author_type))?,
            id: row.text_or_none("author_id")?,
            name: row.text_or_none("author_name")?,
        },
        channel,
        identity_id: row.parsed_or_none("identity_id")?,
        content: row.json("content")?,
        attachments: row.json("attachments")?,
        reply_to: (reply_to != ReplyTo::default()).then_some(reply_to),
        external_id: row.text_or_none("external_id")?,
        status,
        status_detail: row.json_or_none("status_detail")?,
        reactions: Vec::new(),
        late: row.flag("late")?,
        edited_at: None,
        revoked_at: None,
        provider_time: row.time_or_none("provider_time")?,
        created_at: row.time("created_at")?,
    })
}

async fn dressed(conn: &mut Conn, found: &[Row]) -> Result<Vec<Message>, StoreError> {
    let mut messages = found.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    for chunk in messages.chunks_mut(ROWS_MAX) {
        marks::dress(conn, chunk).await?;
    }
    Ok(messages)
}

/// A message by its id, as the API shows it.
pub(crate) async fn by_id(conn: &mut Conn, id: MessageId) -> Result<Option<Message>, StoreError> {
    let found = parts(&[SELECT, "WHERE m.id = $1"]).bind(id).all(conn).await?;
    Ok(dressed(conn, &found).await?.pop())
}

/// Messages by their ids, in no order; at most [`ROWS_MAX`].
pub(crate) async fn by_ids(conn: &mut Conn, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let values = ids.iter().map(|id| (*id).into()).collect();
    let found = listed(&[SELECT, "WHERE m.id IN"], values, "").all(conn).await?;
    dressed(conn, &found).await
}

/// The first `limit` messages of a thread after a seq, ascending.
pub(crate) async fn after(
    conn: &mut Conn,
    thread: ThreadId,
    seq: i64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let found = parts(&[SELECT, "WHERE m.thread_id = $1 AND m.seq > $2 ORDER BY m.seq LIMIT $3"])
        .bind(thread)
        .bind(seq)
        .bind(limit)
        .all(conn)
        .await?;
    dressed(conn, &found).await
}

/// The nearest `limit` messages of a thread before a seq, ascending.
pub(crate) async fn before(
    conn: &mut Conn,
    thread: ThreadId,
    seq: i64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let mut found = parts(&[SELECT, "WHERE m.thread_id = $1 AND m.seq < $2 ORDER BY m.seq DESC LIMIT $3"])
        .bind(thread)
        .bind(seq)
        .bind(limit)
        .all(conn)
        .await?;
    found.reverse();
    dressed(conn, &found).await
}

/// Which message of ours has the provider's id, as its first or as a further one.
pub(crate) async fn id_of(
    conn: &mut Conn,
    channel: &ChannelAccount,
    external_id: &str,
) -> Result<Option<MessageId>, StoreError> {
    let row = sql("SELECT id FROM messages WHERE channel_kind = $1 AND account = $2 AND external_id = $3 \
         UNION ALL SELECT message_id FROM external_ids \
         WHERE channel_kind = $1 AND account = $2 AND external_id = $3 LIMIT 1")
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(external_id)
    .first(conn)
    .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// What is known of some provider ids.
#[derive(Default)]
pub(crate) struct About {
    /// Those that are messages of ours already.
    pub(crate) messages: HashMap<(ChannelAccount, String), MessageId>,
    /// Something was said about one of them: an edit, a revoke, a reaction.
    pub(crate) marked: bool,
}

/// What is known of these provider ids, to be read by [`told`]; at least one, at most [`ROWS_MAX`].
pub(crate) fn asking(wanted: &[(&ChannelAccount, &str)]) -> Statement {
    let values = wanted
        .iter()
        .flat_map(|(channel, id)| [(&channel.kind).into(), (&channel.account).into(), (*id).into()])
        .collect();
    // CROSS JOIN tells SQLite to look each wanted id up, and says nothing to PostgreSQL.
    rows(
        "WITH wanted (kind, account, id) AS (VALUES",
        3,
        values,
        ") SELECT w.kind, w.account, w.id, m.id AS message_id FROM wanted w CROSS JOIN messages m \
         WHERE m.channel_kind = w.kind AND m.account = w.account AND m.external_id = w.id \
         UNION ALL SELECT w.kind, w.account, w.id, e.message_id FROM wanted w CROSS JOIN external_ids e \
         WHERE e.channel_kind = w.kind AND e.account = w.account AND e.external_id = w.id \
         UNION ALL SELECT w.kind, w.account, w.id, NULL FROM wanted w CROSS JOIN edits k \
         WHERE k.channel_kind = w.kind AND k.account = w.account AND k.target = w.id \
         UNION ALL SELECT w.kind, w.account, w.id, NULL FROM wanted w CROSS JOIN revokes k \
         WHERE k.channel_kind = w.kind AND k.account = w.account AND k.target = w.id \
         UNION ALL SELECT w.kind, w.account, w.id, NULL FROM wanted w CROSS JOIN reactions k \
         WHERE k.channel_kind = w.kind AND k.account = w.account AND k.target = w.id",
    )
}

/// [`asking`], of any number of ids.
pub(crate) async fn about(conn: &mut Conn, wanted: &[(&ChannelAccount, &str)]) -> Result<About, StoreError> {
    let mut all = About::default();
    for chunk in wanted.chunks(ROWS_MAX) {
        let more = told(&asking(chunk).all(conn).await?)?;
        all.messages.extend(more.messages);
        all.marked |= more.marked;
    }
    Ok(all)
}

/// What [`asking`] answered.
pub(crate) fn told(found: &[Row]) -> Result<About, StoreError> {
    let mut about = About::default();
    for row in found {
        let Some(message) = row.parsed_or_none("message_id")? else {
            about.marked = true;
            continue;
        };
        let kind = ChannelKind::new(row.text("kind")?)
            .map_err(|error| StoreError::unreadable("channel_kind", error))?;
        let channel = ChannelAccount { kind, account: row.text("account")? };
        about.messages.insert((channel, row.text("id")?), message);
    }
    Ok(about)
}

/// Fills in which of ours some messages answer, where only the provider's id is known.
pub(crate) async fn answer(conn: &mut Conn, messages: &mut [Message]) -> Result<(), StoreError> {
    fn open(message: &Message) -> Option<(&ChannelAccount, &str)> {
        let reply_to = message.reply_to.as_ref().filter(|to| to.message_id.is_none())?;
        Some((message.channel.as_ref()?, reply_to.external_id.as_deref()?))
    }
    let wanted: Vec<(&ChannelAccount, &str)> = messages.iter().filter_map(open).collect();
    let known = about(conn, &wanted).await?.messages;
    for message in messages {
        let found =
            open(message).and_then(|(channel, id)| known.get(&(channel.clone(), id.to_owned())).copied());
        if let (Some(found), Some(reply_to)) = (found, message.reply_to.as_mut()) {
            reply_to.message_id = Some(found);
        }
    }
    Ok(())
}

/// The content type of a message as it was said, and whether it was only imported.
pub(crate) async fn standing(conn: &mut Conn, id: MessageId) -> Result<Option<(String, bool)>, StoreError> {
    let row = sql("SELECT content, imported FROM messages WHERE id = $1").bind(id).first(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let content: Content = row.json("content")?;
    Ok(Some((content.kind, row.flag("imported")?)))
}

/// Replaces what a placeholder says by what it stood for: the picture of an imported message, or
/// the contents of an item that was parked and is read now.
pub(crate) async fn complete(tx: &mut Tx, id: MessageId, with: &NewMessage) -> Result<(), StoreError> {
    let m = &with.message;
    let reply_to = m.reply_to.as_ref();
    sql("UPDATE messages SET content = $2, attachments = $3, provider_time = $4, author_name = $5, \
         reply_to_external_id = $6, reply_to_story_id = $7, late = $8, imported = $9, author_id = $10, \
         client_message_id = $11 WHERE id = $1")
    .bind(id)
    .bind(json(&m.content)?)
    .bind(json(&m.attachments)?)
    .bind(m.provider_time)
    .bind(m.author.name.as_ref())
    .bind(reply_to.and_then(|to| to.external_id.as_ref()))
    .bind(reply_to.and_then(|to| to.story_id.as_ref()))
    .bind(m.late)
    .bind(with.imported)
    .bind(m.author.id.as_ref())
    .bind(with.client_message_id.as_ref())
    .later(tx)
    .await
}

/// The name of a direction in the store.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Note => "note",
    }
}

fn direction_of(name: &str) -> Option<Direction> {
    [Direction::In, Direction::Out, Direction::Note].into_iter().find(|d| direction_name(*d) == name)
}

fn author_type_name(kind: AuthorType) -> &'static str {
    match kind {
        AuthorType::Contact => "contact",
        AuthorType::Agent => "agent",
        AuthorType::Bot => "bot",
        AuthorType::System => "system",
    }
}

fn author_type_of(name: &str) -> Option<AuthorType> {
    [AuthorType::Contact, AuthorType::Agent, AuthorType::Bot, AuthorType::System]
        .into_iter()
        .find(|kind| author_type_name(*kind) == name)
}

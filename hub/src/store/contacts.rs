//! Contacts, their identities and their handles.

use std::collections::HashMap;

use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::ids::{ContactId, IdentityId, ThreadId};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;

use super::{Conn, Row, Statement, StoreError, Tx, Value, listed, rows, sql};

/// A contact's row.
#[derive(Clone, Debug)]
pub(crate) struct ContactRow {
    pub(crate) id: ContactId,
    /// The name in the company's own address book.
    pub(crate) our_name: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// An identity's row, with its handles.
#[derive(Clone, Debug)]
pub(crate) struct IdentityRow {
    pub(crate) id: IdentityId,
    pub(crate) contact_id: ContactId,
    pub(crate) channel: ChannelAccount,
    pub(crate) name: Option<String>,
    pub(crate) name_at: Timestamp,
    /// Provider's time of the contact's last message from it.
    pub(crate) last_message_at: Option<Timestamp>,
    /// Provider's time since which the reply window runs.
    pub(crate) window_opened_at: Option<Timestamp>,
    /// Provider's id of the contact's last message from it.
    pub(crate) last_external_id: Option<String>,
    /// What holds now; retired handles are not among them.
    pub(crate) handles: Vec<Handle>,
    pub(crate) created_at: Timestamp,
}

/// The name to show: our own address book's, else the one that a channel told last.
pub(crate) fn shown_name(contact: &ContactRow, identities: &[IdentityRow]) -> Option<String> {
    contact.our_name.clone().or_else(|| {
        identities
            .iter()
            .filter(|identity| identity.name.is_some())
            .max_by(|a, b| (a.name_at, &a.name).cmp(&(b.name_at, &b.name)))
            .and_then(|identity| identity.name.clone())
    })
}

const IDENTITY: &str = "SELECT id, contact_id, channel_kind, account, name, name_at, last_message_at, \
    window_opened_at, last_external_id, created_at FROM identities ";

/// Contacts by their ids, in no order; at most `ROWS_MAX`.
pub(crate) async fn contacts(conn: &mut Conn, ids: &[ContactId]) -> Result<Vec<ContactRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let values = ids.iter().map(|id| (*id).into()).collect();
    let found =
        listed(&["SELECT id, name, created_at FROM contacts WHERE id IN"], values, "").all(conn).await?;
    found
        .iter()
        .map(|row| {
            Ok(ContactRow {
                id: row.parsed("id")?,
                our_name: row.text_or_none("name")?,
                created_at: row.time("created_at")?,
            })
        })
        .collect()
}

/// All identities of some contacts, oldest first; at most `ROWS_MAX` contacts.
pub(crate) async fn identities_of(
    conn: &mut Conn,
    contacts: &[ContactId],
) -> Result<Vec<IdentityRow>, StoreError> {
    if contacts.is_empty() {
        return Ok(Vec::new());
    }
    let values = contacts.iter().map(|id| (*id).into()).collect();
    let found =
        listed(&[IDENTITY, "WHERE contact_id IN"], values, "ORDER BY created_at, id").all(conn).await?;
    with_handles(conn, &found).await
}

/// An identity by its id.
pub(crate) async fn identity(conn: &mut Conn, id: IdentityId) -> Result<Option<IdentityRow>, StoreError> {
    let found = super::parts(&[IDENTITY, "WHERE id = $1"]).bind(id).all(conn).await?;
    Ok(with_handles(conn, &found).await?.pop())
}

async fn with_handles(conn: &mut Conn, found: &[Row]) -> Result<Vec<IdentityRow>, StoreError> {
    let mut identities = found.iter().map(identity_row).collect::<Result<Vec<_>, _>>()?;
    for chunk in identities.chunks_mut(super::ROWS_MAX) {
        let ids: Vec<IdentityId> = chunk.iter().map(|identity| identity.id).collect();
        let mut by_identity: HashMap<IdentityId, Vec<Handle>> = HashMap::new();
        for (identity, handle) in held_by(conn, &ids).await? {
            by_identity.entry(identity).or_default().push(handle);
        }
        for identity in chunk {
            identity.handles = by_identity.remove(&identity.id).unwrap_or_default();
            // In order of preference as a key: BSUID before phone (whatsapp §6).
            identity.handles.sort();
        }
    }
    Ok(identities)
}

fn identity_row(row: &Row) -> Result<IdentityRow, StoreError> {
    let kind = ChannelKind::new(row.text("channel_kind")?)
        .map_err(|error| StoreError::unreadable("channel_kind", error))?;
    Ok(IdentityRow {
        id: row.parsed("id")?,
        contact_id: row.parsed("contact_id")?,
        channel: ChannelAccount { kind, account: row.text("account")? },
        name: row.text_or_none("name")?,
        name_at: row.time("name_at")?,
        last_message_at: row.time_or_none("last_message_at")?,
        window_opened_at: row.time_or_none("window_opened_at")?,
        last_external_id: row.text_or_none("last_external_id")?,
        handles: Vec::new(),
        created_at: row.time("created_at")?,
    })
}

fn handle(row: &Row) -> Result<Handle, StoreError> {
    Ok(Handle { kind: handle_kind(row, "kind")?, value: row.text("value")? })
}

fn handle_kind(row: &Row, column: &str) -> Result<HandleKind, StoreError> {
    let name = row.text(column)?;
    serde_json::from_value(serde_json::Value::String(name))
        .map_err(|error| StoreError::unreadable(column, error))
}

/// Somebody whom a handle leads to: all that ingest needs to know of them.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) identity: IdentityId,
    pub(crate) contact: ContactId,
    pub(crate) thread: ThreadId,
    pub(crate) name: Option<String>,
    pub(crate) name_at: Timestamp,
    pub(crate) status: ThreadStatus,
    /// How often the thread was merged and split.
    pub(crate) joins: i64,
}

/// Where a handle leads: to whom, and until when, if it is theirs no longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    /// The place of the handle among those that were asked for.
    pub(crate) asked: usize,
    pub(crate) identity: IdentityId,
    pub(crate) retired_at: Option<Timestamp>,
}

/// Where some handles lead, and everybody whom they lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    pub(crate) leads: Vec<Lead>,
    pub(crate) people: Vec<Known>,
}

/// Where handles lead, retired ones included, to be read by [`led`]; at least one, at most `ROWS_MAX`.
pub(crate) fn leading(wanted: &[(&ChannelAccount, &Handle)]) -> Statement {
    let values = (0_i64..)
        .zip(wanted)
        .flat_map(|(asked, (channel, handle))| -> [Value; 5] {
            [
                asked.into(),
                (&channel.kind).into(),
                (&channel.account).into(),
                handle.kind.as_str().into(),
                (&handle.value).into(),
            ]
        })
        .collect();
    // CROSS JOIN tells SQLite to look each wanted handle up, and says nothing to PostgreSQL.
    rows(
        "WITH wanted (asked, channel_kind, account, kind, value) AS (VALUES",
        5,
        values,
        "), led AS (SELECT w.asked, h.identity_id, h.retired_at FROM wanted w CROSS JOIN handles h \
         WHERE h.channel_kind = w.channel_kind AND h.account = w.account AND h.kind = w.kind \
         AND h.value = w.value AND h.identifies = 1 \
         UNION ALL SELECT w.asked, h.identity_id, h.retired_at FROM wanted w CROSS JOIN handles h \
         WHERE h.channel_kind = w.channel_kind AND h.account = w.account AND h.kind = w.kind \
         AND h.value = w.value AND h.retired_at IS NOT NULL) \
         SELECT identity_id AS id, asked, retired_at, NULL AS name, NULL AS name_at, NULL AS contact_id, \
         NULL AS thread_id, NULL AS status, NULL AS joins FROM led \
         UNION ALL SELECT i.id, NULL, NULL, i.name, i.name_at, i.contact_id, t.id, t.status, t.joins \
         FROM (SELECT DISTINCT identity_id FROM led) l CROSS JOIN identities i CROSS JOIN threads t \
         WHERE i.id = l.identity_id AND t.contact_id = i.contact_id",
    )
}

/// What [`leading`] answered.
pub(crate) fn led(found: &[Row]) -> Result<Leads, StoreError> {
    let mut told = Leads::default();
    for row in found {
        let identity = row.parsed("id")?;
        if let Some(asked) = row.int_or_none("asked")? {
            let asked = usize::try_from(asked).map_err(|error| StoreError::unreadable("asked", error))?;
            told.leads.push(Lead { asked, identity, retired_at: row.time_or_none("retired_at")? });
        } else {
            told.people.push(Known {
                identity,
                contact: row.parsed("contact_id")?,
                thread: row.parsed("thread_id")?,
                name: row.text_or_none("name")?,
                name_at: row.time("name_at")?,
                status: super::threads::status(row, "status")?,
                joins: row.int("joins")?,
            });
        }
    }
    Ok(told)
}

/// Makes a contact with its thread and one identity without handles. The thread has no case yet.
pub(crate) async fn make(tx: &mut Tx, known: &Known, channel: &ChannelAccount) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO contacts (id, created_at) VALUES ($1, $2)")
        .bind(known.contact)
        .bind(now)
        .later(tx)
        .await?;
    sql("INSERT INTO identities (id, contact_id, channel_kind, account, name, name_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)")
    .bind(known.identity)
    .bind(known.contact)
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(known.name.as_ref())
    .bind(known.name_at)
    .bind(now)
    .later(tx)
    .await?;
    sql(
        "INSERT INTO threads (id, contact_id, status, created_at, control_since) VALUES ($1, $2, $3, $4, $4)",
    )
    .bind(known.thread)
    .bind(known.contact)
    .bind(known.status.as_str())
    .bind(now)
    .later(tx)
    .await?;
    Ok(())
}

/// Writes handles of an identity; one that was retired is theirs again. An identifying handle that
/// is somebody else's breaks a unique key.
pub(crate) async fn add_handles(
    tx: &mut Tx,
    channel: &ChannelAccount,
    identity: IdentityId,
    handles: &[Handle],
) -> Result<(), StoreError> {
    if handles.is_empty() {
        return Ok(());
    }
    let now = tx.now();
    let values = handles
        .iter()
        .flat_map(|handle| -> [Value; 7] {
            [
                identity.into(),
                (&channel.kind).into(),
                (&channel.account).into(),
                handle.kind.as_str().into(),
                (&handle.value).into(),
                handle.kind.identifies().into(),
                now.into(),
            ]
        })
        .collect();
    rows(
        "INSERT INTO handles (identity_id, channel_kind, account, kind, value, identifies, created_at) VALUES",
        7,
        values,
        "ON CONFLICT (identity_id, kind, value) DO UPDATE SET identifies = excluded.identifies, retired_at = NULL",
    )
    .later(tx)
    .await?;
    Ok(())
}

/// Which handles hold now, of some identities; at most `ROWS_MAX`.
pub(crate) async fn held_by(
    conn: &mut Conn,
    identities: &[IdentityId],
) -> Result<Vec<(IdentityId, Handle)>, StoreError> {
    if identities.is_empty() {
        return Ok(Vec::new());
    }
    let ids = identities.iter().map(|id| (*id).into()).collect();
    let found = listed(
        &["SELECT identity_id, kind, value FROM handles WHERE retired_at IS NULL AND identity_id IN"],
        ids,
        "",
    )
    .all(conn)
    .await?;
    found.iter().map(|row| Ok((row.parsed("identity_id")?, handle(row)?))).collect()
}

/// Writes a handle that is an identity's no longer, known before or not: what is older still finds
/// them by it. Answers whether it held until now.
pub(crate) async fn retire_handle(
    tx: &mut Tx,
    channel: &ChannelAccount,
    identity: IdentityId,
    handle: &Handle,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let touched = sql("UPDATE handles SET identifies = 0, retired_at = $4 \
         WHERE identity_id = $1 AND kind = $2 AND value = $3 AND retired_at IS NULL")
    .bind(identity)
    .bind(handle.kind.as_str())
    .bind(&handle.value)
    .bind(at)
    .run(tx)
    .await?;
    sql("INSERT INTO handles (identity_id, channel_kind, account, kind, value, identifies, created_at, \
         retired_at) VALUES ($1, $2, $3, $4, $5, 0, $6, $7) ON CONFLICT (identity_id, kind, value) DO NOTHING")
    .bind(identity)
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(handle.kind.as_str())
    .bind(&handle.value)
    .bind(tx.now())
    .bind(at)
    .run(tx)
    .await?;
    Ok(touched > 0)
}

/// Retires all names of an identity of the kind that changes hands, but the one given.
pub(crate) async fn retire_usernames(
    tx: &mut Tx,
    identity: IdentityId,
    but: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql("UPDATE handles SET retired_at = $4 WHERE identity_id = $1 AND kind = $2 AND value <> $3 \
         AND retired_at IS NULL")
    .bind(identity)
    .bind(HandleKind::Username.as_str())
    .bind(but)
    .bind(at)
    .later(tx)
    .await
}

/// What an event changes of an identity; everything only moves forward.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    pub(crate) identity: IdentityId,
    /// Provider's time of a message, with its provider's id.
    pub(crate) last_message_at: Option<Timestamp>,
    pub(crate) last_external_id: Option<String>,
    pub(crate) window_opened_at: Option<Timestamp>,
    /// The name that the channel told, and when.
    pub(crate) name: Option<(String, Timestamp)>,
}

/// Moves identities forward; each at most once. Of two names of one moment the greater stays, so
/// that the order of arrival does not matter.
pub(crate) async fn touch(tx: &mut Tx, touches: &[Touch]) -> Result<(), StoreError> {
    for chunk in touches.chunks(super::ROWS_MAX) {
        let values = chunk
            .iter()
            .flat_map(|touch| -> [Value; 6] {
                let (name, name_at) = touch.name.clone().unzip();
                [
                    touch.identity.into(),
                    touch.last_message_at.into(),
                    touch.last_external_id.as_ref().into(),
                    touch.window_opened_at.into(),
                    name.into(),
                    name_at.into(),
                ]
            })
            .collect();
        rows(
            "WITH t (id, message_at, external_id, window_at, name, name_at) AS (VALUES",
            6,
            values,
            ") UPDATE identities SET \
             last_external_id = CASE WHEN t.external_id IS NOT NULL AND \
             t.message_at >= COALESCE(identities.last_message_at, 0) THEN t.external_id \
             ELSE identities.last_external_id END, \
             last_message_at = CASE WHEN t.message_at > COALESCE(identities.last_message_at, 0) \
             THEN t.message_at ELSE identities.last_message_at END, \
             window_opened_at = CASE WHEN t.window_at > COALESCE(identities.window_opened_at, 0) \
             THEN t.window_at ELSE identities.window_opened_at END, \
             name = CASE WHEN t.name IS NOT NULL AND (identities.name IS NULL \
             OR t.name_at > identities.name_at OR (t.name_at = identities.name_at \
             AND t.name > identities.name)) THEN t.name ELSE identities.name END, \
             name_at = CASE WHEN t.name IS NOT NULL AND t.name_at > identities.name_at \
             THEN t.name_at ELSE identities.name_at END \
             FROM t WHERE identities.id = t.id",
        )
        .later(tx)
        .await?;
    }
    Ok(())
}

/// The name in the company's own address book, or that there is none any more, unless a later word
/// is there. True when it is the last word.
pub(crate) async fn name_contact(
    tx: &mut Tx,
    contact: ContactId,
    name: Option<&str>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let touched = sql("UPDATE contacts SET name = $2, name_at = $3 WHERE id = $1 AND $3 >= name_at")
        .bind(contact)
        .bind(name)
        .bind(at)
        .run(tx)
        .await?;
    Ok(touched > 0)
}

/// What an identity allows and refuses, by category, each with its time.
pub(crate) async fn preferences(conn: &mut Conn, identity: IdentityId) -> Result<String, StoreError> {
    let row = sql("SELECT preferences FROM identities WHERE id = $1").bind(identity).first(conn).await?;
    row.map_or_else(|| Ok("{}".to_owned()), |row| row.text("preferences"))
}

/// Writes what [`preferences`] reads.
pub(crate) async fn set_preferences(
    tx: &mut Tx,
    identity: IdentityId,
    preferences: &str,
) -> Result<(), StoreError> {
    sql("UPDATE identities SET preferences = $2 WHERE id = $1")
        .bind(identity)
        .bind(preferences)
        .later(tx)
        .await
}

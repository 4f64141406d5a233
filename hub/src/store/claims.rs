//! What people said of themselves and nobody has proven.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Claim, ClaimKind, Handle};
use loket_protocol::ids::{ContactId, IdentityId};

use super::{Conn, Row, StoreError, Tx, sql};

/// Keeps what somebody says of themselves; a later word takes the place of an earlier one.
pub(crate) async fn set(
    tx: &mut Tx,
    channel: &ChannelAccount,
    handle: &Handle,
    kind: ClaimKind,
    value: &str,
) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO claims (channel_kind, account, handle_kind, handle_value, kind, value, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (channel_kind, account, handle_kind, handle_value, kind) \
         DO UPDATE SET value = excluded.value, at = excluded.at")
    .bind(&channel.kind)
    .bind(&channel.account)
    .bind(handle.kind.as_str())
    .bind(&handle.value)
    .bind(kind.as_str())
    .bind(value)
    .bind(now)
    .run(tx)
    .await?;
    Ok(())
}

fn kind_of(row: &Row) -> Result<ClaimKind, StoreError> {
    let name = row.text("kind")?;
    ClaimKind::from_name(&name).ok_or_else(|| StoreError::unreadable("kind", name))
}

/// What a contact says of themselves, with the identity that said it.
pub(crate) async fn of_contact(
    conn: &mut Conn,
    contact: ContactId,
) -> Result<Vec<(IdentityId, Claim)>, StoreError> {
    let found = sql("SELECT i.id, c.kind, c.value, c.at FROM identities i \
         JOIN handles h ON h.identity_id = i.id AND h.identifies = 1 \
         JOIN claims c ON c.channel_kind = h.channel_kind AND c.account = h.account \
         AND c.handle_kind = h.kind AND c.handle_value = h.value WHERE i.contact_id = $1 ORDER BY i.id, c.kind")
    .bind(contact)
    .all(conn)
    .await?;
    let claim = |row: &Row| {
        let claim = Claim { kind: kind_of(row)?, value: row.text("value")?, at: row.time("at")? };
        Ok((row.parsed("id")?, claim))
    };
    found.iter().map(claim).collect()
}

/// A value that two contacts have in common, and who of them has it from their channel itself.
#[derive(Clone, Debug)]
pub(crate) struct Alike {
    pub(crate) other: ContactId,
    pub(crate) kind: ClaimKind,
    pub(crate) value: String,
    pub(crate) proven_here: bool,
    pub(crate) proven_there: bool,
}

/// Other contacts with a value of this one's, a typed one or a telephone number of their channel.
pub(crate) async fn alike(conn: &mut Conn, contact: ContactId, limit: u32) -> Result<Vec<Alike>, StoreError> {
    let found = sql(
        "WITH own (kind, value, proven) AS (SELECT c.kind, c.value, CAST(0 AS BIGINT) FROM identities i \
         JOIN handles h ON h.identity_id = i.id AND h.identifies = 1 \
         JOIN claims c ON c.channel_kind = h.channel_kind AND c.account = h.account \
         AND c.handle_kind = h.kind AND c.handle_value = h.value \
         WHERE i.contact_id = $1 AND c.kind IN ('email', 'phone') \
         UNION SELECT 'phone', h.value, CAST(1 AS BIGINT) FROM identities i JOIN handles h ON h.identity_id = i.id \
         WHERE i.contact_id = $1 AND h.kind = 'phone' AND h.identifies = 1) \
         SELECT DISTINCT f.other, f.kind, f.value, f.here, f.there FROM \
         (SELECT i.contact_id AS other, o.kind, o.value, o.proven AS here, CAST(0 AS BIGINT) AS there FROM own o \
         JOIN claims c ON c.kind = o.kind AND c.value = o.value \
         JOIN handles h ON h.channel_kind = c.channel_kind AND h.account = c.account AND h.kind = c.handle_kind \
         AND h.value = c.handle_value AND h.identifies = 1 JOIN identities i ON i.id = h.identity_id \
         UNION ALL SELECT i.contact_id, o.kind, o.value, o.proven, CAST(1 AS BIGINT) FROM own o \
         JOIN handles h ON h.kind = 'phone' AND h.identifies = 1 AND h.value = o.value \
         JOIN identities i ON i.id = h.identity_id WHERE o.kind = 'phone') f \
         WHERE f.other <> $1 ORDER BY f.other, f.kind, f.value LIMIT $2",
    )
    .bind(contact)
    .bind(limit)
    .all(conn)
    .await?;
    let alike = |row: &Row| {
        Ok(Alike {
            other: row.parsed("other")?,
            kind: kind_of(row)?,
            value: row.text("value")?,
            proven_here: row.flag("here")?,
            proven_there: row.flag("there")?,
        })
    };
    found.iter().map(alike).collect()
}

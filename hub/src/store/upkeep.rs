//! What keeps the store's workers honest and its tables short: whole callbacks kept for a while,
//! counts of suspects, and sweeps.

use loket_protocol::ids::CallbackId;
use loket_protocol::time::Timestamp;

use super::verify::count_before;
use super::{Conn, StoreError, Tx, Value, rows, sql};

/// A piece of a whole callback, sealed.
#[derive(Clone, Debug)]
pub(crate) struct RawPart {
    pub(crate) id: CallbackId,
    pub(crate) number: u32,
    pub(crate) channel_kind: String,
    pub(crate) items: u32,
    pub(crate) sealed: Vec<u8>,
    pub(crate) received_at: Timestamp,
}

/// Keeps pieces of callbacks; one that is there is left as it is. At most `ROWS_MAX`.
pub(crate) async fn keep_callbacks(tx: &mut Tx, pieces: Vec<RawPart>) -> Result<(), StoreError> {
    if pieces.is_empty() {
        return Ok(());
    }
    let values = pieces
        .into_iter()
        .flat_map(|piece| -> [Value; 6] {
            [
                piece.id.into(),
                piece.number.into(),
                piece.channel_kind.into(),
                piece.items.into(),
                piece.sealed.into(),
                piece.received_at.into(),
            ]
        })
        .collect();
    rows(
        "INSERT INTO raw_callbacks (id, number, channel_kind, items, sealed, received_at) VALUES",
        6,
        values,
        "ON CONFLICT DO NOTHING",
    )
    .later(tx)
    .await
}

/// Counts one more turn of an item that was leased before; answers how many there were with it, and
/// how the last one ended, if it did not end with the process.
pub(crate) async fn suspect(
    tx: &mut Tx,
    topic: &str,
    item: &str,
) -> Result<(i64, Option<String>), StoreError> {
    let now = tx.now();
    let row = sql("INSERT INTO suspects (topic, item_id, turns, at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (topic, item_id) DO UPDATE SET turns = suspects.turns + 1, at = excluded.at \
         RETURNING turns, error")
    .bind(topic)
    .bind(item)
    .bind(now)
    .first(tx)
    .await?;
    row.map_or(Ok((1, None)), |row| Ok((row.int("turns")?, row.text_or_none("error")?)))
}

/// Notes how a turn of an item ended.
pub(crate) async fn note_error(tx: &mut Tx, topic: &str, item: &str, error: &str) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO suspects (topic, item_id, turns, error, at) VALUES ($1, $2, 0, $3, $4) \
         ON CONFLICT (topic, item_id) DO UPDATE SET error = excluded.error")
    .bind(topic)
    .bind(item)
    .bind(error)
    .bind(now)
    .later(tx)
    .await
}

/// Forgets the turns of an item that is done.
pub(crate) async fn acquit(tx: &mut Tx, topic: &str, item: &str) -> Result<(), StoreError> {
    sql("DELETE FROM suspects WHERE topic = $1 AND item_id = $2").bind(topic).bind(item).later(tx).await
}

/// What a sweep takes away, in portions of `limit` rows, so that nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Statuses whose message never came.
    Orphans,
    /// Whole callbacks.
    Callbacks,
    /// Pieces whose other pieces never came.
    Pieces,
    /// Counts of suspects.
    Suspects,
    /// What is done of epochs that are over.
    Stamps,
}

impl Sweep {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Orphans, Self::Callbacks, Self::Pieces, Self::Suspects, Self::Stamps];

    /// How long they are kept.
    pub(crate) fn keep_ms(self) -> i64 {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        match self {
            Self::Orphans => DAY_MS,
            Self::Callbacks | Self::Pieces | Self::Suspects | Self::Stamps => 7 * DAY_MS,
        }
    }

    /// What its rows are called.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Orphans => "statuses of unknown messages",
            Self::Callbacks => "raw callbacks",
            Self::Pieces => "pieces of parked items",
            Self::Suspects => "counts of suspects",
            Self::Stamps => "stamps of publishers",
        }
    }

    /// How many rows are older than `before`.
    pub(crate) async fn left(self, conn: &mut Conn, before: Timestamp) -> Result<i64, StoreError> {
        let text = match self {
            Self::Orphans => {
                "SELECT COUNT(*) AS n FROM statuses WHERE message_id IS NULL AND received_at < $1"
            }
            Self::Callbacks => "SELECT COUNT(*) AS n FROM raw_callbacks WHERE received_at < $1",
            Self::Pieces => "SELECT COUNT(*) AS n FROM raw_pieces WHERE received_at < $1",
            Self::Suspects => "SELECT COUNT(*) AS n FROM suspects WHERE at < $1",
            Self::Stamps => "SELECT COUNT(*) AS n FROM stamps WHERE at < $1",
        };
        count_before(conn, text, before).await
    }

    /// Takes away up to `limit` rows that are older than `before`; answers how many.
    pub(crate) async fn run(self, tx: &mut Tx, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let statement = match self {
            Self::Orphans => sql("DELETE FROM statuses WHERE (channel_kind, account, external_id, status, \
                 participant) IN (SELECT channel_kind, account, external_id, status, participant \
                 FROM statuses WHERE message_id IS NULL AND received_at < $1 LIMIT $2)"),
            Self::Callbacks => sql("DELETE FROM raw_callbacks WHERE (id, number) IN \
                 (SELECT id, number FROM raw_callbacks WHERE received_at < $1 ORDER BY received_at LIMIT $2)"),
            Self::Pieces => sql("DELETE FROM raw_pieces WHERE (key, number) IN \
                 (SELECT key, number FROM raw_pieces WHERE received_at < $1 LIMIT $2)"),
            Self::Suspects => sql("DELETE FROM suspects WHERE (topic, item_id) IN \
                 (SELECT topic, item_id FROM suspects WHERE at < $1 LIMIT $2)"),
            Self::Stamps => sql("DELETE FROM stamps WHERE (epoch, partition, first) IN \
                 (SELECT epoch, partition, first FROM stamps WHERE at < $1 ORDER BY at LIMIT $2)"),
        };
        statement.bind(before).bind(limit).run(tx).await
    }
}

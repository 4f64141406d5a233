//! The one log. Appending draws the thread's number under the thread's row and leaves the log's own
//! number to the sequencer (`reliability-contract` §4).

use loket_protocol::event::{API_VERSION, Event, EventType, ThreadPlace};
use loket_protocol::ids::{EventId, ThreadId};
use serde::Serialize;

use super::{Conn, ROWS_MAX, Row, StoreError, Tx, json, parts, rows, sql};

/// An entry to be written. Of a thread it needs a number drawn by [`draw`] in the same transaction.
pub(crate) struct Entry {
    /// The thread and the number in it.
    pub(crate) place: Option<(ThreadId, i64)>,
    /// What happened.
    pub(crate) kind: EventType,
    /// JSON of the object as it is now.
    pub(crate) data: String,
}

/// Draws the next `count` numbers of a thread's log and answers the first; the thread's row stays
/// locked until the commit, so that its entries are committed in the order of their numbers.
pub(crate) async fn draw(tx: &mut Tx, thread: ThreadId, count: i64) -> Result<i64, StoreError> {
    let row = sql("UPDATE threads SET seq = seq + $2 WHERE id = $1 RETURNING seq")
        .bind(thread)
        .bind(count)
        .first(tx)
        .await?
        .ok_or_else(|| StoreError::Constraint("there is no such thread".to_owned()))?;
    Ok(row.int("seq")? - count + 1)
}

/// Writes entries in this order.
pub(crate) async fn write(tx: &mut Tx, entries: Vec<Entry>) -> Result<(), StoreError> {
    let at = tx.now();
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let mut values = Vec::new();
        for entry in entries.by_ref().take(ROWS_MAX) {
            let (thread, seq) = entry.place.unzip();
            values.push(tx.id::<EventId>().into());
            values.push(entry.kind.as_str().into());
            values.push(thread.into());
            values.push(seq.into());
            values.push(entry.data.into());
            values.push(at.into());
        }
        rows("INSERT INTO log (event_id, type, thread_id, thread_seq, data, at) VALUES", 6, values, "")
            .later(tx)
            .await?;
    }
    tx.has_appended();
    Ok(())
}

/// Appends one entry; of a thread it draws the number, which is answered.
pub(crate) async fn append(
    tx: &mut Tx,
    thread: Option<ThreadId>,
    kind: EventType,
    data: &impl Serialize,
) -> Result<Option<i64>, StoreError> {
    let place = match thread {
        Some(thread) => Some((thread, draw(tx, thread, 1).await?)),
        None => None,
    };
    let data = json(data)?;
    write(tx, vec![Entry { place, kind, data }]).await?;
    Ok(place.map(|(_, seq)| seq))
}

const COLUMNS: &str = "SELECT seq, event_id, type, thread_id, thread_seq, data, at FROM log ";

/// Numbered entries after `after`, ascending, at most `limit`; only of `types` when there are any.
pub(crate) async fn after(
    conn: &mut Conn,
    after: i64,
    types: &[EventType],
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let found = if types.is_empty() {
        parts(&[COLUMNS, "WHERE seq > $1 ORDER BY seq LIMIT $2"]).bind(after).bind(limit).all(conn).await?
    } else {
        let names = types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>();
        // One text for any number of types: a list as JSON would part the backends.
        let mut found = Vec::new();
        for name in names {
            found.extend(
                parts(&[COLUMNS, "WHERE type = $1 AND seq > $2 ORDER BY seq LIMIT $3"])
                    .bind(name)
                    .bind(after)
                    .bind(limit)
                    .all(conn)
                    .await?,
            );
        }
        found
    };
    let mut events = found.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    events.sort_by_key(|event| event.seq);
    events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(events)
}

/// Numbered entries of a thread between two numbers of its log, both left out, that are no message,
/// ascending, at most `limit`.
pub(crate) async fn of_thread(
    conn: &mut Conn,
    thread: ThreadId,
    after: i64,
    before: i64,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let text = [
        COLUMNS,
        "WHERE thread_id = $1 AND thread_seq > $2 AND thread_seq < $3 AND type NOT LIKE 'message.%' \
         AND type <> 'note.added' AND seq IS NOT NULL ORDER BY thread_seq LIMIT $4",
    ];
    let found = parts(&text).bind(thread).bind(after).bind(before).bind(limit).all(conn).await?;
    found.iter().map(event).collect()
}

/// A numbered entry by its id.
pub(crate) async fn by_id(conn: &mut Conn, id: EventId) -> Result<Option<Event>, StoreError> {
    let row = parts(&[COLUMNS, "WHERE event_id = $1 AND seq IS NOT NULL"]).bind(id).first(conn).await?;
    row.as_ref().map(event).transpose()
}

/// The highest number that was given.
pub(crate) async fn head(conn: &mut Conn) -> Result<i64, StoreError> {
    let row = sql("SELECT COALESCE(MAX(seq), 0) AS head FROM log").first(conn).await?;
    row.map_or(Ok(0), |row| row.int("head"))
}

/// Whether there is an entry without a number.
pub(crate) async fn has_unnumbered(conn: &mut Conn) -> Result<bool, StoreError> {
    Ok(sql("SELECT row_id FROM log WHERE seq IS NULL LIMIT 1").first(conn).await?.is_some())
}

/// How many entries have no number yet.
pub(crate) async fn unnumbered(conn: &mut Conn) -> Result<i64, StoreError> {
    let row = sql("SELECT COUNT(*) AS n FROM log WHERE seq IS NULL").first(conn).await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

fn event(row: &Row) -> Result<Event, StoreError> {
    let kind = row.text("type")?;
    let thread = match row.parsed_or_none("thread_id")? {
        Some(id) => Some(ThreadPlace { id, seq: row.int("thread_seq")? }),
        None => None,
    };
    Ok(Event {
        id: row.parsed("event_id")?,
        kind: EventType::from_name(&kind).ok_or_else(|| StoreError::unreadable("type", kind))?,
        timestamp: row.time("at")?,
        api_version: API_VERSION.to_owned(),
        seq: row.int("seq")?,
        thread,
        data: row.json("data")?,
    })
}

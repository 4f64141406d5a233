//! What `loket verify` asks the store: set-based questions whose answer is empty in a sound one, and
//! pages of whole tables for what only Rust can judge.

use loket_protocol::time::Timestamp;

use super::{Conn, Row, StoreError, Value, listed, sql};

/// A question with the sentence that its answers are told by.
pub(crate) struct Question {
    /// The invariant (`reliability-evidence` §4).
    pub(crate) invariant: &'static str,
    /// Answers rows with the text columns `a`, `b` and `c`; `$1` is how many at most, and `$2`, where
    /// it stands, is now.
    pub(crate) text: &'static str,
    /// The sentence, with `{a}`, `{b}` and `{c}` to be filled in.
    pub(crate) sentence: &'static str,
}

/// A row each: the invariant, the sentence, and a query, of which the three kinds that come often are
/// spelled out here. `lacks`: rows that point to something that is not there. `shared`: what should
/// be unique and is not. Anything else is a text of its own.
macro_rules! questions {
    ($($invariant:literal, $sentence:literal, $kind:ident $parts:tt;)+) => {
        &[$(Question {
            invariant: $invariant,
            sentence: $sentence,
            text: concat!(query!($kind $parts), " LIMIT $1"),
        },)+]
    };
}

macro_rules! query {
    (lacks($a:literal, $b:literal, $c:literal, from $rows:literal, $(if $only:literal,)? there $there:literal)) => {
        concat!(
            "SELECT ", $a, " AS a, ", $b, " AS b, ", $c, " AS c FROM ", $rows,
            " WHERE NOT EXISTS (SELECT 1 FROM ", $there, ")" $(, " AND ", $only)?
        )
    };
    (shared($b:literal, $c:literal, from $rows:literal, by $keys:literal)) => {
        concat!(
            "SELECT CAST(COUNT(*) AS TEXT) AS a, ", $b, " AS b, ", $c, " AS c FROM ", $rows,
            " GROUP BY ", $keys, " HAVING COUNT(*) > 1"
        )
    };
    (text($text:literal)) => {
        $text
    };
}

/// All questions. `CAST(… AS TEXT)` because a column has one type in every backend.
pub(crate) const QUESTIONS: &[Question] = questions! {
    // Conservation: what was accepted is somewhere.
    "V1", "inbox key {a} says message {b}, which is not there",
    lacks("i.key", "i.effect_id", "''", from "inbox i", if "i.effect = 'message'",
        there "messages m WHERE m.id = i.effect_id");
    "V1", "inbox key {a} says parked item {b}, which is not there",
    lacks("i.key", "COALESCE(i.effect_id, 'none')", "''", from "inbox i", if "i.effect = 'parked'",
        there "parked p WHERE p.id = i.effect_id");
    "V1", "inbox key {a} says a status that is not there",
    text("SELECT x.key AS a, '' AS b, '' AS c FROM (SELECT key FROM inbox WHERE effect = 'status' \
     AND key LIKE 's|%' AND received_at > $2 - 82800000 EXCEPT SELECT 's|' || channel_kind || ':' || account \
     || '|' || external_id || '|' || status || '|' || participant FROM statuses) x");
    "V1", "message {a} of the customer's (provider id {b}) has no inbox key: a repeat would double it",
    text("SELECT x.id AS a, COALESCE(m.external_id, m.client_message_id) AS b, '' AS c FROM \
     (SELECT id FROM messages WHERE direction = 'in' AND (external_id IS NOT NULL OR client_message_id IS NOT NULL) \
     EXCEPT SELECT effect_id FROM inbox WHERE effect = 'message' \
     EXCEPT SELECT p.message_id FROM parked p JOIN inbox i ON i.effect_id = p.id) x \
     JOIN messages m ON m.id = x.id");
    "V1", "echo {a} (provider id {b}) has no inbox key: a repeat would double it",
    text("SELECT x.id AS a, m.external_id AS b, '' AS c FROM (SELECT id FROM messages WHERE direction = 'out' \
     AND external_id IS NOT NULL EXCEPT SELECT message_id FROM outbound \
     EXCEPT SELECT effect_id FROM inbox WHERE effect = 'message') x JOIN messages m ON m.id = x.id");
    // Uniqueness, also when somebody dropped an index.
    "V2", "provider id {b} on {c} is of {a} messages at once",
    shared("external_id", "channel_kind || ':' || account", from "messages WHERE external_id IS NOT NULL",
        by "channel_kind, account, external_id");
    "V2", "provider id {b} is of message {a} and of a part of message {c}",
    text("SELECT m.id AS a, e.external_id AS b, e.message_id AS c FROM external_ids e JOIN messages m \
     ON m.channel_kind = e.channel_kind AND m.account = e.account AND m.external_id = e.external_id \
     WHERE m.id <> e.message_id AND NOT EXISTS (SELECT 1 FROM messages own WHERE own.id = e.message_id \
     AND own.external_id IS NULL)");
    "V2", "client message id {b} of identity {c} is of {a} messages at once",
    shared("client_message_id", "identity_id", from "messages WHERE client_message_id IS NOT NULL",
        by "identity_id, client_message_id");
    "V2", "handle {b} on {c} is of {a} identities at once",
    shared("MIN(identity_id) || ' and others'", "channel_kind || ':' || account",
        from "handles WHERE identifies = 1", by "channel_kind, account, kind, value");
    // The log of each thread.
    "V3", "thread {a} has counted to {b}, and its log has {c} entries",
    text("SELECT t.id AS a, CAST(t.seq AS TEXT) AS b, CAST(COALESCE(l.n, 0) AS TEXT) AS c FROM threads t \
     LEFT JOIN (SELECT thread_id, COUNT(*) AS n FROM log WHERE thread_id IS NOT NULL GROUP BY thread_id) l \
     ON l.thread_id = t.id WHERE t.seq <> COALESCE(l.n, 0)");
    "V3", "the log of thread {a} has no entry {b}",
    lacks("l.thread_id", "CAST(l.thread_seq - 1 AS TEXT)", "''",
        from "log l", if "l.thread_id IS NOT NULL AND l.thread_seq > 1",
        there "log p WHERE p.thread_id = l.thread_id AND p.thread_seq = l.thread_seq - 1");
    "V3", "the log of thread {a} has an entry {b}, which no number gives",
    text("SELECT l.thread_id AS a, CAST(l.thread_seq AS TEXT) AS b, '' AS c FROM log l JOIN threads t \
     ON t.id = l.thread_id WHERE (l.thread_seq < 1 OR l.thread_seq > t.seq)");
    "V3", "entry {b} of the log is of thread {a}, which is not there",
    lacks("l.thread_id", "l.event_id", "''", from "log l", if "l.thread_id IS NOT NULL",
        there "threads t WHERE t.id = l.thread_id");
    "V3", "message {a} has seq {b} of thread {c}, and the log has no such entry",
    lacks("m.id", "CAST(m.seq AS TEXT)", "m.thread_id", from "messages m",
        there "log l WHERE l.thread_id = m.thread_id AND l.thread_seq = m.seq");
    // Merges and their undoing: each message is shown in one place, which an entry gave it.
    "V3", "a copy of message {c} stands at {b} in thread {a}, and the log has no such entry",
    lacks("c.thread_id", "CAST(c.seq AS TEXT)", "c.message_id", from "copies c",
        there "log l WHERE l.thread_id = c.thread_id AND l.thread_seq = c.seq AND l.type = 'message.copied'");
    "V3", "entry {b} of thread {a} is a copy, and of what is not kept",
    lacks("l.thread_id", "CAST(l.thread_seq AS TEXT)", "''", from "log l", if "l.type = 'message.copied'",
        there "copies c WHERE c.thread_id = l.thread_id AND c.seq = l.thread_seq");
    "V3", "entry {b} of thread {a} is a copy of message {c}, and does not point at where it was appended",
    text("SELECT c.thread_id AS a, CAST(c.seq AS TEXT) AS b, c.message_id AS c FROM copies c \
     JOIN messages m ON m.id = c.message_id JOIN log l ON l.thread_id = c.thread_id AND l.thread_seq = c.seq \
     WHERE l.data NOT LIKE '%\"original\":{\"seq\":' || CAST(COALESCE(m.first_seq, m.seq) AS TEXT) || \
     ',\"thread_id\":\"' || COALESCE(m.first_thread_id, m.thread_id) || '\"}%'");
    "V3", "a copy in thread {a} at {b} is of message {c}, which is not there",
    lacks("c.thread_id", "CAST(c.seq AS TEXT)", "c.message_id", from "copies c",
        there "messages m WHERE m.id = c.message_id");
    "V3", "message {a} is shown in thread {b} at {c}, where no copy put it",
    lacks("m.id", "m.thread_id", "CAST(m.seq AS TEXT)", from "messages m", if "m.first_thread_id IS NOT NULL",
        there "copies c WHERE c.thread_id = m.thread_id AND c.seq = m.seq AND c.message_id = m.id");
    "V3", "message {a} was appended to thread {b} at {c}, and the log has no such entry",
    lacks("m.id", "m.first_thread_id", "CAST(m.first_seq AS TEXT)",
        from "messages m", if "m.first_thread_id IS NOT NULL",
        there "log l WHERE l.thread_id = m.first_thread_id AND l.thread_seq = m.first_seq");
    "V3", "message {a} came through identity {b} and is shown in thread {c}, which is somebody else's",
    text("SELECT m.id AS a, m.identity_id AS b, m.thread_id AS c FROM messages m \
     JOIN identities i ON i.id = m.identity_id JOIN threads t ON t.id = m.thread_id \
     WHERE t.contact_id <> i.contact_id");
    "V3", "message {a} is shown in thread {b}, for which another one stands",
    text("SELECT m.id AS a, t.id AS b, '' AS c FROM threads t JOIN messages m ON m.thread_id = t.id \
     WHERE t.merged_into IS NOT NULL");
    "V3", "identity {a} is of contact {b}, for whom another one stands",
    text("SELECT i.id AS a, i.contact_id AS b, '' AS c FROM threads t JOIN identities i \
     ON i.contact_id = t.contact_id WHERE t.merged_into IS NOT NULL");
    "V3", "thread {a} was merged into {b}, and no merge that holds says so",
    lacks("t.id", "t.merged_into", "''", from "threads t", if "t.merged_into IS NOT NULL",
        there "merges m WHERE m.merged_thread_id = t.id AND m.thread_id = t.merged_into AND m.undone_at IS NULL");
    "V3", "merge {a} holds, and its thread {b} stands for itself",
    lacks("m.id", "m.merged_thread_id", "''", from "merges m", if "m.undone_at IS NULL",
        there "threads t WHERE t.id = m.merged_thread_id AND t.merged_into = m.thread_id");
    "V3", "merge {a} is not told in the log of thread {b}",
    lacks("m.id", "m.thread_id", "''", from "merges m",
        there "log l WHERE l.thread_id = m.thread_id AND l.type = 'contact.merged' \
        AND l.data LIKE '%' || m.id || '%'");
    // Order. The time is the connector's own when the item came in; it was safe on the bus at most
    // 2 s later (`PUBLISH_DEADLINE`), and two that came nearer than that may have been accepted in
    // either order. What was parked and read later, and what a provider imported, has no order.
    "V4", "message {a} stands after message {b} of its conversation, and came in {c} ms before it",
    text("SELECT x.id AS a, x.prior AS b, CAST(x.prior_at - x.received_at AS TEXT) AS c FROM \
     (SELECT m.id, i.received_at, \
     LAG(m.id) OVER (PARTITION BY m.identity_id ORDER BY m.seq) AS prior, \
     LAG(i.received_at) OVER (PARTITION BY m.identity_id ORDER BY m.seq) AS prior_at \
     FROM inbox i JOIN messages m ON m.id = i.effect_id WHERE i.effect = 'message' AND m.imported = 0 \
     AND m.identity_id IS NOT NULL AND i.received_at NOT IN (SELECT first_at FROM parked) \
     AND m.id NOT IN (SELECT message_id FROM parked WHERE message_id IS NOT NULL)) x \
     WHERE x.prior_at > x.received_at + 2000");
    // The one log.
    "V5", "the log has no number {a}",
    lacks("CAST(l.seq - 1 AS TEXT)", "''", "''", from "log l", if "l.seq > 1",
        there "log p WHERE p.seq = l.seq - 1");
    "V5", "entry {a} of the log waits for its number since {b}",
    text("SELECT event_id AS a, CAST(at AS TEXT) AS b, '' AS c FROM log WHERE seq IS NULL AND at < $2 - 5000");
    "V5", "the sequencer has given {a} numbers, and the highest in the log is {b}",
    text("SELECT CAST(s.last_seq AS TEXT) AS a, CAST((SELECT COALESCE(MAX(seq), 0) FROM log) AS TEXT) AS b, '' AS c \
     FROM sequencer s WHERE s.last_seq <> (SELECT COALESCE(MAX(seq), 0) FROM log)");
    "V5", "event id {b} is of {a} entries at once",
    shared("event_id", "''", from "log", by "event_id");
    "V5", "in thread {a} entry {b} has a higher number in the log than the entry after it",
    text("SELECT l.thread_id AS a, CAST(l.thread_seq AS TEXT) AS b, '' AS c FROM log l JOIN log n \
     ON n.thread_id = l.thread_id AND n.thread_seq = l.thread_seq + 1 WHERE n.seq < l.seq");
    // Outgoing.
    "V6", "message {a} was accepted, is {b}, and nothing will send it: its outbound row is not there",
    lacks("m.id", "m.status", "''", from "messages m", if "m.direction = 'out' \
     AND m.status IN ('queued', 'sending', 'unconfirmed')", there "outbound o WHERE o.message_id = m.id");
    "V6", "part {b} of message {a} is there without part {c}",
    lacks("o.message_id", "CAST(o.part AS TEXT)", "CAST(o.part - 1 AS TEXT)", from "outbound o", if "o.part > 0",
        there "outbound p WHERE p.message_id = o.message_id AND p.part = o.part - 1");
    "V6", "part {b} of message {a} is outgoing, and the message is not there",
    lacks("o.message_id", "CAST(o.part AS TEXT)", "''", from "outbound o",
        there "messages m WHERE m.id = o.message_id");
    "V6", "part {b} of message {a} is {c} for longer than anything takes",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, o.state AS c FROM outbound o \
     WHERE o.state IN ('sending', 'unconfirmed') AND o.due_at < $2 - 60000");
    "V6", "part {b} of message {a} is due for {c} ms and nobody publishes it",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, CAST($2 - o.due_at AS TEXT) AS c FROM outbound o \
     WHERE o.state = 'queued' AND o.due_at < $2 - 900000 AND NOT EXISTS (SELECT 1 FROM outbound e \
     WHERE e.lane = o.lane AND e.position < o.position AND e.state IN ('queued', 'sending', 'unconfirmed')) \
     AND NOT EXISTS (SELECT 1 FROM channels c WHERE c.channel_kind = o.channel_kind AND c.account = o.account \
     AND (c.held_until > $2 OR c.health = 'reauthorise'))");
    "V6", "part {b} of message {a} was sent without a provider's id",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, '' AS c FROM outbound o \
     WHERE o.state = 'sent' AND o.external_id IS NULL");
    "V6", "part {b} of message {a} was taken by the provider as {c}, is open, and would go out again",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, o.external_id AS c FROM outbound o \
     WHERE o.state IN ('queued', 'sending', 'unconfirmed') AND o.external_id IS NOT NULL");
    "V6", "provider id {c} of part {b} of message {a} leads nowhere: its statuses would be orphans",
    lacks("o.message_id", "CAST(o.part AS TEXT)", "o.external_id", from "outbound o", if "o.external_id IS NOT NULL",
        there "external_ids e WHERE e.channel_kind = o.channel_kind AND e.account = o.account \
        AND e.external_id = o.external_id");
    "V6", "part {b} of message {a} is {c} and has no claim",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, o.state AS c FROM outbound o \
     WHERE o.state IN ('sending', 'unconfirmed') AND (o.claim IS NULL OR o.claimed_at IS NULL)");
    "V6", "part {b} of message {a} was sent again {c} times, and fewer decisions to do so are written down",
    text("SELECT o.message_id AS a, CAST(o.part AS TEXT) AS b, CAST(o.resends AS TEXT) AS c FROM outbound o \
     JOIN messages m ON m.id = o.message_id WHERE o.resends > 0 AND o.resends > \
     (SELECT COUNT(*) FROM log l WHERE l.type = 'message.unconfirmed' \
     AND l.data LIKE '%' || m.id || '%') + (SELECT COUNT(*) FROM audit u WHERE u.act = 'outbound.resent' \
     AND u.object = m.id)");
    "V8", "a status of provider id {a} belongs to message {b}, which is not there",
    lacks("s.external_id", "s.message_id", "''", from "statuses s", if "s.message_id IS NOT NULL",
        there "messages m WHERE m.id = s.message_id");
    "V8", "a status of provider id {a} is an orphan, and message {b} has that id",
    text("SELECT s.external_id AS a, m.id AS b, '' AS c FROM statuses s JOIN messages m \
     ON m.channel_kind = s.channel_kind AND m.account = s.account AND m.external_id = s.external_id \
     WHERE s.message_id IS NULL AND m.direction = 'out'");
    "V8", "outgoing message {a} has no status",
    text("SELECT m.id AS a, '' AS b, '' AS c FROM messages m WHERE m.direction = 'out' AND m.status IS NULL");
    // Control.
    "V9", "thread {a} is at turn {b} of control, and the last one that was written down is {c}",
    text("SELECT t.id AS a, CAST(t.control_epoch AS TEXT) AS b, CAST(COALESCE(h.last, 0) AS TEXT) AS c \
     FROM threads t LEFT JOIN (SELECT thread_id, MAX(epoch) AS last FROM handoffs GROUP BY thread_id) h \
     ON h.thread_id = t.id WHERE t.control_epoch <> COALESCE(h.last, 0)");
    "V9", "thread {a} is held by {b}, and its turn of now was given to {c}",
    text("SELECT t.id AS a, t.control_holder || ' ' || COALESCE(t.control_agent, '') AS b, \
     h.holder || ' ' || COALESCE(h.agent_id, '') AS c FROM threads t JOIN handoffs h \
     ON h.thread_id = t.id AND h.epoch = t.control_epoch WHERE h.holder <> t.control_holder \
     OR COALESCE(h.agent_id, '') <> COALESCE(t.control_agent, '')");
    "V9", "thread {a} was held by {b} parties at turn {c} at once",
    text("SELECT thread_id AS a, CAST(COUNT(*) AS TEXT) AS b, CAST(epoch AS TEXT) AS c FROM handoffs \
     GROUP BY thread_id, epoch HAVING COUNT(*) > 1");
    "V9", "thread {a} has a turn {b} of control without the one before it",
    lacks("h.thread_id", "CAST(h.epoch AS TEXT)", "''", from "handoffs h", if "h.epoch > 1",
        there "handoffs p WHERE p.thread_id = h.thread_id AND p.epoch = h.epoch - 1");
    "V9", "turn {b} of thread {a} was told as entry {c} of its log, which tells of no control",
    lacks("h.thread_id", "CAST(h.epoch AS TEXT)", "CAST(h.seq AS TEXT)", from "handoffs h",
        there "log l WHERE l.thread_id = h.thread_id AND l.thread_seq = h.seq \
        AND (l.type LIKE 'control.%' OR l.type = 'thread.opened')");
    "V9", "entry {b} of thread {a} tells that somebody accepted, and no turn began with it",
    lacks("l.thread_id", "CAST(l.thread_seq AS TEXT)", "''", from "log l", if "l.type = 'control.accepted'",
        there "handoffs h WHERE h.thread_id = l.thread_id AND h.seq = l.thread_seq");
    "V9", "thread {a} is offered to {b}, and {c} holds it",
    text("SELECT id AS a, offered_to AS b, control_holder AS c FROM threads \
     WHERE offered_to IS NOT NULL AND control_holder <> 'waiting'");
    "V9", "message {a} of thread {b} was said by a bot while control was with: {c}",
    text("SELECT x.id AS a, x.thread_id AS b, COALESCE(x.holder, 'nobody') AS c FROM (SELECT m.id, m.thread_id, \
     (SELECT h.holder FROM handoffs h WHERE h.thread_id = COALESCE(m.first_thread_id, m.thread_id) \
     AND h.seq < COALESCE(m.first_seq, m.seq) ORDER BY h.seq DESC LIMIT 1) AS holder \
     FROM messages m WHERE m.author_type = 'bot') x \
     WHERE COALESCE(x.holder, '') <> 'bot'");
    // Parked items.
    "V10", "parked item {a} ({b}) has no inbox key: a repeat would park it again",
    lacks("p.id", "'P-' || CAST(p.number AS TEXT)", "''", from "parked p",
        there "inbox i WHERE i.key = p.key");
    "V10", "parked item {a} ({b}) has no raw bytes: there is no way back",
    text("SELECT p.id AS a, 'P-' || CAST(p.number AS TEXT) AS b, '' AS c FROM parked p \
     WHERE p.raw IS NULL AND (p.complete = 1 OR p.first_at < $2 - 3600000)");
    "V10", "parked item {a} ({b}) has a placeholder {c}, which is not there",
    lacks("p.id", "'P-' || CAST(p.number AS TEXT)", "p.message_id", from "parked p", if "p.message_id IS NOT NULL",
        there "messages m WHERE m.id = p.message_id");
    // Rows that refer to others.
    "references", "thread {a} is of contact {b}, who is not there",
    lacks("t.id", "t.contact_id", "''", from "threads t",
        there "contacts c WHERE c.id = t.contact_id");
    "references", "contact {a} has no thread",
    lacks("c.id", "''", "''", from "contacts c", there "threads t WHERE t.contact_id = c.id");
    "references", "contact {b} has {a} threads",
    shared("contact_id", "''", from "threads", by "contact_id");
    "references", "contact {a} has no identity",
    lacks("c.id", "''", "''", from "contacts c",
        there "identities i WHERE i.contact_id = c.id OR i.made_with = c.id");
    "references", "identity {a} is of contact {b}, who is not there",
    lacks("i.id", "i.contact_id", "''", from "identities i",
        there "contacts c WHERE c.id = i.contact_id");
    "references", "identity {a} has no handle: nobody can be written to and nobody is known by it",
    lacks("i.id", "''", "''", from "identities i",
        there "handles h WHERE h.identity_id = i.id");
    "references", "a {b} handle is of identity {a}, which is not there",
    lacks("h.identity_id", "h.kind", "''", from "handles h",
        there "identities i WHERE i.id = h.identity_id");
    "references", "message {a} is of thread {b}, which is not there",
    lacks("m.id", "m.thread_id", "''", from "messages m",
        there "threads t WHERE t.id = m.thread_id");
    "references", "message {a} is of identity {b}, which is not there",
    lacks("m.id", "m.identity_id", "''", from "messages m", if "m.identity_id IS NOT NULL",
        there "identities i WHERE i.id = m.identity_id");
    "references", "message {a} has no identity and is no note",
    text("SELECT m.id AS a, '' AS b, '' AS c FROM messages m WHERE m.identity_id IS NULL \
     AND m.direction <> 'note'");
    "references", "message {a} answers message {b}, which is not there",
    lacks("m.id", "m.reply_to_message_id", "''", from "messages m", if "m.reply_to_message_id IS NOT NULL",
        there "messages r WHERE r.id = m.reply_to_message_id");
    "references", "the last message of thread {a} is {b}, which is not there",
    lacks("t.id", "t.last_message_id", "''", from "threads t", if "t.last_message_id IS NOT NULL",
        there "messages m WHERE m.id = t.last_message_id AND m.thread_id = t.id");
    "references", "thread {a} is assigned to {b}, who is not there",
    lacks("t.id", "t.assignee", "''", from "threads t", if "t.assignee IS NOT NULL",
        there "agents g WHERE g.id = t.assignee");
    "references", "provider id {a} is of message {b}, which is not there",
    lacks("e.external_id", "e.message_id", "''", from "external_ids e", there "messages m WHERE m.id = e.message_id");
    "references", "a session is of agent {a}, who is not there",
    lacks("s.agent_id", "''", "''", from "sessions s", there "agents g WHERE g.id = s.agent_id");
    "references", "a watermark is of identity {a}, which is not there",
    lacks("w.identity_id", "''", "''", from "watermarks w", there "identities i WHERE i.id = w.identity_id");
    "references", "{a} has read thread {b}, which is not there",
    lacks("r.agent_id", "r.thread_id", "''", from "read_marks r", there "threads t WHERE t.id = r.thread_id");
};

/// The answers to a question: `a`, `b`, `c`.
pub(crate) async fn ask(
    conn: &mut Conn,
    question: &Question,
    most: u32,
    now: Timestamp,
) -> Result<Vec<[String; 3]>, StoreError> {
    let mut asked = sql(question.text).bind(most);
    if question.text.contains("$2") {
        asked = asked.bind(now);
    }
    let found = asked.patiently().all(conn).await?;
    let read = |row: &Row| {
        let column = |name| -> Result<String, StoreError> {
            Ok(row.text_or_none(name)?.unwrap_or_else(|| "nothing".to_owned()))
        };
        Ok([column("a")?, column("b")?, column("c")?])
    };
    found.iter().map(read).collect()
}

/// The rows of a list of ids, at most `ROWS_MAX` of them: `head (…) tail`. No ids, no question.
pub(super) async fn of_ids<I: Into<Value>>(
    conn: &mut Conn,
    head: &[&'static str],
    ids: impl Iterator<Item = I>,
    tail: &'static str,
) -> Result<Vec<Row>, StoreError> {
    let values: Vec<Value> = ids.map(Into::into).collect();
    if values.is_empty() {
        return Ok(Vec::new());
    }
    listed(head, values, tail).patiently().all(conn).await
}

/// When the log last grew; `None` while it is empty. What is at rest is judged by this moment and not by
/// today: nobody sweeps while nothing runs.
pub(crate) async fn last_sign_of_life(conn: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    let row = sql("SELECT at FROM log ORDER BY row_id DESC LIMIT 1").first(conn).await?;
    row.map(|row| row.time("at")).transpose()
}

/// Tables that are counted, by noun.
pub(crate) const COUNTS: &[(&str, &str)] = &[
    ("contacts", "SELECT COUNT(*) AS n FROM contacts"),
    ("identities", "SELECT COUNT(*) AS n FROM identities"),
    ("threads", "SELECT COUNT(*) AS n FROM threads"),
    ("messages", "SELECT COUNT(*) AS n FROM messages"),
    ("log entries", "SELECT COUNT(*) AS n FROM log"),
    ("inbox keys", "SELECT COUNT(*) AS n FROM inbox"),
    ("statuses", "SELECT COUNT(*) AS n FROM statuses"),
    ("handoffs", "SELECT COUNT(*) AS n FROM handoffs"),
    ("outgoing parts", "SELECT COUNT(*) AS n FROM outbound"),
    ("parked items", "SELECT COUNT(*) AS n FROM parked"),
];

/// How many rows.
pub(crate) async fn count(conn: &mut Conn, text: &'static str) -> Result<i64, StoreError> {
    let row = sql(text).patiently().first(conn).await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// How many rows are from before a moment, which is `$1`.
pub(super) async fn count_before(
    conn: &mut Conn,
    text: &'static str,
    moment: Timestamp,
) -> Result<i64, StoreError> {
    let row = sql(text).bind(moment).patiently().first(conn).await?;
    row.map_or(Ok(0), |row| row.int("n"))
}

/// A table whose rows must be readable: where its pages go on, and its columns.
pub(crate) struct Readable {
    /// What a row is called.
    pub(crate) noun: &'static str,
    /// Answers `id` and the columns `one`, `two` and `three`; after `$1`, at most `$2`.
    pub(crate) text: &'static str,
    /// What they must be, in this order.
    pub(crate) columns: [Option<Form>; 3],
}

/// What a column must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `protocol::message::Content`.
    Content,
    /// A list of `protocol::message::Attachment`.
    Attachments,
    /// A list of `protocol::message::ProviderError`.
    Errors,
    /// A list of texts.
    Texts,
    /// Any object.
    Object,
}

/// All tables with JSON in them, but for those that are read as what they are.
pub(crate) const READABLE: &[Readable] = &[
    Readable {
        noun: "message",
        text: "SELECT id, content AS one, attachments AS two, NULL AS three FROM messages WHERE id > $1 \
               ORDER BY id LIMIT $2",
        columns: [Some(Form::Content), Some(Form::Attachments), None],
    },
    Readable {
        noun: "identity",
        text: "SELECT id, preferences AS one, NULL AS two, NULL AS three FROM identities WHERE id > $1 \
               ORDER BY id LIMIT $2",
        columns: [Some(Form::Object), None, None],
    },
    Readable {
        noun: "edit of provider id",
        text: "SELECT target AS id, content AS one, attachments AS two, NULL AS three FROM edits \
               WHERE target > $1 ORDER BY target LIMIT $2",
        columns: [Some(Form::Content), Some(Form::Attachments), None],
    },
    Readable {
        noun: "outgoing part of",
        text: "SELECT message_id AS id, MIN(error) AS one, MAX(error) AS two, NULL AS three FROM outbound \
               WHERE message_id > $1 GROUP BY message_id ORDER BY message_id LIMIT $2",
        columns: [Some(Form::Object), Some(Form::Object), None],
    },
    Readable {
        noun: "status of provider id",
        text: "SELECT external_id AS id, MIN(errors) AS one, MIN(pricing) AS two, MAX(errors) AS three \
               FROM statuses WHERE external_id > $1 GROUP BY external_id ORDER BY external_id LIMIT $2",
        columns: [Some(Form::Errors), Some(Form::Texts), Some(Form::Errors)],
    },
];

/// A page of a readable table: ids and columns.
pub(crate) async fn page(
    conn: &mut Conn,
    table: &Readable,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, [Option<String>; 3])>, StoreError> {
    let found = sql(table.text).bind(after).bind(limit).patiently().all(conn).await?;
    let read = |row: &Row| {
        let columns = [row.text_or_none("one")?, row.text_or_none("two")?, row.text_or_none("three")?];
        Ok((row.text("id")?, columns))
    };
    found.iter().map(read).collect()
}

/// An entry of the log as it stands in its row.
pub(crate) struct LogRow {
    pub(crate) row_id: i64,
    pub(crate) event_id: String,
    pub(crate) kind: String,
    pub(crate) thread: Option<String>,
    pub(crate) thread_seq: Option<i64>,
    pub(crate) data: String,
}

/// A page of the log in the order of its rows.
pub(crate) async fn log_page(conn: &mut Conn, after: i64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
    let found = sql("SELECT row_id, event_id, type, thread_id, thread_seq, data FROM log WHERE row_id > $1 \
         ORDER BY row_id LIMIT $2")
    .bind(after)
    .bind(limit)
    .patiently()
    .all(conn)
    .await?;
    let read = |row: &Row| {
        Ok(LogRow {
            row_id: row.int("row_id")?,
            event_id: row.text("event_id")?,
            kind: row.text("type")?,
            thread: row.text_or_none("thread_id")?,
            thread_seq: row.int_or_none("thread_seq")?,
            data: row.text("data")?,
        })
    };
    found.iter().map(read).collect()
}

/// Thread and seq of these messages, of each all places that it ever had; at most `ROWS_MAX`.
pub(crate) async fn places(
    conn: &mut Conn,
    messages: &[String],
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let ids = messages.iter().map(String::as_str);
    let mut found =
        of_ids(conn, &["SELECT id, thread_id, seq FROM messages WHERE id IN"], ids.clone(), "").await?;
    let first = &["SELECT id, first_thread_id AS thread_id, first_seq AS seq FROM messages \
        WHERE first_seq IS NOT NULL AND id IN"];
    found.extend(of_ids(conn, first, ids.clone(), "").await?);
    let copies = &["SELECT message_id AS id, thread_id, seq FROM copies WHERE message_id IN"];
    found.extend(of_ids(conn, copies, ids, "").await?);
    found.iter().map(|row| Ok((row.text("id")?, row.text("thread_id")?, row.int("seq")?))).collect()
}

/// Targets of marks that are kept: `reaction`, `edit` or `revoke`, account and provider id.
pub(crate) async fn marks(conn: &mut Conn) -> Result<Vec<(String, String, String)>, StoreError> {
    let found =
        sql("SELECT 'reaction' AS mark, channel_kind || ':' || account AS account, target FROM reactions \
         UNION SELECT 'edit', channel_kind || ':' || account, target FROM edits \
         UNION SELECT 'revoke', channel_kind || ':' || account, target FROM revokes")
        .patiently()
        .all(conn)
        .await?;
    found.iter().map(|row| Ok((row.text("mark")?, row.text("account")?, row.text("target")?))).collect()
}

/// Sealed bytes of a parked item.
pub(crate) struct SealedRow {
    pub(crate) id: String,
    pub(crate) number: i64,
    pub(crate) sealed: Vec<u8>,
}

/// A page of parked items with their sealed bytes, by number.
pub(crate) async fn sealed(conn: &mut Conn, after: i64, limit: u32) -> Result<Vec<SealedRow>, StoreError> {
    let found = sql(
        "SELECT id, number, raw FROM parked WHERE number > $1 AND raw IS NOT NULL ORDER BY number LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .patiently()
    .all(conn)
    .await?;
    let read = |row: &Row| {
        Ok(SealedRow { id: row.text("id")?, number: row.int("number")?, sealed: row.bytes("raw")? })
    };
    found.iter().map(read).collect()
}

/// A write that was answered, with its sealed answer.
pub(crate) struct AnsweredRow {
    /// Principal, method, path and key.
    pub(crate) scope: [String; 4],
    pub(crate) sealed: Vec<u8>,
}

/// A page of the writes whose answers are kept, in the order of their scopes.
pub(crate) async fn answered(
    conn: &mut Conn,
    after: &[String; 4],
    limit: u32,
) -> Result<Vec<AnsweredRow>, StoreError> {
    let [principal, method, path, key] = after;
    let found = sql(
        "SELECT principal, method, path, key, answer FROM idempotency \
         WHERE (principal, method, path, key) > ($1, $2, $3, $4) ORDER BY principal, method, path, key LIMIT $5",
    )
    .bind(principal)
    .bind(method)
    .bind(path)
    .bind(key)
    .bind(limit)
    .patiently()
    .all(conn)
    .await?;
    let read = |row: &Row| {
        let scope = [row.text("principal")?, row.text("method")?, row.text("path")?, row.text("key")?];
        Ok(AnsweredRow { scope, sealed: row.bytes("answer")? })
    };
    found.iter().map(read).collect()
}

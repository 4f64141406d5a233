-- One text for SQLite and PostgreSQL but for two types (store/dialect.rs fills in the row id,
-- {ROW_ID}, and of bytes, {BYTES}) and a table that is nothing but its key ({BY_KEY}). Times are milliseconds since 1970, ids are text, JSON is text, booleans are 0 and 1.

CREATE TABLE installation (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE contacts (
    id TEXT PRIMARY KEY,
    -- The name in the company's own address book; it outranks what the customer chose, which
    -- stands with each identity. NULL with a time: forgotten since then.
    name TEXT,
    name_at BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT,
    name_at BIGINT NOT NULL DEFAULT 0,
    -- Provider's times; both only move forward.
    last_message_at BIGINT,
    window_opened_at BIGINT,
    -- The provider's id of the contact's last message: read marks and typing need it.
    last_external_id TEXT,
    -- Watermarks: everything of ours up to these moments was delivered or read.
    delivered_up_to BIGINT NOT NULL DEFAULT 0,
    read_up_to BIGINT NOT NULL DEFAULT 0,
    -- Web chat reports by thread seq instead.
    delivered_up_to_seq BIGINT NOT NULL DEFAULT 0,
    read_up_to_seq BIGINT NOT NULL DEFAULT 0,
    preferences TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL
);
CREATE INDEX identities_by_contact ON identities (contact_id);

CREATE TABLE handles (
    identity_id TEXT NOT NULL REFERENCES identities (id),
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    -- 1 for a handle that tells who somebody is; usernames, parent ids and retired handles do not.
    identifies BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Provider's time since which it is no longer theirs. What is older still finds them by it.
    retired_at BIGINT,
    PRIMARY KEY (identity_id, kind, value)
);
CREATE UNIQUE INDEX handles_identify ON handles (channel_kind, account, kind, value) WHERE identifies = 1;
CREATE INDEX handles_retired ON handles (channel_kind, account, kind, value) WHERE retired_at IS NOT NULL;

CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    contact_id TEXT NOT NULL UNIQUE REFERENCES contacts (id),
    status TEXT NOT NULL,
    case_id TEXT,
    assignee TEXT,
    seq BIGINT NOT NULL DEFAULT 0,
    last_message_id TEXT,
    last_message_at BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL
);
CREATE INDEX threads_by_last_message ON threads (last_message_at, id);
CREATE INDEX threads_by_assignee ON threads (assignee, last_message_at, id) WHERE assignee IS NOT NULL;
-- Few threads are open; of resolved ones, which are most, the newest are found without help.
CREATE INDEX threads_open ON threads (last_message_at, id) WHERE status = 'open';

CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL REFERENCES threads (id),
    seq BIGINT NOT NULL,
    direction TEXT NOT NULL,
    author_type TEXT NOT NULL,
    author_id TEXT,
    author_name TEXT,
    identity_id TEXT,
    channel_kind TEXT,
    account TEXT,
    external_id TEXT,
    client_message_id TEXT,
    -- JSON of protocol::message::Content as it was said first; edits are laid over it when it is
    -- read, so that the order in which the two came does not matter.
    content TEXT NOT NULL,
    attachments TEXT NOT NULL DEFAULT '[]',
    reply_to_external_id TEXT,
    reply_to_message_id TEXT,
    reply_to_story_id TEXT,
    status TEXT,
    -- JSON of protocol::delivery::StatusDetail.
    status_detail TEXT,
    late BIGINT NOT NULL DEFAULT 0,
    -- 1: came with the provider's history only. It is nobody's unread message.
    imported BIGINT NOT NULL DEFAULT 0,
    provider_time BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (thread_id, seq)
);
CREATE UNIQUE INDEX messages_by_external_id ON messages (channel_kind, account, external_id) WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX messages_by_client_id ON messages (identity_id, client_message_id) WHERE client_message_id IS NOT NULL;
-- Watermarks look for messages of ours by the provider's time, or by seq.
CREATE INDEX messages_by_provider_time ON messages (identity_id, provider_time) WHERE direction = 'out';

-- All provider ids of one message that went out here: of its parts, and of copies after a lost
-- answer. The first of them is also messages.external_id.
CREATE TABLE external_ids (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    external_id TEXT NOT NULL,
    message_id TEXT NOT NULL REFERENCES messages (id),
    part BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (channel_kind, account, external_id)
);
CREATE INDEX external_ids_by_message ON external_ids (message_id);

-- What refers to a message by the provider's id and may come before it (whatsapp 15.7, 15.8).
-- The actor is the identity of the customer, or 'us'; only the author's edit or revoke counts.
CREATE TABLE reactions (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    target TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT,
    -- NULL: taken back. The row stays, so that an older one that comes late loses.
    emoji TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (channel_kind, account, target, actor)
);
CREATE TABLE edits (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    target TEXT NOT NULL,
    actor TEXT NOT NULL,
    -- The number of the edit, or its time where the provider does not count. The highest wins.
    rank BIGINT NOT NULL,
    content TEXT NOT NULL,
    attachments TEXT NOT NULL DEFAULT '[]',
    at BIGINT NOT NULL,
    PRIMARY KEY (channel_kind, account, target, actor)
);
CREATE TABLE revokes (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    target TEXT NOT NULL,
    actor TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (channel_kind, account, target, actor)
);

-- Every provider status with its own time. Statuses of unknown messages are orphans: they wait
-- here for their message and are swept after 24 h (reliability-contract 2).
CREATE TABLE statuses (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    external_id TEXT NOT NULL,
    status TEXT NOT NULL,
    participant TEXT NOT NULL DEFAULT '',
    -- NULL while it is an orphan.
    message_id TEXT,
    outbox_id TEXT,
    errors TEXT NOT NULL DEFAULT '[]',
    pricing TEXT NOT NULL DEFAULT '[]',
    at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (channel_kind, account, external_id, status, participant)
);
CREATE INDEX statuses_orphaned ON statuses (received_at) WHERE message_id IS NULL;
CREATE INDEX statuses_by_message ON statuses (message_id) WHERE message_id IS NOT NULL;

-- Every watermark that was told, so that the nearest one above a message gives its time, in whatever
-- order they came. Of identities only the highest are kept beside it.
CREATE TABLE watermarks (
    identity_id TEXT NOT NULL REFERENCES identities (id),
    status TEXT NOT NULL,
    -- 1 when up_to is a thread seq (web chat), 0 when it is a provider's time.
    by_seq BIGINT NOT NULL,
    up_to BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (identity_id, status, by_seq, up_to)
);

-- The log is the outbox: seq is given after the commit, by the sequencer.
CREATE TABLE log (
    row_id {ROW_ID},
    seq BIGINT,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    thread_id TEXT,
    thread_seq BIGINT,
    data TEXT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (thread_id, thread_seq)
);
CREATE INDEX log_unnumbered ON log (row_id) WHERE seq IS NULL;
CREATE UNIQUE INDEX log_by_seq ON log (seq) WHERE seq IS NOT NULL;
CREATE INDEX log_by_type ON log (type, seq) WHERE seq IS NOT NULL;

-- Who may number the log now; each numbering transaction checks the epoch.
CREATE TABLE sequencer (
    one BIGINT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_seq BIGINT NOT NULL
);

-- The keys of everything that may repeat (reliability-contract 5).
CREATE TABLE inbox (
    key TEXT PRIMARY KEY,
    -- message, parked, log, status, none: where the effect is.
    effect TEXT NOT NULL,
    effect_id TEXT,
    received_at BIGINT NOT NULL,
    -- NULL: as long as its message; else swept after this moment.
    keep_until BIGINT
){BY_KEY};
CREATE INDEX inbox_sweep ON inbox (keep_until) WHERE keep_until IS NOT NULL;

-- Counts of items leased before and not acknowledged, committed before the item is touched again.
CREATE TABLE suspects (
    topic TEXT NOT NULL,
    item_id TEXT NOT NULL,
    turns BIGINT NOT NULL,
    -- How the last turn ended, when it ended with an error and not with the process.
    error TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (topic, item_id)
);

CREATE TABLE parked (
    id TEXT PRIMARY KEY,
    -- Short name for people: P-1, P-2 ….
    number BIGINT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    channel_kind TEXT NOT NULL,
    account TEXT,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    -- What the raw bytes are: callback, or the topic whose item they were.
    source TEXT NOT NULL,
    -- Sealed with the master key.
    raw {BYTES},
    complete BIGINT NOT NULL,
    message_id TEXT,
    times BIGINT NOT NULL DEFAULT 1,
    -- parked, replayed, dropped
    state TEXT NOT NULL,
    state_reason TEXT,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX parked_waiting ON parked (number) WHERE state = 'parked';
CREATE TABLE raw_pieces (
    key TEXT NOT NULL,
    number BIGINT NOT NULL,
    count BIGINT NOT NULL,
    sealed {BYTES} NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (key, number)
);
CREATE TABLE raw_callbacks (
    id TEXT NOT NULL,
    number BIGINT NOT NULL,
    channel_kind TEXT NOT NULL,
    items BIGINT NOT NULL,
    sealed {BYTES} NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (id, number)
);
CREATE INDEX raw_callbacks_sweep ON raw_callbacks (received_at);

-- One row per part of an outgoing message; heads of conversations are found by position.
CREATE TABLE outbound (
    message_id TEXT NOT NULL REFERENCES messages (id),
    part BIGINT NOT NULL,
    lane TEXT NOT NULL,
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    identity_id TEXT NOT NULL,
    -- Order within the lane; drawn under the thread's lock.
    position BIGINT NOT NULL,
    -- JSON of protocol::outbound::OutboundMessage with the dispatch number of the row.
    payload TEXT NOT NULL,
    -- queued, sending, unconfirmed, sent, failed
    state TEXT NOT NULL,
    dispatch_no BIGINT NOT NULL DEFAULT 0,
    claim TEXT,
    claimed_at BIGINT,
    -- When the dispatcher looks at it again.
    due_at BIGINT NOT NULL,
    -- Published since the last look and not claimed; paces repeats 60 s to 10 min.
    published_times BIGINT NOT NULL DEFAULT 0,
    -- Sends that came back not_sent.
    tries BIGINT NOT NULL DEFAULT 0,
    -- 1 after a recorded decision to send again.
    resends BIGINT NOT NULL DEFAULT 0,
    external_id TEXT,
    -- The earliest time that anybody gave for it.
    sent_at BIGINT,
    -- JSON of why it waits or failed.
    error TEXT,
    PRIMARY KEY (message_id, part)
);
CREATE UNIQUE INDEX outbound_by_position ON outbound (lane, position);
CREATE INDEX outbound_open ON outbound (lane, position) WHERE state IN ('queued', 'sending', 'unconfirmed');
CREATE INDEX outbound_due ON outbound (due_at) WHERE state IN ('queued', 'sending', 'unconfirmed');

CREATE TABLE channels (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    health TEXT NOT NULL,
    sentence TEXT,
    since BIGINT NOT NULL,
    -- Sending is held until then, after the provider asked to slow down.
    held_until BIGINT NOT NULL DEFAULT 0,
    last_inbound_at BIGINT,
    last_sent_at BIGINT,
    PRIMARY KEY (channel_kind, account)
);

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    login TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent_id TEXT NOT NULL REFERENCES agents (id),
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE TABLE login_attempts (
    key TEXT NOT NULL,
    at BIGINT NOT NULL,
    one BIGINT NOT NULL
);
CREATE INDEX login_attempts_by_key ON login_attempts (key, at);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_by TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE TABLE read_marks (
    agent_id TEXT NOT NULL,
    thread_id TEXT NOT NULL REFERENCES threads (id),
    seq BIGINT NOT NULL,
    PRIMARY KEY (agent_id, thread_id)
);
CREATE TABLE visitors (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    UNIQUE (site, token_hash)
);
CREATE TABLE idempotency (
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status BIGINT NOT NULL,
    -- Sealed with the master key.
    answer {BYTES} NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (principal, method, path, key)
);
CREATE INDEX idempotency_sweep ON idempotency (at);
CREATE TABLE audit (
    row_id {ROW_ID},
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    object TEXT,
    why TEXT,
    details TEXT
);

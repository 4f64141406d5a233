-- Joining two contacts and taking it back (design.md 5, Merge and undo). Which contacts are one person is a
-- forest: a thread that was merged away points at the one it went into, and taking it back takes that
-- pointer away. Everything else follows from it.

-- The thread that stands for this one; NULL while it stands for itself. The contact is merged with its thread.
ALTER TABLE threads ADD COLUMN merged_into TEXT;
-- Raised by each merge and each undo that it takes part in: what was read before is out of date.
ALTER TABLE threads ADD COLUMN joins BIGINT NOT NULL DEFAULT 0;
CREATE INDEX threads_merged ON threads (merged_into) WHERE merged_into IS NOT NULL;

-- identities.contact_id is whose it is now. This is the contact that it was made with, once it went over
-- to another.
ALTER TABLE identities ADD COLUMN made_with TEXT;
CREATE INDEX identities_made_with ON identities (made_with) WHERE made_with IS NOT NULL;

-- messages.thread_id and seq are the one place where a message is shown now. This is the place where it was
-- appended, while it is shown elsewhere. Entries of the log never move.
ALTER TABLE messages ADD COLUMN first_thread_id TEXT;
ALTER TABLE messages ADD COLUMN first_seq BIGINT;

-- Every place that a copy gave a message: an entry message.copied each. It is shown there while
-- messages.thread_id and seq say so.
CREATE TABLE copies (
    thread_id TEXT NOT NULL REFERENCES threads (id),
    seq BIGINT NOT NULL,
    message_id TEXT NOT NULL REFERENCES messages (id),
    merge_id TEXT NOT NULL,
    PRIMARY KEY (thread_id, seq)
);
CREATE INDEX copies_by_message ON copies (message_id);

CREATE TABLE merges (
    id TEXT PRIMARY KEY,
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    thread_id TEXT NOT NULL REFERENCES threads (id),
    merged_contact_id TEXT NOT NULL REFERENCES contacts (id),
    merged_thread_id TEXT NOT NULL REFERENCES threads (id),
    -- protocol::contact::Proof by name, and JSON of what it rests on.
    proof TEXT NOT NULL,
    evidence TEXT NOT NULL,
    -- JSON of protocol::message::Author.
    done_by TEXT NOT NULL,
    why TEXT,
    at BIGINT NOT NULL,
    -- NULL while it holds.
    undone_at BIGINT,
    undone_by TEXT,
    undone_why TEXT
);
CREATE INDEX merges_by_contact ON merges (contact_id);
CREATE INDEX merges_by_merged ON merges (merged_contact_id);

-- One-time codes that somebody carries from one channel to another. Only the code's hash is kept.
CREATE TABLE link_requests (
    id TEXT PRIMARY KEY,
    code_hash TEXT NOT NULL UNIQUE,
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    -- The visitor's identity, when they asked themselves; NULL when an agent or a program did.
    identity_id TEXT,
    -- Where it must be carried to.
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX link_requests_sweep ON link_requests (expires_at);

-- What was proven to be one person and is not joined yet: written with what proves it, joined by a
-- transaction of its own.
CREATE TABLE due_merges (
    row_id {ROW_ID},
    contact_id TEXT NOT NULL REFERENCES contacts (id),
    identity_id TEXT NOT NULL REFERENCES identities (id),
    proof TEXT NOT NULL,
    evidence TEXT NOT NULL,
    -- The visitor's identity that may see the answers from now on.
    viewer_id TEXT,
    at BIGINT NOT NULL
);

-- Answers that a visitor who has proven nothing may see beside their own talk: ours to the identity that
-- carried their code, for a while.
CREATE TABLE views (
    identity_id TEXT NOT NULL REFERENCES identities (id),
    of_identity_id TEXT NOT NULL REFERENCES identities (id),
    since BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (identity_id, of_identity_id)
);

-- What somebody said of themselves and nobody has proven: it is shown with that mark, and suggests.
CREATE TABLE claims (
    channel_kind TEXT NOT NULL,
    account TEXT NOT NULL,
    handle_kind TEXT NOT NULL,
    handle_value TEXT NOT NULL,
    -- protocol::contact::ClaimKind by name.
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (channel_kind, account, handle_kind, handle_value, kind)
);
CREATE INDEX claims_by_value ON claims (kind, value);
CREATE INDEX handles_phones ON handles (value) WHERE kind = 'phone' AND identifies = 1;

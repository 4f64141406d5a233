-- Who answers a thread now (protocol::handoff).
ALTER TABLE threads ADD COLUMN control_holder TEXT NOT NULL DEFAULT 'waiting';
ALTER TABLE threads ADD COLUMN control_agent TEXT;
ALTER TABLE threads ADD COLUMN control_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN control_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE threads ADD COLUMN control_reason TEXT NOT NULL DEFAULT 'opened';
ALTER TABLE threads ADD COLUMN control_summary TEXT;
ALTER TABLE threads ADD COLUMN offered_to TEXT;
ALTER TABLE threads ADD COLUMN offered_until BIGINT;
-- Since when the customer waits for an answer; NULL: they do not.
ALTER TABLE threads ADD COLUMN waiting_since BIGINT;
CREATE INDEX threads_waiting ON threads (last_message_at, id) WHERE waiting_since IS NOT NULL;

-- One row a turn: the key says that nobody else has the same number.
CREATE TABLE handoffs (
    thread_id TEXT NOT NULL REFERENCES threads (id),
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    agent_id TEXT,
    -- How it came about: who asked (bot, house or an agent's id), for what, to whom. NULL: a case began.
    actor TEXT,
    verb TEXT,
    successor TEXT,
    -- The entry of the thread's log that tells of it.
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (thread_id, epoch)
);

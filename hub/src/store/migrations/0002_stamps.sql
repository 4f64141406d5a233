-- Which of the items that a publisher numbered are done, as runs of numbers without a gap: written in the
-- transaction that does them, gathered later. An epoch is a publisher's, in one partition of the bus.
CREATE TABLE stamps (
    epoch TEXT NOT NULL,
    partition BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    -- When it last grew.
    at BIGINT NOT NULL,
    PRIMARY KEY (epoch, partition, first)
);
CREATE INDEX stamps_sweep ON stamps (at);

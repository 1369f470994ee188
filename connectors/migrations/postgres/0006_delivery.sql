-- Which workers write to the ledger, and that they live: `beats` grows every second. Who does not see it grow, by a
-- clock of its own, need not wait for what that worker left in `sending`.
CREATE TABLE ledger_workers (
    worker UUID PRIMARY KEY,
    beats BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL
);

-- The part was taken back when the message was edited down to fewer parts.
ALTER TABLE ledger ADD COLUMN gone BOOLEAN NOT NULL DEFAULT FALSE;

-- How far what was sent has come, and what was said to the provider. Every row carries its organization. Times are UTC.

-- Of how many parts its message consists, and whom it goes to; NULL in rows of earlier versions.
ALTER TABLE ledger ADD COLUMN parts INTEGER;
ALTER TABLE ledger ADD COLUMN recipient TEXT;
CREATE INDEX ledger_provider_id ON ledger (organization, channel_id, provider_id) WHERE provider_id IS NOT NULL;

-- The furthest report of the provider about each thing we sent. May be here before the ledger knows the id.
CREATE TABLE receipts (
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('delivered', 'read', 'failed', 'expired')),
    -- The place of `status` in the order in which they follow each other.
    step INTEGER NOT NULL,
    failure TEXT,
    reason TEXT,
    -- By the provider's clock.
    at TEXT NOT NULL,
    noted_at TEXT NOT NULL,
    PRIMARY KEY (organization, channel_id, provider_id)
);
CREATE INDEX receipts_noted_at ON receipts (noted_at);

-- Requests to providers and their replies, for support: redacted, cut, short-lived.
CREATE TABLE channel_log (
    id BLOB PRIMARY KEY,
    organization TEXT NOT NULL,
    message_id BLOB NOT NULL,
    channel_id TEXT NOT NULL,
    what TEXT NOT NULL,
    request TEXT,
    status INTEGER,
    reply TEXT,
    error TEXT,
    -- Milliseconds.
    took INTEGER NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX channel_log_message ON channel_log (organization, message_id, id);
CREATE INDEX channel_log_at ON channel_log (at);

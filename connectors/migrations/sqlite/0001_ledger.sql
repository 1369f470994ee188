-- One row per provider send ("part") of a delivery. Every row carries its organization. Times are UTC.

CREATE TABLE ledger (
    organization TEXT NOT NULL,
    message_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    channel_id TEXT NOT NULL,
    -- sending: a provider call was about to be made; waiting: it was not accepted, another try follows;
    -- uncertain: it may have been accepted, another try follows; sent, failed: final.
    state TEXT NOT NULL CHECK (state IN ('sending', 'waiting', 'uncertain', 'sent', 'failed')),
    -- Which try the state is about; a worker changes only what it wrote itself.
    worker BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    -- An earlier try may have been accepted as well.
    doubtful BOOLEAN NOT NULL,
    provider_id TEXT,
    failure TEXT,
    reason TEXT,
    at TEXT NOT NULL,
    PRIMARY KEY (organization, message_id, part)
);
CREATE INDEX ledger_at ON ledger (at);

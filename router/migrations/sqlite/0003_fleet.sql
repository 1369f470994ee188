-- What the processes of a fleet must agree on, and how far each endpoint is.

-- `inbound_lanes`: the number that every process must use. `probe`: written by the checks of readiness.
CREATE TABLE fleet (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

-- Set when it answered 410 for an hour, or by a person: its events wait until it is enabled again.
ALTER TABLE endpoints ADD COLUMN disabled_at TEXT;
ALTER TABLE endpoints ADD COLUMN disabled_reason TEXT;

-- Written in batches by the worker that owns the endpoint's lane.
CREATE TABLE endpoint_states (
    endpoint_id BLOB PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
    -- Every event of its organization up to this position is settled, except those in `unsettled`.
    position INTEGER NOT NULL,
    -- JSON: [{"position", "id", "published_at"}].
    unsettled TEXT NOT NULL,
    -- Events after this position are to be sent again: their lane was lost (`lost`: what was settled is left out), or
    -- somebody asked for it (`asked`).
    resend_from INTEGER,
    resend_reason TEXT,
    last_success_at TEXT,
    last_failure_at TEXT,
    -- Failed requests since the last success.
    failures INTEGER NOT NULL,
    failure_reason TEXT,
    next_try_at TEXT,
    -- Since when every answer was 410.
    gone_since TEXT
);
INSERT INTO endpoint_states (endpoint_id, position, unsettled, failures)
    SELECT id, COALESCE((SELECT MAX(position) FROM events e WHERE e.organization = endpoints.organization), 0), '[]', 0
    FROM endpoints;

-- The web widget is a channel whose provider is ourselves: its mailbox keeps what each visitor has written and been
-- sent. Every row carries its organization. Times are UTC.

-- Signs visitor tokens of accounts that configure no `secret`; made once, shared by all workers.
CREATE TABLE widget_keys (
    channel_id TEXT PRIMARY KEY,
    organization TEXT NOT NULL,
    secret BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- A visitor who has written; one who only looks leaves no row. The row is the lock under which a mailbox grows.
CREATE TABLE widget_visitors (
    channel_id TEXT NOT NULL,
    visitor UUID NOT NULL,
    organization TEXT NOT NULL,
    -- Place of the latest message: 1, 2, 3, ... without gaps.
    seq BIGINT NOT NULL,
    -- Up to here `delivered` and `read` were published.
    delivered BIGINT NOT NULL,
    read BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, visitor)
);

CREATE TABLE widget_mailbox (
    channel_id TEXT NOT NULL,
    visitor UUID NOT NULL,
    seq BIGINT NOT NULL,
    organization TEXT NOT NULL,
    message_id UUID NOT NULL,
    -- A long reply comes in several parts.
    part INTEGER NOT NULL,
    -- The visitor's own name of the message; NULL for what was sent to the visitor.
    client_id TEXT,
    -- JSON as it goes into frames, as text, since PostgreSQL's JSON types refuse \u0000.
    body TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, visitor, seq),
    UNIQUE (channel_id, message_id, part),
    UNIQUE (channel_id, visitor, client_id)
);

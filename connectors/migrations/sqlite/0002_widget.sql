-- The web widget is a channel whose provider is ourselves: its mailbox keeps what each visitor has written and been
-- sent. Every row carries its organization. Times are UTC.

-- Signs visitor tokens of accounts that configure no `secret`; made once, shared by all workers.
CREATE TABLE widget_keys (
    channel_id TEXT PRIMARY KEY,
    organization TEXT NOT NULL,
    secret BLOB NOT NULL,
    created_at TEXT NOT NULL
);

-- A visitor who has written; one who only looks leaves no row. The row is the lock under which a mailbox grows.
CREATE TABLE widget_visitors (
    channel_id TEXT NOT NULL,
    visitor BLOB NOT NULL,
    organization TEXT NOT NULL,
    -- Place of the latest message: 1, 2, 3, ... without gaps.
    seq INTEGER NOT NULL,
    -- Up to here `delivered` and `read` were published.
    delivered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (channel_id, visitor)
);

CREATE TABLE widget_mailbox (
    channel_id TEXT NOT NULL,
    visitor BLOB NOT NULL,
    seq INTEGER NOT NULL,
    organization TEXT NOT NULL,
    message_id BLOB NOT NULL,
    -- A long reply comes in several parts.
    part INTEGER NOT NULL,
    -- The visitor's own name of the message; NULL for what was sent to the visitor.
    client_id TEXT,
    -- JSON as it goes into frames, as text, since PostgreSQL's JSON types refuse \u0000.
    body TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (channel_id, visitor, seq),
    UNIQUE (channel_id, message_id, part),
    UNIQUE (channel_id, visitor, client_id)
);

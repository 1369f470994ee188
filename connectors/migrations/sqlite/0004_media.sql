-- Media on its way: what is still to be fetched from providers, and what providers hold of ours. Every row carries its
-- organization. Times are UTC.

-- Written before the message is published, removed after the event that completes it was.
CREATE TABLE media_fetches (
    channel_id TEXT NOT NULL,
    message_id BLOB NOT NULL,
    -- Its place among the media of the message, from 0.
    place INTEGER NOT NULL,
    organization TEXT NOT NULL,
    -- The provider's handle of it; never a link with a secret in it.
    source TEXT NOT NULL,
    -- The event that completes it, as JSON text, since PostgreSQL's JSON types refuse \u0000: with the media still pending,
    -- and then as it is published.
    event TEXT NOT NULL,
    fetched INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (channel_id, message_id, place)
);
CREATE INDEX media_fetches_due ON media_fetches (channel_id, due_at);

-- A provider's name of bytes that an account has uploaded there.
CREATE TABLE media_handles (
    channel_id TEXT NOT NULL,
    -- The medium's id, or the hash of the URL it came from.
    media TEXT NOT NULL,
    -- As what it was sent.
    kind TEXT NOT NULL,
    organization TEXT NOT NULL,
    handle TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (channel_id, media, kind)
);

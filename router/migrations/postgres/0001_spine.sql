-- Every row carries its organization. Times are UTC.

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- The channel accounts of the config, as the API shows them.
CREATE TABLE channels (
    id TEXT PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    -- Set when the config no longer has it: what it brought is still taken in, nothing is sent through it.
    removed_at TIMESTAMPTZ
);
CREATE INDEX channels_organization ON channels (organization);

-- `hash` is SHA-256 of the whole key; the key itself is shown once.
CREATE TABLE api_keys (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);

-- One team an organization. The row is the lock under which conversations are matched with agents.
CREATE TABLE teams (
    organization TEXT PRIMARY KEY REFERENCES organizations (id),
    -- The agent who got the latest conversation: where the round goes on.
    last_agent UUID
);

CREATE TABLE agents (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    available BOOLEAN NOT NULL,
    -- Open conversations at once, at most.
    capacity INTEGER NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX agents_organization ON agents (organization, id);

CREATE TABLE contacts (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    channel_id TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT,
    locale TEXT,
    username TEXT,
    blocked BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    UNIQUE (channel_id, address)
);

CREATE TABLE conversations (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    channel_id TEXT NOT NULL,
    contact_id UUID NOT NULL REFERENCES contacts (id),
    -- The inbound lane of its contact; its outbox rows are relayed by that lane's owner.
    shard INTEGER NOT NULL,
    -- waiting, assigned, closed
    state TEXT NOT NULL,
    agent_id UUID REFERENCES agents (id),
    -- Place of the latest event or delivery.
    seq BIGINT NOT NULL,
    waiting_since TIMESTAMPTZ,
    -- Whether this wait was told (conversation.queued): once each time it waits.
    queued BOOLEAN NOT NULL,
    closed_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 80); -- every message updates its row, and finds room beside it
CREATE UNIQUE INDEX conversations_open ON conversations (contact_id) WHERE state <> 'closed';
CREATE INDEX conversations_contact ON conversations (contact_id, created_at);
CREATE INDEX conversations_list ON conversations (organization, id);
CREATE INDEX conversations_waiting ON conversations (organization, waiting_since) WHERE state = 'waiting';
CREATE INDEX conversations_agent ON conversations (agent_id) WHERE state = 'assigned';

-- The primary key is what makes an inbound message that comes twice one message.
CREATE TABLE messages (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL,
    conversation_id UUID NOT NULL REFERENCES conversations (id),
    channel_id TEXT NOT NULL,
    contact_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    -- inbound, outbound
    direction TEXT NOT NULL,
    -- author, content and failure are JSON; as text, since PostgreSQL's JSON types refuse or lose what people can
    -- write (\u0000, long numbers).
    author TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    uncertain BOOLEAN NOT NULL,
    failure TEXT,
    -- The provider's id: of an inbound message, or of the first part of an outbound one.
    provider_id TEXT,
    reply_to TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    UNIQUE (conversation_id, seq)
);

-- Ids of inbound events that are not messages, so that each takes effect once.
CREATE TABLE seen (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX seen_at ON seen (at);

CREATE TABLE raw_payloads (
    event_id UUID PRIMARY KEY,
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL,
    media_type TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX raw_payloads_received ON raw_payloads (received_at);

-- What the relay still has to publish. Ids of one conversation rise with its seq, since both are taken under the
-- conversation's row lock.
CREATE TABLE outbox (
    id BIGSERIAL PRIMARY KEY,
    organization TEXT NOT NULL,
    shard INTEGER NOT NULL,
    -- The lane of a delivery; NULL for an event.
    lane TEXT,
    envelope TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX outbox_shard ON outbox (shard, id);

-- Events that were published, in one order for readers with a cursor: the relay moves them here from the outbox,
-- one relay at a time, so a position never appears behind a cursor.
CREATE TABLE events (
    position BIGSERIAL PRIMARY KEY,
    id UUID NOT NULL,
    organization TEXT NOT NULL,
    envelope TEXT NOT NULL,
    published_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX events_organization ON events (organization, position);
CREATE INDEX events_published ON events (published_at);

CREATE TABLE endpoints (
    id UUID PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    url TEXT NOT NULL,
    -- Patterns of event types: *, message.*, message.created
    events JSONB NOT NULL,
    secret TEXT NOT NULL,
    -- Signs as well until it expires, so that a receiver can change over.
    previous_secret TEXT,
    previous_until TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    -- Set when it was deleted and its lane is still to be removed.
    deleted_at TIMESTAMPTZ
);
CREATE INDEX endpoints_organization ON endpoints (organization, id);

CREATE TABLE idempotency_keys (
    organization TEXT NOT NULL,
    key TEXT NOT NULL,
    -- SHA-256 of the request that used it first.
    request BYTEA NOT NULL,
    message_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (organization, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

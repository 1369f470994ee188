-- The whole content model: what surrounds a message, what is on it, how it changed; who a contact is; how channels do.

ALTER TABLE messages
    -- JSON, as text; NULL: nothing. What had to be changed to fit the channel.
    ADD COLUMN degraded TEXT,
    -- The message that it answers, where it is known; reply_to is the provider's id of it.
    ADD COLUMN reply_to_id UUID,
    ADD COLUMN context TEXT,
    ADD COLUMN reactions TEXT,
    ADD COLUMN edited_at TIMESTAMPTZ,
    -- Its content stays here and is shown to nobody.
    ADD COLUMN deleted_at TIMESTAMPTZ,
    -- The provider's ids of the parts after the first (provider_id), in order.
    ADD COLUMN more_provider_ids TEXT,
    -- What to put back when the channel refuses a change that was recorded.
    ADD COLUMN undo TEXT;

-- The provider's ids of every part of the messages we sent. Messages that came over a channel need none: their id is
-- derived from the provider's.
CREATE TABLE provider_ids (
    channel_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    organization TEXT NOT NULL,
    message_id UUID NOT NULL,
    -- From 0.
    part INTEGER NOT NULL,
    PRIMARY KEY (channel_id, provider_id)
);
INSERT INTO provider_ids (channel_id, provider_id, organization, message_id, part)
    SELECT channel_id, provider_id, organization, id, 0 FROM messages
    WHERE direction = 'outbound' AND provider_id IS NOT NULL
    ON CONFLICT DO NOTHING;

-- Edits and deletions that came before their message; it takes them up when it comes.
CREATE TABLE early_changes (
    message_id UUID PRIMARY KEY,
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    -- JSON; NULL when nothing but a deletion came.
    content TEXT,
    edited_at TIMESTAMPTZ,
    deleted_at TIMESTAMPTZ,
    at TIMESTAMPTZ NOT NULL
);
CREATE INDEX early_changes_at ON early_changes (at);

ALTER TABLE contacts
    -- JSON, as text; NULL: nothing.
    ADD COLUMN avatar TEXT,
    ADD COLUMN identifiers TEXT,
    ADD COLUMN first_touch TEXT,
    ADD COLUMN last_touch TEXT;

ALTER TABLE conversations
    -- The message with choices that went as a numbered list and has no answer yet, and when it was sent.
    ADD COLUMN question_id UUID,
    ADD COLUMN question_at TIMESTAMPTZ,
    -- When typing was last shown to the contact.
    ADD COLUMN typing_at TIMESTAMPTZ,
    -- Up to which place the channel was told that the contact's messages were read.
    ADD COLUMN read_seq BIGINT;

ALTER TABLE channels
    -- starting, ok, degraded, down, misconfigured; NULL: nothing was reported yet.
    ADD COLUMN health_state TEXT,
    ADD COLUMN health_reason TEXT,
    ADD COLUMN health_action TEXT,
    ADD COLUMN health_since TIMESTAMPTZ;

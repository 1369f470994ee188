-- The whole content model: what surrounds a message, what is on it, how it changed; who a contact is; how channels do.

-- JSON, as text; NULL: nothing. What had to be changed to fit the channel.
ALTER TABLE messages ADD COLUMN degraded TEXT;
-- The message that it answers, where it is known; reply_to is the provider's id of it.
ALTER TABLE messages ADD COLUMN reply_to_id BLOB;
ALTER TABLE messages ADD COLUMN context TEXT;
ALTER TABLE messages ADD COLUMN reactions TEXT;
ALTER TABLE messages ADD COLUMN edited_at TEXT;
-- Its content stays here and is shown to nobody.
ALTER TABLE messages ADD COLUMN deleted_at TEXT;
-- The provider's ids of the parts after the first (provider_id), in order.
ALTER TABLE messages ADD COLUMN more_provider_ids TEXT;
-- What to put back when the channel refuses a change that was recorded.
ALTER TABLE messages ADD COLUMN undo TEXT;

-- The provider's ids of every part of the messages we sent. Messages that came over a channel need none: their id is
-- derived from the provider's.
CREATE TABLE provider_ids (
    channel_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    organization TEXT NOT NULL,
    message_id BLOB NOT NULL,
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
    message_id BLOB PRIMARY KEY,
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    -- JSON; NULL when nothing but a deletion came.
    content TEXT,
    edited_at TEXT,
    deleted_at TEXT,
    at TEXT NOT NULL
);
CREATE INDEX early_changes_at ON early_changes (at);

-- JSON, as text; NULL: nothing.
ALTER TABLE contacts ADD COLUMN avatar TEXT;
ALTER TABLE contacts ADD COLUMN identifiers TEXT;
ALTER TABLE contacts ADD COLUMN first_touch TEXT;
ALTER TABLE contacts ADD COLUMN last_touch TEXT;

-- The message with choices that went as a numbered list and has no answer yet, and when it was sent.
ALTER TABLE conversations ADD COLUMN question_id BLOB;
ALTER TABLE conversations ADD COLUMN question_at TEXT;
-- When typing was last shown to the contact.
ALTER TABLE conversations ADD COLUMN typing_at TEXT;
-- Up to which place the channel was told that the contact's messages were read.
ALTER TABLE conversations ADD COLUMN read_seq INTEGER;

-- starting, ok, degraded, down, misconfigured; NULL: nothing was reported yet.
ALTER TABLE channels ADD COLUMN health_state TEXT;
ALTER TABLE channels ADD COLUMN health_reason TEXT;
ALTER TABLE channels ADD COLUMN health_action TEXT;
ALTER TABLE channels ADD COLUMN health_since TEXT;

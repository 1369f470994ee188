-- Handles were kept by the bytes alone: the name under which a file was first uploaded is not known
-- any more, so none of them can be trusted. Each file is uploaded once more.
DELETE FROM media_handles;

-- In which topic a message is: neither reactions nor buttons on old messages say so.
CREATE TABLE telegram_topics (
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    -- The provider's id of the message.
    message TEXT NOT NULL,
    -- The contact's address: it names the topic.
    address TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (channel_id, message)
);
CREATE INDEX telegram_topics_created_at ON telegram_topics (created_at);

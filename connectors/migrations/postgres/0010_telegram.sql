-- A group that became a supergroup has another id at Telegram and stays the same conversation here.
CREATE TABLE telegram_moves (
    organization TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    -- The group as it was: its address here.
    old_chat BIGINT NOT NULL,
    -- The supergroup that it is.
    new_chat BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, old_chat),
    UNIQUE (channel_id, new_chat)
);

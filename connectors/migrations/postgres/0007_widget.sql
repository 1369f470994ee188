-- A message in several parts is delivered, and read, with its last part: that part is known by this, also before it is
-- in the mailbox.
ALTER TABLE widget_mailbox ADD COLUMN is_last BOOLEAN NOT NULL DEFAULT TRUE;
UPDATE widget_mailbox SET is_last = FALSE
WHERE EXISTS (
    SELECT 1 FROM widget_mailbox later
    WHERE later.channel_id = widget_mailbox.channel_id AND later.message_id = widget_mailbox.message_id
        AND later.part > widget_mailbox.part
);

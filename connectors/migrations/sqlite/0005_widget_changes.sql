-- What becomes of messages in a mailbox after they were put there: they are edited, taken back, pressed, read.

-- Counts every change to a message: 1, 2, 3, ...; a cursor of its own, beside that of the messages.
ALTER TABLE widget_visitors ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
-- Place of the latest message of the visitor that somebody on our side has read.
ALTER TABLE widget_visitors ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;

-- The number of its latest change; 0: as it was.
ALTER TABLE widget_mailbox ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE widget_mailbox ADD COLUMN edited_at TEXT;
-- Taken back; its body is gone.
ALTER TABLE widget_mailbox ADD COLUMN deleted_at TEXT;
-- Place of the message it answers.
ALTER TABLE widget_mailbox ADD COLUMN reply_to INTEGER;
-- Id of the option that the visitor chose, and the visitor's own name of that answer.
ALTER TABLE widget_mailbox ADD COLUMN pressed TEXT;
ALTER TABLE widget_mailbox ADD COLUMN pressed_by TEXT;

CREATE INDEX widget_mailbox_changed ON widget_mailbox (channel_id, visitor, changed) WHERE changed > 0;

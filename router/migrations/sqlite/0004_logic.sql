-- Reactions of each side apart, how far the contact has read, echoes of what we sent, and agents who are away.

-- JSON, as text; NULL: none. Our reactions; `reactions` holds the contact's.
ALTER TABLE messages ADD COLUMN our_reactions TEXT;
-- Until now both were in one column. Contacts hardly react to what they wrote themselves.
UPDATE messages SET our_reactions = reactions, reactions = NULL
    WHERE direction = 'inbound' AND reactions IS NOT NULL;
-- When the channel reported that it has the message.
ALTER TABLE messages ADD COLUMN sent_at TEXT;
-- Finds the answers that came before the message they answer had the provider's id.
CREATE INDEX messages_reply_to ON messages (channel_id, reply_to) WHERE reply_to IS NOT NULL;

-- The id that a message with this provider id has when it comes over the channel; NULL in rows of older versions.
ALTER TABLE provider_ids ADD COLUMN echo_id BLOB;
CREATE INDEX provider_ids_echo ON provider_ids (echo_id) WHERE echo_id IS NOT NULL;

-- JSON; NULL when no reaction came. The reactions are those of the contact with this address.
ALTER TABLE early_changes ADD COLUMN reactions TEXT;
ALTER TABLE early_changes ADD COLUMN address TEXT;

-- Up to when the contact has read, by the provider's clock; for messages that become `sent` later.
ALTER TABLE conversations ADD COLUMN read_up_to TEXT;
-- Since when the agent has the conversation.
ALTER TABLE conversations ADD COLUMN assigned_at TEXT;
UPDATE conversations SET assigned_at = updated_at WHERE state = 'assigned';

-- Since when the agent takes no new conversations; NULL: available.
ALTER TABLE agents ADD COLUMN away_since TEXT;
UPDATE agents SET away_since = created_at WHERE NOT available;

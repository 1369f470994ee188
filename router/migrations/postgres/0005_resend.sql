-- Workers ask every few seconds which endpoints wait for events to be sent again: mostly none.
CREATE INDEX endpoint_states_resend ON endpoint_states (endpoint_id) WHERE resend_from IS NOT NULL;

//! What follows from an inbound event: pure decisions.

//! The REST API and the webhook worker as their users meet them: over HTTP, on real stores and a real bus.

mod api;
mod bodies;
mod channels;
mod content;
mod document;
mod examples;
mod foreign;
mod media;
mod message_log;
mod operations;
mod preview;
mod refusals;
mod resending;
mod support;
mod tenants;
mod trouble;
mod ways_out;
mod webhooks;

//! Tables of decisions: what comes in, what is told, what is written.

mod answers;
mod changes;
mod contacts;
mod echoes;
mod elsewhere;
mod interleaving;
mod messages;
mod reading;
mod refusals;
mod statuses;
mod support;

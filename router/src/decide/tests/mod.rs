//! Tables of decisions: what comes in, what is told, what is written.

mod answers;
mod changes;
mod contacts;
mod elsewhere;
mod messages;
mod statuses;
mod support;

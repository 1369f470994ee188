//! The methods of the API: one file per group, one line here per method.

mod callback;
mod me;
mod send;
mod updates;
mod webhook;

use std::sync::Arc;

use super::account::Bot;
use super::answer::{Answer, ApiError};
use super::misbehave::CallAction;
use super::params::Params;

/// One call to a method.
pub(super) struct Request<'a> {
    pub bot: &'a Arc<Bot>,
    pub params: &'a Params,
    /// What a rule makes go wrong with it, so that it can be recorded, or done where only the method can.
    pub action: Option<&'a CallAction>,
}

/// Does what a method says. Names are read in any case.
pub(super) async fn run(method: &str, request: &Request<'_>) -> Result<Answer, ApiError> {
    match method.to_ascii_lowercase().as_str() {
        "getme" => Ok(me::get_me(request)),
        "getupdates" => updates::get_updates(request).await,
        "setwebhook" => webhook::set(request),
        "deletewebhook" => Ok(webhook::delete(request)),
        "getwebhookinfo" => Ok(webhook::info(request)),
        "sendmessage" => send::message(request),
        "sendchataction" => send::chat_action(request),
        "answercallbackquery" => callback::answer(request),
        _ => Err(ApiError::new(404, "Not Found: method not found")),
    }
}

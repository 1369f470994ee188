//! The methods of the API: one file per group, one line here per method.

mod business;
mod callback;
mod edit;
mod file;
mod markup;
mod me;
mod media;
mod place;
mod react;
mod relay;
mod remove;
mod send;
mod source;
mod updates;
mod webhook;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::account::Bot;
use super::answer::{Answer, ApiError};
use super::kind::FileKind;
use super::misbehave::CallAction;
use super::params::Params;
use super::records::{Change, ChangeKind};

/// One call to a method.
pub(super) struct Request<'a> {
    pub bot: &'a Arc<Bot>,
    pub params: &'a Params,
    /// What a rule makes go wrong with it, so that it can be recorded, or done where only the method can.
    pub action: Option<&'a CallAction>,
}

impl Request<'_> {
    /// Records what this call changed; `fill` tells where and what.
    fn changed(&self, method: &'static str, kind: ChangeKind, fill: impl FnOnce(&mut Change)) {
        self.bot.shared.record(|records| {
            records.add_change(|order| {
                let mut change = Change {
                    order,
                    at: SystemTime::now(),
                    instant: Instant::now(),
                    bot_id: self.bot.profile.id(),
                    method,
                    kind,
                    chat_id: 0,
                    message_id: 0,
                    before: None,
                    after: None,
                    parameters: self.params.for_record(),
                    disturbed_by: self.action.cloned(),
                };
                fill(&mut change);
                change
            });
        });
    }
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
        "sendphoto" => media::send(request, FileKind::Photo).await,
        "sendvideo" => media::send(request, FileKind::Video).await,
        "sendaudio" => media::send(request, FileKind::Audio).await,
        "sendvoice" => media::send(request, FileKind::Voice).await,
        "senddocument" => media::send(request, FileKind::Document).await,
        "sendanimation" => media::send(request, FileKind::Animation).await,
        "sendvideonote" => media::send(request, FileKind::VideoNote).await,
        "sendsticker" => media::send(request, FileKind::Sticker).await,
        "sendmediagroup" => media::send_group(request).await,
        "sendlocation" => place::location(request),
        "sendvenue" => place::venue(request),
        "sendcontact" => place::contact(request),
        "copymessage" => relay::copy(request),
        "forwardmessage" => relay::forward(request),
        "editmessagetext" => edit::text(request),
        "editmessagecaption" => edit::caption(request),
        "editmessagemedia" => edit::media(request).await,
        "editmessagereplymarkup" => edit::markup(request),
        "editmessagelivelocation" => edit::live_location(request),
        "deletemessage" => remove::one(request),
        "deletemessages" => remove::many(request),
        "setmessagereaction" => react::set(request),
        "sendchataction" => react::chat_action(request),
        "getfile" => file::get(request),
        "getbusinessconnection" => business::connection(request),
        "readbusinessmessage" => business::read(request),
        "deletebusinessmessages" => business::delete(request),
        "answercallbackquery" => callback::answer(request),
        _ => Err(ApiError::new(404, "Not Found: method not found")),
    }
}

//! Changing messages of the bot.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::account::{Account, now};
use super::super::answer::{Answer, ApiError};
use super::super::kind::FileKind;
use super::super::records::ChangeKind;
use super::Request;
use super::markup::Markup;
use super::{media, place, send};

const NOT_MODIFIED: &str = "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message";
/// Fields of `Message` that tell what it shows below its caption.
const MEDIA: [&str; 6] = ["photo", "video", "audio", "document", "animation", "voice"];

/// `editMessageText`.
pub(super) fn text(request: &Request<'_>) -> Result<Answer, ApiError> {
    let (content, _) = send::text_content(request.params)?;
    request.bot.with(|account| {
        let editing = Editing::begin(request, account)?;
        if editing.old.get("text").is_none() {
            return Err(ApiError::bad_request(
                "there is no text in the message to edit",
            ));
        }
        let cleared = ["text", "entities", "link_preview_options"];
        editing.finish(request, account, "editMessageText", &cleared, content)
    })
}

/// `editMessageCaption`.
pub(super) fn caption(request: &Request<'_>) -> Result<Answer, ApiError> {
    let (content, _) = send::caption_content(request.params)?;
    request.bot.with(|account| {
        let editing = Editing::begin(request, account)?;
        if !MEDIA.iter().any(|field| editing.old.get(field).is_some()) {
            return Err(ApiError::bad_request(
                "there is no caption in the message to edit",
            ));
        }
        let cleared = ["caption", "caption_entities", "show_caption_above_media"];
        editing.finish(request, account, "editMessageCaption", &cleared, content)
    })
}

/// `editMessageMedia`.
pub(super) async fn media(request: &Request<'_>) -> Result<Answer, ApiError> {
    let object = request
        .params
        .json("media")
        .filter(Value::is_object)
        .ok_or_else(|| ApiError::bad_request("can't parse InputMedia: media not found"))?;
    let prepared = media::input_media(request, &object).await?;
    request.bot.with(|account| {
        let editing = Editing::begin(request, account)?;
        let in_album = editing.old.get("media_group_id").is_some();
        let has_media = MEDIA.iter().any(|field| editing.old.get(field).is_some());
        if !has_media && editing.old.get("text").is_none() {
            return Err(ApiError::bad_request(
                "there is no media in the message to edit",
            ));
        }
        let outgoing = prepared.into_outgoing(account, "editMessageMedia");
        if in_album && !same_album(&editing.old, &outgoing.content) {
            return Err(ApiError::bad_request(
                "can't edit message media: the type of the media can't be changed in an album",
            ));
        }
        let mut cleared = vec![
            "caption",
            "caption_entities",
            "has_media_spoiler",
            "show_caption_above_media",
            "text",
            "entities",
            "link_preview_options",
        ];
        cleared.extend(MEDIA);
        editing.finish(
            request,
            account,
            "editMessageMedia",
            &cleared,
            outgoing.content,
        )
    })
}

fn same_album(old: &Value, new: &Map<String, Value>) -> bool {
    let class = |has: &dyn Fn(&str) -> bool| {
        MEDIA
            .iter()
            .filter(|field| has(field))
            .find_map(|field| FileKind::of(field)?.album())
    };
    class(&|field| old.get(field).is_some()) == class(&|field| new.contains_key(field))
}

/// `editMessageLiveLocation`: of a place that was sent as one that moves.
pub(super) fn live_location(request: &Request<'_>) -> Result<Answer, ApiError> {
    let mut location = place::coordinates(request)?;
    request.bot.with(|account| {
        let editing = Editing::begin(request, account)?;
        let Some(period) = editing.old["location"].get("live_period") else {
            return Err(ApiError::bad_request("message can't be edited"));
        };
        location["live_period"] = period.clone();
        let params = request.params;
        if let Some(accuracy) = params.json("horizontal_accuracy") {
            location["horizontal_accuracy"] = accuracy;
        }
        for name in ["live_period", "heading", "proximity_alert_radius"] {
            if let Some(number) = params.integer(name).filter(|number| *number != 0) {
                location[name] = json!(number);
            }
        }
        let content = Map::from_iter([("location".to_owned(), location)]);
        let method = "editMessageLiveLocation";
        editing.finish(request, account, method, &["location"], content)
    })
}

/// `editMessageReplyMarkup`.
pub(super) fn markup(request: &Request<'_>) -> Result<Answer, ApiError> {
    request.bot.with(|account| {
        Editing::begin(request, account)?.finish(
            request,
            account,
            "editMessageReplyMarkup",
            &[],
            Map::new(),
        )
    })
}

struct Editing {
    message_id: i64,
    old: Arc<Value>,
    markup: Markup,
}

impl Editing {
    /// Finds the message, which must be one that the bot may change.
    fn begin(request: &Request<'_>, account: &mut Account) -> Result<Self, ApiError> {
        let markup = Markup::read(request.params)?;
        if !matches!(markup, Markup::None | Markup::Inline(_)) {
            return Err(ApiError::bad_request("inline keyboard expected"));
        }
        let chat = account.find_chat(request.params)?;
        chat.open()?;
        let message_id = request.params.integer("message_id").unwrap_or_default();
        if message_id <= 0 {
            return Err(ApiError::bad_request("message identifier is not specified"));
        }
        let old = chat
            .message(message_id)
            .map(Arc::clone)
            .ok_or_else(|| ApiError::bad_request("message to edit not found"))?;
        if !request.bot.has_sent(chat, &old) || old.get("forward_origin").is_some() {
            return Err(ApiError::bad_request("message can't be edited"));
        }
        Ok(Self {
            message_id,
            old,
            markup,
        })
    }

    /// Puts `content` in place of the `cleared` fields, and the buttons in place of those there were.
    fn finish(
        self,
        request: &Request<'_>,
        account: &mut Account,
        method: &'static str,
        cleared: &[&str],
        content: Map<String, Value>,
    ) -> Result<Answer, ApiError> {
        let chat = account.find_chat(request.params)?;
        let mut fields = self.old.as_object().cloned().unwrap_or_default();
        for field in cleared {
            fields.remove(*field);
        }
        fields.remove("reply_markup");
        fields.extend(content);
        if let Some(inline) = self.markup.in_message() {
            fields.insert("reply_markup".into(), inline);
        }
        let unchanged = Value::Object(fields.clone()) == *self.old;
        if unchanged {
            return Err(ApiError::bad_request(NOT_MODIFIED));
        }
        // Buttons alone leave no trace of an edit.
        if !cleared.is_empty() {
            fields.insert("edit_date".into(), json!(now()));
        }
        let message = Arc::new(Value::Object(fields));
        chat.keep(self.message_id, Arc::clone(&message));
        let chat_id = chat.id();
        request.changed(method, ChangeKind::Edited, |change| {
            change.chat_id = chat_id;
            change.message_id = self.message_id;
            change.before = Some(self.old);
            change.after = Some(Arc::clone(&message));
        });
        Ok(Answer::new(&message))
    }
}

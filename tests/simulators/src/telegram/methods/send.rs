//! Methods that put something into a chat.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::account::{Account, now};
use super::super::answer::{Answer, ApiError};
use super::super::chat::Chat;
use super::super::files::Stored;
use super::super::params::Params;
use super::super::records::{FileSeen, Sent};
use super::super::text::{self, Formatted};
use super::Request;
use super::markup::Markup;

/// Of a text after parsing, in UTF-16 units.
const MAX_TEXT: usize = 4096;
/// Of a caption after parsing, in UTF-16 units.
const MAX_CAPTION: usize = 1024;
/// Of a quote in a reply, in UTF-16 units.
const MAX_QUOTE: usize = 1024;

/// `sendMessage`.
pub(super) fn message(request: &Request<'_>) -> Result<Answer, ApiError> {
    let (content, text) = text_content(request.params)?;
    let outgoing = Outgoing::new("sendMessage", content, text).with_markup(request.params)?;
    let message = request
        .bot
        .with(|account| post(request, account, outgoing))?;
    Ok(Answer::new(&message))
}

/// The fields of a text message, and its text without markup.
pub(super) fn text_content(params: &Params) -> Result<(Map<String, Value>, String), ApiError> {
    let Formatted { text, entities } = text::formatted(params, "text", "entities")?;
    if text.is_empty() {
        return Err(ApiError::bad_request("message text is empty"));
    }
    if text.encode_utf16().count() > MAX_TEXT {
        return Err(ApiError::bad_request("message is too long"));
    }
    let mut content = Map::new();
    content.insert("text".into(), json!(text));
    if !entities.is_empty() {
        content.insert("entities".into(), json!(entities));
    }
    if let Some(options) = params.json("link_preview_options") {
        content.insert("link_preview_options".into(), options);
    }
    Ok((content, text))
}

/// The fields of a caption, none if it is empty, and its text without markup.
pub(super) fn caption_content(params: &Params) -> Result<(Map<String, Value>, String), ApiError> {
    let Formatted { text, entities } = text::formatted(params, "caption", "caption_entities")?;
    if text.encode_utf16().count() > MAX_CAPTION {
        return Err(ApiError::bad_request("message caption is too long"));
    }
    let mut content = Map::new();
    if !text.is_empty() {
        content.insert("caption".into(), json!(text));
    }
    if !entities.is_empty() {
        content.insert("caption_entities".into(), json!(entities));
    }
    if params.flag("show_caption_above_media") {
        content.insert("show_caption_above_media".into(), json!(true));
    }
    Ok((content, text))
}

/// A message on its way into a chat.
pub(super) struct Outgoing {
    pub method: &'static str,
    /// Fields of `Message`.
    pub content: Map<String, Value>,
    /// Text or caption.
    pub text: String,
    pub files: Vec<Arc<Stored>>,
    /// What comes with it; an album takes none.
    pub markup: Markup,
    /// The messages it counts as for the limits of rate; the first of an album counts for all.
    pub weight: usize,
}

impl Outgoing {
    pub(super) fn new(method: &'static str, content: Map<String, Value>, text: String) -> Self {
        Self {
            method,
            content,
            text,
            files: Vec::new(),
            markup: Markup::None,
            weight: 1,
        }
    }

    /// The same with the `reply_markup` of the call.
    pub(super) fn with_markup(self, params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            markup: Markup::read(params)?,
            ..self
        })
    }
}

/// Accepts one message: checks the chat, the reply and the buttons, gives it its id, and records it. All that a further
/// send method needs besides is its content.
pub(super) fn post(
    request: &Request<'_>,
    account: &mut Account,
    outgoing: Outgoing,
) -> Result<Arc<Value>, ApiError> {
    let (bot, params) = (request.bot, request.params);
    let markup = outgoing.markup;
    let business = business_owner(account, params)?;
    let chat = account.find_chat(params)?;
    let replied = replied_to(params, chat)?;
    chat.open()?;
    markup.fits(chat)?;
    let topic = |name| params.integer(name).filter(|id| *id != 0);
    let (thread, direct) = (
        topic("message_thread_id"),
        topic("direct_messages_topic_id"),
    );
    if let Some(thread) = thread.or(direct) {
        chat.topic(thread)?;
    }
    if chat.info["is_direct_messages"] == true && direct.is_none() {
        return Err(ApiError::bad_request(
            "direct messages topic must be specified",
        ));
    }
    let (chat_id, private) = (chat.id(), chat.is("private"));
    if outgoing.weight > 0 {
        account.rates.take(chat_id, private, outgoing.weight)?;
    }
    let chat = account.find_chat(params)?;
    let message_id = chat.next_message_id();
    let mut fields = Map::new();
    fields.insert("message_id".into(), json!(message_id));
    if let Some(owner) = business {
        fields.insert(
            "business_connection_id".into(),
            json!(params.get("business_connection_id")),
        );
        fields.insert("from".into(), owner);
        fields.insert("sender_business_bot".into(), bot.user());
    } else if chat.is("channel") {
        fields.insert("sender_chat".into(), chat.info.clone());
    } else {
        fields.insert("from".into(), bot.user());
    }
    fields.insert("chat".into(), chat.info.clone());
    fields.insert("date".into(), json!(now()));
    if let Some(thread) = thread {
        fields.insert("message_thread_id".into(), json!(thread));
        fields.insert("is_topic_message".into(), json!(true));
    }
    if let Some(topic) = direct {
        fields.insert("direct_messages_topic".into(), json!({"topic_id": topic}));
    }
    if params.flag("protect_content") {
        fields.insert("has_protected_content".into(), json!(true));
    }
    fields.extend(replied);
    fields.extend(outgoing.content);
    if let Some(inline) = markup.in_message() {
        fields.insert("reply_markup".into(), inline);
    }
    markup.apply(chat);
    let message = Arc::new(Value::Object(fields));
    chat.keep(message_id, Arc::clone(&message));
    let files = outgoing.files.iter().map(|file| FileSeen::of(file));
    let files: Vec<_> = files.collect();
    bot.shared.record(|records| {
        records.add_sent(|order| Sent {
            order,
            at: SystemTime::now(),
            instant: Instant::now(),
            bot_id: bot.profile.id(),
            method: outgoing.method,
            chat_id,
            message_id,
            text: outgoing.text,
            files,
            markup: markup.whole(),
            parameters: params.for_record(),
            message: Arc::clone(&message),
            disturbed_by: request.action.cloned(),
        });
    });
    Ok(message)
}

/// Whose account the bot writes for, if it is not its own.
fn business_owner(account: &mut Account, params: &Params) -> Result<Option<Value>, ApiError> {
    match params.get("business_connection_id") {
        None => Ok(None),
        Some(id) => {
            let business = account.business_connection(id)?;
            Ok(Some(business.connection["user"].clone()))
        }
    }
}

/// The fields that tell what is replied to: the message that `reply_parameters` (or the older `reply_to_message_id`) names,
/// without what it replied to itself, and the quote.
fn replied_to(params: &Params, chat: &Chat) -> Result<Map<String, Value>, ApiError> {
    let reply = match params.get("reply_parameters") {
        None => json!({
            "message_id": params.integer("reply_to_message_id").unwrap_or_default(),
            "allow_sending_without_reply": params.flag("allow_sending_without_reply"),
        }),
        Some(_) => params
            .json("reply_parameters")
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::bad_request("object expected as reply parameters"))?,
    };
    let mut fields = Map::new();
    let message_id = reply["message_id"].as_i64().unwrap_or_default();
    if message_id == 0 {
        return Ok(fields);
    }
    if !chat.has(message_id) {
        let may_go_alone = reply["allow_sending_without_reply"]
            .as_bool()
            .unwrap_or_default();
        let missing = ApiError::bad_request("message to be replied not found");
        return if may_go_alone {
            Ok(fields)
        } else {
            Err(missing)
        };
    }
    if let Some(quote) = reply["quote"].as_str().filter(|quote| !quote.is_empty()) {
        fields.insert("quote".into(), quoted(quote, &reply, chat, message_id)?);
    }
    if chat.message(message_id).is_some() {
        fields.insert("reply_to_message".into(), chat.quoted(message_id));
    }
    Ok(fields)
}

/// A quote must be a part of what is replied to.
fn quoted(quote: &str, reply: &Value, chat: &Chat, message_id: i64) -> Result<Value, ApiError> {
    let wrong = || ApiError::bad_request("QUOTE_TEXT_INVALID");
    let given = json!({
        "quote": quote,
        "parse_mode": reply["quote_parse_mode"],
        "quote_entities": reply["quote_entities"],
    });
    let params = Params::from_object(given).unwrap_or_default();
    let quote = text::formatted(&params, "quote", "quote_entities")?.text;
    let message = chat.message(message_id).ok_or_else(wrong)?;
    let original = message["text"]
        .as_str()
        .or_else(|| message["caption"].as_str());
    let found = original.and_then(|original| Some((original, original.find(&quote)?)));
    let (original, at) = found
        .filter(|_| quote.encode_utf16().count() <= MAX_QUOTE)
        .ok_or_else(wrong)?;
    let position = original[..at].encode_utf16().count();
    Ok(json!({"text": quote, "position": position, "is_manual": true}))
}

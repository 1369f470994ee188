//! Making the calls: with the destination, the bytes, and what Telegram asks to be mended.

use std::time::{Duration, Instant};

use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;
use tributary_base::media::clean_name;
use tributary_bus::message::{Content, Media};

use super::{
    super::{
        address::{MessageKey, Place},
        classify::{Class, classify},
        client::{CallError, Client, Upload},
        moves::Moves,
        topics::Topics,
        wire::{ChatId, Message, Object, read},
    },
    FileKind, Memory, Request,
    plan::{Attachment, Slot, to_request},
    rejected,
};
use crate::{FetchError, MediaStream, Part, Receipt, SendContext, SendError};

/// Calls for one part, at most: Telegram may ask to leave something out, to use another chat id, to upload anew.
const CALLS: usize = 4;

/// What opening media leaves of the deadline for the call itself.
const CALL_RESERVE: Duration = Duration::from_millis(200);

/// The largest uploads, in bytes (https://core.telegram.org/bots/api#sending-files).
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    pub photo: u64,
    pub other: u64,
}

impl Limits {
    pub(in super::super) const CLOUD: Self = Self {
        photo: 10 * 1024 * 1024,
        other: 50 * 1024 * 1024,
    };
    /// An own Bot API server in local mode.
    pub(in super::super) const LOCAL: Self = Self {
        photo: 10 * 1024 * 1024,
        other: 2000 * 1024 * 1024,
    };

    fn of(self, kind: FileKind) -> u64 {
        match kind {
            FileKind::Photo => self.photo,
            FileKind::Animation
            | FileKind::Video
            | FileKind::Audio
            | FileKind::Voice
            | FileKind::Document
            | FileKind::Sticker => self.other,
        }
    }
}

/// Makes the calls of one delivery.
pub(in super::super) struct Sender<'a> {
    pub client: &'a Client,
    pub memory: &'a Memory,
    pub moves: &'a Moves,
    pub topics: &'a Topics,
    pub limits: Limits,
    pub context: &'a SendContext,
    pub deadline: Instant,
}

/// A call on its way.
pub(in super::super) struct Draft {
    pub place: Place,
    /// The message of the chat that is answered.
    pub reply: Option<i64>,
    pub request: Request,
}

impl Draft {
    /// The call that sends this content, as an answer to a message of the same chat.
    ///
    /// # Errors
    /// It can never be sent.
    pub(in super::super) fn of(
        content: &Content,
        place: Place,
        reply_to: Option<&str>,
    ) -> Result<Self, SendError> {
        Ok(Self {
            reply: reply_to.and_then(|id| reply(id, &place)),
            request: to_request(content, &place)?,
            place,
        })
    }

    /// The fields of the call, without its bytes.
    pub(in super::super) fn fields(&self) -> Object {
        let mut fields = self.place.fields();
        fields.extend(self.request.fields.clone());
        if let Some(message) = self.reply {
            let reply = json!({"message_id": message, "allow_sending_without_reply": true});
            fields.insert("reply_parameters".to_owned(), reply);
        }
        fields
    }
}

/// How the bytes go along.
enum Bytes {
    Handle(String),
    Upload,
}

impl Sender<'_> {
    /// Sends a part.
    pub(in super::super) async fn send(&self, part: &Part) -> Result<Receipt, SendError> {
        let place = self.place().await?;
        let mut draft = Draft::of(&part.content, place, self.context.reply_to.as_deref())?;
        let chat = draft.place.own_chat();
        let keyboard = draft.request.fields.get("reply_markup").is_some();
        let removes = !keyboard && chat.is_some_and(|chat| self.memory.is_answered(chat));
        if removes {
            let markup = json!({"remove_keyboard": true});
            draft
                .request
                .fields
                .insert("reply_markup".to_owned(), markup);
        }
        let result = self.call(&mut draft).await?;
        if let Some(chat) = chat {
            let markup = draft.request.fields.get("reply_markup");
            if markup.is_some_and(|markup| markup.get("keyboard").is_some()) {
                self.memory.shown(chat);
            } else if removes {
                self.memory.removed(chat);
            }
        }
        let receipt = receipt(&draft.place, &result);
        self.topics.sent(&draft.place, &receipt.provider_id).await;
        Ok(receipt)
    }

    /// Where the delivery goes now: a group may have moved.
    pub(super) async fn place(&self) -> Result<Place, SendError> {
        let mut place = Place::parse(&self.context.to).ok_or_else(|| SendError::Unreachable {
            code: "address".to_owned(),
            reason: "the address is not a chat id".to_owned(),
        })?;
        if let ChatId::Number(chat) = place.chat {
            place.chat = ChatId::Number(self.moves.target(chat).await);
        }
        Ok(place)
    }

    /// Calls, and does what Telegram asks for; what it answered at last.
    pub(super) async fn call(&self, draft: &mut Draft) -> Result<Value, SendError> {
        let mut bytes = self.bytes(draft.request.attachment.as_ref()).await;
        for _ in 1..CALLS {
            let error = match self.attempt(draft, &bytes).await? {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            match classify(&error) {
                Class::Plain if draft.request.strip() => {}
                Class::WithoutReply if draft.reply.is_some() => draft.reply = None,
                Class::Migrated(chat) if draft.place.chat != ChatId::Number(chat) => {
                    self.migrate(draft, chat).await;
                }
                Class::BadHandle if matches!(bytes, Bytes::Handle(_)) => bytes = Bytes::Upload,
                class => return self.end(class),
            }
        }
        match self.attempt(draft, &bytes).await? {
            Ok(result) => Ok(result),
            Err(error) => self.end(classify(&error)),
        }
    }

    async fn migrate(&self, draft: &mut Draft, chat: i64) {
        if let ChatId::Number(old) = draft.place.chat {
            self.moves.learn(old, chat).await;
        }
        draft.place.chat = ChatId::Number(chat);
        // A message of the old group is not found in the new one.
        draft.reply = None;
    }

    async fn bytes(&self, attachment: Option<&Attachment>) -> Bytes {
        let Some(Attachment { media, kind, .. }) = attachment else {
            return Bytes::Upload;
        };
        match self.context.media.handle(media, kind.name()).await {
            Some(handle) => Bytes::Handle(handle),
            None => Bytes::Upload,
        }
    }

    /// One call. The outer error: there is nothing to call with.
    async fn attempt(
        &self,
        draft: &Draft,
        bytes: &Bytes,
    ) -> Result<Result<Value, CallError>, SendError> {
        let mut fields = draft.fields();
        let Request {
            method, attachment, ..
        } = &draft.request;
        let Some(attachment) = attachment else {
            return Ok(self.plain(method, &fields).await);
        };
        if let Bytes::Handle(handle) = bytes {
            attachment.refer(&mut fields, handle);
            return Ok(self.plain(method, &fields).await);
        }
        let limit = self.limits.of(attachment.kind);
        let stream = match self.open(&attachment.media).await {
            Ok(stream) => stream,
            // Perhaps Telegram can fetch what we cannot.
            Err(FetchError::Gone { reason }) => {
                let Some(link) = self.context.media.link(&attachment.media) else {
                    return Err(unread(FetchError::Gone { reason }));
                };
                attachment.refer(&mut fields, link.as_str());
                return Ok(self.plain(method, &fields).await);
            }
            Err(error) => return Err(unread(error)),
        };
        if stream.size.is_some_and(|size| size > limit) {
            return Err(unread(FetchError::TooLarge { limit }));
        }
        let mime = stream.mime.as_deref().or(attachment.media.mime.as_deref());
        let given = attachment.media.name.as_deref().or(stream.name.as_deref());
        let upload = Upload {
            field: attachment.part(),
            name: file_name(given, attachment.kind.default_name(mime)),
            limit,
            stream,
        };
        if attachment.slot == Slot::InputMedia {
            attachment.refer(&mut fields, "attach://file");
        }
        let log = &self.context.log;
        let sent = self
            .client
            .upload(method, &fields, upload, self.left(), log)
            .await;
        let result = match sent {
            Ok(result) => value(&result),
            Err(CallError::Unread(error)) => return Err(unread(error)),
            Err(error) => return Ok(Err(error)),
        };
        if let Some(handle) = handle(&result, attachment.kind) {
            let media: &Media = &attachment.media;
            let kind = attachment.kind.name();
            self.context.media.remember(media, kind, &handle).await;
        }
        Ok(Ok(result))
    }

    /// Nothing has left yet: a slow host of media is no doubt about a message.
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError> {
        let within = self.left().saturating_sub(CALL_RESERVE);
        let opened = timeout(within, self.context.media.open(media)).await;
        opened.unwrap_or_else(|_| {
            Err(FetchError::Unavailable {
                retry_after: None,
                reason: "it was not opened in time".to_owned(),
            })
        })
    }

    pub(super) async fn plain(&self, method: &str, fields: &Object) -> Result<Value, CallError> {
        let result = self
            .client
            .raw(method, fields, self.left(), &self.context.log)
            .await?;
        // Telegram said that it was done; an unreadable result changes nothing about that.
        Ok(value(&result))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What remains when nothing can be mended.
    pub(super) fn end(&self, class: Class) -> Result<Value, SendError> {
        let unmended = |reason: &str| Err(rejected("400", reason));
        match class {
            Class::Failed(SendError::RateLimited { retry_after, scope }) => {
                // Telegram limits chats; a topic is a part of one.
                let chat = Place::parse(&self.context.to).map(|place| Place {
                    thread: None,
                    direct: None,
                    ..place
                });
                let chat = chat.map_or_else(|| self.context.to.clone(), |chat| chat.address());
                Err(self.memory.limit(&chat, retry_after, scope))
            }
            Class::Failed(error) => Err(error),
            Class::Unchanged => Ok(Value::Null),
            Class::Absent => unmended("the message is gone"),
            Class::Plain => unmended("Telegram cannot read the formatting"),
            Class::WithoutReply => unmended("the message to answer is gone"),
            Class::BadHandle => unmended("Telegram cannot take the file"),
            Class::Migrated(_) => unmended("the group has moved again"),
        }
    }
}

impl Attachment {
    /// The name of the form's part with the bytes.
    fn part(&self) -> &'static str {
        match self.slot {
            Slot::Own => self.kind.name(),
            Slot::InputMedia => "file",
        }
    }

    /// Names the bytes in the call.
    fn refer(&self, fields: &mut Object, reference: &str) {
        let reference = Value::from(reference);
        match self.slot {
            Slot::Own => {
                fields.insert(self.kind.name().to_owned(), reference);
            }
            Slot::InputMedia => {
                if let Some(Value::Object(media)) = fields.get_mut("media") {
                    media.insert("media".to_owned(), reference);
                }
            }
        }
    }
}

impl Place {
    /// The destination as fields of a call.
    pub(super) fn fields(&self) -> Object {
        let mut fields = Object::new();
        let chat = match &self.chat {
            ChatId::Number(id) => Value::from(*id),
            ChatId::Name(name) => Value::from(name.as_str()),
        };
        fields.insert("chat_id".to_owned(), chat);
        if let Some(thread) = self.thread {
            fields.insert("message_thread_id".to_owned(), Value::from(thread));
        }
        if let Some(topic) = self.direct {
            let key = "direct_messages_topic_id";
            fields.insert(key.to_owned(), Value::from(topic));
        }
        if let Some(connection) = &self.business {
            let connection = Value::from(connection.as_str());
            fields.insert("business_connection_id".to_owned(), connection);
        }
        fields
    }
}

/// Only a message of the same chat can be answered there.
fn reply(provider_id: &str, place: &Place) -> Option<i64> {
    let key = MessageKey::parse(provider_id)?;
    let chat = match &place.chat {
        ChatId::Number(id) => id.to_string(),
        ChatId::Name(name) => name.clone(),
    };
    (key.chat == chat && key.business == place.business).then_some(key.message)
}

fn receipt(place: &Place, result: &Value) -> Receipt {
    let message: Message = read(result);
    let chat = match (message.chat.and_then(|chat| chat.id), &place.chat) {
        (Some(id), _) => id.to_string(),
        (None, ChatId::Number(id)) => id.to_string(),
        (None, ChatId::Name(name)) => name.clone(),
    };
    let key = MessageKey {
        business: place.business.clone(),
        chat,
        message: message.message_id.unwrap_or_default(),
    };
    Receipt {
        provider_id: key.id(),
    }
}

/// The handle that Telegram gave to uploaded bytes; `None` when it made something else of them.
fn handle(result: &Value, kind: FileKind) -> Option<String> {
    let file = result.get(kind.name())?;
    let file = match file {
        // Sizes of a photo, the largest last.
        Value::Array(sizes) => sizes.last()?,
        file => file,
    };
    Some(file.get("file_id")?.as_str()?.to_owned())
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Without what could be read as a path or a header.
fn file_name(given: Option<&str>, default: &str) -> String {
    const CHARACTERS: usize = 120;
    let clean = given.and_then(clean_name).unwrap_or_default();
    let clean = clean.replace('"', "");
    let clean = clean.trim();
    let skipped = clean.chars().count().saturating_sub(CHARACTERS);
    // The ending says what it is.
    match clean.chars().skip(skipped).collect::<String>() {
        name if name.is_empty() => default.to_owned(),
        name => name,
    }
}

/// Nothing was sent, since there are no bytes.
fn unread(error: FetchError) -> SendError {
    match error {
        FetchError::Gone { reason } => rejected("media", format!("media is gone: {reason}")),
        FetchError::TooLarge { limit } => rejected(
            "media",
            format!(
                "media is larger than the {} MB that Telegram takes",
                limit / (1024 * 1024)
            ),
        ),
        FetchError::Unavailable { reason, .. } => SendError::NotReady {
            reason: format!("media: {reason}"),
        },
    }
}

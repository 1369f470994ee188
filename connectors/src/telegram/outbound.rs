//! From parts to calls: what to send is planned purely, the rest is thin.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt;
use tributary_bus::{Address, message::Content};

use super::{
    classify::{Class, classify},
    client::{CallError, Client},
    entities,
    wire::{ChatId, Message, ReplyParameters, SendMessage, read},
};
use crate::{Part, Receipt, Scope, SendContext, SendError};

/// Groups that became supergroups, remembered at most; the one call that learns it anew costs little.
const MIGRATED: usize = 10_000;

/// What sending has taught about the bot's chats.
#[derive(Default)]
pub(super) struct Memory {
    /// Old id of a group -> id of the supergroup.
    migrated: Mutex<HashMap<i64, i64>>,
    /// The chat that was told to wait, and until when.
    limited: Mutex<Option<(Address, Instant)>>,
}

/// The call for a part.
///
/// # Errors
/// The part can never be sent.
pub(super) fn to_request(part: &Part, context: &SendContext) -> Result<SendMessage, SendError> {
    let Content::Text(text) = &part.content else {
        return Err(SendError::Rejected {
            code: "content".to_owned(),
            reason: "only text can be sent".to_owned(),
        });
    };
    let to = context.to.as_str();
    let chat_id = match to.parse() {
        Ok(number) => ChatId::Number(number),
        Err(_) if to.starts_with('@') => ChatId::Name(to.to_owned()),
        Err(_) => {
            return Err(SendError::Unreachable {
                code: "address".to_owned(),
                reason: "the address is not a chat id".to_owned(),
            });
        }
    };
    Ok(SendMessage {
        chat_id,
        entities: entities::to_wire(&text.text, &text.entities),
        text: text.text.clone(),
        reply_parameters: context.reply_to.as_deref().and_then(|id| reply(id, to)),
    })
}

/// Only a message of the same chat can be answered there.
fn reply(provider_id: &str, to: &str) -> Option<ReplyParameters> {
    let (chat, message) = provider_id.split_once(':')?;
    (chat == to).then_some(())?;
    Some(ReplyParameters {
        message_id: message.parse().ok()?,
        allow_sending_without_reply: true,
    })
}

/// Sends, at most three times within the deadline: Telegram may ask to leave something out or to use another chat id.
pub(super) async fn send(
    client: &Client,
    memory: &Memory,
    part: &Part,
    context: &SendContext,
) -> Result<Receipt, SendError> {
    let deadline = Instant::now() + context.deadline;
    let mut request = to_request(part, context)?;
    memory.redirect(&mut request);
    for _ in 0..2 {
        match call(client, &request, deadline).await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => match classify(&error) {
                Class::Plain if !request.entities.is_empty() => request.entities.clear(),
                Class::WithoutReply if request.reply_parameters.is_some() => {
                    request.reply_parameters = None;
                }
                Class::Migrated(chat) if request.chat_id != ChatId::Number(chat) => {
                    memory.migrate(&mut request, chat);
                }
                class => return end(class, memory, context),
            },
        }
    }
    match call(client, &request, deadline).await {
        Ok(receipt) => Ok(receipt),
        Err(error) => end(classify(&error), memory, context),
    }
}

async fn call(
    client: &Client,
    request: &SendMessage,
    deadline: Instant,
) -> Result<Receipt, CallError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let result = client.raw("sendMessage", request, left).await?;
    // Telegram said that it was sent; an unreadable result changes nothing about that.
    let result: serde_json::Value = serde_json::from_str(result.get()).unwrap_or_default();
    let message: Message = read(&result);
    let chat = match (message.chat.and_then(|chat| chat.id), &request.chat_id) {
        (Some(id), _) => id.to_string(),
        (None, ChatId::Number(id)) => id.to_string(),
        (None, ChatId::Name(name)) => name.clone(),
    };
    let id = message.message_id.unwrap_or_default();
    Ok(Receipt {
        provider_id: format!("{chat}:{id}"),
    })
}

/// What remains when nothing can be mended.
fn end(class: Class, memory: &Memory, context: &SendContext) -> Result<Receipt, SendError> {
    let unmended = |reason: &str| SendError::Rejected {
        code: "400".to_owned(),
        reason: reason.to_owned(),
    };
    Err(match class {
        Class::Failed(SendError::RateLimited { retry_after, scope }) => {
            memory.limit(context, retry_after, scope)
        }
        Class::Failed(error) => error,
        Class::Success => unmended("Telegram sees no change"),
        Class::Plain => unmended("Telegram cannot read the formatting"),
        Class::WithoutReply => unmended("the message to answer is gone"),
        Class::Migrated(_) => unmended("the group has moved again"),
    })
}

impl Memory {
    fn redirect(&self, request: &mut SendMessage) {
        let migrated = self.migrated.lock().unwrap_or_else(PoisonError::into_inner);
        if let ChatId::Number(old) = request.chat_id
            && let Some(new) = migrated.get(&old)
        {
            request.chat_id = ChatId::Number(*new);
        }
    }

    fn migrate(&self, request: &mut SendMessage, chat: i64) {
        if let ChatId::Number(old) = request.chat_id {
            let mut migrated = self.migrated.lock().unwrap_or_else(PoisonError::into_inner);
            if migrated.len() >= MIGRATED {
                migrated.clear();
            }
            migrated.insert(old, chat);
        }
        request.chat_id = ChatId::Number(chat);
        // A message of the old group is not found in the new one.
        request.reply_parameters = None;
    }

    /// A second chat that is told to wait while the first still waits means that the bot is too fast. A little is added
    /// so that not all come back at once.
    fn limit(
        &self,
        context: &SendContext,
        retry_after: Option<Duration>,
        scope: Scope,
    ) -> SendError {
        let retry_after = retry_after.map(|wait| {
            let most = wait.mul_f64(0.1).min(Duration::from_secs(5));
            wait + most.mul_f64(rand::rng().random::<f64>())
        });
        let now = Instant::now();
        let until = now + retry_after.unwrap_or(Duration::from_secs(1));
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        let another = limited
            .as_ref()
            .is_some_and(|(chat, until)| *chat != context.to && *until > now);
        *limited = Some((context.to.clone(), until));
        let scope = if another { Scope::Account } else { scope };
        SendError::RateLimited { retry_after, scope }
    }
}

//! Everything that is done to what is in the channel already.

use serde_json::{Value, json};

use super::{
    super::{
        address::{MessageKey, Place},
        classify::{Class, classify},
        wire::{ChatId, Object},
    },
    Request, Sender,
    plan::to_edit,
    rejected,
    send::Draft,
};
use crate::{Action, SendError};

/// Messages of one `deleteMessages`, at most.
const DELETED_AT_ONCE: usize = 100;

/// Only persons who write to an account of a business see what was read.
pub(in super::super) fn calls_for(action: &Action) -> bool {
    match action {
        Action::Read { provider_id } => {
            MessageKey::parse(provider_id).is_none_or(|key| key.business.is_some())
        }
        Action::Edit { .. } | Action::Delete { .. } | Action::React { .. } | Action::Typing => true,
    }
}

/// Does it. Every action can be repeated.
pub(in super::super) async fn act(sender: &Sender<'_>, action: &Action) -> Result<(), SendError> {
    match action {
        Action::Edit { parts } => {
            for (provider_id, part) in parts {
                let place = place_of(sender, provider_id).await?;
                let mut request = to_edit(&part.content, &place.0)?;
                let message = Value::from(place.1);
                request.fields.insert("message_id".to_owned(), message);
                call(sender, place.0, request).await?;
            }
            Ok(())
        }
        Action::Delete { provider_ids } => delete(sender, provider_ids).await,
        Action::React {
            provider_id,
            reactions,
        } => {
            let (place, message) = place_of(sender, provider_id).await?;
            if place.business.is_some() {
                return Err(rejected("react", "bots cannot react in business chats"));
            }
            // A bot has one reaction at most: the newest.
            let reactions: Vec<Value> = reactions
                .last()
                .map(|name| reaction(name))
                .into_iter()
                .collect();
            let fields = json!({"message_id": message, "reaction": reactions});
            call(sender, place, Request::new("setMessageReaction", fields)).await
        }
        Action::Typing => {
            let place = sender.place().await?;
            if place.direct.is_some() {
                // Telegram shows nothing of it in the direct messages of a channel.
                return Ok(());
            }
            let request = Request::new("sendChatAction", json!({"action": "typing"}));
            call(sender, place, request).await
        }
        Action::Read { provider_id } => {
            let (place, message) = place_of(sender, provider_id).await?;
            if place.business.is_none() {
                // There the person sees nothing of it: nothing is to be done.
                return Ok(());
            }
            let request = Request::new("readBusinessMessage", json!({"message_id": message}));
            call(sender, place, request).await
        }
    }
}

/// The chat of a message, and its number there.
async fn place_of(sender: &Sender<'_>, provider_id: &str) -> Result<(Place, i64), SendError> {
    let key = MessageKey::parse(provider_id)
        .ok_or_else(|| rejected("message", "it is no message of Telegram"))?;
    let mut place = sender.place().await?;
    place.business = key.business;
    (place.thread, place.direct) = (None, None);
    place.chat = match key.chat.parse() {
        Ok(id) => ChatId::Number(id),
        Err(_) => ChatId::Name(key.chat),
    };
    Ok((place, key.message))
}

async fn call(sender: &Sender<'_>, place: Place, request: Request) -> Result<(), SendError> {
    let mut draft = Draft {
        place,
        reply: None,
        request,
    };
    sender.call(&mut draft).await.map(drop)
}

/// Gone is gone: what is not found any more was deleted.
async fn delete(sender: &Sender<'_>, provider_ids: &[String]) -> Result<(), SendError> {
    let mut chats: Vec<(Place, Vec<i64>)> = Vec::new();
    for provider_id in provider_ids {
        let (place, message) = place_of(sender, provider_id).await?;
        match chats.iter_mut().find(|(known, _)| *known == place) {
            Some((_, messages)) => messages.push(message),
            None => chats.push((place, vec![message])),
        }
    }
    for (place, messages) in chats {
        for messages in messages.chunks(DELETED_AT_ONCE) {
            let fields = deletion(&place, messages);
            let Err(error) = sender.plain(fields.0, &fields.1).await else {
                continue;
            };
            match classify(&error) {
                Class::Absent => {}
                class => sender.end(class).map(drop)?,
            }
        }
    }
    Ok(())
}

fn deletion(place: &Place, messages: &[i64]) -> (&'static str, Object) {
    let (method, request) = match (messages, &place.business) {
        (messages, Some(_)) => ("deleteBusinessMessages", json!({"message_ids": messages})),
        ([message], None) => ("deleteMessage", json!({"message_id": message})),
        (messages, None) => ("deleteMessages", json!({"message_ids": messages})),
    };
    let draft = Draft {
        place: place.clone(),
        reply: None,
        request: Request::new(method, request),
    };
    let mut fields = draft.fields();
    if place.business.is_some() {
        // The connection says which account; the messages are known there.
        fields.remove("chat_id");
    }
    (method, fields)
}

fn reaction(name: &str) -> Value {
    match name.strip_prefix("custom_emoji:") {
        Some(id) => json!({"type": "custom_emoji", "custom_emoji_id": id}),
        None => json!({"type": "emoji", "emoji": name}),
    }
}

//! Who wrote, and what surrounds a message.

use serde_json::Value;
use tributary_base::text::is_blank;
use tributary_bus::message::{Identifier, MessageContext, Profile};

use super::{
    super::{
        address::{Place, is_private},
        wire::{Chat, ForwardOrigin, Message, Object, Story, User},
    },
    content::{international, is_own},
    kinds,
};

/// The contact of a message: the person of a private chat, else the group or channel.
pub(super) fn contact_of(message: &Message, chat: &Chat) -> Profile {
    if let Some(person) = writer_to_channel(message) {
        return self::person(person);
    }
    let mut profile = contact(chat, message.from.as_ref());
    if is_private(chat)
        && is_own(message)
        && let Some(phone) = message
            .contact
            .as_ref()
            .and_then(|contact| contact.phone_number.as_deref())
    {
        profile.identifiers.push(Identifier {
            kind: "phone".to_owned(),
            value: international(phone),
            scope: None,
            verified: true,
        });
    }
    profile
}

/// Who writes to a channel in this topic of its direct messages.
pub(super) fn writer_to_channel(message: &Message) -> Option<&User> {
    message.direct_messages_topic.as_ref()?.user.as_ref()
}

/// The contact of a chat in which `from` did something.
pub(super) fn contact(chat: &Chat, from: Option<&User>) -> Profile {
    if chat.id.is_none() {
        return from.map(person).unwrap_or_default();
    }
    if !is_private(chat) {
        return group(chat);
    }
    // In a business chat the owner writes too; the contact is the other one.
    match from.filter(|user| user.id.is_none() || user.id == chat.id) {
        Some(user) => {
            let mut profile = person(user);
            profile.name = profile.name.or_else(|| name_of(chat));
            profile.username = profile.username.or_else(|| chat.username.clone());
            profile
        }
        None => Profile {
            name: name_of(chat),
            username: chat.username.clone(),
            identifiers: chat.id.map(telegram_user).into_iter().collect(),
            ..Profile::default()
        },
    }
}

fn person(user: &User) -> Profile {
    Profile {
        name: full_name(user.first_name.as_ref(), user.last_name.as_ref()),
        locale: user.language_code.clone(),
        username: user.username.clone(),
        identifiers: user.id.map(telegram_user).into_iter().collect(),
        ..Profile::default()
    }
}

fn group(chat: &Chat) -> Profile {
    Profile {
        name: name_of(chat),
        username: chat.username.clone(),
        ..Profile::default()
    }
}

/// Means one person at every bot.
fn telegram_user(id: i64) -> Identifier {
    Identifier {
        kind: "telegram_user".to_owned(),
        value: id.to_string(),
        scope: None,
        verified: true,
    }
}

fn name_of(chat: &Chat) -> Option<String> {
    let title = chat.title.clone().filter(|title| !is_blank(title));
    title.or_else(|| full_name(chat.first_name.as_ref(), chat.last_name.as_ref()))
}

/// `None` when there is nothing to read.
pub(super) fn full_name(first: Option<&String>, last: Option<&String>) -> Option<String> {
    let parts: Vec<&str> = [first, last]
        .into_iter()
        .flatten()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The message that is answered, when it is one of the same chat. In a forum every message answers the one that made
/// its topic; that says nothing.
pub(super) fn reply_to(message: &Message, place: &Place) -> Option<String> {
    let answered = message.reply_to_message.as_ref()?.message_id;
    let opens_topic =
        message.is_topic_message == Some(true) && answered == message.message_thread_id;
    place.message(answered.filter(|_| !opens_topic))
}

/// What surrounds a message; `object` is its JSON.
pub(super) fn around(object: &Object, message: &Message, chat: &Chat) -> MessageContext {
    let mut context = MessageContext {
        quote: message.quote.as_ref().and_then(|quote| quote.text.clone()),
        group: message.media_group_id.clone(),
        forwarded_from: message.forward_origin.as_ref().map(written_by),
        sender: sender(message, chat),
        ..MessageContext::default()
    };
    // An answer to a message of another chat: there is no id of ours for it.
    if let Some(external) = &message.external_reply {
        let origin = external.origin.as_ref().map(written_by);
        let origin = origin.unwrap_or_else(|| "another chat".to_owned());
        let content = object.get("external_reply").and_then(Value::as_object);
        let words = match content.and_then(kinds::known_words) {
            Some(content) => format!("{origin}: {content}"),
            None => origin,
        };
        context
            .extra
            .insert("replies_to_other_chat".to_owned(), Value::from(words));
    }
    for (key, words) in [
        (
            "replies_to_story",
            message.reply_to_story.as_ref().map(story),
        ),
        ("replies_to_part", answered_part(object, message)),
    ] {
        if let Some(words) = words {
            context.extra.insert(key.to_owned(), Value::from(words));
        }
    }
    context
}

/// A story in words; there is no message of ours for it.
fn story(story: &Story) -> String {
    let poster = story.chat.as_ref().and_then(name_of);
    let poster = poster.unwrap_or_else(|| "somebody".to_owned());
    match story.id {
        Some(id) => format!("{poster} (story {id})"),
        None => poster,
    }
}

/// The task of a checklist or the option of a poll that is answered.
fn answered_part(object: &Object, message: &Message) -> Option<String> {
    let (list, key, wanted) = match (
        message.reply_to_checklist_task_id,
        &message.reply_to_poll_option_id,
    ) {
        (Some(task), _) => (["checklist", "tasks"], "id", Value::from(task)),
        (None, Some(option)) => {
            let option = Value::from(option.as_str());
            (["poll", "options"], "persistent_id", option)
        }
        (None, None) => return None,
    };
    let answered = object.get("reply_to_message");
    let parts = answered.and_then(|answered| answered.get(list[0])?.get(list[1])?.as_array());
    let part = parts.and_then(|parts| parts.iter().find(|part| part.get(key) == Some(&wanted)));
    let text = part.and_then(|part| part.get("text")?.as_str());
    Some(text.map_or_else(|| wanted.to_string(), str::to_owned))
}

/// Who wrote in a group or channel; `None` where it is the contact.
pub(super) fn sender(message: &Message, chat: &Chat) -> Option<Profile> {
    let from = message.from.as_ref().and_then(|from| from.id);
    let is_contact = writer_to_channel(message).is_some_and(|user| user.id == from);
    if is_private(chat) || is_contact {
        return None;
    }
    // An anonymous administrator, or somebody who writes as a channel: `from` is a stand-in then.
    if let Some(sender) = &message.sender_chat {
        let mut profile = group(sender);
        profile.name = message.author_signature.clone().or(profile.name);
        return Some(profile);
    }
    message.from.as_ref().map(person)
}

/// The sender of something that is no message.
pub(super) fn actor(from: Option<&User>, chat: &Chat) -> Option<Profile> {
    from.filter(|_| !is_private(chat)).map(person)
}

/// In words for a person.
fn written_by(origin: &ForwardOrigin) -> String {
    let user = origin
        .sender_user
        .as_ref()
        .and_then(|user| full_name(user.first_name.as_ref(), user.last_name.as_ref()));
    let chat = origin.sender_chat.as_ref().or(origin.chat.as_ref());
    let named = user
        .or_else(|| origin.sender_user_name.clone())
        .or_else(|| chat.and_then(name_of));
    match (named, origin.author_signature.as_deref()) {
        (Some(name), Some(author)) => format!("{name} ({author})"),
        (Some(name), None) => name,
        (None, Some(author)) => author.to_owned(),
        (None, None) => "somebody".to_owned(),
    }
}

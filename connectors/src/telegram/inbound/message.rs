//! Messages, their edits and their deletions.

use std::sync::LazyLock;

use serde_json::Map;
use tributary_bus::{
    MessageId,
    message::{
        Attribution, ContactJoined, Content, Inbound, JoinReason, MessageDeleted, MessageEdited,
        Origin, Profile, SentBy,
    },
};

use super::{
    super::{
        address::{Place, is_private},
        wire::{Chat, ChatId, DeletedBusinessMessages, Message, Object, Update, read},
    },
    Move, Told, Translated, Translator, content, context,
};

impl Translator<'_> {
    /// A message in any chat.
    pub(super) fn message(self, update: Update<'_>) -> Option<Translated> {
        let message: Message = read(update.body);
        let chat = message.chat.as_ref()?;
        let place = Place::of(&message)?;
        if self.is_echo(&message) {
            return Some(Translated::default());
        }
        let origin = self.origin(&place, message.date);
        let contact = context::contact_of(&message, chat);
        let mut events = Vec::with_capacity(2);
        events.extend(self.started(&message, chat, &origin, &contact));
        events.push(
            self.told(Told {
                origin,
                provider_id: place
                    .message(message.message_id)
                    .unwrap_or_else(|| self.update_name(update)),
                contact,
                content: content_of(update, &message),
                reply_to: context::reply_to(&message, &place),
                sent_by: sent_by(&message, &place),
                context: context::around(object_of(update), &message, chat),
            }),
        );
        Some(Translated {
            moved: moved(&message),
            ..events.into()
        })
    }

    /// A change of a message. It can come without a visible change, and before the message itself.
    pub(super) fn edited(self, update: Update<'_>) -> Option<Inbound> {
        let message: Message = read(update.body);
        let place = Place::of(&message)?;
        let provider_id = place.message(message.message_id)?;
        Some(Inbound::Edited(MessageEdited {
            origin: self.origin(&place, message.edit_date.or(message.date)),
            message_id: MessageId::derived(&self.reader.channel, &provider_id),
            content: content_of(update, &message),
            extra: Map::new(),
        }))
    }

    /// Taken back in a business chat, by either side; one event for each message.
    pub(super) fn deleted(self, update: Update<'_>) -> Option<Vec<Inbound>> {
        let deleted: DeletedBusinessMessages = read(update.body);
        let place = Place {
            business: Some(deleted.business_connection_id?),
            ..Place::chat(deleted.chat?.id?)
        };
        let mut origin = self.origin(&place, None);
        let mut events = Vec::new();
        for message in deleted.message_ids? {
            let Some(provider_id) = place.message(Some(message)) else {
                continue;
            };
            events.push(Inbound::Deleted(MessageDeleted {
                origin: origin.clone(),
                message_id: MessageId::derived(&self.reader.channel, &provider_id),
                extra: Map::new(),
            }));
            // Once is enough.
            origin.raw = None;
        }
        (!events.is_empty()).then_some(events)
    }

    /// `/start` in the private chat; in a group only with the payload of a link, since anybody writes commands there.
    fn started(
        self,
        message: &Message,
        chat: &Chat,
        origin: &Origin,
        contact: &Profile,
    ) -> Option<Inbound> {
        let payload = start_payload(message.text.as_deref()?)?;
        let wanted = if is_private(chat) {
            message.business_connection_id.is_none()
        } else {
            !payload.is_empty()
        };
        if !wanted {
            return None;
        }
        let payload = (!payload.is_empty()).then(|| payload.to_owned());
        Some(Inbound::Joined(Box::new(ContactJoined {
            origin: Origin {
                raw: None,
                ..origin.clone()
            },
            contact: contact.clone(),
            reason: JoinReason::Started,
            attribution: Attribution {
                source: payload.as_ref().map(|_| "deep_link".to_owned()),
                payload: payload.clone(),
                ..Attribution::default()
            },
            payload,
            extra: Map::new(),
        })))
    }

    /// What we sent for the owner of a business account comes back to us.
    fn is_echo(self, message: &Message) -> bool {
        let sender = message.sender_business_bot.as_ref();
        sender.and_then(|bot| bot.id) == Some(self.reader.bot)
    }
}

/// What a message says.
fn content_of(update: Update<'_>, message: &Message) -> Content {
    content::of(object_of(update), message)
}

fn object_of(update: Update<'_>) -> &Object {
    static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);
    update.body.as_object().unwrap_or(&EMPTY)
}

/// A group that becomes a supergroup with this message, told on either side.
pub(super) fn moved(message: &Message) -> Option<Move> {
    let chat = message.chat.as_ref()?.id?;
    match (message.migrate_to_chat_id, message.migrate_from_chat_id) {
        (Some(to), _) => Some(Move { from: chat, to }),
        (None, Some(from)) => Some(Move { from, to: chat }),
        (None, None) => None,
    }
}

/// In a business chat, which is the customer's, everybody else is the owner of the account (or another
/// bot of theirs); in the direct messages of a channel everybody else writes for the channel.
fn sent_by(message: &Message, place: &Place) -> SentBy {
    let from = message.from.as_ref().and_then(|from| from.id);
    let contact = match place.direct {
        Some(_) => context::writer_to_channel(message).and_then(|user| user.id),
        None => match place.chat {
            ChatId::Number(id) if place.business.is_some() => Some(id),
            ChatId::Number(_) | ChatId::Name(_) => None,
        },
    };
    match (from, contact) {
        (Some(from), Some(contact)) if from != contact => SentBy::Account,
        _ => SentBy::Contact,
    }
}

/// The payload of `/start` (possibly empty); `None` when the text is no `/start`.
fn start_payload(text: &str) -> Option<&str> {
    let (command, payload) = match text.split_once(char::is_whitespace) {
        Some((command, payload)) => (command, payload.trim()),
        None => (text, ""),
    };
    let command = command.split('@').next()?;
    (command == "/start").then_some(payload)
}

//! What people do without writing: press buttons, react, block, add the bot to a group, connect their account.

use serde_json::{Map, Value};
use tributary_bus::message::{
    Attribution, ChoiceReply, ContactJoined, ContactLeft, Content, Inbound, JoinReason,
    LeaveReason, MessageContext, MessageReacted, SentBy,
};

use super::{
    super::{
        address::{Place, is_private},
        wire::{
            AnswerCallbackQuery, BusinessConnection, CallbackQuery, Chat, ChatMember,
            ChatMemberUpdated, MessageReaction, Update, read,
        },
    },
    Told, Translated, Translator, context, unsupported,
};

impl Translator<'_> {
    /// A pressed button. The message it hangs on may be gone (`date` 0) or be missing.
    pub(super) fn callback(self, update: Update<'_>) -> Option<Translated> {
        let query: CallbackQuery = read(update.body);
        let id = query.id?;
        let message = query.message.unwrap_or_default();
        let from = query.from.unwrap_or_default();
        let place = Place::of(&message).or_else(|| Some(Place::chat(from.id?)))?;
        let empty = Chat::default();
        let chat = message.chat.as_ref().unwrap_or(&empty);
        let title = query
            .data
            .as_deref()
            .and_then(|data| label(message.reply_markup.as_ref(), data));
        let content = match query.data {
            Some(data) => Content::ChoiceReply(ChoiceReply {
                title: title.map(str::to_owned),
                id: data,
                extra: Map::new(),
            }),
            None => {
                let game = query.game_short_name.as_deref().unwrap_or("a button");
                unsupported(update.kind, format!("pressed: {game}"))
            }
        };
        let event = self.told(Told {
            // The press itself has no date.
            origin: self.origin(&place, None),
            provider_id: format!("callback:{id}"),
            contact: context::contact(chat, Some(&from)),
            content,
            reply_to: place.message(message.message_id),
            sent_by: SentBy::Contact,
            context: MessageContext {
                sender: context::actor(Some(&from).filter(|_| chat.id.is_some()), chat),
                ..MessageContext::default()
            },
        });
        Some(Translated {
            events: vec![event],
            answer: answer(update),
            ..Translated::default()
        })
    }

    /// All reactions that somebody has on a message now. The update does not tell the topic of a forum.
    pub(super) fn reaction(self, update: Update<'_>) -> Option<Inbound> {
        let reaction: MessageReaction = read(update.body);
        let place = Place::chat(reaction.chat?.id?);
        let provider_id = place.message(reaction.message_id)?;
        let reactions = reaction.new_reaction?;
        Some(Inbound::Reacted(MessageReacted {
            origin: self.origin(&place, reaction.date),
            provider_id,
            reactions: reactions.iter().map(reaction_name).collect(),
            extra: Map::new(),
        }))
    }

    /// A person blocked or unblocked the bot, or a group took it in or removed it.
    pub(super) fn standing(self, update: Update<'_>) -> Option<Inbound> {
        let change: ChatMemberUpdated = read(update.body);
        let chat = change.chat.as_ref()?;
        let origin = self.origin(&Place::chat(chat.id?), change.date);
        let before = change.old_chat_member.unwrap_or_default();
        let after = change.new_chat_member?;
        let was_in = is_in(&before).unwrap_or(false);
        let extra = Map::new();
        if !is_in(&after)? {
            return Some(Inbound::Left(ContactLeft {
                origin,
                reason: match after.status.as_deref() {
                    Some("left") => LeaveReason::Unsubscribed,
                    _ => LeaveReason::Blocked,
                },
                extra,
            }));
        }
        let reason = if !is_private(chat) {
            // A change of rights is no news.
            if was_in {
                return None;
            }
            JoinReason::Subscribed
        } else if before.status.as_deref() == Some("kicked") {
            JoinReason::Unblocked
        } else {
            JoinReason::Started
        };
        Some(Inbound::Joined(Box::new(ContactJoined {
            origin,
            contact: context::contact(chat, change.from.as_ref()),
            reason,
            payload: None,
            attribution: Attribution::default(),
            extra,
        })))
    }

    /// Somebody lets the bot answer for their own account. There is no event for it: it is told in words.
    pub(super) fn connection(self, update: Update<'_>) -> Option<Inbound> {
        let connection: BusinessConnection = read(update.body);
        let user = connection.user.unwrap_or_default();
        let place = Place::chat(connection.user_chat_id.or(user.id)?);
        let may_reply = connection
            .rights
            .is_some_and(|rights| rights.can_reply == Some(true));
        let words = match (connection.is_enabled, may_reply) {
            (Some(false), _) => "disconnected their business account from the bot",
            (_, true) => "connected their business account to the bot, which may answer for it",
            (_, false) => {
                "connected their business account to the bot, which may read it and not answer"
            }
        };
        Some(self.told(Told {
            origin: self.origin(&place, connection.date),
            provider_id: self.update_name(update),
            contact: context::contact(&Chat::default(), Some(&user)),
            content: unsupported(update.kind, words),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
        }))
    }
}

/// What makes a pressed button stop spinning.
pub(super) fn answer(update: Update<'_>) -> Option<AnswerCallbackQuery> {
    let query: CallbackQuery = read(update.body);
    Some(AnswerCallbackQuery {
        callback_query_id: query.id?,
    })
}

/// Whether the bot is in a chat; `None`: a status that this version does not know.
fn is_in(member: &ChatMember) -> Option<bool> {
    match member.status.as_deref()? {
        "creator" | "administrator" | "member" => Some(true),
        "restricted" => Some(member.is_member == Some(true)),
        "left" | "kicked" => Some(false),
        _ => None,
    }
}

/// The label of the button with this data.
fn label<'a>(markup: Option<&'a Value>, data: &str) -> Option<&'a str> {
    let rows = markup?.get("inline_keyboard")?.as_array()?;
    rows.iter()
        .filter_map(Value::as_array)
        .flatten()
        .find(|button| button.get("callback_data").and_then(Value::as_str) == Some(data))?
        .get("text")?
        .as_str()
}

/// The emoji, or what stands for it.
fn reaction_name(reaction: &Value) -> String {
    let text = |key: &str| reaction.get(key).and_then(Value::as_str);
    match text("type") {
        Some("emoji") => text("emoji").unwrap_or("emoji").to_owned(),
        Some("custom_emoji") => {
            format!(
                "custom_emoji:{}",
                text("custom_emoji_id").unwrap_or_default()
            )
        }
        Some(other) => other.to_owned(),
        None => "unknown".to_owned(),
    }
}

//! Names for what happened in a channel, which repeat when it is reported again.

use sha2::{Digest, Sha256};
use tributary_bus::{
    ChannelId, EventId, Payload,
    message::{
        ChannelHealth, ContactJoined, ContactLeft, ContactRead, ContactTyping, Inbound,
        MessageChangeFailed, MessageDeleted, MessageEdited, MessageMedia, MessageReacted,
        MessageStatus, Origin,
    },
};

/// The id of an event: the same for the same thing however often it is reported, another for anything else.
///
/// Messages have the id of the message. Everything else is named by what it says, and most of it by
/// the provider's own name of the event ([`Origin::event`]), or by when it happened where the
/// provider gives no name: then its times must be finer than people act, since the same within one
/// tick counts once. Statuses, deletions and media leave both out: the same is the same news
/// whenever it is reported; so does what was read, which is named by how far.
pub fn event_id(channel: &ChannelId, event: &Inbound) -> EventId {
    let channel = channel.as_str();
    let origin = event.origin();
    let address = origin.address.as_str();
    let at = moment(origin);
    match event {
        Inbound::Received(message) => message.message_id.into(),
        Inbound::Edited(edit) => {
            let (message, content) = (edit.message_id.to_string(), digest(&edit.content));
            EventId::derived(&[channel, MessageEdited::TYPE, &message, &at, &content])
        }
        Inbound::Deleted(deletion) => {
            let message = deletion.message_id.to_string();
            EventId::derived(&[channel, MessageDeleted::TYPE, &message])
        }
        Inbound::Reacted(reaction) => {
            let reactions = digest(&reaction.reactions);
            let id = reaction.provider_id.as_str();
            EventId::derived(&[channel, MessageReacted::TYPE, address, id, &at, &reactions])
        }
        Inbound::Status(status) => {
            let message = status.message_id.to_string();
            let news = digest(&(
                status.status,
                &status.provider_ids,
                &status.failure,
                status.uncertain,
            ));
            EventId::derived(&[channel, MessageStatus::TYPE, &message, &news])
        }
        Inbound::Media(media) => {
            let (message, index) = (media.message_id.to_string(), media.index.to_string());
            let news = digest(&media.media);
            EventId::derived(&[channel, MessageMedia::TYPE, &message, &index, &news])
        }
        Inbound::ChangeFailed(failed) => {
            let message = failed.message_id.to_string();
            let news = digest(&(failed.change, &failed.failure, failed.seq));
            EventId::derived(&[channel, MessageChangeFailed::TYPE, &message, &at, &news])
        }
        Inbound::Joined(joined) => {
            let how = digest(&(joined.reason, &joined.payload));
            EventId::derived(&[channel, ContactJoined::TYPE, address, &at, &how])
        }
        Inbound::Left(left) => {
            let how = digest(&left.reason);
            EventId::derived(&[channel, ContactLeft::TYPE, address, &at, &how])
        }
        Inbound::Typing(_) => EventId::derived(&[channel, ContactTyping::TYPE, address, &at]),
        Inbound::Read(read) => {
            let up_to = read.up_to.timestamp_millis().to_string();
            EventId::derived(&[channel, ContactRead::TYPE, address, &up_to])
        }
        Inbound::Health(health) => {
            let state = health.state.as_str();
            let news = digest(&(&health.reason, &health.action, health.reason_since));
            EventId::derived(&[channel, ChannelHealth::TYPE, &at, state, &news])
        }
    }
}

/// What tells an event from others that say the same. The two kinds of names cannot meet.
fn moment(origin: &Origin) -> String {
    match &origin.event {
        Some(name) => format!("event {name}"),
        None => origin.occurred_at.timestamp_millis().to_string(),
    }
}

/// SHA-256 of the value as JSON, in hex.
fn digest(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, Utc};
    use serde_json::Map;
    use tributary_bus::{
        Address, MessageId,
        message::{
            Attribution, Content, Failure, FailureCode, HealthState, JoinReason, LeaveReason,
            Media, MediaState, MessageChange, MessageContext, MessageReceived, Origin, Profile,
            Raw, SentBy, Status,
        },
    };

    use super::*;

    fn origin(second: i64) -> Origin {
        Origin {
            channel_id: ChannelId::from("shop"),
            address: Address::from("7"),
            occurred_at: DateTime::<Utc>::from_timestamp(second, 0).expect("a time"),
            event: None,
            raw: None,
        }
    }

    fn message(provider_id: &str) -> MessageId {
        MessageId::derived(&ChannelId::from("shop"), provider_id)
    }

    fn edited(second: i64, text: &str) -> Inbound {
        Inbound::Edited(MessageEdited {
            origin: origin(second),
            message_id: message("7:1"),
            content: Content::text(text),
            extra: Map::new(),
        })
    }

    fn status(second: i64, status: Status, failure: Option<FailureCode>) -> Inbound {
        Inbound::Status(MessageStatus {
            origin: origin(second),
            message_id: message("7:2"),
            status,
            provider_ids: Vec::new(),
            failure: failure.map(|code| Failure {
                code,
                reason: "no".to_owned(),
            }),
            uncertain: false,
            degraded: Vec::new(),
            extra: Map::new(),
        })
    }

    fn joined(second: i64, payload: Option<&str>) -> Inbound {
        Inbound::Joined(Box::new(ContactJoined {
            origin: origin(second),
            contact: Profile::default(),
            reason: JoinReason::Started,
            payload: payload.map(str::to_owned),
            attribution: Attribution::default(),
            extra: Map::new(),
        }))
    }

    fn reacted(second: i64, reactions: &[&str]) -> Inbound {
        Inbound::Reacted(MessageReacted {
            origin: origin(second),
            provider_id: "7:1".to_owned(),
            reactions: reactions.iter().map(ToString::to_string).collect(),
            extra: Map::new(),
        })
    }

    fn received(raw: Option<Raw>) -> Inbound {
        Inbound::Received(Box::new(MessageReceived {
            origin: Origin { raw, ..origin(1) },
            message_id: message("7:1"),
            provider_id: "7:1".to_owned(),
            contact: Profile::default(),
            content: Content::text("hello"),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
            replayed: false,
            extra: Map::new(),
        }))
    }

    fn different() -> Vec<Inbound> {
        let left = |second| {
            Inbound::Left(ContactLeft {
                origin: origin(second),
                reason: LeaveReason::Blocked,
                extra: Map::new(),
            })
        };
        let deleted = |id| {
            Inbound::Deleted(MessageDeleted {
                origin: origin(1),
                message_id: message(id),
                extra: Map::new(),
            })
        };
        let typing = |second| {
            Inbound::Typing(ContactTyping {
                origin: origin(second),
                extra: Map::new(),
            })
        };
        let read = |second| {
            Inbound::Read(ContactRead {
                origin: origin(9),
                up_to: origin(second).occurred_at,
                extra: Map::new(),
            })
        };
        let health = |state: HealthState, reason: &str, action: Option<&str>, second: i64| {
            Inbound::Health(ChannelHealth {
                origin: origin(1),
                state,
                reason: reason.to_owned(),
                action: action.map(str::to_owned),
                reason_since: DateTime::from_timestamp(second, 0),
                extra: Map::new(),
            })
        };
        let media = |index, state| {
            Inbound::Media(Box::new(MessageMedia {
                origin: origin(1),
                message_id: message("7:1"),
                index,
                media: Media {
                    state,
                    ..Media::default()
                },
                extra: Map::new(),
            }))
        };
        let refused = |change| {
            Inbound::ChangeFailed(MessageChangeFailed {
                origin: origin(1),
                message_id: message("7:1"),
                change,
                failure: Failure {
                    code: FailureCode::Rejected,
                    reason: "no".to_owned(),
                },
                seq: None,
                extra: Map::new(),
            })
        };
        vec![
            received(None),
            edited(1, "one"),
            edited(1, "two"),
            edited(2, "one"),
            deleted("7:1"),
            deleted("7:2"),
            reacted(1, &["👍"]),
            reacted(1, &[]),
            reacted(2, &["👍"]),
            status(1, Status::Sent, None),
            status(1, Status::Delivered, None),
            status(1, Status::Failed, Some(FailureCode::Rejected)),
            status(1, Status::Failed, Some(FailureCode::Uncertain)),
            joined(1, None),
            joined(1, Some("order")),
            joined(2, None),
            left(1),
            left(2),
            typing(1),
            typing(2),
            read(1),
            read(2),
            health(HealthState::Ok, "because", None, 1),
            health(HealthState::Down, "because", None, 1),
            health(HealthState::Down, "for another reason", None, 1),
            health(HealthState::Down, "because", Some("call them"), 1),
            health(HealthState::Down, "because", None, 2),
            media(0, MediaState::Ready),
            media(1, MediaState::Ready),
            media(0, MediaState::Failed),
            refused(MessageChange::Edit),
            refused(MessageChange::Delete),
        ]
    }

    #[test]
    fn different_things_have_different_ids() {
        let all = different();
        let shop: BTreeSet<EventId> = all
            .iter()
            .map(|event| event_id(&ChannelId::from("shop"), event))
            .collect();
        assert_eq!(shop.len(), all.len());
        let again: BTreeSet<EventId> = different()
            .iter()
            .map(|event| event_id(&ChannelId::from("shop"), event))
            .collect();
        assert_eq!(shop, again, "the same things have the same ids");
        let elsewhere = different()
            .iter()
            .skip(1)
            .filter(|event| shop.contains(&event_id(&ChannelId::from("other"), event)))
            .count();
        assert_eq!(elsewhere, 0);
    }

    #[test]
    fn how_and_when_something_is_reported_again_changes_nothing() {
        let shop = ChannelId::from("shop");
        let raw = Raw {
            media_type: "application/json".to_owned(),
            body: "{}".to_owned(),
        };
        for (one, other) in [
            (received(None), received(Some(raw))),
            (
                status(1, Status::Sent, None),
                status(60, Status::Sent, None),
            ),
        ] {
            assert_eq!(event_id(&shop, &one), event_id(&shop, &other));
        }
    }
}

//! From an integrator's events to normalized ones. Pure.

use chrono::{DateTime, Datelike, Utc};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json, value::RawValue};
use tributary_base::outgoing::Guard;
use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{
        Carousel, ChoiceReply, Choices, ContactCard, ContactJoined, ContactLeft, ContactRead,
        ContactTyping, Content, Email, Failure, FailureCode, Inbound, Location, Media,
        MediaContent, MediaState, MessageContext, MessageDeleted, MessageEdited, MessageReacted,
        MessageReceived, Origin, Profile, Raw, Status, Sticker, Template, Text, Unsupported,
    },
};
use url::Url;

use super::wire::{
    Delete, Edit, Event, Joined, Left, Message, Messages, Problem, Reaction, Read, ReportedStatus,
    StatusReport, Statuses, Tagged, Typing,
};
use crate::Receipted;

/// Events or statuses of one request.
const LONGEST_LIST: usize = 1000;
/// Bytes of an id or an address.
const LONGEST_ID: usize = 256;
/// Characters of a reason that is kept.
const LONGEST_REASON: usize = 500;
/// Under which name fields that we do not know are kept in the normalized event: apart, so that none can pass for a
/// field of ours.
const REST: &str = "custom";

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The body as a whole.
    Body(String),
    /// Each bad event or status.
    Problems(Vec<Problem>),
}

/// Whose events these are, and which links may be followed.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub channel: ChannelId,
    pub guard: Guard,
}

impl Reader {
    /// All events of a request, or what is wrong with each bad one.
    pub(super) fn to_events(&self, body: &[u8]) -> Result<Vec<Inbound>, Refusal> {
        let messages: Messages<'_> = whole(body)?;
        each(&messages.events, |raw| self.to_event(raw.get()))
    }

    /// One event, as it was posted or stored.
    pub(super) fn to_event(&self, raw: &str) -> Result<Inbound, String> {
        let event: Event = serde_json::from_str(raw).map_err(|error| told(&error))?;
        check_id("id", &event.id)?;
        check_id("from.address", &event.from.address)?;
        check_time("at", event.at)?;
        let origin = Origin {
            channel_id: self.channel.clone(),
            address: Address(event.from.address.clone()),
            occurred_at: event.at,
            event: Some(event.id.clone()),
            raw: Some(Raw {
                media_type: "application/json".to_owned(),
                body: raw.to_owned(),
            }),
        };
        let Event { id, from, what, .. } = event;
        let Tagged { kind, fields } = what;
        Ok(match kind.as_str() {
            "message" => self.message(id, from.profile, fields, origin)?,
            "edit" => {
                let edit: Edit = fit(fields)?;
                check_id("message", &edit.message)?;
                Inbound::Edited(MessageEdited {
                    message_id: MessageId::derived(&self.channel, &edit.message),
                    content: self.content(edit.content)?,
                    extra: kept(edit.rest),
                    origin,
                })
            }
            "delete" => {
                let delete: Delete = fit(fields)?;
                check_id("message", &delete.message)?;
                Inbound::Deleted(MessageDeleted {
                    message_id: MessageId::derived(&self.channel, &delete.message),
                    extra: kept(delete.rest),
                    origin,
                })
            }
            "reaction" => {
                let reaction: Reaction = fit(fields)?;
                check_id("message", &reaction.message)?;
                Inbound::Reacted(MessageReacted {
                    provider_id: reaction.message,
                    reactions: reaction.reactions,
                    extra: kept(reaction.rest),
                    origin,
                })
            }
            "joined" | "left" => passage(&kind, fields, from.profile, origin)?,
            "typing" | "read" => presence(&kind, fields, origin)?,
            other => return Err(format!("type: {other:?} is none of {TYPES}")),
        })
    }

    fn message(
        &self,
        id: String,
        contact: Profile,
        fields: Map<String, Value>,
        origin: Origin,
    ) -> Result<Inbound, String> {
        let message: Message = fit(fields)?;
        check_reply(message.reply_to.as_deref())?;
        Ok(Inbound::Received(Box::new(MessageReceived {
            message_id: MessageId::derived(&self.channel, &id),
            provider_id: id,
            contact,
            content: self.content(message.content)?,
            reply_to: message.reply_to,
            sent_by: message.sent_by,
            context: MessageContext {
                attribution: message.attribution,
                ..MessageContext::default()
            },
            replayed: false,
            extra: kept(message.rest),
            origin,
        })))
    }

    /// A type that we do not know is carried whole; one that we know must fit.
    fn content(&self, fields: Map<String, Value>) -> Result<Content, String> {
        let kind = match fields.get("type") {
            Some(Value::String(kind)) if !kind.is_empty() => kind.clone(),
            Some(_) | None => return Err("content.type: missing".to_owned()),
        };
        let value = Value::Object(fields);
        let mut content: Content =
            serde_json::from_value(value.clone()).map_err(|error| told(&error))?;
        if matches!(content, Content::Other(_)) {
            misfit(&kind, value)?;
        }
        for media in content.media_mut() {
            self.to_fetch(media)?;
        }
        Ok(content)
    }

    /// Media comes by link, and is fetched as soon as the message is on its way.
    fn to_fetch(&self, media: &mut Media) -> Result<(), String> {
        let link = media.url.take().ok_or("content.media.url: missing")?;
        let url = Url::parse(&link).map_err(|error| format!("content.media.url: {error}"))?;
        self.guard
            .check(&url)
            .map_err(|refused| format!("content.media.url: {refused}"))?;
        media.state = MediaState::Pending;
        media.source = Some(url.into());
        // Ours to say, once the bytes are here.
        media.media_id = None;
        media.sha256 = None;
        media.failure = None;
        Ok(())
    }
}

const TYPES: &str = "message, edit, delete, reaction, joined, left, typing, read";

fn passage(
    kind: &str,
    fields: Map<String, Value>,
    contact: Profile,
    origin: Origin,
) -> Result<Inbound, String> {
    if kind == "left" {
        let left: Left = fit(fields)?;
        return Ok(Inbound::Left(ContactLeft {
            reason: left.reason,
            extra: kept(left.rest),
            origin,
        }));
    }
    let joined: Joined = fit(fields)?;
    Ok(Inbound::Joined(Box::new(ContactJoined {
        contact,
        reason: joined.reason,
        payload: joined.payload,
        attribution: joined.attribution,
        extra: kept(joined.rest),
        origin,
    })))
}

fn presence(kind: &str, fields: Map<String, Value>, origin: Origin) -> Result<Inbound, String> {
    if kind == "typing" {
        let typing: Typing = fit(fields)?;
        return Ok(Inbound::Typing(ContactTyping {
            extra: kept(typing.rest),
            // It passes; nobody reads it again.
            origin: Origin {
                raw: None,
                ..origin
            },
        }));
    }
    let read: Read = fit(fields)?;
    let up_to = read.up_to.unwrap_or(origin.occurred_at);
    check_time("up_to", up_to)?;
    Ok(Inbound::Read(ContactRead {
        up_to,
        extra: kept(read.rest),
        origin,
    }))
}

/// All statuses of a request, or what is wrong with each bad one.
pub(super) fn to_receipts(body: &[u8], now: DateTime<Utc>) -> Result<Vec<Receipted>, Refusal> {
    let statuses: Statuses<'_> = whole(body)?;
    each(&statuses.statuses, |raw| {
        let report: StatusReport = serde_json::from_str(raw.get()).map_err(|error| told(&error))?;
        check_id("id", &report.id)?;
        let at = report.at.unwrap_or(now);
        check_time("at", at)?;
        let status = match report.status {
            ReportedStatus::Delivered => Status::Delivered,
            ReportedStatus::Read => Status::Read,
            ReportedStatus::Failed => Status::Failed,
        };
        let failure = (report.status == ReportedStatus::Failed).then(|| Failure {
            code: match report.code.as_deref() {
                Some("recipient") => FailureCode::Unreachable,
                Some(_) | None => FailureCode::Rejected,
            },
            reason: reason(report.reason.as_deref(), "the system reported a failure"),
        });
        Ok(Receipted {
            provider_id: report.id,
            status,
            at,
            failure,
        })
    })
}

/// A reason of the other side for a person, bounded; `otherwise` when there is none.
pub(super) fn reason(given: Option<&str>, otherwise: &str) -> String {
    let given = given.map(str::trim).filter(|text| !text.is_empty());
    let text = given.unwrap_or(otherwise).replace('\0', "\u{fffd}");
    text.chars().take(LONGEST_REASON).collect()
}

/// Whether this can be the name of a message, a part or a person.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_ID && !text.chars().any(char::is_control)
}

fn whole<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Body(told(&error)))
}

fn each<T>(
    list: &[&RawValue],
    read: impl Fn(&RawValue) -> Result<T, String>,
) -> Result<Vec<T>, Refusal> {
    if list.len() > LONGEST_LIST {
        return Err(Refusal::Body(format!(
            "{} are too many for one request; send at most {LONGEST_LIST}",
            list.len()
        )));
    }
    let (mut good, mut bad) = (Vec::with_capacity(list.len()), Vec::new());
    for (index, raw) in list.iter().enumerate() {
        match read(raw) {
            Ok(item) => good.push(item),
            Err(problem) => bad.push(Problem {
                index,
                id: id_of(raw),
                problem,
            }),
        }
    }
    if bad.is_empty() {
        Ok(good)
    } else {
        Err(Refusal::Problems(bad))
    }
}

/// The id of what cannot be read otherwise.
fn id_of(raw: &RawValue) -> Option<String> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let id = value.get("id")?.as_str()?;
    is_id(id).then(|| id.to_owned())
}

fn fit<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| told(&error))
}

/// Says what is wrong with content of a type that we know.
fn misfit(kind: &str, value: Value) -> Result<(), String> {
    fn is<T: DeserializeOwned>(value: Value) -> Result<(), String> {
        serde_json::from_value::<T>(value)
            .map(drop)
            .map_err(|error| format!("content: {}", told(&error)))
    }
    match kind {
        "text" => is::<Text>(value),
        "image" | "video" | "audio" | "voice" | "file" => is::<MediaContent>(value),
        "sticker" => is::<Sticker>(value),
        "location" => is::<Location>(value),
        "contact_card" => is::<ContactCard>(value),
        "choices" => is::<Choices>(value),
        "choice_reply" => is::<ChoiceReply>(value),
        "carousel" => is::<Carousel>(value),
        "template" => is::<Template>(value),
        "email" => is::<Email>(value),
        "unsupported" => is::<Unsupported>(value),
        _ => Ok(()),
    }
}

/// What serde says, which may quote a value; short enough for an answer.
fn told(error: &serde_json::Error) -> String {
    error.to_string().chars().take(LONGEST_REASON).collect()
}

fn kept(rest: Map<String, Value>) -> Map<String, Value> {
    if rest.is_empty() {
        return rest;
    }
    Map::from_iter([(REST.to_owned(), json!(rest))])
}

fn check_id(field: &str, text: &str) -> Result<(), String> {
    if is_id(text) {
        Ok(())
    } else {
        Err(format!(
            "{field}: must be 1 to {LONGEST_ID} bytes without control characters"
        ))
    }
}

fn check_reply(reply_to: Option<&str>) -> Result<(), String> {
    reply_to.map_or(Ok(()), |id| check_id("reply_to", id))
}

fn check_time(field: &str, time: DateTime<Utc>) -> Result<(), String> {
    if (2000..2200).contains(&time.year()) {
        Ok(())
    } else {
        Err(format!("{field}: not a time of this age"))
    }
}

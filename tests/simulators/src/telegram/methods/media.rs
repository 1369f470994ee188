//! Sending files: one at a time, and as an album.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, ApiError};
use super::super::kind::FileKind;
use super::super::params::Params;
use super::Request;
use super::send::{self, Outgoing};
use super::source::{self, Source};

/// Items of an album.
const MAX_ALBUM: usize = 10;

/// A message with a file that is ready to be stored.
pub(super) struct Prepared {
    source: Source,
    thumbnail: Option<Source>,
    caption: Map<String, Value>,
    text: String,
    details: Params,
}

impl Prepared {
    /// Stores the file and makes the message.
    pub(super) fn into_outgoing(
        self,
        account: &mut super::super::account::Account,
        method: &'static str,
    ) -> Outgoing {
        let file = self.source.store(account);
        let thumbnail = self.thumbnail.map(|thumbnail| thumbnail.store(account));
        let mut content = file.kind.fields(&file, thumbnail.as_deref(), &self.details);
        content.extend(self.caption);
        if self.details.flag("has_spoiler") {
            content.insert("has_media_spoiler".into(), json!(true));
        }
        Outgoing {
            files: vec![file],
            ..Outgoing::new(method, content, self.text)
        }
    }
}

/// `sendPhoto` and its sisters.
pub(super) async fn send(request: &Request<'_>, kind: FileKind) -> Result<Answer, ApiError> {
    let source = source::argument(request, kind.field(), kind).await?;
    let thumbnail = source::thumbnail(request, request.params.get("thumbnail"))?;
    let (caption, text) = if kind.takes_caption() {
        send::caption_content(request.params)?
    } else {
        (Map::new(), String::new())
    };
    let prepared = Prepared {
        source,
        thumbnail,
        caption,
        text,
        details: request.params.for_record(),
    };
    let message = request.bot.with(|account| {
        // A file that cannot be sent must not become known.
        account.find_chat(request.params)?.open()?;
        let outgoing = prepared
            .into_outgoing(account, kind.method())
            .with_markup(request.params)?;
        send::post(request, account, outgoing)
    })?;
    Ok(Answer::new(&message))
}

/// An `InputMedia` object: in an album, or in place of the media of a message.
pub(super) async fn input_media(
    request: &Request<'_>,
    object: &Value,
) -> Result<Prepared, ApiError> {
    let wrong = |reason: &str| ApiError::bad_request(&format!("can't parse InputMedia: {reason}"));
    let kind = object["type"]
        .as_str()
        .and_then(FileKind::of)
        .filter(|kind| kind.album().is_some() || *kind == FileKind::Animation)
        .ok_or_else(|| wrong("type of the media is unsupported"))?;
    let media = object["media"]
        .as_str()
        .filter(|media| !media.is_empty())
        .ok_or_else(|| wrong("media not found"))?;
    let details = Params::from_object(object.clone()).unwrap_or_default();
    let source = source::from_text(request, media, kind).await?;
    // Without a name of its own an upload called `thumbnail` belongs to nobody here.
    let thumbnail = match details.get("thumbnail") {
        Some(text) => source::thumbnail(request, Some(text))?,
        None => None,
    };
    let (caption, text) = send::caption_content(&details)?;
    Ok(Prepared {
        source,
        thumbnail,
        caption,
        text,
        details,
    })
}

/// `sendMediaGroup`: all of it, or nothing.
pub(super) async fn send_group(request: &Request<'_>) -> Result<Answer, ApiError> {
    let items = request
        .params
        .json("media")
        .and_then(|media| media.as_array().cloned())
        .ok_or_else(|| ApiError::bad_request("can't parse media JSON object"))?;
    let reason = match items.len() {
        0 => Some("there are no messages to send"),
        // The documented rule; the open-source server sends a single item as an ordinary message.
        1 => Some("media group must include 2-10 items"),
        2..=MAX_ALBUM => None,
        _ => Some("too many messages to send as an album"),
    };
    if let Some(reason) = reason {
        return Err(ApiError::bad_request(reason));
    }
    let mut prepared = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let item = input_media(request, item).await;
        prepared.push(item.map_err(|error| in_album(error, n + 1))?);
    }
    let classes: Vec<_> = prepared.iter().map(|item| item.source.kind()).collect();
    if let Some(kind) = classes.iter().find(|kind| kind.album().is_none()) {
        let reason = format!("{} can't be used in an album", kind.field());
        return Err(ApiError::bad_request(&reason));
    }
    if let Some(other) = classes
        .iter()
        .find(|kind| kind.album() != classes[0].album())
    {
        let word = if classes[0].album() == Some(0) {
            other
        } else {
            &classes[0]
        };
        let reason = format!("{} can't be mixed with other media types", word.field());
        return Err(ApiError::bad_request(&reason));
    }
    let messages = request.bot.with(|account| {
        account.find_chat(request.params)?.open()?;
        account.albums_made += 1;
        let group = format!("1390000000{:07}", account.albums_made);
        let mut messages = Vec::with_capacity(prepared.len());
        let mut weight = prepared.len();
        for item in prepared {
            let mut outgoing = item.into_outgoing(account, "sendMediaGroup");
            outgoing.weight = std::mem::take(&mut weight);
            outgoing
                .content
                .insert("media_group_id".into(), json!(group));
            messages.push(send::post(request, account, outgoing)?);
        }
        Ok(messages)
    })?;
    let result: Vec<&Value> = messages.iter().map(|message| &**message).collect();
    Ok(Answer::new(&json!(result)))
}

/// What is wrong with one file is told with its place, from 1; what is wrong with the arguments is not.
fn in_album(error: ApiError, place: usize) -> ApiError {
    let Some(reason) = error.description.strip_prefix("Bad Request: ") else {
        return error;
    };
    let of_arguments = ["can't parse", "message caption", "can't use file of type"];
    if of_arguments.iter().any(|start| reason.starts_with(start)) {
        return error;
    }
    let mut letters = reason.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let rest = letters.as_str();
    ApiError::bad_request(&format!(
        "failed to send message #{place} with the error message \"{first}{rest}\""
    ))
}

//! What a channel would make of a message, without sending it.

use async_trait::async_trait;
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use tributary_bus::{
    ChannelId,
    message::{Content, Degradation},
};
use utoipa::ToSchema;

use super::{
    ApiState,
    auth::Caller,
    content::{SENDABLE, describe, sendable},
    extract::{Body, Id, Name},
    problem::{Code, Problem},
    views,
};

/// What the channels answer; the composition root asks the connectors, which this crate does not know.
#[async_trait]
pub trait Preview: Send + Sync {
    /// The content with the types of media behind links that say none: they decide what a channel makes
    /// of it. The links are opened, as they are when it is sent, within a few seconds.
    async fn describe(&self, content: Content) -> Content {
        content
    }

    /// What the channel makes of the content; `None` when no such channel is configured. No network, no disk.
    ///
    /// # Errors
    /// The channel can never carry it; why, in words for a person that hold none of the message.
    fn preview(&self, channel: &ChannelId, content: &Content) -> Option<Result<Previewed, String>>;
}

/// What a channel makes of a content.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Previewed {
    /// What the contact gets, in order; each is a message of its own in the channel.
    pub parts: Vec<Content>,
    /// What had to be changed to fit the channel; empty when nothing.
    pub degraded: Vec<Degradation>,
}

/// What is to be previewed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewMessage {
    /// As it would be sent. A type that is never sent is taken as well, and answered as the channel answers it.
    #[serde(deserialize_with = "known")]
    #[schema(value_type = Object)]
    content: Known,
}

/// Content of a known type, and as it was written.
struct Known(Content, Map<String, Value>);

/// Content of a type that this version knows, and that fits it.
fn known<'de, D: Deserializer<'de>>(input: D) -> Result<Known, D::Error> {
    let written = Map::deserialize(input)?;
    let content = Content::deserialize(Value::Object(written.clone()));
    match content.map_err(D::Error::custom)? {
        Content::Other(fields) => {
            let kind = fields.get("type").and_then(|kind| kind.as_str());
            Err(D::Error::custom(match kind {
                Some(_) => "is of an unknown type, or lacks a field of its type",
                None => "has no type",
            }))
        }
        content => Ok(Known(content, written)),
    }
}

impl Known {
    /// Within the bounds of what can be sent, where it is of a type that can.
    fn checked(self) -> Result<Content, Problem> {
        let Self(content, written) = self;
        if SENDABLE.contains(&content.kind()) {
            return sendable(written);
        }
        Ok(content)
    }
}

/// Preview a message
///
/// Answers what the channel would make of a content: its parts, and what had to be changed to fit. Nothing is sent.
#[utoipa::path(post, path = "/v1/channels/{id}/preview", tag = "channels", params(("id" = String, Path, description = "Channel id")), request_body = PreviewMessage, responses((status = 200, body = views::Preview)))]
pub async fn preview_message(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(Name(id)): Id<Name>,
    Body(request): Body<PreviewMessage>,
) -> Result<Json<views::Preview>, Problem> {
    let channel = ChannelId(id);
    let mut content = request.content.checked()?;
    let own = state.store().channel(&organization, &channel).await?;
    own.ok_or_else(|| Problem::not_found("channel"))?;
    let Some(preview) = state.preview() else {
        return Err(Problem::of(Code::ChannelRemoved));
    };
    describe(state.media(), &organization, &mut content).await;
    let content = preview.describe(content).await;
    let answer = preview.preview(&channel, &content);
    match answer {
        Some(Ok(previewed)) => Ok(Json(previewed.into())),
        Some(Err(reason)) => Err(Problem::new(Code::Unrenderable, reason)),
        None => Err(Problem::of(Code::ChannelRemoved)),
    }
}

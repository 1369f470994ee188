//! The stable codes of problems, in one table.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:ident, $title:literal, $meaning:literal;)+) => {
        /// What is wrong, for programs. The OpenAPI document lists the codes with their meanings.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        #[schema(as = ProblemCode)]
        pub enum Code {
            $(#[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is written in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The same for every problem with this code.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// When it is answered, for the OpenAPI document.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

// Codes are never renamed; new ones may be added.
codes! {
    InvalidJson = "invalid_json", BAD_REQUEST, "Request body is not JSON",
        "the body is not JSON";
    Unauthorized = "unauthorized", UNAUTHORIZED, "API key missing or not valid",
        "no API key, an unknown or a revoked one";
    NotFound = "not_found", NOT_FOUND, "Not found",
        "your organization has nothing with this id";
    RouteNotFound = "route_not_found", NOT_FOUND, "No such path",
        "the API has no such path";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "the path does not take this method; the Allow header names those it takes";
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "Request did not arrive in time",
        "the request did not arrive in time";
    ConversationClosed = "conversation_closed", CONFLICT, "Conversation is closed",
        "the conversation must be reopened first";
    ConversationOpen = "conversation_open", CONFLICT, "Another conversation is open",
        "the contact has another open conversation";
    ContactBlocked = "contact_blocked", CONFLICT, "Contact cannot be written to",
        "the contact has blocked or left the channel";
    ChannelRemoved = "channel_removed", CONFLICT, "Channel is not configured",
        "the channel of this conversation is no longer configured";
    MessageNotOurs = "message_not_ours", CONFLICT, "Message is the contact's",
        "only what was sent to the contact can be edited or deleted";
    MessageNotSent = "message_not_sent", CONFLICT, "Message was not sent",
        "the channel does not know the message: it was not sent (yet), or the channel gave it no id";
    MessageDeleted = "message_deleted", CONFLICT, "Message was deleted",
        "the message was deleted and cannot be changed any more";
    NothingToRead = "nothing_to_read", CONFLICT, "There is nothing to read",
        "the contact has written nothing in this conversation";
    LimitReached = "limit_reached", CONFLICT, "Limit reached",
        "the organization has as many of these as it may have";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "Request body is too large",
        "the request body is larger than this server takes";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Media type is not supported",
        "the body must be sent as application/json";
    InvalidBody = "invalid_body", UNPROCESSABLE_ENTITY, "Request body is not valid",
        "a field is missing, unknown or wrong; `errors` names it";
    InvalidParameter = "invalid_parameter", UNPROCESSABLE_ENTITY, "Request parameter is not valid",
        "a path, query or header parameter is wrong; `errors` names it";
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "Idempotency key was used before",
        "this Idempotency-Key was used for another request; take a new one";
    Unrenderable = "unrenderable", UNPROCESSABLE_ENTITY, "Channel cannot carry this content",
        "the channel can never carry this content in any form; `detail` says why";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests",
        "too many requests with this API key; repeat after Retry-After";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "something went wrong here; the x-request-id names it in our log";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "a part of the service is away; repeat after Retry-After";
    DeadlineExceeded = "deadline_exceeded", SERVICE_UNAVAILABLE, "It took too long",
        "it took too long and may have happened; repeat it, a message with the same Idempotency-Key";
}

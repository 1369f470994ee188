//! Updates by webhook.
//!
//! Updates of one chat come one at a time, and one that is refused is repeated before any later one for up to a day:
//! what cannot be read is taken all the same, and counted.

use bytes::Bytes;
use chrono::Utc;
use http::{HeaderValue, Method, Request, Response, header};
use serde::Serialize;
use subtle::ConstantTimeEq;
use tributary_config::Secret;

use super::{
    config::keyed_hash,
    inbound::{Reader, Translated, to_events},
    wire::AnswerCallbackQuery,
};
use crate::{ReceiveError, Received};

/// The last segment of the webhook's path.
const PATH: &str = "webhook";
/// Where Telegram puts the secret.
const HEADER: &str = "x-telegram-bot-api-secret-token";

/// The address that Telegram is told. Its query changes with the secret, so that a changed secret is a changed address
/// and the webhook is set anew: `getWebhookInfo` does not tell the secret.
pub(super) fn address(public_url: &url::Url, secret: &Secret) -> String {
    let version = keyed_hash(secret.expose(), "tributary webhook version");
    let version: String = version.chars().take(12).collect();
    format!(
        "{}/{PATH}?v={version}",
        public_url.as_str().trim_end_matches('/')
    )
}

/// Verifies and translates one request; any of the secrets will do.
pub(super) fn receive(
    reader: &Reader,
    secrets: &[Secret],
    request: &Request<Bytes>,
) -> Result<Translated, ReceiveError> {
    let path = request.uri().path().trim_end_matches('/');
    if request.method() != Method::POST || path.rsplit('/').next() != Some(PATH) {
        return Err(ReceiveError::NotFound);
    }
    verify(secrets, request)?;
    let raw = String::from_utf8_lossy(request.body());
    Ok(to_events(reader, &raw, Utc::now()))
}

/// What is published, and the answer after it.
pub(super) fn received(translated: Translated) -> Received {
    Received {
        events: translated.events,
        receipts: Vec::new(),
        reply: reply(translated.answer),
    }
}

/// In constant time; a missing secret is a wrong one, and so is every one while none is configured.
fn verify(secrets: &[Secret], request: &Request<Bytes>) -> Result<(), ReceiveError> {
    let given = request
        .headers()
        .get(HEADER)
        .map_or(&[][..], HeaderValue::as_bytes)
        .trim_ascii();
    let mut right = false;
    for secret in secrets {
        let expected = secret.expose().as_bytes();
        let equal: bool = expected.ct_eq(given).into();
        right |= equal && !expected.is_empty();
    }
    if right {
        Ok(())
    } else {
        Err(ReceiveError::Unauthorized)
    }
}

/// A call that Telegram makes for us when it reads the answer, which is after the events became durable.
#[derive(Serialize)]
struct Call<'a> {
    method: &'static str,
    #[serde(flatten)]
    parameters: &'a AnswerCallbackQuery,
}

fn reply(answer: Option<AnswerCallbackQuery>) -> Response<Bytes> {
    let call = answer.and_then(|answer| {
        serde_json::to_vec(&Call {
            method: "answerCallbackQuery",
            parameters: &answer,
        })
        .ok()
    });
    let mut response = Response::new(Bytes::new());
    if let Some(call) = call {
        *response.body_mut() = Bytes::from(call);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use tributary_bus::ChannelId;

    use super::{super::config::Listen, *};

    fn reader() -> Reader {
        Reader {
            channel: ChannelId::from("shop"),
            bot: 123_456_789,
            groups: Listen::Ignore,
            channels: Listen::Ignore,
        }
    }

    fn answer(header: Option<&str>, configured: &str) -> Result<(), String> {
        let mut request = Request::post("https://x.example/channels/shop/webhook?v=1");
        if let Some(value) = header {
            request = request.header(HEADER, value);
        }
        let request = request
            .body(Bytes::from_static(b"{\"update_id\":1,\"poll\":{}}"))
            .expect("a request");
        receive(
            &reader(),
            &[Secret::new("older_one"), Secret::new(configured)],
            &request,
        )
        .map(drop)
        .map_err(|error| error.to_string())
    }

    /// The test vectors of the provider's facts.
    #[test]
    fn the_secret_is_exact() {
        let secret = "s3cr3t_Token-acc7";
        let wrong = Err("signature or secret is wrong".to_owned());
        assert_eq!(answer(Some("s3cr3t_Token-acc7"), secret), Ok(()));
        assert_eq!(answer(Some("s3cr3t_Token-acc7 "), secret), Ok(()));
        assert_eq!(answer(Some("older_one"), secret), Ok(()), "the one before");
        assert_eq!(answer(Some("s3cr3t_token-acc7"), secret), wrong);
        assert_eq!(answer(Some("s3cr3t_Token-acc"), secret), wrong);
        assert_eq!(answer(Some(""), secret), wrong);
        assert_eq!(answer(None, secret), wrong);
        assert_eq!(answer(Some(""), ""), wrong, "no secret lets nobody in");
        assert_eq!(answer(None, ""), wrong);
    }

    #[test]
    fn a_pressed_button_is_answered_in_the_reply() {
        let press = include_bytes!("fixtures/updates/20_callback_query.json");
        let request = Request::post("https://x.example/channels/shop/webhook")
            .header(HEADER, "secret")
            .body(Bytes::from_static(press))
            .expect("a request");
        let secrets = [Secret::new("secret")];
        let received = received(receive(&reader(), &secrets, &request).expect("taken"));
        assert_eq!(
            received.reply.headers()[header::CONTENT_TYPE],
            "application/json"
        );
        let call: serde_json::Value =
            serde_json::from_slice(received.reply.body()).expect("a call");
        let id = "2383000000000000001";
        let expected =
            serde_json::json!({"method": "answerCallbackQuery", "callback_query_id": id});
        assert_eq!(call, expected);
    }

    #[test]
    fn another_secret_is_another_address() {
        let url = url::Url::parse("https://chat.example.org/channels/shop").expect("a URL");
        let one = address(&url, &Secret::new("one"));
        assert!(one.starts_with("https://chat.example.org/channels/shop/webhook?v="));
        assert_ne!(one, address(&url, &Secret::new("two")));
        assert!(!one.contains("one"));
    }

    #[test]
    fn other_paths_and_methods_are_not_there() {
        for request in [
            Request::get("https://x.example/channels/shop/webhook"),
            Request::post("https://x.example/channels/shop/other"),
        ] {
            let request = request.body(Bytes::new()).expect("a request");
            let result = receive(&reader(), &[Secret::new("s")], &request);
            assert!(matches!(result, Err(ReceiveError::NotFound)));
        }
    }
}

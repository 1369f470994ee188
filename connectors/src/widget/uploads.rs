//! What visitors bring: checked by its bytes, stored, and answered with a claim that only the same visitor can use.
//!
//! The claim is signed and holds all there is to know, so nothing has to be remembered about files that are never sent.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;
use tributary_base::media::{PutError, clean_name, type_of};
use tributary_bus::message::{Content, Media, MediaContent, MediaState, Text};
use url::form_urlencoded;

use super::{
    Widget,
    body::{Attachment, Body, File},
    config::UploadRules,
    token::Visitor,
};
use crate::{MediaShelf, MediaStream, ReceiveError, Uploads, refusals::Way};

/// Where the script writes the file's name, percent-encoded: an address would end in logs of proxies.
const NAME_HEADER: &str = "x-file-name";
/// Characters of a file's name.
const NAME_LIMIT: usize = 150;
/// Bytes that tell what a file is.
const HEAD: usize = 8 * 1024;
/// How long the body of a request without a valid token is read, before it is refused.
const STRANGERS_DRAIN: Duration = Duration::from_secs(2);
/// How long a browser remembers that it may upload, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Why a file was not taken. The details are in the answer, for the person who brings it.
enum Refusal {
    /// 401
    BadToken,
    /// 429; seconds.
    TooMany(u64),
    /// 400
    Empty,
    /// 400: the body broke off.
    Broken,
    /// 408
    Slow,
    /// 413
    TooLarge,
    /// 415
    Kind,
    /// 503
    Unavailable,
}

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadToken => (StatusCode::UNAUTHORIZED, "bad_token"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Empty => (StatusCode::BAD_REQUEST, "empty"),
            Self::Broken => (StatusCode::BAD_REQUEST, "broken_off"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Kind => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

#[async_trait]
impl Uploads for Widget {
    async fn receive(
        &self,
        head: Parts,
        body: MediaStream,
        peer: IpAddr,
    ) -> Result<Response<Bytes>, ReceiveError> {
        let (rules, shelf, origin) = self.upload_door(&head.headers)?;
        let taken = self.take(rules, shelf, &head.headers, body, peer).await;
        let (status, answer, wait) = match &taken {
            Ok(answer) => (StatusCode::OK, answer.clone(), None),
            Err(refusal) => {
                let (status, code) = refusal.status_and_code();
                self.refuse(Way::Upload, code, "");
                let wait = match refusal {
                    Refusal::TooMany(seconds) => Some(*seconds),
                    _ => None,
                };
                (status, json!({ "error": code }), wait)
            }
        };
        let mut response = Response::new(Bytes::from(answer.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        allow(headers, origin);
        Ok(response)
    }

    fn preflight(&self, head: &Parts) -> Result<Response<Bytes>, ReceiveError> {
        let (_, _, origin) = self.upload_door(&head.headers)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type, x-file-name",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        allow(headers, origin);
        Ok(response)
    }
}

/// A script of this page may read the answer. No cookie is ever involved.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}

impl Widget {
    /// Whether files are taken at all, and from this page.
    fn upload_door(
        &self,
        headers: &HeaderMap,
    ) -> Result<(&UploadRules, &MediaShelf, HeaderValue), ReceiveError> {
        let (Some(rules), Some(shelf)) = (&self.rules.uploads, &self.shelf) else {
            return Err(ReceiveError::NotFound);
        };
        let origin = headers.get(header::ORIGIN);
        let named = origin.and_then(|origin| origin.to_str().ok());
        if !self.rules.origins.allow(named) {
            return Err(ReceiveError::Forbidden);
        }
        let any = || HeaderValue::from_static("*");
        Ok((rules, shelf, origin.cloned().unwrap_or_else(any)))
    }

    async fn take(
        &self,
        rules: &UploadRules,
        shelf: &MediaShelf,
        headers: &HeaderMap,
        body: MediaStream,
        peer: IpAddr,
    ) -> Result<serde_json::Value, Refusal> {
        let mut body = body;
        let result = self.keep_file(rules, shelf, headers, &mut body, peer).await;
        match &result {
            // Nobody we know: not worth waiting for.
            Err(Refusal::BadToken) => {
                let rest = drain(&mut body, rules.limit);
                timeout(STRANGERS_DRAIN, rest).await.ok();
            }
            Err(_) => drain(&mut body, rules.limit).await,
            Ok(_) => {}
        }
        result
    }

    async fn keep_file(
        &self,
        rules: &UploadRules,
        shelf: &MediaShelf,
        headers: &HeaderMap,
        body: &mut MediaStream,
        peer: IpAddr,
    ) -> Result<serde_json::Value, Refusal> {
        let signer = self.signer().await.map_err(|error| {
            warn!(channel_id = %self.channel, %error, "upload refused for now");
            Refusal::Unavailable
        })?;
        let token = bearer(headers).ok_or(Refusal::BadToken)?;
        let visitor = signer
            .verify(token, Utc::now())
            .map_err(|_| Refusal::BadToken)?;
        self.limits
            .upload(visitor, peer)
            .map_err(|wait| Refusal::TooMany(wait.as_secs() + 1))?;
        if body.size.is_some_and(|size| size > rules.limit) {
            return Err(Refusal::TooLarge);
        }
        let beginning = beginning(body).await?;
        if !rules.allow(&type_of(&beginning, body.mime.as_deref())) {
            return Err(Refusal::Kind);
        }
        let rest = std::mem::replace(&mut body.body, stream::empty().boxed());
        let whole = MediaStream {
            body: stream::iter([Ok(beginning)]).chain(rest).boxed(),
            mime: body.mime.take(),
            size: body.size,
            name: file_name(headers),
        };
        let media = shelf.put(whole, Some(rules.limit)).await.map_err(refusal)?;
        let file = File::of(&media).ok_or(Refusal::Unavailable)?;
        Ok(json!({
            "type": kind(file.mime.as_deref()),
            "mime": file.mime,
            "size": file.size,
            "name": file.name,
            "upload": signer.claim(visitor, &file, Utc::now()),
        }))
    }

    /// What a visitor refers to in a message; `None` when the claim is not this visitor's, or too old.
    pub(super) async fn claimed(
        &self,
        visitor: Visitor,
        claim: &str,
    ) -> Result<Option<File>, super::mailbox::MailboxError> {
        let signer = self.signer().await?;
        Ok(signer.claimed(claim, visitor, Utc::now()))
    }

    /// As it goes into a frame: links to media of ours are signed now.
    pub(super) fn to_frame(&self, mut body: Body) -> Body {
        for file in body.files_mut() {
            if let Some(id) = file.id.take() {
                let media = Media {
                    media_id: Some(id),
                    name: file.name.clone(),
                    ..Media::default()
                };
                file.url = self.shelf.as_ref().and_then(|shelf| link(shelf, &media));
            }
        }
        body
    }
}

/// A whole address where the operator said how the internet reaches us, otherwise one that begins where the script is.
fn link(shelf: &MediaShelf, media: &Media) -> Option<String> {
    if let Some(url) = shelf.public_link(media) {
        return Some(url.into());
    }
    let url = shelf.link(media)?;
    let path = url.path().trim_start_matches('/');
    Some(match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    })
}

/// What a file is in a conversation.
fn kind(mime: Option<&str>) -> &'static str {
    match mime.and_then(|mime| mime.split_once('/')) {
        Some(("image", "png" | "jpeg" | "gif" | "webp" | "avif" | "bmp")) => "image",
        Some(("video", "mp4" | "webm" | "quicktime")) => "video",
        Some(("audio", _)) => "audio",
        _ => "file",
    }
}

/// A file as a message.
pub(super) fn to_content(file: File, caption: Option<String>) -> (Content, Body) {
    let content = MediaContent {
        media: Media {
            state: MediaState::Ready,
            media_id: file.id.clone(),
            sha256: file.id.as_ref().map(|id| id.0.clone()),
            mime: file.mime.clone(),
            size: file.size,
            name: file.name.clone(),
            width: file.width,
            height: file.height,
            ..Media::default()
        },
        caption: caption.clone().map(Text::plain),
        extra: serde_json::Map::new(),
    };
    let kind = kind(file.mime.as_deref());
    let shown = Attachment {
        media: file,
        caption,
    };
    match kind {
        "image" => (Content::Image(content), Body::Image(shown)),
        "video" => (Content::Video(content), Body::Video(shown)),
        "audio" => (Content::Audio(content), Body::Audio(shown)),
        _ => (Content::File(content), Body::File(shown)),
    }
}

fn refusal(error: PutError) -> Refusal {
    match error {
        PutError::TooLarge { .. } => Refusal::TooLarge,
        PutError::Slow(_) => Refusal::Slow,
        PutError::Source(_) => Refusal::Broken,
        PutError::Full | PutError::Store(_) => Refusal::Unavailable,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// As its owner calls it, without what could mislead whoever reads it.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let encoded = headers.get(NAME_HEADER)?.to_str().ok()?;
    // As in a form, but for the plus sign, which is one.
    let whole = format!("n={}", encoded.replace('+', "%2B").replace('&', "%26"));
    let (_, name) = form_urlencoded::parse(whole.as_bytes()).next()?;
    let name = clean_name(&name)?;
    Some(name.chars().take(NAME_LIMIT).collect())
}

/// Enough to tell what it is.
async fn beginning(body: &mut MediaStream) -> Result<Bytes, Refusal> {
    let mut beginning = BytesMut::new();
    while beginning.len() < HEAD {
        match body.body.next().await {
            Some(Ok(chunk)) => beginning.extend_from_slice(&chunk),
            Some(Err(_)) => return Err(Refusal::Broken),
            None => break,
        }
    }
    if beginning.is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(beginning.freeze())
}

/// Reads what still comes, within bounds: a browser shows no answer to a request that it could not finish.
async fn drain(body: &mut MediaStream, limit: u64) {
    let mut left = limit;
    while let Some(Ok(chunk)) = body.body.next().await {
        left = left.saturating_sub(chunk.len() as u64);
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_without_paths_and_tricks() {
        let name = |header: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME_HEADER, header.parse().expect("a header"));
            file_name(&headers)
        };
        for (header, expected) in [
            ("a%20b.png", Some("a b.png")),
            ("a+b&c=d.png", Some("a+b&c=d.png")),
            ("%D1%84.pdf", Some("ф.pdf")),
            ("..%2F..%2Fetc%2Fpasswd", Some("passwd")),
            ("C%3A%5Cx%5Cy.txt", Some("y.txt")),
            ("gpj%E2%80%AEexe.txt", Some("gpjexe.txt")),
            ("%3Cimg%20src%3Dx%3E.png", Some("<img src=x>.png")),
            ("%00%0A", None),
            ("%FF", None),
            ("", None),
        ] {
            assert_eq!(name(header).as_deref(), expected, "{header}");
        }
        let long = name(&"x".repeat(4000)).expect("a name");
        assert_eq!(long.len(), NAME_LIMIT);
        assert_eq!(file_name(&HeaderMap::new()), None);
    }

    #[test]
    fn what_could_run_is_only_a_file() {
        for (mime, expected) in [
            ("image/png", "image"),
            ("image/svg+xml", "file"),
            ("image/heif", "file"),
            ("video/mp4", "video"),
            ("audio/mpeg", "audio"),
            ("text/html", "file"),
            ("rubbish", "file"),
        ] {
            assert_eq!(kind(Some(mime)), expected, "{mime}");
        }
        assert_eq!(kind(None), "file");
    }
}

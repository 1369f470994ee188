//! `GET /media/<organization>/<id>/<name>`: the same answer at the ingress and at the API, whatever HTTP server asks.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION,
        CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
        IF_RANGE, RANGE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::warn;

use super::{ByteStream, Found, LinkError, MediaService, Slice, safe_name, sniff};

/// A response body.
pub type MediaBody = ByteStream;

/// RFC 8187, `attr-char`.
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// How long browsers may keep it, in seconds; the bytes of an id never change, but a link ends.
const MAX_AGE: &str = "private, max-age=3600, immutable";

/// What was asked for. The path's parts are percent-decoded.
#[derive(Debug, Clone, Copy)]
pub struct MediaRequest<'a> {
    pub method: &'a Method,
    pub organization: &'a str,
    pub id: &'a str,
    pub name: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
}

/// Answers a request for a medium: 200, 206, 304, 403 (made up), 404, 405, 410 (expired), 416 or 503.
pub async fn serve(media: &MediaService, request: MediaRequest<'_>) -> Response<MediaBody> {
    let mut response = match request.method {
        &Method::GET | &Method::HEAD => answer(media, request).await,
        _ => {
            let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            refused
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
    };
    harden(response.headers_mut());
    if request.method == Method::HEAD {
        *response.body_mut() = empty();
    }
    response
}

async fn answer(media: &MediaService, request: MediaRequest<'_>) -> Response<MediaBody> {
    let MediaService { store, links } = media;
    let MediaRequest {
        organization,
        id,
        name,
        query,
        headers,
        ..
    } = request;
    match links.verify(organization, id, name, query) {
        Ok(()) => {}
        Err(error @ LinkError::Expired) => return refusal(StatusCode::GONE, &error.to_string()),
        Err(error @ LinkError::Invalid) => {
            return refusal(StatusCode::FORBIDDEN, &error.to_string());
        }
    }
    let tag = format!("\"{id}\"");
    if names(headers, IF_NONE_MATCH.as_str(), &tag) {
        return head(StatusCode::NOT_MODIFIED, &tag, empty());
    }
    let size = match store.size(organization, id).await {
        Ok(Some((size, _))) => size,
        Ok(None) => return missing(),
        Err(error) => return away(&error),
    };
    let slice = match wanted(headers, &tag, size) {
        Ok(slice) => slice,
        Err(Unsatisfiable) => {
            let mut refused = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "no such range");
            set(&mut refused, CONTENT_RANGE, &format!("bytes */{size}"));
            return refused;
        }
    };
    match store.read(organization, id, slice).await {
        Ok(Some(found)) => show(found, slice, name, &tag),
        Ok(None) => missing(),
        Err(error) => away(&error),
    }
}

fn show(found: Found, slice: Slice, name: &str, tag: &str) -> Response<MediaBody> {
    let (status, length) = match slice {
        Slice::All => (StatusCode::OK, found.size),
        Slice::Part { length, .. } => (StatusCode::PARTIAL_CONTENT, length),
    };
    let mut response = head(status, tag, found.body);
    if let Slice::Part { start, length } = slice {
        let range = format!("bytes {start}-{}/{}", start + length - 1, found.size);
        set(&mut response, CONTENT_RANGE, &range);
    }
    let kind = match found.mime {
        "text/plain" => "text/plain; charset=utf-8",
        other => other,
    };
    set(&mut response, CONTENT_TYPE, kind);
    set(&mut response, CONTENT_LENGTH, &length.to_string());
    set(
        &mut response,
        CONTENT_DISPOSITION,
        &disposition(found.mime, name),
    );
    response
}

/// RFC 6266: shown in place only where nothing can run.
fn disposition(mime: &str, name: &str) -> String {
    let how = match sniff::is_inline(mime) {
        true => "inline",
        false => "attachment",
    };
    let name = safe_name(Some(name));
    let ascii: String = name
        .chars()
        .map(|c| if c.is_ascii() { c } else { '_' })
        .collect();
    format!(
        "{how}; filename=\"{ascii}\"; filename*=UTF-8''{}",
        utf8_percent_encode(&name, ATTRIBUTE)
    )
}

struct Unsatisfiable;

/// One range of bytes (RFC 9110, section 14); several at once, or what cannot be read, are answered with everything.
fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Result<Slice, Unsatisfiable> {
    let text = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some(text) = text.and_then(|text| text.strip_prefix("bytes=")) else {
        return Ok(Slice::All);
    };
    // Of another version of it: everything. Ours never change, so only a foreign tag or a date comes here.
    if headers.contains_key(IF_RANGE) && !names(headers, IF_RANGE.as_str(), tag) {
        return Ok(Slice::All);
    }
    let Some((first, last)) = text.trim().split_once('-') else {
        return Ok(Slice::All);
    };
    let number = |text: &str| match text.is_empty() {
        true => Ok(None),
        false => text.parse::<u64>().map(Some),
    };
    let (Ok(first), Ok(last)) = (number(first), number(last)) else {
        return Ok(Slice::All);
    };
    let (start, end) = match (first, last) {
        (None, None) => return Ok(Slice::All),
        (None, Some(suffix)) => (size.saturating_sub(suffix), size),
        (Some(first), None) => (first, size),
        (Some(first), Some(last)) if last < first => return Ok(Slice::All),
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(size)),
    };
    if start >= end {
        return Err(Unsatisfiable);
    }
    Ok(Slice::Part {
        start,
        length: end - start,
    })
}

/// Whether a header lists the tag, or `*`.
fn names(headers: &HeaderMap, header: &str, tag: &str) -> bool {
    let values = headers.get_all(header).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| matches!(value.trim(), "*") || value.trim().trim_start_matches("W/") == tag)
}

fn head(status: StatusCode, tag: &str, body: MediaBody) -> Response<MediaBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, ETAG, tag);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(MAX_AGE));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// Whatever the bytes are, they run nothing in the name of this site.
fn harden(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    // The link is the permission; no cookie is looked at.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("cross-origin"),
    );
}

fn missing() -> Response<MediaBody> {
    refusal(StatusCode::NOT_FOUND, "it is not kept any more")
}

fn away(error: &super::ReadError) -> Response<MediaBody> {
    warn!(%error, "a medium was asked for in vain");
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "try again");
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn refusal(status: StatusCode, why: &str) -> Response<MediaBody> {
    let text = bytes::Bytes::from(format!("{why}\n"));
    let body: MediaBody = Box::pin(futures::stream::once(std::future::ready(Ok(text))));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn empty() -> MediaBody {
    Box::pin(futures::stream::empty())
}

fn set(response: &mut Response<MediaBody>, name: http::HeaderName, value: &str) {
    // What goes in here is made of ASCII without control characters.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

//! Where the file of a sent message comes from: a file the bot knows, a URL, or a part of the body.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use url::{Host, Url};

use super::super::account::Account;
use super::super::answer::ApiError;
use super::super::files::{NewFile, Stored};
use super::super::kind::FileKind;
use super::super::params::Upload;
use super::Request;

/// How long a URL may take; the provider's own patience is not documented.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A voice message from a URL bigger than this arrives as a file, in bytes.
const MAX_VOICE_URL: usize = 1 << 20;
/// A photo's width and height together, in pixels.
const MAX_PHOTO_SIDES: i64 = 10_000;
const MAX_PHOTO_RATIO: i64 = 20;
/// Of an uploaded thumbnail, in bytes.
const MAX_THUMBNAIL: usize = 200_000;

/// A file for a message, perhaps not stored yet.
pub(super) enum Source {
    Known(Arc<Stored>),
    New(NewFile),
}

impl Source {
    pub(super) fn store(self, account: &mut Account) -> Arc<Stored> {
        match self {
            Self::Known(stored) => stored,
            Self::New(file) => account.files.add(file),
        }
    }

    /// A voice message may have become a file.
    pub(super) fn kind(&self) -> FileKind {
        match self {
            Self::Known(stored) => stored.kind,
            Self::New(file) => file.kind,
        }
    }
}

/// Reads the file argument `name` of a call: its text, or the part of that name.
pub(super) async fn argument(
    request: &Request<'_>,
    name: &str,
    kind: FileKind,
) -> Result<Source, ApiError> {
    match (request.params.get(name), request.params.upload(name)) {
        (Some(text), _) => from_text(request, text, kind).await,
        (None, Some(upload)) => uploaded(request, upload, kind),
        (None, None) => {
            let word = kind.field().replace('_', " ");
            Err(ApiError::bad_request(&format!(
                "there is no {word} in the request"
            )))
        }
    }
}

/// The same for text inside of another argument.
pub(super) async fn from_text(
    request: &Request<'_>,
    text: &str,
    kind: FileKind,
) -> Result<Source, ApiError> {
    if let Some(part) = text.strip_prefix("attach://") {
        let upload = request
            .params
            .upload(part)
            .ok_or_else(|| ApiError::bad_request("can't parse InputMedia: media not found"))?;
        return uploaded(request, upload, kind);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return from_url(request, text, kind).await;
    }
    known(request, text, kind)
}

/// The thumbnail that comes with a file, which can only be uploaded.
pub(super) fn thumbnail(
    request: &Request<'_>,
    text: Option<&str>,
) -> Result<Option<Source>, ApiError> {
    let part = text.and_then(|text| text.strip_prefix("attach://"));
    let Some(upload) = request.params.upload(part.unwrap_or("thumbnail")) else {
        return Ok(None);
    };
    // The provider ignores what it cannot use.
    if upload.size > MAX_THUMBNAIL {
        return Ok(None);
    }
    uploaded(request, upload, FileKind::Thumbnail).map(Some)
}

fn known(request: &Request<'_>, id: &str, kind: FileKind) -> Result<Source, ApiError> {
    let stored = request
        .bot
        .with(|account| account.files.get(id).map(Arc::clone))
        .ok_or_else(|| ApiError::bad_request("wrong file identifier/HTTP URL specified"))?;
    if stored.kind != kind {
        let reason = format!(
            "can't use file of type {} as {}",
            stored.kind.word(),
            kind.word()
        );
        return Err(ApiError::bad_request(&reason));
    }
    Ok(Source::Known(stored))
}

fn uploaded(request: &Request<'_>, upload: &Upload, kind: FileKind) -> Result<Source, ApiError> {
    let sizes = &request.bot.shared.options.sizes;
    if upload.size == 0 {
        return Err(ApiError::bad_request("file must be non-empty"));
    }
    if upload.size > sizes.upload {
        return Err(ApiError::new(413, "Request Entity Too Large"));
    }
    if kind == FileKind::Photo && upload.size > sizes.photo_upload {
        let reason = format!(
            "file of size {} bytes is too big for a photo; the maximum size is {} bytes",
            upload.size, sizes.photo_upload
        );
        return Err(ApiError::bad_request(&reason));
    }
    let file = NewFile {
        kind,
        bytes: upload.bytes.clone(),
        name: upload.file_name.clone(),
        mime: mime(kind, upload.mime_type.as_deref()),
        told_size: None,
    };
    check(&file)?;
    Ok(Source::New(file))
}

/// What the upload says about itself counts only for kinds that come in several types.
fn mime(kind: FileKind, said: Option<&str>) -> Option<String> {
    let said = said.map(str::to_owned);
    match kind {
        FileKind::Photo | FileKind::Thumbnail => None,
        _ => said.filter(|mime| mime != "application/octet-stream"),
    }
}

fn check(file: &NewFile) -> Result<(), ApiError> {
    if file.kind != FileKind::Photo {
        return Ok(());
    }
    let Ok(size) = imagesize::blob_size(&file.bytes) else {
        return Err(ApiError::bad_request("IMAGE_PROCESS_FAILED"));
    };
    let (Ok(width), Ok(height)) = (i64::try_from(size.width), i64::try_from(size.height)) else {
        return Err(ApiError::bad_request("PHOTO_INVALID_DIMENSIONS"));
    };
    let (short, long) = (width.min(height), width.max(height));
    if short == 0 || width + height > MAX_PHOTO_SIDES || long > short * MAX_PHOTO_RATIO {
        return Err(ApiError::bad_request("PHOTO_INVALID_DIMENSIONS"));
    }
    Ok(())
}

async fn from_url(request: &Request<'_>, text: &str, kind: FileKind) -> Result<Source, ApiError> {
    let url = Url::parse(text).map_err(|_| ApiError::bad_request("wrong HTTP URL specified"))?;
    let failed = || ApiError::bad_request("failed to get HTTP URL content");
    if !is_loopback(&url) {
        return Err(failed());
    }
    let sizes = &request.bot.shared.options.sizes;
    let limit = if kind == FileKind::Photo {
        sizes.photo_url
    } else {
        sizes.url
    };
    let fetch = fetch(request, url.clone(), limit);
    let (mime, bytes) = tokio::time::timeout(FETCH_TIMEOUT, fetch)
        .await
        .ok()
        .flatten()
        .ok_or_else(failed)?;
    if bytes.is_empty() || !kind.takes_from_url(&mime) {
        return Err(ApiError::bad_request("wrong type of the web page content"));
    }
    let kind = match kind {
        FileKind::Voice if bytes.len() > MAX_VOICE_URL => FileKind::Document,
        other => other,
    };
    let name = url
        .path_segments()
        .and_then(|mut segments| segments.next_back())
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let file = NewFile {
        kind,
        bytes,
        name,
        mime: (kind != FileKind::Photo).then_some(mime),
        told_size: None,
    };
    check(&file)?;
    Ok(Source::New(file))
}

/// A test must not reach the world, whatever it sends.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The media type and the bytes; none if it cannot be had, or is longer than `limit`.
async fn fetch(request: &Request<'_>, url: Url, limit: usize) -> Option<(String, Bytes)> {
    let http = &request.bot.shared.http;
    let mut response = http.get(url).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mime = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > limit {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    Some((mime, bytes.freeze()))
}

//! What the tests of the media store share.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use sha2::{Digest, Sha256};
use tributary_base::media::{
    ByteStream, Home, Limits, MediaBody, MediaRequest, MediaService, open, serve,
};
use url::Url;

pub const LIMITS: Limits = Limits {
    size: 20 * 1024 * 1024,
    deadline: Duration::from_secs(20),
};

/// A transparent picture of one pixel.
pub const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

pub async fn store_in(folder: &Path) -> MediaService {
    let config = format!("[data]\ndir = '{}'\n", folder.display());
    let settings = tributary_config::load_text("test", &config, &[]).expect("settings");
    let opened = open(&Arc::new(settings), Home::Alone, None).await;
    opened.expect("a folder").expect("media is kept")
}

pub fn bytes(content: impl Into<Bytes>) -> ByteStream {
    let content = content.into();
    let chunks: Vec<io::Result<Bytes>> = content
        .chunks(100_000)
        .map(|c| Ok(Bytes::copy_from_slice(c)))
        .collect();
    stream::iter(chunks).boxed()
}

/// Bytes that no compression or accident makes equal.
pub fn noise(size: usize, seed: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 32);
    let mut block = Sha256::digest([seed]).to_vec();
    while out.len() < size {
        block = Sha256::digest(&block).to_vec();
        out.extend_from_slice(&block);
    }
    out.truncate(size);
    out
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

pub async fn fetch(
    service: &MediaService,
    url: &Url,
    headers: &[(header::HeaderName, &str)],
) -> Response<MediaBody> {
    let path: Vec<String> = url
        .path_segments()
        .expect("a path")
        .map(|s| {
            percent_encoding::percent_decode_str(s)
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect();
    let [_, organization, id, name] = path.as_slice() else {
        panic!("{url}")
    };
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")))
        .collect();
    let request = MediaRequest {
        method: &Method::GET,
        organization,
        id,
        name,
        query: url.query(),
        headers: &headers,
    };
    serve(service, request).await
}

pub async fn body(response: Response<MediaBody>) -> Vec<u8> {
    let chunks: Vec<Bytes> = response.into_body().try_collect().await.expect("a body");
    chunks.concat()
}

//! Files of the channels, served as they are.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use crate::{Asset, registry};

/// How long a browser uses a file without asking: an update of the server reaches pages within minutes.
const CACHE: &str = "public, max-age=300";

/// A route for each file.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    registry::assets().fold(router, |router, asset| {
        let etag = etag(asset);
        router.route(
            asset.path,
            get(move |headers: HeaderMap| {
                let response = answer(asset, &etag, &headers);
                async move { response }
            }),
        )
    })
}

fn etag(asset: &Asset) -> String {
    let hash = hex::encode(Sha256::digest(asset.body.as_bytes()));
    format!("\"{}\"", &hash[..32])
}

fn answer(asset: &Asset, etag: &str, request: &HeaderMap) -> Response {
    let fresh = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known.split(',').any(|known| known.trim() == etag));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(asset.body))
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(asset.media_type),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    // Pages of other origins load these files; that is what they are for.
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("cross-origin"),
    );
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

//! Pages of a widget: one to try it on, and one that tells its script whether it may talk at all.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use tributary_config::Channel;

use super::config::Rules;
use crate::{ReceiveError, Received};

const DEMO: &str = include_str!("assets/demo.html");

/// Answers `GET /channels/<id>/<page>`.
pub(super) fn answer(
    request: &Request<Bytes>,
    channel: &Channel,
    rules: &Rules,
) -> Result<Received, ReceiveError> {
    let prefix = format!("/channels/{}/", channel.id);
    let path = request.uri().path();
    let page = path.strip_prefix(&prefix).ok_or(ReceiveError::NotFound)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ReceiveError::NotFound);
    }
    let reply = match page {
        "demo" if rules.demo_page => demo(channel),
        "state" => state(request, rules),
        _ => return Err(ReceiveError::NotFound),
    };
    Ok(Received {
        events: Vec::new(),
        receipts: Vec::new(),
        reply,
    })
}

/// A browser hides from scripts why a WebSocket was refused; this says it. 204: connect; 403: this page must not.
fn state(request: &Request<Bytes>, rules: &Rules) -> Response<Bytes> {
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = if rules.origins.allow(origin) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::FORBIDDEN
    };
    let headers = response.headers_mut();
    // Holds no secret, and the page that is refused must be able to read the refusal.
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn demo(channel: &Channel) -> Response<Bytes> {
    let html = DEMO
        .replace("{{channel}}", &escape(&channel.id))
        .replace("{{name}}", &escape(&channel.name));
    let mut response = Response::new(Bytes::from(html));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(policy) = HeaderValue::from_str(&policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// As strict as a page can be: the widget must work under it.
fn policy() -> String {
    let style = DEMO
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
        .map_or("", |(style, _)| style);
    let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'sha256-{hash}'; connect-src 'self'; \
         img-src 'self' blob: data:; media-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{super::config::Config, *};

    fn get(path: &str, settings: &str, origin: Option<&str>) -> Result<Response<Bytes>, String> {
        let config: Config = toml::from_str(settings).expect("settings");
        let rules = config.check("channels.shop").expect("right settings");
        let channel = Channel {
            id: "shop".to_owned(),
            kind: "widget".to_owned(),
            organization: "acme".to_owned(),
            name: "<Shop> & \"co\"".to_owned(),
            settings: toml::Table::new(),
        };
        let mut request = Request::get(path);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let request = request.body(Bytes::new()).expect("a request");
        match answer(&request, &channel, &rules) {
            Ok(received) => Ok(received.reply),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_demo_page_is_there_when_wanted_and_names_the_channel_safely() {
        let page = get("/channels/shop/demo", "demo_page = true", None).expect("a page");
        let html = std::str::from_utf8(page.body()).expect("UTF-8");
        assert!(html.contains("data-channel=\"shop\""));
        assert!(html.contains("&lt;Shop&gt; &amp; &quot;co&quot;") && !html.contains("<Shop>"));
        assert!(!html.contains("{{"));
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str();
        assert!(policy.expect("ASCII").contains("default-src 'none'"));
        assert!(get("/channels/shop/demo", "", None).is_err());
    }

    #[test]
    fn a_refused_page_can_learn_that_it_is() {
        let list = "allowed_origins = ['https://shop.example']";
        let status = |origin| {
            let reply = get("/channels/shop/state", list, origin).expect("a state");
            assert_eq!(reply.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            reply.status().as_u16()
        };
        assert_eq!(status(Some("https://shop.example")), 204);
        assert_eq!(status(Some("https://evil.example")), 403);
        assert_eq!(status(None), 403);
    }

    #[test]
    fn there_is_nothing_else() {
        for path in [
            "/channels/shop/",
            "/channels/shop/x",
            "/channels/shop/demo/x",
            "/",
        ] {
            assert!(get(path, "demo_page = true", None).is_err(), "{path}");
        }
    }
}

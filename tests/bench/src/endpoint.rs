//! The integrator's side: an endpoint that checks the signature of each delivery and notes when which message arrived.
//!
//! It does what any endpoint must and no more, since it runs on the cores under test. The simulators' endpoint, which reads
//! each event whole and keeps it, is for tests.

use std::{
    net::Ipv4Addr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use sha2::Sha256;
use tokio::{net::TcpListener, sync::Notify};

/// How far a timestamp may be from now, in seconds: what the libraries of the Standard Webhooks scheme allow.
const TOLERANCE: u64 = 5 * 60;

/// A running endpoint. It serves for as long as the runtime that it was started on.
pub struct Endpoint {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    key: OnceLock<Key>,
    arrivals: Mutex<Arrivals>,
    /// Rings when the last message that is expected has arrived, and when something went wrong.
    done: Notify,
}

#[derive(Default)]
struct Arrivals {
    /// When each message first arrived, by its number.
    at: Vec<Option<Instant>>,
    missing: usize,
    repeated: usize,
    /// What first went wrong: a delivery that was refused, above all.
    failed: Option<String>,
}

/// What arrived of the messages that were expected: all of them.
pub struct Arrived {
    /// When each first did, in the order of their numbers.
    pub at: Vec<Instant>,
    /// Deliveries of messages that had arrived before.
    pub repeated: usize,
}

impl Endpoint {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { url, shared })
    }

    /// Where events are to be posted to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Before there is a secret (`whsec_<base64>`), every delivery is refused.
    pub fn set_secret(&self, secret: &str) -> Result<()> {
        let set = self.shared.key.set(Key::new(secret)?);
        set.map_err(|_| anyhow::anyhow!("the endpoint has a secret already"))
    }

    /// Makes room for more messages. Their numbers, which are the next ones.
    pub fn expect(&self, count: usize) -> Range<usize> {
        let mut arrivals = self.shared.arrivals();
        let start = arrivals.at.len();
        arrivals.at.resize(start + count, None);
        arrivals.missing += count;
        start..start + count
    }

    /// Waits until each of these has arrived.
    ///
    /// # Errors
    /// They did not within `within`, or a delivery was refused.
    pub async fn wait(&self, numbers: Range<usize>, within: Duration) -> Result<Arrived> {
        let done = async {
            loop {
                if let Some(arrived) = self.shared.arrivals().take(numbers.clone())? {
                    return Ok(arrived);
                }
                self.shared.done.notified().await;
            }
        };
        tokio::time::timeout(within, done).await.with_context(|| {
            let missing = self.shared.arrivals().missing;
            format!("{missing} messages did not arrive within {within:?}")
        })?
    }
}

impl Shared {
    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, reason: String) {
        self.arrivals().failed.get_or_insert(reason);
        self.done.notify_one();
    }

    /// Takes a delivery whose signature is good and which is of a message that is known.
    async fn receive(&self, request: Request<Incoming>) -> Result<()> {
        anyhow::ensure!(request.method() == Method::POST, "{}", request.method());
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let key = self.key.get().context("there is no secret yet")?;
        key.verify(&head.headers, &body)?;
        let number = number(&body)?;
        if self.arrivals().note(number)? {
            self.done.notify_one();
        }
        Ok(())
    }
}

impl Arrivals {
    /// Whether it is the last one that was missing.
    fn note(&mut self, number: usize) -> Result<bool> {
        let at = self.at.get_mut(number).context("nobody sent this number")?;
        if at.is_some() {
            self.repeated += 1;
            return Ok(false);
        }
        *at = Some(Instant::now());
        self.missing -= 1;
        Ok(self.missing == 0)
    }

    /// `None`: some are missing.
    fn take(&mut self, numbers: Range<usize>) -> Result<Option<Arrived>> {
        if let Some(reason) = &self.failed {
            anyhow::bail!("the endpoint {reason}");
        }
        let at = self.at[numbers].iter().copied().collect();
        Ok(Option::map(at, |at| Arrived {
            at,
            repeated: std::mem::take(&mut self.repeated),
        }))
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                return shared.fail(format!("cannot accept a connection: {error}"));
            }
        };
        let shared = Arc::clone(&shared);
        let connection = http1::Builder::new().serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(Arc::clone(&shared), request)),
        );
        // A connection that breaks shows by what does not arrive.
        tokio::spawn(async move { drop(connection.await) });
    }
}

/// 204 once a delivery is checked and noted; 400 to any other, which fails the measurement.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, http::Error> {
    let status = match shared.receive(request).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            shared.fail(format!("refused a delivery: {error:#}"));
            StatusCode::BAD_REQUEST
        }
    };
    Response::builder().status(status).body(Empty::new())
}

/// What the text of a message begins with.
fn number(body: &[u8]) -> Result<usize> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        data: Data<'a>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        message: Message<'a>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        text: &'a str,
    }
    let event: Event<'_> = serde_json::from_slice(body)?;
    let text = event.data.message.content.text;
    let (number, _) = text.split_once(' ').context("a text without a number")?;
    Ok(number.parse()?)
}

/// Makes and checks signatures of the Standard Webhooks scheme.
pub struct Key(Hmac<Sha256>);

impl Key {
    /// `secret`: `whsec_<base64>`.
    pub fn new(secret: &str) -> Result<Self> {
        let encoded = secret.strip_prefix("whsec_").context("not a secret")?;
        let key = BASE64_STANDARD.decode(encoded)?;
        Ok(Self(Hmac::new_from_slice(&key)?))
    }

    /// Whether one of the signatures is of this body, with this id, at this time, which is about now.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let header = |name: &'static str| -> Result<&str> {
            let value = headers.get(name).with_context(|| format!("no {name}"))?;
            Ok(value.to_str()?)
        };
        let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        anyhow::ensure!(
            timestamp.parse::<u64>()?.abs_diff(now) <= TOLERANCE,
            "the timestamp is not about now"
        );
        let mac = self.mac(id, timestamp, body);
        let signatures = header("webhook-signature")?.split(' ');
        let fits = signatures
            .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix("v1,")?).ok())
            .any(|signature| mac.clone().verify_slice(&signature).is_ok());
        anyhow::ensure!(fits, "no signature fits");
        Ok(())
    }

    /// The header that signs this body.
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let code = self.mac(id, timestamp, body).finalize().into_bytes();
        format!("v1,{}", BASE64_STANDARD.encode(code))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;
    use crate::load::{Load, Provider};

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    /// As the scheme's own crate signs it.
    fn signed(timestamp: u64, body: &[u8]) -> HeaderMap {
        let webhook = Webhook::new(SECRET).expect("a secret");
        let seconds = i64::try_from(timestamp).expect("a near year");
        let signature = webhook.sign("id", seconds, body).expect("signs");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", "id"),
            ("webhook-timestamp", &timestamp.to_string()),
            ("webhook-signature", &format!("v1,AAAA {signature}")),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        headers
    }

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.expect("past 1970").as_secs()
    }

    #[test]
    fn only_what_is_signed_now_with_the_secret_is_taken() {
        let key = Key::new(SECRET).expect("a secret");
        let headers = signed(now(), b"{}");
        key.verify(&headers, b"{}").expect("signed alike");
        key.verify(&headers, b"{ }").expect_err("another body");
        let other = Key::new("whsec_AAAA").expect("a secret");
        other.verify(&headers, b"{}").expect_err("another secret");
        let old = signed(now() - TOLERANCE - 1, b"{}");
        key.verify(&old, b"{}").expect_err("too old");
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut headers = headers.clone();
            headers.remove(name);
            key.verify(&headers, b"{}").expect_err(name);
        }
    }

    #[test]
    fn the_number_is_found_or_it_is_an_error() {
        let event = br#"{"id":"e","data":{"message":{"id":"m","content":{"type":"text","text":"17 lorem"}}}}"#;
        assert_eq!(number(event).expect("a number"), 17);
        for event in [
            &br#"{"data":{"message":{"content":{"text":"lorem ipsum"}}}}"#[..],
            br#"{"data":{"message":{"content":{}}}}"#,
            b"{",
        ] {
            number(event).expect_err("no number");
        }
    }

    #[tokio::test]
    async fn repetitions_do_not_stand_in_for_what_is_missing() {
        let endpoint = Endpoint::start().await.expect("a free port");
        let note = |number| endpoint.shared.arrivals().note(number).map(drop);
        let wait = |numbers| endpoint.wait(numbers, Duration::ZERO);
        assert_eq!(endpoint.expect(2), 0..2);
        note(0).expect("expected");
        note(0).expect("expected");
        note(2).expect_err("not expected");
        assert!(wait(0..2).await.is_err());
        note(1).expect("expected");
        let arrived = wait(0..2).await.expect("both are there");
        assert_eq!((arrived.at.len(), arrived.repeated), (2, 1));
        assert_eq!(endpoint.expect(1), 2..3);
    }

    #[tokio::test]
    async fn what_is_not_signed_is_answered_400_and_fails_the_measurement() {
        let endpoint = Endpoint::start().await.expect("a free port");
        endpoint.set_secret(SECRET).expect("a secret");
        let numbers = endpoint.expect(1);
        let provider = Provider::new(&(endpoint.url().to_owned(), String::new()));
        let load = Load::Saturated { connections: 1 };
        let sent = provider.expect("a URL").send(load, numbers.clone()).await;
        assert!(sent.expect_err("not signed").to_string().contains("400"));
        let arrived = endpoint.wait(numbers, Duration::from_secs(5)).await;
        let error = arrived.err().expect("refused").to_string();
        assert_eq!(error, "the endpoint refused a delivery: no webhook-id");
    }
}

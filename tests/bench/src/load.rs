//! The provider's side: messages posted into the webhook, and nothing else that takes the cores under test.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// Contacts who write in turn.
const CONTACTS: usize = 1_000;
/// How often a message is posted at most, and how long a provider waits before it posts again.
const ATTEMPTS: (usize, Duration) = (100, Duration::from_millis(100));

/// How messages come.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// As fast as they are accepted.
    Saturated { connections: usize },
    /// Evenly, whether or not earlier ones were accepted.
    Paced { per_second: u32 },
}

/// Posts to one webhook over connections that are kept.
pub struct Provider {
    address: SocketAddr,
    head: request::Parts,
    /// The words of every message.
    words: String,
    idle: Mutex<Vec<Line>>,
}

impl Provider {
    /// `webhook`: where to post to, by the IP address, and the secret to send.
    pub fn new((url, secret): &(String, String)) -> Result<Self> {
        let url: Uri = url.parse()?;
        let authority = url.authority().context("a webhook without a host")?;
        let path = url.path_and_query().context("a webhook without a path")?;
        let (head, ()) = Request::post(path.as_str())
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-telegram-bot-api-secret-token", secret)
            .body(())?
            .into_parts();
        Ok(Self {
            address: authority.as_str().parse()?,
            head,
            words: "lorem ipsum ".repeat(60),
            idle: Mutex::default(),
        })
    }

    /// Posts the messages until each is accepted. When each was begun, in the order of their numbers.
    pub async fn send(self, load: Load, numbers: Range<usize>) -> Result<Vec<Instant>> {
        let provider = Arc::new(self);
        let mut tasks = JoinSet::new();
        match load {
            Load::Saturated { connections } => {
                let next = Arc::new(AtomicUsize::new(numbers.start));
                for _ in 0..connections {
                    let (provider, next) = (Arc::clone(&provider), Arc::clone(&next));
                    let end = numbers.end;
                    tasks.spawn(async move {
                        let mut begun = Vec::new();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= end {
                                return anyhow::Ok(begun);
                            }
                            begun.push((number, provider.deliver(number).await?));
                        }
                    });
                }
            }
            Load::Paced { per_second } => {
                let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
                for number in numbers.clone() {
                    tick.tick().await;
                    let provider = Arc::clone(&provider);
                    tasks.spawn(async move { Ok(vec![(number, provider.deliver(number).await?)]) });
                }
            }
        }
        let mut begun = Vec::with_capacity(numbers.len());
        while let Some(done) = tasks.join_next().await {
            begun.extend(done??);
        }
        begun.sort_unstable();
        Ok(begun.into_iter().map(|(_, at)| at).collect())
    }

    /// Posts as a provider does: again, for as long as it is asked to come back later. When it began.
    async fn deliver(&self, number: usize) -> Result<Instant> {
        let begun = Instant::now();
        let body = Bytes::from(self.update(number));
        let mut line = self.line().await?;
        let (attempts, pause) = ATTEMPTS;
        for _ in 0..attempts {
            let request = Request::from_parts(self.head.clone(), Full::new(body.clone()));
            let status = line.post(request).await?;
            if status.is_success() {
                self.idle().push(line);
                return Ok(begun);
            }
            anyhow::ensure!(
                status == StatusCode::SERVICE_UNAVAILABLE,
                "the webhook answered {status}"
            );
            tokio::time::sleep(pause).await;
        }
        anyhow::bail!("refused {attempts} times")
    }

    /// The connection that was idle for the shortest time and is still open, or a new one.
    async fn line(&self) -> Result<Line> {
        loop {
            let Some(mut line) = self.idle().pop() else {
                return Line::to(self.address).await;
            };
            if futures::poll!(&mut line.connection).is_pending() {
                return Ok(line);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A text message of about 1 KiB, as Telegram posts it. Its text begins with the number.
    fn update(&self, number: usize) -> String {
        let id = number + 1;
        let contact = 5_000_000_000 + number % CONTACTS;
        let words = &self.words;
        format!(
            r#"{{"update_id":{id},"message":{{"message_id":{id},"from":{{"id":{contact},"is_bot":false,"first_name":"Bench","language_code":"en"}},"chat":{{"id":{contact},"first_name":"Bench","type":"private"}},"date":1767225600,"text":"{number} {words}"}}}}"#
        )
    }
}

/// A connection for one request at a time. Whoever waits for an answer drives it: no task of its own has to be woken.
struct Line {
    requests: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<TcpStream>, Full<Bytes>>,
}

impl Line {
    async fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            requests,
            connection,
        })
    }

    /// The status of the answer, which is read to its end.
    async fn post(&mut self, request: Request<Full<Bytes>>) -> Result<StatusCode> {
        let answer = async {
            self.requests.ready().await?;
            let answer = self.requests.send_request(request).await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            Ok(status)
        };
        tokio::select! {
            biased;
            status = answer => status,
            ended = &mut self.connection => {
                ended?;
                anyhow::bail!("the webhook closed a connection")
            }
        }
    }
}

//! The provider's side: messages posted into the webhook, and nothing else that takes the cores under test.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, request};
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::line::Lines;

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
    lines: Lines,
    head: request::Parts,
    /// The words of every message.
    words: String,
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
            lines: Lines::new(authority.as_str().parse()?),
            head,
            words: "lorem ipsum ".repeat(60),
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
                    // A late thread is no excuse: the message was to be sent now.
                    let due = tick.tick().await.into_std();
                    let provider = Arc::clone(&provider);
                    tasks.spawn(async move {
                        provider.deliver(number).await?;
                        Ok(vec![(number, due)])
                    });
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
        let mut line = self.lines.take().await?;
        let (attempts, pause) = ATTEMPTS;
        for _ in 0..attempts {
            let request = Request::from_parts(self.head.clone(), Full::new(body.clone()));
            let status = line.post(request).await?;
            if status.is_success() {
                self.lines.give_back(line);
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

//! Fetches what an account's messages wait for, beside its session: from the provider into the media store, and then tells.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::Utc;
use metrics::counter;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use tributary_base::{backoff::Backoff, media::PutError};
use tributary_bus::message::{Inbound, Media, MediaState, MessageMedia};
use tributary_config::Settings;

use super::{
    FetchError, MediaShelf,
    queue::{Fetch, FetchQueue, Key},
};
use crate::{Connector, InboundSink};

/// How often it is looked for what other processes took in.
const LOOK: Duration = Duration::from_secs(2);
/// A provider may ask for more; it is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Whatever the backoff draws.
const SHORTEST_WAIT: Duration = Duration::from_millis(300);
/// Characters of a reason.
const REASON_LIMIT: usize = 300;

/// Bounds of fetching.
#[derive(Debug, Clone, Copy)]
pub struct FetchPolicy {
    pub backoff: Backoff,
    pub attempts: u32,
    pub max_age: Duration,
    /// At once, of one account.
    pub concurrency: usize,
    /// To the first byte; the store bounds the rest.
    pub deadline: Duration,
}

impl FetchPolicy {
    /// As the settings say.
    pub fn new(settings: &Settings) -> Self {
        let media = &settings.media;
        Self {
            backoff: Backoff {
                base: media.fetch_retry_base,
                cap: media.fetch_retry_cap,
            },
            attempts: media.fetch_attempts,
            max_age: media.fetch_max_age,
            concurrency: media.fetch_concurrency,
            deadline: media.fetch_deadline,
        }
    }
}

/// What fetches the media of one account. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub connector: Arc<dyn Connector>,
    pub sink: InboundSink,
    pub queue: FetchQueue,
    /// `None`: no media is kept, and messages say so.
    pub shelf: Option<MediaShelf>,
    pub policy: FetchPolicy,
    /// One at a time in this process, whatever becomes of the session beside it.
    pub turn: Arc<Semaphore>,
}

impl Fetcher {
    /// Starts fetching until `stop`, in a task of its own: a session that breaks breaks no download. Does nothing when it runs
    /// already.
    pub fn start(&self, stop: &CancellationToken) {
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            return;
        };
        let (fetcher, stop) = (self.clone(), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(fetcher.run()).await;
            drop(turn);
        });
    }

    async fn run(&self) {
        let mut running: JoinSet<Key> = JoinSet::new();
        let mut under_way: HashSet<Key> = HashSet::new();
        loop {
            if running.len() < self.policy.concurrency {
                match self.queue.due(self.policy.concurrency).await {
                    Ok(due) => {
                        let free = self.policy.concurrency - running.len();
                        let new = due
                            .into_iter()
                            .filter(|fetch| !under_way.contains(&fetch.key));
                        for fetch in new.take(free).collect::<Vec<_>>() {
                            under_way.insert(fetch.key);
                            let fetcher = self.clone();
                            running.spawn(async move {
                                let key = fetch.key;
                                fetcher.bring(fetch).await;
                                key
                            });
                        }
                    }
                    Err(error) => {
                        warn!(channel_id = %self.sink.channel(), %error, "cannot see which media is to be fetched");
                    }
                }
            }
            tokio::select! {
                Some(ended) = running.join_next() => match ended {
                    Ok(key) => { under_way.remove(&key); }
                    Err(error) => {
                        warn!(channel_id = %self.sink.channel(), %error, "fetching media failed");
                        // Which one it was is not known; what is still under way keeps its place in the JoinSet.
                        running.shutdown().await;
                        under_way.clear();
                        sleep(LOOK).await;
                    }
                },
                () = self.queue.woken() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Brings one medium as far as it goes now.
    async fn bring(&self, fetch: Fetch) {
        if let Err(reason) = self.try_bring(&fetch).await {
            let message_id = fetch.event.message_id;
            warn!(channel_id = %self.sink.channel(), %message_id, reason, "what became of media is not told yet");
            // The row is due all the while.
            sleep(Backoff::SERVER.cap).await;
        }
    }

    async fn try_bring(&self, fetch: &Fetch) -> Result<(), String> {
        let event = if fetch.fetched {
            fetch.event.clone()
        } else {
            self.queue
                .begin(fetch)
                .await
                .map_err(|error| error.to_string())?;
            match self.fetch(fetch).await {
                Step::Complete(media) => {
                    let event = completed(&fetch.event, *media);
                    let noted = self.queue.fetched(fetch, &event).await;
                    noted.map_err(|error| error.to_string())?;
                    event
                }
                Step::Again { attempts, wait } => {
                    let noted = self.queue.later(fetch, attempts, wait).await;
                    return noted.map_err(|error| error.to_string());
                }
            }
        };
        let told = self
            .sink
            .publish(vec![Inbound::Media(Box::new(event))])
            .await;
        told.map_err(|error| error.to_string())?;
        self.queue
            .remove(fetch)
            .await
            .map_err(|error| error.to_string())
    }

    async fn fetch(&self, fetch: &Fetch) -> Step {
        let attempts = fetch.attempts + 1;
        if attempts > self.policy.attempts {
            let reason = "every try was interrupted; it may be too much for this server";
            return self.give_up(fetch, reason.to_owned());
        }
        let trouble = match self.download(fetch).await {
            Ok(media) => {
                self.count("ready");
                return Step::Complete(Box::new(media));
            }
            Err(trouble) => trouble,
        };
        let (reason, retry_after, counts) = match trouble {
            Trouble::Final(reason) => return self.give_up(fetch, reason),
            Trouble::Provider {
                reason,
                retry_after,
            } => (reason, retry_after, true),
            // Our own disk is full: not the provider's fault, so only age ends it.
            Trouble::Store(reason) => (reason, None, false),
        };
        let reason = self.clean(&reason);
        let age = (Utc::now() - fetch.created_at).to_std().unwrap_or_default();
        if (counts && attempts >= self.policy.attempts) || age >= self.policy.max_age {
            let tries = if attempts == 1 { "try" } else { "tries" };
            let reason = format!("it could not be fetched after {attempts} {tries}: {reason}");
            return self.give_up(fetch, reason);
        }
        let wait = self
            .policy
            .backoff
            .delay(attempts)
            .max(SHORTEST_WAIT)
            .max(retry_after.unwrap_or_default().min(LONGEST_WAIT));
        debug!(channel_id = %self.sink.channel(), message_id = %fetch.event.message_id, reason, ?wait, "media is fetched later");
        self.count("again");
        let attempts = if counts { attempts } else { fetch.attempts };
        Step::Again { attempts, wait }
    }

    fn give_up(&self, fetch: &Fetch, reason: String) -> Step {
        self.count("failed");
        Step::Complete(Box::new(Media {
            state: MediaState::Failed,
            url: None,
            media_id: None,
            failure: Some(self.clean(&reason)),
            ..fetch.event.media.clone()
        }))
    }

    async fn download(&self, fetch: &Fetch) -> Result<Media, Trouble> {
        let Some(source) = self.connector.media() else {
            return Err(Trouble::Final("the channel cannot fetch media".to_owned()));
        };
        let Some(shelf) = &self.shelf else {
            let reason = "no media is kept here; an operator can set media.url";
            return Err(Trouble::Final(reason.to_owned()));
        };
        let deadline = self.policy.deadline;
        let stream = match timeout(deadline, source.open(&fetch.source)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(FetchError::Gone { reason })) => return Err(Trouble::Final(reason)),
            Ok(Err(FetchError::TooLarge { limit })) => return Err(too_large(limit)),
            Ok(Err(FetchError::Unavailable {
                retry_after,
                reason,
            })) => {
                return Err(Trouble::Provider {
                    reason,
                    retry_after,
                });
            }
            Err(_) => {
                let reason = format!("no answer within {} s", deadline.as_secs());
                return Err(Trouble::Provider {
                    reason,
                    retry_after: None,
                });
            }
        };
        let pending = &fetch.event.media;
        let name = pending.name.clone().or_else(|| stream.name.clone());
        let mime = stream.mime.clone().or_else(|| pending.mime.clone());
        let stream = super::MediaStream { mime, ..stream };
        match shelf.put(stream, None).await {
            Ok(stored) => Ok(Media {
                state: MediaState::Ready,
                url: None,
                failure: None,
                media_id: stored.media_id,
                mime: stored.mime,
                size: stored.size,
                sha256: stored.sha256,
                name,
                width: stored.width.or(pending.width),
                height: stored.height.or(pending.height),
                ..pending.clone()
            }),
            Err(PutError::TooLarge { limit }) => Err(too_large(limit)),
            Err(error @ (PutError::Full | PutError::Store(_))) => {
                Err(Trouble::Store(error.to_string()))
            }
            Err(error @ (PutError::Slow(_) | PutError::Source(_))) => Err(Trouble::Provider {
                reason: error.to_string(),
                retry_after: None,
            }),
        }
    }

    /// A reason without the account's secrets, whoever wrote it, and not too long.
    fn clean(&self, reason: &str) -> String {
        let secrets = self.connector.secrets();
        let clean = secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(reason.to_owned(), |text, secret| {
                text.replace(secret.as_str(), "[redacted]")
            });
        clean.chars().take(REASON_LIMIT).collect()
    }

    fn count(&self, outcome: &'static str) {
        let channel = self.sink.channel().to_string();
        counter!("tributary_media_fetches_total", "channel" => channel, "outcome" => outcome)
            .increment(1);
    }
}

/// How far a try has come.
enum Step {
    /// Ready or failed, for good.
    Complete(Box<Media>),
    Again {
        attempts: u32,
        wait: Duration,
    },
}

enum Trouble {
    Final(String),
    Provider {
        reason: String,
        retry_after: Option<Duration>,
    },
    Store(String),
}

fn too_large(limit: u64) -> Trouble {
    let mebibytes = limit.div_ceil(1024 * 1024);
    Trouble::Final(format!("it is larger than {mebibytes} MiB"))
}

fn completed(pending: &MessageMedia, media: Media) -> MessageMedia {
    let mut event = pending.clone();
    event.origin.occurred_at = Utc::now();
    event.media = media;
    event
}

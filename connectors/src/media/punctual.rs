//! Media that comes in time for a provider call, or not at all.
//!
//! A provider call that is cut off may have arrived; one whose media has not come, or not whole, has not. So media has
//! an earlier deadline than the call that it goes along with.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout, timeout_at};
use tributary_bus::message::Media;
use url::Url;

use super::{FetchError, MediaAccess, MediaStream};

/// The media of one call.
pub(crate) struct Punctual {
    access: Arc<dyn MediaAccess>,
    /// For opening it.
    opened: Duration,
    /// When its last byte has to be there.
    until: Instant,
}

impl Punctual {
    /// For a call that begins now and may take this long.
    pub(crate) fn new(access: &Arc<dyn MediaAccess>, call: Duration) -> Self {
        Self {
            access: Arc::clone(access),
            opened: call * 2 / 3,
            until: Instant::now() + call * 9 / 10,
        }
    }
}

#[async_trait]
impl MediaAccess for Punctual {
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError> {
        let late = || FetchError::Unavailable {
            retry_after: None,
            reason: format!("it did not come within {:?}", self.opened),
        };
        let opened = timeout(self.opened, self.access.open(media));
        let stream = opened.await.map_err(|_| late())??;
        let until = self.until;
        let body = stream::unfold(Some(stream.body), move |body| async move {
            let mut body = body?;
            match timeout_at(until, body.next()).await {
                Ok(chunk) => chunk.map(|chunk| (chunk, Some(body))),
                Err(_) => {
                    let late = io::Error::new(io::ErrorKind::TimedOut, "it came too slowly");
                    Some((Err(late), None))
                }
            }
        });
        Ok(MediaStream {
            body: body.boxed(),
            ..stream
        })
    }

    async fn describe(&self, media: &Media) -> Result<Media, FetchError> {
        self.access.describe(media).await
    }

    fn link(&self, media: &Media) -> Option<Url> {
        self.access.link(media)
    }

    async fn handle(&self, media: &Media, kind: &str) -> Option<String> {
        self.access.handle(media, kind).await
    }

    async fn remember(&self, media: &Media, kind: &str, handle: &str) {
        self.access.remember(media, kind, handle).await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// A host that answers after so long, and then needs as long for each byte.
    struct Slow(Duration);

    #[async_trait]
    impl MediaAccess for Slow {
        async fn open(&self, _: &Media) -> Result<MediaStream, FetchError> {
            let wait = self.0;
            tokio::time::sleep(wait).await;
            let body = stream::unfold(0, move |sent| async move {
                tokio::time::sleep(wait).await;
                (sent < 3).then_some((Ok(Bytes::from_static(b"x")), sent + 1))
            });
            Ok(MediaStream {
                body: body.boxed(),
                mime: None,
                size: Some(3),
                name: None,
            })
        }

        fn link(&self, _: &Media) -> Option<Url> {
            None
        }

        async fn handle(&self, _: &Media, _: &str) -> Option<String> {
            None
        }

        async fn remember(&self, _: &Media, _: &str, _: &str) {}
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_is_not_sent() {
        let call = Duration::from_millis(1500);
        for (wait, opened, whole) in [(5, true, true), (500, true, false), (1400, false, false)] {
            let slow: Arc<dyn MediaAccess> = Arc::new(Slow(Duration::from_millis(wait)));
            let begun = Instant::now();
            let found = Punctual::new(&slow, call).open(&Media::default()).await;
            assert_eq!(found.is_ok(), opened, "{wait} ms");
            let Ok(stream) = found else {
                assert!(matches!(found, Err(FetchError::Unavailable { .. })));
                assert!(begun.elapsed() < call);
                continue;
            };
            let chunks: Vec<io::Result<Bytes>> = stream.body.collect().await;
            assert_eq!(chunks.iter().all(Result::is_ok), whole, "{wait} ms");
            assert!(begun.elapsed() < call);
        }
    }
}

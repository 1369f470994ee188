//! Listening without taking part: notices, and copies of what is published. A private queue that vanishes with its
//! connection. For copies it is made anew on the next; who listens to notices is to know that some may be missing.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt, stream, stream::BoxStream};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::DropGuard;
use tributary_base::backoff::Backoff;

use super::{Lines, link::Link, topology::short};
use crate::{BusError, Lane, Moved, Notice};

/// Messages that wait in the broker for a slow listener; the oldest are dropped.
const IN_BROKER: i32 = 10_000;

/// Messages that wait in this process for a slow listener; the oldest are dropped.
const IN_PROCESS: usize = 1_000;

/// What to listen to: pairs of exchange and binding key.
type Sources = Vec<(ShortString, ShortString)>;

/// What happens when some messages were missed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// The stream ends.
    Ends,
    /// It goes on with what comes later.
    Passes,
}

/// The notices from now on.
pub(super) async fn notices(lines: Arc<Lines>) -> Result<BoxStream<'static, Notice>, BusError> {
    let sources = vec![(lines.names().live()?, ShortString::default())];
    listen(lines, sources, Missed::Ends, |delivery| Notice {
        topic: delivery.routing_key.to_string(),
        body: Bytes::from(delivery.data),
    })
    .await
}

/// Copies of what goes into these lanes, of the events and of the dead letters, from now on.
pub(super) async fn tail(
    lines: Arc<Lines>,
    lanes: &[Lane],
) -> Result<BoxStream<'static, Moved>, BusError> {
    let names = lines.names();
    let (events, dead) = (names.events()?, names.dead()?);
    let mut sources = vec![
        (events.clone(), short("#".to_owned())?),
        (dead.clone(), ShortString::default()),
    ];
    for lane in lanes {
        sources.push((names.lanes()?, short(lane.to_string())?));
    }
    listen(lines, sources, Missed::Passes, move |delivery| Moved {
        to: if delivery.exchange == events {
            "events".to_owned()
        } else if delivery.exchange == dead {
            "dead".to_owned()
        } else {
            delivery.routing_key.to_string()
        },
        at: Utc::now(),
        body: Bytes::from(delivery.data),
    })
    .await
}

/// Ready when the first queue is bound; later ones come and go with the connections.
async fn listen<T: Clone + Send + 'static>(
    lines: Arc<Lines>,
    sources: Sources,
    missed: Missed,
    read: impl Fn(Delivery) -> T + Send + 'static,
) -> Result<BoxStream<'static, T>, BusError> {
    let first = attach(&lines, &lines.consuming()?, &sources).await?;
    let (heard, hearing) = broadcast::channel(IN_PROCESS);
    let stop = lines.stop().child_token();
    let guard = stop.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = forward(lines, sources, missed, first, heard, read) => {}
        }
    });
    let stream = stream::unfold((hearing, guard), move |heard| next_heard(heard, missed));
    Ok(stream.boxed())
}

async fn next_heard<T: Clone>(
    (mut hearing, guard): (broadcast::Receiver<T>, DropGuard),
    missed: Missed,
) -> Option<(T, (broadcast::Receiver<T>, DropGuard))> {
    loop {
        match hearing.recv().await {
            Ok(item) => return Some((item, (hearing, guard))),
            Err(RecvError::Lagged(count)) => {
                tracing::debug!(count, "a slow listener lost some messages");
                if missed == Missed::Ends {
                    return None;
                }
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn forward<T: Clone>(
    lines: Arc<Lines>,
    sources: Sources,
    missed: Missed,
    mut consumer: Consumer,
    heard: broadcast::Sender<T>,
    read: impl Fn(Delivery) -> T,
) {
    loop {
        while let Some(Ok(delivery)) = consumer.next().await {
            // An error means that the listener has just gone.
            drop(heard.send(read(delivery)));
        }
        if missed == Missed::Ends {
            return;
        }
        let mut attempt = 0;
        consumer = loop {
            tokio::time::sleep(Backoff::SERVER.delay(attempt)).await;
            attempt += 1;
            let link = lines.consuming_soon().await;
            match attach(&lines, &link, &sources).await {
                Ok(consumer) => break consumer,
                Err(reason) => tracing::debug!(%reason, "cannot listen yet"),
            }
        };
    }
}

/// Declares a private queue, lets everything in, and consumes it without acknowledgements.
async fn attach(lines: &Lines, link: &Arc<Link>, sources: &Sources) -> Result<Consumer, BusError> {
    let channel = link.channel().await?;
    // A name of our own, since an answer that comes late names a queue to nobody.
    let queue = lines.names().listener()?;
    let attached = consume(link, &channel, &queue, sources).await;
    if attached.is_err() {
        // Behind a request that may still be answered; it would fill up until the connection ends.
        tokio::spawn(remove(Arc::clone(link), channel, queue));
    }
    attached
}

async fn consume(
    link: &Link,
    channel: &Channel,
    queue: &ShortString,
    sources: &Sources,
) -> Result<Consumer, BusError> {
    let mut bounds = FieldTable::default();
    bounds.insert("x-max-length".into(), IN_BROKER.into());
    bounds.insert(
        "x-overflow".into(),
        AMQPValue::LongString("drop-head".into()),
    );
    let private = QueueDeclareOptions::exclusive().auto_delete();
    link.ask(channel.queue_declare(queue.clone(), private, bounds))
        .await?;
    for (exchange, key) in sources {
        let bind = channel.queue_bind(
            queue.clone(),
            exchange.clone(),
            key.clone(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        link.ask(bind).await?;
    }
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consume = channel.basic_consume(
        queue.clone(),
        ShortString::default(),
        options,
        FieldTable::default(),
    );
    link.ask(consume).await
}

/// Removes a queue on the AMQP channel that declared it, or on another when a refusal has closed that.
async fn remove(link: Arc<Link>, channel: Channel, queue: ShortString) {
    let channel = if channel.status().connected() {
        Ok(channel)
    } else {
        link.channel().await
    };
    let Ok(channel) = channel else {
        return;
    };
    let delete = channel.queue_delete(queue, QueueDeleteOptions::default());
    tokio::select! {
        () = link.ended() => {}
        answer = delete => {
            if let Err(reason) = answer {
                tracing::debug!(%reason, "the queue of a listener stays until the connection ends");
            }
        }
    }
}

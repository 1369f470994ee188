//! The same stops with nothing in them: what the whole way costs on this machine before anybody does anything.
//!
//! HTTP in -> quorum queue -> a row each, committed by batches -> quorum queue -> signed HTTP out, each step acknowledged
//! only after the next one is durable. No format, no contacts, no order, no retries; one process, few tasks.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{StreamExt as _, future::try_join_all, stream};
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString},
};
use serde::Deserialize;
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    endpoint::{Endpoint, Key},
    line::Lines,
};

const IN: &str = "bench.bare.in";
const OUT: &str = "bench.bare.out";
/// Messages of one transaction, and deliveries in flight, at most.
const BATCH: usize = 100;
/// What deliveries are signed with.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The running stops.
pub struct Bare {
    /// Where to post to, and a secret that nobody looks at.
    pub webhook: (String, String),
    channel: Channel,
    pool: PgPool,
    _connections: [Connection; 2],
    tasks: JoinSet<Result<()>>,
}

impl Bare {
    /// Starts them; deliveries go to `endpoint`.
    pub async fn start(amqp: &str, postgres: &str, endpoint: &Endpoint) -> Result<Self> {
        endpoint.set_secret(SECRET)?;
        let pool = PgPool::connect(postgres).await?;
        sqlx::query("CREATE TABLE bench_bare (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL)")
            .execute(&pool)
            .await?;
        let publishing = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let consuming = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let (ways_in, ways_out) = (
            queue(&publishing, IN).await?,
            queue(&publishing, OUT).await?,
        );
        let (arrivals, events) = (
            consume(&consuming, IN).await?,
            consume(&consuming, OUT).await?,
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let poster = Arc::new(Poster::new(endpoint.url())?);
        let channel = ways_out.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, ways_in));
        tasks.spawn(store(arrivals, ways_out, pool.clone()));
        tasks.spawn(deliver(events, poster));
        Ok(Self {
            webhook: (url, "none".to_owned()),
            channel,
            pool,
            _connections: [publishing, consuming],
            tasks,
        })
    }

    pub async fn stop(mut self) -> Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        self.tasks.shutdown().await;
        for name in [IN, OUT] {
            let options = QueueDeleteOptions::default();
            self.channel.queue_delete(name.into(), options).await?;
        }
        sqlx::query("DROP TABLE bench_bare")
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// A channel with confirms, and the quorum queue.
async fn queue(connection: &Connection, name: &str) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString(LongString::from("quorum"));
    arguments.insert("x-queue-type".into(), quorum);
    let options = QueueDeclareOptions::durable();
    channel
        .queue_declare(name.into(), options, arguments)
        .await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

async fn consume(connection: &Connection, name: &str) -> Result<Consumer> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(500, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(name.into(), "".into(), options, FieldTable::default());
    Ok(consumer.await?)
}

/// Answers when the broker has confirmed.
async fn publish(channel: &Channel, name: &'static str, body: &[u8]) -> Result<()> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let confirm = channel.basic_publish("".into(), name.into(), options, body, persistent);
    let confirmation = confirm.await?.await?;
    anyhow::ensure!(confirmation.is_ack(), "{name}: not confirmed");
    Ok(())
}

async fn serve(listener: TcpListener, channel: Channel) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let channel = channel.clone();
        let take = service_fn(move |request: Request<Incoming>| {
            let channel = channel.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                publish(&channel, IN, &body).await?;
                anyhow::Ok(Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), take);
        // A connection that breaks shows by what does not arrive.
        tokio::spawn(async move { drop(connection.await) });
    }
}

/// Batches: stored in one statement, passed on, acknowledged.
async fn store(arrivals: Consumer, out: Channel, pool: PgPool) -> Result<()> {
    let mut batches = arrivals.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let batch: Vec<Delivery> = batch.into_iter().collect::<Result<_, _>>()?;
        let bodies = batch
            .iter()
            .map(|delivery| std::str::from_utf8(&delivery.data));
        let bodies: Vec<&str> = bodies.collect::<Result<_, _>>()?;
        let events: Vec<String> = bodies
            .iter()
            .map(|body| event(body))
            .collect::<Result<_>>()?;
        sqlx::query("INSERT INTO bench_bare (body) SELECT * FROM UNNEST($1::text[])")
            .bind(bodies)
            .execute(&pool)
            .await?;
        try_join_all(
            events
                .iter()
                .map(|event| publish(&out, OUT, event.as_bytes())),
        )
        .await?;
        acknowledge(batch.last()).await?;
    }
    anyhow::bail!("the broker ended a consumer")
}

/// The update's text where the endpoint looks for it.
fn event(update: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Update<'a> {
        #[serde(borrow)]
        message: Message<'a>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        text: &'a str,
    }
    let update: Update<'_> = serde_json::from_str(update)?;
    let text = update.message.text;
    Ok(format!(
        r#"{{"data":{{"message":{{"content":{{"type":"text","text":"{text}"}}}}}}}}"#
    ))
}

async fn deliver(events: Consumer, poster: Arc<Poster>) -> Result<()> {
    let mut batches = events.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        let batch: Vec<Delivery> = batch.into_iter().collect::<Result<_, _>>()?;
        let bodies = batch
            .iter()
            .map(|delivery| Bytes::copy_from_slice(&delivery.data));
        let bodies: Vec<Bytes> = bodies.collect();
        let mut posts = stream::iter(bodies)
            .map(|body| poster.post(body))
            .buffer_unordered(BATCH);
        while let Some(posted) = posts.next().await {
            posted?;
        }
        acknowledge(batch.last()).await?;
    }
    anyhow::bail!("the broker ended a consumer")
}

async fn acknowledge(last: Option<&Delivery>) -> Result<()> {
    let last = last.context("an empty batch")?;
    last.acker.ack(BasicAckOptions { multiple: true }).await?;
    Ok(())
}

/// Posts signed deliveries over connections that are kept.
struct Poster {
    lines: Lines,
    authority: String,
    path: String,
    key: Key,
}

impl Poster {
    fn new(url: &str) -> Result<Self> {
        let url: Uri = url.parse()?;
        let authority = url.authority().context("an endpoint without a host")?;
        Ok(Self {
            lines: Lines::new(authority.as_str().parse()?),
            authority: authority.to_string(),
            path: url.path().to_owned(),
            key: Key::new(SECRET)?,
        })
    }

    async fn post(&self, body: Bytes) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let (id, timestamp) = (now.as_nanos().to_string(), now.as_secs().to_string());
        let signature = self.key.sign(&id, &timestamp, &body);
        let request = Request::post(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(body))?;
        let mut line = self.lines.take().await?;
        let status = line.post(request).await?;
        anyhow::ensure!(status.is_success(), "the endpoint answered {status}");
        self.lines.give_back(line);
        Ok(())
    }
}

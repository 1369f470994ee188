//! The broker alone: one publisher with a window of 1,000 confirms, one consumer.

use std::time::Instant;

use anyhow::Result;
use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString},
};

const QUEUE: &str = "bench.raw";
const WINDOW: usize = 1_000;

/// Messages per second from the first publication to the last acknowledgement.
pub async fn measure(url: &str, count: usize) -> Result<f64> {
    let publishing = Connection::connect(url, ConnectionProperties::default()).await?;
    let consuming = Connection::connect(url, ConnectionProperties::default()).await?;
    let publisher = publishing.create_channel().await?;
    let consumer = consuming.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString(LongString::from("quorum")),
    );
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    publisher
        .queue_declare(QUEUE.into(), durable, arguments)
        .await?;
    publisher
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    consumer.basic_qos(500, BasicQosOptions::default()).await?;
    let mut messages = consumer
        .basic_consume(
            QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;

    let started = Instant::now();
    let consume = async {
        let mut latest = None;
        for n in 1..=count {
            let Some(message) = messages.next().await else {
                anyhow::bail!("the consumer ended")
            };
            latest = Some(message?);
            if (n % 50 == 0 || n == count)
                && let Some(message) = latest.take()
            {
                message
                    .acker
                    .ack(BasicAckOptions { multiple: true })
                    .await?;
            }
        }
        drop(latest);
        anyhow::Ok(())
    };
    let publish = async {
        let body = vec![b'x'; 1024];
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let mut confirms = FuturesUnordered::new();
        for _ in 0..count {
            if confirms.len() >= WINDOW {
                confirm(confirms.next().await)?;
            }
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            confirms.push(
                publisher
                    .basic_publish("".into(), QUEUE.into(), options, &body, persistent.clone())
                    .await?,
            );
        }
        while let Some(outcome) = confirms.next().await {
            confirm(Some(outcome))?;
        }
        anyhow::Ok(())
    };
    futures::try_join!(consume, publish)?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    publisher
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await?;
    Ok(rate)
}

fn confirm(outcome: Option<lapin::Result<lapin::Confirmation>>) -> Result<()> {
    match outcome {
        Some(Ok(lapin::Confirmation::Ack(None))) => Ok(()),
        other => anyhow::bail!("a publication was not confirmed: {other:?}"),
    }
}

//! Messages into the webhook, events out at the endpoint, and the time between.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::task::JoinSet;

use crate::system::System;

/// Contacts who write in turn.
const CONTACTS: usize = 1_000;

/// How messages come.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// As fast as they are accepted.
    Saturated { connections: usize },
    /// Evenly, whether or not earlier ones were accepted.
    Paced { per_second: u32 },
}

/// What was seen.
pub struct Measured {
    /// Messages per second, from the first request to the last arrival at the endpoint.
    pub rate: f64,
    /// Requests answered with 200 per second.
    pub accepted: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Update ids go on over all measurements, so that no message is a repetition.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Sends `count` messages and waits until each has arrived.
pub async fn measure(system: &System, load: Load, count: usize) -> Result<Measured> {
    let first = NEXT.fetch_add(count as u64, Ordering::Relaxed);
    let before = system.endpoint.look(|records| records.distinct);
    let starts = Arc::new(Mutex::new(HashMap::with_capacity(count)));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let started = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let send = {
        let (url, secret) = system.webhook.clone();
        let starts = Arc::clone(&starts);
        move |n: usize| {
            let id = first + n as u64;
            starts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, tokio::time::Instant::now());
            let request = client
                .post(&url)
                .header("x-telegram-bot-api-secret-token", &secret)
                .json(&update(id));
            deliver(request)
        }
    };
    let mut tasks = JoinSet::new();
    match load {
        Load::Saturated { connections } => {
            for _ in 0..connections {
                let (send, next) = (send.clone(), Arc::clone(&next));
                tasks.spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return anyhow::Ok(());
                        }
                        send(n).await?;
                    }
                });
            }
        }
        Load::Paced { per_second } => {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
            for n in 0..count {
                tick.tick().await;
                tasks.spawn(send(n));
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let accepted = count as f64 / started.elapsed().as_secs_f64();
    system
        .endpoint
        .wait_for_events(before + count as u64, Duration::from_secs(300))
        .await?;
    let elapsed = started.elapsed();

    let starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut latencies: Vec<Duration> = system.endpoint.look(|records| {
        let of = |event: &tributary_simulators::endpoint::Received| {
            let text = event.data()["message"]["content"]["text"].as_str()?;
            let id: u64 = text.split(' ').next()?.parse().ok()?;
            Some(event.instant.duration_since(*starts.get(&id)?))
        };
        records
            .events
            .iter()
            .filter_map(|event| of(event))
            .collect()
    });
    anyhow::ensure!(
        latencies.len() >= count,
        "only {} of {count} can be timed",
        latencies.len()
    );
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Ok(Measured {
        rate: count as f64 / elapsed.as_secs_f64(),
        accepted,
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// Posts as a provider does: again, for as long as it is asked to come back later.
async fn deliver(request: reqwest::RequestBuilder) -> Result<()> {
    for _ in 0..100 {
        let again = request.try_clone().context("the body can be sent again")?;
        let answer = again.send().await?;
        if answer.status() != reqwest::StatusCode::SERVICE_UNAVAILABLE {
            answer.error_for_status()?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("refused 100 times")
}

/// A text message of about 1 KiB, as Telegram posts it.
fn update(id: u64) -> serde_json::Value {
    let contact = 5_000_000_000 + id % CONTACTS as u64;
    let name = "Bench";
    json!({
        "update_id": id,
        "message": {
            "message_id": id,
            "from": {"id": contact, "is_bot": false, "first_name": name, "language_code": "en"},
            "chat": {"id": contact, "first_name": name, "type": "private"},
            "date": 1_767_225_600,
            "text": format!("{id} {}", "lorem ipsum ".repeat(60)),
        }
    })
}

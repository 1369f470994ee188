//! Messages into the webhook, events out at the endpoint, and the time between.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    load::{Load, Provider},
    system::Ends,
};

/// What was seen.
pub struct Measured {
    /// Messages per second, from the first request to the last arrival at the endpoint.
    pub rate: f64,
    /// Requests accepted per second.
    pub accepted: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Deliveries of messages that had arrived before.
    pub repeated: usize,
}

/// Sends `count` messages and waits until each has arrived.
pub async fn measure(
    ends: &Ends,
    webhook: &(String, String),
    load: Load,
    count: usize,
) -> Result<Measured> {
    let provider = Provider::new(webhook)?;
    let numbers = ends.endpoint.expect(count);
    let started = Instant::now();
    let sending = ends.thread.spawn(provider.send(load, numbers.clone()));
    let begun = sending.await??;
    let accepted = count as f64 / started.elapsed().as_secs_f64();
    let arrived = ends
        .endpoint
        .wait(numbers, Duration::from_secs(300))
        .await?;
    let elapsed = started.elapsed();

    let pairs = arrived.at.iter().zip(&begun);
    let mut latencies: Vec<Duration> = pairs.map(|(at, begun)| *at - *begun).collect();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Ok(Measured {
        rate: count as f64 / elapsed.as_secs_f64(),
        accepted,
        p50: at(0.5),
        p99: at(0.99),
        repeated: arrived.repeated,
    })
}

//! Measures, in one run: the raw broker, the stops of the way with nothing in them, and the whole way of a message (webhook
//! -> bus -> router commit -> event -> endpoint) on RabbitMQ + PostgreSQL and on the embedded bus and store. Prints rates,
//! latencies, the ratios to the raw broker and to the bare stops, and the processor time that each process spent on a message: it
//! varies less than rates do on a machine that others use as well.

mod bare;
mod cpu;
mod endpoint;
mod line;
mod load;
mod raw;
mod system;
mod way;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    bare::Bare,
    cpu::Spent,
    load::Load,
    system::{Backing, Ends, System},
    way::Measured,
};

/// Messages of the saturated run.
const MESSAGES: usize = 20_000;
/// Requests in flight in the saturated run: what a provider with many connections would do.
const CONNECTIONS: usize = 64;
/// The paced run: messages per second, and how many.
const PACE: (u32, usize) = (300, 3_000);

#[tokio::main]
async fn main() -> Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let program = PathBuf::from(
        std::env::args()
            .nth(1)
            .context("usage: tributary-bench PATH-OF-TRIBUTARY")?,
    );
    let amqp =
        std::env::var("TEST_AMQP_URL").context("TEST_AMQP_URL is not set; use tests/bench/run")?;
    let postgres = std::env::var("TEST_POSTGRES_URL")
        .context("TEST_POSTGRES_URL is not set; use tests/bench/run")?;

    println!(
        "raw broker: publish + confirm -> consume + ack, 1 KiB, quorum queue, one connection each way"
    );
    let mut processes = cpu::servers()?;
    processes.push(("publisher and consumer", std::process::id()));
    let before = Spent::by(&processes)?;
    let raw = raw::measure(&amqp, MESSAGES * 2).await?;
    println!("  {raw:>8.0} messages/s");
    Spent::by(&processes)?.report_since(&before, MESSAGES * 2);
    println!();

    println!(
        "the same stops with nothing in them: HTTP in -> quorum queue -> a row each -> quorum queue -> signed HTTP out"
    );
    let ends = Ends::start().await?;
    let bare = Bare::start(&amqp, &postgres, &ends.endpoint).await?;
    let few = Load::Saturated { connections: 8 };
    way::measure(&ends, &bare.webhook, few, 500).await?;
    let mut processes = cpu::servers()?;
    processes.push(("load, stops and endpoint", std::process::id()));
    let before = Spent::by(&processes)?;
    let many = Load::Saturated {
        connections: CONNECTIONS,
    };
    let nothing = way::measure(&ends, &bare.webhook, many, MESSAGES).await?;
    report(
        "saturated",
        &nothing,
        &format!(", stops/raw {:.2}", nothing.rate / raw),
    );
    Spent::by(&processes)?.report_since(&before, MESSAGES);
    bare.stop().await?;
    println!();

    for backing in [Backing::Servers { amqp, postgres }, Backing::Embedded] {
        println!(
            "whole way on {}: webhook -> bus -> router commit -> event -> endpoint",
            backing.name()
        );
        let system = System::start(&program, &backing).await?;
        // Warms connections, caches and the claim of lanes.
        way::measure(
            &system.ends,
            &system.webhook,
            Load::Saturated { connections: 8 },
            500,
        )
        .await?;
        let mut processes = system.processes();
        if let Backing::Servers { .. } = backing {
            processes.extend(cpu::servers()?);
        }
        processes.push(("load and endpoint", std::process::id()));
        let before = Spent::by(&processes)?;
        let saturated = way::measure(
            &system.ends,
            &system.webhook,
            Load::Saturated {
                connections: CONNECTIONS,
            },
            MESSAGES,
        )
        .await?;
        let goal = match backing {
            Backing::Servers { .. } => " (goal 0.25)",
            Backing::Embedded => "",
        };
        let compared = format!(
            ", pipeline/raw {:.2}{goal}, pipeline/stops {:.2}",
            saturated.rate / raw,
            saturated.rate / nothing.rate
        );
        report("saturated", &saturated, &compared);
        Spent::by(&processes)?.report_since(&before, MESSAGES);
        let (pace, count) = PACE;
        let paced = way::measure(
            &system.ends,
            &system.webhook,
            Load::Paced { per_second: pace },
            count,
        )
        .await?;
        report(&format!("{pace}/s"), &paced, "");
        for line in system.metrics().await? {
            println!("  {line}");
        }
        system.stop().await;
        println!();
    }
    Ok(())
}

fn report(name: &str, measured: &Measured, compared: &str) {
    let Measured {
        rate,
        accepted,
        p50,
        p99,
        repeated,
    } = measured;
    print!(
        "  {name:<10} {rate:>7.0} messages/s at the endpoint, {accepted:>7.0} requests/s accepted, "
    );
    print!(
        "request -> endpoint p50 {:.0} ms, p99 {:.0} ms",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    if *repeated > 0 {
        print!(", {repeated} came again");
    }
    println!("{compared}");
}

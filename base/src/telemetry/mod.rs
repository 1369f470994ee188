//! Logs and metrics of a process. Never message text, addresses, tokens or bodies.

mod families;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

pub use families::{FAMILIES, Family, Kind};
pub use metrics_exporter_prometheus::PrometheusHandle as MetricsHandle;
use tracing_subscriber::{EnvFilter, filter::Directive};
use tributary_config::{Log, LogFormat};

/// Latency buckets in seconds, from one broker confirm to the slowest provider call.
const LATENCY: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Buckets for how many there were at once.
const SIZES: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Starts logging to stderr; the first call of a process wins.
///
/// # Errors
/// The filter cannot be parsed.
pub fn start_logs(log: &Log) -> Result<(), String> {
    let filter = log_filter(&log.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(started);
    Ok(())
}

/// What is logged with `log.filter` set to this text. Whatever it says, libraries that log what they carry stay silent.
///
/// # Errors
/// The text cannot be parsed.
pub fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(text)
        .map_err(|reason| format!("log.filter: {reason}; write for example \"info\""))?;
    Ok(filter
        // lapin logs returned messages with their bodies, and every lane claim that is refused as an error.
        .add_directive(silent("lapin")?)
        // At TRACE it logs each frame, with tokens and what was written.
        .add_directive(silent("tungstenite")?))
}

fn silent(target: &str) -> Result<Directive, String> {
    format!("{target}=off")
        .parse()
        .map_err(|reason| format!("log filter {target}: {reason}"))
}

/// Installs the process-wide metrics recorder; the handle renders the Prometheus text.
///
/// # Errors
/// A recorder is installed already.
pub fn start_metrics() -> Result<MetricsHandle, String> {
    let handle = recorder()?
        .install_recorder()
        .map_err(|reason| format!("metrics: {reason}"))?;
    families::describe();
    Ok(handle)
}

/// Distributions are histograms, never summaries: those of several processes can be added.
fn recorder() -> Result<PrometheusBuilder, String> {
    PrometheusBuilder::new()
        .set_buckets(&LATENCY)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES)
        })
        .map_err(|reason| format!("metrics: {reason}"))
}

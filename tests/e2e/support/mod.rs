//! What end-to-end tests share: processes of the real program, private servers, clients.

mod api;
mod process;
mod servers;
mod visitor;

use std::time::{Duration, Instant};

pub use api::Api;
pub use process::{Demo, Program, Spawn, free_port};
pub use servers::{Database, PrivateServer, fresh_database_on};
pub use visitor::Visitor;

/// Long enough for a debug build on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The text behind an address; `None` when nobody answers.
pub async fn fetch(url: &str) -> Option<(u16, String)> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .ok()?;
    let response = client.get(url).send().await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

/// Waits until a process says of each lane it owns that nothing waits in it and nothing is in hand, and that it holds
/// nothing that nobody handles.
pub async fn nothing_held(operations: &str) {
    let url = format!("{operations}/metrics");
    let held = ["tributary_lane_depth{", "tributary_lane_stranded{"];
    let gauge = |line: &&str| held.iter().any(|name| line.starts_with(name));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = match fetch(&url).await {
            Some((200, text)) => {
                let of_lanes = text.lines().filter(gauge);
                let open = of_lanes.filter(|line| !line.ends_with(" 0"));
                open.map(str::to_owned).collect()
            }
            other => vec![format!("{other:?}")],
        };
        if found.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not within {PATIENCE:?}: nothing is held, says {url}: {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks again until the answer is `Some`, pausing between; panics with `what` after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    within(PATIENCE, what, ask).await
}

/// [`eventually`] with a deadline of its own.
pub async fn within<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

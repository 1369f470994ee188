//! `/livez`, `/readyz` and `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures::FutureExt;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tributary_router::api::operations::{Check, Operations, serve_operations};

use crate::support::{client, send};

#[tokio::test]
async fn a_process_tells_how_it_is() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let checks = Arc::new(Mutex::new(vec![
        Check::ready("store"),
        Check::missing("bus", "connecting"),
    ]));
    let asked = Arc::clone(&checks);
    let operations = Operations {
        ready: Arc::new(move || {
            let checks = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                if checks.is_empty() {
                    std::future::pending::<()>().await;
                }
                checks
            }
            .boxed()
        }),
        metrics: Arc::new(|| "up 1\n".to_owned()),
    };
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve_operations(listener, operations, stop.clone()));
    let http = client()?;
    let get = |path: &str| send(http.get(format!("{base}{path}")));
    let set = |new: Vec<Check>| *checks.lock().unwrap_or_else(PoisonError::into_inner) = new;

    get("/livez").await?.expect(200)?;
    let missing = get("/readyz").await?.expect(503)?;
    let expected = json!({ "ready": false, "checks": [
        { "name": "store", "state": "ready" }, { "name": "bus", "state": "missing", "reason": "connecting" }
    ] });
    ensure!(missing.body == expected, "{}", missing.text);
    set(vec![Check::ready("store"), Check::ready("bus")]);
    ensure!(get("/readyz").await?.expect(200)?.body["ready"] == true);
    set(Vec::new());
    let frozen = get("/readyz").await?.expect(503)?;
    ensure!(
        frozen.body["checks"][0]["state"] == "missing",
        "{}",
        frozen.text
    );
    let metrics = get("/metrics").await?.expect(200)?;
    ensure!(
        metrics.text == "up 1\n"
            && metrics.headers["content-type"]
                .to_str()?
                .starts_with("text/plain")
    );
    get("/nothing").await?.expect(404)?;
    stop.cancel();
    Ok(server.await?)
}

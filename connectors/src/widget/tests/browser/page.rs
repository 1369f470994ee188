//! A page of somebody else's that shows the widget, as strict or as unruly as a test wants it.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Served at one address until dropped.
pub(super) struct Page {
    pub(super) url: String,
    _stopped: DropGuard,
}

impl Page {
    /// Answers every request with this document; `headers` are whole lines.
    pub(super) async fn serve(headers: &str, html: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n\
             {headers}content-length: {}\r\n\r\n{html}",
            html.len()
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone().drop_guard();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let response = response.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    // A connection that brings nothing is a browser's precaution.
                    if matches!(stream.read(&mut request).await, Ok(1..)) {
                        stream.write_all(response.as_bytes()).await.ok();
                        stream.shutdown().await.ok();
                    }
                });
            }
        }));
        Self {
            url,
            _stopped: stopped,
        }
    }
}

//! A provider's file server that behaves as badly as asked for, by path.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A transparent picture of one pixel.
pub(super) const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

#[derive(Clone)]
pub(super) struct FileServer {
    pub base: String,
    hits: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl FileServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self {
            base: format!("http://{address}"),
            hits: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                // A client that goes away is part of the tests.
                tokio::spawn(async move { serving.answer(stream).await.ok() });
            }
        });
        server
    }

    /// How often a path was asked for.
    pub fn hits(&self, path: &str) -> usize {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(path).copied().unwrap_or(0)
    }

    fn count(&self, path: &str) -> usize {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let count = hits.entry(path.to_owned()).or_default();
        *count += 1;
        *count
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let path = path.trim_start_matches('/').to_owned();
        let hit = self.count(&path);
        let whole = |body: &[u8]| {
            [
                head(200, &format!("Content-Length: {}", body.len())),
                body.to_vec(),
            ]
            .concat()
        };
        let reply = match (path.as_str(), hit) {
            ("flaky", 1) => head(503, "Retry-After: 0\r\nContent-Length: 0"),
            ("busy", _) => head(503, "Retry-After: 7\r\nContent-Length: 0"),
            ("cut", 1 | 2) => [head(200, "Content-Length: 5000"), GIF.to_vec()].concat(),
            // Ends as if that were all, though its announcement says more.
            ("short", _) => [head(200, ""), GIF.to_vec()].concat(),
            ("gone", _) => head(404, "Content-Length: 0"),
            ("large", _) => [head(200, ""), vec![7; 3_000_000]].concat(),
            ("page", _) => whole(b"<!DOCTYPE html><title>Log in</title>"),
            ("inside", _) => head(
                302,
                "Location: http://169.254.169.254/latest\r\nContent-Length: 0",
            ),
            ("inside-by-name", _) => {
                head(302, "Location: http://localhost:9/\r\nContent-Length: 0")
            }
            ("moved", _) => head(
                302,
                &format!("Location: {}/ok\r\nContent-Length: 0", self.base),
            ),
            ("loop", _) => head(
                302,
                &format!("Location: {}/loop\r\nContent-Length: 0", self.base),
            ),
            ("hangs" | "hangs-once", 1) | ("hangs", _) => {
                stream
                    .write_all(&[head(200, "Content-Length: 500"), GIF.to_vec()].concat())
                    .await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                return Ok(());
            }
            _ => whole(GIF),
        };
        stream.write_all(&reply).await?;
        stream.shutdown().await
    }
}

fn head(status: u16, fields: &str) -> Vec<u8> {
    let fields = match fields {
        "" => String::new(),
        fields => format!("{fields}\r\n"),
    };
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/x-whatever\r\nConnection: close\r\n{fields}\r\n").into_bytes()
}

//! Connections of an HTTP client that takes as little of the cores under test as it can.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connections to one address that are kept while nobody uses them.
pub struct Lines {
    address: SocketAddr,
    idle: Mutex<Vec<Line>>,
}

impl Lines {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::default(),
        }
    }

    /// The connection that was idle for the shortest time and is still open, or a new one.
    pub async fn take(&self) -> Result<Line> {
        loop {
            let Some(mut line) = self.idle().pop() else {
                return Line::to(self.address).await;
            };
            if futures::poll!(&mut line.connection).is_pending() {
                return Ok(line);
            }
        }
    }

    pub fn give_back(&self, line: Line) {
        self.idle().push(line);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for one request at a time. Whoever waits for an answer drives it: no task of its own has to be woken.
pub struct Line {
    requests: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<TcpStream>, Full<Bytes>>,
}

impl Line {
    async fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            requests,
            connection,
        })
    }

    /// The status of the answer, which is read to its end.
    pub async fn post(&mut self, request: Request<Full<Bytes>>) -> Result<StatusCode> {
        let answer = async {
            self.requests.ready().await?;
            let answer = self.requests.send_request(request).await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            Ok(status)
        };
        tokio::select! {
            biased;
            status = answer => status,
            ended = &mut self.connection => {
                ended?;
                anyhow::bail!("a connection was closed")
            }
        }
    }
}

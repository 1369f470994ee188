//! A visitor's WebSocket, with small buffers: thousands of idle ones must cost little.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    Account, Frame, Socket, SocketClosed,
    refusals::{Way, reason, refuse},
};

/// Bytes of one frame or message; a longer one ends the connection.
const FRAME_LIMIT: usize = 64 * 1024;
/// Measured: with axum's defaults an idle connection costs 134 kB, with these buffers 2.7 kB.
const READ_BUFFER: usize = 1024;
const WRITE_BUFFER: usize = 0;
/// What may wait for a visitor who does not read, before the connection ends.
const WRITE_LIMIT: usize = 256 * 1024;
/// How long a frame may take to leave.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// WebSocket close code (IANA registry): the server restarts, come back.
const SERVICE_RESTART: u16 = 1012;
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// Sets the bounds before the upgrade.
pub(super) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_frame_size(FRAME_LIMIT)
        .max_message_size(FRAME_LIMIT)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_LIMIT)
}

/// An open socket. At `stop` it closes itself.
pub(super) struct OpenSocket {
    socket: WebSocket,
    account: Arc<Account>,
    stop: CancellationToken,
    closed: bool,
}

impl OpenSocket {
    pub(super) fn new(socket: WebSocket, account: Arc<Account>, stop: CancellationToken) -> Self {
        Self {
            socket,
            account,
            stop,
            closed: false,
        }
    }

    /// Ends a connection that brought what cannot be read, and says why.
    async fn give_up(&mut self, error: &axum::Error) {
        let Some((code, reason)) = meaning(error) else {
            self.closed = true;
            return;
        };
        refuse(&self.account.channel.id, Way::Socket, reason, "");
        self.close(code, reason).await;
    }

    async fn transmit(&mut self, message: Message) -> Result<(), SocketClosed> {
        match timeout(SEND_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.closed = true;
                Err(SocketClosed)
            }
        }
    }
}

/// The close code (RFC 6455, section 7.4.1) and the reason of what cannot be read; `None` when the connection is lost.
/// axum does not say which of these it is but in words.
fn meaning(error: &axum::Error) -> Option<(u16, &'static str)> {
    let words = error.to_string();
    let is = |beginning| words.starts_with(beginning);
    if is("Space limit exceeded") {
        Some((TOO_BIG, reason::FRAME_TOO_LARGE))
    } else if is("UTF-8 encoding error") {
        Some((NOT_UTF8, "bad_utf8"))
    } else if is("WebSocket protocol error") && !words.contains("without closing handshake") {
        Some((PROTOCOL_ERROR, "bad_websocket"))
    } else {
        None
    }
}

#[async_trait]
impl Socket for OpenSocket {
    async fn receive(&mut self) -> Result<Frame, SocketClosed> {
        while !self.closed {
            let message = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.close(SERVICE_RESTART, "restart").await;
                    break;
                }
                message = self.socket.recv() => message,
            };
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Frame::Text(text.as_str().to_owned())),
                Some(Ok(Message::Binary(_))) => return Ok(Frame::Other),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Err(error)) => self.give_up(&error).await,
                Some(Ok(Message::Close(_))) | None => self.closed = true,
            }
        }
        Err(SocketClosed)
    }

    async fn send(&mut self, text: String) -> Result<(), SocketClosed> {
        if self.closed {
            return Err(SocketClosed);
        }
        self.transmit(Message::Text(text.into())).await
    }

    async fn close(&mut self, code: u16, reason: &str) {
        if self.closed {
            return;
        }
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        // Whether or not it reaches the visitor, the connection is over.
        self.transmit(Message::Close(Some(frame))).await.ok();
        self.closed = true;
    }
}

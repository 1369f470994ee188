//! A visitor's WebSocket, with small buffers: thousands of idle ones must cost little.

use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Frame, Socket, SocketClosed};

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
    stop: CancellationToken,
    closed: bool,
}

impl OpenSocket {
    pub(super) fn new(socket: WebSocket, stop: CancellationToken) -> Self {
        Self {
            socket,
            stop,
            closed: false,
        }
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
                Some(Ok(Message::Close(_)) | Err(_)) | None => self.closed = true,
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

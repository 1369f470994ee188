//! A TCP connection that keeps its place for as long as it lives, as a WebSocket too, and whose end does not take back
//! what was said last: closing a socket whose input was not read resets it, and the other side may lose the answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::places::Place;

/// How long, and for how many bytes, the other side is listened to after the end.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 * 1024 * 1024;

/// What a connection takes up.
pub(super) struct Held {
    pub(super) _permit: OwnedSemaphorePermit,
    /// `None` for a trusted proxy, who stands for many.
    pub(super) _place: Option<Place>,
}

pub(super) struct Wire {
    /// `None` once it is dropped.
    open: Option<(TcpStream, Held)>,
    /// The other side has ended, or the connection is lost.
    ended: bool,
    tasks: TaskTracker,
}

impl Wire {
    /// `tasks` waits for those who still listen after their end.
    pub(super) fn new(stream: TcpStream, held: Held, tasks: TaskTracker) -> Self {
        Self {
            open: Some((stream, held)),
            ended: false,
            tasks,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.open {
            Some((stream, _)) => Ok(Pin::new(stream)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = self.stream()?.poll_read(context, buffer);
        if let Poll::Ready(result) = &read {
            self.ended |= result.is_err() || (room > 0 && buffer.filled().len() == before);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some((stream, held)) = self.open.take() else {
            return;
        };
        if self.ended {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.tasks.track_future(linger(stream, held)));
        }
    }
}

/// Says that nothing more will come, and reads what is still on its way.
async fn linger(mut stream: TcpStream, held: Held) {
    let reading = async {
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // However it ends, it is over.
    timeout(LINGER, reading).await.ok();
    drop(held);
}

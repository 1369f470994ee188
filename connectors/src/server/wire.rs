//! A TCP connection that keeps its place for as long as it lives, as a WebSocket too, and whose end does not take back
//! what was said last: closing a socket whose input was not read resets it, and the other side may lose the answer. Who
//! does not read what it asked for is not waited for.

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
    time::{Sleep, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::places::Place;

/// How long, and for how many bytes, the other side is listened to after the end.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 32 * 1024 * 1024;

/// How long the other side may take none of what is written to it.
const STALL: Duration = Duration::from_secs(60);

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
    /// Ends a write that does not get on; only while one waits.
    stalled: Option<Pin<Box<Sleep>>>,
    stall: Duration,
    tasks: TaskTracker,
}

impl Wire {
    /// `tasks` waits for those who still listen after their end.
    pub(super) fn new(stream: TcpStream, held: Held, tasks: TaskTracker) -> Self {
        Self {
            open: Some((stream, held)),
            ended: false,
            stalled: None,
            stall: STALL,
            tasks,
        }
    }

    /// What came of a write; an error when it has been waiting for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let wait = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(wait)));
        if stalled.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
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
        let written = self.stream()?.poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(context, bytes);
        self.written(context, written)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{net::TcpListener, sync::Semaphore};

    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_not_waited_for_and_gives_the_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        let permits = Arc::new(Semaphore::new(1));
        let held = Held {
            _permit: Arc::clone(&permits).try_acquire_owned().expect("free"),
            _place: None,
        };
        let mut wire = Wire::new(stream, held, TaskTracker::new());
        wire.stall = Duration::from_millis(100);
        let writing = async {
            loop {
                if let Err(error) = wire.write_all(&[0; 64 * 1024]).await {
                    return error;
                }
            }
        };
        let error = timeout(crate::testing::PATIENCE, writing).await;
        let error = error.expect("it ends");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(wire);
        assert_eq!(permits.available_permits(), 1);
        drop(client);
    }
}

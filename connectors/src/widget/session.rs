//! One visitor's connection: messages in, news out.
//!
//! A message is acknowledged after the bus confirmed it and the mailbox holds it, in this order; when either is away the
//! visitor keeps it and sends it again under the same name. Everything to the visitor comes out of the mailbox, behind a
//! cursor, so it makes no difference which worker put it there, and whether its call was heard.

mod greet;
mod say;
mod seen;

use std::{net::IpAddr, time::Duration};

use metrics::gauge;
use tokio::time::{Instant, timeout};
use tracing::debug;
use tributary_bus::{
    ChannelId,
    message::{Attribution, Status},
};

use self::{
    greet::{Guest, greet},
    seen::Seen,
};
use super::{
    Widget,
    hub::{Call, News, Subscription},
    inbound::Writer,
    limits::Budget,
    mailbox::{Letter, Mailbox, MailboxError},
    wire::{Close, Code, Complaint, Event, Reply, Request},
};
use crate::{
    Frame, InboundSink, Socket, SocketClosed, Visit,
    refusals::{Way, reason},
};

/// Between a visitor's pings. Proxies cut what is silent for a minute.
const PING: Duration = Duration::from_secs(25);
/// A visitor silent for this long is gone. Browsers let a hidden page run once a minute.
const SILENCE: Duration = Duration::from_secs(150);
/// For one statement of the mailbox.
const MAILBOX_DEADLINE: Duration = Duration::from_secs(5);
/// What a visitor waits when nothing can be accepted.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(3);
/// Events of one frame, and bytes of their bodies: well below what the server lets wait in a socket (256 KiB).
const PAGE: usize = 200;
/// Asked of the mailbox: one more tells whether there is more.
const PAGE_AND_ONE: i64 = 201;
const PAGE_BYTES: usize = 96 * 1024;
/// Unreadable frames before the connection ends.
const BAD_FRAMES: u32 = 5;
/// Refusals of a flood before the connection ends.
const STRIKES: u32 = 10;

/// How a connection ends.
enum End {
    /// The visitor is gone.
    Gone,
    Close(Close),
}

impl From<SocketClosed> for End {
    fn from(_: SocketClosed) -> Self {
        Self::Gone
    }
}

/// Serves a visitor until either side ends it.
pub(super) async fn serve(
    widget: &Widget,
    visit: Visit,
    mut socket: Box<dyn Socket>,
    inbound: InboundSink,
) {
    let _counted = Counted::new(&widget.channel);
    let greeted = Box::pin(greet(widget, &visit, &mut *socket)).await;
    let mut session = match greeted {
        Ok(guest) => Session::new(widget, inbound, socket, visit.peer, guest),
        Err(End::Gone) => return,
        Err(End::Close(close)) => {
            count(widget, close);
            return socket.close(close.code(), close.reason()).await;
        }
    };
    if let End::Close(close) = session.run().await {
        count(widget, close);
        session.socket.close(close.code(), close.reason()).await;
    }
}

/// Ends that follow from no complaint, which would have been counted.
fn count(widget: &Widget, close: Close) {
    match close {
        Close::Silent => widget.refuse(Way::Socket, reason::SILENT, ""),
        Close::Replaced => widget.refuse(Way::Socket, reason::REPLACED, ""),
        Close::Unavailable | Close::BadFrames | Close::BadToken | Close::Flood => {}
    }
}

/// Counts the open connections of an account.
struct Counted(metrics::Gauge);

impl Counted {
    fn new(channel: &ChannelId) -> Self {
        let gauge = gauge!("tributary_widget_sockets", "channel" => channel.0.clone());
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

async fn within<T>(work: impl Future<Output = Result<T, MailboxError>>) -> Result<T, MailboxError> {
    timeout(MAILBOX_DEADLINE, work)
        .await
        .unwrap_or(Err(MailboxError::Deadline))
}

async fn complain(
    socket: &mut dyn Socket,
    code: Code,
    client_id: Option<String>,
    wait: Option<Duration>,
) -> Result<(), SocketClosed> {
    let complaint = Complaint {
        code,
        client_id,
        // Rounded up: a visitor who waits this long may go on.
        retry_after: wait.map(|wait| wait.as_secs() + 1),
    };
    socket.send(Reply::Err(complaint).to_text()).await
}

impl Widget {
    /// A message as it is shown now.
    fn to_event(&self, letter: Letter) -> Event {
        let mut event = Event::from(letter);
        event.body = self.to_frame(event.body);
        event
    }

    /// As many as fit into a frame, out of one more than [`PAGE`]; whether some did not.
    fn to_events(&self, letters: Vec<Letter>) -> (Vec<Event>, bool) {
        let all = letters.len();
        let mut bytes = 0;
        let fitting = letters.into_iter().take(PAGE).take_while(|letter| {
            let first = bytes == 0;
            bytes += letter.body.len();
            first || bytes <= PAGE_BYTES
        });
        let events: Vec<Event> = fitting.map(|letter| self.to_event(letter)).collect();
        let more = events.len() < all;
        (events, more)
    }
}

struct Session<'a> {
    mailbox: &'a Mailbox,
    widget: &'a Widget,
    inbound: InboundSink,
    socket: Box<dyn Socket>,
    subscription: Subscription,
    peer: IpAddr,
    writer: Writer,
    /// Pushed up to here, without gaps.
    cursor: i64,
    /// Whether more was waiting than the greeting could hold.
    behind: bool,
    /// There is a mailbox.
    opened: bool,
    /// What the visitor says to have got and read, and up to where that is published.
    claimed: Seen,
    settled: Seen,
    /// The visitor knows to have read up to here.
    told: i64,
    /// The visitor knows every change up to this number, and that our side has read up to that place.
    changes: i64,
    seen: i64,
    /// When it was last told that the visitor writes.
    typed: Option<Instant>,
    budget: Budget,
    bad_frames: u32,
    strikes: u32,
}

impl<'a> Session<'a> {
    fn new(
        widget: &'a Widget,
        inbound: InboundSink,
        socket: Box<dyn Socket>,
        peer: IpAddr,
        guest: Guest,
    ) -> Self {
        let position = guest.position.unwrap_or_default();
        Self {
            mailbox: &widget.mailbox,
            widget,
            inbound,
            socket,
            subscription: guest.subscription,
            peer,
            writer: Writer {
                channel: widget.channel.clone(),
                visitor: guest.visitor,
                profile: guest.profile,
                attribution: guest.attribution,
                told: Attribution::default(),
            },
            cursor: guest.cursor,
            behind: guest.more,
            opened: guest.position.is_some(),
            claimed: Seen::default(),
            settled: Seen {
                delivered: position.delivered,
                read: position.read,
            },
            told: position.read,
            changes: guest.changes,
            seen: position.seen,
            typed: None,
            budget: Budget::new(Instant::now()),
            bad_frames: 0,
            strikes: 0,
        }
    }

    /// What is done seldom is boxed: an idle connection costs only what it needs to wait.
    async fn run(&mut self) -> End {
        if self.behind
            && let Err(end) = Box::pin(self.begin()).await
        {
            return end;
        }
        loop {
            let result = tokio::select! {
                frame = timeout(SILENCE, self.socket.receive()) => match frame {
                    Err(_) => Err(End::Close(Close::Silent)),
                    Ok(Err(SocketClosed)) => Err(End::Gone),
                    Ok(Ok(frame)) => Box::pin(self.take(frame)).await,
                },
                news = self.subscription.news() => Box::pin(self.tell(news)).await,
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    /// What the greeting could not hold.
    async fn begin(&mut self) -> Result<(), End> {
        self.catch_up().await?;
        self.tell_changes().await
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        let Frame::Text(text) = frame else {
            return self.bad_frame(Code::BadFrame, None).await;
        };
        let request = match Request::parse(&text) {
            Ok(request) => request,
            Err(unreadable) => return self.bad_frame(Code::BadFrame, unreadable.client_id).await,
        };
        let budget = self.budget.take(Instant::now());
        if let Err(wait) = budget.and_then(|()| self.widget.limits.frame(self.peer)) {
            let client_id = match request {
                Request::Send(message) => Some(message.client_id),
                Request::Press(press) => Some(press.client_id),
                _ => None,
            };
            return self.flooded(reason::FRAMES, client_id, wait).await;
        }
        match request {
            Request::Send(message) => self.receive(message, text).await,
            Request::Press(press) => self.pressed(press, text).await,
            Request::Again { seq } => self.again(seq).await,
            Request::Typing { on } => self.typing(on).await,
            Request::Delivered { upto } => self.seen(upto, 0).await,
            Request::Read { upto } => self.seen(upto, upto).await,
            Request::Ping => self.pinged().await,
            Request::Hello(_) => self.bad_frame(Code::BadHello, None).await,
            Request::Unknown => self.complain(Code::UnknownFrame, None, None).await,
        }
    }

    async fn pinged(&mut self) -> Result<(), End> {
        self.socket.send(Reply::Pong.to_text()).await?;
        self.look().await
    }

    /// Asks the mailbox itself, in case a call was lost.
    async fn look(&mut self) -> Result<(), End> {
        match within(self.mailbox.position(self.writer.visitor)).await {
            Ok(Some(position)) => {
                self.opened = true;
                self.tell(News {
                    seq: position.seq,
                    read: position.read,
                    changes: position.changes,
                    seen: position.seen,
                    ..News::default()
                })
                .await?;
            }
            Ok(None) => {}
            Err(error) => {
                debug!(channel_id = %self.writer.channel, %error, "mailbox cannot be read");
            }
        }
        self.settle().await;
        Ok(())
    }

    async fn tell(&mut self, news: News) -> Result<(), End> {
        if news.replaced {
            return Err(End::Close(Close::Replaced));
        }
        if news.lost {
            return Box::pin(self.look()).await;
        }
        if news.seq > self.cursor {
            self.catch_up().await?;
        }
        if news.read > self.told {
            self.told = news.read;
            let status = Reply::Status {
                state: Status::Read.as_str(),
                upto: news.read,
            };
            self.socket.send(status.to_text()).await?;
        }
        if news.changes > self.changes {
            self.tell_changes().await?;
        }
        if news.seen > self.seen {
            self.seen = news.seen;
            let status = Reply::Status {
                state: "seen",
                upto: news.seen,
            };
            self.socket.send(status.to_text()).await?;
        }
        if news.typing {
            self.socket
                .send(Reply::Typing { on: true }.to_text())
                .await?;
        }
        Ok(())
    }

    /// Pushes messages that are different now. Of those that were not pushed yet nothing needs to be said.
    async fn tell_changes(&mut self) -> Result<(), End> {
        loop {
            let changed = self
                .mailbox
                .changed(self.writer.visitor, self.changes, PAGE_AND_ONE);
            let mut letters = match within(changed).await {
                Ok(letters) => letters,
                Err(error) => {
                    // The next ping tries again.
                    debug!(channel_id = %self.writer.channel, %error, "mailbox cannot be read");
                    return Ok(());
                }
            };
            let all = i64::try_from(letters.len()).is_ok_and(|count| count < PAGE_AND_ONE);
            let Some(newest) = letters.last().map(|letter| letter.changed) else {
                return Ok(());
            };
            letters.retain(|letter| letter.seq <= self.cursor);
            let numbers: Vec<i64> = letters.iter().map(|letter| letter.changed).collect();
            let (events, cut) = self.widget.to_events(letters);
            let last = match events.len().checked_sub(1) {
                Some(at) if cut => numbers.get(at).copied().unwrap_or(newest),
                _ => newest,
            };
            self.changes = last;
            if !events.is_empty() {
                let reply = Reply::Changed {
                    events,
                    changes: last,
                };
                self.socket.send(reply.to_text()).await?;
            }
            if all && !cut {
                return Ok(());
            }
        }
    }

    /// Shows a message once more, with new links.
    async fn again(&mut self, place: i64) -> Result<(), End> {
        let found = within(self.mailbox.letter(self.writer.visitor, place)).await;
        if let Ok(Some(letter)) = found {
            let reply = Reply::Changed {
                changes: self.changes,
                events: vec![self.widget.to_event(letter)],
            };
            self.socket.send(reply.to_text()).await?;
        }
        Ok(())
    }

    /// Pushes what is behind the cursor.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let page = self
                .mailbox
                .page(self.writer.visitor, self.cursor, PAGE_AND_ONE);
            let letters = match within(page).await {
                Ok(letters) => letters,
                Err(error) => {
                    // The next ping tries again.
                    debug!(channel_id = %self.writer.channel, %error, "mailbox cannot be read");
                    return Ok(());
                }
            };
            let (mut events, more) = self.widget.to_events(letters);
            let Some(last) = events.last().map(|event| event.seq) else {
                return Ok(());
            };
            let reply = match (events.pop(), events.is_empty()) {
                (Some(only), true) => Reply::Msg(only),
                (last, _) => {
                    events.extend(last);
                    Reply::Page { events, more }
                }
            };
            self.socket.send(reply.to_text()).await?;
            self.cursor = last;
            if !more {
                return Ok(());
            }
        }
    }

    async fn announce(&mut self, call: Call) {
        let channel = self.writer.channel.as_str();
        self.widget
            .hub
            .announce(channel, self.writer.visitor, call)
            .await;
    }

    async fn bad_frame(&mut self, code: Code, client_id: Option<String>) -> Result<(), End> {
        self.bad_frames += 1;
        self.complain(code, client_id, None).await?;
        if self.bad_frames >= BAD_FRAMES {
            return Err(End::Close(Close::BadFrames));
        }
        Ok(())
    }

    /// `reason`: which limit it was.
    async fn flooded(
        &mut self,
        reason: &'static str,
        client_id: Option<String>,
        wait: Duration,
    ) -> Result<(), End> {
        self.strikes += 1;
        self.widget.refuse(Way::Socket, reason, "");
        complain(&mut *self.socket, Code::RateLimited, client_id, Some(wait)).await?;
        if self.strikes >= STRIKES {
            return Err(End::Close(Close::Flood));
        }
        Ok(())
    }

    async fn complain(
        &mut self,
        code: Code,
        client_id: Option<String>,
        wait: Option<Duration>,
    ) -> Result<(), End> {
        self.widget.refuse(Way::Socket, code.as_str(), "");
        complain(&mut *self.socket, code, client_id, wait).await?;
        Ok(())
    }
}

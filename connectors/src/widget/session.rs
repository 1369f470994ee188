//! One visitor's connection: greeting, messages in, news out, and what was seen.
//!
//! A message is acknowledged after the bus confirmed it and the mailbox holds it, in this order; when either is away the
//! visitor keeps it and sends it again under the same name. Everything to the visitor comes out of the mailbox, behind a
//! cursor, so it makes no difference which worker put it there, and whether its call was heard.

use std::time::Duration;

use chrono::Utc;
use metrics::gauge;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use tributary_bus::{
    ChannelId,
    message::{Profile, Status},
};

use super::{
    Widget,
    hub::{News, Subscription},
    inbound::{Writer, to_event, to_profile, to_statuses},
    limits::Budget,
    mailbox::{Before, Draft, Kept, Letter, Mailbox, MailboxError, Position, Sent},
    token::{BadToken, Visitor},
    wire::{self, Close, Code, Complaint, Event, Hello, Message, Reply, Request, Welcome},
};
use crate::{Frame, InboundSink, Socket, SocketClosed, Visit};

/// Between a visitor's pings. Proxies cut what is silent for a minute.
const PING: Duration = Duration::from_secs(25);
/// A visitor silent for this long is gone. Browsers let a hidden page run once a minute.
const SILENCE: Duration = Duration::from_secs(150);
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// For one statement of the mailbox.
const MAILBOX_DEADLINE: Duration = Duration::from_secs(5);
/// What a visitor waits when nothing can be accepted.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(3);
/// A visitor who comes without cursor is shown so many of the latest messages.
const HISTORY: i64 = 200;
/// Events of one frame, and bytes of their bodies: well below what the server lets wait in a socket (256 KiB).
const PAGE: i64 = 200;
const PAGE_BYTES: usize = 96 * 1024;
/// Messages whose status is published in one go.
const STATUSES: i64 = 200;
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
        Ok(guest) => Session::new(widget, inbound, socket, guest),
        Err(End::Gone) => return,
        Err(End::Close(close)) => return socket.close(close.code(), close.reason()).await,
    };
    if let End::Close(close) = session.run().await {
        session.socket.close(close.code(), close.reason()).await;
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

/// A visitor after the greeting.
struct Guest {
    visitor: Visitor,
    subscription: Subscription,
    /// How far the mailbox has come; `None` before the first message.
    position: Option<Position>,
    /// Pushed up to here.
    cursor: i64,
    more: bool,
    profile: Profile,
}

async fn greet(widget: &Widget, visit: &Visit, socket: &mut dyn Socket) -> Result<Guest, End> {
    let hello = hello(widget, socket).await?;
    let signer = match within(widget.signer()).await {
        Ok(signer) => signer,
        Err(error) => return Err(unavailable(widget, socket, &error).await),
    };
    let visitor = match &hello.token {
        Some(token) => match signer.verify(token, Utc::now()) {
            Ok(visitor) => visitor,
            Err(BadToken) => {
                complain(socket, Code::BadToken, None, None).await?;
                return Err(End::Close(Close::BadToken));
            }
        },
        None => match widget.limits.newcomer(visit.peer) {
            Ok(()) => Visitor::generate(),
            Err(wait) => {
                complain(socket, Code::RateLimited, None, Some(wait)).await?;
                return Err(End::Close(Close::Flood));
            }
        },
    };
    // Before the mailbox is read, so that nothing falls in between.
    let subscription =
        widget
            .hub
            .subscribe(&widget.name, visitor, widget.rules.sockets_per_visitor);
    let opened = async {
        let position = widget.mailbox.position(visitor).await?;
        let seq = position.unwrap_or_default().seq;
        let since = if hello.since > 0 && hello.since <= seq {
            hello.since
        } else {
            (seq - HISTORY).max(0)
        };
        let letters = widget.mailbox.page(visitor, since, PAGE).await?;
        Ok::<_, MailboxError>((position, since, letters))
    };
    let (position, since, letters) = match within(opened).await {
        Ok(opened) => opened,
        Err(error) => return Err(unavailable(widget, socket, &error).await),
    };
    let Position { seq, read, .. } = position.unwrap_or_default();
    if hello.since > seq {
        socket.send(Reply::Resync.to_text()).await?;
    }
    let (events, cut) = to_events(letters);
    let cursor = events.last().map_or(since, |event| event.seq);
    let more = cut || cursor < seq;
    let welcome = Reply::Welcome(Welcome {
        v: wire::VERSION,
        visitor: visitor.to_string(),
        token: signer.issue(visitor, Utc::now()),
        seq: seq.max(cursor),
        since,
        read,
        events,
        more,
        ping: PING.as_secs(),
        limit: widget.rules.text_limit,
    });
    socket.send(welcome.to_text()).await?;
    Ok(Guest {
        visitor,
        subscription,
        position,
        cursor,
        more,
        profile: to_profile(&hello.page, hello.locale.as_deref()),
    })
}

/// The first frame.
async fn hello(widget: &Widget, socket: &mut dyn Socket) -> Result<Hello, End> {
    let wrong = match timeout(HELLO_DEADLINE, socket.receive()).await {
        Err(_) => return Err(End::Close(Close::Silent)),
        Ok(Err(SocketClosed)) => return Err(End::Gone),
        Ok(Ok(Frame::Other)) => Code::BadFrame,
        Ok(Ok(Frame::Text(text))) => match Request::parse(&text) {
            Err(_) => Code::BadFrame,
            Ok(Request::Hello(hello)) if hello.v != wire::VERSION => Code::BadVersion,
            Ok(Request::Hello(hello)) => {
                let here = hello.channel.as_deref();
                if here.is_none_or(|channel| channel == widget.channel.as_str()) {
                    return Ok(hello);
                }
                Code::BadHello
            }
            Ok(_) => Code::BadHello,
        },
    };
    complain(socket, wrong, None, None).await?;
    Err(End::Close(Close::BadFrames))
}

/// Nobody can be greeted right now.
async fn unavailable(widget: &Widget, socket: &mut dyn Socket, error: &MailboxError) -> End {
    warn!(channel_id = %widget.channel, %error, "a visitor is sent away: the mailbox cannot be read");
    match complain(socket, Code::Unavailable, None, Some(UNAVAILABLE_WAIT)).await {
        Ok(()) => End::Close(Close::Unavailable),
        Err(SocketClosed) => End::Gone,
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

/// As many as fit into a frame; whether some did not.
fn to_events(letters: Vec<Letter>) -> (Vec<Event>, bool) {
    let full = i64::try_from(letters.len()).unwrap_or(i64::MAX) >= PAGE;
    let mut bytes = 0;
    let mut events = Vec::with_capacity(letters.len());
    for letter in letters {
        bytes += letter.body.len();
        if bytes > PAGE_BYTES && !events.is_empty() {
            return (events, true);
        }
        events.push(letter.into());
    }
    (events, full)
}

struct Session<'a> {
    mailbox: &'a Mailbox,
    widget: &'a Widget,
    inbound: InboundSink,
    socket: Box<dyn Socket>,
    subscription: Subscription,
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
    budget: Budget,
    bad_frames: u32,
    strikes: u32,
}

/// How far a visitor has come.
#[derive(Clone, Copy, Default)]
struct Seen {
    delivered: i64,
    read: i64,
}

impl<'a> Session<'a> {
    fn new(
        widget: &'a Widget,
        inbound: InboundSink,
        socket: Box<dyn Socket>,
        guest: Guest,
    ) -> Self {
        let position = guest.position.unwrap_or_default();
        Self {
            mailbox: &widget.mailbox,
            widget,
            inbound,
            socket,
            subscription: guest.subscription,
            writer: Writer {
                channel: widget.channel.clone(),
                visitor: guest.visitor,
                profile: guest.profile,
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
            budget: Budget::new(Instant::now()),
            bad_frames: 0,
            strikes: 0,
        }
    }

    /// What is done seldom is boxed: an idle connection costs only what it needs to wait.
    async fn run(&mut self) -> End {
        if self.behind
            && let Err(end) = Box::pin(self.catch_up()).await
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

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        let Frame::Text(text) = frame else {
            return self.bad_frame(Code::BadFrame, None).await;
        };
        let request = match Request::parse(&text) {
            Ok(request) => request,
            Err(unreadable) => return self.bad_frame(Code::BadFrame, unreadable.client_id).await,
        };
        if let Err(wait) = self.budget.take(Instant::now()) {
            let client_id = match request {
                Request::Send(message) => Some(message.client_id),
                _ => None,
            };
            return self.flooded(client_id, wait).await;
        }
        match request {
            Request::Send(message) => self.receive(message, text).await,
            Request::Delivered { upto } => self.seen(upto, 0).await,
            Request::Read { upto } => self.seen(upto, upto).await,
            Request::Ping => self.pinged().await,
            Request::Hello(_) => self.bad_frame(Code::BadHello, None).await,
            Request::Unknown => self.complain(Code::UnknownFrame, None, None).await,
        }
    }

    /// A message of the visitor.
    async fn receive(&mut self, message: Message, raw: String) -> Result<(), End> {
        let client_id = message.client_id.clone();
        let limit = self.widget.rules.text_limit;
        let written = match to_event(message, raw, &self.writer, limit, Utc::now()) {
            Ok(written) => written,
            Err(code) => return self.complain(code, Some(client_id), None).await,
        };
        if let Err(wait) = self.widget.limits.message(self.writer.visitor) {
            return self.flooded(Some(client_id), wait).await;
        }
        self.strikes = self.strikes.saturating_sub(1);
        let taken = async {
            self.inbound.ready().map_err(|error| error.to_string())?;
            if !self.opened {
                // First, so that a quick answer finds a mailbox.
                self.open().await.map_err(|error| error.to_string())?;
            }
            let event = written.event;
            (self.inbound.publish(vec![event]).await).map_err(|error| error.to_string())?;
            (self.keep(&written.draft).await).map_err(|error| error.to_string())
        };
        let kept = match taken.await {
            Ok(kept) => kept,
            Err(reason) => {
                debug!(channel_id = %self.writer.channel, reason, "a visitor's message waits");
                return self
                    .complain(Code::Unavailable, Some(client_id), Some(UNAVAILABLE_WAIT))
                    .await;
            }
        };
        self.opened = true;
        // Said once a connection.
        self.writer.profile = Profile::default();
        self.acknowledge(client_id, &written.draft, kept).await
    }

    async fn open(&mut self) -> Result<(), MailboxError> {
        within(self.mailbox.open(self.writer.visitor)).await
    }

    async fn keep(&mut self, draft: &Draft) -> Result<Kept, MailboxError> {
        // A transaction takes much room while it waits.
        within(Box::pin(self.mailbox.keep(self.writer.visitor, draft))).await
    }

    async fn acknowledge(
        &mut self,
        client_id: String,
        draft: &Draft,
        kept: Kept,
    ) -> Result<(), End> {
        if kept.before == Before::Different {
            return self.complain(Code::Duplicate, Some(client_id), None).await;
        }
        let ack = Reply::Ack {
            client_id,
            id: draft.message_id.to_string(),
            seq: kept.seq,
            at: kept.at,
        };
        self.socket.send(ack.to_text()).await?;
        if kept.seq == self.cursor + 1 {
            self.cursor = kept.seq;
        }
        if kept.before == Before::Absent {
            self.announce(kept.seq, 0).await;
        }
        Ok(())
    }

    /// The visitor has everything up to `delivered` and has read everything up to `read`.
    async fn seen(&mut self, delivered: i64, read: i64) -> Result<(), End> {
        let claimed = &mut self.claimed;
        claimed.delivered = claimed.delivered.max(delivered.min(self.cursor));
        claimed.read = claimed.read.max(read.min(self.cursor));
        self.settle().await;
        Ok(())
    }

    /// Publishes what the visitor has seen. What cannot be published now is tried again at the next ping.
    async fn settle(&mut self) {
        while self.claimed.delivered > self.settled.delivered
            || self.claimed.read > self.settled.read
        {
            if let Err(reason) = self.settle_some().await {
                debug!(channel_id = %self.writer.channel, reason, "what a visitor has seen waits");
                return;
            }
        }
    }

    /// First publishes, then notes it: after a crash in between it is published again under the same ids.
    async fn settle_some(&mut self) -> Result<(), String> {
        let visitor = self.writer.visitor;
        let said = |error: MailboxError| error.to_string();
        // Another tab may have come further.
        let position = within(self.mailbox.position(visitor)).await.map_err(said)?;
        let position = position.unwrap_or_default();
        let delivered = position.delivered.max(self.settled.delivered);
        let read = position.read.max(self.settled.read);
        // Messages that were delivered before are only read now; those behind were neither.
        let (after, upto, statuses): (_, _, &[Status]) =
            if self.claimed.read > read && read < delivered {
                (read, self.claimed.read.min(delivered), &[Status::Read])
            } else if self.claimed.read > delivered {
                (
                    delivered,
                    self.claimed.read,
                    &[Status::Delivered, Status::Read],
                )
            } else {
                (delivered, self.claimed.delivered, &[Status::Delivered])
            };
        let sent = within(self.mailbox.sent(visitor, after, upto, STATUSES))
            .await
            .map_err(said)?;
        let upto = match sent.last() {
            Some(last) if sent.len() >= usize::try_from(STATUSES).unwrap_or(usize::MAX) => last.seq,
            _ => upto.max(after),
        };
        let reached = Seen {
            delivered: delivered.max(upto),
            read: if statuses.contains(&Status::Read) {
                read.max(upto)
            } else {
                read
            },
        };
        if !sent.is_empty() {
            self.publish_statuses(&sent, statuses).await?;
            within(self.mailbox.mark(visitor, reached.delivered, reached.read))
                .await
                .map_err(said)?;
        }
        self.settled = reached;
        if reached.read > self.told && !sent.is_empty() {
            self.told = reached.read;
            self.announce(0, reached.read).await;
        }
        Ok(())
    }

    async fn publish_statuses(&mut self, sent: &[Sent], statuses: &[Status]) -> Result<(), String> {
        self.inbound.ready().map_err(|error| error.to_string())?;
        let Writer {
            channel, visitor, ..
        } = &self.writer;
        let events = to_statuses(sent, statuses, channel, *visitor, Utc::now());
        (self.inbound.publish(events).await).map_err(|error| error.to_string())
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
                    lost: false,
                    replaced: false,
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
        Ok(())
    }

    /// Pushes what is behind the cursor.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let page = self.mailbox.page(self.writer.visitor, self.cursor, PAGE);
            let letters = match within(page).await {
                Ok(letters) => letters,
                Err(error) => {
                    // The next ping tries again.
                    debug!(channel_id = %self.writer.channel, %error, "mailbox cannot be read");
                    return Ok(());
                }
            };
            let (mut events, more) = to_events(letters);
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

    async fn announce(&mut self, seq: i64, read: i64) {
        let channel = self.writer.channel.as_str();
        self.widget
            .hub
            .announce(channel, self.writer.visitor, seq, read)
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

    async fn flooded(&mut self, client_id: Option<String>, wait: Duration) -> Result<(), End> {
        self.strikes += 1;
        self.complain(Code::RateLimited, client_id, Some(wait))
            .await?;
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
        complain(&mut *self.socket, code, client_id, wait).await?;
        Ok(())
    }
}

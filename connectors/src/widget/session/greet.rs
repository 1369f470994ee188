//! The greeting: who it is, and what they have missed.

use std::time::Duration;

use chrono::Utc;
use tokio::time::timeout;
use tributary_bus::message::{Attribution, Profile};

use super::{
    super::{
        Widget,
        hub::Subscription,
        inbound::{to_attribution, to_profile},
        mailbox::{MailboxError, Position},
        token::{BadToken, Signer, Visitor},
        wire::{self, Close, Code, Hello, Reply, Request, Welcome},
    },
    End, PAGE_AND_ONE, PING, UNAVAILABLE_WAIT, complain, within,
};
use crate::{
    Frame, Socket, SocketClosed, Visit,
    refusals::{Way, reason},
};

const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A visitor who comes without cursor is shown so many of the latest messages.
const HISTORY: i64 = 200;

/// A visitor after the greeting.
pub(super) struct Guest {
    pub(super) visitor: Visitor,
    pub(super) subscription: Subscription,
    /// How far the mailbox has come; `None` before the first message.
    pub(super) position: Option<Position>,
    /// Pushed up to here.
    pub(super) cursor: i64,
    /// The visitor knows every change up to this number.
    pub(super) changes: i64,
    /// There is more than the greeting could hold.
    pub(super) more: bool,
    pub(super) profile: Profile,
    pub(super) attribution: Attribution,
}

/// Hears who it is and says what was missed.
pub(super) async fn greet(
    widget: &Widget,
    visit: &Visit,
    socket: &mut dyn Socket,
) -> Result<Guest, End> {
    let hello = hello(widget, socket).await?;
    if let Err(wait) = widget.limits.frame(visit.peer) {
        return Err(flooded(widget, socket, reason::FRAMES, wait).await);
    }
    let (signer, visitor) = identify(widget, visit, socket, hello.token.as_deref()).await?;
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
        let letters = widget.mailbox.page(visitor, since, PAGE_AND_ONE).await?;
        Ok::<_, MailboxError>((position, since, letters))
    };
    let (position, since, letters) = match within(opened).await {
        Ok(opened) => opened,
        Err(error) => return Err(unavailable(widget, socket, &error).await),
    };
    let Position {
        seq,
        read,
        changes,
        seen,
        ..
    } = position.unwrap_or_default();
    if hello.since > seq {
        socket.send(Reply::Resync.to_text()).await?;
    }
    let (events, more) = widget.to_events(letters);
    // What was known before may have changed; everything else comes as it is now.
    let known = if since > 0 && since == hello.since {
        hello.changes.clamp(0, changes)
    } else {
        changes
    };
    let cursor = events.last().map_or(since, |event| event.seq);
    let welcome = Reply::Welcome(Welcome {
        v: wire::VERSION,
        visitor: visitor.to_string(),
        token: signer.issue(visitor, Utc::now()),
        seq: seq.max(cursor),
        since,
        read,
        seen,
        changes: known,
        events,
        more,
        ping: PING.as_secs(),
        limit: widget.rules.text_limit,
        uploads: widget.accepted(),
    });
    socket.send(welcome.to_text()).await?;
    Ok(Guest {
        visitor,
        subscription,
        position,
        cursor,
        changes: known,
        more: more || known < changes,
        profile: to_profile(hello.locale.as_deref()),
        attribution: to_attribution(&hello.page),
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
    widget.refuse(Way::Socket, wrong.as_str(), "");
    complain(socket, wrong, None, None).await?;
    Err(End::Close(Close::BadFrames))
}

/// Who it is: by token, or somebody new.
async fn identify<'a>(
    widget: &'a Widget,
    visit: &Visit,
    socket: &mut dyn Socket,
    token: Option<&str>,
) -> Result<(&'a Signer, Visitor), End> {
    let signer = match within(widget.signer()).await {
        Ok(signer) => signer,
        Err(error) => return Err(unavailable(widget, socket, &error).await),
    };
    let visitor = match token {
        Some(token) => match signer.verify(token, Utc::now()) {
            Ok(visitor) => visitor,
            Err(BadToken) => {
                widget.refuse(Way::Socket, Code::BadToken.as_str(), "");
                complain(socket, Code::BadToken, None, None).await?;
                return Err(End::Close(Close::BadToken));
            }
        },
        None => match widget.limits.newcomer(visit.peer) {
            Ok(()) => Visitor::generate(),
            Err(wait) => return Err(flooded(widget, socket, reason::NEW_VISITORS, wait).await),
        },
    };
    Ok((signer, visitor))
}

/// Too much comes from this internet address.
async fn flooded(
    widget: &Widget,
    socket: &mut dyn Socket,
    reason: &'static str,
    wait: Duration,
) -> End {
    widget.refuse(Way::Socket, reason, "");
    match complain(socket, Code::RateLimited, None, Some(wait)).await {
        Ok(()) => End::Close(Close::Flood),
        Err(SocketClosed) => End::Gone,
    }
}

/// Nobody can be greeted right now.
async fn unavailable(widget: &Widget, socket: &mut dyn Socket, error: &MailboxError) -> End {
    widget.refuse(
        Way::Socket,
        Code::Unavailable.as_str(),
        &format!("the mailbox cannot be read: {error}"),
    );
    match complain(socket, Code::Unavailable, None, Some(UNAVAILABLE_WAIT)).await {
        Ok(()) => End::Close(Close::Unavailable),
        Err(SocketClosed) => End::Gone,
    }
}

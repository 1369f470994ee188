//! The supervisor of a connection: connects, watches, and begins anew whenever anything is wrong.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::BoxStream};
use lapin::Event;
use rand::RngExt;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;

use super::{
    board::{Board, Condition, Side},
    link::{Dial, Link},
    made::Made,
    publisher::{Generation, Pace},
    topology::{Names, declare_dead, declare_exchanges},
};
use crate::BusError;

/// In case an end goes unannounced.
const PULSE: Duration = Duration::from_millis(500);

/// A connection that held this long was a good one: the next failure begins with short waits again.
const STABLE: Duration = Duration::from_secs(10);

/// What both supervisors need to know.
pub(super) struct Plan {
    pub(super) dial: Dial,
    pub(super) names: Names,
    /// This process, in what it records; a new one after each start.
    pub(super) instance: uuid::Uuid,
    pub(super) pace: Pace,
    pub(super) board: Board,
    pub(super) made: Arc<Made>,
    pub(super) stop: CancellationToken,
}

/// Where the users of a connection find the current one.
pub(super) enum Line {
    Publishing(watch::Sender<Option<Arc<Generation>>>),
    Consuming(watch::Sender<Option<Arc<Link>>>),
}

impl Line {
    fn side(&self) -> Side {
        match self {
            Self::Publishing(_) => Side::Publishing,
            Self::Consuming(_) => Side::Consuming,
        }
    }

    /// Prepares a new connection and hands it out. Answers what ends it besides itself.
    async fn raise(&self, plan: &Plan, link: &Arc<Link>) -> Result<CancellationToken, BusError> {
        declare_exchanges(link, &plan.names).await?;
        match self {
            Self::Publishing(current) => {
                declare_dead(link, &plan.names).await?;
                let generation =
                    Generation::begin(Arc::clone(link), plan.pace, Arc::clone(&plan.made)).await?;
                let over = generation.over();
                current.send_replace(Some(Arc::new(generation)));
                Ok(over)
            }
            Self::Consuming(current) => {
                current.send_replace(Some(Arc::clone(link)));
                Ok(CancellationToken::new())
            }
        }
    }

    fn lower(&self) {
        match self {
            Self::Publishing(current) => drop(current.send_replace(None)),
            Self::Consuming(current) => drop(current.send_replace(None)),
        }
    }
}

/// Keeps one connection alive until the plan's stop.
pub(super) async fn supervise(plan: Arc<Plan>, line: Line) {
    let side = line.side();
    let mut attempt = 0;
    let mut told = String::new();
    // Processes spread over the nodes of a cluster.
    let mut turn: usize = rand::rng().random_range(0..plan.dial.len());
    loop {
        let begun = Instant::now();
        let reason = tokio::select! {
            biased;
            () = plan.stop.cancelled() => break,
            opened = open(&plan.dial, &mut turn, side) => match opened {
                Ok((link, events)) => serve(&plan, &line, link, events).await,
                Err(reason) => reason,
            },
        };
        // Whatever was wrong with this node, another may do better.
        turn = turn.wrapping_add(1);
        if plan.stop.is_cancelled() {
            break;
        }
        attempt = if begun.elapsed() > STABLE {
            1
        } else {
            attempt + 1
        };
        let wait = Backoff::SERVER.delay(attempt);
        if told == reason {
            tracing::debug!(side = side.as_str(), reason, attempt, "broker still away");
        } else if is_refused(&reason) {
            tracing::error!(
                side = side.as_str(),
                reason,
                "the broker refuses the login; correct user, password and virtual host in bus.url, or give the user \
                 permissions on it"
            );
            told.clone_from(&reason);
        } else {
            tracing::warn!(side = side.as_str(), reason, "broker away; reconnecting");
            told.clone_from(&reason);
        }
        plan.board.set(side, Condition::Down(reason));
        tokio::select! {
            () = plan.stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    plan.board
        .set(side, Condition::Down("the bus was closed".to_owned()));
}

/// Connects to the first node that answers, trying each once.
async fn open(
    dial: &Dial,
    turn: &mut usize,
    side: Side,
) -> Result<(Arc<Link>, BoxStream<'static, Event>), String> {
    let mut reasons = Vec::new();
    for _ in 0..dial.len() {
        match Link::open(dial, *turn, side).await {
            Ok(opened) => return Ok(opened),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
        *turn = turn.wrapping_add(1);
    }
    // In one order, whichever was tried first: the same trouble is told once.
    reasons.sort();
    Err(reasons.join("; "))
}

/// Whether nothing but other settings, or another user in the broker, can help.
fn is_refused(reason: &str) -> bool {
    ["ACCESS_REFUSED", "NOT_ALLOWED"]
        .iter()
        .any(|refusal| reason.contains(refusal))
}

/// Runs one connection to its end and answers why it ended.
async fn serve(
    plan: &Plan,
    line: &Line,
    link: Arc<Link>,
    events: BoxStream<'static, Event>,
) -> String {
    let side = line.side();
    let reason = match line.raise(plan, &link).await {
        Ok(over) => {
            tracing::info!(side = side.as_str(), "connected to the broker");
            plan.board.set(side, Condition::Up);
            attend(plan, side, &link, &over, events).await
        }
        Err(error) => error.to_string(),
    };
    // First those who use it learn of the end, then the broker does, and only then there is a next one.
    plan.board.set(side, Condition::Down(reason.clone()));
    line.lower();
    link.end(reason.clone());
    link.close().await;
    reason
}

/// Watches a connection until it must end.
async fn attend(
    plan: &Plan,
    side: Side,
    link: &Link,
    over: &CancellationToken,
    mut events: BoxStream<'static, Event>,
) -> String {
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = plan.stop.cancelled() => return "the bus was closed".to_owned(),
            () = link.ended() => return link.reason(),
            // While the broker blocks us, a new connection would only be blocked as well.
            () = over.cancelled(), if !link.is_blocked() => return "publishing had failed".to_owned(),
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(side = side.as_str(), reason, "the broker takes no publications");
                    plan.board.set(side, Condition::Blocked(reason));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!(side = side.as_str(), "the broker takes publications again");
                    if over.is_cancelled() {
                        return "the broker had blocked the connection".to_owned();
                    }
                    plan.board.set(side, Condition::Up);
                }
                Some(Event::Error(error)) if !link.is_connected() => return error.to_string(),
                Some(_) => {}
                None => return "the connection ended".to_owned(),
            },
            _ = pulse.tick() => {
                if !link.is_connected() {
                    return "the connection ended".to_owned();
                }
            }
        }
    }
}

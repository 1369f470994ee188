//! What the simulator can do wrong, on calls to it and on webhook deliveries from it.

use std::time::Duration;

use serde_json::Value;

use super::kind::FileKind;
use crate::script::{Rule, Times};

/// A script: rules for calls and rules for webhook deliveries.
#[derive(Debug, Clone, Default)]
pub struct Misbehave {
    /// Applied to calls, in order; the first that fires wins.
    pub calls: Vec<Rule<CallMatch, CallAction>>,
    /// Applied to attempts of webhook delivery, likewise.
    pub deliveries: Vec<Rule<DeliveryMatch, DeliveryAction>>,
    /// Applied to downloads of files, likewise; `None` fits every kind.
    pub downloads: Vec<Rule<Option<FileKind>, DownloadAction>>,
}

impl Misbehave {
    /// One rule for calls.
    pub fn on(matches: CallMatch, times: Times, action: CallAction) -> Self {
        Self {
            calls: vec![Rule::new(matches, times, action)],
            ..Self::default()
        }
    }

    /// One rule for webhook deliveries.
    pub fn delivering(matches: DeliveryMatch, times: Times, action: DeliveryAction) -> Self {
        Self {
            deliveries: vec![Rule::new(matches, times, action)],
            ..Self::default()
        }
    }

    /// One rule for downloads of files of one kind, or of every kind.
    pub fn downloading(kind: Option<FileKind>, times: Times, action: DownloadAction) -> Self {
        Self {
            downloads: vec![Rule::new(kind, times, action)],
            ..Self::default()
        }
    }

    /// This script followed by another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.calls.extend(other.calls);
        self.deliveries.extend(other.deliveries);
        self.downloads.extend(other.downloads);
        self
    }
}

/// Which calls a rule is about; what is `None` fits all.
#[derive(Debug, Clone, Default)]
pub struct CallMatch {
    /// The method, in any case.
    pub method: Option<String>,
    /// The `chat_id` argument.
    pub chat_id: Option<i64>,
    /// The bot's token.
    pub token: Option<String>,
}

impl CallMatch {
    /// Every call.
    pub fn any() -> Self {
        Self::default()
    }

    /// Calls of one method.
    pub fn method(name: &str) -> Self {
        Self {
            method: Some(name.into()),
            ..Self::default()
        }
    }

    /// Only those to this chat.
    #[must_use]
    pub fn to(mut self, chat_id: i64) -> Self {
        self.chat_id = Some(chat_id);
        self
    }

    /// Only those of this bot.
    #[must_use]
    pub fn of(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(super) fn fits(&self, token: &str, method: &str, chat_id: Option<i64>) -> bool {
        self.method
            .as_ref()
            .is_none_or(|name| name.eq_ignore_ascii_case(method))
            && self.chat_id.is_none_or(|wanted| chat_id == Some(wanted))
            && self.token.as_ref().is_none_or(|wanted| wanted == token)
    }
}

/// On which side of doing what was asked something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing was done.
    BeforeAccepting,
    /// It was done (and is in [`sent`](super::TelegramSimulator::sent)); the caller does not learn it.
    AfterAccepting,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallAction {
    /// 429 with `retry_after`, whole seconds.
    TooManyRequests {
        /// Seconds.
        retry_after: u32,
    },
    /// A refusal in the provider's own form.
    Refuse {
        /// `error_code` and HTTP status.
        code: u16,
        /// Such as `Forbidden: user is deactivated`.
        description: String,
        /// Such as `{"migrate_to_chat_id":-100...}`.
        parameters: Option<Value>,
    },
    /// A 5xx with an HTML body, as from the proxy in front.
    ServerError {
        /// 500, 502, 503 or 504.
        status: u16,
        /// Whether what was asked happened all the same.
        when: When,
    },
    /// A 5xx without a body.
    EmptyError {
        /// 500, 502, 503 or 504.
        status: u16,
        /// Whether what was asked happened all the same.
        when: When,
    },
    /// The connection ends without an answer.
    Drop(When),
    /// Accepted at once, answered after this time.
    SlowAnswer(Duration),
    /// Looked at only after this time; a caller that gives up before is not served.
    SlowStart(Duration),
    /// Accepted, answered with 200 and no body.
    EmptyBody,
    /// Accepted, answered with 200 and half of the JSON.
    InvalidJson,
    /// `getUpdates`: the last so many confirmed updates come once more, in front.
    RepeatUpdates(usize),
    /// `getUpdates`: chats overtake each other, each chat's own order stays.
    ShuffleChats {
        /// Of the new order.
        seed: u64,
    },
    /// `getUpdates`: no order at all.
    ShuffleAll {
        /// Of the new order.
        seed: u64,
    },
}

/// Which webhook deliveries a rule is about; what is `None` fits all.
#[derive(Debug, Clone, Default)]
pub struct DeliveryMatch {
    /// The chat (for callback queries, the user) of the update.
    pub chat_id: Option<i64>,
    /// The kind of the update: `message`, `callback_query` ...
    pub kind: Option<String>,
    /// The bot's token.
    pub token: Option<String>,
}

impl DeliveryMatch {
    /// Every delivery.
    pub fn any() -> Self {
        Self::default()
    }

    /// Deliveries from one chat.
    pub fn from(chat_id: i64) -> Self {
        Self {
            chat_id: Some(chat_id),
            ..Self::default()
        }
    }

    /// Only deliveries of this kind of update. Holding one kind back lets others overtake where the provider may let them:
    /// callback queries, reactions and messages have queues of their own.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.into());
        self
    }

    pub(super) fn fits(&self, token: &str, chat_id: i64, kind: &str) -> bool {
        self.chat_id.is_none_or(|wanted| wanted == chat_id)
            && self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && self.token.as_ref().is_none_or(|wanted| wanted == token)
    }
}

/// What becomes of one attempt to deliver an update to the webhook.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryAction {
    /// It is delivered, and once it is accepted delivered again.
    Twice,
    /// It is held back this long; other chats go on, and so overtake.
    Hold(Duration),
    /// The next one of the same chat goes first, if it is already waiting. Breaks the order the provider promises.
    SwapWithNext,
    /// It is sent, and the provider hangs up after this time without reading the answer; a retry follows.
    HangUp(Duration),
    /// It carries another secret than the one that was set; a retry follows unless it is accepted.
    WrongSecret,
    /// It carries no secret; likewise.
    NoSecret,
}

/// What becomes of one download of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum DownloadAction {
    /// It begins only after this time.
    SlowStart(Duration),
    /// It comes in pieces of this many bytes with this pause between them.
    Trickle {
        /// Bytes.
        piece: usize,
        /// Between two pieces.
        pause: Duration,
    },
    /// The connection ends after this many bytes, though `Content-Length` said more.
    CutAfter(usize),
    /// It has no `Content-Length`, and after the file this many bytes more.
    Endless {
        /// Bytes.
        extra: usize,
    },
    /// The provider's front answers with this status and HTML.
    Fail {
        /// 404, 500, 502 ...
        status: u16,
    },
}

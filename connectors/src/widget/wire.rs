//! The frames of the widget's WebSocket: JSON objects, told apart by `t`. `docs/channels/widget.md` describes them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{body::Body, mailbox::Letter};

/// The version of the protocol that `hello` names.
pub(super) const VERSION: u32 = 1;

/// From the visitor. Fields this version does not know are ignored.
#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Request {
    Hello(Hello),
    Send(Message),
    /// An answer is chosen.
    Press(Press),
    /// Shows a message once more: links to its files have expired.
    Again {
        seq: i64,
    },
    /// The visitor writes, or stopped to.
    Typing {
        #[serde(default = "yes")]
        on: bool,
    },
    Delivered {
        upto: i64,
    },
    Read {
        upto: i64,
    },
    Ping,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
pub(super) struct Hello {
    pub(super) v: u32,
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    pub(super) token: Option<String>,
    /// Everything up to this place is known already.
    #[serde(default)]
    pub(super) since: i64,
    /// Every change up to this number is known already.
    #[serde(default)]
    pub(super) changes: i64,
    #[serde(default)]
    pub(super) page: Page,
    #[serde(default)]
    pub(super) locale: Option<String>,
}

/// Where the visitor is.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    pub(super) url: Option<String>,
    pub(super) title: Option<String>,
    #[serde(rename = "ref")]
    pub(super) referrer: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) client_id: String,
    pub(super) body: Said,
    /// The place of the message it answers.
    #[serde(default)]
    pub(super) reply_to: Option<i64>,
    /// Where the visitor is by now.
    #[serde(default)]
    pub(super) page: Option<Page>,
}

/// What a visitor says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    Text {
        text: String,
    },
    /// What was uploaded before, under the name that the upload was answered with.
    Upload {
        upload: String,
        #[serde(default)]
        caption: Option<String>,
    },
    #[serde(other)]
    Unknown,
}

/// A press of a button.
#[derive(Deserialize)]
pub(super) struct Press {
    pub(super) client_id: String,
    /// The place of the message that offers it.
    pub(super) seq: i64,
    pub(super) button: String,
}

fn yes() -> bool {
    true
}

/// The frame cannot be read; what it was about, if that much can be told.
pub(super) struct Unreadable {
    pub(super) client_id: Option<String>,
}

impl Request {
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        serde_json::from_str(text).map_err(|_| {
            #[derive(Deserialize)]
            struct Named {
                client_id: Option<String>,
            }
            let named = serde_json::from_str::<Named>(text).ok();
            Unreadable {
                client_id: named.and_then(|named| named.client_id),
            }
        })
    }
}

/// To the visitor.
#[derive(Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Reply {
    Welcome(Welcome),
    /// More of what the visitor has missed.
    Page {
        events: Vec<Event>,
        more: bool,
    },
    Ack {
        client_id: String,
        id: String,
        seq: i64,
        at: DateTime<Utc>,
    },
    /// `read`: by the visitor, in another tab; `seen`: by our side.
    Status {
        state: &'static str,
        upto: i64,
    },
    /// These messages are different now.
    Changed {
        events: Vec<Event>,
        /// The number of the latest of these changes.
        changes: i64,
    },
    /// Somebody writes to the visitor.
    Typing {
        on: bool,
    },
    Err(Complaint),
    /// What the visitor knows is not what the mailbox holds: forget it, all of it follows.
    Resync,
    Pong,
    /// One message, as it comes.
    #[serde(untagged)]
    Msg(Event),
}

#[derive(Serialize)]
pub(super) struct Welcome {
    pub(super) v: u32,
    pub(super) visitor: String,
    pub(super) token: String,
    /// The latest place.
    pub(super) seq: i64,
    /// The place after which `events` begin.
    pub(super) since: i64,
    /// The visitor has read up to here.
    pub(super) read: i64,
    /// Our side has read up to here.
    pub(super) seen: i64,
    /// The number of the latest change that `events` hold.
    pub(super) changes: i64,
    pub(super) events: Vec<Event>,
    pub(super) more: bool,
    /// Seconds between the visitor's pings.
    pub(super) ping: u64,
    /// Characters of a message, at most.
    pub(super) limit: usize,
    /// Which files are taken; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uploads: Option<Accepted>,
}

/// Which files are taken.
#[derive(Serialize)]
pub(super) struct Accepted {
    /// Bytes.
    pub(super) limit: u64,
    pub(super) types: Vec<String>,
}

/// A message in its place.
#[derive(Serialize)]
pub(super) struct Event {
    pub(super) seq: i64,
    /// Always `msg`; later versions know more.
    #[serde(rename = "t")]
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) from: From,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    pub(super) at: DateTime<Utc>,
    pub(super) body: Body,
    /// The place of the message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) edited: bool,
    /// The option that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pressed: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    Visitor,
    Agent,
}

/// Why a frame had no effect.
#[derive(Serialize)]
pub(super) struct Complaint {
    pub(super) code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Not JSON, or fields that do not fit.
    BadFrame,
    UnknownFrame,
    /// The first frame must be `hello`, and only the first.
    BadHello,
    BadVersion,
    BadToken,
    RateLimited,
    /// Empty, of an unknown type, or with a `client_id` that cannot be one.
    BadMessage,
    TooLong,
    /// The `client_id` names another message.
    Duplicate,
    /// Not uploaded, by somebody else, or too long ago.
    BadUpload,
    /// The message offers no such button.
    NotOffered,
    /// Another answer was given before.
    AlreadyPressed,
    /// Nothing was accepted; send it again.
    Unavailable,
}

impl Code {
    /// As it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::UnknownFrame => "unknown_frame",
            Self::BadHello => "bad_hello",
            Self::BadVersion => "bad_version",
            Self::BadToken => "bad_token",
            Self::RateLimited => "rate_limited",
            Self::BadMessage => "bad_message",
            Self::TooLong => "too_long",
            Self::Duplicate => "duplicate",
            Self::BadUpload => "bad_upload",
            Self::NotOffered => "not_offered",
            Self::AlreadyPressed => "already_pressed",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why the connection is closed, in numbers (4000 and up are ours, RFC 6455 section 7.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Unavailable,
    BadFrames,
    BadToken,
    Silent,
    /// The visitor opened more connections than allowed; the oldest gives way.
    Replaced,
    Flood,
}

impl Close {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Unavailable => 1013,
            Self::BadFrames => 4400,
            Self::BadToken => 4401,
            Self::Silent => 4408,
            Self::Replaced => 4409,
            Self::Flood => 4429,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::BadFrames => "bad frames",
            Self::BadToken => "bad token",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
            Self::Flood => "flood",
        }
    }
}

impl Reply {
    /// As a text frame.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("frames have string keys and finite numbers only")
    }
}

impl std::convert::From<Letter> for Event {
    fn from(letter: Letter) -> Self {
        Self {
            seq: letter.seq,
            kind: "msg",
            id: letter.message_id.to_string(),
            from: match letter.client_id {
                Some(_) => From::Visitor,
                None => From::Agent,
            },
            client_id: letter.client_id,
            at: letter.at,
            body: Body::from_json(&letter.body),
            reply_to: letter.reply_to,
            edited: letter.edited_at.is_some(),
            pressed: letter.pressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use tributary_bus::MessageId;

    use super::*;

    #[test]
    fn frames_of_the_documentation_are_understood() {
        let hello = r#"{"t":"hello","v":1,"channel":"demo","token":"v1.a.b","since":41,"page":{"url":"https://shop.example/p/7","title":"P","ref":"https://google.example/"},"locale":"uk","caps":["later"]}"#;
        assert!(matches!(
            Request::parse(hello),
            Ok(Request::Hello(Hello {
                v: 1,
                since: 41,
                ..
            }))
        ));
        let bare = r#"{"t":"hello","v":1}"#;
        assert!(matches!(
            Request::parse(bare),
            Ok(Request::Hello(Hello {
                since: 0,
                token: None,
                ..
            }))
        ));
        let send = r#"{"t":"send","client_id":"c1","body":{"type":"text","text":"Hi"},"mood":1}"#;
        let Ok(Request::Send(message)) = Request::parse(send) else {
            panic!("send is not understood");
        };
        assert_eq!(message.client_id, "c1");
        assert!(matches!(message.body, Said::Text { text } if text == "Hi"));
        assert!(matches!(
            Request::parse(r#"{"t":"delivered","upto":4}"#),
            Ok(Request::Delivered { upto: 4 })
        ));
        assert!(matches!(
            Request::parse(r#"{"t":"read","upto":4}"#),
            Ok(Request::Read { upto: 4 })
        ));
        let press = r#"{"t":"press","client_id":"c2","seq":4,"button":"yes"}"#;
        assert!(matches!(
            Request::parse(press),
            Ok(Request::Press(Press { seq: 4, .. }))
        ));
        assert!(matches!(
            Request::parse(r#"{"t":"typing"}"#),
            Ok(Request::Typing { on: true })
        ));
        assert!(matches!(
            Request::parse(r#"{"t":"ping"}"#),
            Ok(Request::Ping)
        ));
    }

    #[test]
    fn what_a_later_version_sends_is_unknown_but_no_error() {
        assert!(matches!(
            Request::parse(r#"{"t":"wave","on":true}"#),
            Ok(Request::Unknown)
        ));
        let press = r#"{"t":"send","client_id":"c1","body":{"type":"press","button":"b1"}}"#;
        assert!(matches!(
            Request::parse(press),
            Ok(Request::Send(Message {
                body: Said::Unknown,
                ..
            }))
        ));
    }

    #[test]
    fn what_cannot_be_read_names_its_message_where_possible() {
        for text in [
            "",
            "hi",
            "[]",
            "7",
            "null",
            r#"{"v":1}"#,
            r#"{"t":7}"#,
            r#"{"t":"read"}"#,
        ] {
            assert!(Request::parse(text).is_err(), "{text}");
        }
        let broken = r#"{"t":"send","client_id":"c9","body":{"type":"text","text":7}}"#;
        let client_id = Request::parse(broken).err().and_then(|bad| bad.client_id);
        assert_eq!(client_id.as_deref(), Some("c9"));
    }

    #[test]
    fn a_letter_becomes_an_event() {
        let letter = Letter {
            seq: 7,
            message_id: MessageId(uuid::Uuid::nil()),
            client_id: None,
            body: r#"{"type":"text","text":"Hello"}"#.to_owned(),
            at: "2026-11-20T10:00:00Z".parse().expect("a time"),
            changed: 3,
            edited_at: Some("2026-11-20T10:00:09Z".parse().expect("a time")),
            reply_to: Some(6),
            pressed: None,
        };
        assert_eq!(
            Reply::Msg(letter.into()).to_text(),
            r#"{"seq":7,"t":"msg","id":"00000000-0000-0000-0000-000000000000","from":"agent","at":"2026-11-20T10:00:00Z","body":{"type":"text","text":"Hello"},"reply_to":6,"edited":true}"#
        );
    }
}

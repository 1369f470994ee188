//! A visitor's frames as normalized events.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use tributary_bus::{
    ChannelId, MessageId,
    message::{
        Content, Inbound, MessageContext, MessageReceived, MessageStatus, Origin, Profile, Raw,
        SentBy, Status,
    },
};
use url::Url;

use super::{
    mailbox::{Draft, Sent},
    token::Visitor,
    wire::{Body, Code, Message, Page},
};

/// Of a visitor's name for a message; ours are UUIDs.
const CLIENT_ID_LIMIT: usize = 64;
const URL_LIMIT: usize = 2000;
const TITLE_LIMIT: usize = 300;
const LOCALE_LIMIT: usize = 35;
/// Query parameters that may be a secret of the site; their values stay there.
const SECRETIVE: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "code",
    "key",
    "auth",
    "session",
    "signature",
    "jwt",
];

/// Who writes, and where.
pub(super) struct Writer {
    pub(super) channel: ChannelId,
    pub(super) visitor: Visitor,
    /// Told with the first message of a connection.
    pub(super) profile: Profile,
}

/// What a visitor's message leads to: first the event on the bus, then the message in the mailbox.
pub(super) struct Written {
    pub(super) event: Inbound,
    pub(super) draft: Draft,
}

/// Checks a message and translates it. `raw` is the frame as it came; `limit` counts characters.
pub(super) fn to_event(
    message: Message,
    raw: String,
    writer: &Writer,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Written, Code> {
    if !valid_client_id(&message.client_id) {
        return Err(Code::BadMessage);
    }
    let Body::Text { text } = &message.body else {
        return Err(Code::BadMessage);
    };
    if text.trim().is_empty() {
        return Err(Code::BadMessage);
    }
    if text.chars().count() > limit {
        return Err(Code::TooLong);
    }
    let provider_id = format!("{}:{}", writer.visitor, message.client_id);
    let message_id = MessageId::derived(&writer.channel, &provider_id);
    let received = MessageReceived {
        origin: Origin {
            raw: Some(Raw {
                media_type: "application/json".to_owned(),
                body: raw,
            }),
            ..origin(&writer.channel, writer.visitor, now)
        },
        message_id,
        provider_id,
        contact: writer.profile.clone(),
        content: Content::text(text.clone()),
        reply_to: None,
        sent_by: SentBy::Contact,
        context: MessageContext::default(),
        replayed: false,
        extra: Map::new(),
    };
    Ok(Written {
        event: Inbound::Received(Box::new(received)),
        draft: Draft {
            message_id,
            part: 0,
            client_id: Some(message.client_id),
            body: message.body.to_json(),
            at: now,
        },
    })
}

/// What became of messages to the visitor; `statuses` are published for each, in this order.
pub(super) fn to_statuses(
    sent: &[Sent],
    statuses: &[Status],
    channel: &ChannelId,
    visitor: Visitor,
    now: DateTime<Utc>,
) -> Vec<Inbound> {
    let mut events = Vec::with_capacity(sent.len() * statuses.len());
    for message in sent {
        for status in statuses {
            events.push(Inbound::Status(MessageStatus {
                origin: origin(channel, visitor, now),
                message_id: message.message_id,
                status: *status,
                provider_ids: Vec::new(),
                failure: None,
                uncertain: false,
                degraded: Vec::new(),
                extra: Map::new(),
            }));
        }
    }
    events
}

/// What a page says about its visitor. What is too long or looks like a secret is left out.
pub(super) fn to_profile(page: &Page, locale: Option<&str>) -> Profile {
    let mut extra = Map::new();
    let facts = [
        ("url", page.url.as_deref().and_then(clean_url)),
        ("title", page.title.as_deref().and_then(clean_title)),
        ("referrer", page.referrer.as_deref().and_then(clean_url)),
    ];
    let page: Map<String, Value> = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name.to_owned(), Value::String(fact?))))
        .collect();
    if !page.is_empty() {
        extra.insert("page".to_owned(), json!(page));
    }
    Profile {
        locale: locale.filter(|tag| valid_locale(tag)).map(str::to_owned),
        extra,
        ..Profile::default()
    }
}

fn origin(channel: &ChannelId, visitor: Visitor, now: DateTime<Utc>) -> Origin {
    Origin {
        channel_id: channel.clone(),
        address: visitor.address(),
        occurred_at: now,
        raw: None,
    }
}

fn valid_client_id(id: &str) -> bool {
    (1..=CLIENT_ID_LIMIT).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Letters, digits and `-`, as in BCP 47.
fn valid_locale(tag: &str) -> bool {
    (2..=LOCALE_LIMIT).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A web address without credentials, fragment and values that look secret.
fn clean_url(text: &str) -> Option<String> {
    if text.len() > URL_LIMIT {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| {
            let name = name.to_lowercase();
            !SECRETIVE.iter().any(|word| name.contains(word))
        })
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if url.query_pairs().count() > pairs.len() {
        url.set_query(None);
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
    }
    Some(url.into())
}

fn clean_title(text: &str) -> Option<String> {
    let title: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(TITLE_LIMIT)
        .collect();
    let title = title.trim();
    (!title.is_empty()).then(|| title.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer {
            channel: ChannelId::from("shop"),
            visitor: Visitor::generate(),
            profile: Profile::default(),
        }
    }

    fn message(client_id: &str, text: &str) -> Message {
        Message {
            client_id: client_id.to_owned(),
            body: Body::Text {
                text: text.to_owned(),
            },
        }
    }

    #[test]
    fn a_message_has_the_same_id_however_often_it_comes() {
        let writer = writer();
        let once = || {
            let written = to_event(
                message("c1", "Hi"),
                "{}".to_owned(),
                &writer,
                10,
                Utc::now(),
            );
            match written {
                Ok(written) => written,
                Err(code) => panic!("refused: {code:?}"),
            }
        };
        let (first, second) = (once(), once());
        assert_eq!(first.draft.message_id, second.draft.message_id);
        let Inbound::Received(event) = first.event else {
            panic!("a message is message.received");
        };
        assert_eq!(event.message_id, first.draft.message_id);
        assert_eq!(event.provider_id, format!("{}:c1", writer.visitor));
        assert_eq!(event.origin.address, writer.visitor.address());
        assert_eq!(event.origin.raw.map(|raw| raw.body).as_deref(), Some("{}"));
    }

    #[test]
    fn bad_messages_are_refused_by_kind() {
        let long = "ї".repeat(11);
        let rows = [
            (message("c1", " \n\t"), Code::BadMessage),
            (message("c1", &long), Code::TooLong),
            (message("", "Hi"), Code::BadMessage),
            (message("c 1", "Hi"), Code::BadMessage),
            (message(&"c".repeat(65), "Hi"), Code::BadMessage),
            (
                Message {
                    client_id: "c1".to_owned(),
                    body: Body::Unknown,
                },
                Code::BadMessage,
            ),
        ];
        for (message, code) in rows {
            let result = to_event(message, String::new(), &writer(), 10, Utc::now());
            assert_eq!(result.err(), Some(code));
        }
        let exact = to_event(
            message("c1", &"ї".repeat(10)),
            String::new(),
            &writer(),
            10,
            Utc::now(),
        );
        assert!(exact.is_ok());
    }

    #[test]
    fn a_profile_holds_what_is_fit_to_be_kept() {
        let page = Page {
            url: Some("https://me:pw@shop.example/p/7?id=5&Access_Token=abc&q=a b#top".to_owned()),
            title: Some("  Shoes\u{0}\n ".to_owned()),
            referrer: Some("javascript:alert(1)".to_owned()),
        };
        let profile = to_profile(&page, Some("uk-UA"));
        assert_eq!(profile.locale.as_deref(), Some("uk-UA"));
        assert_eq!(
            Value::Object(profile.extra),
            json!({"page": {"url": "https://shop.example/p/7?id=5&q=a+b", "title": "Shoes"}})
        );
        let nothing = to_profile(&Page::default(), Some("<script>"));
        assert_eq!(nothing, Profile::default());
    }

    #[test]
    fn urls_without_secrets_stay_as_they_are() {
        for url in [
            "https://shop.example/?a=1&b=%20c",
            "http://127.0.0.1:8080/x",
        ] {
            assert_eq!(clean_url(url).as_deref(), Some(url));
        }
        assert_eq!(
            clean_url("https://shop.example/?code=1").as_deref(),
            Some("https://shop.example/")
        );
        let long = format!("https://shop.example/{}", "x".repeat(URL_LIMIT));
        for url in ["", "/p", "data:text/plain,x", long.as_str()] {
            assert_eq!(clean_url(url), None);
        }
    }
}

//! A visitor's frames as normalized events.

use chrono::{DateTime, Utc};
use serde_json::Map;
use tributary_base::text::is_blank;
use tributary_bus::{
    ChannelId, MessageId,
    message::{
        Attribution, ContactTyping, Content, Inbound, MessageContext, MessageReceived,
        MessageStatus, Origin, Profile, Raw, SentBy, Status, Utm,
    },
};
use url::Url;

use super::{
    body::Body,
    mailbox::{Draft, Sent},
    names::Name,
    token::Visitor,
    wire::{Code, Page},
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
    /// What brought the visitor here; told with the first message, and again from another page.
    pub(super) attribution: Attribution,
    /// What of it was told already.
    pub(super) told: Attribution,
}

/// What a visitor says, checked.
pub(super) struct Spoken {
    pub(super) client_id: String,
    pub(super) content: Content,
    /// The same, for the mailbox.
    pub(super) body: Body,
    /// The message it answers.
    pub(super) answers: Option<Answered>,
    /// The frame as it came.
    pub(super) raw: String,
}

/// A message that is answered: its place, and how everybody else names it.
pub(super) struct Answered {
    pub(super) place: i64,
    pub(super) provider_id: String,
}

/// What a visitor's message leads to: first the event on the bus, then the message in the mailbox.
pub(super) struct Written {
    pub(super) event: Inbound,
    pub(super) draft: Draft,
}

/// Checks a text; `limit` counts characters.
pub(super) fn to_text(text: &str, limit: usize) -> Result<(Content, Body), Code> {
    if is_blank(text) {
        return Err(Code::BadMessage);
    }
    if text.chars().count() > limit {
        return Err(Code::TooLong);
    }
    let text = text.to_owned();
    Ok((Content::text(text.clone()), Body::Text { text }))
}

/// Translates what was said.
pub(super) fn to_event(spoken: Spoken, writer: &Writer, now: DateTime<Utc>) -> Written {
    let provider_id = Name::Theirs(spoken.client_id.clone()).write(writer.visitor);
    let message_id = MessageId::derived(&writer.channel, &provider_id);
    let (place, answers) = match spoken.answers {
        Some(answered) => (Some(answered.place), Some(answered.provider_id)),
        None => (None, None),
    };
    let attribution = if writer.attribution == writer.told {
        Attribution::default()
    } else {
        writer.attribution.clone()
    };
    let received = MessageReceived {
        origin: Origin {
            raw: Some(Raw {
                media_type: "application/json".to_owned(),
                body: spoken.raw,
            }),
            ..origin(&writer.channel, writer.visitor, now)
        },
        message_id,
        provider_id,
        contact: writer.profile.clone(),
        content: spoken.content,
        reply_to: answers,
        sent_by: SentBy::Contact,
        context: MessageContext {
            attribution,
            ..MessageContext::default()
        },
        replayed: false,
        extra: Map::new(),
    };
    Written {
        event: Inbound::Received(Box::new(received)),
        draft: Draft {
            message_id,
            part: 0,
            is_last: true,
            client_id: Some(spoken.client_id),
            body: spoken.body.to_json(),
            reply_to: place,
            at: now,
        },
    }
}

/// The visitor is writing.
pub(super) fn to_typing(channel: &ChannelId, visitor: Visitor, now: DateTime<Utc>) -> Inbound {
    Inbound::Typing(ContactTyping {
        origin: origin(channel, visitor, now),
        extra: Map::new(),
    })
}

/// What became of messages to the visitor; `statuses` are published for each that is whole, in this order.
pub(super) fn to_statuses(
    sent: &[Sent],
    statuses: &[Status],
    channel: &ChannelId,
    visitor: Visitor,
    now: DateTime<Utc>,
) -> Vec<Inbound> {
    let mut events = Vec::with_capacity(sent.len() * statuses.len());
    for message in sent.iter().filter(|part| part.is_last) {
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

/// What a visitor's browser says about them.
pub(super) fn to_profile(locale: Option<&str>) -> Profile {
    Profile {
        locale: locale.filter(|tag| valid_locale(tag)).map(str::to_owned),
        ..Profile::default()
    }
}

/// What a page says about how its visitor came. What is too long or looks like a secret is left out.
pub(super) fn to_attribution(page: &Page) -> Attribution {
    let url = page.url.as_deref().and_then(clean_url);
    Attribution {
        utm: url.as_ref().and_then(utm),
        page_url: url.map(String::from),
        page_title: page.title.as_deref().and_then(clean_title),
        referrer: (page.referrer.as_deref())
            .and_then(clean_url)
            .map(String::from),
        ..Attribution::default()
    }
}

fn utm(url: &Url) -> Option<Utm> {
    let mut utm = Utm::default();
    for (name, value) in url.query_pairs() {
        let field = match &*name {
            "utm_source" => &mut utm.source,
            "utm_medium" => &mut utm.medium,
            "utm_campaign" => &mut utm.campaign,
            "utm_term" => &mut utm.term,
            "utm_content" => &mut utm.content,
            _ => continue,
        };
        *field = clean_title(&value);
    }
    (utm != Utm::default()).then_some(utm)
}

fn origin(channel: &ChannelId, visitor: Visitor, now: DateTime<Utc>) -> Origin {
    Origin {
        channel_id: channel.clone(),
        address: visitor.address(),
        occurred_at: now,
        event: None,
        raw: None,
    }
}

pub(super) fn valid_client_id(id: &str) -> bool {
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
fn clean_url(text: &str) -> Option<Url> {
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
    Some(url)
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

    fn writer(page: &str) -> Writer {
        let page = Page {
            url: Some(page.to_owned()),
            ..Page::default()
        };
        Writer {
            channel: ChannelId::from("shop"),
            visitor: Visitor::generate(),
            profile: Profile::default(),
            attribution: to_attribution(&page),
            told: Attribution::default(),
        }
    }

    fn said(writer: &Writer, answers: Option<Answered>) -> (MessageReceived, Draft) {
        let Ok((content, body)) = to_text("Hi", 10) else {
            panic!("a good text");
        };
        let spoken = Spoken {
            client_id: "c1".to_owned(),
            content,
            body,
            answers,
            raw: "{}".to_owned(),
        };
        let written = to_event(spoken, writer, Utc::now());
        let Inbound::Received(event) = written.event else {
            panic!("a message is message.received");
        };
        (*event, written.draft)
    }

    #[test]
    fn a_message_has_the_same_id_however_often_it_comes() {
        let writer = writer("");
        let ((event, first), (_, second)) = (said(&writer, None), said(&writer, None));
        assert_eq!(first.message_id, second.message_id);
        assert_eq!(event.message_id, first.message_id);
        assert_eq!(event.provider_id, format!("{}:c1", writer.visitor));
        assert_eq!(event.origin.address, writer.visitor.address());
        assert_eq!(event.origin.raw.map(|raw| raw.body).as_deref(), Some("{}"));
    }

    #[test]
    fn an_answer_names_what_it_answers() {
        let answered = Answered {
            place: 7,
            provider_id: "v/7".to_owned(),
        };
        let (event, draft) = said(&writer(""), Some(answered));
        assert_eq!(event.reply_to.as_deref(), Some("v/7"));
        assert_eq!(draft.reply_to, Some(7));
    }

    #[test]
    fn a_page_is_told_once() {
        let mut writer = writer("https://shop.example/?utm_source=mail&utm_medium=%20&ref=x");
        let attribution = said(&writer, None).0.context.attribution;
        let utm = attribution.utm.clone().expect("the link names a source");
        assert_eq!((utm.source.as_deref(), utm.medium), (Some("mail"), None));
        writer.told = attribution;
        assert!(said(&writer, None).0.context.is_empty());
    }

    #[test]
    fn bad_texts_are_refused_by_kind() {
        let long = "ї".repeat(11);
        assert_eq!(to_text(" \n\t", 10).err(), Some(Code::BadMessage));
        assert_eq!(to_text(&long, 10).err(), Some(Code::TooLong));
        assert!(to_text(&long[2..], 10).is_ok());
        for id in ["", "c 1", &"c".repeat(65), "ї", "a/b", "a:b"] {
            assert!(!valid_client_id(id), "{id}");
        }
        assert!(valid_client_id("0193a1f2-8c01_x"));
    }

    #[test]
    fn what_is_told_of_a_page_is_fit_to_be_kept() {
        let page = Page {
            url: Some("https://me:pw@shop.example/p/7?id=5&Access_Token=abc&q=a b#top".to_owned()),
            title: Some("  <b>Shoes\u{0}\n ".to_owned()),
            referrer: Some("javascript:alert(1)".to_owned()),
        };
        let attribution = to_attribution(&page);
        assert_eq!(
            attribution.page_url.as_deref(),
            Some("https://shop.example/p/7?id=5&q=a+b")
        );
        assert_eq!(attribution.page_title.as_deref(), Some("<b>Shoes"));
        assert_eq!((attribution.referrer, attribution.utm), (None, None));
        assert!(to_attribution(&Page::default()).is_empty());
        assert_eq!(to_profile(Some("uk-UA")).locale.as_deref(), Some("uk-UA"));
        assert_eq!(to_profile(Some("<script>")), Profile::default());
    }

    #[test]
    fn urls_without_secrets_stay_as_they_are() {
        let cleaned = |url: &str| clean_url(url).map(String::from);
        for url in [
            "https://shop.example/?a=1&b=%20c",
            "http://127.0.0.1:8080/x",
        ] {
            assert_eq!(cleaned(url).as_deref(), Some(url));
        }
        assert_eq!(
            cleaned("https://shop.example/?code=1").as_deref(),
            Some("https://shop.example/")
        );
        let long = format!("https://shop.example/{}", "x".repeat(URL_LIMIT));
        for url in ["", "/p", "data:text/plain,x", long.as_str()] {
            assert_eq!(cleaned(url), None);
        }
    }
}

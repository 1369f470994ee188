//! A part of a delivery as a message in the mailbox.

use chrono::{DateTime, Utc};
use tributary_bus::message::{self, ChoiceAction, ChoiceStyle, Content, MediaContent, Text};
use url::Url;

use super::{
    body::{Attachment, Body, Card, Cards, Choice, File, Offer, Style},
    mailbox::Draft,
    token::Visitor,
};
use crate::{Part, SendContext};

/// What a link in the widget may begin with.
const SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// Why a part cannot be a message in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The address is no visitor's.
    Address,
    Content,
    Part,
    /// Media without bytes.
    Media,
    /// A link that is none, or that could run something.
    Link,
}

/// Whom a part goes to and what is kept for them. Formatting is left out: the widget shows plain text.
pub(super) fn to_draft(
    part: &Part,
    context: &SendContext,
    now: DateTime<Utc>,
) -> Result<(Visitor, Draft), Unfit> {
    let visitor = context.to.as_str().parse().map_err(|_| Unfit::Address)?;
    let draft = Draft {
        message_id: context.message_id,
        part: i32::try_from(part.index).map_err(|_| Unfit::Part)?,
        is_last: part.index + 1 >= context.parts,
        client_id: None,
        body: to_body(&part.content)?.to_json(),
        reply_to: None,
        at: now,
    };
    Ok((visitor, draft))
}

/// What is shown of a content.
pub(super) fn to_body(content: &Content) -> Result<Body, Unfit> {
    Ok(match content {
        Content::Text(text) => Body::Text {
            text: text.text.clone(),
        },
        Content::Image(media) => Body::Image(attachment(media)?),
        Content::Video(media) => Body::Video(attachment(media)?),
        Content::Audio(media) | Content::Voice(media) => Body::Audio(attachment(media)?),
        Content::File(media) => Body::File(attachment(media)?),
        Content::Choices(choices) => Body::Choices(Offer {
            text: choices.text.text.clone(),
            style: match choices.style {
                ChoiceStyle::Buttons => Style::Buttons,
                ChoiceStyle::List => Style::List,
                ChoiceStyle::QuickReplies => Style::QuickReplies,
            },
            options: options(&choices.options)?,
        }),
        Content::Carousel(carousel) => Body::Carousel(Cards {
            text: words(carousel.text.as_ref()),
            cards: carousel.cards.iter().map(card).collect::<Result<_, _>>()?,
        }),
        Content::Sticker(_)
        | Content::Location(_)
        | Content::ContactCard(_)
        | Content::ChoiceReply(_)
        | Content::Template(_)
        | Content::Email(_)
        | Content::Unsupported(_)
        | Content::Other(_) => return Err(Unfit::Content),
    })
}

fn attachment(content: &MediaContent) -> Result<Attachment, Unfit> {
    Ok(Attachment {
        media: file(&content.media)?,
        caption: words(content.caption.as_ref()),
    })
}

fn file(media: &message::Media) -> Result<File, Unfit> {
    let file = File::of(media).ok_or(Unfit::Media)?;
    match &file.url {
        Some(url) if !matches!(scheme(url).as_deref(), Some("http" | "https")) => Err(Unfit::Link),
        _ => Ok(file),
    }
}

fn card(card: &message::Card) -> Result<Card, Unfit> {
    Ok(Card {
        title: card.title.clone(),
        text: words(card.text.as_ref()),
        media: card.media.as_ref().map(file).transpose()?,
        options: options(&card.options)?,
    })
}

fn options(choices: &[message::Choice]) -> Result<Vec<Choice>, Unfit> {
    choices
        .iter()
        .map(|choice| {
            let url = match &choice.action {
                ChoiceAction::Reply => None,
                ChoiceAction::Url { url } => {
                    let scheme = scheme(url).ok_or(Unfit::Link)?;
                    if !SCHEMES.contains(&scheme.as_str()) {
                        return Err(Unfit::Link);
                    }
                    Some(url.clone())
                }
                ChoiceAction::Call { phone } => Some(telephone(phone).ok_or(Unfit::Link)?),
                ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {
                    return Err(Unfit::Content);
                }
            };
            Ok(Choice {
                id: choice.id.clone(),
                title: choice.title.clone(),
                description: choice.description.clone(),
                section: choice.section.clone(),
                url,
            })
        })
        .collect()
}

fn words(text: Option<&Text>) -> Option<String> {
    text.filter(|text| !text.is_blank())
        .map(|text| text.text.clone())
}

fn scheme(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.scheme().to_owned())
}

/// RFC 3966, as far as people write numbers.
fn telephone(phone: &str) -> Option<String> {
    let digits: String = phone
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == '+')
        .collect();
    (digits.len() > 2).then(|| format!("tel:{digits}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{CallLog, NoMedia};
    use std::time::Duration;

    use serde_json::{Value, json};
    use tributary_bus::{Address, MessageId};

    use super::*;

    fn context(to: &str) -> SendContext {
        SendContext {
            message_id: MessageId::generate(),
            parts: 1,
            to: Address::from(to),
            seq: 4,
            reply_to: None,
            idempotency_key: "k".to_owned(),
            deadline: Duration::from_secs(1),
            media: Arc::new(NoMedia),
            log: CallLog::nowhere(),
        }
    }

    fn content(value: Value) -> Content {
        serde_json::from_value(value).expect("content")
    }

    #[test]
    fn text_is_kept_as_it_is() {
        let visitor = Visitor::generate();
        let part = Part {
            index: 2,
            content: Content::text("<b>1 & 2</b>\n\u{0} \"ок\""),
        };
        let (to, draft) =
            to_draft(&part, &context(&visitor.to_string()), Utc::now()).expect("text fits");
        assert_eq!(to, visitor);
        assert_eq!((draft.part, draft.client_id), (2, None));
        assert_eq!(
            draft.body,
            r#"{"type":"text","text":"<b>1 & 2</b>\n\u0000 \"ок\""}"#
        );
    }

    #[test]
    fn every_content_it_carries_has_its_body() {
        let media = json!({"media_id": "ab", "mime": "image/png", "size": 5, "name": "a.png", "url": "https://x/?sig"});
        let kept = json!({"id": "ab", "mime": "image/png", "size": 5, "name": "a.png"});
        let linked = json!({"url": "https://shop.example/v.mp4"});
        let choices = json!({"text": {"text": "Which?"}, "style": "quick_replies", "options": [
            {"id": "a", "title": "A", "description": "first"},
            {"id": "b", "title": "B", "action": {"do": "url", "url": "https://shop.example/b"}},
            {"id": "c", "title": "C", "action": {"do": "call", "phone": "+380 (44) 123-45-67"}}]});
        let mut typed = choices.clone();
        typed["type"] = json!("choices");
        for (content_json, body) in [
            (
                json!({"type": "image", "media": media, "caption": {"text": "Look"}}),
                json!({"type": "image", "media": kept, "caption": "Look"}),
            ),
            (
                json!({"type": "video", "media": linked, "caption": {"text": " "}}),
                json!({"type": "video", "media": linked}),
            ),
            (
                json!({"type": "voice", "media": linked}),
                json!({"type": "audio", "media": linked}),
            ),
            (
                json!({"type": "file", "media": media}),
                json!({"type": "file", "media": kept}),
            ),
            (
                typed,
                json!({"type": "choices", "text": "Which?", "style": "quick_replies", "options": [
                    {"id": "a", "title": "A", "description": "first"},
                    {"id": "b", "title": "B", "url": "https://shop.example/b"},
                    {"id": "c", "title": "C", "url": "tel:+380441234567"}]}),
            ),
            (
                json!({"type": "carousel", "cards": [{"title": "One", "media": media, "options": [{"id": "x", "title": "X"}]}]}),
                json!({"type": "carousel", "cards": [{"title": "One", "media": kept, "options": [{"id": "x", "title": "X"}]}]}),
            ),
        ] {
            let found = to_body(&content(content_json)).expect("it fits");
            assert_eq!(serde_json::to_value(found).expect("JSON"), body);
        }
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let visitor = Visitor::generate().to_string();
        let text = |index| Part {
            index,
            content: Content::text("Hi"),
        };
        let poll = Part {
            index: 0,
            content: Content::unsupported("poll"),
        };
        let try_with = |part: &Part, to: &str| to_draft(part, &context(to), Utc::now()).err();
        assert_eq!(try_with(&text(0), "+380501112233"), Some(Unfit::Address));
        assert_eq!(try_with(&poll, &visitor), Some(Unfit::Content));
        assert_eq!(try_with(&text(u32::MAX), &visitor), Some(Unfit::Part));

        let option = |action: Value| json!({"type": "choices", "text": {"text": "?"}, "options": [{"id": "a", "title": "A", "action": action}]});
        for (value, unfit) in [
            (
                json!({"type": "image", "media": {"state": "pending"}}),
                Unfit::Media,
            ),
            (
                json!({"type": "file", "media": {"url": "javascript:alert(1)"}}),
                Unfit::Link,
            ),
            (
                json!({"type": "file", "media": {"url": "/etc/passwd"}}),
                Unfit::Link,
            ),
            (
                option(json!({"do": "url", "url": "javascript:alert(1)"})),
                Unfit::Link,
            ),
            (
                option(json!({"do": "url", "url": "shop.example"})),
                Unfit::Link,
            ),
            (option(json!({"do": "call", "phone": "none"})), Unfit::Link),
            (option(json!({"do": "request_contact"})), Unfit::Content),
        ] {
            assert_eq!(
                to_body(&content(value.clone())).err(),
                Some(unfit),
                "{value}"
            );
        }
    }
}

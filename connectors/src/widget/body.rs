//! What a message in a mailbox holds, and how it goes into frames.
//!
//! Media of our own store is kept by its id; a link to it is signed each time a frame goes out, since links expire.

use serde::{Deserialize, Serialize};
use tributary_bus::message::{Media, MediaId};

/// The body of a message, as JSON in the mailbox and in frames.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Body {
    Text {
        text: String,
    },
    Image(Attachment),
    Video(Attachment),
    Audio(Attachment),
    File(Attachment),
    Choices(Offer),
    Carousel(Cards),
    /// The visitor has chosen.
    ChoiceReply {
        id: String,
        title: String,
    },
    /// It was taken back.
    Deleted,
    /// Of a later version, or damaged.
    #[serde(other)]
    Unknown,
}

/// Media with words.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Attachment {
    pub(super) media: File,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) caption: Option<String>,
}

/// Something to be shown, played or downloaded.
#[derive(Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct File {
    /// In the media store of ours; never in a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<MediaId>,
    /// In a frame always; in the mailbox only of what lies elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<u32>,
}

/// Something to choose from.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Offer {
    pub(super) text: String,
    pub(super) style: Style,
    pub(super) options: Vec<Choice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Style {
    Buttons,
    List,
    QuickReplies,
}

/// A button.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Choice {
    pub(super) id: String,
    pub(super) title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Heading above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) section: Option<String>,
    /// Opens this (`https:`, `mailto:`, `tel:`); without it, it can be pressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

/// Cards side by side.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Cards {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    pub(super) cards: Vec<Card>,
}

#[derive(Clone, PartialEq, Deserialize, Serialize)]
pub(super) struct Card {
    pub(super) title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media: Option<File>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) options: Vec<Choice>,
}

impl Body {
    /// As the mailbox keeps it.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a body has string keys only")
    }

    /// As the mailbox kept it. What cannot be read is shown as unknown, and never ends a connection.
    pub(super) fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or(Self::Unknown)
    }

    /// The title of an option that may be pressed; `None` when the message does not offer it.
    pub(super) fn offered(&self, id: &str) -> Option<&str> {
        let cards = match self {
            Self::Carousel(carousel) => carousel.cards.as_slice(),
            _ => &[],
        };
        let options = match self {
            Self::Choices(offer) => offer.options.as_slice(),
            _ => &[],
        };
        options
            .iter()
            .chain(cards.iter().flat_map(|card| &card.options))
            .find(|option| option.url.is_none() && option.id == id)
            .map(|option| option.title.as_str())
    }

    /// Everything that has bytes somewhere.
    pub(super) fn files_mut(&mut self) -> Vec<&mut File> {
        match self {
            Self::Image(one) | Self::Video(one) | Self::Audio(one) | Self::File(one) => {
                vec![&mut one.media]
            }
            Self::Carousel(carousel) => carousel
                .cards
                .iter_mut()
                .filter_map(|card| card.media.as_mut())
                .collect(),
            Self::Text { .. }
            | Self::Choices(_)
            | Self::ChoiceReply { .. }
            | Self::Deleted
            | Self::Unknown => Vec::new(),
        }
    }
}

impl File {
    /// Of what a message refers to; `None` when there are no bytes to be had.
    pub(super) fn of(media: &Media) -> Option<Self> {
        let url = match &media.media_id {
            // A link of ours expires: it is made anew for each frame.
            Some(_) => None,
            None => Some(media.url.clone()?),
        };
        Some(Self {
            id: media.media_id.clone(),
            url,
            mime: media.mime.clone(),
            size: media.size,
            name: media.name.clone(),
            width: media.width,
            height: media.height,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_and_read_again() {
        let choice = |id: &str, url: Option<&str>| Choice {
            id: id.to_owned(),
            title: id.to_uppercase(),
            description: None,
            section: None,
            url: url.map(str::to_owned),
        };
        let bodies = [
            Body::Text {
                text: "\u{0}<b>".to_owned(),
            },
            Body::File(Attachment {
                media: File {
                    id: Some(MediaId("ab".to_owned())),
                    size: Some(7),
                    ..File::default()
                },
                caption: Some("c".to_owned()),
            }),
            Body::Choices(Offer {
                text: "?".to_owned(),
                style: Style::QuickReplies,
                options: vec![choice("a", None), choice("b", Some("https://x.example"))],
            }),
            Body::Deleted,
        ];
        for body in bodies {
            assert!(Body::from_json(&body.to_json()) == body);
        }
        for damaged in ["", "7", r#"{"type":"later"}"#, r#"{"type":"text"}"#] {
            assert!(Body::from_json(damaged) == Body::Unknown, "{damaged}");
        }
    }

    #[test]
    fn only_what_is_offered_can_be_pressed() {
        let body = Body::from_json(
            r#"{"type":"choices","text":"?","style":"buttons","options":[
                {"id":"a","title":"A"},{"id":"u","title":"U","url":"https://x.example"}]}"#,
        );
        assert_eq!(body.offered("a"), Some("A"));
        assert_eq!(body.offered("u"), None, "a link is no answer");
        assert_eq!(body.offered("b"), None);
        let cards = Body::from_json(
            r#"{"type":"carousel","cards":[{"title":"1"},{"title":"2","options":[{"id":"c","title":"C"}]}]}"#,
        );
        assert_eq!(cards.offered("c"), Some("C"));
        assert_eq!(Body::Deleted.offered("a"), None);
    }

    #[test]
    fn a_link_that_expires_is_not_kept() {
        let media = Media {
            url: Some("https://chat.example/media/x?expires=1".to_owned()),
            media_id: Some(MediaId("ab".to_owned())),
            ..Media::default()
        };
        let file = File::of(&media).expect("there are bytes");
        assert_eq!((file.url, file.id), (None, media.media_id));
        assert!(File::of(&Media::default()).is_none());
    }
}

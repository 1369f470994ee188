//! Settings of a custom channel.

use ipnet::IpNet;
use serde::Deserialize;
use tributary_base::outgoing::Guard;
use tributary_config::{Problem, Secret};
use url::Url;

use super::verify::Keys;
use crate::{
    Capabilities, CarouselLimits, ChoiceLimits, Markup, MediaLimit, MediaLimits, Receipts, Support,
    TextLimit,
};

/// Characters of a button or a title; a system that shows less cuts by itself.
const LABEL_LIMIT: TextLimit = TextLimit::Characters(1000);
/// Buttons, rows and cards of one message.
const CHOICES_LIMIT: usize = 100;

/// `[channels.<id>]` of a custom channel.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where deliveries are posted to.
    pub url: Option<Url>,
    /// `whsec_` and base64 of 24 to 64 random bytes; signs both ways.
    pub secret: Secret,
    /// The secret before it, during a change: still accepted, and deliveries are signed with both.
    pub previous_secret: Secret,
    /// Internal networks in which `url` and the links of inbound media may be.
    pub allow_internal: Vec<IpNet>,
    /// Characters of one message.
    pub text_limit: usize,
    /// Bytes, of media both ways; at most (and by default) `media.size_limit`.
    pub media_limit: Option<u64>,
    /// What the system behind `url` cannot do.
    pub without: Vec<Feature>,
    /// How far the system tells about what it took.
    pub receipts: Told,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            secret: Secret::default(),
            previous_secret: Secret::default(),
            allow_internal: Vec::new(),
            text_limit: 65_536,
            media_limit: None,
            without: Vec::new(),
            receipts: Told::Read,
        }
    }
}

/// Something that a system may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Formatting,
    Image,
    Video,
    Audio,
    Voice,
    File,
    Sticker,
    Caption,
    Choices,
    Carousel,
    Location,
    ContactCard,
    Template,
    Email,
    ReplyTo,
    Edit,
    Delete,
    React,
    Typing,
    Read,
}

/// See [`Receipts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    None,
    Delivered,
    Read,
}

/// Settings that can work.
#[derive(Debug)]
pub(super) struct Rules {
    pub url: Url,
    pub keys: Keys,
    pub guard: Guard,
    /// Bytes.
    pub media_limit: u64,
    pub capabilities: Capabilities,
}

impl Config {
    /// Everything that is wrong, below the key `path`. `size_limit`: bytes that the media store takes.
    pub(super) fn check(&self, path: &str, size_limit: u64) -> Result<Rules, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: String| {
            problems.push(Problem::new(format!("{path}.{key}"), message));
        };
        let guard = Guard::new(&self.allow_internal);
        match &self.url {
            None => wrong(
                "url",
                "missing; it says where deliveries are posted to".to_owned(),
            ),
            Some(url) => {
                if let Err(refused) = guard.check(url) {
                    wrong("url", format!("{refused}; see allow_internal"));
                }
            }
        }
        let keys = match Keys::new(&self.secret, &self.previous_secret) {
            Ok(keys) => Some(keys),
            Err(bad) => {
                wrong(bad.key, bad.reason.to_owned());
                None
            }
        };
        if self.text_limit == 0 {
            wrong("text_limit", "must be above 0".to_owned());
        }
        if self.media_limit == Some(0) {
            wrong(
                "media_limit",
                "must be above 0; list kinds of media in `without` to have none".to_owned(),
            );
        }
        match (&self.url, keys) {
            (Some(url), Some(keys)) if problems.is_empty() => {
                let media_limit = self.media_limit.unwrap_or(size_limit).min(size_limit);
                Ok(Rules {
                    url: url.clone(),
                    keys,
                    guard,
                    media_limit,
                    capabilities: self.capabilities(media_limit),
                })
            }
            _ => Err(problems),
        }
    }

    fn can(&self, feature: Feature) -> Support {
        if self.without.contains(&feature) {
            Support::No
        } else {
            Support::Yes
        }
    }

    fn capabilities(&self, media_limit: u64) -> Capabilities {
        let has = |feature| self.can(feature) == Support::Yes;
        let text = TextLimit::Characters(self.text_limit);
        let media = |feature| {
            has(feature).then(|| MediaLimit {
                size: media_limit,
                types: &[],
                caption: has(Feature::Caption).then_some(text),
            })
        };
        Capabilities {
            text,
            markup: if has(Feature::Formatting) {
                Markup::ALL
            } else {
                Markup::NONE
            },
            media: MediaLimits {
                image: media(Feature::Image),
                video: media(Feature::Video),
                audio: media(Feature::Audio),
                voice: media(Feature::Voice),
                file: media(Feature::File),
                sticker: media(Feature::Sticker),
            },
            choices: has(Feature::Choices).then_some(ChoiceLimits {
                buttons: CHOICES_LIMIT,
                list_rows: CHOICES_LIMIT,
                quick_replies: CHOICES_LIMIT,
                title: LABEL_LIMIT,
                description: Some(LABEL_LIMIT),
                id: LABEL_LIMIT,
                text,
                url: Support::Yes,
                call: Support::Yes,
                request: Support::Yes,
            }),
            carousel: has(Feature::Carousel).then_some(CarouselLimits {
                cards: CHOICES_LIMIT,
                title: LABEL_LIMIT,
                text,
                buttons: CHOICES_LIMIT,
            }),
            location: self.can(Feature::Location),
            contact_card: self.can(Feature::ContactCard),
            template: self.can(Feature::Template),
            email: self.can(Feature::Email),
            reply_to: self.can(Feature::ReplyTo),
            edit: self.can(Feature::Edit),
            delete: self.can(Feature::Delete),
            react: self.can(Feature::React),
            typing: self.can(Feature::Typing),
            read: self.can(Feature::Read),
            receipts: match self.receipts {
                Told::None => Receipts::None,
                Told::Delivered => Receipts::Delivered,
                Told::Read => Receipts::Read,
            },
            idempotent: true,
            session_window: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a config")
    }

    fn problems(text: &str) -> Vec<String> {
        config(text)
            .check("channels.crm", 1000)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_mistake_is_named_with_what_to_do() {
        let found = problems("text_limit = 0\nmedia_limit = 0");
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("channels.crm.url: missing"));
        assert!(found[1].starts_with("channels.crm.secret: "), "{found:#?}");
        assert!(found[2].starts_with("channels.crm.text_limit: "));
        assert!(found[3].starts_with("channels.crm.media_limit: "));
        let secret = format!("secret = '{SECRET}'\n");
        for (url, reason) in [
            ("http://10.0.0.1/hook", "internal"),
            ("ftp://crm.example/hook", "scheme"),
            ("https://a:b@crm.example/", "password"),
        ] {
            let found = problems(&format!("{secret}url = '{url}'"));
            assert!(
                found.len() == 1 && found[0].contains(reason),
                "{url}: {found:?}"
            );
        }
        let open = "url = 'http://10.0.0.1/hook'\nallow_internal = ['10.0.0.0/8']";
        assert_eq!(problems(&format!("{secret}{open}")), [""; 0]);
    }

    #[test]
    fn all_is_carried_unless_it_is_said() {
        let base = format!("secret = '{SECRET}'\nurl = 'https://crm.example/hook'\n");
        let all = config(&base).check("x", 1000).expect("right").capabilities;
        assert!(all.idempotent && all.choices.is_some() && all.carousel.is_some());
        assert_eq!((all.edit, all.read), (Support::Yes, Support::Yes));
        assert_eq!(all.media.voice.expect("voice").size, 1000);
        let text = format!(
            "{base}without = ['voice', 'choices', 'edit', 'caption', 'formatting']\n\
             media_limit = 10\ntext_limit = 160\nreceipts = 'none'"
        );
        let less = config(&text).check("x", 1000).expect("right").capabilities;
        assert!(less.media.voice.is_none() && less.choices.is_none());
        assert_eq!((less.edit, less.delete), (Support::No, Support::Yes));
        assert_eq!(
            less.media.image.map(|image| (image.size, image.caption)),
            Some((10, None))
        );
        assert_eq!(
            (less.text, less.markup),
            (TextLimit::Characters(160), Markup::NONE)
        );
        assert_eq!(less.receipts, Receipts::None);
        let more = config(&format!("{base}media_limit = 5000"));
        assert_eq!(more.check("x", 1000).expect("right").media_limit, 1000);
    }
}

//! What a channel can carry. What is not said here cannot be carried: `render` degrades it and says so.

use std::time::Duration;

use tributary_bus::message::EntityKind;

/// What a channel carries, with its limits and their units.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// Longest text of one part.
    pub text: TextLimit,
    /// Formatting that arrives; the rest is left out or written out. Links behind words count as [`Markup::LINK`].
    pub markup: Markup,
    pub media: MediaLimits,
    /// `None`: choices become a numbered list.
    pub choices: Option<ChoiceLimits>,
    /// `None`: cards become messages of their own.
    pub carousel: Option<CarouselLimits>,
    pub location: Support,
    pub contact_card: Support,
    pub template: Support,
    pub email: Support,
    /// Refers to the message it answers.
    pub reply_to: Support,
    pub edit: Support,
    pub delete: Support,
    pub react: Support,
    pub typing: Support,
    /// Tells the contact that we have read.
    pub read: Support,
    /// How far the channel tells about our messages after it took them.
    pub receipts: Receipts,
    /// Whether the provider recognises a repeated send by a key of ours, so that an uncertain one is simply repeated.
    pub idempotent: bool,
    /// For how long after the contact's last message anything may be sent; `None` is for ever.
    pub session_window: Option<Duration>,
}

/// Whether a channel can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Support {
    #[default]
    No,
    Yes,
}

/// A limit with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextLimit {
    /// Unicode scalar values.
    Characters(usize),
    Utf16Units(usize),
    /// Bytes of UTF-8.
    Bytes(usize),
    /// SMS: so many segments, of 160 GSM-7 septets when there is one and 153 each when there are more (70 and 67 UTF-16
    /// units when a character is not in GSM-7); 3GPP TS 23.038.
    SmsSegments(usize),
}

/// A set of formatting kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Markup(u16);

impl Markup {
    pub const NONE: Self = Self(0);
    pub const BOLD: Self = Self(1);
    pub const ITALIC: Self = Self(1 << 1);
    pub const UNDERLINE: Self = Self(1 << 2);
    pub const STRIKETHROUGH: Self = Self(1 << 3);
    pub const SPOILER: Self = Self(1 << 4);
    pub const CODE: Self = Self(1 << 5);
    pub const PRE: Self = Self(1 << 6);
    pub const QUOTE: Self = Self(1 << 7);
    pub const LIST: Self = Self(1 << 8);
    pub const LINK: Self = Self(1 << 9);
    pub const ALL: Self = Self((1 << 10) - 1);

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This one without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kind of an entity; `None` for those that only point at something that is in the text anyway.
    pub fn of(kind: &EntityKind) -> Option<Self> {
        match kind {
            EntityKind::Bold => Some(Self::BOLD),
            EntityKind::Italic => Some(Self::ITALIC),
            EntityKind::Underline => Some(Self::UNDERLINE),
            EntityKind::Strikethrough => Some(Self::STRIKETHROUGH),
            EntityKind::Spoiler => Some(Self::SPOILER),
            EntityKind::Code => Some(Self::CODE),
            EntityKind::Pre { .. } => Some(Self::PRE),
            EntityKind::Quote => Some(Self::QUOTE),
            EntityKind::ListItem => Some(Self::LIST),
            EntityKind::Link { .. } => Some(Self::LINK),
            EntityKind::Url
            | EntityKind::Email
            | EntityKind::Phone
            | EntityKind::Mention
            | EntityKind::Hashtag
            | EntityKind::Command
            | EntityKind::Other(_) => None,
        }
    }
}

/// Which media a channel carries. What has no limit of its own here goes as a file, and a file that cannot go as a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaLimits {
    pub image: Option<MediaLimit>,
    pub video: Option<MediaLimit>,
    pub audio: Option<MediaLimit>,
    pub voice: Option<MediaLimit>,
    pub file: Option<MediaLimit>,
    pub sticker: Option<MediaLimit>,
}

/// A limit of one kind of media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLimit {
    /// Bytes.
    pub size: u64,
    /// MIME types, `image/*` or `image/png`; empty: any.
    pub types: &'static [&'static str],
    /// Longest caption; `None`: a caption goes as a text of its own.
    pub caption: Option<TextLimit>,
}

/// How a channel shows choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceLimits {
    /// Buttons below a message, at most; 0: none.
    pub buttons: usize,
    /// Rows of a list, at most; 0: the channel has no lists.
    pub list_rows: usize,
    /// Quick replies, at most; 0: none.
    pub quick_replies: usize,
    pub title: TextLimit,
    pub description: Option<TextLimit>,
    /// Longest [`tributary_bus::message::Choice::id`].
    pub id: TextLimit,
    /// Longest text of a message with choices.
    pub text: TextLimit,
    /// A button may open a page.
    pub url: Support,
    /// A button may call a number.
    pub call: Support,
    /// A button may ask for the contact's phone number or position.
    pub request: Support,
}

/// How a channel shows cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarouselLimits {
    pub cards: usize,
    pub title: TextLimit,
    pub text: TextLimit,
    /// Buttons of one card.
    pub buttons: usize,
}

/// What is told about a message of ours after the provider took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receipts {
    #[default]
    None,
    Delivered,
    Read,
}

impl Capabilities {
    /// A channel that carries plain text of this length, and nothing else.
    pub const fn text_only(text: TextLimit) -> Self {
        Self {
            text,
            markup: Markup::NONE,
            media: MediaLimits {
                image: None,
                video: None,
                audio: None,
                voice: None,
                file: None,
                sticker: None,
            },
            choices: None,
            carousel: None,
            location: Support::No,
            contact_card: Support::No,
            template: Support::No,
            email: Support::No,
            reply_to: Support::No,
            edit: Support::No,
            delete: Support::No,
            react: Support::No,
            typing: Support::No,
            read: Support::No,
            receipts: Receipts::None,
            idempotent: false,
            session_window: None,
        }
    }
}

//! The refusals a connector must tell apart, in the provider's words.

use serde_json::{Value, json};

use super::misbehave::CallAction;

/// What the provider may answer to a call for reasons a test cannot bring about, or does not want to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each says what the description says")]
pub enum Refusal {
    Unauthorized,
    NotFound,
    Misdirected,
    ConflictWithWebhook,
    ConflictWithSetWebhook,
    ConflictWithOtherPoll,
    BlockedByUser,
    UserDeactivated,
    CannotInitiate,
    BotToBot,
    KickedFromGroup,
    KickedFromSupergroup,
    NotMemberOfChannel,
    GroupDeleted,
    ChatNotFound,
    PeerIdInvalid,
    PrivateChatNotFound,
    GroupDeactivated,
    UserNotFound,
    UpgradedToSupergroup { to: i64 },
    CannotParseEntities,
    ReplyNotFound,
    NotModified,
    TextEmpty,
    TextTooLong,
    CaptionTooLong,
    WrongFileIdentifier,
    UrlNotFetched,
    WrongPageContent,
    PhotoDimensions,
    ImageProcess,
    FileTooBig,
    ButtonData,
    ButtonUrl,
    MarkupTooLong,
    AlbumTooLong,
    CannotEdit,
    EditNotFound,
    DeleteNotFound,
    CannotDelete,
    VoiceForbidden,
    NotEnoughRights,
    NoRightsToSend,
    NeedAdministrator,
    ThreadNotFound,
    TopicClosed,
    QueryTooOld,
    FileUnavailable,
    EntityTooLarge,
    TooManyRequests { retry_after: u32 },
    InternalServerError,
    BadGateway,
}

impl Refusal {
    /// All of them, with invented parameters.
    pub const ALL: [Self; 52] = [
        Self::Unauthorized,
        Self::NotFound,
        Self::Misdirected,
        Self::ConflictWithWebhook,
        Self::ConflictWithSetWebhook,
        Self::ConflictWithOtherPoll,
        Self::BlockedByUser,
        Self::UserDeactivated,
        Self::CannotInitiate,
        Self::BotToBot,
        Self::KickedFromGroup,
        Self::KickedFromSupergroup,
        Self::NotMemberOfChannel,
        Self::GroupDeleted,
        Self::ChatNotFound,
        Self::PeerIdInvalid,
        Self::PrivateChatNotFound,
        Self::GroupDeactivated,
        Self::UserNotFound,
        Self::UpgradedToSupergroup {
            to: -1_002_000_333_444,
        },
        Self::CannotParseEntities,
        Self::ReplyNotFound,
        Self::NotModified,
        Self::TextEmpty,
        Self::TextTooLong,
        Self::CaptionTooLong,
        Self::WrongFileIdentifier,
        Self::UrlNotFetched,
        Self::WrongPageContent,
        Self::PhotoDimensions,
        Self::ImageProcess,
        Self::FileTooBig,
        Self::ButtonData,
        Self::ButtonUrl,
        Self::MarkupTooLong,
        Self::AlbumTooLong,
        Self::CannotEdit,
        Self::EditNotFound,
        Self::DeleteNotFound,
        Self::CannotDelete,
        Self::VoiceForbidden,
        Self::NotEnoughRights,
        Self::NoRightsToSend,
        Self::NeedAdministrator,
        Self::ThreadNotFound,
        Self::TopicClosed,
        Self::QueryTooOld,
        Self::FileUnavailable,
        Self::EntityTooLarge,
        Self::TooManyRequests { retry_after: 7 },
        Self::InternalServerError,
        Self::BadGateway,
    ];

    /// `error_code`, which is the HTTP status as well.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::Misdirected => 421,
            Self::ConflictWithWebhook
            | Self::ConflictWithSetWebhook
            | Self::ConflictWithOtherPoll => 409,
            Self::BlockedByUser
            | Self::UserDeactivated
            | Self::CannotInitiate
            | Self::BotToBot
            | Self::KickedFromGroup
            | Self::KickedFromSupergroup
            | Self::NotMemberOfChannel
            | Self::GroupDeleted => 403,
            Self::EntityTooLarge => 413,
            Self::TooManyRequests { .. } => 429,
            Self::InternalServerError => 500,
            Self::BadGateway => 502,
            _ => 400,
        }
    }

    /// `description`, whole.
    pub fn description(self) -> String {
        if let Self::TooManyRequests { retry_after } = self {
            return format!("Too Many Requests: retry after {retry_after}");
        }
        let kind = match self.code() {
            400 => "Bad Request: ",
            403 => "Forbidden: ",
            409 => "Conflict: ",
            _ => "",
        };
        format!("{kind}{}", self.reason())
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::NotFound => "Not Found",
            Self::Misdirected => "Misdirected Request",
            Self::ConflictWithWebhook => {
                "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            }
            Self::ConflictWithSetWebhook => "terminated by setWebhook request",
            Self::ConflictWithOtherPoll => {
                "terminated by other getUpdates request; make sure that only one bot instance is running"
            }
            Self::BlockedByUser => "bot was blocked by the user",
            Self::UserDeactivated => "user is deactivated",
            Self::CannotInitiate => "bot can't initiate conversation with a user",
            Self::BotToBot => "bot can't send messages to bots",
            Self::KickedFromGroup => "bot was kicked from the group chat",
            Self::KickedFromSupergroup => "bot was kicked from the supergroup chat",
            Self::NotMemberOfChannel => "bot is not a member of the channel chat",
            Self::GroupDeleted => "the group chat was deleted",
            Self::ChatNotFound => "chat not found",
            Self::PeerIdInvalid => "PEER_ID_INVALID",
            Self::PrivateChatNotFound => "private chat not found",
            Self::GroupDeactivated => "group is deactivated",
            Self::UserNotFound => "user not found",
            Self::UpgradedToSupergroup { .. } => "group chat was upgraded to a supergroup chat",
            Self::CannotParseEntities => {
                "can't parse entities: Unsupported start tag \"x\" at byte offset 0"
            }
            Self::ReplyNotFound => "message to be replied not found",
            Self::NotModified => {
                "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message"
            }
            Self::TextEmpty => "message text is empty",
            Self::TextTooLong => "message is too long",
            Self::CaptionTooLong => "message caption is too long",
            Self::WrongFileIdentifier => "wrong file identifier/HTTP URL specified",
            Self::UrlNotFetched => "failed to get HTTP URL content",
            Self::WrongPageContent => "wrong type of the web page content",
            Self::PhotoDimensions => "PHOTO_INVALID_DIMENSIONS",
            Self::ImageProcess => "IMAGE_PROCESS_FAILED",
            Self::FileTooBig => "file is too big",
            Self::ButtonData => "BUTTON_DATA_INVALID",
            Self::ButtonUrl => "BUTTON_URL_INVALID",
            Self::MarkupTooLong => "reply markup is too long",
            Self::AlbumTooLong => "too many messages to send as an album",
            Self::CannotEdit => "message can't be edited",
            Self::EditNotFound => "message to edit not found",
            Self::DeleteNotFound => "message to delete not found",
            Self::CannotDelete => "message can't be deleted",
            Self::VoiceForbidden => "VOICE_MESSAGES_FORBIDDEN",
            Self::NotEnoughRights => "not enough rights to send text messages to the chat",
            Self::NoRightsToSend => "have no rights to send a message",
            Self::NeedAdministrator => "need administrator rights in the channel chat",
            Self::ThreadNotFound => "message thread not found",
            Self::TopicClosed => "TOPIC_CLOSED",
            Self::QueryTooOld => {
                "query is too old and response timeout expired or query ID is invalid"
            }
            Self::FileUnavailable => "wrong file_id or the file is temporarily unavailable",
            Self::EntityTooLarge => "Request Entity Too Large",
            Self::TooManyRequests { .. } => "Too Many Requests",
            Self::InternalServerError => "Internal Server Error",
            Self::BadGateway => "Bad Gateway",
        }
    }

    /// `parameters`, where there are some.
    pub fn parameters(self) -> Option<Value> {
        match self {
            Self::UpgradedToSupergroup { to } => Some(json!({ "migrate_to_chat_id": to })),
            Self::TooManyRequests { retry_after } => Some(json!({ "retry_after": retry_after })),
            _ => None,
        }
    }
}

impl From<Refusal> for CallAction {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse {
            code: refusal.code(),
            description: refusal.description(),
            parameters: refusal.parameters(),
        }
    }
}

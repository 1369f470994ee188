//! How much one message may hold. The API description names the same numbers.

/// Longest text of one message, in characters (Unicode scalar values). Channels split what is too long for them.
pub const TEXT_LIMIT: usize = 10_000;
/// Longest text of an email, in characters.
pub const EMAIL_LIMIT: usize = 100_000;
/// The line of an email that may not be longer, in characters (RFC 5322, 2.1.1).
pub const SUBJECT_LIMIT: usize = 998;
/// Longest name of a template (WhatsApp, the longest of all, takes 512).
pub const NAME_LIMIT: usize = 512;
/// Values of a template, at most.
pub const PARAMETER_LIMIT: usize = 50;
/// Stretches of formatted text, at most.
pub const ENTITY_LIMIT: usize = 500;
/// Longest link, in characters.
pub const LINK_LIMIT: usize = 2048;
/// Longest file name, in characters.
pub const FILE_NAME_LIMIT: usize = 255;
/// Attachments of one email, at most.
pub const ATTACHMENT_LIMIT: usize = 20;
/// Phone numbers (and addresses) of one card, at most.
pub const CONTACT_LIMIT: usize = 10;
/// Options of one question, at most.
pub const OPTION_LIMIT: usize = 50;
/// Options of one card, at most.
pub const CARD_OPTION_LIMIT: usize = 10;
/// Cards of a carousel, at most.
pub const CARD_LIMIT: usize = 20;
/// Longest id of an option, in characters.
pub const ID_LIMIT: usize = 256;
/// Longest title, in characters.
pub const TITLE_LIMIT: usize = 256;

//! The settings of a widget, below `channels.<id>`. `docs/channels/widget.md` describes each.

use std::time::Duration;

use serde::Deserialize;
use tributary_config::{Problem, Secret};

use super::origins::Origins;
use crate::Rate;

/// A shorter key could be guessed.
const SECRET_LENGTH: usize = 16;
/// In bytes a message must fit into a frame (64 KiB), and a character can take six of them in JSON.
const LARGEST_TEXT_LIMIT: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Pages that may show the widget: `https://shop.example` or `*.shop.example`. Empty: any.
    allowed_origins: Vec<String>,
    /// Serves `/channels/<id>/demo`.
    demo_page: bool,
    /// Signs visitor tokens. Empty: a key is made once and kept in the connectors' database.
    secret: Secret,
    /// How long a visitor is recognised after the last visit.
    #[serde(with = "tributary_config::duration")]
    visitor_lifetime: Duration,
    /// Characters of a visitor's message.
    text_limit: usize,
    /// Messages of one visitor.
    messages_per_10s: u32,
    messages_per_10m: u32,
    /// New visitors from one internet address (IPv6: one /64 network).
    visitors_per_minute: u32,
    visitors_per_hour: u32,
    /// Connections of one visitor to one worker; the oldest gives way.
    sockets_per_visitor: usize,
    /// Visitors may send files.
    uploads: bool,
    /// Bytes of a file; `media.size_limit` holds too.
    upload_limit: u64,
    /// MIME types, `image/png` or `image/*`; told from the bytes.
    upload_types: Vec<String>,
    /// Files of one visitor.
    uploads_per_hour: u32,
}

/// What visitors may send, unless the settings say otherwise: pictures, recordings, documents; nothing that runs.
const UPLOAD_TYPES: [&str; 13] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/heif",
    "video/mp4",
    "video/quicktime",
    "audio/*",
    "application/pdf",
    "text/plain",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
];
/// What can run in a page of the server's own: never taken, whatever the list says.
const ACTIVE_TYPES: [&str; 7] = [
    "image/svg+xml",
    "text/html",
    "text/xml",
    "text/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/javascript",
];
/// Of one internet address, which may be an office: as many as so many visitors.
const UPLOADING_VISITORS: u32 = 10;

impl Default for Config {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            demo_page: false,
            secret: Secret::default(),
            visitor_lifetime: Duration::from_secs(365 * 86_400),
            text_limit: 4000,
            messages_per_10s: 10,
            messages_per_10m: 60,
            visitors_per_minute: 60,
            visitors_per_hour: 1000,
            sockets_per_visitor: 3,
            uploads: true,
            upload_limit: 10 * 1024 * 1024,
            upload_types: UPLOAD_TYPES.iter().map(ToString::to_string).collect(),
            uploads_per_hour: 20,
        }
    }
}

/// Which files visitors may send.
#[derive(Debug, Clone)]
pub(super) struct UploadRules {
    /// Bytes.
    pub(super) limit: u64,
    pub(super) types: Vec<String>,
    /// Of one visitor, and of one internet address.
    pub(super) rates: [Rate; 2],
}

impl UploadRules {
    /// Whether a file of this type, told from its bytes, is taken.
    pub(super) fn allow(&self, mime: &str) -> bool {
        !ACTIVE_TYPES.contains(&mime)
            && self.types.iter().any(|allowed| {
                allowed == mime
                    || allowed
                        .strip_suffix('*')
                        .is_some_and(|kind| mime.starts_with(kind))
            })
    }
}

/// As it is used.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) origins: Origins,
    pub(super) demo_page: bool,
    /// Configured, or else kept in the database.
    pub(super) secret: Option<Secret>,
    pub(super) visitor_lifetime: Duration,
    pub(super) text_limit: usize,
    pub(super) messages: [Rate; 2],
    pub(super) visitors: [Rate; 2],
    pub(super) sockets_per_visitor: usize,
    /// `None`: files are not taken.
    pub(super) uploads: Option<UploadRules>,
}

impl Config {
    /// Checks every setting.
    ///
    /// # Errors
    /// All that cannot work, by key below `path`.
    pub(super) fn check(self, path: &str) -> Result<Rules, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut complain = |key: &str, message: &str| {
            problems.push(Problem::new(format!("{path}.{key}"), message));
        };
        let secret = self.secret.expose();
        if !secret.is_empty() && secret.len() < SECRET_LENGTH {
            complain(
                "secret",
                "too short; use at least 16 random characters, or leave it empty to have a key made",
            );
        }
        if !(1..=LARGEST_TEXT_LIMIT).contains(&self.text_limit) {
            complain("text_limit", "must be between 1 and 10000 characters");
        }
        if self.visitor_lifetime < HOUR {
            complain("visitor_lifetime", "must be at least 1h");
        }
        if self.sockets_per_visitor == 0 {
            complain("sockets_per_visitor", "must be at least 1");
        }
        if self.upload_limit == 0 {
            complain(
                "upload_limit",
                "must be at least 1 byte; uploads = false takes no files",
            );
        }
        for (index, mime) in self.upload_types.iter().enumerate() {
            if !is_type(mime) {
                complain(
                    &format!("upload_types[{index}]"),
                    "not a MIME type; write for example \"image/png\" or \"image/*\"",
                );
            }
        }
        let mut rate = |key: &str, count: u32, period: Duration| {
            let rate = Rate::new(f64::from(count), period, count);
            if rate.is_none() {
                complain(key, "must be at least 1");
            }
            rate
        };
        let messages = [
            rate(
                "messages_per_10s",
                self.messages_per_10s,
                Duration::from_secs(10),
            ),
            rate("messages_per_10m", self.messages_per_10m, 10 * MINUTE),
        ];
        let visitors = [
            rate("visitors_per_minute", self.visitors_per_minute, MINUTE),
            rate("visitors_per_hour", self.visitors_per_hour, HOUR),
        ];
        let shared = self.uploads_per_hour.saturating_mul(UPLOADING_VISITORS);
        let uploads = [
            rate("uploads_per_hour", self.uploads_per_hour, HOUR),
            Rate::new(f64::from(shared), HOUR, shared),
        ];
        let origins = Origins::parse(&self.allowed_origins);
        if let Err(wrong) = &origins {
            for (index, message) in wrong {
                complain(&format!("allowed_origins[{index}]"), message);
            }
        }
        match (origins, messages, visitors, uploads) {
            (
                Ok(origins),
                [Some(short), Some(long)],
                [Some(minute), Some(hour)],
                [Some(one), Some(network)],
            ) if problems.is_empty() => Ok(Rules {
                origins,
                demo_page: self.demo_page,
                secret: (!self.secret.is_empty()).then_some(self.secret),
                visitor_lifetime: self.visitor_lifetime,
                text_limit: self.text_limit,
                messages: [short, long],
                visitors: [minute, hour],
                sockets_per_visitor: self.sockets_per_visitor,
                uploads: self.uploads.then_some(UploadRules {
                    limit: self.upload_limit,
                    types: self.upload_types,
                    rates: [one, network],
                }),
            }),
            _ => Err(problems),
        }
    }
}

/// `type/subtype`, or `type/*`.
fn is_type(mime: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$&-^_.+".contains(&b))
    };
    mime.split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && (subtype == "*" || token(subtype)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Rules, Vec<String>> {
        let table = toml::from_str(text).expect("TOML");
        let config: Config =
            tributary_config::parse(table, "channels.shop").map_err(|invalid| {
                invalid
                    .0
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            })?;
        config
            .check("channels.shop")
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let rules = check("").expect("the defaults are right");
        assert!(rules.secret.is_none() && !rules.demo_page && rules.origins.is_open());
    }

    #[test]
    fn mistakes_are_named_all_at_once() {
        let problems = check(
            "allowed_origins = ['https://shop.example', 'shop.example', '*']\nsecret = 'hunter2'\n\
             text_limit = 0\nmessages_per_10s = 0\nvisitors_per_hour = 0\nsockets_per_visitor = 0\n\
             visitor_lifetime = '1m'\nupload_limit = 0\nupload_types = ['image/png', '*']\nuploads_per_hour = 0",
        )
        .expect_err("nothing of this works");
        let keys: Vec<&str> = problems
            .iter()
            .filter_map(|problem| problem.strip_prefix("channels.shop.")?.split(": ").next())
            .collect();
        assert_eq!(
            keys,
            [
                "secret",
                "text_limit",
                "visitor_lifetime",
                "sockets_per_visitor",
                "upload_limit",
                "upload_types[1]",
                "messages_per_10s",
                "visitors_per_hour",
                "uploads_per_hour",
                "allowed_origins[1]",
                "allowed_origins[2]"
            ]
        );
        assert!(problems.iter().all(|problem| !problem.contains("hunter2")));
    }

    #[test]
    fn what_can_run_is_never_taken() {
        let rules = check("upload_types = ['image/*', 'text/html', 'application/pdf']");
        let uploads = rules.expect("right settings").uploads.expect("on");
        for (mime, taken) in [
            ("image/png", true),
            ("application/pdf", true),
            ("image/svg+xml", false),
            ("text/html", false),
            ("application/pdfx", false),
            ("imagex/png", false),
        ] {
            assert_eq!(uploads.allow(mime), taken, "{mime}");
        }
        let off = check("uploads = false").expect("right settings");
        assert!(off.uploads.is_none());
    }

    #[test]
    fn unknown_keys_are_mistakes() {
        let problems = check("origins = []").expect_err("no such key");
        assert!(problems[0].starts_with("channels.shop.origins: unknown key"));
    }
}

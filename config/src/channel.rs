//! One configured channel account, as far as every channel has it in common.

use toml::Table;

use crate::{Problem, load::parse};

/// An account of a channel: a bot, a phone number, a widget.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The key under `[channels]`: lower-case letters, digits and `-`, at most 48 characters.
    pub id: String,
    /// Which connector serves it: `telegram`, `widget`, ...
    pub kind: String,
    /// The organization it belongs to.
    pub organization: String,
    /// A name for people.
    pub name: String,
    /// Everything else, for the connector to parse.
    pub settings: Table,
}

/// The keys every channel has; all optional.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Common {
    kind: Option<String>,
    organization: Option<String>,
    name: Option<String>,
    enabled: Option<bool>,
}

const COMMON_KEYS: [&str; 4] = ["kind", "organization", "name", "enabled"];

/// Reads `[channels.<id>]`; `None` when it is disabled or broken (then `problems` says how).
pub(crate) fn read(
    id: &str,
    mut table: Table,
    organizations: &[&str],
    problems: &mut Vec<Problem>,
) -> Option<Channel> {
    let path = format!("channels.{id}");
    if !valid_id(id) {
        problems.push(Problem::new(
            &path,
            "a channel id is 1 to 48 lower-case letters, digits and \"-\"; rename the table",
        ));
        return None;
    }
    let mut head = Table::new();
    for key in COMMON_KEYS {
        if let Some(value) = table.remove(key) {
            head.insert(key.to_owned(), value);
        }
    }
    let common: Common = match parse(head, &path) {
        Ok(common) => common,
        Err(mut invalid) => {
            problems.append(&mut invalid.0);
            return None;
        }
    };
    if common.enabled == Some(false) {
        return None;
    }
    let organization = match (common.organization, organizations) {
        (Some(id), all) if all.contains(&id.as_str()) => id,
        (Some(id), _) => {
            problems.push(Problem::new(
                format!("{path}.organization"),
                format!("organization {id} is not configured; add [organizations.{id}]"),
            ));
            return None;
        }
        (None, [only]) => (*only).to_owned(),
        (None, _) => {
            problems.push(Problem::new(
                format!("{path}.organization"),
                "missing; name the organization this channel belongs to",
            ));
            return None;
        }
    };
    Some(Channel {
        id: id.to_owned(),
        kind: common.kind.unwrap_or_else(|| id.to_owned()),
        organization,
        name: common.name.unwrap_or_else(|| id.to_owned()),
        settings: table,
    })
}

/// Whether `id` can be part of a lane name and of an address.
pub(crate) fn valid_id(id: &str) -> bool {
    (1..=48).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

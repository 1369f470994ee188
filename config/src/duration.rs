//! Durations as people write them: `250ms`, `30s`, `24h`, `7days`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads a duration such as `"30s"`. For `#[serde(with = "tributary_config::duration")]` fields.
pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    humantime::parse_duration(text.trim()).map_err(|reason| {
        D::Error::custom(format!(
            "not a duration: {reason}; write for example \"30s\", \"10m\" or \"24h\""
        ))
    })
}

/// Writes a duration in the form that [`deserialize`] reads.
pub fn serialize<S: Serializer>(value: &Duration, output: S) -> Result<S::Ok, S::Error> {
    output.collect_str(&humantime::format_duration(*value))
}

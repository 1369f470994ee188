//! What channels can carry, for the previews of the API.

use tributary_bus::{
    ChannelId,
    message::{Content, Degradation, DegradationCode},
};
use tributary_router::api::{Preview, Previewed};

use crate::support::REMOVED;

/// Channels that carry ten characters of text: of [`crate::support::ACME`] and, so that a test can tell that nobody else is answered for
/// it, of [`crate::support::OTHER`]. [`REMOVED`] is in the store only.
pub struct ShortChannels;

impl Preview for ShortChannels {
    fn preview(&self, channel: &ChannelId, content: &Content) -> Option<Result<Previewed, String>> {
        if channel.as_str() == REMOVED {
            return None;
        }
        let text = match content {
            Content::Text(text) => text,
            // Where nobody can be sent.
            Content::Location(place) if (place.latitude, place.longitude) == (1.0, 2.0) => {
                return Some(Err("not this place".to_owned()));
            }
            other => {
                return Some(Ok(Previewed {
                    parts: vec![other.clone()],
                    degraded: Vec::new(),
                }));
            }
        };
        let characters: Vec<char> = text.text.chars().collect();
        let parts = characters
            .chunks(10)
            .map(|part| Content::text(part.iter().collect::<String>()));
        let parts: Vec<Content> = parts.collect();
        let degraded = (parts.len() > 1).then(|| Degradation {
            code: DegradationCode::TextSplit,
            detail: format!("text split into {} parts", parts.len()),
        });
        Some(Ok(Previewed {
            degraded: degraded.into_iter().collect(),
            parts,
        }))
    }
}

//! What channels would make of messages, for the API: the one room asks, the other answers.

use std::{collections::BTreeMap, sync::Arc};

use tributary_bus::{ChannelId, message::Content};
use tributary_config::Settings;
use tributary_connectors::{Capabilities, registry, render};
use tributary_router::api::{Preview, Previewed};

/// What each configured channel can carry, for the API's previews.
pub struct Previews(BTreeMap<ChannelId, Capabilities>);

impl Previews {
    /// Without network or database: the API may run where no connector does.
    pub fn build(settings: &Arc<Settings>) -> Self {
        let known = settings.channels.values().filter_map(|channel| {
            let capabilities = registry::capabilities(channel, settings)?;
            Some((ChannelId(channel.id.clone()), capabilities))
        });
        Self(known.collect())
    }
}

impl Preview for Previews {
    fn preview(&self, channel: &ChannelId, content: &Content) -> Option<Result<Previewed, String>> {
        let capabilities = self.0.get(channel)?;
        let rendered = render(content, capabilities);
        Some(rendered.map_err(|why| why.reason).map(|rendered| {
            Previewed {
                parts: rendered
                    .parts
                    .into_iter()
                    .map(|part| part.content)
                    .collect(),
                degraded: rendered.degraded,
            }
        }))
    }
}

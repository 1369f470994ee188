//! What channels would make of messages, for the API: the one room asks, the other answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tributary_bus::{ChannelId, message::Content};
use tributary_config::Settings;
use tributary_connectors::{Capabilities, LinkTypes, registry, render};
use tributary_router::api::{Preview, Previewed};

/// What each configured channel can carry, for the API's previews.
pub struct Previews {
    capabilities: BTreeMap<ChannelId, Capabilities>,
    /// `None` when no HTTP client can be made; then types are as the content says.
    links: Option<LinkTypes>,
}

/// For one link of a content that is previewed.
const LINK_DEADLINE: Duration = Duration::from_secs(5);

impl Previews {
    /// Without database: the API may run where no connector does.
    pub fn build(settings: &Arc<Settings>) -> Self {
        let known = settings.channels.values().filter_map(|channel| {
            let capabilities = registry::capabilities(channel, settings)?;
            Some((ChannelId(channel.id.clone()), capabilities))
        });
        Self {
            capabilities: known.collect(),
            links: LinkTypes::new(settings, LINK_DEADLINE).ok(),
        }
    }
}

#[async_trait]
impl Preview for Previews {
    async fn describe(&self, content: Content) -> Content {
        match &self.links {
            Some(links) => links.describe(content).await,
            None => content,
        }
    }

    fn preview(&self, channel: &ChannelId, content: &Content) -> Option<Result<Previewed, String>> {
        let capabilities = self.capabilities.get(channel)?;
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

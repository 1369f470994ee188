//! The signer of media links, lent to the API and to webhooks.

use std::sync::Arc;

use tributary_base::media::{self, MediaService};
use tributary_bus::{OrganizationId, message::MediaId};
use tributary_router::MediaLinks;
use url::Url;

/// Where links are shown, which decides how long they live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// To who asks right now.
    InTheApi,
    /// To who may read it days later.
    InWebhooks,
}

struct Signed {
    links: media::MediaLinks,
    shown: Shown,
}

/// The links of a process that keeps media.
pub fn links_of(media: Option<&MediaService>, shown: Shown) -> Option<Arc<dyn MediaLinks>> {
    let links = media?.links.clone();
    Some(Arc::new(Signed { links, shown }))
}

impl MediaLinks for Signed {
    fn link(
        &self,
        organization: &OrganizationId,
        media: &MediaId,
        name: Option<&str>,
    ) -> Option<Url> {
        let (organization, media) = (organization.as_str(), media.as_str());
        match self.shown {
            Shown::InTheApi => self.links.link(organization, media, name),
            Shown::InWebhooks => self.links.webhook_link(organization, media, name),
        }
    }
}

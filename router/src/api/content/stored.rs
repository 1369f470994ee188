//! What is known of stored media that a content refers to.

use tributary_base::media::MediaService;
use tributary_bus::{OrganizationId, message::Content};

/// Gives media that are named by `media_id` the type, size and pixels of the stored bytes: so the message
/// is shown as what will be sent. What is not there, or cannot be read now, stays as it was said to be.
pub async fn describe(
    media: Option<&MediaService>,
    organization: &OrganizationId,
    content: &mut Content,
) {
    let Some(service) = media else { return };
    for media in content.media_mut() {
        let Some(id) = &media.media_id else { continue };
        let declared = media.mime.as_deref();
        let found = service
            .store
            .describe_as(organization.as_str(), id.as_str(), declared);
        match found.await {
            Ok(Some(stored)) => {
                let (width, height) = stored.pixels.unzip();
                media.mime = Some(stored.mime);
                media.size = Some(stored.size);
                media.width = media.width.or(width);
                media.height = media.height.or(height);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the media store is away"),
        }
    }
}

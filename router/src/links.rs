//! Links to media of the store: signed where something is shown, never kept.
//!
//! What is stored and published names media by `media_id`. At the edge (the API's answers and webhook bodies) each gets a
//! `url` that expires. Who signs is not this crate's business.

use std::{fmt, sync::Arc};

use serde_json::Value;
use tributary_base::media;
use tributary_bus::{
    Envelope, OrganizationId,
    message::{ContactView, Media, MediaId, MessageView},
};
use url::Url;

/// Makes links to media of the store.
pub trait MediaLinks: Send + Sync {
    /// A fresh link that reads the media of an organization; `None` when there can be none. `name` is the file name as its
    /// sender gave it, untrusted.
    fn link(
        &self,
        organization: &OrganizationId,
        media: &MediaId,
        name: Option<&str>,
    ) -> Option<Url>;
}

/// For who asks right now.
impl MediaLinks for media::MediaLinks {
    fn link(
        &self,
        organization: &OrganizationId,
        media: &MediaId,
        name: Option<&str>,
    ) -> Option<Url> {
        self.link(organization.as_str(), media.as_str(), name)
    }
}

/// Links that live longer: what a webhook brings may be read days later.
#[derive(Debug, Clone)]
pub struct WebhookLinks(pub media::MediaLinks);

impl MediaLinks for WebhookLinks {
    fn link(
        &self,
        organization: &OrganizationId,
        media: &MediaId,
        name: Option<&str>,
    ) -> Option<Url> {
        self.0
            .webhook_link(organization.as_str(), media.as_str(), name)
    }
}

/// How a document says that it names media of the store.
const MARK: &str = "\"media_id\"";

/// The signer of a process, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Links(Option<Arc<dyn MediaLinks>>);

impl Links {
    pub fn new(links: Arc<dyn MediaLinks>) -> Self {
        Self(Some(links))
    }

    /// The message with fresh links.
    pub fn message(&self, organization: &OrganizationId, mut view: MessageView) -> MessageView {
        for media in view.content.media_mut() {
            self.sign(organization, media);
        }
        let sender = view.context.sender.as_mut();
        if let Some(avatar) = sender.and_then(|sender| sender.avatar.as_mut()) {
            self.sign(organization, avatar);
        }
        view
    }

    /// The contact with a fresh link.
    pub fn contact(&self, organization: &OrganizationId, mut view: ContactView) -> ContactView {
        if let Some(avatar) = &mut view.avatar {
            self.sign(organization, avatar);
        }
        view
    }

    /// An event as JSON, with fresh links in its data. Only one that names media is read at all, and what cannot be read
    /// (content of a later version can be nested deeper than a reader goes) stays as it is: it holds up no other event.
    pub fn event(&self, organization: &OrganizationId, event: String) -> String {
        if self.0.is_none() || !event.contains(MARK) {
            return event;
        }
        let Ok(mut document) = serde_json::from_str::<Value>(&event) else {
            return event;
        };
        if let Some(data) = document.get_mut("data") {
            self.sign_within(organization, data);
        }
        document.to_string()
    }

    /// The same, of an event and as bytes. The error says why it can never be sent.
    pub fn event_bytes(&self, envelope: &Envelope) -> Result<Vec<u8>, String> {
        let event = serde_json::to_string(envelope).map_err(|error| error.to_string())?;
        Ok(self.event(&envelope.orgid, event).into_bytes())
    }

    fn sign(&self, organization: &OrganizationId, media: &mut Media) {
        let Some(id) = &media.media_id else {
            return;
        };
        let link = self.link(organization, id, media.name.as_deref());
        if let Some(link) = link {
            media.url = Some(link);
        }
    }

    fn sign_within(&self, organization: &OrganizationId, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(id)) = fields.get("media_id") {
                    let name = fields.get("name").and_then(Value::as_str);
                    if let Some(link) = self.link(organization, &MediaId(id.clone()), name) {
                        fields.insert("url".to_owned(), link.into());
                    }
                }
                for value in fields.values_mut() {
                    self.sign_within(organization, value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.sign_within(organization, item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn link(
        &self,
        organization: &OrganizationId,
        id: &MediaId,
        name: Option<&str>,
    ) -> Option<String> {
        let links = self.0.as_ref()?;
        links.link(organization, id, name).map(String::from)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fake;

    impl MediaLinks for Fake {
        fn link(
            &self,
            organization: &OrganizationId,
            media: &MediaId,
            name: Option<&str>,
        ) -> Option<Url> {
            let name = name.unwrap_or("-");
            (media.as_str() != "gone").then(|| {
                let link = format!(
                    "https://media.example/{organization}/{}/{name}",
                    media.as_str()
                );
                link.parse().expect("a URL")
            })
        }
    }

    fn signed(event: &Value) -> Value {
        let links = Links::new(Arc::new(Fake));
        let signed = links.event(&OrganizationId::from("acme"), event.to_string());
        serde_json::from_str(&signed).expect("it is JSON")
    }

    #[test]
    fn events_get_links_wherever_they_name_media() {
        let event = |first: Value, second: Value| {
            json!({"specversion": "1.0", "media_id": "outside", "data": {
                "message": {"content": {"type": "email", "attachments": [first, {"url": "https://a.example"}]}},
                "contact": {"avatar": second}, "n": 12_345_678_901_234_567_890_u64}})
        };
        let told = event(
            json!({"media_id": "a", "name": "x.png"}),
            json!({"media_id": "gone"}),
        );
        let link = "https://media.example/acme/a/x.png";
        let expected = event(
            json!({"media_id": "a", "name": "x.png", "url": link}),
            json!({"media_id": "gone"}),
        );
        assert_eq!(signed(&told), expected);
    }

    #[test]
    fn what_names_no_media_is_not_touched() {
        let links = Links::new(Arc::new(Fake));
        let acme = OrganizationId::from("acme");
        // Not even JSON: it was not read. The name is only said, with its quotes escaped.
        let text = r#"{ "data": {"text": "my \"media_id\" is"  }"#.to_owned();
        assert_eq!(links.event(&acme, text.clone()), text);
        let unsigned = r#"{"data": {"media_id": "a"}}"#.to_owned();
        let none = Links::default();
        assert_eq!(none.event(&acme, unsigned.clone()), unsigned);
        // Deeper than it can be read as a tree.
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let deep = format!(r#"{{"data": {{"media_id": "a", "deep": {open}{close}}}}}"#);
        assert_eq!(links.event(&acme, deep.clone()), deep);
    }
}

//! What is added where something is shown to integrators (the API's answers and webhook bodies), and never kept.
//!
//! What is stored and published names media by `media_id`: at the edge each gets a signed `url` that expires. Who signs is
//! not this crate's business. The `source` of an event becomes absolute where the public address of the API is known.

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

/// The signer of a process and the public address of the API, where there are such.
#[derive(Clone, Default)]
pub(crate) struct Links {
    media: Option<Arc<dyn MediaLinks>>,
    public_url: Option<Url>,
}

impl Links {
    /// The same for an API at `url`.
    #[must_use]
    pub fn with_public_url(mut self, url: Option<&Url>) -> Self {
        self.public_url = url.cloned();
        self
    }

    /// The same with another signer.
    #[must_use]
    pub fn with_media(mut self, links: Arc<dyn MediaLinks>) -> Self {
        self.media = Some(links);
        self
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

    /// An event that was stored as JSON, as [`Links::event_bytes`] shows it. What cannot be read (by a later version) stays as
    /// it is: it holds up no other event.
    pub fn event(&self, event: String) -> String {
        let Ok(envelope) = serde_json::from_str::<Envelope>(&event) else {
            return event;
        };
        self.shown(&envelope).unwrap_or(event)
    }

    /// An event as it is sent. The error says why it can never be.
    pub fn event_bytes(&self, envelope: &Envelope) -> Result<Vec<u8>, String> {
        self.shown(envelope).map(String::into_bytes)
    }

    fn shown(&self, envelope: &Envelope) -> Result<String, String> {
        let shown = envelope.clone().for_integrators(self.public_url.as_ref());
        let event = serde_json::to_string(&shown).map_err(|error| error.to_string())?;
        Ok(self.linked(&envelope.orgid, event))
    }

    /// With fresh links in its data. Only an event that names media is read as a tree, and what cannot be (content of a later
    /// version can be nested deeper than a reader goes) stays as it is.
    fn linked(&self, organization: &OrganizationId, event: String) -> String {
        if self.media.is_none() || !event.contains(MARK) {
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
        let links = self.media.as_ref()?;
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
        let links = Links::default().with_media(Arc::new(Fake));
        let signed = links.linked(&OrganizationId::from("acme"), event.to_string());
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
        let links = Links::default().with_media(Arc::new(Fake));
        let acme = OrganizationId::from("acme");
        // Not even JSON: it was not read. The name is only said, with its quotes escaped.
        let text = r#"{ "data": {"text": "my \"media_id\" is"  }"#.to_owned();
        assert_eq!(links.linked(&acme, text.clone()), text);
        let unsigned = r#"{"data": {"media_id": "a"}}"#.to_owned();
        let none = Links::default();
        assert_eq!(none.linked(&acme, unsigned.clone()), unsigned);
        // Deeper than it can be read as a tree.
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let deep = format!(r#"{{"data": {{"media_id": "a", "deep": {open}{close}}}}}"#);
        assert_eq!(links.linked(&acme, deep.clone()), deep);
    }

    #[test]
    fn stored_events_are_shown_in_the_form_of_this_version() {
        let public_url = "https://api.example.org/t/".parse().expect("a URL");
        let links = Links::default().with_public_url(Some(&public_url));
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let stored = |source: &str, schema: &str, place: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"0190b5a0-0000-7000-8000-000000000001","source":"{source}","type":"message.created.v1","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","dataschema":"{schema}","orgid":"acme","sequence":"{place}","data":{{"deep":{open}{close}}}}}"#
            )
        };
        let old = stored("/router", "message.created.v1.json", "7");
        let new = stored(
            "https://api.example.org/t/router",
            "urn:tributary:schema:message.created.v1",
            "0000000000000000007",
        );
        assert_eq!(links.event(old), new);
        assert_eq!(links.event(new.clone()), new);
        let other = "{\"specversion\": \"2.0\"}".to_owned();
        assert_eq!(links.event(other.clone()), other);
    }
}

//! What travels on the bus: a CloudEvents 1.0 event in structured JSON mode.
//!
//! Extensions: `orgid` (tenant, ours), `sequence` (place in the conversation) and `traceparent` (W3C trace context).
//! Fields this version does not know are kept and travel on. What an earlier version wrote (a relative `dataschema`, a
//! `sequence` without leading zeros) is read as it is, and completed where integrators see it.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};
use url::Url;

use crate::{EventId, OrganizationId};

/// What precedes an event type (or `envelope`) in the absolute URI of its JSON Schema, which is also the schema's `$id`.
const SCHEMA_NAMESPACE: &str = "urn:tributary:schema:";
/// Digits of a `sequence`: all that an `i64` can need, so that the order of the texts is that of the numbers.
const SEQUENCE_DIGITS: usize = 19;

/// The absolute URI of a JSON Schema by its name: an event type with its version, or `envelope`.
pub fn schema_uri(name: &str) -> String {
    format!("{SCHEMA_NAMESPACE}{name}")
}

/// One event. Serialized with `serde_json` it is a valid CloudEvents document.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("$id" = schema_uri("envelope")))]
pub struct Envelope {
    /// Always `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// Unique per event; a repeated event has the same id.
    pub id: EventId,
    /// Who made it: `/channels/<channel id>` or `/router`; where integrators see it, below `api.public_url` if that is set.
    #[schemars(length(min = 1), extend("format" = "uri-reference"))]
    pub source: String,
    /// What happened, with its version: `message.received.v1`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub kind: String,
    /// What it is about, and the key of its order: a conversation id, or a contact in a channel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The `$id` of the JSON Schema of `data`: `urn:tributary:schema:message.received.v1`.
    #[schemars(length(min = 1), extend("format" = "uri"))]
    pub dataschema: String,
    /// The organization it belongs to.
    pub orgid: OrganizationId,
    /// Its place in the conversation (the CloudEvents extension `sequence`): a decimal number with leading zeros, 19 digits, so
    /// that places compare as texts as well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sequence: Option<String>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// The payload; its shape follows from `type`.
    #[schemars(with = "Value")]
    pub data: Data,
    /// Extensions this version does not know.
    #[serde(flatten)]
    pub extensions: Map<String, Value>,
}

/// A payload as the JSON text that it travels as: those who only pass it on never read it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(Box<RawValue>);

/// An envelope as bytes, with what decides where it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub id: EventId,
    pub orgid: OrganizationId,
    /// The event type with its version.
    pub kind: String,
    /// The whole envelope.
    pub body: Bytes,
}

/// A payload that has a place in an envelope.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema {
    /// The event type with its version.
    const TYPE: &'static str;
}

/// Why an envelope could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("not an envelope: {0}")]
    Malformed(String),
    #[error("unknown event type or version {0}")]
    UnknownType(String),
    #[error("data of {kind} does not fit its schema: {reason}")]
    Data {
        /// The event type.
        kind: String,
        /// What did not fit; names the field, not its value.
        reason: String,
    },
}

impl Envelope {
    /// Wraps a payload. `time` is now; the caller sets `sequence` where there is one.
    ///
    /// # Errors
    /// The payload cannot be written as JSON (a map with keys that are no strings).
    pub fn wrap<P: Payload>(
        id: EventId,
        source: String,
        organization: OrganizationId,
        subject: Option<String>,
        payload: &P,
    ) -> Result<Self, EnvelopeError> {
        let data = Data::of(payload)?;
        Ok(Self {
            specversion: "1.0".to_owned(),
            id,
            source,
            kind: P::TYPE.to_owned(),
            subject,
            time: Utc::now(),
            datacontenttype: "application/json".to_owned(),
            dataschema: schema_uri(P::TYPE),
            orgid: organization,
            sequence: None,
            traceparent: None,
            data,
            extensions: Map::new(),
        })
    }

    /// The same with its place in the conversation.
    #[must_use]
    pub fn with_sequence(mut self, sequence: i64) -> Self {
        self.sequence = Some(format!("{sequence:0SEQUENCE_DIGITS$}"));
        self
    }

    /// Its place in the conversation, however it is written.
    pub fn place(&self) -> Option<i64> {
        self.sequence.as_deref()?.parse().ok()
    }

    /// As integrators see it: what an earlier version wrote in another form is in this version's, and the source is
    /// absolute where `base`, the public address of the API, is known.
    #[must_use]
    pub fn for_integrators(mut self, base: Option<&Url>) -> Self {
        if let Some(base) = base
            && self.source.starts_with('/')
        {
            let base = base.as_str().trim_end_matches('/');
            self.source = format!("{base}{}", self.source);
        }
        if !self.dataschema.contains(':') {
            self.dataschema = schema_uri(&self.kind);
        }
        match self.place() {
            Some(place) => self.with_sequence(place),
            None => self,
        }
    }

    /// Reads an envelope from bytes.
    ///
    /// # Errors
    /// It is not JSON, or not a CloudEvents 1.0 envelope of ours.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self =
            serde_json::from_slice(bytes).map_err(|e| EnvelopeError::Malformed(reason(&e)))?;
        if envelope.specversion != "1.0" {
            return Err(EnvelopeError::Malformed(
                "specversion is not 1.0".to_owned(),
            ));
        }
        Ok(envelope)
    }

    /// The payload, when this envelope's type is `P`'s.
    ///
    /// # Errors
    /// Another type, or data that does not fit.
    pub fn payload<P: Payload>(&self) -> Result<P, EnvelopeError> {
        if self.kind != P::TYPE {
            return Err(EnvelopeError::UnknownType(self.kind.clone()));
        }
        self.data.read().map_err(|e| EnvelopeError::Data {
            kind: self.kind.clone(),
            reason: reason(&e),
        })
    }

    /// As bytes for the wire.
    ///
    /// # Errors
    /// Never for an envelope made by [`Envelope::wrap`] or [`Envelope::parse`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        serde_json::to_vec(self).map_err(|error| EnvelopeError::Malformed(error.to_string()))
    }

    /// As it is published.
    ///
    /// # Errors
    /// Those of [`Envelope::to_bytes`].
    pub fn seal(&self) -> Result<Sealed, EnvelopeError> {
        Ok(Sealed {
            id: self.id,
            orgid: self.orgid.clone(),
            kind: self.kind.clone(),
            body: self.to_bytes()?.into(),
        })
    }
}

impl Data {
    fn of(payload: &impl Serialize) -> Result<Self, EnvelopeError> {
        serde_json::value::to_raw_value(payload)
            .map(Self)
            .map_err(|error| EnvelopeError::Malformed(error.to_string()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads it.
    ///
    /// # Errors
    /// It does not fit.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }

    /// All of it, for those who look for something in data of any type. Null when it cannot be read.
    pub fn to_value(&self) -> Value {
        self.read().unwrap_or_default()
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        // JSON of a JSON value cannot fail.
        Self::of(&value).unwrap_or_else(|_| Self(RawValue::NULL.to_owned()))
    }
}

/// The same text.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Sealed {
    /// Reads what decides where an envelope goes, and leaves the rest as it is.
    ///
    /// # Errors
    /// It is not JSON, or lacks a field of the envelope.
    pub fn parse(body: Bytes) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        struct Outside {
            id: EventId,
            orgid: OrganizationId,
            #[serde(rename = "type")]
            kind: String,
        }
        let Outside { id, orgid, kind } =
            serde_json::from_slice(&body).map_err(|e| EnvelopeError::Malformed(reason(&e)))?;
        Ok(Self {
            id,
            orgid,
            kind,
            body,
        })
    }
}

/// Shows what an operator may see: never the data.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id.0)
            .field("type", &self.kind)
            .field("orgid", &self.orgid.0)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Shows what an operator may see.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("id", &self.id.0)
            .field("type", &self.kind)
            .field("orgid", &self.orgid.0)
            .finish_non_exhaustive()
    }
}

/// Where and how reading failed; serde's own text can repeat a value, which may be a person's words.
fn reason(error: &serde_json::Error) -> String {
    let category = match error.classify() {
        serde_json::error::Category::Io => "unreadable",
        serde_json::error::Category::Syntax => "invalid JSON",
        serde_json::error::Category::Data => "a field is missing or has a wrong type",
        serde_json::error::Category::Eof => "truncated JSON",
    };
    format!(
        "{category} (line {}, column {})",
        error.line(),
        error.column()
    )
}

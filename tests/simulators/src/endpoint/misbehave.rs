//! What an integrator's endpoint can do wrong.

use std::time::Duration;

/// Which events a rule is about; what is `None` fits all.
#[derive(Debug, Clone, Default)]
pub struct EventMatch {
    /// The `type` attribute, whole.
    pub event_type: Option<String>,
    /// The `subject` attribute.
    pub subject: Option<String>,
}

impl EventMatch {
    /// Every event.
    pub fn any() -> Self {
        Self::default()
    }

    /// Events of one type: `message.created.v1`.
    pub fn event_type(name: &str) -> Self {
        Self {
            event_type: Some(name.into()),
            subject: None,
        }
    }

    /// Events about one subject.
    pub fn subject(name: &str) -> Self {
        Self {
            event_type: None,
            subject: Some(name.into()),
        }
    }

    pub(super) fn fits(&self, event_type: &str, subject: Option<&str>) -> bool {
        self.event_type
            .as_ref()
            .is_none_or(|wanted| wanted == event_type)
            && self
                .subject
                .as_ref()
                .is_none_or(|wanted| Some(wanted.as_str()) == subject)
    }
}

/// What becomes of one attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAction {
    /// Answered with this status (500, 410, 429 ...), not recorded as accepted.
    Status {
        /// The HTTP status.
        status: u16,
        /// Seconds in a `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// Recorded, and answered only after this time.
    Slow(Duration),
    /// Neither recorded nor answered: the connection ends after this time.
    Hang(Duration),
    /// Recorded; then the connection ends without an answer.
    DropAfterRecording,
    /// The connection ends at once; not recorded.
    DropBeforeRecording,
}

impl EndpointAction {
    /// A plain refusal with this status.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }
}

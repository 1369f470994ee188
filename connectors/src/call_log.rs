//! The channel log: each provider request and reply, for support. Redacted, bounded and short-lived.

use std::{sync::Arc, time::Duration};

/// One request to a provider and what came back.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// `POST sendMessage`: never a URL with a token in it.
    pub what: String,
    /// Body, as text.
    pub request: Option<String>,
    /// HTTP status, or the provider's own code.
    pub status: Option<u16>,
    /// Body, as text.
    pub reply: Option<String>,
    /// Why there is no reply.
    pub error: Option<String>,
    pub took: Duration,
}

/// Where calls of one delivery are noted.
pub trait CallSink: Send + Sync {
    /// Takes a call; never waits, and drops it rather than to hold up a send.
    fn note(&self, call: Call);
}

/// A handle to the channel log for one delivery. Cheap to clone.
#[derive(Clone)]
pub struct CallLog(Option<Arc<dyn CallSink>>);

impl CallLog {
    /// Notes into `sink`.
    pub fn new(sink: Arc<dyn CallSink>) -> Self {
        Self(Some(sink))
    }

    /// Notes nothing.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Notes a call.
    pub fn note(&self, call: Call) {
        if let Some(sink) = &self.0 {
            sink.note(call);
        }
    }
}

impl std::fmt::Debug for CallLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallLog")
    }
}

/// Shows which call, never its bodies.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} -> {:?})", self.what, self.status)
    }
}

//! A delivery that nobody handles any more, read as far as it can be: its message must not stay `queued`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{
    DeliveryDelete, DeliveryEdit, DeliveryReact, DeliverySend, Failure, FailureCode, Inbound,
    MessageChange, MessageChangeFailed, MessageStatus, Origin, Status,
};
use crate::{Address, ChannelId, MessageId, OrganizationId, Payload};

/// What a report about it needs. Typing and read leave nothing to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub to: Address,
    pub message_id: MessageId,
    /// The change that it was to make, and its `seq`; `None`: it was to send the message.
    pub change: Option<(MessageChange, i64)>,
}

impl Undelivered {
    /// Reads the envelope of a delivery of any version; `None` when it does not say which message it is about.
    pub fn read(body: &[u8]) -> Option<Self> {
        let envelope: Value = serde_json::from_slice(body).ok()?;
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let kind = text(&envelope, "type")?;
        let data = envelope.get("data")?;
        let is = |known: &str| {
            let name = known.rsplit_once(".v").map_or(known, |(name, _)| name);
            kind.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(".v"))
        };
        let seq = data.get("seq").and_then(Value::as_i64);
        let change = if is(DeliverySend::TYPE) {
            None
        } else if is(DeliveryEdit::TYPE) {
            Some((MessageChange::Edit, seq?))
        } else if is(DeliveryDelete::TYPE) {
            Some((MessageChange::Delete, seq?))
        } else if is(DeliveryReact::TYPE) {
            Some((MessageChange::React, seq?))
        } else {
            return None;
        };
        Some(Self {
            organization: OrganizationId(text(&envelope, "orgid")?),
            channel_id: ChannelId(text(data, "channel_id")?),
            to: Address(text(data, "to")?),
            message_id: MessageId(text(data, "message_id")?.parse().ok()?),
            change,
        })
    }

    /// What its channel would have reported: a message that failed, or a change that was refused.
    pub fn report(self, failure: Failure, at: DateTime<Utc>) -> Inbound {
        let origin = Origin {
            channel_id: self.channel_id,
            address: self.to,
            occurred_at: at,
            event: None,
            raw: None,
        };
        match self.change {
            None => Inbound::Status(MessageStatus {
                origin,
                message_id: self.message_id,
                status: Status::Failed,
                provider_ids: Vec::new(),
                uncertain: failure.code == FailureCode::Uncertain,
                failure: Some(failure),
                degraded: Vec::new(),
                extra: Map::new(),
            }),
            Some((change, seq)) => Inbound::ChangeFailed(MessageChangeFailed {
                origin,
                message_id: self.message_id,
                change,
                failure,
                seq: Some(seq),
                extra: Map::new(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope(kind: &str) -> Value {
        json!({
            "type": kind, "orgid": "acme",
            "data": {
                "channel_id": "shop", "to": "5", "seq": 7,
                "message_id": "0198f0c2-0000-7000-8000-000000000001",
            },
        })
    }

    fn read(envelope: &Value) -> Option<Undelivered> {
        Undelivered::read(envelope.to_string().as_bytes())
    }

    #[test]
    fn deliveries_of_any_version_name_their_message() {
        let kinds = [
            ("delivery.send.v1", None),
            ("delivery.send.v9", None),
            ("delivery.edit.v1", Some((MessageChange::Edit, 7))),
            ("delivery.delete.v2", Some((MessageChange::Delete, 7))),
            ("delivery.react.v1", Some((MessageChange::React, 7))),
        ];
        for (kind, change) in kinds {
            let found = read(&envelope(kind)).expect(kind);
            assert_eq!(found.change, change, "{kind}");
            assert_eq!(
                (found.channel_id.as_str(), found.to.as_str()),
                ("shop", "5")
            );
        }
    }

    #[test]
    fn others_leave_nothing_to_report() {
        for kind in [
            "delivery.typing.v1",
            "delivery.read.v1",
            "delivery.sender.v1",
            "message.created.v1",
        ] {
            assert_eq!(read(&envelope(kind)), None, "{kind}");
        }
        for missing in ["channel_id", "to", "message_id"] {
            let mut envelope = envelope("delivery.send.v1");
            envelope["data"]
                .as_object_mut()
                .expect("an object")
                .remove(missing);
            assert_eq!(read(&envelope), None, "{missing}");
        }
        assert_eq!(Undelivered::read(b"{"), None);
    }
}

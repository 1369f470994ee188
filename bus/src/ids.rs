//! Ids, each a type of its own so that none is taken for another.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id (UUIDv7: sorts by time of creation).
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

uuid_id!(
    /// A message, inbound or outbound; a delivery carries the id of the message it sends.
    MessageId
);
uuid_id!(
    /// A conversation.
    ConversationId
);
uuid_id!(
    /// A person.
    ContactId
);
uuid_id!(
    /// A human who answers.
    AgentId
);
uuid_id!(
    /// An integrator's webhook.
    EndpointId
);
uuid_id!(
    /// One envelope on the bus.
    EventId
);
name_id!(
    /// A tenant; configured, e.g. `acme`.
    OrganizationId
);
name_id!(
    /// A channel account; configured, e.g. `acme-bot`. Lower-case letters, digits and `-`.
    ChannelId
);

/// A person in one channel: chat id, phone number, visitor id. Opaque outside the connector that made it, and
/// never in a log (`Debug` hides it).
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Address(pub String);

impl Address {
    /// The address as text, for the provider call and the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[address]")
    }
}

/// Namespace of every derived id. Changing it would make old messages new.
const NAMESPACE: Uuid = Uuid::from_u128(0x0a1f_5d0e_63b4_5c0b_9d1e_7f2a_4c8b_6e11);

impl MessageId {
    /// The id of an inbound message: the same for the same provider message however often it arrives.
    pub fn derived(channel: &ChannelId, provider_id: &str) -> Self {
        Self(derive(&["message", channel.as_str(), provider_id]))
    }
}

impl EventId {
    /// The id of an event derived from what happened: `parts` must name it completely, e.g. channel id, kind of event
    /// and the provider's id of it.
    pub fn derived(parts: &[&str]) -> Self {
        Self(derive(parts))
    }
}

impl From<MessageId> for EventId {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

/// UUIDv5 over the parts, each preceded by its length so that no two lists give the same name.
fn derive(parts: &[&str]) -> Uuid {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_stable_and_distinct() {
        let shop = ChannelId::from("shop");
        assert_eq!(
            MessageId::derived(&shop, "7:51"),
            MessageId::derived(&shop, "7:51")
        );
        assert_ne!(
            MessageId::derived(&shop, "7:51"),
            MessageId::derived(&shop, "7:5")
        );
        assert_ne!(
            EventId::derived(&["ab", "c"]),
            EventId::derived(&["a", "bc"])
        );
    }

    #[test]
    fn addresses_do_not_print() {
        assert_eq!(format!("{:?}", Address::from("+380501112233")), "[address]");
    }
}

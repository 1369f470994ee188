//! A worker of a group: claims its fair share of the group's lanes and runs them.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Attendant, Bus, Group, LaneSpec, Policy};

/// A worker of a group.
pub struct Workers {
    pub bus: Arc<dyn Bus>,
    pub group: Group,
    /// The lanes of the group, as this worker knows them; all workers of a group should see the same.
    pub lanes: watch::Receiver<Vec<LaneSpec>>,
    /// Equips each lane that is claimed.
    pub attendant: Arc<dyn Attendant>,
    pub policy: Policy,
    /// How often it looks whether it owns more or fewer lanes than its share.
    pub claim_interval: Duration,
    /// How long work in flight may take to finish when a lane is given back.
    pub drain_deadline: Duration,
}

impl Workers {
    /// Works until `stop`; returns when every lane was given back.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}

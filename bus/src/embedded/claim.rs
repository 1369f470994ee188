//! Membership and ownership inside one process: who owns what is known in memory, and certain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    attempts::FileLog,
    core::{Link, Slot},
    intake::FileIntake,
    writer::Op,
};
use crate::{AttemptLog, BusError, Claim, Group, Intake, Lane, Lease, Membership};

/// Ownership in one process needs no renewal; it only ends.
const TERM: Duration = Duration::MAX;

pub(super) struct Member {
    link: Arc<Link>,
    group: Group,
    token: u64,
}

impl Member {
    pub fn join(link: Arc<Link>, group: Group) -> Self {
        let token = link.core.token();
        link.core
            .groups()
            .entry(group.clone())
            .or_default()
            .insert(token);
        Self { link, group, token }
    }

    fn end(&self) {
        if let Some(members) = self.link.core.groups().get_mut(&self.group) {
            members.remove(&self.token);
        }
    }

    fn is_member(&self) -> bool {
        let groups = self.link.core.groups();
        groups
            .get(&self.group)
            .is_some_and(|members| members.contains(&self.token))
    }
}

#[async_trait]
impl Membership for Member {
    async fn size(&self) -> Result<usize, BusError> {
        self.link.open()?;
        let groups = self.link.core.groups();
        Ok(groups.get(&self.group).map_or(0, |members| members.len()))
    }

    async fn is_owned(&self, lane: &Lane) -> Result<bool, BusError> {
        self.link.open()?;
        Ok(self.link.core.slot(lane).hold().owner.is_some())
    }

    async fn claim(&self, lane: &Lane) -> Result<Option<Box<dyn Claim>>, BusError> {
        self.link.open()?;
        if !self.is_member() {
            return Err(BusError::Refused(format!(
                "the membership of {} has ended",
                self.group
            )));
        }
        let slot = self.link.core.slot(lane);
        let token = self.link.core.token();
        let (sender, proven) = watch::channel(Some(Instant::now()));
        {
            let mut hold = slot.hold();
            if hold.owner.is_some() {
                return Ok(None);
            }
            hold.owner = Some(token);
            hold.lease = Some(sender);
        }
        Ok(Some(Box::new(LocalClaim {
            link: Arc::clone(&self.link),
            slot,
            token,
            lease: Lease::new(proven, TERM),
        })))
    }

    async fn leave(&self) {
        self.end();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

struct LocalClaim {
    link: Arc<Link>,
    slot: Arc<Slot>,
    token: u64,
    lease: Lease,
}

#[async_trait]
impl Claim for LocalClaim {
    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError> {
        self.link.open()?;
        let lane_id = self
            .link
            .core
            .registry()
            .id(&self.slot.lane)
            .ok_or_else(|| BusError::Missing(self.slot.lane.clone()))?;
        let intake = self.link.core.token();
        let returned = {
            let mut hold = self.slot.hold();
            if hold.owner != Some(self.token) {
                return Err(BusError::Lost(self.slot.lane.clone()));
            }
            if hold.intake.is_some() {
                return Err(BusError::Refused(format!(
                    "lane {} is being taken from already",
                    self.slot.lane
                )));
            }
            hold.intake = Some(intake);
            hold.returned.clone()
        };
        self.link.core.wake_for(lane_id, &self.slot);
        // Made before the wait: dropped with this future, it ends the intake again.
        let taken = FileIntake::new(
            Arc::clone(&self.link),
            &self.slot,
            lane_id,
            intake,
            prefetch,
        );
        count_returned(&self.link, &self.slot, lane_id, returned).await?;
        Ok(Box::new(taken))
    }

    fn attempts(&self) -> Box<dyn AttemptLog> {
        let log = FileLog::new(Arc::clone(&self.link), Arc::clone(&self.slot));
        Box::new(log)
    }

    async fn release(self: Box<Self>) -> Result<(), BusError> {
        self.end();
        Ok(())
    }
}

impl LocalClaim {
    fn end(&self) {
        let mut hold = self.slot.hold();
        if hold.owner == Some(self.token) {
            hold.end();
            drop(hold);
            self.slot.wake();
        }
    }
}

impl Drop for LocalClaim {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes down that messages were handed out once more, before they are handed out again.
pub(super) async fn count_returned(
    link: &Link,
    slot: &Slot,
    lane_id: i64,
    ids: Vec<i64>,
) -> Result<(), BusError> {
    let op = Op::Return {
        lane_id,
        ids: ids.clone(),
    };
    link.write(op).await?;
    slot.hold().returned.retain(|id| !ids.contains(id));
    Ok(())
}

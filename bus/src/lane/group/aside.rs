//! Standing aside: a worker that cannot do its work leaves its lanes to the others of its group.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{Crew, join, leave};
use crate::BusError;

/// One that found nobody else to do the work keeps at it for about so long before it looks for others again: where all are
/// in the same trouble, lanes do not go round.
const LAST_RESORT: Duration = Duration::from_secs(60);

/// Whether a worker takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Taken,
    /// It cannot do its work, and nobody else can be asked to until then.
    LastResort(Instant),
    Aside,
}

impl Crew {
    /// Looks whether this worker can do its work, and leaves or joins the group accordingly. Answers whether it takes part.
    pub(super) async fn take_part(&mut self) -> Result<bool, BusError> {
        let is_fit = self.workers.attendant.is_fit();
        let group = &self.workers.group;
        match self.part {
            Part::Taken | Part::LastResort(_) if is_fit => {
                self.part = Part::Taken;
                Ok(true)
            }
            Part::LastResort(until) if until > Instant::now() => Ok(true),
            Part::Taken | Part::LastResort(_) => {
                if self.member.size().await? < 2 {
                    return Ok(true);
                }
                tracing::warn!(%group, "this worker cannot do its work, and leaves its lanes to the others of its group");
                self.part = Part::Aside;
                leave(&*self.member).await;
                self.owned.values().for_each(|owned| owned.stop.cancel());
                Ok(false)
            }
            Part::Aside => {
                if !is_fit && self.member.size().await? > 0 {
                    return Ok(false);
                }
                let Some(member) = join(&*self.workers.bus, group, &self.stop).await else {
                    return Ok(false);
                };
                self.member = member;
                if is_fit {
                    tracing::info!(%group, "this worker can do its work again, and takes its share of the lanes");
                    self.part = Part::Taken;
                } else {
                    tracing::warn!(%group, "nobody else of the group is there: this worker keeps at it");
                    let jitter = rand::rng().random_range(0.5..1.5);
                    self.part = Part::LastResort(Instant::now() + LAST_RESORT.mul_f64(jitter));
                }
                Ok(true)
            }
        }
    }
}

//! Endpoints to which nothing is sent, since they are gone.

use std::collections::BTreeSet;

use tributary_base::on;
use tributary_bus::{EndpointId, Envelope, EventId, OrganizationId, message::EndpointDisabled};

use super::{Store, StoreError, rows};
use crate::model::{Outgoing, SOURCE, now};

impl Store {
    /// Sends nothing more to an endpoint until it is enabled, and tells the organization. `false`: it is disabled or deleted
    /// already.
    ///
    /// # Errors
    /// The database.
    pub async fn disable_endpoint(&self, id: EndpointId, reason: &str) -> Result<bool, StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let row: Option<(OrganizationId, String)> = on!(&mut tx, db => {
                sqlx::query_as(
                    "UPDATE endpoints SET disabled_at = $2, disabled_reason = $3 \
                     WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL \
                     RETURNING organization, url",
                )
                .bind(id)
                .bind(now)
                .bind(reason)
                .fetch_optional(db)
                .await
            })?;
            let Some((organization, url)) = row else {
                return Ok(false);
            };
            on!(&mut tx, db => {
                sqlx::query(
                    "UPDATE endpoint_states SET resend_from = COALESCE(resend_from, position), \
                     resend_reason = COALESCE(resend_reason, 'lost'), gone_since = NULL \
                     WHERE endpoint_id = $1",
                )
                .bind(id)
                .execute(db)
                .await
                .map(drop)
            })?;
            let disabled = EndpointDisabled {
                endpoint_id: id,
                url,
                reason: reason.to_owned(),
            };
            let mut envelope = Envelope::wrap(
                EventId::generate(),
                SOURCE.to_owned(),
                organization,
                Some(id.to_string()),
                &disabled,
            )?;
            envelope.time = now;
            let event = Outgoing {
                shard: 0,
                lane: None,
                envelope,
            };
            rows::outbox(&[event], now)?.insert(&mut tx, "").await?;
            tx.commit().await?;
            Ok(true)
        };
        let disabled = self.within(work).await?;
        if disabled {
            self.announce(BTreeSet::from([0])).await;
        }
        Ok(disabled)
    }

    /// Sends to a disabled endpoint again, from where it stood. `false`: the organization has no such endpoint.
    ///
    /// # Errors
    /// The database.
    pub async fn enable_endpoint(
        &self,
        organization: &OrganizationId,
        id: EndpointId,
    ) -> Result<bool, StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL \
                     WHERE organization = $1 AND id = $2 AND deleted_at IS NULL",
                )
                .bind(organization)
                .bind(id)
                .execute(db)
                .await
                .map(|done| done.rows_affected() > 0)
            })?)
        };
        self.within(work).await
    }
}

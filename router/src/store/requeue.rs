//! Deliveries that became dead letters and are put back into their lanes.

use std::collections::BTreeSet;

use tributary_base::on;
use tributary_bus::{
    MessageId, OrganizationId,
    message::{Direction, MessageStatusChanged, Status},
};

use super::{
    Store, StoreError,
    commands::{finish, lock, message_of},
    rows,
};
use crate::model::now;

impl Store {
    /// How many later messages of ours of the same conversation went out (or failed) before this one, which would arrive
    /// after them.
    ///
    /// # Errors
    /// The database.
    pub async fn sent_after(
        &self,
        organization: &OrganizationId,
        id: MessageId,
    ) -> Result<i64, StoreError> {
        let work = async {
            Ok(on!(read self.database(), db => {
                sqlx::query_scalar(
                    "SELECT COUNT(*) FROM messages AS this JOIN messages AS later \
                     ON later.conversation_id = this.conversation_id AND later.seq > this.seq \
                     WHERE this.id = $1 AND this.organization = $2 \
                     AND later.direction = 'outbound' AND later.status <> 'queued'",
                )
                .bind(id)
                .bind(organization)
                .fetch_one(db)
                .await
            })?)
        };
        self.within(work).await
    }

    /// Makes a message that failed `queued` once more, since its delivery goes back into its lane; told like any other
    /// change of its status. One that did not fail stays as it is.
    ///
    /// # Errors
    /// No such message; the database.
    pub async fn requeue_message(
        &self,
        organization: &OrganizationId,
        id: MessageId,
    ) -> Result<(), StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let home = message_of(&mut tx, organization, id).await?;
            let home = home.view.conversation_id;
            let mut conversation = lock(&mut tx, organization, home).await?;
            // Again, since nobody can change it any more.
            let mut message = message_of(&mut tx, organization, id).await?;
            let previous = message.view.status;
            let is_ours = message.view.direction == Direction::Outbound;
            if !is_ours || previous != Status::Failed {
                return Ok(BTreeSet::new());
            }
            message.view.status = Status::Queued;
            message.view.failure = None;
            conversation.advance(now);
            let changed = MessageStatusChanged {
                message: message.shown(),
                previous,
            };
            let event = conversation.event(&changed, now)?;
            rows::message_changes(&[&message])?.update(&mut tx).await?;
            finish(tx, &conversation, &[event], now).await?;
            Ok(BTreeSet::from([conversation.shard]))
        };
        let shards = self.within(work).await?;
        self.announce(shards).await;
        Ok(())
    }
}

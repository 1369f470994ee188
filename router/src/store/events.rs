//! Published events, for readers with a cursor.

use tributary_base::on;
use tributary_bus::OrganizationId;

use super::{Store, StoreError};

/// Where a reader of the events stands; the positions of an organization rise, with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Position(pub i64);

/// An event and its position.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PublishedEvent {
    pub position: Position,
    /// The CloudEvents document as it was published.
    pub envelope: String,
}

impl Store {
    /// Events of an organization after a position, in the order in which they were published.
    ///
    /// # Errors
    /// No database.
    pub async fn events_after(
        &self,
        organization: &OrganizationId,
        after: Position,
        limit: i64,
    ) -> Result<Vec<PublishedEvent>, StoreError> {
        self.within(async {
            Ok(
                on!(read &self.database, db => sqlx::query_as::<_, PublishedEvent>(
            "SELECT position, envelope FROM events WHERE organization = $1 AND position > $2
             ORDER BY position LIMIT $3",
        )
        .bind(organization)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?,
            )
        })
        .await
    }
}

//! The lanes that exist, and which events flow into which.

use std::collections::HashMap;

use sqlx::{Row, SqliteConnection};

use crate::{EventFilter, Lane, LaneSpec, OrganizationId};

/// The lanes of the file, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry {
    lanes: HashMap<Lane, Known>,
    /// Lanes with a filter, by the organization of the filter.
    listeners: HashMap<OrganizationId, Vec<(i64, EventFilter)>>,
}

#[derive(Debug, Clone)]
struct Known {
    id: i64,
    filter: Option<EventFilter>,
}

impl Registry {
    pub async fn load(db: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query("SELECT id, name, organization, patterns FROM lanes")
            .fetch_all(db)
            .await?;
        let mut registry = Self::default();
        for row in rows {
            let name: String = row.try_get("name")?;
            // A name that a later version wrote: not ours to serve.
            let Ok(lane) = name.parse() else { continue };
            let organization: Option<String> = row.try_get("organization")?;
            let patterns: Option<String> = row.try_get("patterns")?;
            let filter = organization.map(|organization| EventFilter {
                organization: OrganizationId(organization),
                patterns: patterns
                    .and_then(|json| serde_json::from_str(&json).ok())
                    .unwrap_or_default(),
            });
            registry.insert(row.try_get("id")?, LaneSpec { lane, filter });
        }
        Ok(registry)
    }

    pub fn insert(&mut self, id: i64, spec: LaneSpec) {
        self.remove(&spec.lane);
        if let Some(filter) = &spec.filter {
            self.listeners
                .entry(filter.organization.clone())
                .or_default()
                .push((id, filter.clone()));
        }
        let filter = spec.filter;
        self.lanes.insert(spec.lane, Known { id, filter });
    }

    pub fn remove(&mut self, lane: &Lane) -> Option<i64> {
        let known = self.lanes.remove(lane)?;
        if let Some(filter) = &known.filter
            && let Some(listeners) = self.listeners.get_mut(&filter.organization)
        {
            listeners.retain(|(id, _)| *id != known.id);
        }
        Some(known.id)
    }

    pub fn id(&self, lane: &Lane) -> Option<i64> {
        self.lanes.get(lane).map(|known| known.id)
    }

    /// Whether the lane exists with exactly this filter.
    pub fn has(&self, spec: &LaneSpec) -> bool {
        self.lanes
            .get(&spec.lane)
            .is_some_and(|known| known.filter == spec.filter)
    }

    /// The lanes into which an event flows.
    pub fn listeners(
        &self,
        organization: &OrganizationId,
        kind: &str,
    ) -> impl Iterator<Item = i64> {
        self.listeners
            .get(organization)
            .into_iter()
            .flatten()
            .filter(move |(_, filter)| filter.matches(organization, kind))
            .map(|(id, _)| *id)
    }
}

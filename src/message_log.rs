//! The channel log, lent to the API out of the connectors' store.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tributary_bus::{MessageId, OrganizationId};
use tributary_config::Settings;
use tributary_connectors::{ConnectorStore, calls_of};
use tributary_router::api::{MessageLog, ProviderCall};

/// Opens the connectors' store when it is asked for the first time: the API works without it.
pub struct ConnectorsLog {
    settings: Arc<Settings>,
    store: OnceCell<ConnectorStore>,
}

impl ConnectorsLog {
    /// The log in the store that the settings name.
    pub fn new(settings: &Arc<Settings>) -> Self {
        Self {
            settings: Arc::clone(settings),
            store: OnceCell::new(),
        }
    }
}

#[async_trait]
impl MessageLog for ConnectorsLog {
    async fn calls(
        &self,
        organization: &OrganizationId,
        message: MessageId,
    ) -> Result<Vec<ProviderCall>, String> {
        let deadline = self.settings.store.statement_deadline;
        let read = async {
            let open = || ConnectorStore::open(&self.settings);
            let store = self.store.get_or_try_init(open).await?;
            calls_of(store, organization, message).await
        };
        let calls = tokio::time::timeout(deadline, read)
            .await
            .map_err(|_| format!("no answer within {deadline:?}"))?
            .map_err(|error| error.to_string())?;
        Ok(calls
            .into_iter()
            .map(|call| ProviderCall {
                at: call.at,
                channel_id: call.channel_id.0,
                call: call.what,
                request: call.request,
                status: call.status,
                reply: call.reply,
                error: call.error,
                took_ms: call.took,
            })
            .collect())
    }
}

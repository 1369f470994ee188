//! Telegram bots.

use std::sync::Arc;

use async_trait::async_trait;
use tributary_config::Problem;

use crate::{
    Capabilities, Connector, Context, Factory, Part, Receipt, SendContext, SendError, TextLimit,
};

mod config;

/// A bot.
pub struct Telegram {
    capabilities: Capabilities,
}

#[async_trait]
impl Connector for Telegram {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, _part: &Part, _context: &SendContext) -> Result<Receipt, SendError> {
        Err(SendError::Unavailable {
            reason: "not yet".to_owned(),
        })
    }
}

impl Factory for Telegram {
    const KIND: &'static str = "telegram";
    type Config = config::Config;

    fn build(
        _config: config::Config,
        _context: &Context,
    ) -> Result<Arc<dyn Connector>, Vec<Problem>> {
        Ok(Arc::new(Self {
            capabilities: Capabilities {
                text: TextLimit::Utf16Units(4096),
                idempotent: false,
            },
        }))
    }
}

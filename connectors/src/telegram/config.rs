//! Settings of a bot.

use serde::Deserialize;
use tributary_config::Secret;

/// `[channels.<id>]` of a bot.
#[derive(Debug, Deserialize)]
pub struct Config {
    pub token: Secret,
}

//! Typed settings: the embedded `default.toml`, a file, and the environment, in rising precedence.
//!
//! Knows no channel's wire format: what a channel account needs beyond its kind, name and organization stays a
//! table that the connector parses with [`parse`], so its mistakes are reported in the same way.

mod channel;
mod check;
pub mod duration;
mod load;
mod problem;
mod secret;
mod settings;

pub use channel::Channel;

pub use load::{DEFAULT_TOML, Loaded, Source, load, load_text, load_with, parse};
pub use problem::{Invalid, Problem};
pub use secret::Secret;
pub use settings::*;
